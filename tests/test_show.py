"""One object with everything resolved: what it says is what was compiled, and where it was said is where it stands."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kvmgen import pipeline, show
from kvmgen.report.printed import plain_lines
from kvmgen.show.text import as_text
from tests.sites import EXAMPLE, write
from tests.test_cli import run

SITE = """\
name: test
domain: example.org
defaults:
  guests: {vcpus: 2}
profiles:
  server:
    memory: 2 GiB
"""
FILES = {
    "site.yaml": SITE,
    "hosts/kvm01.yaml": (
        "platform: el9\nethernets: {eno1: {}}\nbridges: {br0: {ports: [eno1], addresses: [192.0.2.1/24]}}\n"
    ),
    "networks/lab.yaml": (
        "libvirt-name: laboratory\nhosts:\n  kvm01: {domain: lab.example.org}\nforward: nat\n"
        "bridge: {name: virbr0}\naddresses: [198.51.100.1/24]\n"
    ),
    "filters/ssh.yaml": "rules:\n  - filter: kvmgen-anti-spoofing\n",
    "guests/web01.yaml": (
        "hosts: [kvm01]\nprofile: server\ninterfaces:\n  eth0:\n    network: lab\n    addresses: [198.51.100.10/24]\n"
        "    filter: ssh\n"
    ),
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path / "inventory", FILES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(kind: str, name: str) -> dict[str, Any]:
    code, out, err = run("show", kind, name, "--format", "json")
    assert (code, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


def test_where_each_value_was_said(site: Path) -> None:
    """By the object itself, its profile, the site's defaults, the schema; or it follows from other values."""
    found = shown("guest", "web01")
    said = found["said"]
    assert said["/interfaces/eth0/network"] == "inventory/guests/web01.yaml:5"
    assert said["/interfaces/eth0/filter/name"] == "inventory/guests/web01.yaml:7", "a word alone is the name"
    assert said["/memory"] == "inventory/site.yaml:7 (profile server)"
    assert said["/vcpus"] == "inventory/site.yaml:4 (the site's defaults)"
    assert said["/interfaces/eth0/model"] == said["/autostart"] == "default"
    assert said["/uuid"] == said["/interfaces/eth0/mac"] == "derived"
    assert (found["value"]["memory"], found["value"]["vcpus"]) == ("2 GiB", 2)


def test_everything_that_a_guest_is(site: Path) -> None:
    nic = shown("guest", "web01")["value"]["interfaces"]["eth0"]
    assert (nic["libvirt-network"], nic["bridge"]) == ("laboratory", "virbr0")
    assert nic["filter"]["name"] == "ssh"
    assert nic["filter"]["parameters"]["IP"] == ["198.51.100.10"]
    assert pipeline.build(Path("inventory"), Path("output")).is_good
    domain = Path("output/kvm01/libvirt/domains/web01.xml").read_text()
    for text in (nic["mac"], "laboratory", shown("guest", "web01")["value"]["uuid"]):
        assert text in domain


@pytest.mark.parametrize("kind", ["host", "network", "guest", "filter", "policy"])
def test_the_example_site(kind: str) -> None:
    """Every object of it: each place is a line that has the key, and each file is one of the output."""
    result = pipeline.load(EXAMPLE)
    assert result.site is not None
    names = [name for name in show.KINDS[kind][0](result.site) if not name.startswith("kvmgen-")]
    assert names
    for name in names[:12]:
        found = show.show(kind, name, result.site, result.sources)
        assert not isinstance(found, str)
        assert found.said
        for pointer, place in found.said.items():
            match = re.match(r"(\S+):([0-9]+)", place)
            if match is None:
                assert place in ("default", "derived"), place
            else:
                line = Path(match[1]).read_text().splitlines()[int(match[2]) - 1]
                assert str(pointer[-1]) in line or (pointer[-2:] == ("filter", "name") and "filter: " in line)
        for path in found.files:
            assert (EXAMPLE.parent / "output" / path).is_file() or kind == "policy", path


def test_what_a_host_carries(site: Path) -> None:
    value = shown("host", "kvm01")["value"]
    assert value["guests"] == ["web01"]
    assert value["networks"] == ["lab"]
    assert "ssh" in value["filters"]
    assert value["sysctl"]["net.ipv4.ip_forward"] == "1"
    assert value["bridges"]["br0"]["addresses"] == ["192.0.2.1/24"]


def test_what_a_network_is_on_each_host(site: Path) -> None:
    found = shown("network", "lab")
    assert found["value"]["guests"] == ["web01 (eth0)"]
    assert found["value"]["hosts"]["kvm01"]["bridge"]["name"] == "virbr0"
    assert found["said"]["/hosts/kvm01/domain"] == "inventory/networks/lab.yaml:3"
    assert found["said"]["/hosts/kvm01/addresses"] == "inventory/networks/lab.yaml:6"
    assert "kvm01/libvirt/networks/laboratory.xml" in found["files"]


def test_whom_a_filter_guards(site: Path) -> None:
    assert shown("filter", "ssh")["value"]["guests"] == ["web01 (eth0)"]
    included = shown("filter", "kvmgen-anti-spoofing")["value"]
    assert "ssh" in included["included-by"]
    assert included["guests"] == ["web01 (eth0)"]
    assert shown("filter", "clean-traffic")["value"]["includes"]  # libvirt's own


def test_text_reads_like_yaml(site: Path) -> None:
    code, out, err = run("show", "guest", "web01")
    assert (code, err) == (0, "")
    assert re.search(r"^    network: lab +# inventory/guests/web01\.yaml:5$", out, re.MULTILINE)
    assert re.search(r"^vcpus: 2 +# inventory/site\.yaml:4 \(the site's defaults\)$", out, re.MULTILINE)
    assert "\nfiles:\n  - kvm01/libvirt/domains/web01.xml\n" in out


def test_a_name_that_isnt_there(site: Path) -> None:
    assert run("show", "guest", "web1") == (1, "", "There is no guest 'web1'. Did you mean 'web01'?\n")
    assert run("show", "host", "xyz") == (1, "", "There is no host 'xyz'. There is: kvm01.\n")
    assert run("show", "policy", "web") == (1, "", "There is no policy 'web': there is none yet.\n")
    assert run("show", "guest", "\x1b[31m")[2].isascii()
    assert run("show", "volume", "x")[0] == 2


def test_free_text_is_one_line(site: Path) -> None:
    """Whatever a title could be: nothing in it looks like a key, and no terminal obeys it."""
    found = replace(
        loaded_guest(), value={"title": "a\n  mac: x\n\x1b[31m", "routes": [{"to": "a\nb"}, "c\nd"]}, said={}
    )
    assert plain_lines(as_text(found)).splitlines()[1:5] == [
        "title: a mac: x \\x1b[31m",
        "routes:",
        "  - {to: a b}",
        "  - c d",
    ]


def loaded_guest() -> show.Shown:
    result = pipeline.load(Path("inventory"))
    assert result.site is not None
    found = show.show("guest", "web01", result.site, result.sources)
    assert not isinstance(found, str)
    return found
