"""The inventory of a git revision, read from its objects: neither the work tree nor the index is touched."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from kvmgen.diagnostics import Diagnostic
from kvmgen.git import NoRevision, NotKnown, Repository, commit_of, repository_of
from kvmgen.inventory.read import SITE_FILE
from kvmgen.inventory.source import decode, parse
from kvmgen.value import record, value

_SHORT = 10
"""How many digits of a commit's name are told: enough for any repository, and always the same."""


@value
class Problem:
    """Why there is nothing to compare with, and what to do about it."""

    why: str
    hint: str = ""


@value
class Listing:
    """What the inventory of one revision consists of.

    ``label`` is how reports call the revision, ``folder`` the inventory's way from the repository's top, ``entries``
    its files by their way in that folder: none where the revision has no inventory. ``notes`` are what is to be told.
    """

    revision: str
    commit: str
    label: str
    folder: str
    entries: Mapping[str, Entry]
    notes: tuple[str, ...] = ()


@record
class Entry:
    """A path in a commit."""

    mode: str
    object: str
    path: str

    @property
    def is_file(self) -> bool:
        """Whether it is a file."""
        return self.mode.startswith("100")

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return self.mode == "120000"

    @property
    def is_submodule(self) -> bool:
        """Whether it is another repository's commit."""
        return self.mode == "160000"


def repository(inventory: Path) -> Repository | Problem:
    """The repository that an inventory is in."""
    found = repository_of(inventory)
    if isinstance(found, Repository):
        return found
    hint = "Give the path of an inventory in a git work tree, in which git itself works."
    return Problem(why=f"git can't be asked about {inventory}: {found.why}", hint=hint)


def folder_of(inventory: Path, repository: Repository) -> str:
    """An inventory's way from the repository's top, with forward slashes; empty where it is the top itself."""
    way = os.path.relpath(os.path.realpath(inventory), os.path.realpath(repository.top))
    return "" if way == os.curdir else way


def commit(repository: Repository, revision: str) -> str | Problem:
    """The commit that a revision names."""
    found = commit_of(revision, repository)
    if isinstance(found, NotKnown):
        return Problem(why=f"{found.why}, so that there is no revision to compare with", hint="Commit first.")
    if isinstance(found, NoRevision):
        return Problem(why=found.why, hint=_how_to_get(repository, revision))
    return found


def _how_to_get(repository: Repository, revision: str) -> str:
    """What brings a revision into this clone; pipelines check out one branch, and often one commit."""
    remote = repository.git("rev-parse", "--verify", "--quiet", "--end-of-options", f"origin/{revision}^{{commit}}")
    if isinstance(remote, str):
        return f"There is origin/{revision}: name that."
    if _is_shallow(repository):
        return _DEEPEN
    return "Name a branch, a tag or a commit that `git log` knows; `git fetch` brings those of others."


_DEEPEN = (
    "This clone has only the newest commits: run `git fetch --unshallow`, or let the pipeline clone everything "
    "(`fetch-depth: 0` for actions/checkout, `GIT_DEPTH: 0` in GitLab CI)."
)


def _is_shallow(repository: Repository) -> bool:
    return repository.git("rev-parse", "--is-shallow-repository") == "true\n"


def common_ancestor(repository: Repository, one: str, other: str) -> str | Problem:
    """The newest commit that both come from."""
    found = repository.git("merge-base", one, other)
    if isinstance(found, str):
        return found.split("\n")[0]
    hint = _DEEPEN if _is_shallow(repository) else "Compare with a revision without --merge-base."
    return Problem(why=f"{one[:_SHORT]} and {other[:_SHORT]} have no commit in common here", hint=hint)


def label(revision: str, commit: str) -> str:
    """How reports call a revision: by its name and its commit."""
    return commit[:_SHORT] if commit.startswith(revision) else f"{revision} ({commit[:_SHORT]})"


def listed(repository: Repository, revision: str, commit: str, folder: str, site: str | None) -> Listing | Problem:
    """The inventory that stood in ``folder`` in a commit, or where the site of that name stood otherwise."""
    told = label(revision, commit)
    entries = _entries(repository, commit, folder)
    notes: tuple[str, ...] = ()
    if isinstance(entries, Problem):
        return entries
    if not any(entry.path == _in(folder, SITE_FILE) for entry in entries):
        moved = _moved(repository, commit, site)
        if moved is None:
            notes, entries = (_none(entries, told, folder),), []
        else:
            notes, folder = (f"In {told} the inventory is in {moved or 'the top folder'}.",), moved
            entries = _entries(repository, commit, folder)
            if isinstance(entries, Problem):
                return entries
    notes += tuple(f"{one.path} is a submodule, which isn't looked into." for one in entries if one.is_submodule)
    ways = {entry.path.removeprefix(f"{folder}/") if folder else entry.path: entry for entry in entries}
    return Listing(revision=revision, commit=commit, label=told, folder=folder, entries=ways, notes=notes)


def _in(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _none(entries: Iterable[Entry], label: str, folder: str) -> str:
    """Why a revision has no inventory there."""
    within = next((entry.path for entry in entries if entry.is_submodule), None)
    if within is not None:
        return f"In {label} {within} is a submodule, which isn't looked into: everything counts as new."
    return f"{label} has no inventory in {folder or 'the top folder'}: everything counts as new."


def _entries(repository: Repository, commit: str, folder: str) -> list[Entry] | Problem:
    """What a commit holds in a folder, or the submodule that the folder is in."""
    listed = repository.git("ls-tree", "-r", "-z", "--full-tree", commit, *(("--", folder) if folder else ()))
    if isinstance(listed, NotKnown):
        return Problem(why=f"git can't list {commit[:_SHORT]}: {listed.why}")
    entries = []
    for line in filter(None, listed.split("\0")):
        about, _, path = line.partition("\t")
        mode, _, object_ = about.split(" ")
        entries.append(Entry(mode, object_, path))
    return entries


def _moved(repository: Repository, commit: str, site: str | None) -> str | None:
    """The folder in which the site of that name stands in a commit, if it is one."""
    entries = _entries(repository, commit, "")
    if site is None or isinstance(entries, Problem):
        return None
    files = {entry.path: entry for entry in entries if entry.path.rpartition("/")[2] == SITE_FILE}
    found = contents(repository, files)
    if isinstance(found, Problem):
        return None
    folders = [path.rpartition("/")[0] for path, content in found.items() if _name_of(content) == site]
    return folders[0] if len(folders) == 1 else None


def site_in(inventory: Path) -> str | None:
    """The name of the site that a folder holds now."""
    try:
        return _name_of((inventory / SITE_FILE).read_bytes())
    except OSError:
        return None


def _name_of(content: bytes) -> str | None:
    """The name that a site file says."""
    source = decode(SITE_FILE, content)
    data = None if isinstance(source, Diagnostic) else parse(source)[0]
    name = data.get("name") if isinstance(data, dict) else None
    return name if isinstance(name, str) else None


def write(repository: Repository, entries: Mapping[str, Entry], root: Path) -> Problem | None:
    """Make a folder hold what a commit has. Links come last, so that no file is written through one."""
    found = contents(repository, entries)
    if isinstance(found, Problem):
        return found
    try:
        for way in sorted(found, key=lambda way: (entries[way].is_link, way)):
            if os.pardir in way.split("/") or way.startswith("/"):
                return Problem(why=f"git has a path that leads out of its folder: {way!r}")
            _put(root, way, found[way], as_link=entries[way].is_link)
    except (OSError, ValueError) as error:
        return Problem(why=f"the older inventory can't be written into {root}: {error}", hint="Make room there.")
    return None


def _put(root: Path, way: str, content: bytes, *, as_link: bool) -> None:
    parent, _, name = way.rpartition("/")
    folder = f"{root}/{parent}"
    os.makedirs(folder, exist_ok=True)
    if as_link:
        os.symlink(content, os.fsencode(f"{folder}/{name}"))
    else:
        with open(f"{folder}/{name}", "xb", buffering=0) as stream:
            stream.write(content)


def contents(repository: Repository, entries: Mapping[str, Entry]) -> dict[str, bytes] | Problem:
    """The contents of the files and links by their ways, from one process of git."""
    wanted = {way: entry for way, entry in entries.items() if entry.is_file or entry.is_link}
    try:
        done = subprocess.run(  # noqa: S603 # no shell between
            ["git", "-C", repository.top, "cat-file", "--batch"],  # noqa: S607 # the user's git
            input="".join(f"{entry.object}\n" for entry in wanted.values()).encode(),
            capture_output=True,
            check=False,
            env=repository.environment,
        )
    except OSError as error:
        return Problem(why=f"git can't be started: {error.strerror}")
    if done.returncode:
        return Problem(why=f"git can't read the older inventory: {done.stderr.decode(errors='replace').strip()}")
    return _split(done.stdout, wanted)


def _split(output: bytes, entries: Mapping[str, Entry]) -> dict[str, bytes] | Problem:
    """What ``git cat-file --batch`` printed: for each a line that ends with its size, its content, a line end."""
    found: dict[str, bytes] = {}
    start = 0
    for way, entry in entries.items():
        end = output.index(b"\n", start)
        head = output[start:end].split()
        if head[-1:] == [b"missing"]:
            return Problem(why=f"git has lost the content of {entry.path}", hint="Look at it with `git fsck`.")
        size = int(head[-1])
        found[way] = output[end + 1 : end + 1 + size]
        start = end + 1 + size + 1
    return found
