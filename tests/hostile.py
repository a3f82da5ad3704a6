"""What nobody should be able to write into an inventory, and every place of the schemas where somebody could try.

`places` walks a schema and yields, for each value that a document can hold (keys included), a way to put anything there
into a document that is right otherwise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from kvmgen.inventory import schema

STRINGS: Mapping[str, str] = MappingProxyType(
    {
        "command": "$(touch pwned)",
        "old command": "`touch pwned`",
        "next command": "x; touch pwned #",
        "out of double quotes": 'x" && touch pwned "',
        "out of single quotes": "x' && touch pwned '",
        "variable": "$HOME${PATH}",
        "backslash": "x\\",
        "patterns": "* ? [a-z] ~ {a,b}",
        "out of an element": "</name><x/>",
        "out of an attribute": "'/><x y='",
        "out of a comment": "x --><x/><!--",
        "entity": "&lt;&#10;&xxe;",
        "out of CDATA": "]]><x/>",
        "line": "x\ny=z",
        "last line": "x\n",
        "carriage return": "x\ry",
        "other line ends": "x\x0b\x0c\x85\u2028y",
        "NUL": "x\x00y",
        "terminal": "\x1b[31mx\x9b0m",
        "no character": "x\ufffe",
        "upwards": "../../../etc/passwd",
        "absolute": "/etc/passwd",
        "dots": "..",
        "option": "--flush",
        "half a string": '-m comment --comment "x',
        "a whole string": '-m comment --comment "x (y) [z] %s *" -j ACCEPT',
        "comment": "#x",
        "spaces": " x ",
        "format": "%s%n{0}{x}",
        "mirrored": "x\u202egpj.y",
        "invisible": "x\u200b\ufeffy",
        "look-alike": "\u0435th\uff10",
        "other digits": "\u0661",
        "long": "x" * 10_000,
        "long number": "1" * 10_000,
        "long address": "1:" * 5_000,
    }
)

WRONG_TYPES: Mapping[str, Any] = MappingProxyType(
    {
        "nothing": None,
        "empty": "",
        "true": True,
        "zero": 0,
        "negative": -1,
        "large": 2**62,
        "fraction": 1.5,
        "empty list": [],
        "list": ["x"],
        "list of lists": [[["x"]]],
        "list of nothing": [None],
        "empty mapping": {},
        "mapping": {"x": {"y": ["z"]}},
    }
)

Put = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Place:
    """A value that a document can hold, and a harmless one; ``put`` makes a document with something else there."""

    kind: str
    way: str
    words: Mapping[str, Any]
    harmless: Any
    put: Put

    def takes(self, value: Any) -> bool:
        """Whether it makes sense to try: a text only where there may be one, nothing but texts as keys."""
        if self.way.endswith("/KEY"):
            return isinstance(value, str)
        types = self.words.get("type", ())
        return not isinstance(value, str) or "string" in ([types] if isinstance(types, str) else types)


SEEDS: Mapping[str, Any] = MappingProxyType(
    {
        "site": {"name": "test"},
        "host": {"platform": "el8.6", "ethernets": {"eno1": {}}},
        "host/firewall/direct/0": {"family": "both", "chain": "FORWARD", "rule": "-i eno1 -j ACCEPT"},
        "host/firewall/direct/0/rule": "-i eno1 -j ACCEPT",
        "network": {"hosts": {"kvm01": {}}, "forward": "isolated", "bridge": {"name": "virbr1"}},
        "network/dhcp/hosts/0": {"address": "192.0.2.7", "mac": "52:54:00:00:00:07"},
        "network/hosts": {"kvm01": {}},
        "network/dns/forwarders/0": {"address": "192.0.2.53"},
        "guest": {"hosts": ["kvm01"], "disks": {"vda": {"file": "/x"}}},
        "guest/disks/*": {"file": "/x"},
        "guest/interfaces/*": {"bridge": "br0"},
        "policy": {"allow-in": []},
        "policy/allow-in/0/1": {"tcp": 22},
        "policy/allow-out/0/1": {"tcp": 22},
        "filter": {"rules": []},
        "filter/rules/0/else": {"action": "accept", "direction": "in", "priority": 500},
    }
)
"""What stands somewhere, or beside it in a mapping, where the schema alone wouldn't make it right."""

_KEYS = {"network/hosts": "kvm01"}
_SAMPLES = ("eno1", "1", "el8", "1 GiB", "192.0.2.1", "192.0.2.0/24", "192.0.2.1-192.0.2.2", "/x", "/dev/x", "1/tcp")
_MORE_SAMPLES = (
    "00",
    "en-us",
    "NEW",
    "src",
    "SYN/ACK",
    "0x1",
    "root",
    "kernel.x",
    "vda",
    "$X",
    "::",
    "ipv4",
    "01:00.0",
    "0000:07:10.0",
)
_UUID = "11111111-1111-1111-1111-111111111111"


def places(kind: str) -> Iterator[Place]:
    """Every place of a kind's schema, alternatives one by one; what many protocols have in a filter, once."""
    seen: set[str] = set()
    for place in _walk(kind, kind, schema.load(kind), kind, lambda value: value):
        wanted = json.dumps(dict(place.words), sort_keys=True)
        if kind != "filter" or wanted not in seen:
            yield place
        seen.add(wanted)


def _walk(kind: str, file: str, node: Any, way: str, put: Put) -> Iterator[Place]:
    file, words = _resolved(file, node)
    yield Place(kind, way, words, SEEDS.get(way) or _sample(file, words), put)
    for word in ("then", "else"):
        if word in words:
            yield from _walk(kind, file, words[word], f"{way}/{word}", put)
    for index, branch in enumerate(words.get("oneOf", ())):
        if "title" in branch or "$ref" in branch:
            yield from _walk(kind, file, branch, f"{way}/{index}", put)
    if "items" in words:
        yield from _walk(kind, file, words["items"], f"{way}/0", lambda value: put([value]))
    if words.get("type") == "object":
        yield from _walk_mapping(kind, file, words, way, put)


def _walk_mapping(kind: str, file: str, words: Mapping[str, Any], way: str, put: Put) -> Iterator[Place]:
    around = SEEDS.get(way) or _sample(file, words)
    for key, child in words.get("properties", {}).items():
        yield from _walk(kind, file, child, f"{way}/{key}", _under(key, around, put))
    inner = words.get("additionalProperties")
    if isinstance(inner, dict):
        names = _resolved(file, words.get("propertyNames", {"type": "string"}))[1]
        name = _KEYS.get(way) or _sample(file, {"type": "string", **names})
        full = SEEDS.get(f"{way}/*") or _sample(*_resolved(file, inner))
        yield from _walk(kind, file, inner, f"{way}/*", _under(name, around, put))
        yield Place(kind, f"{way}/KEY", {"type": "string", **names}, name, lambda key: put({**around, key: full}))


def _under(key: str, around: Mapping[str, Any], put: Put) -> Put:
    return lambda value: put({**around, key: value})


def _resolved(file: str, node: Any) -> tuple[str, Mapping[str, Any]]:
    """A subschema with what it refers to merged in, and the file that the reference leads to."""
    words = dict(node)
    while "$ref" in node:
        name, _, way = node["$ref"].partition("#")
        file = name.removesuffix(".schema.json") or file
        node = schema.load(file)
        for key in way.strip("/").split("/"):
            node = node[key]
        words = {**node, **words}
    return file, words


def _sample(file: str, words: Mapping[str, Any]) -> Any:
    """The smallest value that a subschema allows."""
    for known in ("const", "default"):
        if known in words:
            return words[known]
    if "enum" in words:
        return words["enum"][0]
    match words.get("type"):
        case "object":
            required = {key: _resolved(file, words["properties"][key]) for key in words.get("required", ())}
            return {key: _sample(*inner) for key, inner in required.items()}
        case "array":
            return [_sample(*_resolved(file, words["items"]))] * words.get("minItems", 0)
        case "integer" | "number":
            return words.get("minimum", 1)
        case "boolean":
            return True
    return _text(words)


def _text(words: Mapping[str, Any]) -> str:
    """A string of the form wanted; the kernel's and the site's names where they fit, so that references hold."""
    pattern = words.get("pattern", "")
    examples = [example for example in words.get("examples", ()) if isinstance(example, str)]
    for text in (*examples, *_SAMPLES, *_MORE_SAMPLES, _UUID):
        if re.search(pattern, text) and len(text) <= words.get("maxLength", len(text)):
            return text
    raise AssertionError(f"no sample is of the form {pattern}")


def as_yaml(document: Any) -> str:
    """A document as JSON, which YAML can read; characters that must not stand in a file are escaped."""
    text = json.dumps(document, ensure_ascii=False)
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"
