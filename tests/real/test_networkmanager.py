"""Profiles brought up by a real NetworkManager: bridges and NICs, whose other ends are switches of the test's own.

Bonds and VLANs need modules that the running kernel may lack: `test_qemu_keyfiles` has them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kvmgen.model.host import Bridge, Host
from kvmgen.pipeline import load
from tests.lab.host import LabHost
from tests.real.links import assert_addresses, assert_bridge, assert_routes
from tests.real.profiles import profiles
from tests.sites import SITE, write

pytestmark = pytest.mark.real

KVM9 = """
platform: el9
dns: {servers: ["2001:db8::53", 192.0.2.53], search: [example.org]}
ethernets:
  eno1: {mac: "02:00:00:00:00:01"}
  eno2: {}
  eno3: {mtu: 1400, addresses: [198.51.100.9/24, 198.51.100.10/24, "2001:db8:3::9/64", "fe80::9/64"],
         routes: [{to: 203.0.113.0/24, via: 198.51.100.254}, {to: "2001:db8:9::/48", via: "2001:db8:3::1", metric: 7}]}
  eno4: {dhcp4: true}
  eno5: {dhcp4: true}
  eno6: {mac: "02:00:00:00:00:ff", addresses: [10.6.0.9/16]}
bridges:
  br0:
    ports: [eno1]
    addresses: [192.0.2.9/24, "2001:db8::9/64", "2001:db8::19/64"]
    routes: [{to: default, via: "2001:db8::1"}]
  br1: {ports: [eno2], stp: true, forward-delay: 2, mac: "02:00:00:00:01:01", mtu: 1450}
  empty: {addresses: [10.99.0.1/24]}
  guests: {}
"""
NICS = ("eno1", "eno2", "eno3", "eno4", "eno5", "eno6")
UNREADY = {"br1", "eno6"}
"""Without a carrier, and of another MAC."""

CONF = """\
[main]
plugins=keyfile
dhcp=internal
no-auto-default=*
rc-manager=file
auth-polkit=false
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    folder = write(tmp_path_factory.mktemp("site"), {"site.yaml": SITE, "hosts/kvm9.yaml": KVM9})
    site = load(folder).site
    assert site is not None
    return site.hosts["kvm9"]


@pytest.fixture(scope="module")
def lab(host: Host) -> Iterator[LabHost]:
    """The host, up; behind eno4 and eno5 a DHCP server, behind the others nothing but a carrier."""
    with LabHost(sys_read_only=True) as lab:
        lab.run("ip", "netns", "add", "switch")
        lines = [
            f"link add {nic} address 02:00:00:00:00:0{nic[-1]} type veth peer name {nic} netns switch" for nic in NICS
        ]
        lab.ip_batch(lines)
        lab.ip_batch([f"link set {nic} up" for nic in NICS if nic != "eno2"], netns="switch")
        for number in (4, 5):
            lab.ip_batch([f"address add 10.{number}.0.1/24 dev eno{number}"], netns="switch")
        _serve_dhcp(lab)
        for file in profiles(host):
            lab.write(f"/{file.path}", file.text, file.mode)
        lab.start_networkmanager(CONF)
        wait(lambda: set(active(lab)) == {link.name for link in host.links} - UNREADY, lab)
        yield lab


def _serve_dhcp(lab: LabHost) -> None:
    ranges = (f"--dhcp-range=10.{number}.0.50,10.{number}.0.59,255.255.255.0" for number in (4, 5))
    settings = ("--port=0", "--bind-interfaces", "--conf-file=/dev/null", "--no-ping")
    files = ("--keep-in-foreground", "--dhcp-leasefile=/run/lab/leases")
    lab.spawn("dnsmasq", *files, *settings, *ranges, timeout=120, netns="switch")


def active(lab: LabHost) -> list[str]:
    """The profiles that are up."""
    said = lab.run("nmcli", "--get-values", "NAME,STATE,TYPE", "connection", "show", "--active").stdout
    rows = (line.split(":") for line in said.splitlines())
    return [name for name, state, _ in rows if state == "activated" and name != "lo"]


def wait(ready: Callable[[], bool], lab: LabHost) -> None:
    deadline = time.monotonic() + 20
    while not ready():
        assert time.monotonic() < deadline, f"{active(lab)}\n{lab.log('NetworkManager', 60)}"
        time.sleep(0.1)


def links(lab: LabHost) -> dict[str, dict[str, Any]]:
    found = json.loads(lab.run("ip", "-details", "-json", "address").stdout)
    return {link["ifname"]: link for link in found}


def test_links_are_the_models(lab: LabHost, host: Host) -> None:
    there = links(lab)
    for link in (link for link in host.links if link.name not in UNREADY):
        found = there[link.name]
        assert found.get("master") == link.bridge, link.name
        assert link.mtu in (None, found["mtu"]), link.name
        assert "UP" in found["flags"], link.name
        assert_addresses(link, found)
        if isinstance(link, Bridge):
            assert_bridge(link, found)


def test_routes_are_the_models(lab: LabHost, host: Host) -> None:
    routes = [json.loads(lab.run("ip", family, "-json", "route").stdout) for family in ("-4", "-6")]
    assert_routes(host, routes[0] + routes[1], {"eno4"})


def test_a_bridge_has_the_mac_that_it_will_keep(lab: LabHost) -> None:
    there = links(lab)
    assert there["br0"]["address"] == there["eno1"]["address"] == "02:00:00:00:00:01"
    assert there["br1"]["address"] == "02:00:00:00:01:01"


def test_the_resolver_keeps_the_order(lab: LabHost) -> None:
    lines = lab.file("/etc/resolv.conf").read_text().splitlines()
    assert lines[1:] == ["search example.org", "nameserver 2001:db8::53", "nameserver 192.0.2.53"]


def test_a_nic_of_another_mac_is_left_alone(lab: LabHost) -> None:
    assert [one for one in links(lab)["eno6"]["addr_info"] if one["scope"] == "global"] == []


def test_a_port_needs_no_cable(lab: LabHost, host: Host) -> None:
    """It is in its bridge before there is a carrier, and stays when the carrier goes."""
    there = links(lab)
    assert "NO-CARRIER" in there["eno2"]["flags"]
    assert there["eno2"]["master"] == "br1"
    assert {"NO-CARRIER", "UP"} <= set(there["br1"]["flags"])
    lab.ip_batch(["link set eno2 up"], netns="switch")
    wait(lambda: "br1" in active(lab), lab)
    assert_addresses(next(bridge for bridge in host.bridges if bridge.name == "br1"), links(lab)["br1"])
    lab.ip_batch(["link set eno2 down"], netns="switch")
    wait(lambda: "NO-CARRIER" in links(lab)["eno2"]["flags"], lab)
    assert links(lab)["eno2"]["master"] == "br1"


def test_guests_interfaces_stay(lab: LabHost) -> None:
    """libvirt's bridges and taps are others' to NetworkManager: over reloaded profiles and its own restart."""
    lab.ip_batch(
        [
            "tuntap add vnet0 mode tap",
            "link set vnet0 master br0 up",
            "link add virbr0 type bridge",
            "address add 192.168.122.1/24 dev virbr0",
            "link set virbr0 up",
        ]
    )
    lab.run("nmcli", "connection", "reload")
    before = set(active(lab)) - UNREADY
    lab.start_networkmanager(CONF)
    wait(lambda: before <= set(active(lab)), lab)
    there = links(lab)
    assert there["vnet0"]["master"] == "br0"
    assert [one["local"] for one in there["virbr0"]["addr_info"] if one["family"] == "inet"] == ["192.168.122.1"]


def test_nothing_is_complained_of(lab: LabHost) -> None:
    """But for what this laboratory lacks."""
    said = [line for line in lab.log("NetworkManager", 10000).splitlines() if "<warn>" in line or "<error>" in line]
    strange = ("failed to read bridge setting", "modem-manager", "Read-only file system")
    assert [line for line in said if not any(words in line for words in strange)] == []
