"""Systems 3, 4 and 5: the filters of host kvm-cn3 under real traffic."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.lab import frames
from tests.lab.guest import LabGuest
from tests.lab.probe import between
from tests.real.packets import (
    ExampleHost,
    lasting_guest_of,
    listening,
    outside,
    running,
    take_lease,
    udp_answered,
    wrong,
)
from tests.real.spoofing import sources

pytestmark = pytest.mark.real

SPOOFED_MAC = "52:54:00:de:ad:00"
LEASE_PATIENCE = 15


@pytest.fixture(scope="module")
def lab() -> Iterator[ExampleHost]:
    with running("kvm-cn3", networks=["default"]) as host:
        yield host


@pytest.fixture(scope="module")
def away(lab: ExampleHost) -> Iterator[LabGuest]:
    addresses = ["192.168.201.1/24", "2001:db8:201::1/64"]
    with outside(lab, "eno1", "br0", addresses) as machine:
        yield machine


# -- system 3: at most two ICMP flows ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def limit01(lab: ExampleHost) -> Iterator[LabGuest]:
    with lasting_guest_of(lab, "limit01") as guest:
        yield guest


@pytest.mark.parametrize("towards", ["the guest", "the outside"])
def test_two_pings_live_and_the_third_dies(limit01: LabGuest, away: LabGuest, towards: str) -> None:
    """All three at once and long enough that the third could kill the others."""
    sender, receiver = (away, limit01) if towards == "the guest" else (limit01, away)
    first = [sender.long_ping(receiver.ipv4, count=30) for _ in range(2)]
    time.sleep(0.3)
    third = sender.long_ping(receiver.ipv4, count=15)
    assert [flow.result().received for flow in (*first, third)] == [30, 30, 0]


def test_tcp_passes_and_nothing_else(limit01: LabGuest, away: LabGuest) -> None:
    for one, other in ((away, limit01), (limit01, away)):
        with listening(other, 8080):
            assert one.tcp_connect(other.ipv4, 8080) == "open"
        assert not udp_answered(one, other, other.ipv4, 53)
        ends = between(one, other)
        six = replace(ends, source_ip=one.link_local, target_ip=other.link_local)
        sent = {
            "UDP": (frames.udp(ends, 99), False),
            "a ping6": (frames.echo_request(six), False),
            "a connection6": (frames.tcp_syn(six, 8080), False),
            "a neighbour solicitation": (frames.neighbour_solicitation(six), False),
            "a segment": (frames.tcp_syn(ends, 8080), True),
        }
        assert wrong(one, other, sent) == {}


def test_limit_is_clean_as_well(limit01: LabGuest, away: LabGuest) -> None:
    ends = between(limit01, away)
    sent = {
        "a segment": (frames.tcp_syn(ends, 8080), True),
        "a foreign address": (frames.tcp_syn(replace(ends, source_ip="192.168.201.50"), 8080), False),
        "a foreign MAC": (frames.tcp_syn(replace(ends, source_mac=SPOOFED_MAC), 8080), False),
        "ARP for a foreign address": (frames.arp_reply(replace(ends, source_ip="192.168.201.50")), False),
        "ARP with a foreign MAC": (frames.arp_reply(ends, SPOOFED_MAC), False),
    }
    assert wrong(limit01, away, sent) == {}


# -- system 5: the exercise --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exercise01(lab: ExampleHost) -> Iterator[LabGuest]:
    with lasting_guest_of(lab, "exercise01") as guest:
        yield guest


@pytest.mark.parametrize("version", [4, 6])
def test_the_exercise(exercise01: LabGuest, away: LabGuest, version: int) -> None:
    """SSH and HTTP come in, pings and DNS go out, with their answers; nothing else does, either way."""
    mine, theirs = (exercise01.ipv4, away.ipv4) if version == 4 else (exercise01.ipv6, away.ipv6)
    with listening(exercise01, 22), listening(exercise01, 80), listening(exercise01, 81):
        assert [away.tcp_connect(mine, port) for port in (22, 80, 81)] == ["open", "open", "timeout"]
    assert exercise01.ping(theirs).all_answered
    assert away.ping(mine).received == 0
    assert udp_answered(exercise01, away, theirs, 53)
    assert not udp_answered(exercise01, away, theirs, 54)
    assert not udp_answered(away, exercise01, mine, 53)
    with listening(away, 53), listening(away, 80):
        assert [exercise01.tcp_connect(theirs, port) for port in (53, 80)] == ["open", "timeout"]


def test_the_exercise_is_clean(exercise01: LabGuest, away: LabGuest) -> None:
    """What it may send, it may send as itself alone."""
    four, six = between(exercise01, away), between(exercise01, away, 6)
    stolen, stolen6 = replace(four, source_ip="192.168.201.31"), replace(six, source_ip="2001:db8:201::31")
    sent = {
        "DNS": (frames.udp(four, 53), True),
        "DNS6": (frames.udp(six, 53), True),
        "DNS from a foreign address": (frames.udp(stolen, 53), False),
        "DNS6 from a foreign address": (frames.udp(stolen6, 53), False),
        "DNS under a foreign MAC": (frames.udp(replace(four, source_mac=SPOOFED_MAC), 53), False),
        "DNS6 under a foreign MAC": (frames.udp(replace(six, source_mac=SPOOFED_MAC), 53), False),
        "ARP": (frames.arp_reply(four), True),
        "ARP for a foreign address": (frames.arp_reply(stolen), False),
        "ARP with a foreign MAC": (frames.arp_reply(four, SPOOFED_MAC), False),
        "a neighbour solicitation": (frames.neighbour_solicitation(six), True),
        "a neighbour advertisement": (frames.neighbour_advertisement(six), True),
        "an advertisement from a foreign address": (frames.neighbour_advertisement(stolen6), False),
        "duplicate address detection": (frames.duplicate_address_probe(exercise01.mac, exercise01.ipv6), True),
        "a router solicitation": (frames.router_solicitation(exercise01.mac, exercise01.link_local), True),
        "a router advertisement": (frames.router_advertisement(exercise01.mac, exercise01.link_local), False),
    }
    assert wrong(exercise01, away, sent) == {}


# -- system 4: an address from DHCP alone ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clean01(lab: ExampleHost) -> Iterator[LabGuest]:
    with lasting_guest_of(lab, "clean01") as guest:
        yield guest


def test_only_the_lease_passes(lab: ExampleHost, clean01: LabGuest) -> None:
    """libvirt's own dnsmasq gives the address; what the guest claimed before or claims beside it stays out."""
    claimed, other = "192.168.122.254", "192.168.122.253"
    gateway = lab.run("cat", "/sys/class/net/virbr0/address").stdout.strip()
    router = LabGuest(lab, "virbr0", tap="virbr0", mac=gateway, addresses=["192.168.122.1/24"])
    clean01.addresses = (f"{claimed}/24",)
    before = {**sources(clean01, router, {claimed: False, other: False})}
    assert wrong(clean01, lab, before, "virbr0") == {}
    leased = take_lease(clean01)
    assert leased not in (claimed, other)
    assert any(clean01.ping("192.168.122.1", count=1).all_answered for _ in range(LEASE_PATIENCE))
    after = sources(clean01, router, {leased: True, claimed: False, other: False})
    assert wrong(clean01, lab, after, "virbr0") == {}
