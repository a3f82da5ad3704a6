"""Documents from a JSON Schema: a Hypothesis strategy that walks the schema as a validator does.

What it makes is valid by the schema, and takes few optional keys at a time: of documents that say everything at once
hardly one is right. What a schema can't say, which names exist and which values fit together, comes from `Known`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from kvmgen.inventory import schema

Strategy = st.SearchStrategy[Any]
Keys = tuple[str, ...]

LARGEST = 2**62
"""Where a schema sets no bound; the reader of inventories takes no larger number."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known beyond the schema.

    ``values`` are by the way to a value (``guest/interfaces/*/bridge``, ``.../KEY`` for a mapping's keys) or by the
    definition that it refers to (``common#ip``), and are what is drawn most of the time. ``wanted`` are, by the way to
    a mapping, keys of which one group is mostly there; ``either`` are keys that mostly don't stand together.
    """

    values: Mapping[str, Strategy] = field(default_factory=dict)
    wanted: Mapping[str, Sequence[Keys]] = field(default_factory=dict)
    either: Mapping[str, Sequence[Keys]] = field(default_factory=dict)


def documents(kind: str, known: Known) -> Strategy:
    """Documents that a kind's schema allows."""
    return _Walk(known).value(kind, schema.load(kind), kind)


def definition(kind: str, name: str, known: Known, way: str) -> Strategy:
    """What a kind's schema defines under a name, as it stands at a way to which something may be known."""
    return _Walk(known).value(kind, schema.load(kind)["$defs"][name], way)


def usually(often: Strategy, seldom: Strategy) -> Strategy:
    """The first, seven times of eight."""
    return st.integers(0, 7).flatmap(lambda number: seldom if number == 7 else often)


@dataclass(frozen=True, slots=True)
class _Walk:
    known: Known

    def value(self, file: str, node: Any, way: str) -> Strategy:
        """What a subschema allows; ``file`` is the schema that it stands in."""
        file, words, names = _resolved(file, node)
        free = self._free(file, words, way)
        for name in (way, *names):
            if name in self.known.values:
                return usually(self.known.values[name], free)
        return free

    def _free(self, file: str, words: Mapping[str, Any], way: str) -> Strategy:
        if "const" in words:
            return st.just(words["const"])
        if "enum" in words:
            return st.sampled_from(words["enum"])
        if "oneOf" in words:
            return st.one_of(
                *(self.value(file, branch, f"{way}/{index}") for index, branch in enumerate(words["oneOf"]))
            )
        if "if" in words:
            then, otherwise = (self.value(file, words[word], f"{way}/{word}") for word in ("then", "else"))
            return usually(otherwise, then)
        kinds = words["type"] if isinstance(words["type"], list) else [words["type"]]
        return st.one_of(*(self._of_type(kind, file, words, way) for kind in kinds))

    def _of_type(self, kind: str, file: str, words: Mapping[str, Any], way: str) -> Strategy:
        match kind:
            case "object" if "properties" not in words and "additionalProperties" not in words:
                return st.dictionaries(_text({}), _text({}) | st.lists(_text({}), max_size=2), max_size=2)
            case "array" if "items" not in words:
                return st.lists(_text({}) | st.integers() | st.none(), max_size=3)
            case "object":
                return self._mapping(file, words, way)
            case "array":
                return self._list(file, words, way)
            case "null":
                return st.none()
            case "number":
                return st.floats(-LARGEST, LARGEST)
            case "string":
                return _text(words)
            case "integer":
                return _integer(words)
            case "boolean":
                return st.booleans()
            case _:
                raise NotImplementedError(kind)

    def _list(self, file: str, words: Mapping[str, Any], way: str) -> Strategy:
        least = words.get("minItems", 0)
        most = min(words.get("maxItems", LARGEST), least + 3)
        items = self.value(file, words["items"], f"{way}/0")
        unique = repr if words.get("uniqueItems") else None
        some, any_ = (
            st.lists(items, min_size=size, max_size=most, unique_by=unique) for size in (max(least, 1), least)
        )
        return usually(some, any_)

    def _mapping(self, file: str, words: Mapping[str, Any], way: str) -> Strategy:
        inner = words.get("additionalProperties")
        if isinstance(inner, dict):
            names = {"type": "string", **words.get("propertyNames", {})}
            least = words.get("minProperties", 0)
            keys, values = self.value(file, names, f"{way}/KEY"), self.value(file, inner, f"{way}/*")
            some, any_ = (
                st.dictionaries(keys, values, min_size=size, max_size=least + 2) for size in (max(least, 1), least)
            )
            return usually(some, any_)
        children = {key: self.value(file, child, f"{way}/{key}") for key, child in words["properties"].items()}
        return _some(children, _Needs.of(words, self.known, way))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Needs:
    """Which keys a mapping has: always, mostly one group of, never or mostly not together; and which need another."""

    required: frozenset[str]
    least: int
    wanted: Sequence[Keys]
    never: Sequence[Keys]
    seldom: Sequence[Keys]
    dependent: Mapping[str, Keys]

    @classmethod
    def of(cls, words: Mapping[str, Any], known: Known, way: str) -> _Needs:
        alternatives = (branch for part in words.get("allOf", ()) for branch in part["oneOf"])
        exclusive = tuple(key for branch in alternatives for key in branch.get("required", ()))
        return cls(
            required=frozenset(words.get("required", ())),
            least=words.get("minProperties", 0),
            wanted=known.wanted.get(way, ()),
            never=(exclusive,),
            seldom=known.either.get(way, ()),
            dependent=words.get("dependentRequired", {}),
        )


@st.composite
def _some(draw: st.DrawFn, children: Mapping[str, Strategy], needs: _Needs) -> dict[str, Any]:
    """A mapping with its required keys, mostly one group of the wanted ones, and few others."""
    chosen = set(needs.required)
    if needs.wanted:
        chosen |= set(draw(usually(st.sampled_from(needs.wanted), st.just(()))))
    least = max(0, needs.least - len(chosen))
    more = draw(st.lists(st.sampled_from(list(children)), min_size=least, max_size=least + 4, unique=True))
    apart = [*needs.never, *(draw(usually(st.just(needs.seldom), st.just(()))) if needs.seldom else ())]
    for key in more:
        if not any(key in keys and chosen & set(keys) for keys in apart):
            chosen |= {key, *needs.dependent.get(key, ())}
    return {key: draw(child) for key, child in children.items() if key in chosen}


def _resolved(file: str, node: Any) -> tuple[str, Mapping[str, Any], list[str]]:
    """A subschema with what it refers to merged in, the file that this leads to, and the definitions on the way."""
    words, names = dict(node), []
    while "$ref" in node:
        name, _, way = node["$ref"].partition("#")
        file = name.removesuffix(".schema.json") or file
        names.append(f"{file}#{way.rpartition('/')[2]}")
        node = schema.load(file)
        for key in way.strip("/").split("/"):
            node = node[key]
        words = {**node, **words}
    return file, words, names


def _text(words: Mapping[str, Any]) -> Strategy:
    """A string of the form wanted, or one of the schema's own examples."""
    least, most = words.get("minLength", 0), words.get("maxLength", LARGEST)
    if "pattern" not in words:
        return st.text(min_size=least, max_size=min(most, least + 40))
    made = st.from_regex(words["pattern"], fullmatch=True).filter(lambda text: least <= len(text) <= most)
    examples = [example for example in words.get("examples", ()) if isinstance(example, str)]
    return st.one_of(st.sampled_from(examples), made) if examples else made


def _integer(words: Mapping[str, Any]) -> Strategy:
    """A number of the range wanted: a small one, one at the range's ends, or any."""
    least, most = words.get("minimum", -LARGEST), words.get("maximum", LARGEST)
    small = st.integers(max(least, 0), min(most, max(least, 0) + 20))
    return usually(small, st.one_of(st.sampled_from((least, most)), st.integers(least, most)))


def ways(kind: str) -> Iterator[str]:
    """Every way and definition of a kind's schema: what `Known` may name."""
    seen: list[tuple[str, Any, str]] = [(kind, schema.load(kind), kind)]
    while seen:
        file, node, way = seen.pop()
        file, words, names = _resolved(file, node)
        yield from (way, *names)
        seen += ((file, child, f"{way}/{key}") for key, child in words.get("properties", {}).items())
        seen += ((file, words[word], f"{way}/{word}") for word in ("then", "else") if word in words)
        seen += ((file, branch, f"{way}/{index}") for index, branch in enumerate(words.get("oneOf", ())))
        if "items" in words:
            seen.append((file, words["items"], f"{way}/0"))
        if isinstance(words.get("additionalProperties"), dict):
            seen.append((file, words["additionalProperties"], f"{way}/*"))
            seen.append((file, {"type": "string", **words.get("propertyNames", {})}, f"{way}/KEY"))
