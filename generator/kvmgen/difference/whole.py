"""A difference from its two sides: the inventory's files, the hosts' objects, and what becomes of packets."""

from __future__ import annotations

from collections.abc import Collection

from kvmgen.diagnostics import counted
from kvmgen.difference.causes import Causes
from kvmgen.difference.compare import host_changes, raw
from kvmgen.difference.flows import Flows
from kvmgen.difference.model import Difference, FileChange, Verb
from kvmgen.difference.packets import packets
from kvmgen.difference.reading import Compared
from kvmgen.difference.sides import Side
from kvmgen.difference.summary import listed
from kvmgen.difference.words import assumed


def difference(compared: Compared) -> Difference:
    """What the newer side does that the older one didn't. Both must be good."""
    before, after = compared.before.side, compared.after.side
    causes = Causes(before, after, compared.changed)
    hosts = host_changes(before, after, causes, compared.hosts)
    asked = packets(before, after, hosts, compared.hosts) if before is not None and after is not None else None
    found, notes = asked or Flows(), (*compared.notes, *assumed(hosts))
    if asked is not None and compared.hosts is not None:
        names = sorted(compared.hosts)
        notes += (_PART.format(hosts=listed(names) if len(names) <= _NAMED else counted(len(names), "host")),)
    return Difference(
        before=compared.before.label,
        after=compared.after.label,
        notes=notes,
        inventory=tuple(_inventory(before, after, compared.changed)),
        hosts=hosts,
        opens=found.opens,
        closes=found.closes,
        other=found.other,
    )


_PART = (
    "Packets are told of {hosts} and the guests there, among each other and with the outside: "
    "`kvmgen reach --diff` asks about the whole site."
)
_NAMED = 6


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
