"""Pictures of a site: what they show, that nothing in them is anything but text, and that large sites stay readable."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Collection
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from lxml import etree

from kvmgen import graph, pipeline
from kvmgen.graph.compare import compare
from kvmgen.graph.grouping import grouped
from kvmgen.graph.layout import layout
from kvmgen.graph.picture import Edge, Graph, Group, Kind, Node, State
from kvmgen.model.site import Site
from tests.hostile import STRINGS
from tests.readme import drawn, pictures
from tests.regenerate import PICTURES
from tests.sites import EXAMPLE, write
from tests.test_cli import run, started

VIEWS = tuple(graph.VIEWS)
HOST = "platform: el9\nethernets: {eno1: {}}\nbridges: {br0: {ports: [eno1]}}\n"

_TEXT = r"\"[^\"\n]*\""
_SHAPE = "|".join(
    f"{re.escape(before)}{_TEXT}{re.escape(after)}"
    for before, after in (
        ("([", "])"),
        ("[[", "]]"),
        ("[/", "/]"),
        ("[\\", "\\]"),
        ("{{", "}}"),
        ("[", "]"),
        ("(", ")"),
    )
)
MERMAID = re.compile(
    r"flowchart LR"
    r"|  acc(?:Title|Descr): [\w .,:/()-]*"
    rf"|  subgraph g[0-9]+\[{_TEXT}\]"
    r"|  end"
    rf"|    n[0-9]+(?:{_SHAPE})|  n[0-9]+(?:{_SHAPE})"
    rf"|  n[0-9]+ --[->](?:\|{_TEXT}\|)? n[0-9]+"
    r"|  classDef [a-z]+ [#\w:, -]+|  class [gn0-9,]+ [a-z]+|  linkStyle [0-9,]+ [#\w:, -]+"
)
"""As much of Mermaid's grammar as is written; Mermaid itself judges in `tests/real/test_mermaid.py`."""
LABEL = re.compile(r"(?:[\w .,:/()\u2026\u2212-]|#[0-9]+;|<br>)*")


@pytest.fixture(scope="module")
def example() -> Site:
    site = pipeline.load(EXAMPLE).site
    assert site is not None
    return site


def loaded(folder: Path, files: dict[str, str]) -> Site:
    site = pipeline.load(write(folder, {"site.yaml": "name: test\n", **files})).site
    assert site is not None
    return site


def judge_mermaid(text: str) -> None:
    for line in text.splitlines():
        assert MERMAID.fullmatch(line), line
        for label in re.findall(r"\"([^\"]*)\"", line):
            assert LABEL.fullmatch(label), label
            assert not re.match(r"(?:[0-9]+[.)]|-) ", label), label  # a list, which newer Mermaid refuses to draw
            assert ":fa-" not in label


def judge_svg(text: str) -> etree._Element:
    root = etree.fromstring(text.encode())
    allowed = {"svg", "title", "desc", "style", "defs", "marker", "path", "g", "rect", "text"}
    assert {etree.QName(element).localname for element in root.iter()} <= allowed
    names = {str(name) for element in root.iter() for name in element.attrib}
    assert not any(name.startswith("on") or name.endswith("href") for name in names)
    return root


def judge_dot(text: str) -> str:
    """What Graphviz itself makes of it."""
    done = subprocess.run(["dot", "-Tcanon"], input=text, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


JUDGES: dict[str, Callable[[str], object]] = {"mermaid": judge_mermaid, "svg": judge_svg, "dot": judge_dot}


# libvirt's picture, system 6 of the example.


@pytest.mark.parametrize(("number", "view"), list(enumerate(VIEWS)))
def test_the_readme_shows_what_is_drawn(number: int, view: str) -> None:
    assert pictures()[number] == drawn(view) == run("graph", "--view", view, "--host", "kvm-el8", "-i", EXAMPLE)[1]


@pytest.mark.parametrize("path", sorted(PICTURES.iterdir()), ids=lambda path: path.name)
def test_pictures(path: Path) -> None:
    assert path.read_text() == drawn(path.stem, path.suffix[1:])


def test_there_is_a_golden_picture_of_every_kind() -> None:
    written = {path.name for path in PICTURES.iterdir()}
    assert written == {f"{view}.{format_}" for view, format_ in product(VIEWS, ("svg", "dot"))}


# The example as a whole.


@pytest.mark.parametrize(("view", "format_"), list(product(VIEWS, JUDGES)))
def test_every_format_is_what_its_readers_take(view: str, format_: str, example: Site) -> None:
    JUDGES[format_](graph.FORMATS[format_](graph.picture(example, view, example.hosts)))


def test_the_gateway_of_the_dmz(example: Site) -> None:
    picture = graph.picture(example, "logical", ("kvm-de",))
    kinds = {node.name: node.kind for node in picture.nodes}
    assert kinds["vml000010"] is Kind.GATEWAY
    ways = {(edge.source, edge.target): edge.label for edge in picture.edges}
    assert ways["guest/vml000020", "kvm-de/bridge/brdmz"] == ("eth0: kvmgen-anti-spoofing-ipv4",)
    assert ways["kvm-de/bridge/brdmz", "guest/vml000010"] == ("eth1: kvmgen-anti-spoofing-mac",)
    assert ways["guest/vml000010", "kvm-de/bridge/br0"]
    assert ways["kvm-de/network/default", "outside"] == ("NAT by eth0",)
    assert ("kvm-de/bridge/brdmz", "outside") not in ways


def test_bond_vlan_bridge_tap(example: Site) -> None:
    picture = graph.picture(example, "physical", ("kvm-el9",))
    way = {edge.target: edge for edge in picture.edges}
    tap = way["guest/el9-vlan01"]
    assert tap.label == ("tap: eth0",)
    assert [tap.source, way[tap.source].source, way["kvm-el9/bond0.11"].source] == [
        "kvm-el9/br11",
        "kvm-el9/bond0.11",
        "kvm-el9/bond0",
    ]


def test_a_segment_of_several_hosts_stands_outside_of_them(example: Site) -> None:
    picture = graph.picture(example, "logical", example.hosts)
    (segment,) = (node for node in picture.nodes if node.name == "customers-a")
    assert segment.group is None
    assert {edge.source for edge in picture.edges if edge.target == segment.id} >= {"guest/jp18", "guest/jp22"}


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_stands_on_anything_else(view: str, example: Site) -> None:
    picture = graph.picture(example, view, example.hosts)
    placed = layout(picture)
    boxes = [(slot.x, slot.y, slot.x + slot.width, slot.y + slot.height) for slot in placed.slots.values()]
    for number, one in enumerate(boxes):
        assert 0 <= one[0] < one[2] <= placed.width
        assert 0 <= one[1] < one[3] <= placed.height
        for other in boxes[:number]:
            assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    for node in picture.nodes:
        slot = placed.slots[node.id]
        inside = [box for box in placed.boxes if box.x <= slot.x and slot.x + slot.width <= box.x + box.width]
        if node.group is not None:
            assert any(box.group.id == node.group and box.y <= slot.y <= box.y + box.height for box in inside)


# Hostile text: titles are free text, and names are believed to be as little.


def hostile(text: str) -> Graph:
    """A picture whose every text is this one, with every mark."""
    kinds = list(product(Kind, State))
    nodes = [
        Node(id=f"{number}{text}", kind=kind, name=text, group=text, notes=(text,), own=(text,), state=state)
        for number, (kind, state) in enumerate(kinds)
    ]
    edges = [
        Edge(source=nodes[0].id, target=node.id, name=text, label=(text, text), state=node.state) for node in nodes[1:]
    ]
    return Graph(
        title=text, description=text, groups=(Group(id=text, name=text, notes=(text,)),), nodes=tuple(nodes),
        edges=tuple(edges), directed=True,
    )  # fmt: skip


MERMAIDS = {
    "end": "end",
    "click": 'x"]\n  click n1 href "javascript:alert(1)"',
    "directive": '%%{init: {"securityLevel": "loose"}}%%',
    "comment": "%% x",
    "markdown": '"`**x**`"',
    "entity": "#quot;] --> #lt;script#gt;",
    "list": "1. x",
    "dash": "- x",
    "icon": "fa:fa-user",
    "mathematics": "$$x$$",
    "class": "x:::y",
    "script": "<img src=x onerror=alert(1)>",
    "record": r"\N \G {a|b} \l",
    "html": "<b>x</b>",
}


@pytest.mark.parametrize("text", [*STRINGS.values(), *MERMAIDS.values()], ids=[*STRINGS, *MERMAIDS])
@pytest.mark.parametrize("format_", list(JUDGES))
def test_texts_stay_texts(text: str, format_: str) -> None:
    picture = hostile(text)
    made = graph.FORMATS[format_](picture)
    JUDGES[format_](made)
    assert made.replace("\n", "").isprintable()
    assert len(made.splitlines()) == len(graph.FORMATS[format_](hostile("x")).splitlines())


def test_a_title_from_the_inventory(tmp_path: Path) -> None:
    title = "'</title><script>alert(1)</script>\"]; end'"
    files = {
        "hosts/kvm1.yaml": HOST,
        "guests/web.yaml": f"hosts: [kvm1]\ntitle: {title}\ninterfaces: {{eth0: {{bridge: br0}}}}\n",
    }
    site = loaded(tmp_path, files)
    for format_, judge in JUDGES.items():
        judge(graph.FORMATS[format_](graph.picture(site, "logical", site.hosts)))
    root = judge_svg(graph.FORMATS["svg"](graph.picture(site, "logical", site.hosts)))
    assert title.strip("'") in [element.text for element in root.iter() if element.text]


# Size and sameness.


def large(hosts: int, guests: int) -> dict[str, str]:
    files = {f"hosts/kvm{host:02}.yaml": HOST for host in range(hosts)}
    for host, guest in product(range(hosts), range(guests)):
        addresses = f"10.{host}.{guest}.2/24"
        kind = ("web", "db")[guest % 2]
        nics = {"web": f"eth0: {{bridge: br0, addresses: [{addresses}]}}", "db": "eth0: {bridge: br0, dhcp4: true}"}
        files[f"guests/{kind}{host:02}{guest:02}.yaml"] = f"hosts: [kvm{host:02}]\ninterfaces: {{{nics[kind]}}}\n"
    return files


@pytest.mark.parametrize("view", VIEWS)
def test_500_guests_are_readable(view: str, tmp_path: Path) -> None:
    site = loaded(tmp_path, large(25, 20))
    picture = graph.picture(site, view, site.hosts)
    assert len(picture.nodes) <= 10
    assert [(group.name, group.count) for group in picture.groups] == [("kvm00 \u2026 kvm24", 25)]
    guests = {node.name: node.count for node in picture.nodes if node.kind is Kind.GUEST}
    expected = {"db0001 \u2026 db2419": 250, "web0000 \u2026 web2418": 250}
    assert guests == expected
    for format_, judge in JUDGES.items():
        judge(graph.FORMATS[format_](picture))
    assert sum(node.kind is Kind.GUEST for node in graph.picture(site, view, site.hosts, 0).nodes) == 500


def test_what_differs_is_drawn_by_itself(tmp_path: Path) -> None:
    files = large(6, 12)
    files["hosts/kvm03.yaml"] = HOST.replace("el9", "el8")
    files["guests/web0402.yaml"] = "hosts: [kvm04]\ninterfaces: {eth0: {bridge: br0, anti-spoofing: none}}\n"
    site = loaded(tmp_path, files)
    picture = graph.picture(site, "logical", site.hosts)
    assert [group.name for group in picture.groups] == [f"kvm0{number}" for number in range(6)]
    (odd,) = (node for node in picture.nodes if node.name == "web0402")
    assert [edge.label for edge in picture.edges if edge.source == odd.id] == [("eth0: no filter",)]


def test_the_same_bytes_in_every_process() -> None:
    made = {started("graph", "--view", "logical", "--format", "svg", PYTHONHASHSEED=seed).stdout for seed in ("1", "2")}
    assert len(made) == 1
    assert made.pop().startswith("<svg")


# What a change does, marked.


def test_a_change_is_marked_and_stays_out_of_groups(tmp_path: Path) -> None:
    files = large(1, 20)
    before = graph.VIEWS["logical"](loaded(tmp_path / "before", files), ("kvm00",))
    del files["guests/db0001.yaml"]
    files["guests/web0002.yaml"] = "hosts: [kvm00]\ninterfaces: {eth0: {bridge: br0, anti-spoofing: none}}\n"
    files["guests/new.yaml"] = "hosts: [kvm00]\ninterfaces: {eth0: {bridge: br0}}\n"
    after = graph.VIEWS["logical"](loaded(tmp_path / "after", files), ("kvm00",))
    marked = grouped(compare(before, after), 4)
    states = {node.name: node.state for node in marked.nodes if node.state}
    assert states == {"db0001": State.REMOVED, "web0002": State.CHANGED, "new": State.ADDED}
    assert marked.is_marked
    assert not compare(after, after).is_marked
    for format_, judge in JUDGES.items():
        text = graph.FORMATS[format_](marked)
        judge(text)
        for name, mark in (("new", "+ "), ("web0002", "~ "), ("db0001", "\u2212 ")):
            assert re.search(rf"(?:{re.escape(mark)}|#{ord(mark[0])}; ){name}", text), (format_, name)


# The command.


def test_hosts_that_are_not_there() -> None:
    code, out, err = run("graph", "--host", "kvm-el88", "-i", EXAMPLE)
    assert (code, out) == (1, "")
    assert err.startswith("There is no host 'kvm-el88'. ")


def test_a_wrong_site_isnt_drawn(tmp_path: Path) -> None:
    write(tmp_path, {"site.yaml": "name: test\n", "hosts/kvm1.yaml": "platform: el5\n"})
    code, out, err = run("graph", "-i", tmp_path)
    assert (code, out) == (1, "")
    assert "KV0" in err


def test_a_picture_that_forges_refuse_is_told_of(tmp_path: Path) -> None:
    write(tmp_path, {"site.yaml": "name: test\n", **large(26, 20)})
    code, _, err = run("graph", "--group", "0", "-i", tmp_path)
    assert code == 0
    assert "--host" in err
    assert run("graph", "-i", tmp_path)[2] == ""


def nodes_of(hosts: Collection[str], example: Site) -> set[str | None]:
    return {node.group for node in graph.picture(example, "logical", hosts).nodes}


def test_only_the_hosts_asked_for(example: Site) -> None:
    assert nodes_of(("kvm-de", "kvm-es"), example) == {"kvm-de", "kvm-es", None}


def test_guests_that_forward_in_a_circle() -> None:
    """Two networks, each the other's way out: everything still has a place."""
    nodes = tuple(Node(id=name, kind=Kind.NETWORK, name=name, group="h") for name in "ab")
    edges = (Edge(source="a", target="b"), Edge(source="b", target="a"))
    picture = Graph(
        title="x", description="x", groups=(Group(id="h", name="h"),), nodes=nodes, edges=edges, directed=True
    )
    judge_svg(graph.FORMATS["svg"](picture))
    judge_svg(graph.FORMATS["svg"](replace(picture, directed=False)))
