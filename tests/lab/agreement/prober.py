"""Many probes at once: each machine sends by its own kernel, and raw sockets hear what gets through its packet filter.

A raw socket hears a packet once the machine's own INPUT has let it pass, so that "arrived" means delivered, on the host
and inside of a guest with a packet filter of its own. Kernels answer the segments and the echo requests, datagrams are
answered from here. What tells probes apart (a
sequence number or a payload) is untouched by address translation, and ports never come twice in a round.
"""

from __future__ import annotations

import selectors
import socket
import struct
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import ip_address
from typing import Literal

from kvmgen.model.values import Address
from tests.lab import frames
from tests.lab.agreement.machines import Machine, Stage
from tests.lab.agreement.traffic import PORTS, Probe, Service, answer, heard, packet
from tests.lab.netns import in_netns

Outcome = Literal["delivered", "one-way", "blocked", "no route"]

QUIET_TIME, QUIET_TIME_OF_FEW, FEW = 0.15, 0.05, 50
"""Seconds in which nothing comes any more, after which nothing will; veths deliver as they are sent to."""
SECOND_LOOK = 0.5
LONGEST_ROUND = 5.0
AT_ONCE = 32
BUFFER = 16 << 20
SO_RCVBUFFORCE = 33
IPV4_HEADER = 20
PROTOCOLS = {
    4: (socket.IPPROTO_TCP, socket.IPPROTO_UDP, socket.IPPROTO_ICMP),
    6: (socket.IPPROTO_TCP, socket.IPPROTO_UDP, socket.IPPROTO_ICMPV6),
}
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
NETLINK_NETFILTER = 12
CONNTRACK_DELETE = (1 << 8) | 2
REQUEST_ACKNOWLEDGED = 5


@dataclass(slots=True)
class Ears:
    """The sockets of one machine: by IP version one to send with, and one for each protocol to hear with."""

    machine: Machine
    sending: dict[int, socket.socket] = field(default_factory=dict)
    hearing: list[tuple[socket.socket, int, int]] = field(default_factory=list)
    listening: list[socket.socket] = field(default_factory=list)

    def listen(self, ports: Collection[int]) -> None:
        """Serve TCP ports on all addresses; what somebody serves there already, like DNS, is left to them."""
        for port in ports:
            server = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            try:
                server.bind(("::", port))
                server.listen(4096)
                self.listening.append(server)
            except OSError:
                server.close()

    def open(self) -> None:
        """Open them, in the machine's own network."""
        for version, family in FAMILIES.items():
            self.sending[version] = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
            self.sending[version].setblocking(False)
            for protocol in PROTOCOLS[version]:
                ear = socket.socket(family, socket.SOCK_RAW, protocol)
                ear.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
                ear.setblocking(False)
                self.hearing.append((ear, version, protocol))

    def close(self) -> None:
        """Close them all."""
        for one in (*self.sending.values(), *(ear for ear, _, _ in self.hearing), *self.listening):
            one.close()

    def send(self, packet: bytes, to: Address) -> str:
        """Send an IP packet by the machine's own routes; returns why the kernel wouldn't."""
        try:
            self.sending[to.version].sendto(packet, (str(to), 0))
        except OSError as error:
            return error.strerror or str(error)
        return ""


@dataclass(slots=True)
class Observed:
    """What became of the probes of one round, by token."""

    arrived: set[int] = field(default_factory=set)
    answered: set[int] = field(default_factory=set)
    refused: dict[int, str] = field(default_factory=dict)

    def outcome(self, token: int) -> Outcome:
        if token in self.arrived:
            return "delivered" if token in self.answered else "one-way"
        return "no route" if self.refused.get(token, "").startswith(("Network is unreach", "No route")) else "blocked"


class Prober:
    """Sends probes between the machines of a stage; made by `probing`."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._ears = {machine.name: Ears(machine) for machine in stage.machines}
        self._selector = selectors.DefaultSelector()
        self._next = 1

    def open(self) -> None:
        for ears in self._ears.values():
            in_netns(ears.machine, ears.open)
            for ear, version, protocol in ears.hearing:
                self._selector.register(ear, selectors.EVENT_READ, (ears, version, protocol))

    def close(self) -> None:
        self._selector.close()
        for ears in self._ears.values():
            ears.close()

    def source_for(self, sender: Machine, target: Address) -> Address | None:
        """The address that the sender's kernel would choose; ``None`` where it knows no way there."""

        def ask() -> str | None:
            with socket.socket(FAMILIES[target.version], socket.SOCK_DGRAM) as asking:
                try:
                    asking.connect((str(target), 9))
                except OSError:
                    return None
                return str(asking.getsockname()[0])

        found = in_netns(sender, ask)
        return None if found is None else ip_address(found)

    def round(self, probes: Sequence[Probe], patience: float | None = None) -> list[Outcome]:
        """What becomes of each probe; all of them are on their way at the same time, and none knows connections."""
        assert len(probes) <= PORTS
        for machine in self.stage.machines:
            in_netns(machine, forget_connections)
        observed, asked = Observed(), {}
        for position, probe in enumerate(probes):
            token, self._next = self._next, self._next + 1
            asked[token] = probe
            trouble = self._ears[probe.sender].send(packet(probe, token), probe.address)
            if trouble:
                observed.refused[token] = trouble
            if position % AT_ONCE == 0:
                self._listen(asked, observed, 0)
        deadline = time.monotonic() + LONGEST_ROUND
        patience = patience or (QUIET_TIME if len(probes) > FEW else QUIET_TIME_OF_FEW)
        while self._listen(asked, observed, patience) and time.monotonic() < deadline:
            if len(observed.answered) == len(asked):
                break
        return [observed.outcome(token) for token in asked]

    def serve(self, probes: Sequence[Probe]) -> None:
        """Have every target serve the TCP ports that it is asked for."""
        ports: dict[str, set[int]] = {}
        for probe in probes:
            if probe.service.protocol == "tcp":
                ports.setdefault(probe.target, set()).add(probe.service.port)
        for name, several in ports.items():
            ears = self._ears[name]
            in_netns(ears.machine, partial(ears.listen, several))

    def warm_up(self, probes: Sequence[Probe]) -> None:
        """Let all that will speak find each other's MACs, and the bridges where they are."""
        pings = {(probe.sender, probe.source, probe.target, probe.address): probe for probe in probes}
        self.round([replace(probe, service=Service("icmp")) for probe in pings.values()])

    def _listen(self, asked: Mapping[int, Probe], observed: Observed, patience: float) -> bool:
        """Take all that has come; returns whether there was anything of these probes."""
        any_heard = False
        for key, _ in self._selector.select(patience):
            ears, version, protocol = key.data
            for message, source in _waiting(key.fileobj, version):  # type: ignore[arg-type]
                said = heard(protocol, message)
                probe = asked.get(said[1]) if said else None
                if said is None or probe is None:
                    continue
                any_heard = True
                if said[0] == "answered" and ears.machine.name == probe.sender:
                    observed.answered.add(said[1])
                elif said[0] == "asked" and ears.machine.name == probe.target:
                    observed.arrived.add(said[1])
                    if protocol == frames.UDP:
                        ears.send(answer(message, source, str(probe.address)), ip_address(source))
        return any_heard


def _waiting(ear: socket.socket, version: int) -> Iterator[tuple[bytes, str]]:
    """The messages above the network layer that have come, each with the address that it came from."""
    while True:
        try:
            data, origin = ear.recvfrom(4096)
        except BlockingIOError:
            return
        start = (data[0] & 15) * 4 if version == 4 else 0
        yield data[start:], origin[0].partition("%")[0]


def forget_connections() -> None:
    """Empty the connection tracking of the network namespace that this thread is in."""
    message = struct.pack("=IHHII", 20, CONNTRACK_DELETE, REQUEST_ACKNOWLEDGED, 1, 0) + struct.pack("=BBH", 0, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as kernel:
        kernel.settimeout(2)
        kernel.sendto(message, (0, 0))
        kernel.recv(4096)


@contextmanager
def probing(stage: Stage) -> Iterator[Prober]:
    """A prober with its sockets open."""
    prober = Prober(stage)
    try:
        prober.open()
        yield prober
    finally:
        prober.close()
