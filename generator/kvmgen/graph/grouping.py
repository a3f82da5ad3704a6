"""One node for many equal guests, one box for many equal hosts: a picture of 500 guests that can be read."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace

from kvmgen.graph.picture import Edge, Graph, Group, Node

_GUEST = "/guest"
"""What stands for any guest of the same host where hosts are compared."""


def grouped(graph: Graph, most: int) -> Graph:
    """The picture with more than ``most`` equal guests, or equal hosts, drawn as one; each drawn where it is 0.

    Guests are equal where kind, notes, marks and everything that they are connected to are; hosts where all in them is
    but for names and numbers of guests, and for addresses. Guests whose names differ in numbers alone come first.
    """
    return _with_guests_as_one(_with_hosts_as_one(graph, most), most) if most else graph


def _with_hosts_as_one(graph: Graph, most: int) -> Graph:
    looks = _looks(graph)
    alike: defaultdict[Hashable, list[Group]] = defaultdict(list)
    for group in graph.groups:
        alike[looks[group.id]].append(group)
    into: dict[str, str] = {}
    groups: list[Group] = []
    for members in alike.values():
        if len(members) <= most:
            groups += members
            continue
        groups.append(replace(members[0], name=_span(group.name for group in members), count=len(members)))
        into |= {group.id: members[0].id for group in members}
    order = {group.id: index for index, group in enumerate(graph.groups)}
    groups.sort(key=lambda group: order[group.id])
    return _moved(replace(graph, groups=tuple(groups)), into)


def _looks(graph: Graph) -> dict[str, Hashable]:
    """By host, all that it shows but for what each host has of its own."""
    of = {node.id: node for node in graph.nodes}
    ends = _ends(graph.edges)
    inside: defaultdict[str, set[Hashable]] = defaultdict(set)
    for node in graph.nodes:
        if node.group is not None:
            around = frozenset(
                (outward, _seen_from(node.group, of[other]), edge.name, edge.label, edge.state)
                for outward, other, edge in ends[node.id]
            )
            inside[node.group].add((_seen_from(node.group, node), node.kind, node.notes, node.state, around))
    return {group.id: (group.notes, group.state, frozenset(inside[group.id])) for group in graph.groups}


def _seen_from(group: str, node: Node) -> str:
    if node.group != group:
        return node.id
    return _GUEST if node.kind.is_guest else node.id.removeprefix(group)


def _ends(edges: Iterable[Edge]) -> Mapping[str, list[tuple[bool, str, Edge]]]:
    """By node, its edges: whether they lead away from it, and where they end."""
    found: defaultdict[str, list[tuple[bool, str, Edge]]] = defaultdict(list)
    for edge in edges:
        found[edge.source].append((True, edge.target, edge))
        found[edge.target].append((False, edge.source, edge))
    return found


def _moved(graph: Graph, into: Mapping[str, str]) -> Graph:
    """Everything of hosts that go into others: guests move, and all else is one with what the other host has."""
    renamed: dict[str, str] = {}
    nodes: dict[str, Node] = {}
    for node in graph.nodes:
        group = into.get(node.group or "", node.group)
        stays = node.kind.is_guest or node.group is None or node.group not in into
        renamed[node.id] = node.id if stays else f"{group}{node.id.removeprefix(node.group or '')}"
        there = nodes.get(renamed[node.id])
        own = node.own if there is None or there.own == node.own else ()
        nodes[renamed[node.id]] = replace(node, id=renamed[node.id], group=group, own=own)
    return replace(graph, nodes=tuple(nodes.values()), edges=_once(graph.edges, renamed))


def _with_guests_as_one(graph: Graph, most: int) -> Graph:
    """Equal guests that also have a name in common (web01, web02) first; then what is left, whatever its names."""
    looks = _guest_looks(graph)
    by_name = _counted(graph.nodes, lambda node: (looks[node.id], _stem(node)))
    rest = [node for members in by_name for node in members if len(members) <= most]
    alike = [members for members in (*by_name, *_counted(rest, lambda node: looks[node.id])) if len(members) > most]
    into = {node.id: members[0].id for members in alike for node in members}
    ones = {members[0].id: _as_one(members) for members in alike}
    nodes = [ones.get(node.id, node) for node in graph.nodes if into.get(node.id, node.id) == node.id]
    renamed = {node.id: into.get(node.id, node.id) for node in graph.nodes}
    return replace(graph, nodes=tuple(nodes), edges=_once(graph.edges, renamed))


def _guest_looks(graph: Graph) -> dict[str, Hashable]:
    """By node, what equal guests share; its own id where it is no guest."""
    ends = _ends(graph.edges)
    found: dict[str, Hashable] = {}
    for node in graph.nodes:
        around = frozenset((out, end, edge.name, edge.label, edge.state) for out, end, edge in ends[node.id])
        found[node.id] = (node.group, node.kind, node.notes, node.state, around) if node.kind.is_guest else node.id
    return found


def _counted(nodes: Iterable[Node], look: Callable[[Node], Hashable]) -> list[list[Node]]:
    found: defaultdict[Hashable, list[Node]] = defaultdict(list)
    for node in nodes:
        found[look(node)].append(node)
    return list(found.values())


def _stem(node: Node) -> str:
    """A name without its numbers."""
    return re.sub(r"[0-9]+", "", node.name)


def _as_one(members: Sequence[Node]) -> Node:
    return replace(members[0], name=_span(node.name for node in members), own=(), count=len(members))


def _once(edges: Iterable[Edge], renamed: Mapping[str, str]) -> tuple[Edge, ...]:
    """The edges between what the nodes became, each once."""
    found = (replace(edge, source=renamed[edge.source], target=renamed[edge.target]) for edge in edges)
    return tuple({(edge.source, edge.target, edge.name, edge.state): edge for edge in found}.values())


def _span(names: Iterable[str]) -> str:
    """The first and the last of some names, counted as people count: web9 before web10."""
    known = sorted(names, key=_as_people_count)
    return f"{known[0]} \u2026 {known[-1]}"


def _as_people_count(name: str) -> list[tuple[int, str]]:
    """Texts and numbers in turn, so that like is compared with like."""
    parts = re.split(r"([0-9]+)", name)
    return [(len(part), part) if part.isdigit() else (0, part) for part in parts]
