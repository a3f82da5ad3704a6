"""What a change does to a picture: the new one with what was added and changed marked, and what is gone still in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from kvmgen.graph.picture import Edge, Graph, Group, Node, State

Part = TypeVar("Part", Node, Group, Edge)


def compare(before: Graph, after: Graph) -> Graph:
    """Both must be of the same view, and not grouped yet: a changed guest among forty equal ones is to be seen."""
    return replace(
        after,
        groups=tuple(_marked(_groups(before), _groups(after))),
        nodes=tuple(_marked(_nodes(before), _nodes(after))),
        edges=tuple(_marked(_edges(before), _edges(after))),
    )


def _groups(graph: Graph) -> dict[object, Group]:
    return {group.id: group for group in graph.groups}


def _nodes(graph: Graph) -> dict[object, Node]:
    return {node.id: node for node in graph.nodes}


def _edges(graph: Graph) -> dict[object, Edge]:
    return {(edge.source, edge.target, edge.name): edge for edge in graph.edges}


def _marked(before: Mapping[object, Part], after: Mapping[object, Part]) -> Iterable[Part]:
    for key, part in after.items():
        state = State.ADDED if key not in before else State.SAME if before[key] == part else State.CHANGED
        yield replace(part, state=state)
    yield from (replace(part, state=State.REMOVED) for key, part in before.items() if key not in after)
