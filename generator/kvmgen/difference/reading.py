"""From the two names of a comparison to its two sides."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from kvmgen import pipeline
from kvmgen.changed import changed_files
from kvmgen.diagnostics import Diagnostic, counted
from kvmgen.difference import revision
from kvmgen.difference.near import Near, near
from kvmgen.difference.revision import Listing, Problem
from kvmgen.difference.sides import Side
from kvmgen.difference.summary import listed
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
        """Whether it can be compared: nothing of it is wrong, or of the older one nothing that hinders that."""
        if self.result is None or (self.result.site is not None and self.result.is_good):
            return True
        return self.before and self.result.is_whole and not any(one.rule.guards for one in self.errors)

    @property
    def errors(self) -> list[Diagnostic]:
        """What is wrong with it."""
        return [] if self.result is None else [one for one in self.result.diagnostics if one.is_error]

    def files(self, only: Collection[str] | None = None) -> dict[str, bytes]:
        """The inventory's files, or some of them."""
        if self.result is None:
            return {}
        root = self.result.sources.read_from or self.result.sources.root
        return {file: (root / file).read_bytes() for _, file in inventory_files(root) if only is None or file in only}

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
    """Both revisions; ``changed`` are the inventory's files that differ, ``notes`` what is to be told about both.

    ``hosts`` are those that were looked at; ``None`` for all.
    """

    before: Read
    after: Read
    changed: frozenset[str]
    notes: tuple[str, ...] = ()
    hosts: frozenset[str] | None = None

    @property
    def is_good(self) -> bool:
        """Whether they can be compared."""
        return self.before.is_good and self.after.is_good


@contextmanager
def compared(
    inventory: Path, older: str = "HEAD", newer: str | None = None, *, merge_base: bool = False, whole: bool = True
) -> Iterator[Compared | Problem]:
    """Both sides, for as long as the context is open; ``newer`` is the work tree where no revision is named.

    Where not the ``whole`` site is wanted, of a large one only what the change is near to is read.
    """
    asked = _asked(inventory, older, newer, merge_base=merge_base)
    if isinstance(asked, Problem):
        yield asked
        return
    with ExitStack() as stack:
        part = None if whole else asked.near()
        found = asked.read(stack, part)
        if part is not None and isinstance(found, Compared) and (found.before.errors or not found.is_good):
            found = asked.read(stack, None)  # all that is wrong is told, wherever it is
        yield found


@dataclass(slots=True)
class _Asked:
    """What is compared: two listings, or a listing and the work tree."""

    inventory: Path
    repository: Repository
    before: Listing
    after: Listing | None
    folder: str

    def near(self) -> Near | None:
        """The part of the site that the change can matter to."""
        changed = self._changed()
        if changed is None:
            return None
        entries = self.before.entries
        older = revision.contents(self.repository, {file: entries[file] for file in changed if file in entries})
        texts = self._texts()
        if isinstance(older, Problem) or texts is None:
            return None
        return near(texts, older, changed)

    def _changed(self) -> frozenset[str] | None:
        """The inventory's files that differ, as git knows it; ``None`` where it can't be sure."""
        old = self.before.entries
        if any(entry.is_link for entry in old.values()):
            return None
        if self.after is not None:
            new = self.after.entries
            if any(entry.is_link for entry in new.values()):
                return None
            before, after = ({way: entry.object for way, entry in side.items()} for side in (old, new))
            return frozenset(way for way in {*before, *after} if before.get(way) != after.get(way))
        if self.before.folder != self.folder:
            return None
        changed = changed_files(self.inventory, self.before.commit, self.repository)
        if not isinstance(changed, frozenset) or any((self.inventory / file).is_symlink() for file in changed):
            return None
        return changed

    def _texts(self) -> dict[str, bytes] | None:
        """The newer side's files."""
        if self.after is not None:
            found = revision.contents(self.repository, self.after.entries)
            return None if isinstance(found, Problem) else found
        try:
            return {file: (self.inventory / file).read_bytes() for _, file in inventory_files(self.inventory)}
        except OSError:
            return None

    def read(self, stack: ExitStack, part: Near | None) -> Compared | Problem:
        """Both sides, or a part of them."""
        before = self._listed(stack, self.before, part, before=True)
        after = self._work_tree(part) if self.after is None else self._listed(stack, self.after, part, before=False)
        for side in (before, after):
            if isinstance(side, Problem):
                return side
        assert isinstance(before, Read)
        assert isinstance(after, Read)
        if before.result is None and after.result is None:
            hint = "Name its folder with --inventory."
            return Problem(why=f"neither revision has an inventory in {self.folder or 'the top folder'}", hint=hint)
        notes = (*after.notes, *before.notes, *_all_the_same(before))
        changed = _differing(before, after, None if part is None else part.files)
        return Compared(before, after, changed, notes, None if part is None else part.hosts)

    def _listed(self, stack: ExitStack, listing: Listing, part: Near | None, *, before: bool) -> Read | Problem:
        """A revision's inventory; its places are told as git writes them, REVISION:PATH."""
        result = None
        if listing.entries:
            root = Path(stack.enter_context(TemporaryDirectory(prefix="kvmgen-")))
            entries = {way: one for way, one in listing.entries.items() if part is None or way in part.files}
            problem = revision.write(self.repository, entries, root)
            if problem is not None:
                return problem
            result = _loaded(root, part)
            result.sources = Sources(Path(f"{listing.revision}:{listing.folder}"), read_from=root)
        return Read(listing.label, listing.folder, result, before, listing.notes, listing.commit)

    def _work_tree(self, part: Near | None) -> Read:
        """What is in the folder now, committed or not."""
        changed = changed_files(self.inventory, "HEAD", self.repository)
        is_clean = isinstance(changed, frozenset) and not changed
        label = "the work tree" if is_clean else "the work tree, with changes not committed"
        head = revision.commit(self.repository, "HEAD")
        commit = head if is_clean and isinstance(head, str) else ""
        return Read(label, self.folder, _loaded(self.inventory, part), before=False, commit=commit)


def _all_the_same(before: Read) -> Iterator[str]:
    """That the older side is wrong, where that doesn't keep it from being compared: it is what a change may mend."""
    if before.errors and before.is_good:
        codes = listed(sorted({one.rule.code for one in before.errors}))
        yield f"{before.label} breaks {codes} ({counted(len(before.errors), 'error')}): it is compared all the same."


def _loaded(root: Path, part: Near | None) -> Result:
    """A site, or a part of it: of that, what is wrong beside the point doesn't count."""
    if part is None:
        return pipeline.load(root)
    result = pipeline.load(root, part.files)
    result.diagnostics = [
        one for one in result.diagnostics if one.origin is None or not part.own.isdisjoint(_files(one))
    ]
    return result


def _files(diagnostic: Diagnostic) -> set[str]:
    places = (diagnostic.origin, *(place for place, _ in diagnostic.related))
    return {place.file for place in places if place is not None}


def _asked(inventory: Path, older: str, newer: str | None, *, merge_base: bool) -> _Asked | Problem:
    repository = revision.repository(inventory)
    if isinstance(repository, Problem):
        return repository
    commit = _older_commit(repository, older, newer, merge_base=merge_base)
    if isinstance(commit, Problem):
        return commit
    folder, site = revision.folder_of(inventory, repository), revision.site_in(inventory)
    after = None if newer is None else _newer(repository, newer, folder, site)
    if isinstance(after, Problem):
        return after
    name = f"where it left {older}" if merge_base else older
    before = revision.listed(repository, name, commit, after.folder if after else folder, site)
    return before if isinstance(before, Problem) else _Asked(inventory, repository, before, after, folder)


def _older_commit(repository: Repository, older: str, newer: str | None, *, merge_base: bool) -> str | Problem:
    """The commit to compare with: the named one, or the one that both sides come from."""
    commit = revision.commit(repository, older)
    if isinstance(commit, Problem) or not merge_base:
        return commit
    other = revision.commit(repository, newer or "HEAD")
    return other if isinstance(other, Problem) else revision.common_ancestor(repository, commit, other)


def _newer(repository: Repository, name: str, folder: str, site: str | None) -> Listing | Problem:
    commit = revision.commit(repository, name)
    return commit if isinstance(commit, Problem) else revision.listed(repository, name, commit, folder, site)


def _differing(before: Read, after: Read, only: Collection[str] | None) -> frozenset[str]:
    """The inventory's files that only one has or that aren't the same."""
    old, new = before.files(only), after.files(only)
    return frozenset(file for file in {*old, *new} if old.get(file) != new.get(file))
