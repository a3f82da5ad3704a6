"""From the two names of a comparison to its two sides."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from kvmgen import pipeline
from kvmgen.changed import changed_files
from kvmgen.difference import revision
from kvmgen.difference.revision import Checkout, Problem
from kvmgen.difference.sides import Side
from kvmgen.git import Repository
from kvmgen.inventory.read import inventory_files
from kvmgen.inventory.sources import Sources
from kvmgen.pipeline import Result


@dataclass(slots=True)
class Read:
    """One revision as it was read. ``result`` is ``None`` where the revision has no inventory.

    ``commit`` is the revision's, or the one that the work tree is equal to; empty where it is equal to none.
    """

    label: str
    folder: str
    result: Result | None
    before: bool
    notes: tuple[str, ...] = ()
    commit: str = ""

    @property
    def is_good(self) -> bool:
        """Whether nothing of it is wrong."""
        return self.result is None or (self.result.site is not None and self.result.is_good)

    def files(self) -> dict[str, bytes]:
        """The inventory's files."""
        if self.result is None:
            return {}
        root = self.result.sources.read_from or self.result.sources.root
        return {file: (root / file).read_bytes() for _, file in inventory_files(root)}

    @property
    def side(self) -> Side | None:
        """What it says, where it is right."""
        if self.result is None or self.result.site is None:
            return None
        return Side(
            label=self.label,
            site=self.result.site,
            sources=self.result.sources,
            folder=self.folder,
            before=self.before,
        )


@dataclass(slots=True)
class Compared:
    """Both revisions; ``changed`` are the inventory's files that differ, ``notes`` what is to be told about both."""

    before: Read
    after: Read
    changed: frozenset[str]
    notes: tuple[str, ...] = ()

    @property
    def is_good(self) -> bool:
        """Whether they can be compared."""
        return self.before.is_good and self.after.is_good


@contextmanager
def compared(
    inventory: Path, older: str = "HEAD", newer: str | None = None, *, merge_base: bool = False
) -> Iterator[Compared | Problem]:
    """Both sides, for as long as the context is open; ``newer`` is the work tree where no revision is named."""
    with ExitStack() as stack:
        yield _compared(stack, inventory, older, newer, merge_base=merge_base)


def _compared(
    stack: ExitStack, inventory: Path, older: str, newer: str | None, *, merge_base: bool
) -> Compared | Problem:
    repository = revision.repository(inventory)
    if isinstance(repository, Problem):
        return repository
    commit = _older_commit(repository, older, newer, merge_base=merge_base)
    if isinstance(commit, Problem):
        return commit
    folder = revision.folder_of(inventory, repository)
    after = (
        _work_tree(inventory, repository, folder) if newer is None else _of(stack, repository, newer, inventory, folder)
    )
    if isinstance(after, Problem):
        return after
    name = f"where it left {older}" if merge_base else older
    site = revision.site_in(inventory)
    checkout = stack.enter_context(revision.checked_out(repository, name, commit, after.folder, site))
    if isinstance(checkout, Problem):
        return checkout
    before = _read(checkout, before=True)
    if before.result is None and after.result is None:
        hint = "Name its folder with --inventory."
        return Problem(why=f"neither revision has an inventory in {folder or 'the top folder'}", hint=hint)
    return Compared(before, after, _differing(before, after), (*after.notes, *before.notes))


def _older_commit(repository: Repository, older: str, newer: str | None, *, merge_base: bool) -> str | Problem:
    """The commit to compare with: the named one, or the one that both sides come from."""
    commit = revision.commit(repository, older)
    if isinstance(commit, Problem) or not merge_base:
        return commit
    other = revision.commit(repository, newer or "HEAD")
    return other if isinstance(other, Problem) else revision.common_ancestor(repository, commit, other)


def _of(stack: ExitStack, repository: Repository, name: str, inventory: Path, folder: str) -> Read | Problem:
    """The newer side where it is a revision."""
    commit = revision.commit(repository, name)
    if isinstance(commit, Problem):
        return commit
    site = revision.site_in(inventory)
    checkout = stack.enter_context(revision.checked_out(repository, name, commit, folder, site))
    return checkout if isinstance(checkout, Problem) else _read(checkout, before=False)


def _work_tree(inventory: Path, repository: Repository, folder: str) -> Read:
    """What is in the folder now, committed or not."""
    changed = changed_files(inventory, "HEAD", repository)
    is_clean = isinstance(changed, frozenset) and not changed
    label = "the work tree" if is_clean else "the work tree, with changes not committed"
    head = revision.commit(repository, "HEAD")
    commit = head if is_clean and isinstance(head, str) else ""
    return Read(label, folder, pipeline.load(inventory), before=False, commit=commit)


def _read(checkout: Checkout, *, before: bool) -> Read:
    """A revision's inventory; its places are told as git writes them, REVISION:PATH."""
    if checkout.root is None:
        return Read(checkout.label, checkout.folder, None, before, checkout.notes, checkout.commit)
    result = pipeline.load(checkout.root)
    shown = Path(f"{checkout.revision}:{checkout.folder}")
    result.sources = Sources(shown, read_from=checkout.root)
    return Read(checkout.label, checkout.folder, result, before, checkout.notes, checkout.commit)


def _differing(before: Read, after: Read) -> frozenset[str]:
    """The inventory's files that only one has or that aren't the same."""
    old, new = before.files(), after.files()
    return frozenset(file for file in {*old, *new} if old.get(file) != new.get(file))
