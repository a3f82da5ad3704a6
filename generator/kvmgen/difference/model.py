"""What a change does: the words in which every report of it is written."""

from __future__ import annotations

from enum import StrEnum

from kvmgen.value import value


class Verb(StrEnum):
    """What became of something."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


class Effect(StrEnum):
    """What the applier does to the host for a change, the gentlest first."""

    LIVE = "live"
    """Nobody notices."""
    NET_UPDATE = "net-update"
    """A running network takes it as it runs."""
    WAITS = "waits"
    """It is removed once the running guests that need it have stopped."""
    RESTART = "restart"
    """A service or a link is restarted."""
    NETWORK_RESTART = "network restart"
    """A network or bridge is restarted: its guests lose their link meanwhile."""
    GUEST_RESTART = "guest restart"
    """It waits until the guest is shut down and started again."""
    MANAGEMENT = "management"
    """It touches the way by which the host is administered."""


@value
class Place:
    """A line that somebody can open: ``file`` as it is seen from the repository's top, ``line`` from 1 or 0 for none.

    ``before`` is whether the line stands in the older revision only.
    """

    file: str
    line: int = 0
    before: bool = False

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@value
class Impact:
    """What applying does. ``guests`` lose their link or wait; ``needs`` is the word that the applier asks for."""

    effect: Effect
    guests: tuple[str, ...] = ()
    needs: str = ""
    why: str = ""


@value
class Attribute:
    """One thing that an object has: ``name`` as its file names it, with its values as text; ``None`` for none."""

    name: str
    before: str | None
    after: str | None
    causes: tuple[Place, ...] = ()


@value
class FileChange:
    """One file of the host's folder; ``diff`` is a unified diff, empty where the content isn't text."""

    path: str
    verb: Verb
    diff: str = ""


@value
class ObjectChange:
    """A guest, network, filter, link, zone, ... of a host; ``kind`` as the manifest has it."""

    kind: str
    name: str
    verb: Verb
    attributes: tuple[Attribute, ...] = ()
    causes: tuple[Place, ...] = ()
    impact: Impact | None = None
    files: tuple[FileChange, ...] = ()


@value
class HostChange:
    """What changes on one host."""

    host: str
    platform: str
    verb: Verb
    objects: tuple[ObjectChange, ...] = ()


@value
class Flow:
    """Packets that fare otherwise than before: from each of ``sources`` to each of ``targets``.

    ``services`` are like ``tcp/80``, ``ping``; ``versions`` 4 and 6. ``before`` and ``after`` are verdicts. ``cause``
    is the line that stops a closed one, or stopped an opened one, or that has gone with one of the ends; ``rule`` its
    text. ``opened_by`` is the line that lets an opened one through, and ``opening_rule`` its text. Of several such
    texts, as IPv4 and IPv6 have theirs, it is the first.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    services: tuple[str, ...]
    versions: tuple[int, ...]
    before: str
    after: str
    cause: Place | None = None
    rule: str = ""
    opened_by: Place | None = None
    opening_rule: str = ""


@value
class Difference:
    """All of it, sorted. ``before`` and ``after`` name the revisions; ``inventory`` are the files of it that changed.

    ``notes`` are what is to be told of the comparison itself: that the inventory was moved, that a side has none.
    ``other`` are flows whose verdict changed between others than delivered and not, or became unknown.
    """

    before: str
    after: str
    inventory: tuple[FileChange, ...] = ()
    hosts: tuple[HostChange, ...] = ()
    opens: tuple[Flow, ...] = ()
    closes: tuple[Flow, ...] = ()
    other: tuple[Flow, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether the hosts get what they had."""
        return not self.hosts
