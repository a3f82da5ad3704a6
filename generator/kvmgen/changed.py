"""What git says has changed, for whoever wants to be told of that alone."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator
from pathlib import Path

from kvmgen.diagnostics import Diagnostic
from kvmgen.git import NoRevision, NotKnown, Repository, commit_of, git


def changed_files(
    folder: Path, revision: str, repository: Repository | None = None
) -> frozenset[str] | NotKnown | NoRevision:
    """The files below a folder that aren't what they were in a revision, relative to the folder.

    Staged or not, removed, or unknown to git: ignored ones as well, for kvmgen reads them all the same. The repository
    is the current folder's where none is given.
    """
    commit = commit_of(revision, repository)
    if not isinstance(commit, str):
        return commit
    real = os.path.realpath(folder)
    if not os.path.isfile(f"{real}/site.yaml"):
        return NotKnown(why=f"{folder} is no inventory")
    ask = git if repository is None else repository.git
    tracked = ask("diff", "--name-only", "--no-renames", "--no-ext-diff", "-z", commit, "--", real)
    others = ask("ls-files", "--others", "-z", "--full-name", "--", real)
    top = ask("rev-parse", "--show-toplevel")
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


def told_of(diagnostics: Iterable[Diagnostic], changed: Container[str]) -> Iterator[Diagnostic]:
    """Every error, and the warnings that speak of a changed file.

    An error may stand in a file that nobody touched and still be new: two objects that clash are told at one of them.
    """
    for diagnostic in diagnostics:
        places = (diagnostic.origin, *(origin for origin, _ in diagnostic.related))
        if diagnostic.is_error or any(place is None or place.file in changed for place in places):
            yield diagnostic
