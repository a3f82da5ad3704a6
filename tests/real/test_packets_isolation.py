"""System 17: the guests of one bridge reach the uplink and the host and never each other.

By `isolation: guests`: a direct rule on el7, whose firewalld works with iptables, and on an el8, whose firewalld works
with nftables; on el9 a table of nftables'. What is expected is the same everywhere, but for ARP.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import pytest

from tests.lab import frames
from tests.lab.frames import BROADCAST
from tests.lab.guest import LabGuest
from tests.lab.probe import Probe, between
from tests.real.packets import ExampleHost, guest_of, listening, outside, running, wrong

pytestmark = pytest.mark.real

HOST = {4: "192.168.203.5", 6: "2001:db8:203::5"}
GATEWAYS = ["192.168.203.1", "2001:db8:203::1"]
VERSIONS: tuple[Literal[4, 6], ...] = (4, 6)


@dataclass(frozen=True)
class Wan:
    """Everything on bridge wan0; `web` has rules of its own at the iptables layer."""

    host: ExampleHost
    away: LabGuest
    web: LabGuest
    plain: LabGuest


@pytest.fixture(scope="module", params=("el7", "el8.6", "el9.4"))
def wan(request: pytest.FixtureRequest) -> Iterator[Wan]:
    addresses = [f"{GATEWAYS[0]}/24", f"{GATEWAYS[1]}/64"]
    with (
        running("kvm-ovirt", request.param) as host,
        outside(host, "em1", "wan0", addresses) as away,
        guest_of(host, "ovirt01", gateways=GATEWAYS) as web,
        guest_of(host, "ovirt02", gateways=GATEWAYS) as plain,
    ):
        yield Wan(host, away, web, plain)
        host.stop()  # with everybody on it


def address(guest: LabGuest, version: int) -> str:
    return guest.ipv4 if version == 4 else guest.ipv6


def conversation(sender: LabGuest, receiver: LabGuest) -> dict[str, bytes]:
    """IP in both versions, also to everybody at once."""
    four, six = between(sender, receiver), between(sender, receiver, 6)
    group = replace(six, target_mac=frames.multicast_mac(frames.ALL_NODES), target_ip=frames.ALL_NODES)
    everyone = replace(four, target_mac=BROADCAST, target_ip="192.168.203.255")
    return {
        "a ping": frames.echo_request(four),
        "a ping6": frames.echo_request(six),
        "SSH": frames.tcp_syn(four, 22),
        "SSH6": frames.tcp_syn(six, 22),
        "HTTP": frames.tcp_syn(four, 80),
        "HTTP6": frames.tcp_syn(six, 80),
        "a stray segment": frames.tcp_ack(four, 80),
        "a stray segment6": frames.tcp_ack(six, 80),
        "UDP": frames.udp(four, 53),
        "UDP6": frames.udp(six, 53),
        "a broadcast": frames.udp(everyone, 137),
        "a ping6 to all": frames.echo_request(group),
        "a neighbour solicitation": frames.neighbour_solicitation(six),
    }


def test_no_guest_reaches_the_other(wan: Wan) -> None:
    """Nor does an answer to what the filter of the other would let in."""
    for one, other in ((wan.web, wan.plain), (wan.plain, wan.web)):
        stopped = {name: (frame, False) for name, frame in conversation(one, other).items()}
        assert wrong(one, other, stopped) == {}


def test_real_stacks_that_know_each_other_get_no_further(wan: Wan) -> None:
    """Each has the other's MAC already, so that it isn't for want of neighbour discovery."""
    for one, other in ((wan.web, wan.plain), (wan.plain, wan.web)):
        for version in VERSIONS:
            known = [address(other, version), "lladdr", other.mac, "dev", one.interface]
            one.run("ip", "neighbour", "replace", *known, "nud", "permanent")
    with listening(wan.web, 80):
        for version in VERSIONS:
            assert wan.web.ping(address(wan.plain, version)).received == 0
            assert wan.plain.ping(address(wan.web, version)).received == 0
            assert wan.plain.tcp_connect(address(wan.web, version), 80) == "timeout"


def test_the_uplink_stays_open(wan: Wan) -> None:
    for version in VERSIONS:
        beyond = address(wan.away, version)
        for guest in (wan.web, wan.plain):
            assert guest.ping(beyond).all_answered
            assert wan.away.ping(address(guest, version)).all_answered
            with listening(guest, 22), listening(guest, 80):
                assert [wan.away.tcp_connect(address(guest, version), port) for port in (22, 80)] == ["open", "open"]
        with listening(wan.plain, 81), listening(wan.web, 81), listening(wan.away, 443):
            assert wan.plain.tcp_connect(beyond, 443) == "open"
            assert wan.away.tcp_connect(address(wan.plain, version), 81) == "open"
            assert wan.away.tcp_connect(address(wan.web, version), 81) == "timeout"
            assert wan.web.tcp_connect(beyond, 443) == "timeout"
        assert wan.plain.udp_reaches(wan.away, beyond, 53)


def test_what_the_host_shows_its_guests(wan: Wan) -> None:
    """Its address answers; a port that no zone opens doesn't."""
    with listening(wan.host, 8080):
        for version in VERSIONS:
            for guest in (wan.web, wan.plain):
                assert guest.ping(HOST[version]).all_answered
            assert wan.plain.tcp_connect(HOST[version], 8080) == "refused"
            assert wan.away.tcp_connect(HOST[version], 8080) == "refused"


def test_administrators_still_come_in(wan: Wan) -> None:
    """wan0 is the management link, and no zone was asked for: SSH is what firewalld opens by default."""
    with listening(wan.host, 22):
        assert [wan.away.tcp_connect(HOST[version], 22) for version in VERSIONS] == ["open", "open"]


def test_no_guest_poses_as_the_other_towards_the_uplink(wan: Wan) -> None:
    """In neighbour discovery, which a bridge would believe, and in ARP."""
    four, six = between(wan.plain, wan.away), between(wan.plain, wan.away, 6)
    local = replace(six, source_ip=wan.plain.link_local)
    stolen_local, stolen = replace(six, source_ip=wan.web.link_local), replace(six, source_ip=wan.web.ipv6)
    sent = {
        "its own advertisement": (frames.neighbour_advertisement(six), True),
        "of its link-local address": (frames.neighbour_advertisement(local), True),
        "as the other's address": (frames.neighbour_advertisement(stolen), False),
        "as the other's link-local address": (frames.neighbour_advertisement(stolen_local), False),
        "a solicitation as the other": (frames.neighbour_solicitation(stolen), False),
        "under the other's MAC": (frames.neighbour_advertisement(replace(six, source_mac=wan.web.mac)), False),
        "a router advertisement": (frames.router_advertisement(wan.plain.mac, wan.plain.link_local), False),
        "its own ARP": (frames.arp_reply(four), True),
        "ARP as the other": (frames.arp_reply(replace(four, source_ip=wan.web.ipv4)), False),
        "ARP with the other's MAC": (frames.arp_reply(four, wan.web.mac), False),
    }
    assert wrong(wan.plain, wan.away, sent) == {}


def test_arp_passes_between_guests_up_to_el8(wan: Wan) -> None:
    """It never comes to iptables' chains; with senders held to their own, it tells nothing but who is there."""
    expected = "drop" if wan.host.files.host.platform.isolates_by_nftables else "reply"
    with Probe(wan.plain, wan.web) as probe:
        assert probe.verdict(frames.arp_request(between(wan.plain, wan.web))) == expected
