"""The JSON Schemas: what a document may say, the defaults, and errors told in the inventory's words.

jsonschema-rs knows in microseconds whether a document is valid; jsonschema is asked only for the errors of one that
isn't.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvmgen.diagnostics import Diagnostic, Origin, Pointer, Rule, first_of
from kvmgen.inventory import docs

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

KINDS = ("site", "host", "network", "guest", "filter", "policy")

WRONG_VALUE = Rule(code="KV010", title="A value that isn't allowed", doc=docs.WRONG_VALUE)
UNKNOWN_KEY = Rule(code="KV011", title="A key that nothing reads", doc=docs.UNKNOWN_KEY)
MISSING_KEY = Rule(code="KV012", title="A key that must be there", doc=docs.MISSING_KEY)
RULES = (WRONG_VALUE, UNKNOWN_KEY, MISSING_KEY)

_TYPE_NAMES = {
    "object": "a mapping",
    "array": "a list",
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing",
}


def schema_folder() -> Path:
    """The folder of the schemas: inside the installed package, or at the top of a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "schemas"
    return installed if installed.is_dir() else package.parents[1] / "schemas"


@cache
def load(name: str) -> dict[str, Any]:
    """One schema by its name: a kind, ``common`` or ``manifest``."""
    text = (schema_folder() / f"{name}.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


@cache
def defaults(kind: str, *way: str) -> Mapping[str, Any]:
    """The defaults of the properties of an object in a kind's schema: ``defaults("guest", "disks")`` for a disk."""
    schema = load(kind)
    for key in way:
        schema = _resolve(schema["properties"][key])
        schema = _resolve(schema.get("additionalProperties") or schema.get("items") or schema)
    properties = {name: _resolve(child) for name, child in schema["properties"].items()}
    return {name: child["default"] for name, child in properties.items() if "default" in child}


def _resolve(schema: Any) -> Any:
    """Follow a reference into the common schema; local ones don't occur where defaults are looked up."""
    reference = schema.get("$ref", "") if isinstance(schema, dict) else ""
    if not reference.startswith("common.schema.json#/$defs/"):
        return schema
    return {**load("common")["$defs"][reference.rpartition("/")[2]], **schema}


@cache
def _fast_validator(kind: str) -> Any:
    import jsonschema_rs

    return jsonschema_rs.Draft202012Validator({"$ref": _uri(kind)}, registry=_registry())


@cache
def _registry() -> Any:
    import jsonschema_rs

    return jsonschema_rs.Registry([(_uri(name), load(name)) for name in (*KINDS, "common")])


def _uri(name: str) -> str:
    return f"https://kvmgen.invalid/{name}.schema.json"  # a base for relative references; never fetched


@cache
def _telling_validator(kind: str) -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError
    from jsonschema.validators import extend
    from referencing import Registry
    from referencing.jsonschema import DRAFT202012

    def pattern(_validator: Any, wanted: str, instance: Any, around: Any) -> Iterator[Any]:
        """``$`` means the very end; what is too long is told as that alone, for searching it takes time."""
        if not isinstance(instance, str) or len(instance) > around.get("maxLength", len(instance)):
            return
        if not re.search(re.sub(r"\$$", r"\\Z", wanted), instance):
            yield ValidationError(f"{instance!r} does not match")

    resources = [(_uri(name), DRAFT202012.create_resource(_without_dialect(name))) for name in (*KINDS, "common")]
    registry: Any = Registry().with_resources(resources)
    validator: Any = extend(Draft202012Validator, {"pattern": pattern})  # type: ignore[no-untyped-call] # untyped stub
    return validator({"$ref": _uri(kind)}, registry=registry)


def _without_dialect(name: str) -> dict[str, Any]:
    """A schema without its ``$schema``, at which jsonschema would take up its own understanding of patterns again."""
    return {key: value for key, value in load(name).items() if key != "$schema"}


def validate(kind: str, data: Any, file: str) -> list[Diagnostic]:
    """What a document says that its kind's schema doesn't allow."""
    if _fast_validator(kind).is_valid(data):
        return []
    errors = (meant for error in _telling_validator(kind).iter_errors(data) for meant in _meant(error))
    told = first_of(diagnostic for error in errors for diagnostic in _tell(error, Origin(file)))
    return told or [_wrong(Origin(file), "the document isn't valid", "Compare it with its schema.")]


def _meant(error: ValidationError) -> Iterator[ValidationError]:
    """For alternatives, the errors inside the branch that was meant: the one whose type fits."""
    if error.validator not in ("oneOf", "anyOf") or not error.context:
        yield error
        return
    by_branch: dict[Any, list[ValidationError]] = {}
    for inner in error.context:
        by_branch.setdefault(inner.schema_path[0], []).append(inner)
    fitting = [inner for inner in by_branch.values() if not _wrong_type(inner, len(error.absolute_path))]
    if not fitting:
        yield error
        return
    for inner in min(fitting, key=len):
        yield from _meant(inner)


def _wrong_type(errors: list[ValidationError], depth: int) -> bool:
    """Whether a branch wants a value of another type than the one at ``depth``."""
    return any(
        len(error.absolute_path) == depth
        and (error.validator == "type" or (error.validator == "enum" and not isinstance(error.instance, str)))
        for error in errors
    )


def _tell(error: ValidationError, document: Origin) -> Iterator[Diagnostic]:
    place = document.at(*error.absolute_path)
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        yield from _unknown_keys(error, place)
    elif error.validator == "required" and isinstance(error.instance, dict):
        yield from _missing_keys(error, place)
    elif "propertyNames" in error.schema_path:
        message = f"{_shown(error.instance)} can't be a key here"
        yield Diagnostic(
            rule=WRONG_VALUE, message=message, hint=_hint(error), origin=place.at(str(error.instance)), on_key=True
        )
    else:
        yield _wrong(place, f"{_name(place.pointer)} {_complaint(error)}", _hint(error))


def _wrong(place: Origin, message: str, hint: str) -> Diagnostic:
    return Diagnostic(rule=WRONG_VALUE, message=message, hint=hint, origin=place)


def _unknown_keys(error: ValidationError, place: Origin) -> Iterator[Diagnostic]:
    known = list(error.schema.get("properties", {})) if isinstance(error.schema, dict) else []
    instance: Any = error.instance
    for key in instance:
        if key in known:
            continue
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known here: {', '.join(sorted(known))}."
        message = f"{_shown(key)} is not a key of {_name(place.pointer)}"
        yield Diagnostic(rule=UNKNOWN_KEY, message=message, hint=hint, origin=place.at(key), on_key=True)


def _missing_keys(error: ValidationError, place: Origin) -> Iterator[Diagnostic]:
    properties = error.schema.get("properties", {}) if isinstance(error.schema, dict) else {}
    match = re.match(r"'([^']+)' is a required property", error.message)
    key = match.group(1) if match else "?"
    description = _resolve(properties.get(key, {})).get("description", "")
    yield Diagnostic(
        rule=MISSING_KEY,
        message=f"{_name(place.pointer)} lacks {key!r}",
        hint=f"Add {key!r}: {description}" if description else f"Add {key!r}.",
        origin=place,
    )


def _complaint(error: ValidationError) -> str:  # noqa: PLR0911 - a table
    wanted: Any = error.validator_value
    value = _shown(error.instance)
    match error.validator:
        case "type":
            return f"is {value}, but must be {_types(wanted)}"
        case "enum":
            return f"is {value}, but must be one of {', '.join(str(word) for word in wanted)}"
        case "const":
            return f"is {value}, but must be {wanted!r}"
        case "minimum" | "exclusiveMinimum":
            return f"is {value}, but must be at least {wanted}"
        case "maximum" | "exclusiveMaximum":
            return f"is {value}, but must be at most {wanted}"
        case "minLength" | "minItems" | "minProperties":
            return "is empty" if wanted == 1 else f"is shorter than {wanted}"
        case "maxLength" | "maxItems" | "maxProperties":
            return f"is longer than {wanted}"
        case "uniqueItems":
            return "has an item twice"
        case "oneOf" | "anyOf":
            return f"is {value}, which is none of the forms allowed here"
        case _:
            return f"is {value}, which isn't of the form wanted here"


_TYPOGRAPHIC = frozenset("\u201c\u201d\u201e\u2018\u2019\u201a\u00ab\u00bb\u300c\u300d")


def _hint(error: ValidationError) -> str:
    if isinstance(error.instance, str) and _TYPOGRAPHIC.intersection(error.instance):
        return "Typographic quotes don't quote, they are part of the value: write plain ones."
    schema = error.schema if isinstance(error.schema, dict) else {}
    examples = schema.get("examples", [])
    example = f" For example: {json.dumps(examples[0])}." if examples else ""
    near = _near_word(error)
    return near or (str(schema.get("description", "")) + example).strip() or "See the kind's schema."


def _near_word(error: ValidationError) -> str | None:
    if error.validator != "enum" or not isinstance(error.instance, str):
        return None
    near = difflib.get_close_matches(error.instance, _words(error.validator_value), n=1)
    return f"Did you mean {near[0]!r}?" if near else None


def _words(values: Any) -> list[str]:
    return [str(value) for value in values]


def _types(wanted: Any) -> str:
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    return " or ".join(_TYPE_NAMES[name] for name in names)


def _name(pointer: Pointer) -> str:
    """How a place is called in a message: ``interfaces.eth0.addresses[0]``, or the document."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in pointer)
    return text.lstrip(".") or "the document"


def _shown(value: Any) -> str:
    """A value for a message: short, on one line and without control characters."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 60 else text[:57] + '..."'
