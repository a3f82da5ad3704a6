"""Where everything stands: columns from left to right, in each host's box, hosts one below the other.

The columns are known (the layers of links; or how many steps lie between a guest and the outside), so what is left of a
layered layout is to order each column by where its neighbours are, and to lead long edges through the columns between.
Lengths are SVG's pixels; all of it is whole numbers, so that every machine writes the same.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from unicodedata import east_asian_width

from kvmgen.graph.picture import Edge, Graph, Group, Kind, Node, heading, label, lines
from kvmgen.value import value

LINE = 16
"""The distance of lines of text."""
CHARACTER = 7.3
SMALL_CHARACTER = 6.1
"""The width of a character of a monospace font: 12 pixels high in nodes, 10 at edges."""

SEPARATOR = " \u00b7 "
"""What stands between lines that are written as one."""

_PAD = 10
_APART = 14
_GAP = 44
_HEAD = 26
_SWEEPS = 4

Point = tuple[int, int]


@dataclass(slots=True, eq=False)
class Slot:
    """A node's place, or a long edge's in a column that it only passes; ``x`` and ``y`` are its upper left corner."""

    column: int
    width: int = 0
    height: int = _APART
    x: int = 0
    y: int = 0
    left: list[Slot] = field(default_factory=list)
    right: list[Slot] = field(default_factory=list)

    @property
    def middle(self) -> int:
        """Half its height."""
        return self.y + self.height // 2


@value
class Box:
    """A host's box: its corner and its size."""

    group: Group
    x: int
    y: int
    width: int
    height: int


@value
class Way:
    """An edge as the points that it leads through, and where its label stands."""

    edge: Edge
    points: tuple[Point, ...]
    at: Point
    is_left_of_it: bool  # the label ends there instead of starting there


@value
class Layout:
    """All of it."""

    width: int
    height: int
    boxes: tuple[Box, ...]
    slots: Mapping[str, Slot]
    ways: tuple[Way, ...]


def text_width(text: str, character: float) -> int:
    """A line's width; East Asian characters are as wide as two."""
    return round(character * sum(2 if east_asian_width(sign) in "WF" else 1 for sign in text))


def layout(graph: Graph) -> Layout:
    """Everything's place."""
    columns = _columns(graph)
    labelled = Counter(edge.source if graph.directed else edge.target for edge in graph.edges)
    slots = {node.id: _slot(node, columns[node.id], labelled[node.id]) for node in graph.nodes}
    groups: dict[str | None, list[Slot]] = {group.id: [] for group in graph.groups} | {None: []}
    for node in graph.nodes:
        groups[node.group].append(slots[node.id])
    chains = _chains(graph, slots, groups)
    stacks = {group: _ordered(members) for group, members in groups.items()}
    _spread(graph, slots, groups)
    boxes = _stack(graph, stacks)
    _beside(stacks[None])
    ways = _ways(graph, slots, chains)
    every = [slot for members in groups.values() for slot in members]
    width = max([box.x + box.width for box in boxes] + [slot.x + slot.width for slot in every], default=0)
    height = max([box.y + box.height for box in boxes] + [slot.y + slot.height for slot in every], default=0)
    return Layout(width=width + _PAD, height=height + _PAD, boxes=boxes, slots=slots, ways=ways)


def _columns(graph: Graph) -> dict[str, int]:
    """By node, its column; what stands in no host comes behind all hosts."""
    columns = {node.id: node.column for node in graph.nodes if node.column is not None}
    if len(columns) < len(graph.nodes):
        steps = _steps(graph)
        columns = {name: max(steps.values()) - count for name, count in steps.items()}
    inside = sorted({columns[node.id] for node in graph.nodes if node.group is not None})
    outside = sorted({columns[node.id] for node in graph.within(None)})
    return {
        node.id: len(inside) + outside.index(columns[node.id]) if node.group is None else inside.index(columns[node.id])
        for node in graph.nodes
    }


def _steps(graph: Graph) -> dict[str, int]:
    """By node, the most steps to where its packets can go; where they can go in circles, each place counts once."""
    following: defaultdict[str, list[str]] = defaultdict(list)
    for edge in graph.edges:
        following[edge.source].append(edge.target)
    found = {node.id: _LEAST.get(node.kind, 0) for node in graph.nodes}
    for _ in range(_MOST_STEPS):
        longer = {name: max([count, *(found[after] + 1 for after in following[name])]) for name, count in found.items()}
        if longer == found:
            break
        found = longer
    return found


_LEAST = {Kind.NETWORK: 1, Kind.GATEWAY: 2, Kind.GUEST: 2}
_MOST_STEPS = 8
"""Networks behind gateways behind gateways: nobody has more, and a circle ends."""


def _slot(node: Node, column: int, ports: int) -> Slot:
    texts = lines(node)
    width = max(text_width(text, CHARACTER) for text in texts) + 2 * _PAD
    return Slot(column, width, max(len(texts) * LINE + _PAD, (ports + 1) * LINE))


def _chains(graph: Graph, slots: Mapping[str, Slot], groups: Mapping[str | None, list[Slot]]) -> list[list[Slot]]:
    """By edge, the slots that it leads through, from its source to its target."""
    of = {node.id: node for node in graph.nodes}
    last = {group: max((slot.column for slot in members), default=0) for group, members in groups.items()}
    chains = []
    for edge in graph.edges:
        first, second = slots[edge.source], slots[edge.target]
        low, high = sorted((edge.source, edge.target), key=lambda name: slots[name].column)
        group = of[low].group
        end = slots[high].column if of[high].group == group else last[group] + 1
        passed = [Slot(column) for column in range(slots[low].column + 1, end)]
        groups[group].extend(passed)
        chain = [slots[low], *passed, slots[high]]
        if first.column != second.column:
            for one, other in pairwise(chain):
                one.right.append(other)
                other.left.append(one)
        chains.append(chain if low == edge.source else chain[::-1])
    return chains


def _ordered(members: Sequence[Slot]) -> dict[int, list[Slot]]:
    """A host's columns, each ordered by the middle of what its slots are connected to on either side."""
    columns: dict[int, list[Slot]] = {}
    for slot in sorted(members, key=lambda slot: slot.column):
        columns.setdefault(slot.column, []).append(slot)
    rank: dict[int, float] = {}
    for column in columns.values():
        rank |= _ranked(column)
    for sweep in range(_SWEEPS):
        for number in sorted(columns, reverse=bool(sweep % 2)):
            columns[number].sort(key=lambda slot: _pull(slot, rank, sweep % 2 == 0))
            rank |= _ranked(columns[number])
    return columns


def _ranked(column: Sequence[Slot]) -> dict[int, float]:
    return {id(slot): (index + 0.5) / len(column) for index, slot in enumerate(column)}


def _pull(slot: Slot, rank: Mapping[int, float], to_left: bool) -> float:
    around = [rank[id(other)] for other in (slot.left if to_left else slot.right) if id(other) in rank]
    return round(sum(around) / len(around), 6) if around else rank[id(slot)]


def _spread(graph: Graph, slots: Mapping[str, Slot], groups: Mapping[str | None, list[Slot]]) -> None:
    """Give every column its place from left to right: as wide as its widest node, with room for labels behind it."""
    room: defaultdict[int, int] = defaultdict(int)
    widths: defaultdict[int, int] = defaultdict(int)
    for edge in graph.edges:
        source, target = slots[edge.source].column, slots[edge.target].column
        near = source if graph.directed else target
        before = near > (target if graph.directed else source)
        wide = text_width(SEPARATOR.join(label(edge)), SMALL_CHARACTER)
        room[near - before] = max(room[near - before], wide)
    every = [slot for members in groups.values() for slot in members]
    for slot in every:
        widths[slot.column] = max(widths[slot.column], slot.width)
    x = {}
    place = 2 * _PAD + _PAD
    for column in range(max(widths, default=0) + 1):
        x[column] = place
        place += widths[column] + _GAP + room[column]
    for slot in every:
        slot.x, slot.width = x[slot.column], widths[slot.column]


def _stack(graph: Graph, stacks: Mapping[str | None, Mapping[int, list[Slot]]]) -> tuple[Box, ...]:
    """Put the hosts below each other, and each column into the middle of its host."""
    top = _PAD
    boxes = []
    for group in graph.groups:
        columns = stacks[group.id]
        heights = {number: _height(column) for number, column in columns.items()}
        tallest = max(heights.values(), default=0)
        for number, column in columns.items():
            y = top + _HEAD + (tallest - heights[number]) // 2
            for slot in column:
                slot.y = y
                y += slot.height + _APART
        members = [slot for column in columns.values() for slot in column]
        left = min((slot.x for slot in members), default=3 * _PAD) - _PAD
        right = max((slot.x + slot.width for slot in members), default=left) + _PAD
        width = max(right - left, text_width(heading(group), CHARACTER) + 2 * _PAD)
        boxes.append(Box(group=group, x=left, y=top, width=width, height=_HEAD + tallest + _PAD))
        top += _HEAD + tallest + _PAD + _APART
    return tuple(boxes)


def _height(column: Sequence[Slot]) -> int:
    return sum(slot.height + _APART for slot in column) - _APART


def _beside(columns: Mapping[int, list[Slot]]) -> None:
    """Put what stands in no host beside what leads there, each below the one before."""
    for _, column in sorted(columns.items()):
        wanted = {id(slot): _mean(slot.left) - slot.height // 2 for slot in column}
        free = _PAD
        for slot in sorted(column, key=lambda slot: wanted[id(slot)]):
            slot.y = max(free, wanted[id(slot)])
            free = slot.y + slot.height + _APART


def _mean(around: Sequence[Slot]) -> int:
    return sum(slot.middle for slot in around) // len(around) if around else 0


def _ways(graph: Graph, slots: Mapping[str, Slot], chains: Sequence[Sequence[Slot]]) -> tuple[Way, ...]:
    starts = _ports(chains, start=True)
    ends = _ports(chains, start=False)
    found = []
    for number, (edge, chain) in enumerate(zip(graph.edges, chains, strict=True)):
        first, last = slots[edge.source], slots[edge.target]
        onward = first.column <= last.column
        comes_back = first.column == last.column
        begin = (first.x + first.width if onward else first.x, starts[number])
        end = (last.x if onward and not comes_back else last.x + last.width, ends[number])
        points = [begin, *_passing(chain[1:-1], onward), end]
        to_left = onward != graph.directed and not comes_back
        x, y = begin if graph.directed else end
        lead = text_width(SEPARATOR.join(label(edge)), SMALL_CHARACTER)
        if lead and not comes_back:  # along its own label an edge is straight
            points.insert(1 if graph.directed else -1, (x - lead - 8 if to_left else x + lead + 8, y))
        at = (x - 10 if to_left else x + 8, y - 4)
        found.append(Way(edge=edge, points=tuple(points), at=at, is_left_of_it=to_left))
    return tuple(found)


def _passing(slots: Iterable[Slot], onward: bool) -> list[Point]:
    """Through the columns between, in the slots that are kept free there."""
    points: list[Point] = []
    for slot in slots:
        sides = [(slot.x, slot.middle), (slot.x + slot.width, slot.middle)]
        points += sides if onward else sides[::-1]
    return points


def _ports(chains: Sequence[Sequence[Slot]], *, start: bool) -> dict[int, int]:
    """By edge, the height at which it leaves its first slot, or reaches its last: those of one slot evenly apart."""
    at: defaultdict[tuple[int, bool], list[tuple[int, int, Slot]]] = defaultdict(list)
    for number, chain in enumerate(chains):
        here, other = (chain[0], chain[1]) if start else (chain[-1], chain[-2])
        at[id(here), here.column <= other.column].append((other.middle, number, here))
    found = {}
    for members in at.values():
        members.sort(key=lambda member: member[:2])
        for index, (_, number, slot) in enumerate(members, 1):
            found[number] = slot.y + slot.height * index // (len(members) + 1)
    return found
