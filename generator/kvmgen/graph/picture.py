"""A site as a picture: nodes, the hosts they stand in, and what connects them, before any format.

Two pictures of the same site at different times have the same ids for the same things, so that `kvmgen.graph.compare`
can mark what differs; `kvmgen.graph.grouping` makes one of what is equal; the formats draw what they are given.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from kvmgen.value import value


class Kind(StrEnum):
    """What a node is."""

    GUEST = "guest"
    GATEWAY = "gateway"
    NETWORK = "network"
    OUTSIDE = "outside"
    NIC = "nic"
    BOND = "bond"
    VLAN = "vlan"
    BRIDGE = "bridge"

    @property
    def is_guest(self) -> bool:
        """Whether it is a guest, of whatever use to others."""
        return self in (Kind.GUEST, Kind.GATEWAY)


class State(StrEnum):
    """What a change does to a part of the picture; the mark stands before its name, for who doesn't see colours."""

    SAME = ""
    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"

    @property
    def mark(self) -> str:
        """What stands before a name."""
        return {State.SAME: "", State.ADDED: "+ ", State.REMOVED: "\u2212 ", State.CHANGED: "~ "}[self]


LEGEND = tuple(f"{state.mark}{state}" for state in (State.ADDED, State.REMOVED, State.CHANGED))
"""What a picture with marks says of them."""


@value
class Node:
    """One thing, or ``count`` equal ones under the names of the first and the last.

    ``notes`` are lines that equal nodes share, ``own`` those that none shares (addresses, a MAC, a title). ``group`` is
    the id of the host that it stands in. ``column`` is its place from left to right where its kind decides that.
    """

    id: str
    kind: Kind
    name: str
    group: str | None = None
    notes: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    column: int | None = None
    count: int = 1
    state: State = State.SAME


@value
class Group:
    """A host, or ``count`` hosts that look the same."""

    id: str
    name: str
    notes: tuple[str, ...] = ()
    count: int = 1
    state: State = State.SAME


@value
class Edge:
    """What connects two nodes, by their ids. ``name`` tells those between the same two apart (a guest's interface)."""

    source: str
    target: str
    name: str = ""
    label: tuple[str, ...] = ()
    state: State = State.SAME


@value
class Graph:
    """A picture. With ``directed``, edges lead from where packets come to where they go, and labels stand at the start.

    Otherwise edges go up the layers of links, and labels stand at their ends, where the guests are.
    """

    title: str
    description: str
    groups: tuple[Group, ...]
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    directed: bool

    def within(self, group: str | None) -> Iterator[Node]:
        """The nodes of one host, or those of none."""
        return (node for node in self.nodes if node.group == group)

    @property
    def is_marked(self) -> bool:
        """Whether it tells of a change."""
        states = [part.state for parts in (self.groups, self.nodes, self.edges) for part in parts]
        return any(state is not State.SAME for state in states)


_LONGEST = 64


def lines(node: Node) -> tuple[str, ...]:
    """What stands in a node, line by line, without anything that isn't printable."""
    counted = (f"{node.count} guests",) if node.count > 1 else ()
    return tuple(map(clean, (node.state.mark + node.name, *counted, *node.notes, *node.own)))


def heading(group: Group) -> str:
    """What stands over a host."""
    counted = (f"{group.count} hosts",) if group.count > 1 else ()
    return clean(group.state.mark + ", ".join((group.name, *counted, *group.notes)))


def label(edge: Edge) -> tuple[str, ...]:
    """What stands at an edge, line by line."""
    first, *others = edge.label or ("",)
    return tuple(map(clean, filter(None, (edge.state.mark + first, *others))))


def clean(text: str, longest: int = _LONGEST) -> str:
    """One printable line of no great length: titles are free text, and a terminal may be what shows the picture."""
    line = "".join(char if char.isprintable() else "\ufffd" for char in " ".join(text.split()))
    return line if len(line) <= longest else f"{line[: longest - 1]}\u2026"
