"""Telling diagnostics, to people and to programs: one module a format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from kvmgen.diagnostics import Diagnostic
from kvmgen.inventory.sources import Sources
from kvmgen.report import github, gitlab, json, junit, sarif, text
from kvmgen.report.located import Located, located

Format = Callable[[Sequence[Located]], str]

MACHINE_FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "json": json.report,
        "github": github.report,
        "sarif": sarif.report,
        "gitlab": gitlab.report,
        "junit": junit.report,
    }
)
"""What programs read; each is a whole document, also where there is nothing to tell."""


def for_machines(format_: str, diagnostics: Iterable[Diagnostic], sources: Sources) -> str:
    """The diagnostics in one of the formats for programs."""
    return MACHINE_FORMATS[format_](located(diagnostics, sources))


def for_people(diagnostics: Iterable[Diagnostic], sources: Sources, *, colour: bool = False) -> str:
    """The diagnostics as text with a summary in its last line; empty where there are none."""
    return text.report(located(diagnostics, sources), colour=colour)
