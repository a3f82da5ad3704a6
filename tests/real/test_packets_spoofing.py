"""Systems 18 to 22: customers' guests, each held to its own addresses and free to use them."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import ip_network

import pytest

from tests.lab import frames
from tests.lab.guest import LabGuest
from tests.lab.probe import between
from tests.real.packets import Sent, guest_of, outside, running, wrong
from tests.real.spoofing import ROUTER_ALERT, behind, sources

pytestmark = pytest.mark.real

SPOOFED_MAC = "52:54:00:de:ad:00"
LAN = [
    *("192.168.0.1/24", "192.168.73.1/24", "192.168.74.1/24"),
    *("fe80::1/64", "fe80:192:168:73::1/64", "2001:db8:22::1/64", "2001:db8:2274::1/64"),
]

ADDRESSES: Mapping[str, Mapping[str, bool]] = {
    "jp18": {"192.168.0.200": True, "192.168.0.201": False, "192.168.0.202": False, "192.168.0.1": False},
    "jp19": {"192.168.0.202": True, "192.168.0.203": True, "192.168.0.200": False, "192.168.0.204": False},
    "jp20": {
        "192.168.0.203": True,
        "192.168.0.202": False,
        "fe80::203": True,
        "fe80::204": False,
        "fe80::5054:63ff:fef2:36e5": False,  # the one of its MAC: it said that it uses another
        "2001:db8:22::203": False,
    },
    "jp21": {
        "192.168.73.201": True,
        "192.168.73.202": False,
        "192.168.0.200": False,
        "fe80:192:168:73::201": True,
        "fe80:192:168:73::202": False,
        "fe80::201": False,
    },
    "jp22": {
        "192.168.0.210": True,
        **{str(address): True for address in ip_network("192.168.74.0/24")},
        "192.168.73.255": False,
        "192.168.75.0": False,
        "192.168.0.211": False,
        "2001:db8:22::210": True,
        **dict.fromkeys(("2001:db8:2274::", "2001:db8:2274::1:2", "2001:db8:2274:0:ffff:ffff:ffff:ffff"), True),
        **dict.fromkeys(("2001:db8:2273:ffff::1", "2001:db8:2274:1::", "2001:db8:22::211", "fe80::210"), False),
    },
}
DUAL = ("jp20", "jp21", "jp22")


@pytest.fixture(scope="module")
def guests() -> Iterator[Mapping[str, tuple[LabGuest, LabGuest]]]:
    """Each guest with the machine that is outside on its own segment."""
    with ExitStack() as stack:
        jp, jp7 = (stack.enter_context(running(name)) for name in ("kvm-jp", "kvm-jp7"))
        first = stack.enter_context(outside(jp, "eth1", "br0", LAN))
        second = stack.enter_context(outside(jp, "eth2", "br1", LAN))
        third = stack.enter_context(outside(jp7, "eth1", "br0", LAN))
        places = {"jp18": (jp, first), "jp19": (jp, first), "jp20": (jp, second), "jp21": (jp, first)}
        places["jp22"] = (jp7, third)
        yield {name: (stack.enter_context(guest_of(lab, name)), away) for name, (lab, away) in places.items()}
        for lab in (jp, jp7):
            lab.stop()  # with everybody on it


Guests = Mapping[str, tuple[LabGuest, LabGuest]]


@pytest.mark.parametrize("name", ADDRESSES)
def test_its_own_addresses_and_no_other(guests: Guests, name: str) -> None:
    """IP packets and ARP; every single address of a segment where there is one."""
    guest, away = guests[name]
    assert wrong(guest, away, sources(guest, away, ADDRESSES[name])) == {}


@pytest.mark.parametrize("name", ADDRESSES)
def test_its_own_mac_and_no_other(guests: Guests, name: str) -> None:
    guest, away = guests[name]
    ends = between(guest, away)
    request = replace(ends, target_mac=frames.BROADCAST)
    sent: Sent = {
        "a ping": (frames.echo_request(ends), True),
        "a ping under a foreign MAC": (frames.echo_request(replace(ends, source_mac=SPOOFED_MAC)), False),
        "an ARP request": (frames.arp_request(request), True),
        "an ARP request with a foreign MAC": (frames.arp_request(request, SPOOFED_MAC), False),
        "an ARP reply with a foreign MAC": (frames.arp_reply(ends, SPOOFED_MAC), False),
        "a VLAN tag": (frames.echo_request(replace(ends, vlan=7)), False),
        "a DHCP server": (frames.dhcp_offer(ends, "192.168.0.66"), False),
    }
    assert wrong(guest, away, sent) == {}


@pytest.mark.parametrize("name", ADDRESSES)
def test_real_traffic(guests: Guests, name: str) -> None:
    """From every address of the guest's own, begun on either side, over ARP and neighbour discovery that must work."""
    guest, away = guests[name]
    with away.tcp_listen(22), guest.tcp_listen(22):
        for text in guest.addresses:
            address = text.partition("/")[0]
            scope = "%eth0" if address.startswith("fe80") else ""
            mine, theirs = f"{address}{scope}", f"{_neighbour(address)}{scope}"
            assert away.ping(mine).all_answered, f"to {address}"
            asked = guest.run("ping", "-nqc2", "-i0.02", "-W0.3", f"-I{mine}", theirs, check=False)
            assert " 2 received" in asked.stdout, f"from {address}: {asked.stdout}{asked.stderr}"
            if not scope:
                assert guest.tcp_connect(theirs, 22) == away.tcp_connect(mine, 22) == "open"


def _neighbour(address: str) -> str:
    """The outside machine's address of the same subnet."""
    separator = "::" if ":" in address else "."
    return f"{address.rpartition(separator)[0]}{separator}1"


def test_a_segment_is_usable(guests: Guests) -> None:
    """jp22 takes addresses out of what it may use beside its own."""
    guest, away = guests["jp22"]
    for text in ("192.168.74.77/24", "2001:db8:2274::77/64"):
        guest.run("ip", "address", "add", text, "dev", "eth0", *(["nodad"] if ":" in text else []))
        address = text.partition("/")[0]
        assert away.ping(address).all_answered
        assert guest.ping(_neighbour(address)).all_answered


@pytest.mark.parametrize("name", DUAL)
def test_ipv6_on_its_link(guests: Guests, name: str) -> None:
    """What an end system must send passes, as itself; what only a router sends doesn't."""
    guest, away = guests[name]
    own = next((text.partition("/")[0] for text in guest.addresses if text.startswith("fe80")), guest.link_local)
    ends = replace(between(guest, away), source_ip=own, target_ip="fe80::1")
    foreign, routers = replace(ends, source_ip="fe80::bad"), frames.ALL_ROUTERS
    sent: Sent = {
        "a neighbour solicitation": (frames.neighbour_solicitation(ends), True),
        "a neighbour advertisement": (frames.neighbour_advertisement(ends), True),
        "duplicate address detection": (frames.duplicate_address_probe(guest.mac, own), True),
        "a router solicitation": (frames.router_solicitation(guest.mac, own), True),
        "one without an address": (frames.router_solicitation(guest.mac, "::"), True),
        "a listener report": (listener_report(guest.mac, own, own), True),
        "one without an address yet": (listener_report(guest.mac, "::", own), True),
        "a DHCPv6 client": (frames.dhcpv6_solicit(guest.mac, own), True),
        "a foreign solicitation": (frames.neighbour_solicitation(foreign), False),
        "a foreign advertisement": (frames.neighbour_advertisement(foreign), False),
        "a foreign router solicitation": (frames.router_solicitation(guest.mac, "fe80::bad"), False),
        "a foreign listener report": (listener_report(guest.mac, "fe80::bad", own), False),
        "a router advertisement": (frames.router_advertisement(guest.mac, own), False),
        "a redirect": (frames.icmpv6(ends, 137, 0, bytes(36)), False),
        "a DHCPv6 server": (frames.udp(ends, 546, 547), False),
        "a packet to the routers": (frames.udp(replace(foreign, target_ip=routers), 99), False),
    }
    assert wrong(guest, away, sent) == {}


def listener_report(mac: str, source_ip: str, of: str) -> bytes:
    """MLDv2: the guest joins the group in which an address of its own is asked for."""
    group = "ff02::16"
    ends = frames.Ends(source_mac=mac, target_mac=frames.multicast_mac(group), source_ip=source_ip, target_ip=group)
    record = struct.pack("!HHBBH", 0, 1, 4, 0, 0) + frames.ip_bytes(frames.solicited_node(of))
    return behind(*ROUTER_ALERT, ends, 143, record, 1)


@pytest.mark.parametrize("name", ["jp18", "jp19"])
def test_no_ipv6_where_none_was_given(guests: Guests, name: str) -> None:
    guest, away = guests[name]
    for one, other in ((guest, away), (away, guest)):
        ends = replace(between(one, other), source_ip=one.link_local, target_ip=other.link_local)
        sent: Sent = {
            "a ping6": (frames.echo_request(ends), False),
            "a neighbour solicitation": (frames.neighbour_solicitation(ends), False),
        }
        assert wrong(one, other, sent) == {}


def test_guests_of_one_bridge_talk(guests: Guests) -> None:
    """Nothing was said of isolation here: the filters hold senders, and let receivers receive."""
    (one, _), (other, _) = guests["jp18"], guests["jp19"]
    assert one.ping("192.168.0.202").all_answered
    assert other.ping("192.168.0.200").all_answered
    with one.tcp_listen(80):
        assert other.tcp_connect("192.168.0.200", 80) == "open"
