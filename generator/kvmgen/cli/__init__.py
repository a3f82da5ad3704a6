"""The command: arguments, streams and exit codes; everything else is the pipeline's.

Exit codes: 0 good; 1 the site is wrong or the output stale; 2 called wrongly; 3 a bug in kvmgen.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import Annotated, NoReturn

import typer

from kvmgen import __version__
from kvmgen.cli.comparing import diff
from kvmgen.cli.compiling import build, validate
from kvmgen.cli.looking import explain, graph, show
from kvmgen.cli.reaching import reach
from kvmgen.cli.starting import init, merge_driver, schema

_DEFECT = 3

app = typer.Typer(
    help="GitOps for plain KVM hosts: an inventory in, the exact files of every host out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (build, validate, diff, explain, graph, show, reach, schema, init, merge_driver):
    app.command()(command)


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
