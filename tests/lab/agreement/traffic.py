"""What is sent from one machine to another, and how it is known again on the way there and back."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from kvmgen.model.values import Address
from tests.lab import frames
from tests.lab.frames import Ends

Protocol = Literal["tcp", "udp", "icmp", "ack"]

ASKED, ANSWERED = b"kvmQ", b"kvmR"
FIRST_PORT, PORTS = 33000, 27000
ETHERNET = 14
ECHO = {4: (8, 0), 6: (128, 129)}
SAMPLE = {"tcp": (22, 80, 443, 5432, 8080), "udp": (53, 123, 5353)}
NO_MAC = "00:00:00:00:00:00"
"""The kernel writes the frame's own header."""


@dataclass(frozen=True, slots=True, order=True)
class Service:
    """A port of a protocol, or a ping (port 0); ``ack`` is a segment of a TCP connection that nobody opened."""

    protocol: Protocol
    port: int = 0

    def __str__(self) -> str:
        return "ping" if self.protocol == "icmp" else f"{self.protocol}/{self.port}"


@dataclass(frozen=True, slots=True)
class Probe:
    """One question to the kernel: can ``sender`` reach ``target`` at one of its addresses, and be answered?"""

    sender: str
    source: Address
    target: str
    address: Address
    service: Service

    def __str__(self) -> str:
        return f"{self.sender} ({self.source}) -> {self.target} ({self.address}) {self.service}"


def services(tcp: Iterable[int], udp: Iterable[int], generator: random.Random) -> list[Service]:
    """The ports that somebody names, those that everybody knows, and one of each protocol that nobody meant."""
    chosen_tcp = {*tcp, *SAMPLE["tcp"], generator.randrange(1024, 30000)}
    chosen_udp = {*udp, *SAMPLE["udp"], generator.randrange(1024, 30000)}
    named = [Service("tcp", port) for port in sorted(chosen_tcp)] + [
        Service("udp", port) for port in sorted(chosen_udp)
    ]
    return [Service("icmp"), *named]


def source_port(token: int) -> int:
    """The port that a probe comes from, before anybody translates it."""
    return FIRST_PORT + token % PORTS


def packet(probe: Probe, token: int) -> bytes:
    """The IP packet of a probe; its token survives address translation."""
    ends = Ends(source_mac=NO_MAC, target_mac=NO_MAC, source_ip=str(probe.source), target_ip=str(probe.address))
    if probe.service.protocol == "icmp":
        frame = frames.echo_request(ends, token & 0xFFFF, ASKED + struct.pack("!I", token))
    elif probe.service.protocol == "udp":
        payload = ASKED + struct.pack("!I", token)
        frame = frames.udp(ends, probe.service.port, source_port(token), payload)
    else:
        flags = frames.TCP_SYN if probe.service.protocol == "tcp" else frames.TCP_ACK
        frame = frames.tcp(ends, probe.service.port, flags, source_port(token), sequence=token)
    return frame[ETHERNET:]


def answer(asked: bytes, source: str, target: str) -> bytes:
    """The answer to a UDP probe's datagram, from its target back to whom it seems to come from."""
    sender, receiver = struct.unpack_from("!HH", asked)
    ends = Ends(source_mac=NO_MAC, target_mac=NO_MAC, source_ip=target, target_ip=source)
    return frames.udp(ends, sender, receiver, ANSWERED + asked[12:16])[ETHERNET:]


def heard(protocol: int, message: bytes) -> tuple[Literal["asked", "answered"], int] | None:
    """What a message of a protocol is to the probes: a question or an answer, with its token."""
    if protocol == frames.TCP:
        return _segment(message)
    if protocol == frames.UDP and message[8:12] in (ASKED, ANSWERED):
        kind: Literal["asked", "answered"] = "asked" if message[8:12] == ASKED else "answered"
        return kind, struct.unpack_from("!I", message, 12)[0]
    if protocol in (frames.ICMP, frames.ICMPV6) and message[8:12] == ASKED:
        request, reply = ECHO[4] if protocol == frames.ICMP else ECHO[6]
        if protocol == frames.ICMP:
            reply = 0
        if message[0] in (request, reply):
            return ("asked" if message[0] == request else "answered"), struct.unpack_from("!I", message, 12)[0]
    return None


def _segment(message: bytes) -> tuple[Literal["asked", "answered"], int] | None:
    """A segment of a probe or its answer, where somebody listens or not.

    A reset answers a segment that nobody expects with the number that the segment acknowledged.
    """
    if len(message) < 20:
        return None
    sequence, acknowledged = struct.unpack_from("!II", message, 4)
    flags = message[13]
    if flags in (frames.TCP_SYN, frames.TCP_ACK):
        return "asked", sequence
    if flags & frames.TCP_RST or flags & frames.TCP_SYN:
        return "answered", acknowledged - 1 if flags & frames.TCP_ACK else sequence
    return None
