"""What git says has changed, for whoever wants to be told of that alone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Container, Iterable, Iterator
from pathlib import Path

from kvmgen.diagnostics import Diagnostic
from kvmgen.value import value


@value
class NotKnown:
    """Why git can't say what changed."""

    why: str


@value
class NoRevision:
    """The revision that was named isn't there."""

    why: str


def changed_files(folder: Path, revision: str) -> frozenset[str] | NotKnown | NoRevision:
    """The files below a folder that aren't what they were in a revision, relative to the folder.

    Staged or not, removed, or unknown to git: ignored ones as well, for kvmgen reads them all the same.
    """
    commit = _commit(revision)
    if not isinstance(commit, str):
        return commit
    real = os.path.realpath(folder)
    if not os.path.isfile(f"{real}/site.yaml"):
        return NotKnown(why=f"{folder} is no inventory")
    tracked = _git("diff", "--name-only", "--no-renames", "--no-ext-diff", "-z", commit, "--", real)
    others = _git("ls-files", "--others", "-z", "--full-name", "--", real)
    top = _git("rev-parse", "--show-toplevel")
    for answer in (tracked, others, top):
        if isinstance(answer, NotKnown):
            return answer
    assert isinstance(tracked, str)
    assert isinstance(others, str)
    assert isinstance(top, str)
    top = top.removesuffix("\n")
    if _has_repository_of_its_own(real, top):
        return NotKnown(why=f"{folder} belongs to another repository")
    names = filter(None, (tracked + others).split("\0"))
    return frozenset(os.path.relpath(os.path.join(top, name), real) for name in names)


def _has_repository_of_its_own(folder: str, top: str) -> bool:
    """Whether a repository inside the one at ``top`` holds the folder: from outside, no change there is seen."""
    while folder.startswith(f"{top}/"):
        if os.path.lexists(f"{folder}/.git"):
            return True
        folder = os.path.dirname(folder)
    return False


def _commit(revision: str) -> str | NotKnown | NoRevision:
    """The commit that a revision names."""
    inside = _git("rev-parse", "--is-inside-work-tree")
    if isinstance(inside, NotKnown):
        return inside
    found = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if isinstance(found, str):
        return found.strip()
    if revision == "HEAD":
        return NotKnown(why="nothing is committed yet")
    shallow = _git("rev-parse", "--is-shallow-repository")
    hint = "; this clone is shallow: `git fetch --unshallow` brings the rest" if shallow == "true\n" else ""
    return NoRevision(why=f"git knows no revision {revision!r} here{hint}")


def _git(*arguments: str) -> str | NotKnown:
    """What git prints, or why it prints nothing. It is asked from the current folder, where hooks are started."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False)  # noqa: S603, S607 # the user's git
    except OSError as error:
        return NotKnown(why=f"git can't be started: {error.strerror}")
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        return NotKnown(why=said[0] if said else f"git {arguments[0]} failed")
    return os.fsdecode(done.stdout)


def told_of(diagnostics: Iterable[Diagnostic], changed: Container[str]) -> Iterator[Diagnostic]:
    """Every error, and the warnings that speak of a changed file.

    An error may stand in a file that nobody touched and still be new: two objects that clash are told at one of them.
    """
    for diagnostic in diagnostics:
        places = (diagnostic.origin, *(origin for origin, _ in diagnostic.related))
        if diagnostic.is_error or any(place is None or place.file in changed for place in places):
            yield diagnostic
