"""`diff`: what a change does, by meaning."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kvmgen.cli._shared import Inventory
from kvmgen.cli._sides import both_sides

if TYPE_CHECKING:
    from kvmgen.difference.model import Difference
    from kvmgen.difference.reading import Compared


class DiffFormat(StrEnum):
    """How a difference is told."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"
    HTML = "html"


def diff(
    revision: Annotated[
        str, typer.Argument(metavar="[REV]", help="What to compare with: a branch, a tag, a commit.")
    ] = "HEAD",
    to: Annotated[
        str | None, typer.Option(metavar="REV", help="Compare with this revision instead of the work tree.")
    ] = None,
    merge_base: Annotated[
        bool, typer.Option("--merge-base", help="Compare with where the newer side left REV, as a pull request does.")
    ] = False,
    raw: Annotated[bool, typer.Option("--raw", help="With the unified diff of every file.")] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 1 where a host gets anything else than before.")
    ] = False,
    format_: Annotated[
        DiffFormat,
        typer.Option("--format", help="For a terminal, for programs, for a pull request's comment, or as a page."),
    ] = DiffFormat.TEXT,
    link_base: Annotated[
        str, typer.Option("--link-base", metavar="URL", help="Where a forge shows files: https://HOST/OWNER/REPO/blob.")
    ] = "",
    limit: Annotated[int, typer.Option("--limit", min=1_000, help="What a comment may have, in bytes.")] = 65_536,
    inventory: Inventory = Path("inventory"),
) -> None:
    """Tell what a change does: to packets, to each host, and what applying it disturbs.

    Compares the work tree with HEAD unless told otherwise; neither it nor git's index is touched.
    """
    whole = format_ is DiffFormat.HTML
    with both_sides(inventory, revision, to, merge_base=merge_base, whole=whole) as sides:
        found = _difference(sides)
        if format_ in (DiffFormat.MARKDOWN, DiffFormat.HTML):
            typer.echo(_document(found, sides, format_, link_base, limit), nl=False)
    _show(found, format_, raw=raw)
    if exit_code and not found.is_empty:
        raise typer.Exit(1)


def _difference(sides: Compared) -> Difference:
    from kvmgen.difference.whole import difference

    return difference(sides)


def _show(found: Difference, format_: DiffFormat, *, raw: bool) -> None:
    if format_ is DiffFormat.TEXT and sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        _on_terminal(found, raw=raw)
        return
    if format_ in _FORMATS:
        typer.echo(_FORMATS[format_](found, raw))


def _document(found: Difference, sides: Compared, format_: DiffFormat, link_base: str, limit: int) -> str:
    """A comment, or a page."""
    from kvmgen.page import as_html
    from kvmgen.page.assembled import assembled, in_mermaid, links_of, site_of
    from kvmgen.report.difference_markdown import as_markdown

    links = links_of(sides, link_base)
    if format_ is DiffFormat.MARKDOWN:
        return as_markdown(found, site_of(sides), links, limit, in_mermaid(sides, found))
    return as_html(assembled(sides, found, links))


def _on_terminal(found: Difference, *, raw: bool) -> None:
    """In colours."""
    from rich.console import Console
    from rich.text import Text

    from kvmgen.report.difference_text import lines

    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    for line in lines(found, raw=raw):
        console.print(Text.assemble(*line))


def _as_text(found: Difference, raw: bool) -> str:
    from kvmgen.report.difference_text import as_text

    return as_text(found, raw=raw)


def _as_json(found: Difference, _raw: bool) -> str:
    from kvmgen.report.difference_json import as_json

    return as_json(found)


_FORMATS: Mapping[DiffFormat, Callable[[Difference, bool], str]] = {
    DiffFormat.TEXT: _as_text,
    DiffFormat.JSON: _as_json,
}
