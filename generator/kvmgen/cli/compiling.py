"""`build` and `validate`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kvmgen.cli._shared import Format, Inventory, Output, ReportFormat, Strict, progress, say, tell

if TYPE_CHECKING:
    from kvmgen.output.plan import Plan
    from kvmgen.pipeline import Result


def build(
    inventory: Inventory = Path("inventory"),
    output: Output = Path("output"),
    host: Annotated[str | None, typer.Option(help="Build this host's folder only.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 where the output isn't up to date.")
    ] = False,
    strict: Strict = False,
    format_: Format = ReportFormat.TEXT,
) -> None:
    """Compile the inventory into the files of every host."""
    from kvmgen import pipeline
    from kvmgen.output import plan

    result = pipeline.build(inventory, output, host=host, write=not check, strict=strict, progress=progress)
    stopped = not result.is_good or (strict and bool(result.diagnostics))
    stale = check and not stopped and not result.plan.is_empty
    if stale:
        result.diagnostics.append(plan.stale(output, result.plan, _build_command(inventory, output, host)))
    tell(result, format_)
    if stopped:
        raise typer.Exit(1)
    for line in _changes(output, result.plan, "would " if check else ""):
        say(line, format_)
    if stale:
        raise typer.Exit(1)


def _build_command(inventory: Path, output: Path, host: str | None) -> str:
    """What brings the output that was looked at up to date."""
    options = [
        ("--inventory", str(inventory), "inventory"),
        ("--output", str(output), "output"),
        ("--host", host, None),
    ]
    given = [word for option, value, usual in options if value not in (None, usual) for word in (option, value)]
    return shlex.join(["kvmgen", "build", *map(str, given)])


def _changes(output: Path, plan: Plan, would: str) -> Iterator[str]:
    """What a build changed or would change, file by file, and a summary."""
    from kvmgen.diagnostics import counted

    changes = [("write", path) for path in plan.write] + [("remove", path) for path in plan.remove]
    for verb, path in sorted(changes, key=lambda change: change[1])[:_LISTED]:
        yield f"{would}{verb} {output / path}"
    if len(changes) > _LISTED:
        yield f"... and {len(changes) - _LISTED} more"
    if changes:
        yield f"{counted(len(changes), 'file')} {'would change' if would else 'changed'}, {plan.unchanged} unchanged."
    else:
        yield f"Up to date: {counted(plan.unchanged, 'file')}."


_LISTED = 50
"""How many changed files are named; a first build has thousands."""


def validate(
    inventory: Inventory = Path("inventory"),
    strict: Strict = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="First correct what has one right answer, in the inventory's files.")
    ] = False,
    changed_only: Annotated[
        bool,
        typer.Option(
            "--changed-only",
            help="Nothing where git sees no change in the inventory; of warnings, those that speak of a changed file.",
        ),
    ] = False,
    since: Annotated[
        str | None, typer.Option(metavar="REV", help="With --changed-only: what counts as changed. Default: HEAD.")
    ] = None,
    format_: Format = ReportFormat.TEXT,
) -> None:
    """Find everything that is wrong with the inventory, without writing any output."""
    if since is not None and not changed_only:
        raise typer.BadParameter("it says what --changed-only looks at", param_hint="--since")
    if fix:
        _fix(inventory, format_)
    changed = _changed(inventory, since or "HEAD", format_) if changed_only else None
    result = _validated(inventory, changed)
    tell(result, format_)
    if not result.is_good or (strict and result.diagnostics):
        raise typer.Exit(1)
    if result.site is None:
        say(f"Nothing in {inventory} has changed since {since or 'HEAD'}.", format_)
    else:
        from kvmgen.diagnostics import counted

        found = counted(len(result.site.hosts), "host"), counted(len(result.site.guests), "guest")
        say(f"Valid: {', '.join(found)}.", format_)


def _validated(inventory: Path, changed: frozenset[str] | None) -> Result:
    """What is wrong with an inventory; of which only some files have changed, if that is known."""
    from kvmgen import pipeline

    if changed is None:
        return pipeline.validate(inventory)
    if not changed:
        return pipeline.nothing_to_do(inventory)
    from kvmgen.changed import told_of

    result = pipeline.load(inventory)
    result.diagnostics = list(told_of(result.diagnostics, changed))
    return result


def _changed(inventory: Path, revision: str, format_: ReportFormat) -> frozenset[str] | None:
    """The files that changed; nothing where git can't say, which is told, and everything is looked at."""
    from kvmgen.changed import changed_files
    from kvmgen.git import NoRevision, NotKnown

    changed = changed_files(inventory, revision)
    if isinstance(changed, NoRevision):
        raise typer.BadParameter(changed.why, param_hint="--since")
    if isinstance(changed, NotKnown):
        say(f"What has changed isn't known ({changed.why}): everything is told.", format_)
        return None
    return changed


def _fix(inventory: Path, format_: ReportFormat) -> None:
    from kvmgen.inventory.fix import fix

    try:
        for fixed in fix(inventory):
            place = f"{inventory / fixed.file}:{fixed.position.line}:{fixed.position.column}"
            say(f"fixed {place}: {fixed.what}", format_)
    except OSError as error:
        typer.echo(f"{error.filename or inventory} can't be written: {error.strerror}.", err=True)
        raise typer.Exit(1) from None
