"""Which files a platform gets, on a host and inside a guest."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kvmgen.artifact import Kind
from kvmgen.diagnostics import Origin
from kvmgen.model.host import DirectRule, Ethernet, Firewall, Sysctl, Zone
from kvmgen.model.platform import Platform
from kvmgen.render import inside, node
from tests.render.builders import guest, host, uuid, view

ORIGIN = Origin("hosts/kvm01.yaml")
EVERYTHING = host(
    ethernets=(Ethernet(name="eth0", origin=ORIGIN, uuid=uuid("eth0")),),
    sysctl=(Sysctl(key="kernel.sysrq", value="0", origin=ORIGIN),),
    firewall=Firewall(
        origin=ORIGIN,
        zones=(Zone(name="guests", origin=ORIGIN),),
        rules=(DirectRule(family="ipv4", table="filter", chain="INPUT", priority=0, rule="-j DROP", origin=ORIGIN),),
    ),
)

IFCFG = "etc/sysconfig/network-scripts/ifcfg-eth0"
KEYFILE = "etc/NetworkManager/system-connections/eth0.nmconnection"
ZONE = "etc/firewalld/zones/guests.xml"
SYSCTL = "etc/sysctl.d/90-kvmgen.conf"


@pytest.mark.parametrize(
    ("platform", "paths"),
    [
        ("el6", {"etc/sysconfig/network", IFCFG, "etc/sysconfig/iptables", "etc/sysctl.conf"}),
        ("el7", {IFCFG, "etc/firewalld/direct.xml", ZONE, SYSCTL}),
        ("el8", {IFCFG, "etc/firewalld/direct.xml", ZONE, SYSCTL}),
        ("el9", {KEYFILE, ZONE, SYSCTL}),
        ("el10", {KEYFILE, ZONE, SYSCTL}),
    ],
)
def test_files_by_platform(platform: str, paths: set[str]) -> None:
    machine = replace(EVERYTHING, platform=Platform.parse(platform))
    files = list(node.render(view(machine)))
    assert {file.path for file in files} == paths
    within = list(inside.render(view(guests=(guest("web01", inside=machine),))))
    assert {file.path for file in within} == {f"guests/web01/{path}" for path in paths}
    assert all(file.kind is Kind.GUEST_FILE for file in within)
    assert [(file.text, file.mode) for file in within] == [(file.text, file.mode) for file in files]


def test_a_guest_of_unknown_platform_has_no_files() -> None:
    assert list(inside.render(view(guests=(guest(),)))) == []
