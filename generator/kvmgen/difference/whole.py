"""A difference from its two sides: the inventory's files, the hosts' objects, and what becomes of packets."""

from __future__ import annotations

from collections.abc import Collection

from kvmgen.difference.causes import Causes
from kvmgen.difference.compare import host_changes, raw
from kvmgen.difference.model import Difference, FileChange, Verb
from kvmgen.difference.reading import Compared
from kvmgen.difference.sides import Side


def difference(compared: Compared) -> Difference:
    """What the newer side does that the older one didn't. Both must be good."""
    before, after = compared.before.side, compared.after.side
    causes = Causes(before, after, compared.changed)
    return Difference(
        before=compared.before.label,
        after=compared.after.label,
        notes=compared.notes,
        inventory=tuple(_inventory(before, after, compared.changed)),
        hosts=host_changes(before, after, causes),
    )


def _inventory(before: Side | None, after: Side | None, changed: Collection[str]) -> list[FileChange]:
    """The inventory's own files that changed, as git would tell it."""
    found = []
    for file in sorted(changed):
        old, new = (side.text(file) if side else None for side in (before, after))
        verb = Verb.ADDED if old is None else Verb.REMOVED if new is None else Verb.CHANGED
        side = before if new is None else after
        assert side is not None
        path = side.path(file)
        found.append(FileChange(path=path, verb=verb, diff=raw(path, old or "", new or "")))
    return found
