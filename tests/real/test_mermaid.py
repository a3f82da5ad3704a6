"""Mermaid itself, in a real Chromium: it draws what kvmgen writes, and what is a text in it stays one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from kvmgen import graph, pipeline
from kvmgen.graph.mermaid import draw
from kvmgen.graph.picture import Edge, Graph, Group, Kind, Node, State, clean, label, lines
from tests.browser import Page, browser, script
from tests.hostile import STRINGS
from tests.readme import pictures
from tests.sites import EXAMPLE, write
from tests.test_graph import MERMAIDS, large

pytestmark = pytest.mark.real

DRAWN = """
mermaid.render("picture", %s).then(({svg}) => {
  document.body.innerHTML = svg;
  const told = (way) => [...document.querySelectorAll(way)].map((element) => element.innerText ?? element.textContent);
  const every = [...document.querySelectorAll("svg *")];
  return {
    nodes: told("g.node .nodeLabel"),
    edges: told("g.edgeLabels span.edgeLabel"),
    groups: told("g.cluster .nodeLabel"),
    names: [...new Set(every.map((element) => element.localName))],
    obeyed: every.flatMap((element) => element.getAttributeNames()).filter((name) => /^on|href$|^src$/.test(name)),
  };
})
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("mermaid")
    file = folder / "page.html"
    source = script("mermaid.min.js").as_uri()
    file.write_text(f"<!DOCTYPE html><meta charset=utf-8><title>x</title><body><script src='{source}'></script>")
    with browser(folder) as started:
        started.open(file)
        started.value("mermaid.initialize({startOnLoad: false})")
        yield started


def drawn(page: Page, text: str) -> Any:
    """What Mermaid makes of a text, in its own default settings."""
    told = page.value(DRAWN % json.dumps(text))
    assert told["obeyed"] == []
    assert not {"script", "img", "image", "a", "iframe", "ul", "ol", "li", "i", "em", "strong", "h1", "math"} & set(
        told["names"]
    )
    return told


def plainly(text: str) -> str:
    """What is seen of a text."""
    return re.sub(r"\s+", " ", text.replace("\u2060", "")).strip()


def test_it_draws_the_readmes_pictures(page: Page) -> None:
    for text in pictures():
        assert any("arch3" in node for node in drawn(page, text)["nodes"])


def test_it_draws_what_changed(page: Page, tmp_path: Path) -> None:
    files = {"site.yaml": "name: test\n", **large(2, 6)}
    before = pipeline.load(write(tmp_path / "before", files)).site
    del files["guests/db0001.yaml"]
    files["guests/new.yaml"] = "hosts: [kvm00]\ninterfaces: {eth0: {bridge: br0}}\n"
    after = pipeline.load(write(tmp_path / "after", files)).site
    assert before is not None
    assert after is not None
    for view in graph.VIEWS:
        told = drawn(page, draw(graph.picture(after, view, after.hosts, before=before)))
        nodes = [plainly(node) for node in told["nodes"]]
        assert {"+ new", "+ added \u2212 removed ~ changed"} <= set(nodes)
        assert any(node.startswith("\u2212 db0001") for node in nodes)


def test_it_draws_the_example(page: Page) -> None:
    site = pipeline.load(EXAMPLE).site
    assert site is not None
    for view in graph.VIEWS:
        picture = graph.picture(site, view, site.hosts)
        assert len(drawn(page, draw(picture))["nodes"]) == len(picture.nodes)


def test_texts_stay_texts(page: Page) -> None:
    """Each hostile text as a name, a note, a label and a host's name, beside all others."""
    texts = [*STRINGS.values(), *MERMAIDS.values()]
    groups = tuple(Group(id=str(number), name=text) for number, text in enumerate(texts))
    nodes = tuple(
        Node(id=f"n{number}", kind=list(Kind)[number % len(Kind)], name=text, group=str(number), notes=(text,))
        for number, text in enumerate(texts)
    )
    edges = tuple(
        Edge(source=one.id, target=other.id, label=(one.name,), state=State.CHANGED) for one, other in pairwise(nodes)
    )
    picture = Graph(title="x", description="x", groups=groups, nodes=nodes, edges=edges, directed=True)
    told = drawn(page, draw(picture))
    expected = {plainly(" ".join(lines(node))) for node in nodes} | {"+ added \u2212 removed ~ changed"}
    assert {plainly(node) for node in told["nodes"]} == expected
    assert {plainly(edge) for edge in told["edges"]} >= {plainly(" ".join(label(edge))) for edge in edges}
    assert {plainly(group) for group in told["groups"]} == {plainly(clean(text)) for text in texts}


def test_a_mistake_is_noticed(page: Page) -> None:
    with pytest.raises(AssertionError, match="Parse error"):
        drawn(page, 'flowchart LR\n  n1["x"')
