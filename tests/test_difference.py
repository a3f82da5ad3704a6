"""What a change does, told by meaning and with the line that caused it; the sides come from a real git."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from jsonschema import Draft202012Validator

from kvmgen.difference.attributes import differing
from kvmgen.difference.facts import facts_of_both
from kvmgen.difference.model import Attribute, Difference, Effect, HostChange, ObjectChange, Verb
from kvmgen.difference.reading import compared
from kvmgen.difference.revision import Problem
from kvmgen.difference.whole import difference
from kvmgen.inventory import schema
from kvmgen.model.site import views
from kvmgen.pipeline import load
from kvmgen.reachability import _xml
from kvmgen.render import render
from kvmgen.report.difference_json import as_json
from kvmgen.report.difference_text import as_text
from tests.differences import filled
from tests.hostile import STRINGS
from tests.readme import blocks
from tests.sites import EXAMPLE, SMALL, write
from tests.test_cli import GENERATOR, run, started
from tests.test_starter import git

SITE: Mapping[str, str] = {
    **SMALL,
    "site.yaml": "name: test\ndomain: example.org\ndefaults:\n  guests:\n    memory: 1 GiB\n",
    "hosts/kvm1.yaml": (
        "platform: el7\n"
        "ethernets:\n"
        "  em1: {}\n"
        "bridges:\n"
        "  br0:\n"
        "    ports: [em1]\n"
        "    segment: lan\n"
        "    mtu: 1500\n"
        "    addresses: [198.51.100.1/24]\n"
        "sysctl:\n"
        "  vm.swappiness: 10\n"
        "firewall:\n"
        "  zones:\n"
        "    lan:\n"
        "      services: [ssh]\n"
    ),
    "hosts/kvm3.yaml": (
        "platform: el9\n"
        "ethernets: {em1: {}}\n"
        "bridges:\n"
        "  br0:\n"
        "    ports: [em1]\n"
        "    segment: lan\n"
        "    addresses: [198.51.100.3/24]\n"
        "    dns: {servers: [198.51.100.53]}\n"
    ).replace("    dns: {servers: [198.51.100.53]}\n", "dns:\n  servers: [198.51.100.53]\n"),
    "guests/web1.yaml": (
        "hosts: [kvm1, kvm2]\n"
        "vcpus: 2\n"
        "disks:\n"
        "  vda: {volume: web1.qcow2}\n"
        "interfaces:\n"
        "  eth0:\n"
        "    network: lab\n"
        "    addresses: [192.0.2.10/24]\n"
        "  eth1:\n"
        "    bridge: br0\n"
        "    dhcp4: true\n"
    ),
    "filters/few.yaml": (
        "rules:\n"
        "  - {priority: 500, action: accept, direction: in, tcp: {dstportstart: 22}}\n"
        "  - {priority: 1000, action: drop, direction: inout, all: {}}\n"
        "  - {priority: 999, action: drop, direction: inout, all-ipv6: {}}\n"
    ),
    "guests/db1.yaml": (
        "hosts: [kvm3]\n"
        "disks: {vda: {volume: db1.qcow2}}\n"
        "interfaces:\n"
        "  eth0: {bridge: br0, addresses: [198.51.100.10/24], filter: few}\n"
        "cloud-init: {}\n"
    ),
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a site on three platforms, all committed; the current folder."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "inventory", SITE)
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    commit(tmp_path)
    return tmp_path


def commit(site: Path) -> None:
    git(site, "add", "--all", ".")
    git(site, "commit", "--quiet", "--allow-empty", "--message", "A change")


def edit(site: Path, file: str, old: str, new: str) -> None:
    path = site / "inventory" / file
    text = path.read_text()
    assert text.count(old) == 1, (file, old)
    path.write_text(text.replace(old, new))


def told(site: Path, older: str = "HEAD", newer: str | None = None) -> Difference:
    with compared(site / "inventory", older, newer) as sides:
        assert not isinstance(sides, Problem), sides
        results = [side.result for side in (sides.before, sides.after) if side.result is not None]
        assert sides.is_good, [one.message for result in results for one in result.diagnostics if one.is_error]
        return difference(sides)


def changed(found: Difference) -> Iterator[tuple[HostChange, ObjectChange, Attribute]]:
    for host in found.hosts:
        for change in host.objects:
            for attribute in change.attributes:
                yield host, change, attribute


class Case(NamedTuple):
    """An edit of the inventory, and one thing that must be told of it."""

    file: str
    old: str
    new: str
    host: str
    object: str
    attribute: str
    before: str | None
    after: str | None
    cause: str


CASES = {
    "memory by default": Case(
        "site.yaml", "1 GiB", "2 GiB", "kvm1", "domain web1", "memory", "1 GiB", "2 GiB", "site.yaml:5"
    ),
    "a guest's own key": Case(
        "guests/web1.yaml", "vcpus: 2", "vcpus: 3", "kvm1", "domain web1", "vcpu", "2", "3", "guests/web1.yaml:2"
    ),
    "a key that is gone": Case(
        "guests/web1.yaml", "vcpus: 2\n", "", "kvm1", "domain web1", "vcpu", "2", "1", "guests/web1.yaml:2 before"
    ),
    "an address in a filter's parameters": Case(
        "guests/web1.yaml", "2.10/24", "2.11/24", "kvm1", "domain web1",
        "interface eth0: filterref: parameter IP", "192.0.2.10", "192.0.2.11", "guests/web1.yaml:8",
    ),
    "an address in a lease of another host": Case(
        "guests/web1.yaml", "2.10/24", "2.11/24", "kvm2", "network lab",
        "ip: dhcp: host web1 ip", "192.0.2.10", "192.0.2.11", "guests/web1.yaml:8",
    ),
    "an interface that comes": Case(
        "guests/web1.yaml", "    dhcp4: true\n", "    dhcp4: true\n  eth2: {bridge: br0, dhcp4: true}\n",
        "kvm1", "domain web1", "interface eth2", None, "source bridge br0", "guests/web1.yaml:12",
    ),
    "a link that moves to another bridge": Case(
        "guests/web1.yaml", "    network: lab\n", "    bridge: br0\n",
        "kvm1", "domain web1", "interface eth0: source bridge", None, "br0", "guests/web1.yaml:7",
    ),
    "ifcfg": Case(
        "hosts/kvm1.yaml", "mtu: 1500", "mtu: 1400", "kvm1", "link br0", "MTU", "1500", "1400", "hosts/kvm1.yaml:8"
    ),
    "a keyfile": Case(
        "hosts/kvm3.yaml", "100.3/24", "100.4/24", "kvm3", "link br0",
        "ipv4: address", "198.51.100.3/24", "198.51.100.4/24", "hosts/kvm3.yaml:7",
    ),
    "a kernel setting": Case(
        "hosts/kvm1.yaml", "swappiness: 10", "swappiness: 20", "kvm1", "sysctl etc/sysctl.d/90-kvmgen.conf",
        "vm.swappiness", "10", "20", "hosts/kvm1.yaml:11",
    ),
    "a zone's service": Case(
        "hosts/kvm1.yaml", "[ssh]", "[ssh, http]", "kvm1", "firewall zone lan",
        "service", None, "http", "hosts/kvm1.yaml:15",
    ),
    "a filter's rule": Case(
        "filters/few.yaml", "22", "2222", "kvm3", "nwfilter few", "rule 500",
        "accept in tcp dstportstart=22", "accept in tcp dstportstart=2222", "filters/few.yaml:2",
    ),
    "a network's mode": Case(
        "networks/lab.yaml", "nat", "route", "kvm1", "network lab", "forward mode", "nat", "route",
        "networks/lab.yaml:2",
    ),
    "a seed": Case(
        "guests/db1.yaml", "100.10/24", "100.11/24", "kvm3", "guest-file db1",
        "seed/network-config: ethernets: eth0: addresses", '["198.51.100.10/24"]', '["198.51.100.11/24"]',
        "guests/db1.yaml:4",
    ),
    "only in the manifest": Case(
        "guests/web1.yaml", "vcpus: 2", "vcpus: 2\nautostart: false", "kvm1", "domain web1",
        "autostart", "yes", "no", "guests/web1.yaml:3",
    ),
    "a platform's minor": Case(
        "hosts/kvm1.yaml", "platform: el7", "platform: el7.9", "kvm1", "manifest manifest.json",
        "platform", "el7", "el7.9", "hosts/kvm1.yaml:1",
    ),
    "a file's name on the other side of a link": Case(
        "guests/web1.yaml", "web1.qcow2", "web2.qcow2", "kvm1", "domain web1",
        "disk vda: source volume", "web1.qcow2", "web2.qcow2", "guests/web1.yaml:4",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_change_is_told_with_its_cause(site: Path, name: str) -> None:
    case = CASES[name]
    edit(site, case.file, case.old, case.new)
    found = told(site)
    attributes = {
        (host.host, f"{change.kind} {change.name}", attribute.name): attribute
        for host, change, attribute in changed(found)
    }
    attribute = attributes[case.host, case.object, case.attribute]
    assert attribute.before == case.before
    assert case.after is None or case.after in (attribute.after or "")
    causes = [f"{place}{' before' * place.before}" for place in attribute.causes]
    assert causes == [f"inventory/{case.cause}"]
    lacking = [(change.name, attribute.name) for _, change, attribute in changed(found) if not attribute.causes]
    assert not lacking, "every attribute has a cause"
    assert all(change.impact is not None for host in found.hosts for change in host.objects)


def test_a_refactoring_says_so(site: Path) -> None:
    edit(site, "site.yaml", "defaults:\n", "profiles: {two: {vcpus: 2}}\ndefaults:\n")
    edit(site, "guests/web1.yaml", "vcpus: 2\n", "profile: two  # as the others have it\n")
    found = told(site)
    assert found.hosts == ()
    assert [file.path for file in found.inventory] == ["inventory/guests/web1.yaml", "inventory/site.yaml"]
    code, out, _ = run("diff", "--exit-code")
    assert (code, out.splitlines()[0]) == (
        0,
        "A refactoring: 2 files of the inventory changed, and every host gets the same files as before.",
    )


def test_a_guest_that_moves_is_told_on_both_hosts(site: Path) -> None:
    edit(site, "guests/web1.yaml", "hosts: [kvm1, kvm2]", "hosts: [kvm2]")
    moved = {
        (host.host, change.verb): attribute
        for host, change, attribute in changed(told(site))
        if (change.kind, attribute.name) == ("domain", "home")
    }
    assert set(moved) == {("kvm1", Verb.REMOVED), ("kvm2", Verb.ADDED)}
    assert {(one.before, one.after, str(one.causes[0])) for one in moved.values()} == {
        ("kvm1", "kvm2", "inventory/guests/web1.yaml:1")
    }


def test_what_comes_and_goes_is_caused_by_its_own_file(site: Path) -> None:
    (site / "inventory/guests/db1.yaml").unlink()
    write(
        site / "inventory",
        {"guests/web2.yaml": SITE["guests/web1.yaml"].replace("2.10/", "2.12/").replace("web1", "web2")},
    )
    objects = {
        (host.host, change.verb, change.kind, change.name): [str(place) for place in change.causes]
        for host in told(site).hosts
        for change in host.objects
    }
    assert objects["kvm1", Verb.ADDED, "domain", "web2"] == ["inventory/guests/web2.yaml:1"]
    assert objects["kvm3", Verb.REMOVED, "domain", "db1"] == ["inventory/guests/db1.yaml:1"]
    assert objects["kvm3", Verb.REMOVED, "nwfilter", "few"] == ["inventory/guests/db1.yaml:1"]
    assert objects["kvm2", Verb.CHANGED, "network", "lab"] == ["inventory/guests/web2.yaml:8"]


def test_a_host_that_comes_and_one_that_goes(site: Path) -> None:
    (site / "inventory/guests/db1.yaml").unlink()
    (site / "inventory/hosts/kvm3.yaml").rename(site / "inventory/hosts/kvm4.yaml")
    verbs = {host.host: host.verb for host in told(site).hosts}
    assert verbs == {"kvm3": Verb.REMOVED, "kvm4": Verb.ADDED}


def test_order_counts_where_it_means_something(site: Path) -> None:
    """Rules are taken one after the other; services are a set."""
    rules = '  direct:\n    - {family: both, chain: INPUT, rule: "-p tcp --dport 22 -j ACCEPT"}\n'
    other = '    - {family: both, chain: INPUT, rule: "-p tcp -j DROP"}\n'
    edit(site, "hosts/kvm1.yaml", "  zones:\n", f"{rules}{other}  zones:\n")
    commit(site)
    edit(site, "hosts/kvm1.yaml", f"{rules}{other}", rules.replace("direct:\n", f"direct:\n{other}"))
    assert [(change.name, attribute.name) for _, change, attribute in changed(told(site))] == [
        ("direct rules", "rule: order")
    ]
    commit(site)
    edit(site, "hosts/kvm1.yaml", "[ssh]", "[ssh, http]")
    commit(site)
    edit(site, "hosts/kvm1.yaml", "[ssh, http]", "[http, ssh]")
    assert [attribute.name for _, _, attribute in changed(told(site))] in ([], ["text"])


def _files() -> Iterator[tuple[str, str]]:
    """The example site's files, the first few of each kind, no two the same."""
    result = load(EXAMPLE)
    assert result.site is not None
    texts: dict[str, set[str]] = {}
    for view in views(result.site):
        for artifact in render(view):
            taken = texts.setdefault(artifact.kind, set())
            if artifact.text and artifact.text not in taken and len(taken) < _MOST:
                taken.add(artifact.text)
                yield artifact.path, artifact.text


_MOST = 14


def _altered(path: str, text: str) -> Iterator[str]:
    """The file with one thing otherwise: a line, or in XML an attribute's value, a text, or an element."""
    if not path.endswith(".xml"):
        lines = text.splitlines()
        for number, line in enumerate(lines):
            if line.strip() not in ("", "COMMIT", "}") and not line.strip().startswith(("*", "table", "chain", "[")):
                yield "\n".join((*lines[:number], *lines[number + 1 :], ""))
        return
    count = len(list(_xml.read(text).iter()))
    for number in range(0, count, 2):
        for key in _xml.attributes(list(_xml.read(text).iter())[number]):
            root = _xml.read(text)
            list(root.iter())[number].set(key, "altered")
            yield _written(root)
        root = _xml.read(text)
        element = list(root.iter())[number]
        if number and (parent := element.getparent()) is not None:
            parent.remove(element)
            yield _written(root)


def _written(root: _xml.Element) -> str:
    from lxml import etree

    return str(etree.tostring(root, encoding="unicode"))


def test_nothing_that_differs_stays_untold() -> None:
    """Lines, attributes and elements of the example's files: what is taken away or altered is seen by meaning."""
    lost, count = [], 0
    for path, text in _files():
        base = text if not path.endswith(".xml") else _written(_xml.read(text))
        for other in _altered(path, text):
            count += 1
            if not list(differing(*facts_of_both(path, base, other, ({}, {})))):
                lost.append((path, count))
    assert lost == []
    assert count > 1000


def test_the_document_fits_its_schema(site: Path) -> None:
    edit(site, "guests/web1.yaml", "2.10/24", "2.11/24")
    (site / "inventory/guests/db1.yaml").unlink()
    code, out, _ = run("diff", "--format", "json")
    document = json.loads(out)
    Draft202012Validator(schema.load("difference")).validate(document)
    assert (code, document["before"].startswith("HEAD ("), bool(document["hosts"])) == (0, True, True)
    effects = schema.load("difference")["$defs"]["impact"]["properties"]["effect"]["enum"]
    assert (effects, run("schema", "difference")[0]) == (list(Effect), 0)


def test_the_same_bytes_every_time(site: Path) -> None:
    edit(site, "site.yaml", "1 GiB", "2 GiB")
    (site / "inventory/guests/db1.yaml").unlink()
    outs = {started("diff", "--format", "json", cwd=site, PYTHONHASHSEED=seed).stdout for seed in ("1", "2")}
    assert len(outs) == 1
    assert outs.pop()


@pytest.mark.parametrize("hostile", STRINGS)
def test_no_text_of_an_inventory_commands_a_terminal(hostile: str) -> None:
    for text in (as_text(filled(STRINGS[hostile]), raw=True), as_json(filled(STRINGS[hostile]))):
        assert all(char.isprintable() or char == "\n" for char in text)
        assert "##[" not in text


def test_a_line_of_the_report_is_one(site: Path) -> None:
    """No text of an inventory begins a line of its own."""
    assert len(as_text(filled("x"), raw=True).splitlines()) == len(as_text(filled("x\ry"), raw=True).splitlines())


@pytest.mark.parametrize("forbidden", [False, True])
def test_colours_are_for_terminals_alone(site: Path, forbidden: bool) -> None:
    edit(site, "guests/web1.yaml", "vcpus: 2", "vcpus: 3")
    reader, writer = os.openpty()
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(GENERATOR), "TERM": "xterm-256color"}
    environment |= {"NO_COLOR": "1"} if forbidden else {}
    subprocess.run([sys.executable, "-m", "kvmgen", "diff"], check=True, cwd=site, stdout=writer, env=environment)
    os.close(writer)
    shown = os.read(reader, 100_000)
    os.close(reader)
    assert (b"\x1b[32m3\x1b[0m" in shown, b"\x1b" in shown) == (not forbidden, not forbidden)
    assert re.sub(rb"\x1b\[[0-9;]*m|\r", b"", shown).decode() == run("diff")[1]


def test_the_readme_tells_the_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes, shown = blocks("What a change does")
    shutil.copytree(EXAMPLE, tmp_path / "inventory")
    git(tmp_path, "init", "--quiet")
    commit(tmp_path)
    (tmp_path / "change.diff").write_text(f"{changes}\n")
    git(tmp_path, "apply", "change.diff")
    monkeypatch.chdir(tmp_path)
    code, out, err = run("diff")
    assert (code, err) == (0, "")
    assert re.sub("[0-9a-f]{10}", "COMMIT", out.strip()) == re.sub("[0-9a-f]{10}", "COMMIT", shown)
