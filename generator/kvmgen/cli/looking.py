"""`explain`, `graph` and `show`: a closer look at a rule, a file, an object or the whole."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kvmgen.cli._shared import Inventory, Output, ShowFormat, loaded
from kvmgen.cli._sides import both_sides

if TYPE_CHECKING:
    from kvmgen.explain.lines import Wanted
    from kvmgen.model.site import Site


def explain(
    what: Annotated[
        str,
        typer.Argument(
            metavar="CODE|PATH[:LINE[-LINE]]", help="A rule's code, a file of the output, or lines of such a file."
        ),
    ],
    inventory: Inventory = Path("inventory"),
    output: Output = Path("output"),
    format_: Annotated[ShowFormat, typer.Option("--format", help="For people, or for programs.")] = ShowFormat.TEXT,
) -> None:
    """Tell why a rule is there and what to do about it, or which lines of the inventory made a file or a line of it."""
    from kvmgen.explain.lines import Wanted
    from kvmgen.report.printed import as_json
    from kvmgen.rules import as_data, as_text, rules

    if what.upper() in rules():
        rule = rules()[what.upper()]
        typer.echo(as_json(as_data(rule)) if format_ is ShowFormat.JSON else as_text(rule))
        return
    if re.fullmatch(r"KV\d*", what, re.IGNORECASE):
        typer.echo(f"There is no rule {what.upper()}: the codes are {min(rules())} to {max(rules())}.", err=True)
        raise typer.Exit(1)
    wanted = None if (output / what).exists() or Path(what).exists() else Wanted.parse(what)
    if wanted is None:
        _explain_file(Path(what), inventory, output, format_)
    else:
        _explain_lines(wanted, inventory, output, format_)


def _explain_file(path: Path, inventory: Path, output: Path, format_: ShowFormat) -> None:
    from kvmgen import explain as explaining
    from kvmgen.report.printed import as_json, plain

    result = loaded(inventory)
    assert result.site is not None
    lines = explaining.origins_of(path, output, result.site, result.sources)
    if lines is None:
        typer.echo(plain(f"{path} is not a file that `kvmgen build` makes from {inventory}."), err=True)
        raise typer.Exit(1)
    if format_ is ShowFormat.JSON:
        typer.echo(as_json(explaining.as_data(path, lines)))
        return
    for line in lines:
        typer.echo(plain(line))


def _explain_lines(wanted: Wanted, inventory: Path, output: Path, format_: ShowFormat) -> None:
    from kvmgen.explain.lines import explain_lines
    from kvmgen.explain.text import as_data, as_text
    from kvmgen.report.printed import as_json, plain, plain_lines

    result = loaded(inventory)
    assert result.site is not None
    found = explain_lines(wanted, output, result.site, result.sources)
    if isinstance(found, str):
        typer.echo(plain(found), err=True)
        raise typer.Exit(1)
    typer.echo(as_json(as_data(found)) if format_ is ShowFormat.JSON else plain_lines(as_text(found, wanted.path)))


class View(StrEnum):
    """Which picture of the site is drawn."""

    LOGICAL = "logical"
    PHYSICAL = "physical"


class Drawing(StrEnum):
    """How a picture is drawn."""

    MERMAID = "mermaid"
    SVG = "svg"
    DOT = "dot"


def graph(
    view: Annotated[
        View, typer.Option("--view", help="Who is on which network and where it leads; or what carries what.")
    ] = View.LOGICAL,
    format_: Annotated[
        Drawing, typer.Option("--format", help="For a forge's Markdown, for a browser, or for Graphviz.")
    ] = Drawing.MERMAID,
    hosts: Annotated[
        list[str] | None, typer.Option("--host", help="Draw this host only; give it again for another.")
    ] = None,
    group: Annotated[
        int, typer.Option("--group", min=0, help="Draw more than this many equal guests, or hosts, as one; 0: never.")
    ] = 4,
    diff: Annotated[
        str | None, typer.Option("--diff", metavar="REV", help="Mark what is other than in this revision.")
    ] = None,
    inventory: Inventory = Path("inventory"),
) -> None:
    """Draw the site: its networks and what they lead to, or its links and what they carry."""
    from kvmgen import graph as drawing

    before, site = _to_draw(inventory, diff)
    known = {**site.hosts, **(before.hosts if before else {})}
    for name in hosts or ():
        if name not in known:
            typer.echo(f"There is no host {name!r}. There is: {', '.join(known) or 'none yet'}.", err=True)
            raise typer.Exit(1)
    picture = drawing.picture(site, view, hosts or known, group, before=before)
    text = drawing.FORMATS[format_](picture)
    typer.echo(text, nl=False)
    if format_ is Drawing.MERMAID and drawing.mermaid.is_too_large(text, picture):
        typer.echo("Forges don't draw a picture of this size: choose hosts with --host, or lower --group.", err=True)


def _to_draw(inventory: Path, revision: str | None) -> tuple[Site | None, Site]:
    """The site as it was in a revision, if one is named, and as it is; all is new where the revision has none."""
    if revision is None:
        site = loaded(inventory).site
        assert site is not None
        return None, site
    from kvmgen.graph import without_hosts

    with both_sides(inventory, revision) as sides:
        before, after = (side.result.site if side.result else None for side in (sides.before, sides.after))
    if after is None:
        typer.echo(f"{inventory} holds no inventory to draw.", err=True)
        raise typer.Exit(1)
    return before or without_hosts(after), after


class ObjectKind(StrEnum):
    """What can be shown."""

    HOST = "host"
    NETWORK = "network"
    GUEST = "guest"
    FILTER = "filter"
    POLICY = "policy"


def show(
    kind: Annotated[ObjectKind, typer.Argument(metavar="KIND", help="host, network, guest, filter or policy.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="The object's name.")],
    inventory: Inventory = Path("inventory"),
    format_: Annotated[ShowFormat, typer.Option("--format", help="For people, or for programs.")] = ShowFormat.TEXT,
) -> None:
    """Show one object with everything resolved, where each value was said, and the files that it is in."""
    from kvmgen import show as showing
    from kvmgen.report.printed import as_json, plain, plain_lines
    from kvmgen.show.text import as_document, as_text

    result = loaded(inventory)
    assert result.site is not None
    found = showing.show(kind, name, result.site, result.sources)
    if isinstance(found, str):
        typer.echo(plain(found), err=True)
        raise typer.Exit(1)
    typer.echo(as_json(as_document(found)) if format_ is ShowFormat.JSON else plain_lines(as_text(found)))
