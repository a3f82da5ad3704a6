"""Systems 9 and 10: a guest that is the DMZ's only way out, with its own compiled kernel settings and packet filter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest

from tests.lab import frames
from tests.lab.guest import LabGuest
from tests.lab.probe import Probe, between
from tests.real.packets import (
    ExampleHost,
    apply_sysctl,
    guest_of,
    listening,
    load_iptables,
    nic_of,
    outside,
    running,
    take_lease,
    wrong,
)
from tests.real.spoofing import sources

pytestmark = pytest.mark.real

INSIDE = "guests/vml000010/"
DMZ_TAP, DMZ_MAC = "vnet-dmz", "52:54:00:0a:fa:3e"
LAN, ROUTER, LEASED, STATIC = "192.168.10.0/24", "192.168.10.1", "192.168.10.212", "192.168.10.99"
LEASE_PATIENCE = 15


@dataclass(frozen=True)
class Dmz:
    """The LAN, the gateway between and the guest behind it."""

    away: LabGuest
    gateway: LabGuest
    inner: LabGuest


@pytest.fixture(scope="module")
def dmz() -> Iterator[Dmz]:
    with (
        running("kvm-de") as lab,
        outside(lab, "eth1", "br0", [f"{ROUTER}/24"]) as away,
        guest_of(lab, "vml000010") as gateway,
        guest_of(lab, "vml000020", gateways=["10.0.0.10"]) as inner,
    ):
        second_nic(lab, gateway)
        prepare_inside(lab, gateway)
        away.run("ip", "route", "add", "10.0.0.0/24", "via", LEASED)
        with dhcp_server(away, gateway.mac):
            hold_to_the_lease(gateway, away)
            yield Dmz(away, gateway, inner)


def second_nic(lab: ExampleHost, gateway: LabGuest) -> None:
    """The gateway's eth1 on the DMZ's bridge, under the filter that its domain names for it."""
    nic = nic_of(lab.files, gateway.name, DMZ_MAC)
    assert nic.filter is not None
    peer = f"peer name eth1 address {nic.mac} netns {gateway.name}"
    lab.ip_batch([f"link add {DMZ_TAP} type veth {peer}", f"link set {DMZ_TAP} master {nic.bridge} up"])
    (dmz_side,) = (nic for nic in lab.files.guests[gateway.name].interfaces if nic.name == "eth1")
    addresses = [f"address add {address} dev eth1" for address in dmz_side.addressing.addresses]
    lab.ip_batch(["link set eth1 up", *addresses], netns=gateway.name)
    LabGuest(lab, gateway.name, tap=DMZ_TAP, mac=nic.mac).bind_filter(nic.filter, nic.parameters)


def prepare_inside(lab: ExampleHost, gateway: LabGuest) -> None:
    apply_sysctl(lab, lab.files.texts[f"{INSIDE}etc/sysctl.conf"], netns=gateway.name)
    load_iptables(lab, lab.files.texts, INSIDE, netns=gateway.name)


@contextmanager
def dhcp_server(away: LabGuest, mac: str) -> Iterator[None]:
    """The LAN's own server, which has one address for the gateway."""
    words = ["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=eth0", "--bind-interfaces"]
    words += ["--dhcp-leasefile=/run/lab/lan.leases", f"--dhcp-range={LAN.partition('/')[0]},static"]
    words += [f"--dhcp-host={mac},{LEASED}", "--pid-file=", "--user=root"]
    away.host.spawn("dnsmasq", *words, netns=away.name, timeout=60)
    yield


def hold_to_the_lease(gateway: LabGuest, away: LabGuest) -> None:
    """The gateway claims an address, then is given another one, which alone passes."""
    gateway.addresses = (f"{STATIC}/24",)
    assert wrong(gateway, away, sources(gateway, away, {STATIC: False, LEASED: False, ROUTER: False})) == {}
    assert take_lease(gateway) == LEASED
    assert any(gateway.ping(ROUTER, count=1).all_answered for _ in range(LEASE_PATIENCE))
    assert wrong(gateway, away, sources(gateway, away, {STATIC: False, LEASED: True})) == {}


def test_the_dmz_reaches_out_under_the_gateways_name(dmz: Dmz) -> None:
    assert dmz.inner.ping(ROUTER).all_answered
    with dmz.away.tcp_listen(22) as server:
        assert dmz.inner.tcp_connect(ROUTER, 22) == "open"
        connection, (seen_as, *_) = server.accept()
        connection.close()
        assert seen_as == f"::ffff:{LEASED}"
    assert dmz.inner.udp_reaches(dmz.away, ROUTER, 53)


def test_nobody_reaches_into_the_dmz(dmz: Dmz) -> None:
    """Pings pass the gateway's own rules, but their answers don't leave: nothing masquerades them, and the host lets
    the gateway send from its own address alone.
    """
    with listening(dmz.inner, 22), listening(dmz.inner, 80):
        assert [dmz.away.tcp_connect(dmz.inner.ipv4, port) for port in (22, 80)] == ["refused", "refused"]
    assert not dmz.away.udp_reaches(dmz.inner, dmz.inner.ipv4, 53)
    with Probe(dmz.away, dmz.inner) as probe:
        assert dmz.away.ping(dmz.inner.ipv4).received == 0
        assert any(is_echo_request(frame) for frame in probe.receiver.waiting())


def is_echo_request(frame: bytes) -> bool:
    seen = frames.read(frame)
    return seen is not None and seen.kind == frames.ETH_IPV4 and (seen.protocol, seen.payload[0]) == (frames.ICMP, 8)


def test_who_reaches_the_gateway(dmz: Dmz) -> None:
    """SSH from everywhere, everything from the DMZ."""
    with listening(dmz.gateway, 22), listening(dmz.gateway, 80):
        assert [dmz.away.tcp_connect(LEASED, port) for port in (22, 80)] == ["open", "refused"]
        assert [dmz.inner.tcp_connect("10.0.0.10", port) for port in (22, 80)] == ["open", "open"]


def test_the_dmz_guest_is_itself(dmz: Dmz) -> None:
    """Its frames arrive at the gateway's other side under its own addresses alone."""
    gateway_side = LabGuest(dmz.gateway.host, "eth1", tap=DMZ_TAP, mac=DMZ_MAC, addresses=["10.0.0.10/24"])
    sent = sources(dmz.inner, gateway_side, {"10.0.0.20": True, "10.0.0.10": False, ROUTER: False})
    stolen = replace(between(dmz.inner, gateway_side), source_mac=DMZ_MAC)
    assert wrong(dmz.inner, dmz.gateway, {**sent, "its MAC": (frames.echo_request(stolen), False)}, "eth1") == {}
