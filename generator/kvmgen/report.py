"""Telling diagnostics to people: where, what, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from kvmgen.diagnostics import Diagnostic, Origin, Position, Severity
from kvmgen.inventory.sources import Sources

_COLOURS = {Severity.ERROR: "31", Severity.WARNING: "33"}


def text(diagnostics: Iterable[Diagnostic], sources: Sources, *, colour: bool = False) -> list[str]:
    """The diagnostics as lines, sorted by place: ``FILE:LINE:COLUMN: severity CODE: message``, then the hint."""
    lines: list[str] = []
    for place, diagnostic in sorted(
        ((_place(diagnostic, sources), diagnostic) for diagnostic in diagnostics), key=lambda pair: _order(*pair)
    ):
        lines += _lines(place, diagnostic, sources, colour)
    return lines


Place = tuple[str, int, int]


def _place(diagnostic: Diagnostic, sources: Sources) -> Place:
    if diagnostic.origin is None:
        return "", 0, 0
    position = sources.position(diagnostic) or Position(1, 1)
    return _shown(diagnostic.origin, sources.root), position.line, position.column


def _shown(origin: Origin, root: Path) -> str:
    return plain(f"{root}/{origin.file}")


def _order(place: Place, diagnostic: Diagnostic) -> tuple[Place, str, str]:
    return place, diagnostic.rule.code, diagnostic.message


def _lines(place: Place, diagnostic: Diagnostic, sources: Sources, colour: bool) -> list[str]:
    file, line, column = place
    where = f"{file}:{line}:{column}: " if file else ""
    severity = str(diagnostic.rule.severity)
    if colour:
        severity = f"\x1b[{_COLOURS[diagnostic.rule.severity]};1m{severity}\x1b[0m"
    lines = [f"{where}{severity} {diagnostic.rule.code}: {plain(diagnostic.message)}"]
    for origin, what in diagnostic.related:
        other = sources.position_of(origin) or Position(1, 1)
        lines.append(f"  {_shown(origin, sources.root)}:{other.line}:{other.column}: {plain(what)}")
    lines.append(f"  hint: {plain(diagnostic.hint)}")
    return lines


def plain(message: str) -> str:
    """The text without anything that a terminal would obey."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in message)


def summary(diagnostics: Iterable[Diagnostic]) -> str:
    """How many errors and warnings there are; empty where there are none."""
    severities = [diagnostic.rule.severity for diagnostic in diagnostics]
    counts = ((severities.count(severity), str(severity)) for severity in Severity)
    return ", ".join(f"{count} {name}{'s' if count > 1 else ''}" for count, name in counts if count)
