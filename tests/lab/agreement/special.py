"""Frames that a guest may send or shouldn't, one by one: what of them comes out at the other ports of its bridge."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from ipaddress import ip_address
from zlib import crc32

from kvmgen.reachability.consumers import Consumers
from kvmgen.reachability.packet import ICMPV6, TCP, ArpMessage, Packet, State
from kvmgen.reachability.path import Hop, Walk
from kvmgen.reachability.place import Attachment, link_local
from kvmgen.reachability.step import Verdict
from kvmgen.reachability.way import Way
from tests.lab import frames
from tests.lab.agreement.machines import Machine, Nic, Stage
from tests.lab.agreement.prober import QUIET_TIME, forget_connections
from tests.lab.frames import BROADCAST, Ends, fragments
from tests.lab.netns import in_netns
from tests.lab.probe import Wire

REVERSE_PATH = "firewalld reverse path"
STOLEN_MAC = "52:54:00:66:66:66"
STOLEN = {4: "203.0.113.66", 6: "2001:db8:6666::66"}
MULTICAST = b"\x33\x33"
UNTRACKED = range(130, 138)
"""Multicast listeners and neighbour discovery, which connection tracking leaves alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """One interface on a bridge."""

    machine: Machine
    nic: Nic

    @property
    def name(self) -> str:
        return f"{self.machine.name} {self.nic.name}"

    def address(self, version: int) -> str | None:
        own = (a.ip for a in self.nic.addresses if a.version == version and not a.ip.is_link_local)
        return next((str(address) for address in own), None)

    @property
    def link_local(self) -> str:
        given = (str(a.ip) for a in self.nic.addresses if a.version == 6 and a.ip.is_link_local)
        return next(given, str(link_local(self.nic.mac).ip))


@dataclass(frozen=True, slots=True, kw_only=True)
class Special:
    """A frame from one port to another, by what it is.

    With ``pieces`` it is sent in these fragments, or only one of them is; ``number`` tells it from all others.
    """

    label: str
    sender: Port
    target: Port
    frame: bytes
    pieces: tuple[int, ...] = ()
    number: int = 0

    @property
    def sent(self) -> tuple[bytes, ...]:
        """The frames that are sent."""
        both = fragments(self.frame, CUT, self.number) if self.pieces else ()
        return tuple(both[piece] for piece in self.pieces) or (self.frame,)

    def is_among(self, heard: Sequence[bytes]) -> bool:
        """Whether it has been heard, be its fragments put together or cut anew meanwhile."""
        if not self.pieces:
            return self.frame in heard
        return all(any(_tokens(self.number)[piece] in frame for frame in heard) for piece in self.pieces)

    def __str__(self) -> str:
        return f"{self.sender.name} -> {self.target.name}: {self.label}"


def specials(stage: Stage) -> Iterator[Special]:
    """All of them, from every guest to every other port of its bridge."""
    ports = [Port(machine=machine, nic=nic) for machine in stage.machines for nic in machine.nics if nic.bridge]
    for sender in (port for port in ports if port.machine.kind == "guest"):
        for target in (port for port in ports if port.nic.bridge == sender.nic.bridge and port is not sender):
            for label, frame in _frames(sender, target):
                if target.machine.kind == "host" and frame[:2] == MULTICAST:
                    continue  # a bridge that watches multicast listeners gives its host what the host listens to
                yield Special(label=label, sender=sender, target=target, frame=frame)
            yield from _in_pieces(sender, target)


PIECES = {"in two fragments": (0, 1), "the first fragment alone": (0,), "a later fragment alone": (1,)}
CUT = 48


def _in_pieces(sender: Port, target: Port) -> Iterator[Special]:
    """Datagrams whose second half is in a fragment of its own."""
    for version in (4, 6):
        own, other = sender.address(version), target.address(version)
        if own is None or other is None:
            continue
        ends = Ends(source_mac=sender.nic.mac, target_mac=target.nic.mac, source_ip=own, target_ip=other)
        for label, pieces in PIECES.items():
            number = crc32(f"{sender.name} {target.name} {version} {label}".encode())
            frame = frames.udp(ends, 53, 20000 + number % 10000, b"".join(_tokens(number)))
            yield Special(
                label=f"IPv{version}, {label}", sender=sender, target=target, frame=frame, pieces=pieces, number=number
            )


def _tokens(number: int) -> tuple[bytes, bytes]:
    """The payload of a datagram's two fragments."""
    return f"first {number:08x}".encode().ljust(CUT - 8, b"."), f"later {number:08x}".encode()


def _frames(sender: Port, target: Port) -> Iterator[tuple[str, bytes]]:
    mac = sender.nic.mac
    for version in (4, 6):
        own, other = sender.address(version), target.address(version)
        if own is None or other is None:
            continue
        ends = Ends(source_mac=mac, target_mac=target.nic.mac, source_ip=own, target_ip=other)
        forged = replace(ends, source_ip=STOLEN[version])
        yield f"a ping of IPv{version}", frames.echo_request(ends)
        yield f"a segment of no connection, IPv{version}", frames.tcp_ack(ends, 80)
        yield f"a forged address of IPv{version}", frames.udp(forged, 53)
        yield f"IPv{version} in VLAN 66", frames.udp(replace(ends, vlan=66), 53)
        yield from _arp(ends, forged) if version == 4 else _discovery(ends, forged, sender)
        # The last one, because a bridge may learn from it.
        yield f"IPv{version} under a forged MAC", frames.udp(replace(ends, source_mac=STOLEN_MAC), 53)
    yield "a DHCP client", frames.dhcp_discover(mac)
    yield "a DHCPv6 client", frames.dhcpv6_solicit(mac, sender.link_local)
    yield "duplicate address detection", frames.duplicate_address_probe(mac, sender.link_local)
    yield "a router solicitation", frames.router_solicitation(mac, sender.link_local)
    yield "a router advertisement", frames.router_advertisement(mac, sender.link_local)


def _arp(ends: Ends, forged: Ends) -> Iterator[tuple[str, bytes]]:
    yield "ARP's question to all", frames.arp_request(replace(ends, target_mac=BROADCAST))
    yield "ARP's answer", frames.arp_reply(ends)
    yield "ARP's answer for another's address", frames.arp_reply(forged)
    yield "ARP's answer with another's MAC", frames.arp_reply(ends, STOLEN_MAC)
    yield "a DHCP server's offer", frames.dhcp_offer(ends, ends.target_ip)


def _discovery(ends: Ends, forged: Ends, sender: Port) -> Iterator[tuple[str, bytes]]:
    yield "a neighbour solicitation", frames.neighbour_solicitation(ends)
    yield "a neighbour advertisement", frames.neighbour_advertisement(ends)
    yield "its link-local address", frames.echo_request(replace(ends, source_ip=sender.link_local))
    yield "another's link-local address", frames.echo_request(replace(ends, source_ip="fe80::6666"))
    yield "a neighbour advertisement for another's address", frames.neighbour_advertisement(forged)


# -- the kernel --------------------------------------------------------------------------------------------------------


def arrivals(stage: Stage, chosen: Sequence[Special]) -> list[bool]:
    """Which of the frames come out where they are meant to."""
    with ExitStack() as stack:
        wires: dict[str, Wire] = {}
        for port in {port.name: port for special in chosen for port in (special.sender, special.target)}.values():
            wires[port.name] = stack.enter_context(Wire(port.machine, port.nic.name))
        arrived: dict[Special, bool] = {}
        for sender in dict.fromkeys(special.sender.name for special in chosen):
            own = [special for special in chosen if special.sender.name == sender]
            arrived |= _turn(stage, own, wires)
    return [arrived[special] for special in chosen]


def _turn(stage: Stage, own: Sequence[Special], wires: Mapping[str, Wire]) -> dict[Special, bool]:
    """One sender's frames, once the bridges have forgotten what others may have told them."""
    for bridge in {special.sender.nic.bridge for special in own}:
        stage.lab.run("ip", "link", "set", bridge, "type", "bridge", "fdb_flush")
    in_netns(stage.lab, forget_connections)
    for wire in wires.values():
        wire.drain()
    sender = wires[own[0].sender.name]
    heard: dict[str, list[bytes]] = {name: [] for name in wires}
    for frame in dict.fromkeys(frame for special in own for frame in special.sent):
        sender.send(frame)
        for name, wire in wires.items():
            heard[name] += wire.waiting()
    sender.listen(QUIET_TIME)
    for name, wire in wires.items():
        heard[name] += wire.waiting()
    return {special: special.is_among(heard[special.target.name]) for special in own}


# -- the prediction ----------------------------------------------------------------------------------------------------


def predicted(consumers: Consumers, special: Special) -> tuple[bool | None, tuple[Hop, ...]]:
    """Whether the frame gets through its sender's filter, the bridge and its receiver's filter; ``None``: unknown."""
    source, target = (_attachment(consumers, port, special.sender) for port in (special.sender, special.target))
    walk = Walk(consumers)
    arrives = _crosses(walk, source, target, special) and _is_believed(walk, source, target)
    unknown = bool(walk.hops) and not arrives and walk.hops[-1].step.verdict is Verdict.UNKNOWN
    return (None if unknown else arrives), tuple(walk.hops)


def _crosses(walk: Walk, source: Attachment, target: Attachment, special: Special) -> bool:
    packet = packet_of(special.frame)
    if not special.pieces:
        return walk.across(source, target, packet)
    later = replace(packet, fragment=True, source_port=None, target_port=None)
    pieces = [(packet, later)[piece] for piece in special.pieces]
    return walk.in_pieces(source, target, pieces, packet if len(pieces) > 1 else None)


def _is_believed(walk: Walk, source: Attachment, target: Attachment) -> bool:
    """Whether firewalld lets a host's bridge have the frame: it looks at the way back before anything is heard here."""
    machine, packet = walk.places.machine(target), walk.arrived
    if target.kind != "host" or machine is None or packet is None or packet.version is None:
        return True
    way = Way(incoming=target.interface, port_in=None if source.tap is None else source.tap.name)
    steps = walk.consumers.inside(machine).input(packet, way, None)
    if not steps or steps[-1].where != REVERSE_PATH:
        return True
    walk.hops.append(Hop(host=machine.name, step=steps[-1]))
    return False


def _attachment(consumers: Consumers, port: Port, sender: Port) -> Attachment:
    places = consumers.places
    if port.machine.kind == "outside":
        near = _attachment(consumers, sender, sender)
        found = places.outside_of(near.segment, near.host)
        assert found is not None
        return found
    several = places.of[f"{port.machine.kind}:{port.machine.name}"]
    return next(one for one in several if one.interface == port.nic.name)


def packet_of(frame: bytes) -> Packet:
    """A frame as the filters on its way see it."""
    seen = frames.read(frame)
    assert seen is not None
    common = {"source_mac": seen.ends.source_mac, "target_mac": seen.ends.target_mac, "vlan": seen.ends.vlan}
    if seen.kind == frames.ETH_ARP:
        message = seen.payload
        said = ArpMessage(
            opcode=seen.protocol,
            sender_mac=message[8:14].hex(":"),
            sender=ip_address(message[14:18]),
            target_mac=message[18:24].hex(":"),
            target=ip_address(message[24:28]),
        )
        return Packet(**common, ethertype=seen.kind, arp=said)  # type: ignore[arg-type]
    packet = Packet(
        **common,  # type: ignore[arg-type]
        ethertype=seen.kind,
        source=ip_address(seen.ends.source_ip),
        target=ip_address(seen.ends.target_ip),
        protocol=seen.protocol,
    )
    return _with_transport(packet, seen.protocol, seen.payload)


def _with_transport(packet: Packet, protocol: int, message: bytes) -> Packet:
    if protocol in (frames.ICMP, ICMPV6):
        untracked = protocol == ICMPV6 and message[0] in UNTRACKED
        state = State.UNTRACKED if untracked else State.NEW
        return replace(packet, icmp=(message[0], message[1]), state=state)
    source, target = struct.unpack_from("!HH", message)
    flags = frozenset(("ACK",)) if protocol == TCP else frozenset()
    return replace(packet, source_port=source, target_port=target, tcp_flags=flags)
