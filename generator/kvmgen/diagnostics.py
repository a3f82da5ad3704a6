"""What is told to the author of an inventory: rules, places and diagnostics.

A problem in an inventory is a value, never an exception: every step yields diagnostics, the pipeline collects them,
and all of them are told in one run, sorted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field, replace
from enum import StrEnum
from itertools import islice

from kvmgen.value import record, value

Pointer = tuple[str | int, ...]


class Severity(StrEnum):
    """How bad it is: an error stops a build, a warning is told and can be silenced with a reason."""

    ERROR = "error"
    WARNING = "warning"


@value
class Rule:
    """One thing that can be wrong, under a code that is never reused.

    ``doc`` documents a rule that no check stands for; a check's docstring documents its own. Both have the form that
    `kvmgen.rules` reads. ``guards`` is whether files, or what becomes of packets, can't be told where a check finds
    it; of a site in which checks find anything else, they can.
    """

    code: str
    title: str
    severity: Severity = Severity.ERROR
    guards: bool = False
    doc: str = field(default="", repr=False, compare=False)


OWN = "kvmgen:"
"""What the origins of kvmgen's own filters start with, instead of a folder of the inventory."""


@record
class Origin:
    """Where in the inventory something was said: a file and the way to a value inside it.

    ``file`` is relative to the inventory's folder, with forward slashes; `OWN` and a name for what is part of kvmgen.
    Line and column are looked up only when they are told, by whoever holds the sources.
    """

    file: str
    pointer: Pointer = ()

    def at(self, *keys: str | int) -> Origin:
        """The place of a value further inside."""
        return Origin(self.file, self.pointer + keys)

    @property
    def is_kvmgens(self) -> bool:
        """Whether this is part of kvmgen rather than of the inventory."""
        return self.file.startswith(OWN)


@record
class Position:
    """A place in a text: line and column, both counted from 1."""

    line: int
    column: int


@value
class Diagnostic:
    """One finding: which rule, where, what, and what to do about it.

    ``position`` is set where the place is known already (a file that isn't YAML has no pointers); otherwise it is
    looked up from ``origin`` when the diagnostic is told. ``on_key`` asks for the key's position, not its value's.
    ``trace`` is the way of the packet that it is about, a step a line.
    """

    rule: Rule
    message: str
    hint: str
    origin: Origin | None = None
    position: Position | None = None
    on_key: bool = False
    related: tuple[tuple[Origin, str], ...] = field(default=())
    trace: tuple[str, ...] = ()

    @property
    def is_error(self) -> bool:
        """Whether a build must stop."""
        return self.rule.severity is Severity.ERROR


MOST_OF_A_FILE = 100
"""How much is told of what a file's YAML or its schema forbids: nobody reads more, and each finding costs time."""


def first_of(findings: Iterable[Diagnostic]) -> list[Diagnostic]:
    """The first findings of a file; where there are more, the last one of these says so."""
    found = list(islice(findings, MOST_OF_A_FILE + 1))
    if len(found) > MOST_OF_A_FILE:
        last = found[MOST_OF_A_FILE - 1]
        hint = f"{last.hint} There is more in this file: mend these {MOST_OF_A_FILE} first."
        found[MOST_OF_A_FILE - 1 :] = [replace(last, hint=hint)]
    return found


def has_errors(diagnostics: Iterable[Diagnostic]) -> bool:
    """Whether any of them stops a build."""
    return any(diagnostic.is_error for diagnostic in diagnostics)


def counted(number: int, what: str) -> str:
    """A number of things, in words that fit one and many."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
