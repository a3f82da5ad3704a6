"""A packet as the filters on its way see it."""

from __future__ import annotations

from enum import StrEnum

from kvmgen.model.values import Address
from kvmgen.value import value

IPV4, IPV6, ARP, RARP = 0x0800, 0x86DD, 0x0806, 0x8035
"""EtherTypes."""

ICMP, IGMP, TCP, UDP, ESP, AH, ICMPV6, SCTP, UDPLITE = 1, 2, 6, 17, 50, 51, 58, 132, 136
"""IP protocol numbers."""


class State(StrEnum):
    """What connection tracking says of a packet; it doesn't track neighbour discovery and multicast listeners."""

    NEW = "NEW"
    ESTABLISHED = "ESTABLISHED"
    RELATED = "RELATED"
    INVALID = "INVALID"
    UNTRACKED = "UNTRACKED"


@value
class ArpMessage:
    """What an ARP or RARP message says; ``opcode`` is 1 for a request, 2 for a reply, 3 for a reverse request."""

    opcode: int
    sender_mac: str
    sender: Address
    target_mac: str
    target: Address


@value
class Packet:
    """One frame and the packet in it; MACs are in lower case with colons.

    ``ethertype`` is that inside of the VLAN tag, if there is one. ``icmp`` is (type, code). A later ``fragment`` has no
    ports and no type for a filter that sees it before it is put together. ``reply`` is whether it goes against the
    direction of its connection's first packet. ``translated`` is what NAT did to its connection: ``SNAT``, ``DNAT``.
    ``tos`` is IPv4's type of service or IPv6's traffic class.
    """

    source_mac: str
    target_mac: str
    ethertype: int
    source: Address | None = None
    target: Address | None = None
    protocol: int | None = None
    source_port: int | None = None
    target_port: int | None = None
    icmp: tuple[int, int] | None = None
    tcp_flags: frozenset[str] = frozenset()
    fragment: bool = False
    arp: ArpMessage | None = None
    vlan: int | None = None
    state: State = State.NEW
    reply: bool = False
    tos: int = 0
    translated: frozenset[str] = frozenset()

    @property
    def version(self) -> int | None:
        """4 or 6; ``None`` for what isn't IP."""
        return {IPV4: 4, IPV6: 6}.get(self.ethertype) if self.vlan is None else None
