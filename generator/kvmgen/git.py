"""What git knows, asked with the user's own git and without changing anything."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from kvmgen.value import value


@value
class NotKnown:
    """Why git can't say."""

    why: str


@value
class NoRevision:
    """The revision that was named isn't there."""

    why: str


@value
class Repository:
    """A work tree: its top, and the environment in which git finds it from anywhere."""

    top: str
    environment: Mapping[str, str]

    def git(self, *arguments: str) -> str | NotKnown:
        """What git prints, asked from the top."""
        return git("-C", self.top, *arguments, environment=self.environment)


def git(*arguments: str, environment: Mapping[str, str] | None = None) -> str | NotKnown:
    """What git prints, or why it prints nothing. It is asked from the current folder, where hooks are started."""
    try:
        done = subprocess.run(  # noqa: S603 # no shell between
            ["git", *arguments],  # noqa: S607 # the user's git
            capture_output=True,
            check=False,
            env=environment,
        )
    except OSError as error:
        return NotKnown(why=f"git can't be started: {error.strerror}")
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        return NotKnown(why=said[0] if said else f"git {arguments[0]} failed")
    return os.fsdecode(done.stdout)


def repository_of(folder: Path) -> Repository | NotKnown:
    """The repository whose work tree holds a folder, or the nearest folder above that is there.

    A hook is started with variables that name the repository for its own folder; the one that is meant here is found
    from the folder itself.
    """
    real = os.path.realpath(folder)
    while not os.path.isdir(real):
        real = os.path.dirname(real)
    environment = {name: said for name, said in os.environ.items() if name not in _local_variables()}
    top = git("-C", real, "rev-parse", "--show-toplevel", environment=environment)
    if isinstance(top, NotKnown):
        return top
    return Repository(top=top.removesuffix("\n"), environment=environment)


@cache
def _local_variables() -> frozenset[str]:
    """The variables of the environment that tie git to one repository."""
    names = git("rev-parse", "--local-env-vars")
    return frozenset() if isinstance(names, NotKnown) else frozenset(names.split())


def commit_of(revision: str, repository: Repository | None = None) -> str | NotKnown | NoRevision:
    """The commit that a revision names, in the current folder's repository or another one."""
    ask = git if repository is None else repository.git
    inside = ask("rev-parse", "--is-inside-work-tree")
    if isinstance(inside, NotKnown):
        return inside
    found = ask("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if isinstance(found, str):
        return found.strip()
    if revision == "HEAD":
        return NotKnown(why="nothing is committed yet")
    shallow = ask("rev-parse", "--is-shallow-repository")
    hint = "; this clone is shallow: `git fetch --unshallow` brings the rest" if shallow == "true\n" else ""
    return NoRevision(why=f"git knows no revision {revision!r} here{hint}")
