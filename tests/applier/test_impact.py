"""What kvmgen predicts of a change, held to what the applier plans on a host that runs it.

The host is one of the laboratory's, with a real libvirtd, and guests whose processors never run; of network-scripts
there is a stand-in, NetworkManager is real.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmgen.difference.model import Effect
from kvmgen.difference.words import words_of
from tests.applier.folder import HOST
from tests.applier.predicted import Changing, hold_to_the_plan
from tests.applier.test_host import SCRIPTS, STAND_IN
from tests.lab.guest import LabGuest
from tests.lab.host import LabHost
from tests.sites import SITE

pytestmark = pytest.mark.real

LINKS = """platform: {platform}
memory: 8 GiB
management: eno1
ethernets:
  eno1: {{addresses: [192.0.2.11/24], routes: [{{to: default, via: 192.0.2.99}}]}}
  eno2: {{}}
bridges:
  br0: {{ports: [eno2], addresses: [198.51.100.1/24]}}
sysctl: {{net.ipv4.ip_forward: 1}}
"""
NETWORK = """hosts: {{kvm01: {{}}}}
forward: {forward}
bridge: {{name: {bridge}}}
addresses: [{address}/24]
"""
RULES = """rules:
  - {priority: 500, action: accept, direction: in, tcp: {dstportstart: 80}}
  - {priority: 1000, action: drop, direction: inout, all: {}}
  - {priority: 1000, action: drop, direction: inout, all-ipv6: {}}
"""
FILES = {
    "site.yaml": SITE,
    "networks/nat.yaml": NETWORK.format(forward="nat", bridge="virbr7", address="203.0.113.1")
    + "nat: {ports: 2048-65535}\ndhcp: {ranges: [203.0.113.100-203.0.113.200]}\n",
    "networks/routed.yaml": NETWORK.format(forward="route", bridge="virbr8", address="10.8.0.1"),
    "filters/ours.yaml": RULES,
    "filters/theirs.yaml": RULES,
    "guests/web01.yaml": "hosts: [kvm01]\ninterfaces: {eth0: {bridge: br0, filter: ours}}\n",
    "guests/db01.yaml": "hosts: [kvm01]\ninterfaces: {eth0: {network: nat, addresses: [203.0.113.10/24]}}\n",
    "guests/cache01.yaml": (
        "hosts: [kvm01]\ninterfaces: {eth0: {network: routed, addresses: [10.8.0.10/24], filter: theirs}}\n"
    ),
}
GUESTS = ("web01", "db01", "cache01")


def edited(files: dict[str, str], *edits: tuple[str, str, str]) -> dict[str, str]:
    """Files with some of their places otherwise; a file that is to have no text goes."""
    found = dict(files)
    for name, old, new in edits:
        assert found.get(name, "").count(old) == 1 or not old, (name, old)
        found[name] = found[name].replace(old, new) if old else new
    return {name: text for name, text in found.items() if text}


@pytest.fixture
def lab(lab_host: LabHost) -> Iterator[LabHost]:
    """A host with two NICs that are wired to machines outside."""
    with (
        LabGuest(lab_host, "outside1", tap="eno1", mac="52:54:00:00:01:01", addresses=["192.0.2.99/24"]),
        LabGuest(lab_host, "outside2", tap="eno2", mac="52:54:00:00:01:02", addresses=["198.51.100.99/24"]),
    ):
        lab_host.start_libvirtd()
        yield lab_host


def test_what_is_predicted_is_planned_under_network_scripts(lab: LabHost, tmp_path: Path) -> None:
    lab.run("cp", "-r", str(STAND_IN), "/run/lab/network-scripts")
    lab.run("mkdir", "-p", SCRIPTS)
    lab.ip_batch(["link set eno1 down", "link set eno2 down"])
    host = Changing(lab, tmp_path, {"PATH": "/run/lab/network-scripts:/usr/sbin:/usr/bin:/sbin:/bin"})
    files = {**FILES, f"hosts/{HOST}.yaml": LINKS.format(platform="el7")}
    before = host.compiled(files)
    host.apply(before, *GUESTS)
    at_once = edited(
        files,
        ("hosts/kvm01.yaml", "  eno2: {}\n", "  eno2: {mtu: 1400}\n  eno3: {}\n"),
        ("hosts/kvm01.yaml", "198.51.100.1/24", "198.51.100.2/24"),
        ("hosts/kvm01.yaml", "bridges:\n", "bridges:\n  br1: {ports: [eno3]}\n"),
        ("hosts/kvm01.yaml", "ip_forward: 1", "ip_forward: 1, net.ipv4.tcp_syncookies: 1"),
        ("networks/nat.yaml", "203.0.113.100-", "203.0.113.150-"),
        ("networks/routed.yaml", "10.8.0.1/24", "10.8.0.9/24"),
        ("filters/ours.yaml", "dstportstart: 80", "dstportstart: 8080"),
        ("guests/web01.yaml", "hosts: [kvm01]", "hosts: [kvm01]\nmemory: 2 GiB"),
        ("guests/db01.yaml", "203.0.113.10/24", "203.0.113.11/24"),
        ("guests/new01.yaml", "", "hosts: [kvm01]\ninterfaces: {eth0: {bridge: br0}}\n"),
    )
    said = hold_to_the_plan(host, before, host.compiled(at_once))
    assert {name: words_of(said[name]) for name in ("nat", "routed", "web01", "db01", "new01")} == {
        "nat": "live, by net-update",
        "routed": "waits until routed is restarted (--disruptive): cache01 loses its link meanwhile",
        "web01": "waits until web01 is shut down and started again",
        "db01": "live",
        "new01": "live",
    }
    assert said[f"{SCRIPTS[1:]}/ifcfg-br0"].guests == ("web01",)
    gone = edited(
        files,
        ("hosts/kvm01.yaml", "192.0.2.11/24", "192.0.2.12/24"),
        ("hosts/kvm01.yaml", "bridges:\n  br0: {ports: [eno2], addresses: [198.51.100.1/24]}\n", ""),
        ("hosts/kvm01.yaml", "ip_forward: 1", "ip_forward: 1, net.ipv4.conf.all.rp_filter: 1"),
        ("networks/nat.yaml", files["networks/nat.yaml"], ""),
        ("filters/ours.yaml", RULES, ""),
        ("filters/theirs.yaml", RULES, ""),
        ("guests/web01.yaml", files["guests/web01.yaml"], ""),
        (
            "guests/db01.yaml",
            "network: nat, addresses: [203.0.113.10/24]",
            "network: routed, addresses: [10.8.0.11/24]",
        ),
        ("guests/cache01.yaml", ", filter: theirs", ""),
    )
    said = hold_to_the_plan(host, before, host.compiled(gone))
    assert {name: said[name].effect for name in ("nat", "ours", "theirs", "web01")} == {
        "nat": Effect.LIVE,
        "ours": Effect.WAITS,
        "theirs": Effect.LIVE,
        "web01": Effect.WAITS,
    }


def test_what_is_predicted_is_planned_under_networkmanager(lab: LabHost, tmp_path: Path) -> None:
    lab.start_networkmanager()
    host = Changing(lab, tmp_path, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    files = {**FILES, f"hosts/{HOST}.yaml": LINKS.format(platform="el9")}
    before = host.compiled(files)
    host.apply(before, *GUESTS)
    for edits in (
        (
            ("ports: [eno2], addresses: [198.51.100.1/24]", "ports: [eno2, eno3], addresses: [198.51.100.2/24]"),
            ("eno2: {}", "eno2: {mtu: 1400}\n  eno3: {}"),
        ),
        (("[198.51.100.1/24]", "[198.51.100.1/24], stp: true"), ("192.0.2.11/24", "192.0.2.12/24")),
    ):
        then = edited(files, *(("hosts/kvm01.yaml", old, new) for old, new in edits))
        hold_to_the_plan(host, before, host.compiled(then))
    waits = edited(
        files,
        ("hosts/kvm01.yaml", "management: eno1", "management: br1"),
        ("hosts/kvm01.yaml", "{addresses: [192.0.2.11/24], routes: [{to: default, via: 192.0.2.99}]}", "{}"),
        (
            "hosts/kvm01.yaml",
            "  br0: {ports: [eno2], addresses: [198.51.100.1/24]}\n",
            "  br1: {ports: [eno1], addresses: [192.0.2.11/24], routes: [{to: default, via: 192.0.2.99}]}\n"
            "  br2: {ports: [eno2], addresses: [198.51.100.1/24]}\n",
        ),
        ("guests/web01.yaml", "br0", "br2"),
        ("networks/nat.yaml", "nat: {ports: 2048-65535}\n", ""),
    )
    said = hold_to_the_plan(host, before, host.compiled(waits))
    assert (said["nat"].effect, said["nat"].guests) == (Effect.NETWORK_RESTART, ("db01",))
    links = {Path(name).stem: impact.needs for name, impact in said.items() if name.endswith(".nmconnection")}
    assert links == {
        "eno1": "--confirm-within 120 --disruptive eno1",
        "eno2": "--disruptive eno2",
        "br0": "--disruptive br0",
        "br1": "--disruptive eno1",
        "br2": "--disruptive eno2",
    }
