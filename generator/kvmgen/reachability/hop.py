"""What follows from a packet and the two ends of one hop alone."""

from __future__ import annotations

from kvmgen.model.values import Address
from kvmgen.reachability.packet import Packet
from kvmgen.reachability.place import Attachment
from kvmgen.reachability.topology import Machine


def sender_for(leaving: Attachment, asked: Address, packet: Packet) -> Address:
    """The address that a machine asks from: the packet's own, where it is the machine's."""
    if packet.source is not None and (leaving.is_outside or leaving.has(packet.source)):
        return packet.source
    own = [address for address in leaving.addresses if address.version == asked.version]
    fitting = [address.ip for address in own if asked in address.network] or [address.ip for address in own]
    return next(iter(fitting), packet.source or asked)


def address_for(entry: Attachment, packet: Packet) -> Address:
    """What the routers outside ask for: the target itself on its segment, else the machine that routes to it."""
    assert packet.target is not None
    if entry.has(packet.target):
        return packet.target
    own = [address.ip for address in entry.addresses if address.version == packet.target.version]
    return next((address for address in own if not address.is_link_local), next(iter(own), packet.target))


def is_group(address: Address) -> bool:
    """Whether many are meant by an address."""
    return address.is_multicast or str(address) == "255.255.255.255"


def port_of(one: Attachment) -> str | None:
    """The bridge port that an attachment is plugged in by."""
    return one.tap.name if one.tap is not None else None


def file_of(machine: Machine, bridge: str) -> str:
    """The file that says what a bridge is; empty for none."""
    link = machine.links.get(bridge)
    return link.file if link else next((n.file for n in machine.networks.values() if n.bridge == bridge), "")
