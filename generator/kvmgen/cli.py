"""The command: arguments, streams and exit codes; everything else is the pipeline's.

Exit codes: 0 good; 1 the site is wrong or the output stale; 2 called wrongly; 3 a bug in kvmgen.
"""

from __future__ import annotations

import gc
import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

from kvmgen import __version__

if TYPE_CHECKING:
    from kvmgen.output.plan import Plan
    from kvmgen.pipeline import Result

_DEFECT = 3
Part = TypeVar("Part")

app = typer.Typer(
    help="GitOps for plain KVM hosts: an inventory in, the exact files of every host out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

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


Format = Annotated[
    ReportFormat, typer.Option("--format", help="How diagnostics are told: as text on stderr, the others on stdout.")
]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kvmgen {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """GitOps for plain KVM hosts: an inventory in, the exact files of every host out."""


@app.command()
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

    result = pipeline.build(inventory, output, host=host, write=not check, strict=strict, progress=_progress)
    stopped = not result.is_good or (strict and bool(result.diagnostics))
    stale = check and not stopped and not result.plan.is_empty
    if stale:
        result.diagnostics.append(plan.stale(output, result.plan, _build_command(inventory, output, host)))
    _tell(result, format_)
    if stopped:
        raise typer.Exit(1)
    for line in _changes(output, result.plan, "would " if check else ""):
        _say(line, format_)
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
    changes = [("write", path) for path in plan.write] + [("remove", path) for path in plan.remove]
    for verb, path in sorted(changes, key=lambda change: change[1])[:_LISTED]:
        yield f"{would}{verb} {output / path}"
    if len(changes) > _LISTED:
        yield f"... and {len(changes) - _LISTED} more"
    if changes:
        yield f"{len(changes)} files {'would change' if would else 'changed'}, {plan.unchanged} unchanged."
    else:
        yield f"Up to date: {plan.unchanged} files."


_LISTED = 50
"""How many changed files are named; a first build has thousands."""


@app.command()
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
    _tell(result, format_)
    if not result.is_good or (strict and result.diagnostics):
        raise typer.Exit(1)
    if result.site is None:
        _say(f"Nothing in {inventory} has changed since {since or 'HEAD'}.", format_)
    else:
        _say(f"Valid: {len(result.site.hosts)} hosts, {len(result.site.guests)} guests.", format_)


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
    from kvmgen.changed import NoRevision, NotKnown, changed_files

    changed = changed_files(inventory, revision)
    if isinstance(changed, NoRevision):
        raise typer.BadParameter(changed.why, param_hint="--since")
    if isinstance(changed, NotKnown):
        _say(f"What has changed isn't known ({changed.why}): everything is told.", format_)
        return None
    return changed


def _fix(inventory: Path, format_: ReportFormat) -> None:
    from kvmgen.inventory.fix import fix

    try:
        for fixed in fix(inventory):
            place = f"{inventory / fixed.file}:{fixed.position.line}:{fixed.position.column}"
            _say(f"fixed {place}: {fixed.what}", format_)
    except OSError as error:
        typer.echo(f"{error.filename or inventory} can't be written: {error.strerror}.", err=True)
        raise typer.Exit(1) from None


@app.command()
def explain(
    what: Annotated[str, typer.Argument(metavar="CODE|PATH", help="A rule's code, or a file of the output.")],
    inventory: Inventory = Path("inventory"),
    output: Output = Path("output"),
) -> None:
    """Tell why a rule is there and what to do about it, or which lines of the inventory made a file."""
    from kvmgen.rules import as_text, rules

    if what.upper() in rules():
        typer.echo(as_text(rules()[what.upper()]))
        return
    if re.fullmatch(r"KV\d*", what, re.IGNORECASE):
        typer.echo(f"There is no rule {what.upper()}: the codes are {min(rules())} to {max(rules())}.", err=True)
        raise typer.Exit(1)
    _explain_file(Path(what), inventory, output)


def _explain_file(path: Path, inventory: Path, output: Path) -> None:
    from kvmgen import explain as explaining
    from kvmgen import pipeline

    result = pipeline.load(inventory)
    _tell(result)
    if result.site is None or not result.is_good:
        raise typer.Exit(1)
    lines = explaining.origins_of(path, output, result.site, result.sources)
    if lines is None:
        typer.echo(f"{path} is not a file that `kvmgen build` makes from {inventory}.", err=True)
        raise typer.Exit(1)
    for line in lines:
        typer.echo(line)


class View(StrEnum):
    """Which picture of the site is drawn."""

    LOGICAL = "logical"
    PHYSICAL = "physical"


class Drawing(StrEnum):
    """How a picture is drawn."""

    MERMAID = "mermaid"
    SVG = "svg"
    DOT = "dot"


@app.command()
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
    inventory: Inventory = Path("inventory"),
) -> None:
    """Draw the site: its networks and what they lead to, or its links and what they carry."""
    from kvmgen import graph as drawing

    site = _loaded(inventory).site
    assert site is not None
    for name in hosts or ():
        if name not in site.hosts:
            typer.echo(f"There is no host {name!r}. There is: {', '.join(site.hosts) or 'none yet'}.", err=True)
            raise typer.Exit(1)
    picture = drawing.picture(site, view, hosts or site.hosts, group)
    text = drawing.FORMATS[format_](picture)
    typer.echo(text, nl=False)
    if format_ is Drawing.MERMAID and drawing.mermaid.is_too_large(text, picture):
        typer.echo("Forges don't draw a picture of this size: choose hosts with --host, or lower --group.", err=True)


class ObjectKind(StrEnum):
    """What can be shown."""

    HOST = "host"
    NETWORK = "network"
    GUEST = "guest"
    FILTER = "filter"
    POLICY = "policy"


class ShowFormat(StrEnum):
    """How an object is shown."""

    TEXT = "text"
    JSON = "json"


@app.command()
def show(
    kind: Annotated[ObjectKind, typer.Argument(metavar="KIND", help="host, network, guest, filter or policy.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="The object's name.")],
    inventory: Inventory = Path("inventory"),
    format_: Annotated[ShowFormat, typer.Option("--format", help="For people, or for programs.")] = ShowFormat.TEXT,
) -> None:
    """Show one object with everything resolved, where each value was said, and the files that it is in."""
    from kvmgen import show as showing
    from kvmgen.report.printed import plain, plain_lines
    from kvmgen.show.text import as_json, as_text

    result = _loaded(inventory)
    assert result.site is not None
    found = showing.show(kind, name, result.site, result.sources)
    if isinstance(found, str):
        typer.echo(plain(found), err=True)
        raise typer.Exit(1)
    typer.echo(as_json(found) if format_ is ShowFormat.JSON else plain_lines(as_text(found)))


def _loaded(inventory: Path) -> Result:
    """The checked site; the end where it is wrong."""
    from kvmgen import pipeline

    result = pipeline.load(inventory)
    _tell(result)
    if result.site is None or not result.is_good:
        raise typer.Exit(1)
    return result


@app.command()
def reach(
    source: Annotated[str, typer.Argument(metavar="FROM", help="A guest, GUEST:NIC, a host, an address, or outside.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="The same.")],
    tcp: Annotated[int | None, typer.Option(help="A TCP port.", min=1, max=65535)] = None,
    udp: Annotated[int | None, typer.Option(help="A UDP port.", min=1, max=65535)] = None,
    icmp: Annotated[str | None, typer.Option(help="An ICMP type, by its name or number.")] = None,
    icmpv6: Annotated[str | None, typer.Option(help="An ICMPv6 type, by its name or number.")] = None,
    arp: Annotated[bool, typer.Option("--arp", help="An ARP reply.")] = False,
    four: Annotated[bool, typer.Option("-4", help="IPv4 only.")] = False,
    six: Annotated[bool, typer.Option("-6", help="IPv6 only.")] = False,
    spoof_ip: Annotated[str | None, typer.Option(help="Send under this address.")] = None,
    spoof_mac: Annotated[str | None, typer.Option(help="Send under this MAC.")] = None,
    expect: Annotated[
        str | None, typer.Option(help="Exit with 1 where a verdict isn't this.", metavar="VERDICT")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Tell it to a program.")] = False,
    inventory: Inventory = Path("inventory"),
) -> None:
    """Follow a packet through the files that the hosts would get: does it get there, and which line decides.

    Without a protocol it is a ping. Exits with 0 whatever the verdict is, unless --expect names another one.
    """
    from kvmgen import pipeline
    from kvmgen.asking import Asked, Unanswerable, ask

    result = pipeline.load(inventory)
    if result.site is None or not result.is_good:
        _tell(result)
        raise typer.Exit(1)
    versions = tuple(version for version, wanted in ((4, four), (6, six)) if wanted) or (4, 6)
    ports: dict[str, int | str | None] = {"tcp": tcp, "udp": udp, "icmp": icmp, "icmpv6": icmpv6}
    asked = Asked(source=source, target=target, versions=versions, spoof_ip=spoof_ip, spoof_mac=spoof_mac, arp=arp)
    try:
        told, verdicts = ask(result, asked, ports, as_json=as_json)
    except Unanswerable as error:
        raise typer.BadParameter(str(error)) from None
    typer.echo(told)
    if expect is not None and verdicts != {expect}:
        raise typer.Exit(1)


@app.command()
def schema(
    kind: Annotated[
        str | None, typer.Argument(help="site, host, network, guest, filter, common, manifest or diagnostics.")
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


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="The new site's folder.")] = Path(),
    name: Annotated[
        str | None, typer.Option(help="The site's name, which never changes. Default: the folder's.")
    ] = None,
) -> None:
    """Start a new site: a small working example with hooks, schemas and a README."""
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
    _tell(result)
    if not result.is_good:
        raise typer.Exit(1)
    typer.echo(f"A site called {name} is in {folder}. Next: read its README.md, then `git init`, `git add .`,")
    typer.echo("`pre-commit install`, and commit.")


@app.command("merge-driver")
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


def _say(line: str, format_: ReportFormat) -> None:
    """Tell a result: on stdout, unless that is a program's."""
    if not line.isprintable() or "#" in line:
        from kvmgen.report.printed import plain

        line = plain(line)
    typer.echo(line, err=format_ is not ReportFormat.TEXT)


def _tell(result: Result, format_: ReportFormat = ReportFormat.TEXT) -> None:
    """Put the diagnostics on stderr for people, on stdout for programs."""
    if format_ is not ReportFormat.TEXT:
        from kvmgen.report import for_machines

        typer.echo(for_machines(format_, result.diagnostics, result.sources))
    elif result.diagnostics:
        from kvmgen.report import for_people

        colour = sys.stderr.isatty() and "NO_COLOR" not in os.environ
        typer.echo(for_people(result.diagnostics, result.sources, colour=colour), err=True)


def _progress(parts: Iterator[Part], total: int) -> Iterable[Part]:
    """A progress bar on a terminal, for builds that are long enough to be watched."""
    if total < _WATCHED or not sys.stderr.isatty():
        yield from parts
        return
    with typer.progressbar(parts, length=total, label="hosts", file=sys.stderr) as bar:
        yield from bar


_WATCHED = 20


def main() -> NoReturn:
    """Run the command; a bug is told as one, with how to report it."""
    gc.disable()  # short-lived and acyclic: collecting costs a fifth of a large build's time and frees nothing
    try:
        app()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception:
        import traceback

        traceback.print_exc()
        typer.echo("This is a bug in kvmgen: please report it with the lines above.", err=True)
        code = _DEFECT
    _leave(code)


def _leave(code: int) -> NoReturn:
    """End at once: taking a large site's model apart object by object would be a tenth of a build's time."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = code or 1
    os._exit(code)
