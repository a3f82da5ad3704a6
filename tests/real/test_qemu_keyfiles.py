"""Profiles of every kind of link, brought up by NetworkManager on a kernel that has bonds and VLANs.

Two hosts in one boot, one after the other: each has a network, a message bus and a NetworkManager of its own. NICs are
veths of the right names and MACs whose other ends are up; nobody answers on them, so that DHCP and routers stay silent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from kvmgen.model.host import Bond, Bridge, Ethernet, Host, Link, Vlan
from tests.lab.machine import run_in_machine
from tests.real.links import assert_addresses, assert_bridge, assert_routes
from tests.real.profiles import hosts, profiles

pytestmark = pytest.mark.real

VIEWS = {name: view for name, view in hosts().items() if name in ("kvm9", "kvm10")}
"""The golden hosts, which have everything that the example's have: emulation is slow."""

KINDS: dict[type[Link], str] = {Ethernet: "veth", Bond: "bond", Vlan: "vlan", Bridge: "bridge"}
PROGRAMS = ("cat", "chmod", "cp", "dbus-daemon", "grep", "mkdir", "NetworkManager", "nmcli", "nsenter", "sleep")
MODULES = ("drivers/net/veth",)
CONF = "[main]\nplugins=keyfile\ndhcp=internal\nno-auto-default=*\nauth-polkit=false\nrc-manager=unmanaged\n"
BUS = """<busconfig>
<type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
<policy context="default">
<allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_type="signal"/>
<allow send_requested_reply="true"/><allow receive_requested_reply="true"/>
</policy></busconfig>
"""
FILES = {
    "bus.conf": BUS,
    "etc/passwd": "root:x:0:0:root:/:/bin/bash\n",
    "etc/nsswitch.conf": "passwd: files\n",
    "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "NetworkManager.conf": CONF,
    "NetworkManager.state": "[main]\nNetworkingEnabled=false\n",
}
# NetworkManager does without udev where it finds /sys read-only as it starts, and sets bonds through /sys later.
START = """
export DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/dbus/system_bus_socket
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /etc/NetworkManager
mount -t tmpfs tmpfs /var/lib/NetworkManager
mount -t sysfs -o ro sysfs /sys
mkdir -p /run/dbus /run/NetworkManager /etc/NetworkManager/system-connections
cp /NetworkManager.conf /etc/NetworkManager/
cp /NetworkManager.state /var/lib/NetworkManager/
cp /$HOST/*.nmconnection /etc/NetworkManager/system-connections/
chmod 600 /etc/NetworkManager/system-connections/*
ip link set lo up
dbus-daemon --config-file=/bus.conf --fork
NetworkManager --debug >/run/log 2>&1 &
for turn in {1..60}; do ! grep -q "disabled by state file" /run/log || break; sleep 1; done
mount -o remount,rw /sys
nmcli networking on || cat /run/log
"""
WAIT = """
for turn in {{1..60}}; do
    up=$(grep -c "Activation: successful" /run/log)
    ((up < {count})) || break
    sleep 1
done
((up == {count})) || cat /run/log
"""


@dataclass(slots=True)
class Report:
    """What `ip` says of one host's links and routes, sysfs of its bonds' options, and NetworkManager's complaints."""

    links: dict[str, dict[str, Any]] = field(default_factory=dict)
    routes: list[dict[str, Any]] = field(default_factory=list)
    options: dict[tuple[str, str], str] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)

    def read(self, kind: str, rest: str) -> None:
        if kind == "links":
            self.links = {link["ifname"]: link for link in json.loads(rest)}
        elif kind == "routes":
            self.routes += json.loads(rest)
        elif kind == "option":
            bond, option, value = rest.split(" ", 2)
            self.options[bond, option] = value
        else:
            self.complaints.append(rest)


def is_silent(link: Link) -> bool:
    """Whether the link waits for an answer that doesn't come."""
    own = link.addressing
    return own.dhcp4 or own.dhcp6 or own.accept_ra


@pytest.fixture(scope="module")
def reports() -> dict[str, Report]:
    """Every host, from one boot."""
    files = dict(FILES)
    for name, view in VIEWS.items():
        files[f"{name}.sh"] = "\n".join(_script(view.host))
        files |= {f"{name}/{file.path.rpartition('/')[2]}": file.text for file in profiles(view.host)}
    starts = [f"HOST={name} unshare --net --mount bash -u /{name}.sh || exit 1" for name in VIEWS]
    folders = "mkdir -p /run /etc/NetworkManager /var/lib/NetworkManager"
    main = "\n".join(["mount -t devtmpfs dev /dev", folders, *starts])
    printed = run_in_machine(main, files, programs=PROGRAMS, modules=MODULES)
    found = {name: Report() for name in VIEWS}
    for line in printed.splitlines():
        name, kind, rest = (*line.split(" ", 2), "", "")[:3]
        if name in found:
            found[name].read(kind, rest)
    assert all(report.links for report in found.values()), printed[-6000:]
    return found


def _script(host: Host) -> Iterator[str]:
    yield "for key in accept_dad dad_transmits; do echo 0 >/proc/sys/net/ipv6/conf/default/$key; done"
    yield "ip -batch - <<END"
    for number, nic in enumerate(host.ethernets):
        mac = f"address {nic.mac}" if nic.mac else ""
        yield f"link add {nic.name} {mac} type veth peer name {host.name}.{number} netns 1"
    yield "END\nnsenter --target 1 --net ip -batch - <<END"
    yield from (f"link set {host.name}.{number} mtu 9000 up" for number, _ in enumerate(host.ethernets))
    yield "END"
    yield START
    yield WAIT.format(count=sum(not is_silent(link) for link in host.links))
    yield f'echo "{host.name} links $(ip -details -json address)"'
    for family in ("-4", "-6"):
        yield f'echo "{host.name} routes $(ip {family} -json route)"'
    for bond in host.bonds:
        for option, _ in bond.options:
            value = f"$(</sys/class/net/{bond.name}/bonding/{option})"
            yield f'echo "{host.name} option {bond.name} {option} {value}"'
    yield f'grep -E "<(warn|error)>" /run/log | while read line; do echo "{host.name} complaint $line"; done'
    yield "kill %1"


@pytest.fixture(params=VIEWS)
def case(request: pytest.FixtureRequest, reports: dict[str, Report]) -> tuple[Host, Report]:
    return VIEWS[request.param].host, reports[request.param]


def test_every_link_is_the_models(case: tuple[Host, Report]) -> None:
    host, report = case
    for link in host.links:
        there = report.links[link.name]
        assert there["linkinfo"]["info_kind"] == KINDS[type(link)]
        assert there.get("master") == (link.bond or link.bridge), link.name
        assert "UP" in there["flags"], link.name
        assert link.mtu in (None, there["mtu"]), link.name
        assert_addresses(link, there)


def test_every_bond_has_its_options_and_ports(case: tuple[Host, Report]) -> None:
    host, report = case
    for bond in host.bonds:
        for key, value in bond.options:
            # sysfs says the option's name and its number, and targets with blanks between them.
            said = report.options[bond.name, key]
            assert (said.replace(" ", ",") if key == "arp_ip_target" else said.split()[0]) == value, (bond.name, key)
        assert {name for name, link in report.links.items() if link.get("master") == bond.name} == set(bond.ports)


def test_every_vlan_is_on_its_parent(case: tuple[Host, Report]) -> None:
    host, report = case
    for vlan in host.vlans:
        there = report.links[vlan.name]
        data = there["linkinfo"]["info_data"]
        assert (there["link"], data["id"], data["protocol"]) == (vlan.parent, vlan.id, "802.1Q")
        assert data["flags"] == ["REORDER_HDR"]
        assert there["address"] == report.links[vlan.parent]["address"]


def test_every_bridge_has_its_settings_and_ports(case: tuple[Host, Report]) -> None:
    host, report = case
    for bridge in host.bridges:
        there = report.links[bridge.name]
        assert_bridge(bridge, there)
        assert bridge.mac in (None, there["address"])
        assert {name for name, link in report.links.items() if link.get("master") == bridge.name} == set(bridge.ports)


def test_routes_are_the_models(case: tuple[Host, Report]) -> None:
    host, report = case
    assert_routes(host, report.routes)


def test_networkmanager_has_no_complaint(case: tuple[Host, Report]) -> None:
    """But for what this machine lacks: services that aren't there, and NICs that are no hardware."""
    _, report = case
    lacking = ("modem-manager", "device plugin", "set-link", "ethtool", "brport")
    assert [line for line in report.complaints if not any(word in line for word in lacking)] == []
