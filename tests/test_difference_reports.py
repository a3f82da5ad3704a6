"""`kvmgen diff` as a comment and as a page, and `kvmgen graph --diff`, of real repositories."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from lxml import html

from kvmgen import pipeline
from kvmgen.page.reached import as_grid, grid_of
from kvmgen.proof import rendered
from kvmgen.proof.services import named_services
from kvmgen.reachability.answer import Outcome, Question, reach
from kvmgen.reachability.matrix import matrix
from tests.sites import EXAMPLE, write
from tests.test_cli import run, started
from tests.test_difference_markdown import parsed
from tests.test_graph import HOST, JUDGES
from tests.test_page import found, judged
from tests.test_starter import git

pytestmark = pytest.mark.real

FILES = {
    "inventory/site.yaml": "name: test\n",
    "inventory/hosts/kvm1.yaml": HOST,
    "inventory/hosts/kvm2.yaml": HOST,
    "inventory/guests/web1.yaml": "hosts: [kvm1]\ninterfaces: {eth0: {bridge: br0, addresses: [192.0.2.1/24]}}\n",
    "inventory/guests/web2.yaml": "hosts: [kvm2]\nmemory: 2 GiB\ninterfaces: {eth0: {bridge: br0}}\n",
    "inventory/guests/db1.yaml": "hosts: [kvm1]\ninterfaces: {eth0: {bridge: br0, addresses: [192.0.2.2/24]}}\n",
}
FORGE = "https://forge.example/o/r/blob"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A site of two hosts in which one guest was added, one removed and one changed since the last commit but one."""
    write(tmp_path, FILES)
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "Before")
    (tmp_path / "inventory/guests/db1.yaml").unlink()
    guest = "hosts: [kvm1]\ntitle: '<b>@team</b> `x`'\ninterfaces: {eth0: {bridge: br0, addresses: [192.0.2.3/24]}}\n"
    changed = {
        "guests/new1.yaml": guest,
        "guests/web2.yaml": FILES["inventory/guests/web2.yaml"].replace("2 GiB", "3 GiB"),
    }
    write(tmp_path / "inventory", changed)
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "After")
    return tmp_path


def told(repository: Path, *arguments: str) -> str:
    code, out, err = run("diff", *arguments, "-i", repository / "inventory")
    assert (code, err) == (0, "")
    return out


def test_a_comment(repository: Path) -> None:
    text = told(repository, "HEAD^", "--format", "markdown", "--link-base", FORGE)
    before, after = (git(repository, "rev-parse", revision).strip() for revision in ("HEAD^", "HEAD"))
    assert text.splitlines()[0] == "<!-- kvmgen diff: test -->"
    assert f"({FORGE}/{before}/inventory/guests/db1.yaml#L" in text
    assert f"({FORGE}/{after}/inventory/guests/new1.yaml#L" in text
    assert "`2 GiB` \u2192 `3 GiB`" in text
    root = parsed(text)
    blocks = [element.get("info") for element in root.iter("{*}code_block")]
    assert blocks[:2] == ["mermaid", "mermaid"]
    for element in root.iter("{*}code_block"):
        if element.get("info") == "mermaid":
            JUDGES["mermaid"](element.text or "")


def test_what_isnt_committed_has_no_address(repository: Path) -> None:
    write(repository / "inventory", {"guests/web2.yaml": FILES["inventory/guests/web2.yaml"].replace("2 GiB", "4 GiB")})
    text = told(repository, "HEAD^", "--format", "markdown", "--link-base", FORGE)
    assert "`inventory/guests/web2.yaml:2`" in text
    assert "inventory/guests/web2.yaml#L2" not in text


def test_a_page(repository: Path) -> None:
    root = judged(told(repository, "HEAD^", "--format", "html", "--link-base", FORGE))
    assert found(root, "//main/section/@id") == [
        "packets", "hosts", "pictures", "reachability", "findings", "inventory",
    ]  # fmt: skip
    marked = {"".join(name.itertext()) for name in found(root, "//*[@class='name']")}
    assert {"+ new1", "\u2212 db1", "web1", "outside"} <= marked
    assert found(root, "//td//text()[.='3 GiB']")
    assert not found(root, "//b")
    assert "test" in root.xpath("string(//h1)")


def test_a_page_of_a_revision_names_files_as_the_repository_does(repository: Path) -> None:
    """The older revision's files lie in a temporary folder, of which no report knows."""
    write(
        repository / "inventory",
        {"guests/web2.yaml": "hosts: [kvm2]\ninterfaces: {eth0: {bridge: br0, mac: '00:11:22:33:44:55'}}\n"},
    )
    git(repository, "commit", "--quiet", "--all", "--message", "With a warning")
    page = told(repository, "HEAD^", "--to", "HEAD", "--format", "html", "--link-base", FORGE)
    places = [link.text_content() for link in found(html.document_fromstring(page), "//*[@id='finding-list']//code")]
    assert any(re.fullmatch(r"inventory/guests/web2\.yaml:\d+", place) for place in places), places
    assert "/tmp/" not in page


def test_a_new_inventory(repository: Path) -> None:
    """All is new where the older revision has none."""
    git(repository, "mv", "inventory", "site")
    (repository / "site/site.yaml").write_text("name: another\n")
    git(repository, "commit", "--quiet", "--all", "--message", "Moved")
    code, out, err = run("diff", "HEAD^", "--format", "markdown", "-i", repository / "site")
    assert (code, err) == (0, "")
    assert "Adds `kvm1` and `kvm2`" in out
    code, out, err = run("diff", "HEAD^", "--format", "html", "-i", repository / "site")
    assert (code, err) == (0, "")
    judged(out)


@pytest.mark.parametrize("format_", list(JUDGES))
@pytest.mark.parametrize("view", ["logical", "physical"])
def test_a_picture_with_marks(repository: Path, format_: str, view: str) -> None:
    """Told by signs, not by colours alone, and with what they mean."""
    code, out, err = run(
        "graph", "--diff", "HEAD^", "--view", view, "--format", format_, "-i", repository / "inventory"
    )
    assert (code, err) == (0, "")
    JUDGES[format_](out)
    plain = out.replace("#43;", "+").replace("#126;", "~")
    for said in ("+ new1", "\u2212 db1", "+ added", "\u2212 removed", "~ changed"):
        assert said in plain
    assert "+ br0" not in plain
    code, unmarked, _ = run(
        "graph", "--diff", "HEAD", "--view", view, "--format", format_, "-i", repository / "inventory"
    )
    assert unmarked == run("graph", "--view", view, "--format", format_, "-i", repository / "inventory")[1]


def test_a_picture_of_a_revision_that_isnt_there(repository: Path) -> None:
    code, out, err = run("graph", "--diff", "nonsense", "-i", repository / "inventory")
    assert (code, out) == (2, "")
    assert "nonsense" in err


def test_the_table_says_what_reach_says(tmp_path: Path) -> None:
    """A cell is the services whose every answer is a delivery."""
    site = pipeline.load(EXAMPLE).site
    assert site is not None
    consumers = rendered(site).consumers
    services = [service for service in named_services(site) if str(service) in ("ping", "tcp/22", "tcp/443")]
    asked = matrix(consumers, services, sources=["outside", "bonded01"], targets=["exercise01", "kvm-cn3", "clean01"])
    grid = as_grid(asked)
    names = [end.names[0] for end in grid.rows]
    assert len(asked.cells) > 10
    for cell in asked.cells:
        said = grid.cells[cell.source][cell.target]
        assert said is not None
        question = cell.answer.question
        answer = reach(
            consumers,
            Question(source=question.source, target=question.target, service=cell.service, version=cell.version),
        )
        told = [one for one in said if str(cell.service) in one or one.startswith("everything asked")]
        passes = any(f"IPv{10 - cell.version}" not in one for one in told)
        assert passes is (answer.outcome is Outcome.DELIVERED), (names[cell.source], names[cell.target], said, answer)


def test_a_table_that_nobody_would_read(tmp_path: Path) -> None:
    hosts = {"hosts/kvm1.yaml": HOST, "hosts/kvm2.yaml": HOST.replace("[eno1]}", "[eno1], addresses: [10.9.0.1/24]}")}
    nic = "{{eth0: {{bridge: br0, addresses: [10.0.{0}.1/24], filter: f{0:02}}}}}"
    guests = {
        f"guests/web{number:02}.yaml": f"hosts: [kvm1]\ninterfaces: {nic.format(number)}\n" for number in range(70)
    }
    guests["guests/other.yaml"] = "hosts: [kvm2]\ninterfaces: {eth0: {bridge: br0, addresses: [10.9.0.2/24]}}\n"
    filters = {
        f"filters/f{number:02}.yaml": "rules:\n  - {priority: 500, action: accept, direction: in, tcp: {dstportstart: "
        f"{1000 + number}}}}}\n  - {{priority: 1000, action: drop, direction: inout, all: {{}}}}\n"
        for number in range(70)
    }
    site = pipeline.load(write(tmp_path, {"site.yaml": "name: test\n", **hosts, **guests, **filters})).site
    assert site is not None
    grid = grid_of(site, {"kvm1"})
    assert grid.rows == ()
    assert "`kvmgen reach --matrix`" in grid.notes[0]
    near = grid_of(site, {"kvm2"})
    assert [end.names for end in near.rows] == [("outside",), ("kvm2",), ("other",)]
    assert near.notes[0].startswith("Of the hosts that change")


@pytest.mark.parametrize("format_", ["markdown", "html"])
def test_the_same_bytes_in_every_process(repository: Path, format_: str) -> None:
    made = {
        started("diff", "HEAD^", "--format", format_, "-i", str(repository / "inventory"), PYTHONHASHSEED=seed).stdout
        for seed in ("1", "2")
    }
    assert len(made) == 1
    assert len(made.pop()) > 1_000
