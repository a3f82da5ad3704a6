"""Random frames against one guest's nwfilter: whether each arrives in a real kernel, beside what is predicted.

A filtered guest and one without a filter stand on a bridge that learns nothing and floods everything; both have no
addresses, so that nobody answers. A frame has ports or an identifier of its own, so that connection tracking knows it
as new; what arrived is then answered, and asked again.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address

from kvmgen.reachability.nwfilter import TapFilter
from kvmgen.reachability.packet import ARP, IPV4, IPV6, ArpMessage, Packet, State
from kvmgen.reachability.step import Step, Verdict
from tests.lab import frames
from tests.lab.filter_rules import BELIEVED, differences_of_bound, refusal
from tests.lab.frames import Ends
from tests.lab.guest import LabGuest
from tests.lab.host import LabHost
from tests.lab.probe import Probe

FILTERED_MAC, OTHER_MAC, FOREIGN_MAC = (f"52:54:00:00:00:0{number}" for number in (1, 2, 9))
TARGET_MACS = (FILTERED_MAC, OTHER_MAC, OTHER_MAC, frames.BROADCAST, "33:33:00:00:00:01")
SOURCES = {
    4: ("192.0.2.11", "192.0.2.12", "198.51.100.7", "0.0.0.0"),
    6: ("2001:db8::11", "fe80::5054:ff:fe00:1", "::"),
}
TARGETS = {4: ("192.0.2.12", "192.0.2.11", "224.0.0.1"), 6: ("2001:db8::12", "2001:db8::11", "ff02::1")}
PORTS = (22, 53, 67, 68, 80, 443, 546, 547, 1024)
MESSAGES = {4: ((8, 0), (0, 0), (3, 1)), 6: ((128, 0), (133, 0), (134, 0), (135, 0), (136, 0), (129, 0))}
UNTRACKED = (133, 134, 135, 136)
ECHO_REQUESTS = (8, 128)
FIRST_PORT = 2100


@dataclass(frozen=True, slots=True)
class Sample:
    """A frame and what it is to a packet filter."""

    frame: bytes
    packet: Packet


class Samples:
    """Frames from a seed, no two alike."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._number = 0

    def some(self, count: int, sender: str) -> list[Sample]:
        """Frames of one guest, some with another's source MAC."""
        return [self._one(sender) for _ in range(count)]

    def _one(self, sender: str) -> Sample:
        self._number += 1
        pick = self._random.choice
        version = pick((4, 6))
        source, target = pick(SOURCES[version]), pick(TARGETS[version])
        vlan = pick((None, None, None, None, None, 7))
        ends = Ends(
            source_mac=pick((sender, sender, sender, FOREIGN_MAC)),
            target_mac=pick(TARGET_MACS),
            source_ip=source,
            target_ip=target,
            vlan=vlan,
        )
        often, seldom = (self._tcp, self._udp, self._message), (self._arp, self._other)
        return pick((*often, *often, *seldom))(ends)

    def _tcp(self, ends: Ends) -> Sample:
        port, own = self._ports()
        flags = self._random.choice((frames.TCP_SYN, frames.TCP_ACK))
        return tcp(ends, port, own, flags)

    def _udp(self, ends: Ends) -> Sample:
        port, own = self._ports()
        # Both ports are of interest, and one of them must be new.
        if self._random.random() < 0.3:
            port, own = own, port
        return udp(ends, port, own)

    def _ports(self) -> tuple[int, int]:
        return self._random.choice(PORTS), FIRST_PORT + self._number

    def _message(self, ends: Ends) -> Sample:
        kind, code = self._random.choice(MESSAGES[6 if ends.is_ipv6 else 4])
        return message(ends, kind, code, self._number)

    def _arp(self, ends: Ends) -> Sample:
        if ends.is_ipv6:
            ends = replace(ends, source_ip=self._random.choice(SOURCES[4]), target_ip=self._random.choice(TARGETS[4]))
        operation = self._random.choice((frames.ARP_REQUEST, frames.ARP_REPLY))
        sender = self._random.choice((ends.source_mac, FOREIGN_MAC))
        return arp(ends, operation, sender, self._number)

    def _other(self, ends: Ends) -> Sample:
        """A protocol that has no ports."""
        payload = struct.pack("!I", self._number)
        # All such packets between two addresses are one connection: each has a target of its own.
        if ends.is_ipv6:
            ends = replace(ends, target_ip=f"2001:db8:9::{self._number:x}")
        else:
            ends = replace(ends, target_ip=f"203.0.{self._number >> 8 & 255}.{self._number & 255}")
        return Sample(frames.ip_packet(ends, 89, payload), _packet(ends, 89))


def _packet(ends: Ends, protocol: int) -> Packet:
    return Packet(
        source_mac=ends.source_mac,
        target_mac=ends.target_mac,
        ethertype=IPV6 if ends.is_ipv6 else IPV4,
        source=ip_address(ends.source_ip),
        target=ip_address(ends.target_ip),
        protocol=protocol,
        vlan=ends.vlan,
    )


def tcp(ends: Ends, port: int, own: int, flags: int) -> Sample:
    """A TCP segment; a bare ACK is as new as a SYN."""
    names = frozenset(name for name, bit in (("SYN", 2), ("RST", 4), ("ACK", 16)) if flags & bit)
    packet = replace(_packet(ends, 6), source_port=own, target_port=port, tcp_flags=names)
    return Sample(frames.tcp(ends, port, flags, own), packet)


def udp(ends: Ends, port: int, own: int, payload: bytes = b"kvmgen") -> Sample:
    """A datagram."""
    return Sample(frames.udp(ends, port, own, payload), replace(_packet(ends, 17), source_port=own, target_port=port))


def message(ends: Ends, kind: int, code: int, number: int) -> Sample:
    """An ICMP message: an echo request is new, neighbour discovery isn't tracked, and nobody asked for the others."""
    rest = struct.pack("!HH", number & 0xFFFF, number >> 16) + b"kvmgen" * 4
    send = frames.icmpv6 if ends.is_ipv6 else frames.icmp
    state = State.NEW if kind in ECHO_REQUESTS else State.UNTRACKED if kind in UNTRACKED else State.INVALID
    packet = replace(_packet(ends, 58 if ends.is_ipv6 else 1), icmp=(kind, code), state=state)
    return Sample(send(ends, kind, code, rest), packet)


def arp(ends: Ends, operation: int, sender_mac: str, number: int) -> Sample:
    """An ARP message; the bytes behind it make it unlike any other."""
    frame = frames.arp(ends, operation, sender_mac) + struct.pack("!I", number)
    said = ArpMessage(
        opcode=operation,
        sender_mac=sender_mac,
        sender=ip_address(ends.source_ip),
        target_mac="00:00:00:00:00:00" if operation == frames.ARP_REQUEST else ends.target_mac,
        target=ip_address(ends.target_ip),
    )
    packet = Packet(source_mac=ends.source_mac, target_mac=ends.target_mac, ethertype=ARP, arp=said, vlan=ends.vlan)
    return Sample(frame, packet)


def answered(sample: Sample, sender: str, back: bool) -> Sample | None:
    """What follows a datagram that arrived: the answer to it, or another one of the same sender."""
    packet = sample.packet
    if packet.protocol != 17 or packet.source_port is None or packet.target_port is None or packet.vlan is not None:
        return None
    source, target = (packet.target, packet.source) if back else (packet.source, packet.target)
    own, port = (packet.target_port, packet.source_port) if back else (packet.source_port, packet.target_port)
    ends = Ends(
        source_mac=sender if back else packet.source_mac,
        target_mac=packet.source_mac if back else packet.target_mac,
        source_ip=str(source),
        target_ip=str(target),
    )
    again = udp(ends, port, own, b"answer" if back else b"again")
    return Sample(again.frame, replace(again.packet, state=State.ESTABLISHED, reply=back))


def predicted(filter_: TapFilter, packet: Packet, sent: bool) -> Step:
    """The step that decides of a bridged frame that the filtered guest sends, or that goes to it."""
    steps = (filter_.from_guest, filter_.forwarded_from) if sent else (filter_.forwarded_to, filter_.to_guest)
    met = [step(packet) for step in steps]
    return next((step for step in met if step.verdict.stops or step.verdict is Verdict.UNKNOWN), met[-1])


@dataclass(slots=True)
class Ground:
    """The two guests; ``samples`` go on over all filters, so that no frame comes twice."""

    filtered: LabGuest
    other: LabGuest
    samples: Samples
    count: int = 0
    unknown: int = 0

    def disagreements(
        self, filter_: TapFilter, name: str, parameters: Mapping[str, Sequence[str]], frames_each: int = 40
    ) -> list[str]:
        """Bind the filter, compare its rules and send frames both ways: what is otherwise than predicted."""
        assert filter_.tap == BELIEVED
        bound = self.filtered.bind_filter(name, parameters, check=False)
        try:
            if bound.returncode != 0:
                return refusal(self.filtered.host, filter_, bound.stderr)
            found = differences_of_bound(self.filtered, filter_)
            for sent in (True, False):
                found += self._round(filter_, sent, self.samples.some(frames_each, FILTERED_MAC if sent else OTHER_MAC))
            return found
        finally:
            self.filtered.unbind_filter()

    def _round(self, filter_: TapFilter, sent: bool, samples: Sequence[Sample]) -> list[str]:
        arrived, found = self._send(filter_, sent, samples)
        # Both ways of a connection whose first packet came through.
        answers = {
            sample.frame: (one, sample)
            for sample in arrived
            if (one := answered(sample, OTHER_MAC if sent else FILTERED_MAC, True))
        }
        came_back, problems = self._send(filter_, not sent, [one for one, _ in answers.values()])
        # Until an answer has been seen, a connection stays new.
        asked = [sample for one, sample in answers.values() if one in came_back]
        again = [one for sample in asked if (one := answered(sample, "", False))]
        return found + problems + self._send(filter_, sent, again)[1]

    def _send(self, filter_: TapFilter, sent: bool, samples: Sequence[Sample]) -> tuple[list[Sample], list[str]]:
        if not samples:
            return [], []
        sender, receiver = (self.filtered, self.other) if sent else (self.other, self.filtered)
        with Probe(sender, receiver) as probe:
            came = probe.arrivals([sample.frame for sample in samples])
        found = []
        for sample, arrives in zip(samples, came, strict=True):
            step = predicted(filter_, sample.packet, sent)
            self.count += 1
            if step.verdict is Verdict.UNKNOWN:
                self.unknown += 1
            elif step.verdict.stops is arrives:
                found.append(_told(sample, step, sent, arrives))
        return [sample for sample, arrives in zip(samples, came, strict=True) if arrives], found


def _told(sample: Sample, step: Step, sent: bool, arrives: bool) -> str:
    way, end = "from" if sent else "to", "arrives" if arrives else "does not arrive"
    return f"{way} the guest: {sample.packet}\n  {end}, predicted is {step}"


@contextmanager
def ground(host: LabHost, seed: int) -> Iterator[Ground]:
    """The bridge with its two guests; the host's libvirtd must run."""
    host.add_bridge("br0")
    host.run("ip", "link", "set", "br0", "type", "bridge", "mcast_snooping", "0")
    with (
        LabGuest(host, "filtered", tap="realreal", mac=FILTERED_MAC, bridge="br0") as filtered,
        LabGuest(host, "other", tap="vnet-other", mac=OTHER_MAC, bridge="br0") as other,
    ):
        for guest in (filtered, other):
            guest.run("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=1")
            host.run("ip", "link", "set", guest.tap, "type", "bridge_slave", "learning", "off", "fdb_flush")
        yield Ground(filtered, other, Samples(seed))
