"""Diagnostics with their places looked up, in the order in which they are told."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kvmgen.diagnostics import Diagnostic, Origin, Position, Rule
from kvmgen.inventory.sources import Sources
from kvmgen.value import value


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A file as it is reached from the current folder, with a line and a column counted from 1."""

    file: str
    line: int
    column: int


@value
class Located:
    """A diagnostic and where it points to; ``place`` is ``None`` for what concerns no file of the inventory.

    ``pointer`` is the way to the value inside the file, for whoever compares two runs.
    """

    rule: Rule
    message: str
    hint: str
    place: Place | None
    pointer: str
    related: tuple[tuple[Place, str], ...]
    trace: tuple[str, ...] = ()


def located(diagnostics: Iterable[Diagnostic], sources: Sources) -> list[Located]:
    """The diagnostics sorted by place, code and message."""
    return sorted((_located(diagnostic, sources) for diagnostic in diagnostics), key=_order)


def _order(one: Located) -> tuple[Place, str, str]:
    return one.place or Place("", 0, 0), one.rule.code, one.message


def _located(diagnostic: Diagnostic, sources: Sources) -> Located:
    origin = diagnostic.origin
    return Located(
        rule=diagnostic.rule,
        message=diagnostic.message,
        hint=diagnostic.hint,
        place=_place(origin, sources.position(diagnostic), sources.root) if origin else None,
        pointer="/".join(map(str, origin.pointer)) if origin else "",
        related=tuple(
            (_place(other, sources.position_of(other), sources.root), what) for other, what in diagnostic.related
        ),
        trace=diagnostic.trace,
    )


def _place(origin: Origin, position: Position | None, root: Path) -> Place:
    position = position or Position(1, 1)
    return Place(os.path.normpath(root / origin.file), position.line, position.column)
