"""The picture in Graphviz's DOT language.

Source: https://graphviz.org/doc/info/lang.html; the escapes of a label: https://graphviz.org/docs/attr-types/escString/.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from kvmgen.graph.picture import LEGEND, Graph, Kind, Node, State, clean, heading, label, lines

_SHAPES: Mapping[Kind, str] = MappingProxyType(
    {
        Kind.GUEST: "box",
        Kind.GATEWAY: "hexagon",
        Kind.NETWORK: "ellipse",
        Kind.OUTSIDE: "doubleoctagon",
        Kind.NIC: "parallelogram",
        Kind.BOND: "hexagon",
        Kind.VLAN: "cds",
        Kind.BRIDGE: "ellipse",
    }
)
_STYLES: Mapping[State, str] = MappingProxyType(
    {
        State.ADDED: 'color="#2da44e", penwidth=3',
        State.REMOVED: 'color="#cf222e", penwidth=3, style=dashed',
        State.CHANGED: 'color="#bf8700", penwidth=3',
    }
)


def draw(graph: Graph) -> str:
    """The graph's text."""
    return "".join(f"{line}\n" for line in _lines(graph))


def _lines(graph: Graph) -> Iterator[str]:
    names = {node.id: f"n{number}" for number, node in enumerate(graph.nodes, 1)}
    yield f"{'digraph' if graph.directed else 'graph'} {quoted([clean(graph.title)])} {{"
    yield f"  rankdir=LR; tooltip={quoted([clean(graph.description, 200)])};"
    if graph.is_marked:
        yield f'  label={quoted(LEGEND)}; labelloc=b; labeljust=l; fontname="monospace";'
    yield '  node [fontname="monospace"]; edge [fontname="monospace", fontsize=10];'
    for number, group in enumerate(graph.groups, 1):
        yield f"  subgraph cluster_{number} {{"
        style = f"{_STYLES[group.state]}; " if group.state else ""
        yield f"    label={quoted([heading(group)])}; {style.replace(', ', '; ')}"
        yield from (f"    {names[node.id]} {_node(node)}" for node in graph.within(group.id))
        yield "  }"
    yield from (f"  {names[node.id]} {_node(node)}" for node in graph.within(None))
    arrow = "->" if graph.directed else "--"
    for edge in graph.edges:
        text = f"label={quoted(label(edge))}{_style(edge.state)}"
        yield f"  {names[edge.source]} {arrow} {names[edge.target]} [{text}];"
    yield "}"


def _node(node: Node) -> str:
    several = ", peripheries=2" if node.count > 1 else ""
    return f"[label={quoted(lines(node))}, shape={_SHAPES[node.kind]}{several}{_style(node.state)}];"


def _style(state: State) -> str:
    return f", {_STYLES[state]}" if state else ""


def quoted(texts: Iterable[str]) -> str:
    r"""Lines as one quoted string: a backslash would start an escape such as ``\N``, an ampersand an entity."""
    inside = "\\n".join(text.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;") for text in texts)
    inside = inside.replace("##[", "#&#35;[")  # no command where a pipeline's log shows the picture
    return f'"{inside}"'
