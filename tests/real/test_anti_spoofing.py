"""kvmgen's own filters against real frames: what a guest may send and what it may not, on a real libvirtd.

Each round binds a filter to a guest's tap, sends every frame and compares what arrives at its neighbour.
"""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_interface, ip_network

import pytest

from kvmgen.inventory.antispoof import anti_spoofing, known_parameters
from kvmgen.model.guest import FilterRef
from kvmgen.model.values import Mac
from kvmgen.render.nwfilter import filter_xml
from tests.inventory.nwfilters import lowered, own_filters
from tests.lab import frames
from tests.lab.frames import BROADCAST, Ends
from tests.lab.guest import LabGuest
from tests.lab.host import LabHost
from tests.lab.probe import Probe, between
from tests.real.spoofing import (
    FOREIGN_LINK_LOCAL,
    FOREIGN_MAC,
    FOREIGN_V4,
    FOREIGN_V6,
    LINK_LOCAL,
    MAC,
    OTHER_MAC,
    V4,
    V6,
    Frames,
    all_frames,
    bootp,
    sources,
)

pytestmark = pytest.mark.real

WAIT = 0.5
LEASE_PATIENCE = 40
DAD_PATIENCE = 10.0


@pytest.fixture(scope="module")
def lab() -> Iterator[LabHost]:
    """A host that has the whole family; only one member needs more than libvirt's schema knows."""
    with LabHost() as host:
        host.start_libvirtd()
        for filter_ in own_filters().values():
            validate = () if filter_.name == "kvmgen-arp-segments" else ("--validate",)
            host.virsh_with("nwfilter-define", filter_xml(filter_), *validate)
        host.add_bridge("br0")
        yield host


@pytest.fixture(scope="module")
def guest(lab: LabHost) -> Iterator[LabGuest]:
    with LabGuest(lab, "web01", tap="vnet-web01", mac=MAC, bridge="br0", addresses=[V4, V6]) as started:
        yield started


@pytest.fixture(scope="module")
def neighbour(lab: LabHost) -> Iterator[LabGuest]:
    addresses = ["192.0.2.12/24", "2001:db8::12/64"]
    with LabGuest(lab, "db01", tap="vnet-db01", mac=OTHER_MAC, bridge="br0", addresses=addresses) as started:
        yield started


@contextmanager
def held(guest: LabGuest, reference: FilterRef | None) -> Iterator[None]:
    """The guest under a filter."""
    assert reference is not None
    guest.bind_filter(reference.filter, dict(reference.parameters))
    try:
        yield
    finally:
        guest.unbind_filter()


def by_addresses(addresses: Iterable[str], allowed: Iterable[str] = ()) -> FilterRef | None:
    return anti_spoofing("addresses", MAC, [*map(ip_interface, addresses)], [*map(ip_network, allowed)])


def wrong(sender: LabGuest, receiver: LabGuest, sent: Frames) -> dict[str, str]:
    """The frames that did not fare as they must."""
    with Probe(sender, receiver) as probe:
        arrived = probe.arrivals([frame for frame, _ in sent.values()], WAIT)
    told = {True: "arrives", False: "is stopped"}
    fared = zip(sent.items(), arrived, strict=True)
    return {name: told[passed] for (name, (_, wanted)), passed in fared if passed is not wanted}


@pytest.mark.parametrize(
    ("addresses", "ipv4", "ipv6"),
    [([V4, V6], True, True), ([V4], True, False), ([V6], False, True)],
    ids=["dual", "ipv4", "ipv6"],
)
def test_known_addresses(guest: LabGuest, neighbour: LabGuest, addresses: list[str], ipv4: bool, ipv6: bool) -> None:
    with held(guest, by_addresses(addresses)):
        assert wrong(guest, neighbour, all_frames(guest, neighbour, ipv4, ipv6)) == {}


@pytest.mark.parametrize(
    ("addresses", "allowed", "texts"),
    [
        (
            [V4, "192.0.2.31/24", V6, "2001:db8::31/64"],
            [],
            {"192.0.2.11": True, "192.0.2.31": True, "192.0.2.32": False, "2001:db8::31": True, "2001:db8::32": False},
        ),
        ([V4, "fe80::203/64"], [], {"192.0.2.11": True, "fe80::203": True, LINK_LOCAL: False, "2001:db8::11": False}),
        (
            [V4, V6],
            ["172.16.12.0/24", "10.1.0.0/30", "10.9.9.9/32", "2001:db8:5::/56"],
            {
                **dict.fromkeys(("192.0.2.11", "172.16.12.0", "172.16.12.255", "10.1.0.3", "10.9.9.9"), True),
                **dict.fromkeys((LINK_LOCAL, "2001:db8::11", "2001:db8:5::1", "2001:db8:5:ff::1"), True),
                **dict.fromkeys(("172.16.13.0", "10.1.0.4", "10.9.9.8", "192.0.2.12"), False),
                **dict.fromkeys(("2001:db8:5:100::1", FOREIGN_LINK_LOCAL), False),
            },
        ),
        ([], ["192.0.2.8/29"], {"192.0.2.8": True, "192.0.2.15": True, "192.0.2.16": False, "2001:db8::11": False}),
    ],
    ids=["several", "a link-local address of its own", "segments", "nothing but a segment"],
)
def test_which_sources(
    guest: LabGuest, neighbour: LabGuest, addresses: list[str], allowed: list[str], texts: dict[str, bool]
) -> None:
    with held(guest, by_addresses(addresses, allowed)):
        assert wrong(guest, neighbour, sources(guest, neighbour, texts)) == {}


def test_only_the_mac(guest: LabGuest, neighbour: LabGuest) -> None:
    ends = between(guest, neighbour)
    sent = {
        **sources(guest, neighbour, {FOREIGN_V4: True, FOREIGN_V6: True}),
        "a VLAN tag": (frames.echo_request(replace(ends, vlan=7)), True),
        "a foreign MAC": (frames.echo_request(replace(ends, source_mac=FOREIGN_MAC)), False),
        "an ARP reply with a foreign MAC inside": (frames.arp_reply(ends, FOREIGN_MAC), False),
    }
    with held(guest, anti_spoofing("mac", MAC, [], [])):
        assert wrong(guest, neighbour, sent) == {}


def test_incoming(guest: LabGuest, neighbour: LabGuest) -> None:
    """What others send arrives, whoever they are; and whole conversations work, begun on either side."""
    ends = Ends(source_mac=OTHER_MAC, target_mac=MAC, source_ip="198.51.100.9", target_ip=guest.ipv4)
    ends6 = replace(ends, source_ip="2001:db8:9::9", target_ip=guest.ipv6)
    news = replace(ends, source_ip="192.0.2.1", target_mac=BROADCAST, target_ip="192.0.2.1")
    sent = {
        "a ping": (frames.echo_request(ends), True),
        "a ping6": (frames.echo_request(ends6), True),
        "a gratuitous ARP": (frames.arp_request(news), True),
        "a DHCP server": (frames.dhcp_offer(ends, guest.ipv4), True),
        "a router": (frames.router_advertisement(OTHER_MAC, neighbour.link_local), True),
        "a VLAN tag": (frames.echo_request(replace(ends, vlan=7)), False),
    }
    with held(guest, by_addresses([V4, V6])):
        assert wrong(neighbour, guest, sent) == {}
        for one, other in ((guest, neighbour), (neighbour, guest)):
            for address in (other.ipv4, other.ipv6, f"{other.link_local}%{one.interface}"):
                assert one.ping(address).all_answered, address


def test_duplicate_addresses_are_found(guest: LabGuest, neighbour: LabGuest) -> None:
    """The guest's own kernel asks, and the neighbour's answer reaches it."""
    taken, free = "2001:db8::12/64", "2001:db8::31/64"
    conf = f"net.ipv6.conf.{guest.interface}"
    with held(guest, by_addresses([V4, V6, taken, free])):
        guest.run("sysctl", "-qw", f"{conf}.accept_dad=1", f"{conf}.dad_transmits=1")
        for address in (taken, free):
            guest.run("ip", "address", "add", address, "dev", guest.interface)
        deadline = time.monotonic() + DAD_PATIENCE
        while "tentative" in flags(guest, taken, free) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert flags(guest, taken, free) == ["dadfailed", ""]
        for address in (taken, free):
            guest.run("ip", "address", "delete", address, "dev", guest.interface)
        guest.run("sysctl", "-qw", f"{conf}.accept_dad=0", f"{conf}.dad_transmits=0")


def flags(guest: LabGuest, *addresses: str) -> list[str]:
    """`tentative` while an address is in question, `dadfailed` once somebody has it, nothing once it is good."""
    shown = guest.run("ip", "-6", "-oneline", "address", "show", "dev", guest.interface).stdout
    found = []
    for address in addresses:
        (line,) = [line for line in shown.splitlines() if f" {address} " in line]
        found.append(next((word for word in ("dadfailed", "tentative") if word in line), ""))
    return found


def test_dhcp(guest: LabGuest, neighbour: LabGuest) -> None:
    """Until a server has given an address, nothing but DHCP passes; then that address and no other."""
    ends = between(guest, neighbour)
    everyone = Ends(source_mac=MAC, target_mac=BROADCAST, source_ip="0.0.0.0", target_ip="255.255.255.255")
    server = frames.ip_bytes(neighbour.ipv4)
    wanted = b"\x35\x01\x03\x36\x04" + server + b"\x32\x04" + frames.ip_bytes(guest.ipv4)
    given = b"\x35\x01\x05\x36\x04" + server + b"\x33\x04" + struct.pack("!I", 3600) + b"\x01\x04\xff\xff\xff\x00"
    request = frames.udp(everyone, 67, 68, bootp(1, "0.0.0.0", "0.0.0.0", wanted))
    answer = Ends(source_mac=OTHER_MAC, target_mac=MAC, source_ip=neighbour.ipv4, target_ip=guest.ipv4)
    acknowledgement = frames.udp(answer, 68, 67, bootp(2, guest.ipv4, neighbour.ipv4, given))
    with held(guest, anti_spoofing("dhcp", MAC, [], [])):
        before = {
            **sources(guest, neighbour, {"192.0.2.11": False, FOREIGN_V4: False, LINK_LOCAL: False}),
            "a DHCP client": (frames.dhcp_discover(MAC), True),
            "a DHCP server": (frames.dhcp_offer(ends, "192.0.2.200"), False),
        }
        assert wrong(guest, neighbour, before) == {}
        assert wrong(guest, neighbour, {"the request": (request, True)}) == {}
        assert wrong(neighbour, guest, {"the acknowledgement": (acknowledgement, True)}) == {}
        with Probe(guest, neighbour) as probe:
            assert any(probe.arrives(frames.echo_request(ends)) for _ in range(LEASE_PATIENCE))
        after = {
            **sources(guest, neighbour, {"192.0.2.11": True, FOREIGN_V4: False, LINK_LOCAL: False}),
            "a DHCP client": (frames.dhcp_discover(MAC), True),
            "a DHCP server": (frames.dhcp_offer(ends, "192.0.2.200"), False),
        }
        assert wrong(guest, neighbour, after) == {}


WEB = """
chain: root
rules:
  - filter: kvmgen-anti-spoofing
  - filter: kvmgen-neighbour-discovery
  - {priority: 500, action: accept, direction: in, tcp: {dstportstart: 22}}
  - {priority: 501, action: accept, direction: in, tcp-ipv6: {dstportstart: 22}}
  - {priority: 502, action: accept, direction: out, icmp: {type: 8}}
  - {priority: 503, action: accept, direction: in, icmp: {type: 0}}
  - {priority: 504, action: accept, direction: out, icmpv6: {type: 128}}
  - {priority: 505, action: accept, direction: in, icmpv6: {type: 129}}
  - {priority: 506, action: accept, direction: out, udp: {dstportstart: 53}}
  - {priority: 507, action: accept, direction: out, udp-ipv6: {dstportstart: 53}}
  - {priority: 1000, action: drop, direction: inout, all: {}}
  - {priority: 1000, action: drop, direction: inout, all-ipv6: {}}
"""


def test_within_a_filter_of_ones_own(lab: LabHost) -> None:
    """Its rules count beside the member's: neither lets pass what the other stops.

    Two fresh guests, so that no neighbour is known before and no connection is tracked already.
    """
    lab.virsh_with("nwfilter-define", filter_xml(lowered(WEB)), "--validate")
    pair = [
        LabGuest(lab, f"own0{n}", tap=f"vnet-own0{n}", mac=f"52:54:00:00:01:0{n}", bridge="br0", addresses=addresses)
        for n, addresses in enumerate((["192.0.2.21/24", "2001:db8::21/64"], ["192.0.2.22/24", "2001:db8::22/64"]))
    ]
    with pair[0] as guest, pair[1] as neighbour:
        used = {"IP", "IPV6", "IPV6_MASK"}
        known = known_parameters(Mac(guest.mac), [*map(ip_interface, guest.addresses)], [], used)
        parameters = tuple(sorted(known.items()))
        with held(guest, FilterRef(filter="web", parameters=parameters)):
            with guest.tcp_listen(22), guest.tcp_listen(80), neighbour.tcp_listen(22):
                for mine, theirs in ((guest.ipv4, neighbour.ipv4), (guest.ipv6, neighbour.ipv6)):
                    assert guest.ping(theirs).all_answered
                    assert neighbour.ping(mine).received == 0
                    assert neighbour.tcp_connect(mine, 22) == "open"
                    assert neighbour.tcp_connect(mine, 80) == "timeout"
                    assert guest.tcp_connect(theirs, 22) == "timeout"
                    assert guest.udp_reaches(neighbour, theirs, 53)
            ends = between(guest, neighbour)
            spoofed = {
                "an allowed port from a foreign address": (frames.udp(replace(ends, source_ip=FOREIGN_V4), 53), False),
                "one under a foreign MAC": (frames.udp(replace(ends, source_mac=FOREIGN_MAC), 53), False),
                "ARP for a foreign address": (frames.arp_reply(replace(ends, source_ip=FOREIGN_V4)), False),
            }
            assert wrong(guest, neighbour, spoofed) == {}


def test_where_libvirt_reads_no_icmpv6_types(lab: LabHost, guest: LabGuest, neighbour: LabGuest) -> None:
    """What el6's libvirt makes of the family: all that must pass passes, but router advertisements do, too."""
    now = {name: filter_xml(filter_) for name, filter_ in own_filters().items()}
    try:
        for name in ("kvmgen-icmpv6", "kvmgen-ipv6"):
            lab.virsh_with("nwfilter-define", re.sub(r" type='\d+'", "", now[name]))
        with held(guest, by_addresses([V4, V6])):
            passing = wrong(guest, neighbour, all_frames(guest, neighbour, ipv4=True, ipv6=True))
    finally:
        for name in ("kvmgen-icmpv6", "kvmgen-ipv6"):
            lab.virsh_with("nwfilter-define", now[name])
    advertisements = ["a router advertisement", "one from the global address"]
    hidden = [f"one {how}" for how in ("behind a router alert", "behind destination options", "as an atomic fragment")]
    assert passing == dict.fromkeys((*advertisements, *hidden, "a redirect"), "arrives")
