"""Warnings that an inventory silences where they stand: ``# kvmgen: ignore KV201 -- the reason``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from kvmgen.diagnostics import Diagnostic, Origin, Position, Rule, Severity
from kvmgen.inventory import docs
from kvmgen.inventory.source import is_comment
from kvmgen.inventory.sources import Sources
from kvmgen.value import record

UNUSED_SILENCE = Rule(
    code="KV008", title="A silence that silences nothing", severity=Severity.WARNING, doc=docs.UNUSED_SILENCE
)
BAD_SILENCE = Rule(
    code="KV009",
    title="A comment to kvmgen that it doesn't understand",
    severity=Severity.WARNING,
    doc=docs.BAD_SILENCE,
)
RULES = (UNUSED_SILENCE, BAD_SILENCE)

_MARK = re.compile(r"(?:^|\s)(#\s*kvmgen(?::|\s+ignore\b))")
_COMMENT = re.compile(r"#\s*kvmgen:\s*ignore\s+(?P<codes>KV\d{3}(?:\s*,\s*KV\d{3})*)\s+--\s+[^\s#]")


@record
class Silence:
    """A comment that silences ``codes`` on ``line``: its own, or the one below it where it stands alone."""

    file: str
    position: Position
    codes: tuple[str, ...]
    line: int


def find_silences(file: str, text: str) -> Iterator[Silence]:
    """The comments to kvmgen in a file; what can't be understood has no codes."""
    if "kvmgen" not in text or not _MARK.search(text):
        return
    lines = re.split(r"\r\n?|\n", text)
    for number, line in enumerate(lines, 1):
        mark = _MARK.search(line)
        if mark:
            position = Position(number, mark.start(1) + 1)
            if is_comment(text, position):
                understood = _COMMENT.match(line, mark.start(1))
                codes = re.findall(r"KV\d{3}", understood["codes"]) if understood else ()
                yield Silence(file, position, tuple(codes), _silenced_line(lines, number))


def _silenced_line(lines: Sequence[str], number: int) -> int:
    """The line that a comment speaks of; one that stands alone may go on in comments below it."""
    while number < len(lines) and lines[number - 1].lstrip().startswith("#"):
        number += 1
    return number


def heeded(
    diagnostics: Iterable[Diagnostic], silences: Sequence[Silence], sources: Sources, *, complete: bool
) -> list[Diagnostic]:
    """The diagnostics without the warnings that are silenced, and with what is wrong with the silences.

    ``complete`` is whether everything was looked for: only then a silence can be known to silence nothing.
    """
    by_place = {(silence.file, silence.line, code): silence for silence in silences for code in silence.codes}
    used: set[tuple[Silence, str]] = set()
    told = []
    for diagnostic in diagnostics:
        silence = _silence_of(diagnostic, by_place, sources) if silences else None
        if silence is None:
            told.append(diagnostic)
        else:
            used.add((silence, diagnostic.rule.code))
    told += (_not_understood(silence) for silence in silences if not silence.codes)
    if complete:
        told += (_unused(one, code) for one in silences for code in one.codes if (one, code) not in used)
    return told


def _silence_of(
    diagnostic: Diagnostic, by_place: dict[tuple[str, int, str], Silence], sources: Sources
) -> Silence | None:
    if diagnostic.rule.severity is not Severity.WARNING or diagnostic.origin is None:
        return None
    position = sources.position(diagnostic)
    return by_place.get((diagnostic.origin.file, position.line, diagnostic.rule.code)) if position else None


def _not_understood(silence: Silence) -> Diagnostic:
    return Diagnostic(
        rule=BAD_SILENCE,
        message="this comment silences nothing: it isn't of the form that kvmgen reads",
        hint="Write `# kvmgen: ignore KV201 -- the reason`, with the reason.",
        origin=Origin(silence.file),
        position=silence.position,
    )


def _unused(silence: Silence, code: str) -> Diagnostic:
    return Diagnostic(
        rule=UNUSED_SILENCE,
        message=f"no warning {code} is told here, so this silences nothing",
        hint="Remove it: it would hide the next one unseen. Errors can't be silenced.",
        origin=Origin(silence.file),
        position=silence.position,
    )
