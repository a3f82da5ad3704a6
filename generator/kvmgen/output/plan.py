"""Comparing the output with what it should be, without changing anything."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kvmgen.diagnostics import Diagnostic, Rule
from kvmgen.output import docs
from kvmgen.output.manifest import NAME as MANIFEST
from kvmgen.output.manifest import owned_paths

NOT_OWNED = Rule(code="KV030", title="A file in the output that isn't kvmgen's", doc=docs.NOT_OWNED)
SYMLINK = Rule(code="KV031", title="A symbolic link in the output", doc=docs.SYMLINK)
NOT_WRITTEN = Rule(code="KV032", title="An output that can't be read or written", doc=docs.NOT_WRITTEN)
STALE = Rule(code="KV035", title="An output that isn't what the inventory says", doc=docs.STALE)
RULES = (NOT_OWNED, SYMLINK, NOT_WRITTEN, STALE)

_MARKS = (b"Made by kvmgen from", b'"generator": "kvmgen"')
"""What every generated file holds near its start: how one is known whose manifest is lost."""

Files = Mapping[str, bytes]
"""A host's files: path relative to its folder -> content."""


@dataclass(slots=True)
class Plan:
    """What a build would change; paths are relative to the output's folder."""

    write: list[str] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)
    unchanged: int = 0
    problems: list[Diagnostic] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether the output is what the inventory says."""
        return not (self.write or self.remove)

    def add(self, other: Plan) -> None:
        """Take in another part of the same build."""
        self.write += other.write
        self.remove += other.remove
        self.unchanged += other.unchanged
        self.problems += other.problems


def plan_host(root: Path, host: str, files: Files) -> Plan:
    """Compare a host's folder with what it should hold, its manifest included."""
    plan = Plan()
    if not (_is_real_folder(root, plan) and _is_real_folder(root / host, plan)):
        if not plan.problems:
            plan.write = [f"{host}/{path}" for path in files]
        return plan
    folder = f"{root}/{host}"
    owned = _owned(folder)
    way = _Way(folder, plan)
    for path, content in files.items():
        if way.is_real(path):
            _compare(folder, host, path, content, owned, plan)
    for path in sorted(owned - files.keys()):
        if _is_inside(path) and way.is_real(path) and _is_file(f"{folder}/{path}", plan):
            plan.remove.append(f"{host}/{path}")
    return plan


def plan_gone_hosts(root: Path, hosts: Iterable[str]) -> Plan:
    """What to remove of hosts that are no longer in the inventory: whatever their manifests own."""
    plan = Plan()
    known = set(hosts)
    for name in sorted(folders(root)):
        if name not in known and _owned(f"{root}/{name}"):
            plan.add(plan_host(root, name, {}))
    return plan


def stale(root: Path, plan: Plan, command: str) -> Diagnostic:
    """Say that the output isn't up to date, and which command mends that."""
    first = min(plan.write + plan.remove)
    amounts = ((len(plan.write), "to write"), (len(plan.remove), "to remove"))
    told = " and ".join(f"{amount} {what}" for amount, what in amounts if amount)
    message = f"{root} isn't what the inventory says: files {told}, {first} first"
    return Diagnostic(rule=STALE, message=message, hint=f"Run `{command}` and commit what it changes.")


def folders(root: Path) -> Iterator[str]:
    """The names of the hosts' folders that are there."""
    with contextlib.suppress(OSError), os.scandir(root) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and entry.name[0] != ".":
                yield entry.name


def not_written(path: Path | str, error: OSError, *, whole: bool = True) -> Diagnostic:
    """Say what the operating system refused, and whether the output is whole."""
    state = "the output is as it was" if whole else "the output is neither the old one nor the new one"
    hint = "Make room or mend the permissions, and build again."
    return Diagnostic(rule=NOT_WRITTEN, message=f"{path}: {error.strerror}; {state}", hint=hint)


def _owned(folder: str) -> set[str]:
    """The paths of kvmgen's files in a host's folder: by its manifest, or by their own marks where that is lost."""
    try:
        paths = owned_paths((_read(f"{folder}/{MANIFEST}") or b"").decode())
    except (OSError, UnicodeDecodeError):
        paths = None
    return _marked(folder) if paths is None else {*paths, MANIFEST}


def _marked(folder: str) -> set[str]:
    """The paths of files that carry kvmgen's mark."""
    found = set()
    for parent, _, names in os.walk(folder):
        for name in names:
            path = f"{parent}/{name}"
            with contextlib.suppress(OSError):
                if _has_mark(_read(path)):
                    found.add(os.path.relpath(path, folder))
    return found


def _has_mark(content: bytes | None) -> bool:
    return content is not None and any(mark in content[:400] for mark in _MARKS)


def _is_inside(path: str) -> bool:
    return not path.startswith("/") and ".." not in path.split("/")


def _is_real_folder(folder: Path, plan: Plan) -> bool:
    """Whether the folder is there; something else in its place is a problem."""
    try:
        mode = folder.lstat().st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        plan.problems.append(not_written(folder, error))
        return False
    if stat.S_ISDIR(mode):
        return True
    plan.problems.append(_symlink(str(folder)) if stat.S_ISLNK(mode) else _in_the_way(str(folder)))
    return False


def _is_file(path: str, plan: Plan) -> bool:
    """Whether a file is there to be removed; something else under its name isn't kvmgen's."""
    try:
        mode = os.lstat(path).st_mode
    except ValueError:  # it can't be a path at all
        return False
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
            plan.problems.append(not_written(path, error))
        return False
    if not stat.S_ISREG(mode):
        plan.problems.append(_symlink(path) if stat.S_ISLNK(mode) else _in_the_way(path))
    return stat.S_ISREG(mode)


class _Way:
    """The folders on the way to a host's files: each is looked at once, and must not be a symbolic link."""

    def __init__(self, folder: str, plan: Plan) -> None:
        self._folder = folder
        self._plan = plan
        self._real: dict[str, bool] = {"": True}

    def is_real(self, path: str) -> bool:
        parent = path.rpartition("/")[0]
        if parent not in self._real:
            self._real[parent] = self.is_real(parent) and self._look(parent)
        return self._real[parent]

    def _look(self, parent: str) -> bool:
        full = f"{self._folder}/{parent}"
        if os.path.islink(full):
            self._plan.problems.append(_symlink(full))
            return False
        if os.path.lexists(full) and not os.path.isdir(full):
            self._plan.problems.append(_in_the_way(full))
            return False
        return True


def _compare(folder: str, host: str, path: str, wanted: bytes, owned: set[str], plan: Plan) -> None:
    try:
        present = _read(f"{folder}/{path}")
    except FileNotFoundError:
        plan.write.append(f"{host}/{path}")
        return
    except OSError as error:
        loop = error.errno == errno.ELOOP
        plan.problems.append(_symlink(f"{folder}/{path}") if loop else not_written(f"{folder}/{path}", error))
        return
    if present is None:
        plan.problems.append(_in_the_way(f"{folder}/{path}"))
    elif present == wanted:
        plan.unchanged += 1
    elif path in owned or _has_mark(present):
        plan.write.append(f"{host}/{path}")
    else:
        plan.problems.append(_in_the_way(f"{folder}/{path}"))


def _read(path: str) -> bytes | None:
    """A file's content; nothing for what isn't a file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    with open(descriptor, "rb") as stream:
        return stream.read()


def _in_the_way(path: str) -> Diagnostic:
    message = f"{path} is in the way: kvmgen didn't write it"
    hint = "Move it elsewhere; what it says belongs into the inventory."
    return Diagnostic(rule=NOT_OWNED, message=message, hint=hint)


def _symlink(path: str) -> Diagnostic:
    message = f"{path} is a symbolic link, which a build never follows"
    return Diagnostic(rule=SYMLINK, message=message, hint="Remove the link; kvmgen makes the file or folder itself.")
