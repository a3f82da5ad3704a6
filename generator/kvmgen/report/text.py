"""For people: where, what, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kvmgen.diagnostics import Severity, counted
from kvmgen.report.located import Located, Place
from kvmgen.report.printed import plain

_COLOURS = {Severity.ERROR: "31", Severity.WARNING: "33"}


def report(found: Sequence[Located], *, colour: bool = False) -> str:
    """``FILE:LINE:COLUMN: severity CODE: message`` and the hint, for each; then how many there are."""
    lines = [line for one in found for line in _lines(one, colour)]
    return "\n".join([*lines, _summary(found)]) if lines else ""


def _lines(one: Located, colour: bool) -> Iterator[str]:
    severity = str(one.rule.severity)
    if colour:
        severity = f"\x1b[{_COLOURS[one.rule.severity]};1m{severity}\x1b[0m"
    yield f"{_where(one.place)}{severity} {one.rule.code}: {plain(one.message)}"
    for place, what in one.related:
        yield f"  {_where(place)}{plain(what)}"
    yield from (f"  {plain(step)}" for step in one.trace)
    yield f"  hint: {plain(one.hint)}"


def _where(place: Place | None) -> str:
    return f"{plain(place.file)}:{place.line}:{place.column}: " if place else ""


def _summary(found: Sequence[Located]) -> str:
    severities = [one.rule.severity for one in found]
    counts = ((severities.count(severity), str(severity)) for severity in Severity)
    return ", ".join(counted(count, name) for count, name in counts if count)
