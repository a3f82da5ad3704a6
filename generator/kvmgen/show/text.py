"""An object as text that reads like YAML, and as a document for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kvmgen.show import Shown
from kvmgen.show.said import Pointer

_COMMENTS = 52
"""The column at which what is told of the places starts, where the value leaves room."""


def as_document(shown: Shown) -> dict[str, Any]:
    """``value`` is the object; ``said`` has the place of each part of it by its JSON pointer (RFC 6901)."""
    places = {_json_pointer(pointer): place for pointer, place in shown.said.items()}
    return {"kind": shown.kind, "name": shown.name, "value": shown.value, "said": places, "files": list(shown.files)}


def _json_pointer(pointer: Pointer) -> str:
    return "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in pointer)


def as_text(shown: Shown) -> str:
    """Each value in a line, with where it was said behind it."""
    lines = [f"{shown.kind} {shown.name}", *_mapping(shown.value, shown.said, ()), "files:"]
    return "\n".join([*lines, *(f"  - {path}" for path in shown.files)] if shown.files else lines[:-1])


def _mapping(words: Mapping[str, Any], said: Mapping[Pointer, str], pointer: Pointer) -> Iterator[str]:
    indent = "  " * len(pointer)
    for key, inner in words.items():
        way = (*pointer, key)
        if isinstance(inner, Mapping) and inner:
            yield f"{indent}{key}:"
            yield from _mapping(inner, said, way)
        elif isinstance(inner, list) and _is_long(inner):
            yield _with_place(f"{indent}{key}:", said.get(way))
            yield from (f"{indent}  - {_flow(item)}" for item in inner)
        else:
            yield _with_place(f"{indent}{key}: {_flow(inner)}", said.get(way))


def _is_long(items: list[Any]) -> bool:
    return len(items) > 1 or any(isinstance(item, Mapping) for item in items)


def _flow(words: Any) -> str:
    match words:
        case bool():
            return str(words).lower()
        case Mapping():
            return "{" + ", ".join(f"{key}: {_flow(inner)}" for key, inner in words.items()) + "}"
        case list():
            return "[" + ", ".join(map(_flow, words)) + "]"
    return " ".join(str(words).split())


def _with_place(line: str, place: str | None) -> str:
    return f"{line:<{_COMMENTS}}  # {place}" if place else line
