"""What a guest can send, honestly and not, each frame with whether an anti-spoofing filter must let it pass."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_interface

from kvmgen.model.values import Mac
from tests.lab import frames
from tests.lab.frames import BROADCAST, Ends
from tests.lab.guest import LabGuest
from tests.lab.probe import between

MAC, OTHER_MAC, FOREIGN_MAC = Mac("52:54:00:00:00:01"), Mac("52:54:00:00:00:02"), "52:54:00:00:00:99"
LINK_LOCAL, FOREIGN_LINK_LOCAL = "fe80::5054:ff:fe00:1", "fe80::66"
V4, V6 = "192.0.2.11/24", "2001:db8::11/64"
FOREIGN_V4, FOREIGN_V6 = "192.0.2.66", "2001:db8::66"

Frames = Mapping[str, tuple[bytes, bool]]
"""Frames by what they are, and whether they must arrive."""


def behind(header: int, fields: bytes, ends: Ends, kind: int, rest: bytes, hops: int = 255) -> bytes:
    """An ICMPv6 message behind an IPv6 extension header."""
    message = frames.with_checksum(ends, frames.ICMPV6, struct.pack("!BBH", kind, 0, 0) + rest, 2)
    return frames.ip_packet(ends, header, bytes([frames.ICMPV6]) + fields + message, hops)


ROUTER_ALERT = (0, b"\x00\x05\x02\x00\x00\x01\x00")
DESTINATION_OPTIONS = (60, b"\x00\x01\x04\x00\x00\x00\x00")
ATOMIC_FRAGMENT = (44, b"\x00\x00\x00\x00\x00\x00\x07")


def to_group(group: str, source_ip: str) -> Ends:
    return Ends(source_mac=MAC, target_mac=frames.multicast_mac(group), source_ip=source_ip, target_ip=group)


def listener_report(source_ip: str) -> bytes:
    """MLDv2, behind a router alert as it must be."""
    record = struct.pack("!HHBBH", 0, 1, 4, 0, 0) + frames.ip_bytes(frames.solicited_node(LINK_LOCAL))
    return behind(*ROUTER_ALERT, to_group("ff02::16", source_ip), 143, record, 1)


def listener_report_v1(source_ip: str) -> bytes:
    group = frames.solicited_node(LINK_LOCAL)
    return behind(*ROUTER_ALERT, to_group(group, source_ip), 131, bytes(4) + frames.ip_bytes(group), 1)


def hidden_router_advertisement(header: tuple[int, bytes]) -> bytes:
    advertisement = struct.pack("!BBHII", 64, 0, 1800, 0, 0)
    return behind(*header, to_group("ff02::1", LINK_LOCAL), frames.ROUTER_ADVERTISEMENT, advertisement)


def announcement(mac: str) -> bytes:
    """What QEMU sends when a migration ends."""
    addresses = frames.mac_bytes(mac) + bytes(4) + frames.mac_bytes(MAC) + bytes(4)
    return frames.ethernet(MAC, BROADCAST, 0x8035, struct.pack("!HHBBH", 1, 0x800, 6, 4, 3) + addresses)


def of_ethernet(ends: Ends) -> Frames:
    """Neither IP nor ARP, or under a foreign MAC."""
    spanning_tree = b"\x42\x42\x03" + bytes(35)
    return {
        "a foreign MAC": (frames.echo_request(replace(ends, source_mac=FOREIGN_MAC)), False),
        "a VLAN tag": (frames.echo_request(replace(ends, vlan=7)), False),
        "a priority tag": (frames.echo_request(replace(ends, vlan=0)), False),
        "a VLAN tag before ARP": (frames.arp_reply(replace(ends, vlan=7)), False),
        "a service tag": (frames.ethernet(MAC, OTHER_MAC, 0x88A8, bytes(46)), False),
        "LLDP": (frames.ethernet(MAC, OTHER_MAC, 0x88CC, bytes(46)), False),
        "spanning tree": (frames.ethernet(MAC, "01:80:c2:00:00:0e", 38, spanning_tree), False),
        "an announcement": (announcement(MAC), True),
        "an announcement of a foreign MAC": (announcement(FOREIGN_MAC), False),
    }


def of_arp(ends: Ends, passes: bool) -> Frames:
    question = replace(ends, target_mac=BROADCAST)
    return {
        "an ARP request": (frames.arp_request(question), passes),
        "an ARP reply": (frames.arp_reply(ends), passes),
        "a gratuitous ARP": (frames.arp_request(replace(question, target_ip=ends.source_ip)), passes),
        "an ARP probe": (frames.arp_request(replace(question, source_ip="0.0.0.0")), passes),
        "an ARP reply from 0.0.0.0": (frames.arp_reply(replace(ends, source_ip="0.0.0.0")), False),
        "an ARP reply for a foreign IP": (frames.arp_reply(replace(ends, source_ip=FOREIGN_V4)), False),
        "an ARP request as a foreign IP": (frames.arp_request(replace(question, source_ip=FOREIGN_V4)), False),
        "an ARP reply with a foreign MAC inside": (frames.arp_reply(ends, FOREIGN_MAC), False),
        "an ARP probe with a foreign MAC inside": (
            frames.arp_request(replace(question, source_ip="0.0.0.0"), FOREIGN_MAC),
            False,
        ),
    }


def of_ipv4(ends: Ends, passes: bool) -> Frames:
    everyone = replace(ends, target_mac=BROADCAST, target_ip="255.255.255.255")
    service = replace(ends, target_mac="01:00:5e:00:00:fb", target_ip="224.0.0.251")
    return {
        "a ping": (frames.echo_request(ends), passes),
        "a connection": (frames.tcp_syn(ends, 80), passes),
        "multicast": (frames.udp(service, 5353, 5353), passes),
        "a DHCP client": (frames.dhcp_discover(MAC), passes),
        "a DHCP renewal": (frames.udp(ends, 67, 68), passes),
        "a DHCP server": (frames.dhcp_offer(ends, "192.0.2.200"), False),
        "a DHCP server to all": (frames.dhcp_offer(everyone, "192.0.2.201"), False),
        "a foreign IPv4 address": (frames.echo_request(replace(ends, source_ip=FOREIGN_V4)), False),
        "the neighbour's IPv4 address": (frames.echo_request(replace(ends, source_ip=ends.target_ip)), False),
        "a ping from 0.0.0.0": (frames.echo_request(replace(ends, source_ip="0.0.0.0")), False),
        "UDP from 0.0.0.0": (frames.udp(replace(ends, source_ip="0.0.0.0"), 53), False),
    }


def of_ipv6(ends: Ends, passes: bool) -> Frames:
    local, nobody = replace(ends, source_ip=LINK_LOCAL), replace(ends, source_ip="::")
    foreign, foreign_local = replace(ends, source_ip=FOREIGN_V6), replace(ends, source_ip=FOREIGN_LINK_LOCAL)
    return {
        "a ping6": (frames.echo_request(ends), passes),
        "a connection6": (frames.tcp_syn(ends, 80), passes),
        "a ping6 from the link-local address": (frames.echo_request(local), passes),
        "DAD of an address": (frames.duplicate_address_probe(MAC, "2001:db8::11"), passes),
        "DAD of the link-local address": (frames.duplicate_address_probe(MAC, LINK_LOCAL), passes),
        "a neighbour solicitation": (frames.neighbour_solicitation(ends), passes),
        "one from the link-local address": (frames.neighbour_solicitation(local), passes),
        "a neighbour advertisement": (frames.neighbour_advertisement(ends), passes),
        "one of the link-local address": (frames.neighbour_advertisement(local), passes),
        "a router solicitation": (frames.router_solicitation(MAC, LINK_LOCAL), passes),
        "one from ::": (frames.router_solicitation(MAC, "::"), passes),
        "a listener report": (listener_report(LINK_LOCAL), passes),
        "a listener report from ::": (listener_report("::"), passes),
        "an old listener report": (listener_report_v1(LINK_LOCAL), passes),
        "an old listener report from ::": (listener_report_v1("::"), passes),
        "a DHCPv6 client": (frames.dhcpv6_solicit(MAC, LINK_LOCAL), passes),
        "a DHCPv6 server": (frames.udp(local, 546, 547), False),
        "a foreign IPv6 address": (frames.echo_request(foreign), False),
        "a foreign link-local address": (frames.echo_request(foreign_local), False),
        "a ping6 from ::": (frames.echo_request(nobody), False),
        "UDP from ::": (frames.udp(nobody, 53), False),
        "the loopback address": (frames.echo_request(replace(ends, source_ip="::1")), False),
        "an advertisement from ::": (frames.neighbour_advertisement(nobody, FOREIGN_V6), False),
        "an advertisement as a foreign address": (frames.neighbour_advertisement(foreign), False),
        "a solicitation as a foreign address": (frames.neighbour_solicitation(foreign), False),
        "a foreign router solicitation": (frames.router_solicitation(MAC, FOREIGN_LINK_LOCAL), False),
        "a foreign listener report": (listener_report(FOREIGN_LINK_LOCAL), False),
        "a foreign DHCPv6 client": (frames.dhcpv6_solicit(MAC, FOREIGN_LINK_LOCAL), False),
        "a router advertisement": (frames.router_advertisement(MAC, LINK_LOCAL), False),
        "one from the global address": (frames.router_advertisement(MAC, "2001:db8::11"), False),
        "one behind a router alert": (hidden_router_advertisement(ROUTER_ALERT), False),
        "one behind destination options": (hidden_router_advertisement(DESTINATION_OPTIONS), False),
        "one as an atomic fragment": (hidden_router_advertisement(ATOMIC_FRAGMENT), False),
        "a redirect": (frames.icmpv6(local, 137, 0, bytes(36)), False),
    }


def all_frames(guest: LabGuest, neighbour: LabGuest, ipv4: bool, ipv6: bool) -> Frames:
    ends = between(guest, neighbour)
    return {
        **of_ethernet(ends),
        **of_arp(ends, ipv4),
        **of_ipv4(ends, ipv4),
        **of_ipv6(between(guest, neighbour, 6), ipv6),
    }


def sources(guest: LabGuest, neighbour: LabGuest, texts: Mapping[str, bool]) -> Frames:
    """A ping from each address, and an ARP reply for each IPv4 one."""
    sent: dict[str, tuple[bytes, bool]] = {}
    for text, passes in texts.items():
        version = ip_interface(text).version
        ends = replace(between(guest, neighbour, 6 if version == 6 else 4), source_ip=text)
        sent[f"a ping from {text}"] = frames.echo_request(ends), passes
        if version == 4:
            sent[f"ARP for {text}"] = frames.arp_reply(ends), passes
    return sent


def bootp(operation: int, offered: str, server: str, options: bytes) -> bytes:
    """A DHCP message about the guest."""
    fixed = struct.pack("!BBBBIHH", operation, 1, 6, 0, 0x6B766D67, 0, 0)
    addresses = bytes(4) + frames.ip_bytes(offered) + frames.ip_bytes(server) + bytes(4)
    return fixed + addresses + frames.mac_bytes(MAC).ljust(208, b"\0") + b"\x63\x82\x53\x63" + options + b"\xff"
