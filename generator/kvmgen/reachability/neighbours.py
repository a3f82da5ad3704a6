"""How a machine finds a neighbour's MAC: ARP's question and answer, and neighbour discovery's."""

from __future__ import annotations

from collections.abc import Sequence

from kvmgen.model.values import Address
from kvmgen.reachability.packet import ARP, ICMPV6, IPV6, ArpMessage, Packet, State
from kvmgen.reachability.place import Attachment

BROADCAST = "ff:ff:ff:ff:ff:ff"
_REQUEST, _REPLY = 1, 2
_SOLICITATION, _ADVERTISEMENT = 135, 136


def exchange(
    one: Attachment, other: Attachment, sender: Address, asked: Address
) -> Sequence[tuple[Attachment, Attachment, Packet]]:
    """The question for an address and its answer."""
    if asked.version == 4:
        request = ArpMessage(
            opcode=_REQUEST, sender_mac=one.mac, sender=sender, target_mac="00:00:00:00:00:00", target=asked
        )
        reply = ArpMessage(opcode=_REPLY, sender_mac=other.mac, sender=asked, target_mac=one.mac, target=sender)
        return (
            (one, other, Packet(source_mac=one.mac, target_mac=BROADCAST, ethertype=ARP, arp=request)),
            (other, one, Packet(source_mac=other.mac, target_mac=one.mac, ethertype=ARP, arp=reply)),
        )
    group = _solicited_node(asked)
    return (
        (one, other, _discovery(one, _group_mac(group), sender, group, _SOLICITATION)),
        (other, one, _discovery(other, one.mac, asked, sender, _ADVERTISEMENT)),
    )


def _discovery(one: Attachment, mac: str, source: Address, target: Address, kind: int) -> Packet:
    return Packet(
        source_mac=one.mac,
        target_mac=mac,
        ethertype=IPV6,
        source=source,
        target=target,
        protocol=ICMPV6,
        icmp=(kind, 0),
        state=State.UNTRACKED,
    )


def _solicited_node(address: Address) -> Address:
    return type(address)(int(type(address)("ff02::1:ff00:0")) | (int(address) & 0xFFFFFF))


def _group_mac(group: Address) -> str:
    return "33:33:" + group.packed[-4:].hex(":")
