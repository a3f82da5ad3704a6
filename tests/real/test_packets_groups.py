"""The other words of `isolation`, up to el8: `all` and `groups` on a host's bridges, `guests` and `groups` on networks.

Two releases: el7 with firewalld's iptables backend, where rules do it all, and el8.6 with nftables, where libvirt
isolates the ports of a network. el9's table has `test_qemu_isolation.py`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import permutations
from pathlib import Path
from typing import Literal
from xml.etree.ElementTree import fromstring

import pytest

from tests.lab import frames
from tests.lab.guest import LabGuest
from tests.lab.probe import Wire, between
from tests.real.packets import ROUND_WAIT, ExampleHost, compile_host, running_files, wait_until_forwarding
from tests.sites import SITE, write

pytestmark = pytest.mark.real

GUESTS: Mapping[str, Mapping[str, str | None]] = {
    "br11": {"closed1": None, "closed2": None},
    "br12": {"shop1": "shop", "shop2": "shop", "office1": "back-office", "alone1": None, "alone2": None},
    "apart": {"apart1": None, "apart2": None},
    "grouped": {"team1": "team", "team2": "team", "other1": "other", "single1": None},
}
"""Who is on which bridge or network, and in which group."""

VERSIONS: tuple[Literal[4, 6], ...] = (4, 6)
OUTSIDE = {"br11": ("eno1", "up1"), "br12": ("eno2", "up2")}
MET = {
    *(("shop1", "shop2"), ("team1", "team2")),
    *((guest, "up2") for guest in GUESTS["br12"]),
}
"""Who reaches whom from port to port, both ways; whoever isn't here doesn't."""

BRIDGES = {"br11": "br11", "br12": "br12", "apart": "virbr1", "grouped": "virbr2"}
SUBNETS = {name: number for number, name in enumerate(BRIDGES, 1)}


def inventory(folder: Path, platform: str) -> Path:
    bridges = {
        "br11": {"ports": ["eno1"], "isolation": "all", "addresses": addresses("br11", 100)},
        "br12": {"ports": ["eno2"], "isolation": "groups", "addresses": addresses("br12", 100)},
    }
    files: dict[str, str] = {
        "site.yaml": SITE,
        "hosts/kvm01.yaml": json.dumps(
            {"platform": platform, "ethernets": {"eno1": {}, "eno2": {}}, "bridges": bridges}
        ),
    }
    for name, word, forward in (("apart", "guests", "route"), ("grouped", "groups", "isolated")):
        network = {"hosts": {"kvm01": {}}, "forward": forward, "isolation": word}
        network["bridge"] = {"name": BRIDGES[name], "stp": False}
        files[f"networks/{name}.yaml"] = json.dumps({**network, "addresses": addresses(name, 100)})
    for place, names in GUESTS.items():
        for number, (name, group) in enumerate(names.items(), 1):
            plug = {"network" if place in ("apart", "grouped") else "bridge": place}
            nic = {**plug, "addresses": addresses(place, number)}
            nic |= {} if group is None else {"isolation-group": group}
            disks = {"vda": {"file": f"/srv/{name}.qcow2"}}
            files[f"guests/{name}.yaml"] = json.dumps(
                {"hosts": ["kvm01"], "memory": "1 GiB", "disks": disks, "interfaces": {"eth0": nic}}
            )
    return write(folder, files)


def addresses(place: str, number: int) -> list[str]:
    return [f"192.0.{SUBNETS[place]}.{number}/24", f"2001:db8:{SUBNETS[place]}::{number}/64"]


class Site:
    """A running host with everybody on it; taps have the names that the compiled domains give them."""

    def __init__(self, lab: ExampleHost, everybody: ExitStack) -> None:
        self.lab = lab
        self.ends: dict[str, LabGuest] = {}
        for place, names in GUESTS.items():
            for number, name in enumerate(names, 1):
                tap, mac = self._device(name)
                guest = LabGuest(lab, name, tap=tap, mac=mac, bridge=BRIDGES[place], addresses=addresses(place, number))
                self.ends[name] = everybody.enter_context(guest)
                if self._has_isolated_port(name, place):
                    lab.run("bridge", "link", "set", "dev", tap, "isolated", "on")
        for number, (place, (port, name)) in enumerate(OUTSIDE.items(), 200):
            mac = f"52:54:00:ff:ff:{number:02x}"
            end = LabGuest(lab, name, tap=port, mac=mac, bridge=place, addresses=addresses(place, number))
            self.ends[name] = everybody.enter_context(end)
        for end in self.ends.values():
            wait_until_forwarding(lab, end.tap)

    def _device(self, name: str) -> tuple[str, str]:
        nic = fromstring(self.lab.files.texts[f"libvirt/domains/{name}.xml"]).find("devices/interface")
        assert nic is not None
        target, mac = nic.find("target"), nic.find("mac")
        assert mac is not None
        return f"vnet-{name}" if target is None else target.attrib["dev"], mac.attrib["address"]

    def _has_isolated_port(self, name: str, place: str) -> bool:
        network = self.lab.files.texts.get(f"libvirt/networks/{place}.xml", "")
        return "<port isolated='yes'/>" in network + self.lab.files.texts[f"libvirt/domains/{name}.xml"]

    def together(self) -> Iterator[tuple[LabGuest, LabGuest]]:
        """Everybody with each of the others on the same bridge."""
        yield from ((one, other) for one, other in permutations(self.ends.values(), 2) if one.bridge == other.bridge)


def meets(one: LabGuest, other: LabGuest) -> bool:
    return (one.name, other.name) in MET or (other.name, one.name) in MET


@pytest.fixture(scope="module", params=("el7", "el8.6"))
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    files = compile_host(inventory(tmp_path_factory.mktemp("inventory"), request.param), "kvm01")
    with running_files(files, ["apart", "grouped"]) as lab, ExitStack() as everybody:
        yield Site(lab, everybody)
        lab.stop()  # with everybody on it


def arriving(sent: Sequence[tuple[LabGuest, LabGuest, bytes]]) -> list[bool]:
    """Which frames arrive from the first at the second, after a while in which all of them may."""
    with ExitStack() as opened:
        wires = {end.name: opened.enter_context(Wire(end)) for one, other, _ in sent for end in (one, other)}
        for sender, _, frame in sent:
            wires[sender.name].send(frame)
        time.sleep(ROUND_WAIT)
        heard = {name: set(wire.waiting()) for name, wire in wires.items()}
    return [frame in heard[receiver.name] for _, receiver, frame in sent]


def test_who_reaches_whom_from_port_to_port(site: Site) -> None:
    """Each with each on the same bridge, in both versions."""
    pairs = [(one, other, version) for one, other in site.together() for version in VERSIONS]
    expected = {(one.name, other.name, version): meets(one, other) for one, other, version in pairs}
    arrived = arriving([(one, other, frames.udp(between(one, other, version), 53)) for one, other, version in pairs])
    assert dict(zip(expected, arrived, strict=True)) == expected


def test_everybody_reaches_the_host(site: Site) -> None:
    pings = {
        (name, address): site.ends[name].long_ping(address.partition("/")[0], count=2, interval=0.02)
        for place, names in GUESTS.items()
        for name in names
        for address in addresses(place, 100)
    }
    assert [asked for asked, ping in pings.items() if not ping.result().all_answered] == []


def test_the_host_of_a_network_routes_nothing_back(site: Site) -> None:
    """Guests that ask their host for the way to each other, on a network and on a host that forwards."""
    for one, other in (("apart1", "apart2"), ("single1", "team1")):
        ways = {one: site.ends[other], other: site.ends[one]}
        place = "apart" if one == "apart1" else "grouped"
        for asking, target in ways.items():
            for address, host in zip(target.addresses, addresses(place, 100), strict=True):
                gateway, alone = host.partition("/")[0], address.partition("/")[0]
                site.ends[asking].run("ip", "route", "replace", alone, "via", gateway)
        pings = {
            (asking, address): site.ends[asking].long_ping(address.partition("/")[0], count=2, interval=0.02)
            for asking, target in ways.items()
            for address in target.addresses
        }
        assert [asked for asked, ping in pings.items() if ping.result().received] == []


def test_who_finds_whom(site: Site) -> None:
    """ARP never comes to iptables; isolated ports stop it as well."""
    pairs = [(site.ends[f"{who}1"], site.ends[f"{who}2"]) for who in ("apart", "closed")]
    arrived = arriving([(one, other, frames.arp_request(between(one, other))) for one, other in pairs])
    assert arrived == [not site.lab.files.host.platform.isolates_ports, True]
