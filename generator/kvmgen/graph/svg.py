"""The picture as an SVG file of its own: readable in dark and light, and to who has it read aloud."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from kvmgen.graph.layout import LINE, SEPARATOR, Box, Layout, Point, Slot, Way, layout
from kvmgen.graph.picture import LEGEND, Graph, Node, clean, heading, label, lines

STYLE = """
    svg { background: #ffffff; font: 12px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
    text { fill: #1f2328; }
    .host { fill: #f6f8fa; stroke: #d1d9e0; }
    .node { fill: #ffffff; stroke: #59636e; }
    .guest { fill: #ddf4ff; } .gateway { fill: #fbefff; } .network, .bridge { fill: #dafbe1; }
    .outside { fill: #fff8c5; } .bond, .vlan { fill: #ffffff; } .nic { fill: #eff2f5; }
    .edge { fill: none; stroke: #59636e; } .head { fill: #59636e; }
    .label { font-size: 10px; fill: #59636e; paint-order: stroke; stroke: #f6f8fa; stroke-width: 3; }
    .name, .title { font-weight: bold; }
    .added { stroke: #1a7f37; stroke-width: 3; }
    .removed { stroke: #cf222e; stroke-width: 3; stroke-dasharray: 5 3; }
    .changed { stroke: #9a6700; stroke-width: 3; }
    @media (prefers-color-scheme: dark) {
      svg { background: #0d1117; }
      text { fill: #f0f6fc; }
      .host { fill: #151b23; stroke: #3d444d; }
      .node { fill: #0d1117; stroke: #9198a1; }
      .guest { fill: #0c2d6b; } .gateway { fill: #3c1e70; } .network, .bridge { fill: #033a16; }
      .outside { fill: #4b2900; } .bond, .vlan { fill: #0d1117; } .nic { fill: #262c36; }
      .edge { stroke: #9198a1; } .head { fill: #9198a1; }
      .label { fill: #b7bdc8; stroke: #151b23; }
      .added { stroke: #3fb950; } .removed { stroke: #f85149; } .changed { stroke: #d29922; }
    }
"""
"""A reader that doesn't know the reader's preference takes the light one."""


def draw(graph: Graph) -> str:
    """The file's text."""
    return "".join(f"{line}\n" for line in _lines(graph, layout(graph)))


def part(graph: Graph, name: str) -> str:
    """The picture inside of a page that has `STYLE` already; ``name`` is before the ids of what it refers to."""
    return "".join(f"{line}\n" for line in _lines(graph, layout(graph), name))


def _lines(graph: Graph, placed: Layout, name: str = "") -> Iterator[str]:
    height = placed.height + (_LEGEND if graph.is_marked else 0)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{placed.width}" height="{height}" '
        f'viewBox="0 0 {placed.width} {height}" role="img" aria-labelledby="{name}title {name}desc">'
    )
    yield f'  <title id="{name}title">{_text(clean(graph.title))}</title>'
    yield f'  <desc id="{name}desc">{_text(clean(graph.description, 200))}</desc>'
    if not name:
        yield f"  <style>{STYLE}  </style>"
    yield _arrow(name)
    yield from map(_box, placed.boxes)
    yield from (_curve(way, f"{name}arrow" if graph.directed else "") for way in placed.ways)
    for node in graph.nodes:
        yield from _node(node, placed.slots[node.id])
    yield from (line for way in placed.ways for line in _label(way))
    if graph.is_marked:
        yield f'  <text x="20" y="{placed.height + LINE // 2}">{_text(SEPARATOR.join(LEGEND))}</text>'
    yield "</svg>"


_LEGEND = 20


def _arrow(name: str) -> str:
    return (
        f'  <defs><marker id="{name}arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" '
        'markerUnits="userSpaceOnUse" orient="auto"><path class="head" d="M0 0L8 4L0 8z"/></marker></defs>'
    )


def _box(box: Box) -> str:
    state = f" {box.group.state}" if box.group.state else ""
    title = f'<text class="title" x="{box.x + 10}" y="{box.y + 17}">{_text(heading(box.group))}</text>'
    return (
        f'  <g><rect class="host{state}" x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="6"/>'
        f"{title}</g>"
    )


def _node(node: Node, slot: Slot) -> Iterator[str]:
    texts = lines(node)
    round_ = 14 if node.kind in ("network", "bridge", "outside") else 3
    state = f" {node.state}" if node.state else ""
    yield f"  <g><title>{_text(SEPARATOR.join((node.kind, *texts)))}</title>"
    if node.count > 1:
        yield _rectangle(slot, f"node {node.kind}{state}", round_, behind=4)
    yield _rectangle(slot, f"node {node.kind}{state}", round_)
    top = slot.middle - len(texts) * LINE // 2 + 12
    for index, text in enumerate(texts):
        style = ' class="name"' if index == 0 else ""
        yield f'    <text{style} x="{slot.x + 10}" y="{top + index * LINE}">{_text(text)}</text>'
    yield "  </g>"


def _rectangle(slot: Slot, style: str, round_: int, behind: int = 0) -> str:
    return (
        f'    <rect class="{style}" x="{slot.x + behind}" y="{slot.y - behind}" '
        f'width="{slot.width}" height="{slot.height}" rx="{round_}"/>'
    )


def _curve(way: Way, head: str) -> str:
    state = f" {way.edge.state}" if way.edge.state else ""
    arrow = f' marker-end="url(#{head})"' if head else ""
    return f'  <path class="edge{state}" d="{_path(way.points)}"{arrow}/>'


def _path(points: Sequence[Point]) -> str:
    """Straight where it stays at its height, and curved where it changes it."""
    (x, y), *others = points
    path = f"M{x} {y}"
    for to_x, to_y in others:
        middle = (x + to_x) // 2 if x != to_x else x + 40
        path += f"H{to_x}" if y == to_y and x != to_x else f"C{middle} {y} {middle} {to_y} {to_x} {to_y}"
        x, y = to_x, to_y
    return path


def _label(way: Way) -> Iterator[str]:
    texts = label(way.edge)
    if texts:
        anchor = ' text-anchor="end"' if way.is_left_of_it else ""
        yield f'  <text class="label" x="{way.at[0]}" y="{way.at[1]}"{anchor}>{_text(SEPARATOR.join(texts))}</text>'


def _text(text: str) -> str:
    return escape(text, quote=False).replace("##[", "#&#35;[")  # no command where a pipeline's log shows the picture
