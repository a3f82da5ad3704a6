"""Frames for the prober: bytes built field by field, with correct checksums, and the little that is read back.

A frame may lie about every address; the checksums are right all the same, so that a packet filter judges the lie and
not a damaged packet. Layouts: RFC 826, 791, 792, 793, 768, 2131, 4443, 4861, 8200, 8415 and IEEE 802.1Q.
"""

import ipaddress
import struct
from dataclasses import dataclass

ETH_ARP = 0x0806
ETH_IPV4 = 0x0800
ETH_IPV6 = 0x86DD
ETH_VLAN = 0x8100
ICMP, TCP, UDP, IPV6_FRAGMENT, ICMPV6 = 1, 6, 17, 44, 58
ETHERNET_HEADER = 14
ARP_REQUEST, ARP_REPLY = 1, 2
TCP_SYN, TCP_RST, TCP_ACK = 0x02, 0x04, 0x10
ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT = 133, 134
NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT = 135, 136
BROADCAST = "ff:ff:ff:ff:ff:ff"
ALL_NODES, ALL_ROUTERS, ALL_DHCP_AGENTS = "ff02::1", "ff02::2", "ff02::1:2"
EPHEMERAL_PORT = 40000
ON_LINK_HOPS = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Who a frame says that it is from and for; `dataclasses.replace` turns one end into a lie."""

    source_mac: str
    target_mac: str
    source_ip: str
    target_ip: str
    vlan: int | None = None

    @property
    def is_ipv6(self) -> bool:
        """Whether the addresses are IPv6 ones."""
        return ":" in self.target_ip


# -- link layer --------------------------------------------------------------------------------------------------------


def mac_bytes(mac: str) -> bytes:
    """The six bytes of a MAC address."""
    return bytes.fromhex(mac.replace(":", ""))


def ip_bytes(address: str) -> bytes:
    """The four or sixteen bytes of an address."""
    return ipaddress.ip_address(address).packed


def ethernet(source: str, target: str, kind: int, payload: bytes, vlan: int | None = None) -> bytes:
    """An Ethernet frame, with an 802.1Q tag where a VLAN is given."""
    tag = b"" if vlan is None else struct.pack("!HH", ETH_VLAN, vlan)
    return mac_bytes(target) + mac_bytes(source) + tag + struct.pack("!H", kind) + payload


def multicast_mac(address: str) -> str:
    """The MAC that an IPv6 multicast group is sent to."""
    return (b"\x33\x33" + ip_bytes(address)[-4:]).hex(":")


def arp(ends: Ends, operation: int, sender_mac: str | None = None) -> bytes:
    """An ARP frame; `sender_mac` is the one inside the message where it differs from the frame's own."""
    target = bytes(6) if operation == ARP_REQUEST else mac_bytes(ends.target_mac)
    message = struct.pack("!HHBBH", 1, ETH_IPV4, 6, 4, operation)
    message += mac_bytes(sender_mac or ends.source_mac) + ip_bytes(ends.source_ip)
    message += target + ip_bytes(ends.target_ip)
    return ethernet(ends.source_mac, ends.target_mac, ETH_ARP, message, ends.vlan)


def arp_request(ends: Ends, sender_mac: str | None = None) -> bytes:
    """Ask who has the target's IP. Sent to the target's MAC; give `BROADCAST` there to ask everyone."""
    return arp(ends, ARP_REQUEST, sender_mac)


def arp_reply(ends: Ends, sender_mac: str | None = None) -> bytes:
    """Claim that the source's IP is at the source's MAC."""
    return arp(ends, ARP_REPLY, sender_mac)


# -- network layer -----------------------------------------------------------------------------------------------------


def checksum(data: bytes) -> int:
    """The internet checksum."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip_packet(ends: Ends, protocol: int, payload: bytes, hops: int = 64) -> bytes:
    """An Ethernet frame with one IP packet of the family of its addresses."""
    if ends.is_ipv6:
        header = struct.pack("!IHBB", 6 << 28, len(payload), protocol, hops)
        packet = header + ip_bytes(ends.source_ip) + ip_bytes(ends.target_ip) + payload
        return ethernet(ends.source_mac, ends.target_mac, ETH_IPV6, packet, ends.vlan)
    addresses = ip_bytes(ends.source_ip) + ip_bytes(ends.target_ip)
    fields = (0x45, 0, 20 + len(payload), 1, 0, hops, protocol)
    total = checksum(struct.pack("!BBHHHBBH", *fields, 0) + addresses)
    packet = struct.pack("!BBHHHBBH", *fields, total) + addresses + payload
    return ethernet(ends.source_mac, ends.target_mac, ETH_IPV4, packet, ends.vlan)


def fragments(frame: bytes, cut: int, identification: int) -> tuple[bytes, bytes]:
    """The packet of a frame in two: so many bytes above the network layer (a multiple of eight), and the rest."""
    seen = read(frame)
    assert seen is not None
    return (
        _fragment(seen, identification, 0, seen.payload[:cut], more=True),
        _fragment(seen, identification, cut // 8, seen.payload[cut:], more=False),
    )


def _fragment(whole: "Seen", identification: int, offset: int, payload: bytes, *, more: bool) -> bytes:
    ends = whole.ends
    if ends.is_ipv6:
        header = struct.pack("!BBHI", whole.protocol, 0, offset << 3 | more, identification)
        return ip_packet(ends, IPV6_FRAGMENT, header + payload)
    packet = bytearray(ip_packet(ends, whole.protocol, payload)[ETHERNET_HEADER:])
    struct.pack_into("!HH", packet, 4, identification & 0xFFFF, more << 13 | offset)
    packet[10:12] = bytes(2)
    packet[10:12] = struct.pack("!H", checksum(bytes(packet[:20])))
    return ethernet(ends.source_mac, ends.target_mac, ETH_IPV4, bytes(packet))


def with_checksum(ends: Ends, protocol: int, message: bytes, position: int) -> bytes:
    """The message with its checksum over pseudo header and payload written at `position`."""
    pseudo = ip_bytes(ends.source_ip) + ip_bytes(ends.target_ip)
    pseudo += struct.pack("!IHBB" if ends.is_ipv6 else "!HBB", len(message), 0, *([0] * ends.is_ipv6), protocol)
    total = checksum(pseudo + message) or 0xFFFF
    return message[:position] + struct.pack("!H", total) + message[position + 2 :]


def icmp(ends: Ends, kind: int, code: int, rest: bytes) -> bytes:
    """An ICMP message (IPv4)."""
    total = checksum(struct.pack("!BBH", kind, code, 0) + rest)
    return ip_packet(ends, ICMP, struct.pack("!BBH", kind, code, total) + rest)


def icmpv6(ends: Ends, kind: int, code: int, rest: bytes, hops: int = ON_LINK_HOPS) -> bytes:
    """An ICMPv6 message; neighbour discovery wants 255 hops."""
    message = struct.pack("!BBH", kind, code, 0) + rest
    return ip_packet(ends, ICMPV6, with_checksum(ends, ICMPV6, message, 2), hops)


def echo_request(ends: Ends, identifier: int = 1, payload: bytes = b"kvmgen") -> bytes:
    """A ping of the family of the addresses."""
    rest = struct.pack("!HH", identifier, 1) + payload
    return icmpv6(ends, 128, 0, rest, 64) if ends.is_ipv6 else icmp(ends, 8, 0, rest)


# -- transport layer ---------------------------------------------------------------------------------------------------


def tcp(
    ends: Ends,
    port: int,
    flags: int,
    source_port: int = EPHEMERAL_PORT,
    payload: bytes = b"",
    sequence: int = 1,
) -> bytes:
    """A TCP segment."""
    acknowledged = sequence if flags & TCP_ACK else 0
    header = struct.pack("!HHIIBBHHH", source_port, port, sequence, acknowledged, 5 << 4, flags, 65535, 0, 0)
    return ip_packet(ends, TCP, with_checksum(ends, TCP, header + payload, 16))


def tcp_syn(ends: Ends, port: int, source_port: int = EPHEMERAL_PORT) -> bytes:
    """The first segment of a connection."""
    return tcp(ends, port, TCP_SYN, source_port)


def tcp_ack(ends: Ends, port: int, source_port: int = EPHEMERAL_PORT) -> bytes:
    """A segment of a connection that nobody opened."""
    return tcp(ends, port, TCP_ACK, source_port)


def udp(ends: Ends, port: int, source_port: int = EPHEMERAL_PORT, payload: bytes = b"kvmgen") -> bytes:
    """A UDP datagram."""
    message = struct.pack("!HHHH", source_port, port, 8 + len(payload), 0) + payload
    return ip_packet(ends, UDP, with_checksum(ends, UDP, message, 6))


# -- neighbour discovery -----------------------------------------------------------------------------------------------


def solicited_node(address: str) -> str:
    """The multicast group in which an IPv6 address is asked for."""
    return str(ipaddress.IPv6Address(ip_bytes("ff02::1:ff00:0")[:13] + ip_bytes(address)[13:]))


def _link_layer_option(kind: int, mac: str) -> bytes:
    return struct.pack("!BB", kind, 1) + mac_bytes(mac)


def neighbour_solicitation(ends: Ends) -> bytes:
    """Ask who has the target's address. Sent to the ends as given, not to the group."""
    rest = bytes(4) + ip_bytes(ends.target_ip) + _link_layer_option(1, ends.source_mac)
    return icmpv6(ends, NEIGHBOUR_SOLICITATION, 0, rest)


def duplicate_address_probe(mac: str, address: str) -> bytes:
    """Ask whether anybody has the address already. Sent from `::` to the group of the address."""
    group = solicited_node(address)
    ends = Ends(source_mac=mac, target_mac=multicast_mac(group), source_ip="::", target_ip=group)
    return icmpv6(ends, NEIGHBOUR_SOLICITATION, 0, bytes(4) + ip_bytes(address))


def neighbour_advertisement(ends: Ends, owned: str | None = None) -> bytes:
    """Claim that the address `owned` (the source's own where not given) is at the source's MAC; overrides caches."""
    flags = struct.pack("!I", 0b011 << 29)
    rest = flags + ip_bytes(owned or ends.source_ip) + _link_layer_option(2, ends.source_mac)
    return icmpv6(ends, NEIGHBOUR_ADVERTISEMENT, 0, rest)


def router_solicitation(mac: str, source_ip: str) -> bytes:
    """Ask whether there is a router."""
    ends = Ends(source_mac=mac, target_mac=multicast_mac(ALL_ROUTERS), source_ip=source_ip, target_ip=ALL_ROUTERS)
    option = b"" if source_ip == "::" else _link_layer_option(1, mac)
    return icmpv6(ends, ROUTER_SOLICITATION, 0, bytes(4) + option)


def router_advertisement(mac: str, source_ip: str, prefix: str = "2001:db8:bad::/64") -> bytes:
    """Pretend to be a router with this prefix."""
    network = ipaddress.IPv6Network(prefix)
    ends = Ends(source_mac=mac, target_mac=multicast_mac(ALL_NODES), source_ip=source_ip, target_ip=ALL_NODES)
    information = struct.pack("!BBBBIII", 3, 4, network.prefixlen, 0xC0, 3600, 3600, 0)
    rest = struct.pack("!BBHII", 64, 0, 1800, 0, 0) + information + network.network_address.packed
    return icmpv6(ends, ROUTER_ADVERTISEMENT, 0, rest)


# -- address assignment ------------------------------------------------------------------------------------------------


def _bootp(operation: int, client_mac: str, offered: str, server: str, options: bytes) -> bytes:
    fixed = struct.pack("!BBBBIHH", operation, 1, 6, 0, 0x6B766D67, 0, 0x8000)
    addresses = bytes(4) + ip_bytes(offered) + ip_bytes(server) + bytes(4)
    return fixed + addresses + mac_bytes(client_mac).ljust(208, b"\0") + b"\x63\x82\x53\x63" + options + b"\xff"


def dhcp_discover(mac: str, source_ip: str = "0.0.0.0") -> bytes:
    """A DHCP client's first message, asking for a broadcast answer."""
    ends = Ends(source_mac=mac, target_mac=BROADCAST, source_ip=source_ip, target_ip="255.255.255.255")
    return udp(ends, 67, 68, _bootp(1, mac, "0.0.0.0", "0.0.0.0", b"\x35\x01\x01\x37\x03\x01\x03\x06"))


def dhcp_offer(ends: Ends, offered: str) -> bytes:
    """What a DHCP server answers; from a guest it is a rogue server's."""
    options = b"\x35\x01\x02\x36\x04" + ip_bytes(ends.source_ip) + b"\x33\x04" + struct.pack("!I", 3600)
    return udp(ends, 68, 67, _bootp(2, ends.target_mac, offered, ends.source_ip, options))


def dhcpv6_solicit(mac: str, source_ip: str) -> bytes:
    """A DHCPv6 client's first message."""
    client = struct.pack("!HHHH", 1, 10, 3, 1) + mac_bytes(mac)
    wanted = struct.pack("!HHIII", 3, 12, 1, 0, 0)
    group = ALL_DHCP_AGENTS
    ends = Ends(source_mac=mac, target_mac=multicast_mac(group), source_ip=source_ip, target_ip=group)
    return udp(ends, 547, 546, b"\x01\x6b\x76\x6d" + client + wanted)


# -- reading -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a received frame says: ends, protocol and the payload above the network layer."""

    ends: Ends
    kind: int
    protocol: int
    payload: bytes


def read(frame: bytes) -> Seen | None:
    """Read an ARP, IPv4 or IPv6 frame; None for anything else. ARP's operation stands as its protocol."""
    (kind,) = struct.unpack_from("!H", frame, 12)
    start, vlan = 14, None
    if kind == ETH_VLAN:
        vlan, kind = struct.unpack_from("!HH", frame, 14)
        start, vlan = 18, vlan & 0xFFF
    network = _network_layer(kind, frame[start:])
    if network is None:
        return None
    source, target, protocol, payload = network
    ends = Ends(
        source_mac=frame[6:12].hex(":"), target_mac=frame[:6].hex(":"), source_ip=source, target_ip=target, vlan=vlan
    )
    return Seen(ends=ends, kind=kind, protocol=protocol, payload=payload)


def _network_layer(kind: int, packet: bytes) -> tuple[str, str, int, bytes] | None:
    if kind == ETH_ARP and len(packet) >= 28:
        return _address(packet[14:18]), _address(packet[24:28]), packet[7], packet
    if kind == ETH_IPV4 and len(packet) >= 20:
        start = (packet[0] & 0x0F) * 4
        return _address(packet[12:16]), _address(packet[16:20]), packet[9], packet[start:]
    if kind == ETH_IPV6 and len(packet) >= 40:
        return _address(packet[8:24]), _address(packet[24:40]), packet[6], packet[40:]
    return None


def _address(packed: bytes) -> str:
    return str(ipaddress.ip_address(packed))


def is_rejection(sent: bytes, received: bytes) -> bool:
    """Whether a firewall's refusal of the sent frame was received: an unreachable or a reset."""
    asked, said = read(sent), read(received)
    if asked is None or said is None or said.kind != asked.kind:
        return False
    if (said.protocol, said.payload[:1]) in ((ICMP, b"\x03"), (ICMPV6, b"\x01")):
        quoted = _network_layer(said.kind, said.payload[8:])
        return quoted is not None and quoted[:3] == (asked.ends.source_ip, asked.ends.target_ip, asked.protocol)
    return said.protocol == TCP and bool(said.payload[13] & TCP_RST) and is_answer(sent, received)


def is_answer(sent: bytes, received: bytes) -> bool:
    """Whether the received frame answers the sent one: the ends turned round, the ports too.

    Neighbour discovery's question goes to a group and its answer comes from the address asked for.
    """
    asked, said = read(sent), read(received)
    if asked is None or said is None or said.kind != asked.kind:
        return False
    if said.kind == ETH_ARP:
        return said.ends.source_ip == asked.ends.target_ip and said.protocol == ARP_REPLY
    if said.protocol != asked.protocol:
        return False
    if said.protocol == ICMPV6 and asked.payload[0] == NEIGHBOUR_SOLICITATION:
        return said.payload[0] == NEIGHBOUR_ADVERTISEMENT and said.payload[8:24] == asked.payload[8:24]
    turned_round = (said.ends.source_ip, said.ends.target_ip) == (asked.ends.target_ip, asked.ends.source_ip)
    if said.protocol in (TCP, UDP):
        return turned_round and said.payload[:4] == asked.payload[2:4] + asked.payload[:2]
    return turned_round and said.payload[4:8] == asked.payload[4:8]
