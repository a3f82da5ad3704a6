"""What the commands have in common: options, and how results are told."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from kvmgen.pipeline import Result

Part = TypeVar("Part")


Inventory = Annotated[Path, typer.Option("--inventory", "-i", readable=False, help="The folder with the inventory.")]
Output = Annotated[Path, typer.Option("--output", "-o", readable=False, help="The folder that the hosts' files go to.")]
"""Whether they can be read is found out, and told, where they are read."""
Strict = Annotated[bool, typer.Option("--strict", help="Let warnings fail as well.")]


class ReportFormat(StrEnum):
    """How diagnostics are told: to people on stderr, to programs on stdout."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"
    SARIF = "sarif"
    GITLAB = "gitlab"
    JUNIT = "junit"


class ShowFormat(StrEnum):
    """How an answer is told."""

    TEXT = "text"
    JSON = "json"


Format = Annotated[
    ReportFormat, typer.Option("--format", help="How diagnostics are told: as text on stderr, the others on stdout.")
]


def loaded(inventory: Path) -> Result:
    """The checked site; the end where it is wrong."""
    from kvmgen import pipeline

    result = pipeline.load(inventory)
    tell(result)
    if result.site is None or not result.is_good:
        raise typer.Exit(1)
    return result


def say(line: str, format_: ReportFormat) -> None:
    """Tell a result: on stdout, unless that is a program's."""
    if not line.isprintable() or "#" in line:
        from kvmgen.report.printed import plain

        line = plain(line)
    typer.echo(line, err=format_ is not ReportFormat.TEXT)


def tell(result: Result, format_: ReportFormat = ReportFormat.TEXT) -> None:
    """Put the diagnostics on stderr for people, on stdout for programs."""
    if format_ is not ReportFormat.TEXT:
        from kvmgen.report import for_machines

        typer.echo(for_machines(format_, result.diagnostics, result.sources))
    elif result.diagnostics:
        from kvmgen.report import for_people

        colour = sys.stderr.isatty() and "NO_COLOR" not in os.environ
        typer.echo(for_people(result.diagnostics, result.sources, colour=colour), err=True)


def progress(parts: Iterator[Part], total: int) -> Iterable[Part]:
    """A progress bar on a terminal, for builds that are long enough to be watched."""
    if total < _WATCHED or not sys.stderr.isatty():
        yield from parts
        return
    with typer.progressbar(parts, length=total, label="hosts", file=sys.stderr) as bar:
        yield from bar


_WATCHED = 20
