"""The picture as a Mermaid flowchart, which forges draw where Markdown has one.

Source: https://mermaid.js.org/syntax/flowchart.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from kvmgen.graph.picture import LEGEND, Graph, Kind, Node, State, clean, heading, label, lines

MOST_EDGES = 500
MOST_CHARACTERS = 50_000
"""What Mermaid draws at most unless its site is set up otherwise (``maxEdges``, ``maxTextSize``)."""

_SHAPES: Mapping[Kind, tuple[str, str]] = MappingProxyType(
    {
        Kind.GUEST: ("[", "]"),
        Kind.GATEWAY: ("{{", "}}"),
        Kind.NETWORK: ("(", ")"),
        Kind.OUTSIDE: ("([", "])"),
        Kind.NIC: ("[/", "/]"),
        Kind.BOND: ("{{", "}}"),
        Kind.VLAN: ("[\\", "\\]"),
        Kind.BRIDGE: ("(", ")"),
    }
)
_SEVERAL = ("[[", "]]")

_STYLES: Mapping[State, str] = MappingProxyType(
    {
        State.ADDED: "stroke:#2da44e,stroke-width:3px",
        State.REMOVED: "stroke:#e5534b,stroke-width:3px,stroke-dasharray:5 3",
        State.CHANGED: "stroke:#bf8700,stroke-width:3px",
    }
)
"""Strokes alone: what is filled, and with what, is the reader's theme's, dark or light."""


def draw(graph: Graph) -> str:
    """The flowchart's text, without the fence around it."""
    return "".join(f"{line}\n" for line in _lines(graph))


def is_too_large(text: str, graph: Graph) -> bool:
    """Whether forges would show an error instead of the picture."""
    return len(graph.edges) > MOST_EDGES or len(text) > MOST_CHARACTERS


def _lines(graph: Graph) -> Iterator[str]:
    names = {node.id: f"n{number}" for number, node in enumerate(graph.nodes, 1)}
    yield "flowchart LR"
    yield f"  accTitle: {_plain(graph.title)}"
    yield f"  accDescr: {_plain(graph.description)}"
    for number, group in enumerate(graph.groups, 1):
        yield f'  subgraph g{number}["{escaped(heading(group))}"]'
        yield from (f"    {_node(node, names[node.id])}" for node in graph.within(group.id))
        yield "  end"
    yield from (f"  {_node(node, names[node.id])}" for node in graph.within(None))
    arrow = "-->" if graph.directed else "---"
    for edge in graph.edges:
        text = _joined(label(edge))
        said = f'|"{text}"|' if text else ""
        yield f"  {names[edge.source]} {arrow}{said} {names[edge.target]}"
    if graph.is_marked:
        yield f'  n{len(names) + 1}["{_joined(LEGEND)}"]'
    yield from _marks(graph, names)


def _node(node: Node, name: str) -> str:
    before, after = _SEVERAL if node.count > 1 else _SHAPES[node.kind]
    return f'{name}{before}"{_joined(lines(node))}"{after}'


def _marks(graph: Graph, names: Mapping[str, str]) -> Iterator[str]:
    for state, style in _STYLES.items():
        marked = [names[node.id] for node in graph.nodes if node.state is state]
        marked += [f"g{number}" for number, group in enumerate(graph.groups, 1) if group.state is state]
        if marked:
            yield f"  classDef {state} {style}"
            yield f"  class {','.join(marked)} {state}"
        links = [str(number) for number, edge in enumerate(graph.edges) if edge.state is state]
        if links:
            yield f"  linkStyle {','.join(links)} {style}"


def _joined(texts: Iterable[str]) -> str:
    return "<br>".join(map(escaped, texts))


_UNSAFE = re.compile(r"[^\w .,:/()\u2026\u2212-]")
_LIST = re.compile(r"^(?:[0-9]+[.)]|-)(?= )")
_PICTURES = re.compile(r":(?=fa-)|\$(?=\$)")
_JOINER = "\u2060"


def escaped(text: str) -> str:
    """A text inside a quoted label: letters, digits and a few signs as they are, all else by its number.

    A label is HTML to Mermaid, a list where it starts like one, and a picture where it names an icon of Font Awesome or
    has a formula between dollars. For these it looks once more behind numbers, so that something unseen parts them.
    """
    text = _PICTURES.sub(lambda found: found[0] + _JOINER, text)
    text = _UNSAFE.sub(lambda found: f"#{ord(found[0])};", text)
    return _LIST.sub(lambda found: f"{found[0][:-1]}#{ord(found[0][-1])};", text)


def _plain(text: str) -> str:
    """A text for who doesn't see the picture, where nothing can be escaped."""
    return re.sub(r"[^\w .,:/()-]", "_", clean(text, 200))
