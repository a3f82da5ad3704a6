"""`kvmgen explain PATH:LINE`: every line of the output leads back to the inventory, and to why it is as it is."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmgen import pipeline
from kvmgen.artifact import Artifact
from kvmgen.diagnostics import Origin
from kvmgen.explain.places import Place, places
from kvmgen.model.site import HostView, Site, views
from kvmgen.output.manifest import manifest
from kvmgen.render import render
from kvmgen.render.facts import FACTS, facts_of
from kvmgen.rules import rules
from tests.explained import SITES, changed_lines
from tests.sites import ROOT, write
from tests.test_cli import run

RARE = {
    "site.yaml": "name: test\ndomain: example.org\ndefaults:\n  guests: {memory: 2 GiB}\n",
    "hosts/kvm1.yaml": (
        "platform: el9.6\nethernets: {em1: {}}\n"
        "bridges:\n  br0: {ports: [em1], zone: lan, addresses: [192.0.2.1/24, 192.0.2.2/24]}\n"
        "firewall:\n  zones:\n    lan: {services: [ssh], masquerade: true, rules: [{service: http, action: accept}]}\n"
        "  policies:\n    apart: {ingress-zones: [lan], egress-zones: [ANY], target: DROP, priority: -10}\n"
    ),
    "networks/lab.yaml": (
        "hosts:\n  kvm1: {}\nforward: route\nisolation: guests\nbridge: {name: virbr7}\naddresses: [198.51.100.1/24]\n"
    ),
    "policies/app.yaml": "allow-in:\n  - {tcp: 80, from: {policy: client}}\n",
    "policies/client.yaml": "allow-out:\n  - dns\n",
    "guests/app1.yaml": (
        "hosts: [kvm1]\ninterfaces:\n  eth0:\n    network: lab\n    addresses: [198.51.100.10/24]\n"
        "    policies: [app]\n"
    ),
}
"""What the example and the goldens have none of."""

ADDRESS = re.compile(
    r"(?<![\w.:])(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7})(?![\w.:])"
)


@pytest.fixture(scope="module", params=SITES)
def loaded(request: pytest.FixtureRequest) -> pipeline.Result:
    return _load(SITES[request.param])


def _load(inventory: Path) -> pipeline.Result:
    result = pipeline.load(inventory)
    assert result.site is not None, result.diagnostics
    return result


def _lines(site: Site) -> Iterator[tuple[HostView, Artifact, int, str, tuple[Origin, ...]]]:
    """Every line of every text with its origins."""
    for view in views(site):
        for artifact in render(view):
            if artifact.binary is None:
                assert artifact.lines is not None, artifact.path
                found: tuple[Origin, ...] = ()
                made = artifact.lines()
                for number, text in enumerate(artifact.text.splitlines(), 1):
                    found = made.get(number, found)
                    yield view, artifact, number, text, found


def test_every_line_comes_from_somewhere(loaded: pipeline.Result) -> None:
    assert loaded.site is not None
    for view, artifact, number, text, origins in _lines(loaded.site):
        where = f"{view.host.name}/{artifact.path}:{number}: {text}"
        assert origins or not text.strip(), where
        for place in places(origins, loaded.sources):
            if place.file.startswith(str(loaded.sources.root)):
                lines = Path(place.file).read_text().splitlines()
                assert lines[place.line - 1][place.column - 1 :].strip(), f"{where}: {place}"


def test_an_address_leads_to_the_line_that_says_it(loaded: pipeline.Result) -> None:
    """Of the lines with an address that stands in the inventory, the places named hold it."""
    assert loaded.site is not None
    known = "\n".join(path.read_text().lower() for path in sorted(loaded.sources.root.rglob("*.yaml")))
    counted: Counter[bool] = Counter()
    missed = []
    for view, artifact, number, text, origins in _lines(loaded.site):
        wanted = [found for found in ADDRESS.findall(text.lower()) if _stands(found, known)]
        if wanted and not artifact.path.startswith("libvirt/nwfilters/kvmgen-"):
            said = "\n".join(_said(place) for place in places(origins, loaded.sources))
            hit = any(_stands(found, said) for found in wanted)
            counted[hit] += 1
            if not hit:
                missed.append(f"{view.host.name}/{artifact.path}:{number}: {text}: {said}")
    print(
        f"{counted[True]} of {counted.total()} lines lead to the very line that says their address", *missed, sep="\n"
    )
    assert counted[True] >= 0.99 * counted.total(), missed


def _stands(found: str, text: str) -> bool:
    return re.search(rf"(?<![\w.:]){re.escape(found)}(?![\w.:])", text) is not None


def _said(place: Place) -> str:
    """The inventory's line, with what is inside it where it opens a block."""
    if not place.file or place.file.startswith("kvmgen:"):
        return ""
    lines = Path(place.file).read_text().lower().splitlines()[place.line - 1 :]
    indent = len(lines[0]) - len(lines[0].lstrip(" -"))
    ends = (number for number, line in enumerate(lines) if number and len(line) - len(line.lstrip(" -")) <= indent)
    return "\n".join(lines[: next(ends, len(lines))])


def test_hardly_a_line_is_only_its_files(loaded: pipeline.Result) -> None:
    """What is inside of a file has a closer place than a file of the inventory as a whole, or is kvmgen's choice."""
    assert loaded.site is not None
    counted: Counter[bool] = Counter()
    missed: Counter[str] = Counter()
    for _, _, number, text, origins in _lines(loaded.site):
        inside = (number > 2 and text.startswith((" ", "\t"))) or "=" in text
        if inside and not text.lstrip().startswith(("<!--", "#", "</", "<name>")):
            close = bool(origins[0].pointer) or origins[0].is_kvmgens
            counted[close] += 1
            missed[re.sub(r"'[^']*'|=.*|>.*<", "", text).strip()] += not close
    print(f"{counted[True]} of {counted.total()} lines have a closer place than their file's:", missed.most_common(8))
    assert counted[True] > 0.9 * counted.total(), missed.most_common(20)


def test_a_changed_line_names_the_word_that_was_changed() -> None:
    """A sample; `python -m tests.explained` changes every word."""
    found = [line for name in SITES for line in changed_lines(name, most=20)]
    missed = [told for near, told in found if not near]
    print(f"{len(found) - len(missed)} of {len(found)} changed lines name the word", *missed, sep="\n")
    assert len(found) > 50
    assert len(missed) <= 0.05 * len(found), missed


def test_every_fact_is_about_a_line_that_is_there(tmp_path: Path) -> None:
    unused = set(FACTS)
    for inventory in (*SITES.values(), write(tmp_path, RARE)):
        result = _load(inventory)
        assert result.site is not None
        for view in views(result.site):
            for artifact in render(view):
                lines = artifact.text.splitlines() if unused else ()
                path = re.sub("^guests/[^/]+/", "", artifact.path)
                majors = {view.host.platform.major, 6 if path != artifact.path else 0}
                unused -= {fact for line in lines for major in majors for fact in facts_of(path, line, major)}
            unused -= {fact for line in _manifest(view) for fact in facts_of("manifest.json", line, 9)}
    assert [(fact.file, fact.line) for fact in FACTS if fact in unused] == []


def _manifest(view: HostView) -> list[str]:
    return manifest(view.site.name, view.host.name, str(view.host.platform), render(view)).splitlines()


def test_a_fact_names_its_source_and_rules_that_are_there() -> None:
    for fact in FACTS:
        assert fact.rules == tuple(sorted(fact.rules)), fact
        assert set(fact.rules) <= rules().keys(), fact
        known = fact.source.startswith(("https://", "measured on ")) or (ROOT / fact.source).is_file()
        assert known, fact
        assert not fact.reason.endswith("."), fact


# The command


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small inventory and its output, as the current folder."""
    write(tmp_path / "inventory", RARE)
    monkeypatch.chdir(tmp_path)
    assert run("build")[0] == 0
    return tmp_path


BRIDGE = "output/kvm1/etc/NetworkManager/system-connections/br0.nmconnection"


def _number(path: str, start: str) -> int:
    lines = Path(path).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.strip().startswith(start))


def test_a_line_is_explained(site: Path) -> None:
    number = _number(BRIDGE, "address2=")
    code, out, _ = run("explain", f"{BRIDGE}:{number}")
    assert code == 0
    assert out.splitlines()[:2] == [
        f"{BRIDGE}:{number}: address2=192.0.2.2/24",
        "  from inventory/hosts/kvm1.yaml:4:60  bridges.br0.addresses.1",
    ]
    assert run("explain", f"{BRIDGE}:{number}:3")[1] == out
    assert run("explain", f"{BRIDGE.removeprefix('output/')}:{number}")[1].partition(": ")[2] == out.partition(": ")[2]


def test_what_nobody_said_is_told_with_the_word_that_would_say_it(site: Path) -> None:
    code, out, _ = run("explain", f"{BRIDGE}:{_number(BRIDGE, 'stp=')}")
    assert code == 0
    assert "bridges.br0  (it doesn't say `stp`, whose default is false)" in out
    assert "KV221" in out
    _, out, _ = run("explain", f"{BRIDGE}:{_number(BRIDGE, 'ip6-privacy=')}")
    assert "from kvmgen's choice" in out
    assert "temporary addresses" in out


def test_what_a_guest_inherits_leads_to_where_it_stands(site: Path) -> None:
    path = "output/kvm1/libvirt/domains/app1.xml"
    _, out, _ = run("explain", f"{path}:{_number(path, '<memory')}")
    assert "  from inventory/site.yaml:4:12  defaults.guests.memory\n" in out


def test_a_filter_of_kvmgens_own_says_itself_why(site: Path) -> None:
    path = "output/kvm1/libvirt/nwfilters/kvmgen-arp.xml"
    _, out, _ = run("explain", f"{path}:{_number(path, '<rule')}")
    assert "  from kvmgen:kvmgen-arp.yaml:7:5 (part of kvmgen)  rules.0\n  why  A probe" in out


def test_several_lines(site: Path) -> None:
    path = "output/kvm1/libvirt/networks/lab.xml"
    code, out, _ = run("explain", f"{path}:2-100")
    assert code == 0
    assert len(out.split("\n\n")) == sum(not line.strip().startswith("</") for line in _text(path)[1:])


def _text(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def test_programs_get_the_same(site: Path) -> None:
    code, out, _ = run("explain", f"{BRIDGE}:{_number(BRIDGE, 'address1=')}", "--format", "json")
    assert code == 0
    found = json.loads(out)
    assert (found["host"], found["path"], found["note"]) == ("kvm1", BRIDGE.removeprefix("output/kvm1/"), "")
    assert found["lines"][0]["from"] == [
        {"file": "inventory/hosts/kvm1.yaml", "line": 4, "column": 46, "what": "bridges.br0.addresses.0"}
    ]
    assert json.loads(run("explain", "KV101", "--format", "json")[1])["code"] == "KV101"
    assert json.loads(run("explain", BRIDGE, "--format", "json")[1])["from"]


def test_a_stale_file_is_told(site: Path) -> None:
    path = Path(BRIDGE)
    path.write_text("# by hand\n" + path.read_text())
    _, out, _ = run("explain", f"{BRIDGE}:1")
    assert "Made by kvmgen" in out
    assert (
        f"note: {BRIDGE} isn't what the inventory says: these are lines of what `kvmgen build` makes of it now" in out
    )
    path.unlink()
    assert f"note: {BRIDGE} isn't there yet" in run("explain", f"{BRIDGE}:1")[1]


@pytest.mark.parametrize(
    ("what", "told"),
    [
        (f"{BRIDGE}:900", "has no line 900: a build makes it with"),
        (f"{BRIDGE}:0", "has no line 0:"),
        (f"{BRIDGE}:5-3", "has no line 5-3:"),
        ("output/kvm1/etc/motd:1", "is not a file that `kvmgen build` makes from inventory"),
        ("\x1b[31m:1", "\\x1b[31m is not a file"),
    ],
)
def test_what_isnt_there_is_told(what: str, told: str, site: Path) -> None:
    code, out, err = run("explain", what)
    assert (code, out) == (1, "")
    assert told in err


def test_an_image_has_no_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    code, _, err = run("explain", "output/kvm-el9/var/lib/libvirt/images/kvmgen-el9-vlan01-seed.iso:1")
    assert code == 1
    assert "is an image, and has no lines. What is in it stands in kvm-el9/guests/el9-vlan01/seed." in err


DOMAIN = '{"path": "libvirt/domains/app1.xml"'


def test_the_manifest_leads_to_each_files_object(site: Path) -> None:
    path = "output/kvm1/manifest.json"
    _, out, _ = run("explain", f"{path}:{_number(path, DOMAIN)}")
    assert "  from inventory/guests/app1.yaml:1:1\n" in out
