"""Writing the output: all of it or nothing, and only what changed.

New files are first written beside the old ones, into a folder of their own (`stage`); only when all of them are there
do they take their places, each by a rename (`commit`). A failure on the way puts back what was already moved.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from kvmgen.diagnostics import Diagnostic, Rule
from kvmgen.output import docs
from kvmgen.output.plan import Files, Plan, folders, not_written

BUSY = Rule(code="KV033", title="Another build at the same time", doc=docs.BUSY)
RULES = (BUSY,)

_STAGE = ".kvmgen-stage"

Move = tuple[Path, Path]


@contextlib.contextmanager
def locked(root: Path) -> Iterator[Diagnostic | None]:
    """Hold the output's folder against other builds, made if need be; yields why it can't be held, if so.

    What a build that was killed left of its stage is removed before and after.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        yield not_written(root, error)
        return
    try:
        problem = _lock(root, descriptor)
        if problem is None:
            _remove_stage(root)
        yield problem
    finally:
        if problem is None:
            _remove_stage(root)
        os.close(descriptor)


def _lock(root: Path, descriptor: int) -> Diagnostic | None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return Diagnostic(rule=BUSY, message=f"another build is writing {root}", hint="Wait for it to end.")
    except OSError as error:
        return not_written(root, error)
    return None


def _remove_stage(root: Path) -> None:
    """Remove the stage; a link in its place, which would lead writing elsewhere, as well."""
    stage = root / _STAGE
    if stage.is_symlink():
        with contextlib.suppress(OSError):
            stage.unlink()
    shutil.rmtree(stage, ignore_errors=True)


def stage(root: Path, host: str, files: Files, plan: Plan) -> None:
    """Write a host's changed files into the stage; a failure goes into the plan's problems."""
    prefix = len(host) + 1
    made: set[str] = set()
    try:
        for path in plan.write:
            target = f"{root}/{_STAGE}/new/{path}"
            parent = target.rpartition("/")[0]
            if parent not in made:
                os.makedirs(parent, exist_ok=True)
                made.add(parent)
            _write(target, files[path[prefix:]])
    except OSError as error:
        plan.problems.append(not_written(f"{root}/{host}", error))


def _write(path: str, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
    finally:
        os.close(descriptor)


def commit(root: Path, plan: Plan) -> Diagnostic | None:
    """Make the output what the plan says, or leave it as it was and say why."""
    undo: list[Move] = []
    try:
        _take_places(root, plan, undo)
    except BaseException as error:
        whole = _put_back(undo)
        _remove_empty_folders(root, plan.write)
        if isinstance(error, OSError):
            return not_written(error.filename or root, error, whole=whole)
        raise
    _remove_empty_folders(root, plan.remove)
    return None


def _put_back(undo: list[Move]) -> bool:
    """Move everything back; whether all of it could be."""
    whole = True
    for source, target in reversed(undo):
        try:
            os.replace(source, target)
        except OSError:
            whole = False
    return whole


def _take_places(root: Path, plan: Plan, undo: list[Move]) -> None:
    """Move old files aside and new ones in; ``undo`` notes the way back of each step."""
    new, old = root / _STAGE / "new", root / _STAGE / "old"
    new_hosts = {path.partition("/")[0] for path in plan.write} - set(folders(root))
    for host in sorted(new_hosts):
        _move(new / host, root / host, undo)
    for path in plan.remove:
        _move(root / path, old / path, undo)
    for path in plan.write:
        if path.partition("/")[0] not in new_hosts:
            if os.path.lexists(root / path):
                _move(root / path, old / path, undo)
            _move(new / path, root / path, undo)


def _move(source: Path, target: Path, undo: list[Move]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.rename(source, target)
    undo.append((target, source))


def _remove_empty_folders(root: Path, removed: list[str]) -> None:
    for path in removed:
        for parent in list(PurePosixPath(path).parents)[:-1]:
            try:
                (root / parent).rmdir()
            except OSError:
                break
