"""Where an origin stands: in the inventory, in one of kvmgen's own filters, or nowhere because kvmgen decided."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import takewhile
from typing import Any

from kvmgen.diagnostics import OWN, Origin, Pointer
from kvmgen.inventory.known_filters import own_filter_source
from kvmgen.inventory.schema import defaults
from kvmgen.inventory.source import Source, parse
from kvmgen.inventory.sources import Sources
from kvmgen.value import value

_KINDS = {"hosts": "host", "guests": "guest", "networks": "network"}


@value
class Place:
    """A place that made a line. ``file`` and ``line`` are empty where kvmgen decided by itself.

    ``unsaid`` is the key that would decide if it were there, and ``default`` what holds without it, where the schema
    says so; ``comment`` is what one of kvmgen's own filters says of the rule.
    """

    file: str = ""
    line: int = 0
    column: int = 0
    what: str = ""
    unsaid: str = ""
    default: str = ""
    comment: str = ""

    def __str__(self) -> str:
        if not self.file:
            return "kvmgen's choice"
        return f"{self.file}:{self.line}:{self.column}" + (" (part of kvmgen)" if self.file.startswith(OWN) else "")


def places(origins: Iterable[Origin], sources: Sources) -> tuple[Place, ...]:
    """The places of a line that are said; where none is, the first, with the key that could say it."""
    found = tuple(dict.fromkeys(_place(origin, sources) for origin in origins))
    return tuple(place for place in found if place.file and not place.unsaid) or found[:1]


def _place(origin: Origin, sources: Sources) -> Place:
    if not origin.is_kvmgens:
        return _in(sources.source(origin.file), f"{sources.root}/{origin.file}", origin.pointer)
    source = own_filter_source(origin)
    if source is None:
        return Place()
    place = _in(source, origin.file, origin.pointer)
    return Place(
        file=place.file,
        line=place.line,
        column=place.column,
        what=place.what,
        comment=_comment(source.text, place.line),
    )


def _in(source: Source, file: str, pointer: Pointer) -> Place:
    known = _known(parse(source)[0], pointer)
    position = source.position(known, of_key=True)
    line, column = (1, 1) if position is None else (position.line, position.column)
    what = ".".join(map(str, known))
    if known == pointer:
        return Place(file=file, line=line, column=column, what=what)
    unsaid = ".".join(map(str, pointer[len(known) :]))
    return Place(file=file, line=line, column=column, what=what, unsaid=unsaid, default=_default(source.file, pointer))


def _known(data: Any, pointer: Pointer) -> Pointer:
    """How far the way leads."""
    for depth, key in enumerate(pointer):
        if not _has(data, key):
            return pointer[:depth]
        data = data[key]
    return pointer


def _has(data: Any, key: str | int) -> bool:
    if isinstance(data, list):
        return isinstance(key, int) and key < len(data)
    return isinstance(data, dict) and key in data


def _default(file: str, pointer: Pointer) -> str:
    """What the schema says of a key that isn't there."""
    kind = _KINDS.get(file.partition("/")[0])
    if kind == "network" and pointer[:1] == ("hosts",):
        pointer = pointer[2:]
    way = [str(key) for key in pointer[:-1:2]]  # a section, or a section and the name of an object in it
    try:
        found = defaults(kind or "", *way)[str(pointer[-1])]
    except (KeyError, IndexError, OSError):
        return ""
    return json.dumps(found)


def _comment(text: str, line: int) -> str:
    """The comment right above a line; where there is none, the one that the file opens with."""
    lines = text.splitlines()
    above = _comment_lines(reversed(lines[: line - 1]))[::-1]
    return " ".join(above or _comment_lines(lines))


def _comment_lines(lines: Iterable[str]) -> list[str]:
    return [line.lstrip(" #") for line in takewhile(lambda line: line.lstrip().startswith("#"), lines)]
