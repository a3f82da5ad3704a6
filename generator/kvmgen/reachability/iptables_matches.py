"""What a packet must be like for an iptables rule: one small test for each option.

A test says yes, no, or that it can't know (``None``). Source: iptables(8), iptables-extensions(8).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from types import MappingProxyType

from kvmgen.model.values import Address, Network
from kvmgen.reachability.packet import AH, ESP, ICMP, ICMPV6, IGMP, SCTP, TCP, UDP, UDPLITE, Packet
from kvmgen.reachability.way import Way
from kvmgen.value import record


@record
class Seen:
    """A packet at one machine."""

    packet: Packet
    way: Way


Test = Callable[[Seen], bool | None]


def _numbers(text: str) -> Mapping[str, int]:
    words = text.split()
    return MappingProxyType({name: int(number) for name, number in zip(words[::2], words[1::2], strict=True)})


PROTOCOLS = _numbers(f"""
    tcp {TCP} udp {UDP} icmp {ICMP} icmpv6 {ICMPV6} icmp6 {ICMPV6} ipv6-icmp {ICMPV6} igmp {IGMP} esp {ESP} ah {AH}
    sctp {SCTP} udplite {UDPLITE} gre 47 dccp 33 ospf 89 vrrp 112 ipip 4 ipencap 4 ipv6 41
""")
SERVICES = _numbers("""
    ftp 21 ssh 22 telnet 23 smtp 25 domain 53 bootps 67 bootpc 68 tftp 69 http 80 pop3 110 ntp 123 imap 143 snmp 161
    ldap 389 https 443 ldaps 636 imaps 993 mysql 3306 postgresql 5432
""")
_ANY = -1


def _types(text: str) -> Mapping[str, tuple[int, int]]:
    """Names with their ICMP type, and with the code if they are only for one."""
    words = text.split()
    return MappingProxyType({name: _type(number) for name, number in zip(words[::2], words[1::2], strict=True)})


def _type(text: str) -> tuple[int, int]:
    kind, slash, code = text.partition("/")
    return int(kind), int(code) if slash else _ANY


_ICMP_NAMES = _types("""
    any -1 echo-reply 0 pong 0 destination-unreachable 3 network-unreachable 3/0 host-unreachable 3/1
    protocol-unreachable 3/2 port-unreachable 3/3 fragmentation-needed 3/4 source-route-failed 3/5
    network-unknown 3/6 host-unknown 3/7 network-prohibited 3/9 host-prohibited 3/10 tos-network-unreachable 3/11
    tos-host-unreachable 3/12 communication-prohibited 3/13 host-precedence-violation 3/14 precedence-cutoff 3/15
    source-quench 4 redirect 5 network-redirect 5/0 host-redirect 5/1 echo-request 8 ping 8 router-advertisement 9
    router-solicitation 10 time-exceeded 11 ttl-exceeded 11 ttl-zero-during-transit 11/0
    ttl-zero-during-reassembly 11/1 parameter-problem 12 ip-header-bad 12/0 required-option-missing 12/1
    timestamp-request 13 timestamp-reply 14 address-mask-request 17 address-mask-reply 18
""")
_ICMPV6_NAMES = _types("""
    destination-unreachable 1 no-route 1/0 communication-prohibited 1/1 beyond-scope 1/2 address-unreachable 1/3
    port-unreachable 1/4 failed-policy 1/5 reject-route 1/6 packet-too-big 2 time-exceeded 3 ttl-exceeded 3
    ttl-zero-during-transit 3/0 ttl-zero-during-reassembly 3/1 parameter-problem 4 bad-header 4/0
    unknown-header-type 4/1 unknown-option 4/2 echo-request 128 ping 128 echo-reply 129 pong 129
    router-solicitation 133 router-advertisement 134 neighbour-solicitation 135 neighbor-solicitation 135
    neighbour-advertisement 136 neighbor-advertisement 136 redirect 137
""")
_ANYWHERE = ("any", "all", "0", "0/0", "any/0")
_MULTICAST_BIT = 1


def _is_named(name: str | None, pattern: str) -> bool:
    if name is None:
        return False
    return name.startswith(pattern[:-1]) if pattern.endswith("+") else name == pattern


def _incoming(pattern: str, _: int) -> Test:
    return lambda seen: _is_named(seen.way.incoming, pattern)


def _outgoing(pattern: str, _: int) -> Test:
    return lambda seen: _is_named(seen.way.outgoing, pattern)


def _physdev_in(pattern: str, _: int) -> Test:
    return lambda seen: _is_named(seen.way.port_in, pattern)


def _physdev_out(pattern: str, _: int) -> Test:
    """Only of a bridged frame is the port known that it leaves by."""
    return lambda seen: seen.way.bridged and _is_named(seen.way.port_out, pattern)


def networks(text: str, version: int) -> list[Network] | None:
    """A list of addresses and networks; ``None`` where there are names, or a mask with holes, among them."""
    try:
        parts = [part.strip() for part in text.split(",")]
        anywhere = ipaddress.ip_network("::/0" if version == 6 else "0.0.0.0/0")
        return [anywhere if part in _ANYWHERE else ipaddress.ip_network(part, strict=False) for part in parts]
    except ValueError:
        return None


def _address(of: Callable[[Packet], Address | None]) -> Callable[[str, int], Test]:
    def build(text: str, version: int) -> Test:
        known = networks(text, version)

        def test(seen: Seen) -> bool | None:
            address = of(seen.packet)
            if known is None or address is None:
                return None if known is None else False
            return any(address in network for network in known)

        return test

    return build


def _between(of: Callable[[Packet], Address | None]) -> Callable[[str, int], Test]:
    def build(text: str, _: int) -> Test:
        ends = [ipaddress.ip_address(part) for part in text.split("-")]

        def test(seen: Seen) -> bool:
            address = of(seen.packet)
            return address is not None and address.version == ends[0].version and ends[0] <= address <= ends[-1]  # type: ignore[operator]

        return test

    return build


def _protocol(text: str, version: int) -> Test:
    name = text.lower()
    if name in ("all", "any", "0"):
        return lambda _seen: True
    number = int(name) if name.isdigit() else PROTOCOLS.get(name)
    if number is None:
        return lambda _seen: None
    return lambda seen: seen.packet.protocol == number


def _port_range(text: str) -> tuple[int, int] | None:
    start, colon, end = text.partition(":")
    known = [SERVICES.get(part.lower()) if part and not part.isdigit() else part for part in (start, end)]
    if None in known:
        return None
    low = int(known[0] or 0)
    return low, int(known[1] or 65535) if colon else low


def _ports(*of: Callable[[Packet], int | None]) -> Callable[[str, int], Test]:
    def build(text: str, _: int) -> Test:
        ranges = [_port_range(part) for part in text.split(",")]

        def test(seen: Seen) -> bool | None:
            ports = [port(seen.packet) for port in of]
            if any(port is None for port in ports):
                return None if seen.packet.fragment else False
            hits = [any(r is not None and r[0] <= port <= r[1] for r in ranges) for port in ports if port is not None]
            return any(hits) or (None if None in ranges else False)

        return test

    return build


def _states(text: str, _: int) -> Test:
    wanted = frozenset(text.upper().split(","))
    return lambda seen: seen.packet.state.value in wanted or bool(wanted & seen.packet.translated)


def _icmp(text: str, version: int) -> Test:
    wanted = _icmp_type(text.lower(), version)
    protocol = ICMPV6 if version == 6 else ICMP

    def test(seen: Seen) -> bool | None:
        if seen.packet.protocol != protocol:
            return False
        if wanted is None or (seen.packet.icmp is None and seen.packet.fragment):
            return None
        if seen.packet.icmp is None:
            return wanted[0] == _ANY
        kind, code = seen.packet.icmp
        return wanted[0] in (_ANY, kind) and wanted[1] in (_ANY, code)

    return test


def _icmp_type(text: str, version: int) -> tuple[int, int] | None:
    named = (_ICMPV6_NAMES if version == 6 else _ICMP_NAMES).get(text)
    if named is not None:
        return named
    kind, slash, code = text.partition("/")
    if not kind.isdigit() or (slash and not code.isdigit()):
        return None
    return _type(text)


def tcp_flags(mask: str, wanted: str) -> Test:
    """Of the flags in the mask exactly the wanted ones are set."""
    every = frozenset(("FIN", "SYN", "RST", "PSH", "ACK", "URG"))
    sets = [every if text == "ALL" else frozenset(text.split(",")) - {"NONE"} for text in (mask, wanted)]
    return lambda seen: seen.packet.protocol == TCP and seen.packet.tcp_flags & sets[0] == sets[1]


def _mac(text: str, _: int) -> Test:
    return lambda seen: seen.packet.source_mac == text.lower()


def _packet_type(text: str, _: int) -> Test:
    def test(seen: Seen) -> bool:
        mac = seen.packet.target_mac
        if mac == "ff:ff:ff:ff:ff:ff":
            return text.lower() == "broadcast"
        if mac and int(mac[:2], 16) & _MULTICAST_BIT:
            return text.lower() == "multicast"
        return text.lower() in ("unicast", "host")

    return test


def _address_type(of: Callable[[Packet], Address | None]) -> Callable[[str, int], Test]:
    """Multicast shows in the address; what is local or a network's broadcast is in the machine's routes."""

    def build(text: str, _: int) -> Test:
        wanted = frozenset(text.upper().split(","))

        def test(seen: Seen) -> bool | None:
            address = of(seen.packet)
            if address is None:
                return False
            if address.is_multicast:
                return "MULTICAST" in wanted
            return False if wanted == {"MULTICAST"} else None

        return test

    return build


def _below_limit(_text: str, _: int) -> Test:
    return lambda _seen: True


def _first_connection(_text: str, _: int) -> Test:
    return lambda _seen: False


def _unknown(_text: str, _: int) -> Test:
    return lambda _seen: None


_SOURCE: Callable[[Packet], Address | None] = lambda packet: packet.source  # noqa: E731
_TARGET: Callable[[Packet], Address | None] = lambda packet: packet.target  # noqa: E731
_FROM_PORT: Callable[[Packet], int | None] = lambda packet: packet.source_port  # noqa: E731
_TO_PORT: Callable[[Packet], int | None] = lambda packet: packet.target_port  # noqa: E731

WITH_VALUE: Mapping[str, Callable[[str, int], Test]] = MappingProxyType(
    {
        "-i": _incoming,
        "-o": _outgoing,
        "-s": _address(_SOURCE),
        "-d": _address(_TARGET),
        "-p": _protocol,
        "--sport": _ports(_FROM_PORT),
        "--dport": _ports(_TO_PORT),
        "--sports": _ports(_FROM_PORT),
        "--dports": _ports(_TO_PORT),
        "--ports": _ports(_FROM_PORT, _TO_PORT),
        "--state": _states,
        "--ctstate": _states,
        "--physdev-in": _physdev_in,
        "--physdev-out": _physdev_out,
        "--icmp-type": _icmp,
        "--icmpv6-type": _icmp,
        "--mac-source": _mac,
        "--pkt-type": _packet_type,
        "--src-range": _between(_SOURCE),
        "--dst-range": _between(_TARGET),
        "--src-type": _address_type(_SOURCE),
        "--dst-type": _address_type(_TARGET),
        "--limit": _below_limit,
        "--hashlimit-upto": _below_limit,
        "--hashlimit": _below_limit,
        "--hashlimit-above": _first_connection,
        "--connlimit-above": _first_connection,
        "--connlimit-upto": _below_limit,
        "--ctproto": _protocol,
    }
)
"""The options with a value that is understood; what counts or limits is taken to be below its limit."""

WITHOUT_VALUE: Mapping[str, Test] = MappingProxyType(
    {
        "--syn": tcp_flags("SYN,RST,ACK,FIN", "SYN"),
        "--physdev-is-bridged": lambda seen: seen.way.bridged,
        "--physdev-is-in": lambda seen: seen.way.port_in is not None,
        "--physdev-is-out": lambda seen: seen.way.bridged and seen.way.port_out is not None,
        "-f": lambda seen: seen.packet.fragment,
    }
)
SAYS_NOTHING = frozenset(
    (
        *("--comment", "--limit-burst", "--hashlimit-burst", "--hashlimit-mode", "--hashlimit-name"),
        *("--hashlimit-htable-size", "--hashlimit-htable-max", "--hashlimit-htable-expire", "--connlimit-mask"),
        *("--hashlimit-htable-gcinterval", "--hashlimit-srcmask", "--hashlimit-dstmask"),
    )
)
"""Options with a value that no packet is compared with."""

FAMILIAR = frozenset(
    (
        *("addrtype", "comment", "connlimit", "conntrack", "hashlimit", "icmp", "icmp6", "icmpv6", "iprange", "limit"),
        *("mac", "multiport", "physdev", "pkttype", "sctp", "state", "tcp", "udp", "udplite"),
    )
)
"""The matches whose options are understood; of others the options are unknown, each by itself."""
