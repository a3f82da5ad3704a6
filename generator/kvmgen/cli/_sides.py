"""Both sides of a comparison for commands, or their end where there is nothing to compare."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from kvmgen.cli._shared import tell

if TYPE_CHECKING:
    from kvmgen.difference.reading import Compared, Read
    from kvmgen.difference.revision import Problem


@contextmanager
def both_sides(
    inventory: Path, revision: str, to: str | None = None, *, merge_base: bool = False, whole: bool = True
) -> Iterator[Compared]:
    """An older revision and the work tree or another revision, fit to be compared, while the context is open.

    Where the ``whole`` isn't wanted, of a large site only what the change is near to.
    """
    from kvmgen.difference.reading import compared
    from kvmgen.difference.revision import Problem

    with compared(inventory, revision, to, merge_base=merge_base, whole=whole) as sides:
        if isinstance(sides, Problem):
            raise _refused(sides)
        _tell_findings(sides)
        yield sides


def _refused(problem: Problem) -> typer.Exit:
    """Say why there is nothing to compare with."""
    from kvmgen.report.printed import plain

    typer.echo(plain(f"{problem.why}."), err=True)
    if problem.hint:
        typer.echo(plain(f"  hint: {problem.hint}"), err=True)
    return typer.Exit(2)


def _tell_findings(sides: Compared) -> None:
    """What is wrong with either side, which ends it; warnings are `validate`'s to tell."""
    for read in (sides.before, sides.after):
        _tell_errors(read)
    if not sides.before.is_good:
        typer.echo(
            f"The inventory of {sides.before.label} doesn't build with this kvmgen: name a revision that does, "
            "or the one in which it was mended.",
            err=True,
        )
    if not sides.is_good:
        raise typer.Exit(1)


def _tell_errors(read: Read) -> None:
    if read.result is not None and not read.is_good:
        read.result.diagnostics = read.errors
        tell(read.result)
