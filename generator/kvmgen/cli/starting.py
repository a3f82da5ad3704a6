"""`schema`, `init` and `merge-driver`: what a repository is set up with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from kvmgen.cli._shared import tell


def schema(
    kind: Annotated[
        str | None,
        typer.Argument(
            help="Of what kvmgen reads: site, host, network, guest, filter, policy, common. Of what it writes: "
            "diagnostics, difference, explanation, manifest, reach, shown."
        ),
    ] = None,
    catalogue: Annotated[
        bool, typer.Option("--catalogue", help="Print a catalogue that ties inventories to the schemas in an editor.")
    ] = False,
    write: Annotated[Path | None, typer.Option(help="Write all schemas into this folder.", metavar="DIR")] = None,
) -> None:
    """Print the JSON Schema of a kind of file."""
    from kvmgen import starter

    if (kind is not None) + catalogue + (write is not None) != 1:
        raise typer.BadParameter("name a kind, or give --catalogue, or --write DIR")
    if write is not None:
        _write(write, starter.schemas())
    elif catalogue:
        typer.echo(starter.catalogue())
    else:
        known = starter.schemas()
        if f"{kind}.schema.json" not in known:
            names = ", ".join(name.removesuffix(".schema.json") for name in known)
            raise typer.BadParameter(f"there is no schema {kind!r}; there is: {names}")
        typer.echo(known[f"{kind}.schema.json"], nl=False)


def init(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="The new site's folder.")] = Path(),
    name: Annotated[
        str | None, typer.Option(help="The site's name, which never changes. Default: the folder's.")
    ] = None,
) -> None:
    """Start a new site: a small working example with hooks, pipelines, schemas and a README."""
    from kvmgen import pipeline, starter

    name = name or starter.name_for(folder)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise typer.BadParameter("a site's name has letters, digits, dots, dashes and underscores", param_hint="--name")
    texts = starter.files(folder, name)
    taken = starter.in_the_way(folder, texts)
    if taken:
        typer.echo(
            f"{folder / taken[0]} is there already: kvmgen starts a site where none is. Nothing was written.", err=True
        )
        raise typer.Exit(1)
    _write(folder, texts)
    result = pipeline.build(folder / "inventory", folder / "output")
    tell(result)
    if not result.is_good:
        raise typer.Exit(1)
    typer.echo(f"A site called {name} is in {folder}. Next: read its README.md, then `git init`, `git add .`,")
    typer.echo("`pre-commit install`, and commit.")


def merge_driver(
    ours: Annotated[Path, typer.Argument(help="git's %A: our version, which the result takes the place of.")],
    theirs: Annotated[Path, typer.Argument(help="git's %B: the version that is merged.")],
    path: Annotated[str, typer.Argument(help="git's %P: the file's path in the repository.")],
) -> None:
    """For git, where both branches changed a file of the output: ours stays, unmerged, until `kvmgen build`.

    No side is right, and no mixture of lines is: the output follows from the merged inventory. So nothing is decided
    here, but what either side's manifest owns stays known, so that the build removes what neither needs.
    """
    from kvmgen.output.manifest import NAME, with_files_of

    try:
        if path.rpartition("/")[2] == NAME:
            ours.write_bytes(with_files_of(ours.read_text("utf-8"), theirs.read_text("utf-8")).encode())
    except (OSError, UnicodeDecodeError) as error:
        typer.echo(f"{path!r} can't be merged: {error}", err=True)
    raise typer.Exit(1)


def _write(folder: Path, texts: dict[str, str]) -> None:
    from kvmgen import starter

    try:
        starter.write(folder, texts)
    except OSError as error:
        typer.echo(f"{error.filename or folder} can't be written: {error.strerror}.", err=True)
        raise typer.Exit(1) from None
