"""The laboratory is itself tested, against the real libvirtd, firewalld and packet filters that it holds."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lab import frames
from tests.lab.guest import LabGuest
from tests.lab.host import LabHost
from tests.lab.probe import Probe, Wire, between

pytestmark = pytest.mark.real

PROJECT = Path(__file__).parents[2]
FORWARDS = {
    "nat": "<forward mode='nat'/>",
    "route": "<forward mode='route'/>",
    "open": "<forward mode='open'/>",
    "isolated": "",
}


def network_xml(name: str, forward: str, number: int, mac: str) -> str:
    """A dual-stack libvirt network whose DHCP knows the MAC.

    dnsmasq offers a reserved address at once; one of a range it pings for three seconds before.
    """
    return f"""
    <network>
      <name>{name}</name>
      {forward}
      <bridge name='virbr-{name}' stp='off' delay='0'/>
      <ip address='10.9.{number}.1' netmask='255.255.255.0'>
        <dhcp><host mac='{mac}' ip='10.9.{number}.77'/></dhcp>
      </ip>
      <ip family='ipv6' address='2001:db8:{number}::1' prefix='64'/>
    </network>"""


def guest_on(host: LabHost, number: int, bridge: str = "br0") -> LabGuest:
    """A dual-stack guest whose addresses end in its number."""
    return LabGuest(
        host,
        f"web0{number}",
        tap=f"vnet-web0{number}-0",
        mac=f"52:54:00:00:00:0{number}",
        bridge=bridge,
        addresses=[f"192.0.2.1{number}/24", f"2001:db8::1{number}/64"],
        gateways=["192.0.2.1", "2001:db8::1"],
    )


@pytest.fixture(scope="module")
def pair(lab_libvirt: LabHost) -> Iterator[tuple[LabGuest, LabGuest]]:
    """Two guests without filters on one host bridge."""
    lab_libvirt.add_bridge("br0", ["192.0.2.1/24", "2001:db8::1/64"])
    with guest_on(lab_libvirt, 1) as first, guest_on(lab_libvirt, 2) as second:
        yield first, second


# -- libvirt networks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", FORWARDS)
def test_a_network_starts_and_serves_dhcp(lab_libvirt: LabHost, mode: str) -> None:
    number = list(FORWARDS).index(mode) + 1
    mac = f"52:54:00:00:01:0{number}"
    lab_libvirt.virsh_with("net-define", network_xml(mode, FORWARDS[mode], number, mac), "--validate")
    lab_libvirt.virsh("net-start", mode)
    with LabGuest(lab_libvirt, mode, tap=f"vnet-{mode}", mac=mac, bridge=f"virbr-{mode}") as guest, Wire(guest) as wire:
        offer = None
        for _ in range(8):  # dnsmasq may not listen yet: a client asks again
            wire.send(frames.dhcp_discover(mac))
            offer = wire.hears(lambda frame: (seen := frames.read(frame)) is not None and seen.payload[:2] == b"\0C", 2)
            if offer is not None:
                break
        assert offer is not None
        assert offer[58:62] == bytes([10, 9, number, 77])
    lab_libvirt.virsh("net-destroy", mode)
    lab_libvirt.virsh("net-undefine", mode)


def test_guests_reach_through_a_nat_network_to_the_outside(lab_libvirt: LabHost) -> None:
    xml = network_xml("inner", "<forward mode='nat'><nat ipv6='yes'/></forward>", 8, "52:54:00:00:02:01")
    lab_libvirt.virsh_with("net-define", xml, "--validate")
    lab_libvirt.virsh("net-start", "inner")
    inner = ["10.9.8.2/24", "2001:db8:8::2/64"]
    outer = ["198.51.100.9/24", "2001:db8:9::9/64"]
    with (
        LabGuest(
            lab_libvirt,
            "inside",
            tap="vnet-inside",
            mac="52:54:00:00:02:01",
            bridge="virbr-inner",
            addresses=inner,
            gateways=["10.9.8.1", "2001:db8:8::1"],
        ) as guest,
        LabGuest(lab_libvirt, "outside", tap="eth1", mac="52:54:00:00:02:02", addresses=outer) as outside,
    ):
        lab_libvirt.ip_batch(["address add 198.51.100.1/24 dev eth1", "address add 2001:db8:9::1/64 dev eth1 nodad"])
        assert guest.ping(outside.ipv4).all_answered
        assert guest.ping(outside.ipv6).all_answered
        assert not outside.ping(guest.ipv4).all_answered
        assert outside.tcp_connect(guest.ipv4, 80) == "no route"
        assert not outside.udp_reaches(guest, guest.ipv4, 53)
        with Probe(guest, outside) as probe:
            router = lab_libvirt.run("cat", "/sys/class/net/virbr-inner/address").stdout.strip()
            honest = replace(between(guest, outside), target_mac=router)
            token = os.urandom(8)
            assert probe.arrives(frames.udp(honest, 53, payload=token), token=token)
    lab_libvirt.virsh("net-destroy", "inner")
    lab_libvirt.virsh("net-undefine", "inner")


# -- traffic and the prober --------------------------------------------------------------------------------------------


def test_guests_talk_in_both_families(pair: tuple[LabGuest, LabGuest]) -> None:
    first, second = pair
    with second.tcp_listen(22):
        for address in (second.ipv4, second.ipv6):
            assert first.ping(address, count=3, size=1400).all_answered
            assert first.tcp_connect(address, 22) == "open"
            assert first.tcp_connect(address, 23) == "refused"
            assert first.udp_reaches(second, address, 53)
    assert first.ping(f"{second.link_local}%eth0").all_answered
    flows = [first.long_ping(second.ipv4, count=10) for _ in range(3)]
    assert [flow.result().received for flow in flows] == [10, 10, 10]


def test_silence_and_refusal_differ(pair: tuple[LabGuest, LabGuest]) -> None:
    first, second = pair
    for command, target in (("iptables", second.ipv4), ("ip6tables", second.ipv6)):
        second.run(command, "-A", "INPUT", "-p", "tcp", "--dport", "81", "-j", "DROP")
        second.run(command, "-A", "INPUT", "-p", "tcp", "--dport", "82", "-j", "REJECT")
        assert first.tcp_connect(target, 81) == "timeout"
        assert first.tcp_connect(target, 82) == "refused"
        second.run(command, "-F", "INPUT")
    assert first.ping("192.0.2.99", count=1).received == 0


def test_every_kind_of_frame_crosses_a_bridge_unchanged(pair: tuple[LabGuest, LabGuest]) -> None:
    first, second = pair
    four, six = between(first, second), between(first, second, 6)
    sent = [
        frames.arp_request(replace(four, target_mac=frames.BROADCAST)),
        frames.arp_reply(four, sender_mac="52:54:00:de:ad:00"),
        frames.echo_request(replace(four, vlan=7)),
        frames.echo_request(replace(four, source_mac="52:54:00:de:ad:01", source_ip="203.0.113.7")),
        frames.echo_request(six),
        frames.tcp_syn(four, 80),
        frames.tcp_ack(six, 80),
        frames.udp(replace(six, source_ip="2001:db8::bad"), 53),
        frames.neighbour_solicitation(six),
        frames.neighbour_advertisement(six),
        frames.duplicate_address_probe(first.mac, first.ipv6),
        frames.router_solicitation(first.mac, first.link_local),
        frames.router_advertisement(first.mac, first.link_local),
        frames.dhcp_discover(first.mac),
        frames.dhcp_offer(four, "192.0.2.66"),
        frames.dhcpv6_solicit(first.mac, first.link_local),
    ]
    with Probe(first, second) as probe:
        assert probe.arrivals(sent) == [True] * len(sent)


def test_real_stacks_answer_the_probers_frames(pair: tuple[LabGuest, LabGuest]) -> None:
    first, second = pair
    four, six = between(first, second), between(first, second, 6)
    asked = [frames.arp_request(four), frames.neighbour_solicitation(six)]
    for ends in (four, six):
        asked += [frames.echo_request(ends), frames.tcp_syn(ends, 99), frames.udp(ends, 99)]
    with Probe(first, second) as probe:
        assert [probe.verdict(frame) for frame in asked] == ["reply"] * len(asked)
        assert probe.verdict(frames.tcp(four, 99, frames.TCP_RST)) == "one-way"
        assert probe.verdict(frames.echo_request(replace(four, target_mac="52:54:00:00:00:99"))) == "one-way"


def test_the_verdict_knows_drop_from_reject(lab_libvirt: LabHost, pair: tuple[LabGuest, LabGuest]) -> None:
    first, second = pair
    for command, version in (("iptables", 4), ("ip6tables", 6)):
        ends = between(first, second, 4 if version == 4 else 6)
        with Probe(first, second) as probe:
            lab_libvirt.run(command, "-I", "FORWARD", "-p", "tcp", "--dport", "99", "-j", "REJECT")
            assert probe.verdict(frames.tcp_syn(ends, 99)) == "reject"
            lab_libvirt.run(command, "-I", "FORWARD", "-p", "tcp", "--dport", "99", "-j", "DROP")
            assert probe.verdict(frames.tcp_syn(ends, 99)) == "drop"
        for _ in range(2):
            lab_libvirt.run(command, "-D", "FORWARD", "1")


# -- packet filters ----------------------------------------------------------------------------------------------------


def test_a_filter_stops_what_the_prober_spoofs(lab_libvirt: LabHost, pair: tuple[LabGuest, LabGuest]) -> None:
    first, second = pair
    first.bind_filter("clean-traffic", {"IP": [first.ipv4, "192.0.2.50"], "CTRL_IP_LEARNING": "none"})
    honest, other = between(first, second), replace(between(first, second), source_ip="192.0.2.66")
    sent = {
        frames.echo_request(honest): True,
        frames.echo_request(replace(honest, source_ip="192.0.2.50")): True,
        frames.echo_request(other): False,
        frames.arp_reply(other): False,
        frames.echo_request(replace(honest, source_mac="52:54:00:de:ad:00")): False,
        frames.echo_request(replace(honest, vlan=7)): False,
        frames.echo_request(between(first, second, 6)): False,
    }
    with Probe(first, second) as probe:
        assert dict(zip(sent, probe.arrivals(list(sent)), strict=True)) == sent
        assert f"{first.tap} -j libvirt-I-{first.tap}" in lab_libvirt.run("ebtables-save").stdout
        first.unbind_filter()
        assert probe.arrives(frames.echo_request(other))
    assert first.tap not in lab_libvirt.run("ebtables-save").stdout


def test_a_filter_of_ones_own_works_at_the_iptables_layer(pair: tuple[LabGuest, LabGuest]) -> None:
    first, second = pair
    filter_xml = """
    <filter name='lab-web' chain='root'>
      <rule action='accept' direction='in' priority='500'><tcp dstportstart='80'/></rule>
      <rule action='accept' direction='in' priority='500'><tcp-ipv6 dstportstart='80'/></rule>
      <rule action='accept' direction='in' priority='500'><icmpv6/></rule>
      <rule action='accept' direction='out' priority='500'><icmpv6/></rule>
      <rule action='drop' direction='inout' priority='1000'><all/></rule>
      <rule action='drop' direction='inout' priority='1000'><all-ipv6/></rule>
    </filter>"""
    second.bind_filter(filter_xml)
    with second.tcp_listen(80), second.tcp_listen(81):
        for address in (second.ipv4, second.ipv6):
            assert first.tcp_connect(address, 80) == "open"
            assert first.tcp_connect(address, 81) == "timeout"
    second.unbind_filter()
