"""The answer to one question: does this packet get there and its answer back, and if not, which line decides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from enum import StrEnum
from ipaddress import ip_address

from kvmgen.model.values import Address
from kvmgen.reachability.consumers import Consumers
from kvmgen.reachability.neighbours import BROADCAST
from kvmgen.reachability.packet import (
    ARP,
    ICMP,
    ICMPV6,
    IPV4,
    IPV6,
    SCTP,
    TCP,
    UDP,
    ArpMessage,
    Packet,
    State,
)
from kvmgen.reachability.path import Hop, Walk
from kvmgen.reachability.place import OUTSIDE, OUTSIDE_ADDRESSES, OUTSIDE_MAC, Attachment, Places, as_interfaces
from kvmgen.reachability.step import Cause, Verdict
from kvmgen.value import value

_PROTOCOLS = {"tcp": TCP, "udp": UDP, "sctp": SCTP, "icmp": ICMP, "icmpv6": ICMPV6}
_EPHEMERAL = 50000
"""The port that a client sends from."""

ICMP_TYPES: Mapping[str, int] = {
    "echo-reply": 0,
    "destination-unreachable": 3,
    "redirect": 5,
    "echo-request": 8,
    "router-advertisement": 9,
    "router-solicitation": 10,
    "time-exceeded": 11,
    "parameter-problem": 12,
    "timestamp-request": 13,
    "timestamp-reply": 14,
}
ICMPV6_TYPES: Mapping[str, int] = {
    "destination-unreachable": 1,
    "packet-too-big": 2,
    "time-exceeded": 3,
    "parameter-problem": 4,
    "echo-request": 128,
    "echo-reply": 129,
    "router-solicitation": 133,
    "router-advertisement": 134,
    "neighbour-solicitation": 135,
    "neighbour-advertisement": 136,
    "redirect": 137,
}
_ANSWERED = {ICMP: {8: 0, 13: 14}, ICMPV6: {128: 129}}
"""The ICMP types that ask for an answer, and its type."""


class Outcome(StrEnum):
    """What becomes of a question."""

    DELIVERED = "delivered"
    BLOCKED = "blocked"
    ONE_WAY = "one-way"
    UNKNOWN = "unknown"


@value
class Service:
    """What is asked for: a protocol's name and its port, or an ICMP type; ``arp`` has neither.

    ``ping`` is the echo request of either IP version.
    """

    protocol: str
    port: int | None = None
    type: int | None = None

    def __str__(self) -> str:
        number = self.port if self.port is not None else self.type
        return self.protocol if number is None else f"{self.protocol}/{number}"

    @property
    def versions(self) -> tuple[int, ...]:
        """The IP versions in which it exists."""
        return {"icmp": (4,), "arp": (4,), "icmpv6": (6,)}.get(self.protocol, (4, 6))


@value
class Question:
    """Whether ``target`` is reached from ``source``: a guest, ``guest:nic``, a host, an address, or ``outside``.

    With ``spoof_ip`` or ``spoof_mac`` the packet is forged, and only its arrival is asked for.
    """

    source: str
    target: str
    service: Service
    version: int
    spoof_ip: Address | None = None
    spoof_mac: str | None = None

    @property
    def is_forged(self) -> bool:
        """Whether the sender poses as somebody else."""
        return self.spoof_ip is not None or self.spoof_mac is not None


@value
class Answer:
    """What was found. ``cause`` is the line that decided against delivery, in the folder of ``host``."""

    question: Question
    outcome: Outcome
    forward: tuple[Hop, ...] = ()
    back: tuple[Hop, ...] = ()
    cause: Cause | None = None
    host: str = ""
    why: str = ""


class Nobody(Exception):  # noqa: N818 it is caught where the names were written
    """A name in a question that the site doesn't have."""


def ends_of(places: Places, name: str) -> list[Attachment]:
    """The interfaces that a name in a question means: all of a machine's, or the one that is named."""
    if name == OUTSIDE:
        return [_outside()]
    machine, _, nic = name.partition(":") if not _is_address(name) else (name, "", "")
    for kind in ("guest", "host"):
        found = [one for one in places.of.get(f"{kind}:{machine}", ()) if not nic or one.interface == nic]
        if found:
            return found
    if _is_address(name):
        address = ip_address(name)
        owners = (one for several in places.of.values() for one in several if one.has(address))
        return [next(owners, None) or _outside(address)]
    raise Nobody(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _outside(address: Address | None = None) -> Attachment:
    own = dict(OUTSIDE_ADDRESSES)
    if address is not None:
        own[address.version] = address
    return Attachment(
        owner=OUTSIDE,
        kind="outside",
        interface="",
        segment="",
        host="",
        bridge="",
        mac=OUTSIDE_MAC,
        addresses=as_interfaces(own.values()),
    )


def versions_of(places: Places, source: str, target: str, service: Service) -> list[int]:
    """The IP versions that both ends speak, of those in which the service exists."""
    ends = [ends_of(places, source), ends_of(places, target)]
    if any(_is_address(name) for name in (source, target)):
        named = {ip_address(name).version for name in (source, target) if _is_address(name)}
        return [version for version in service.versions if named == {version}]
    return [version for version in service.versions if all(any(one.speaks(version) for one in end) for end in ends)]


def reach(consumers: Consumers, question: Question) -> Answer:
    """Follow the question's packet to its target, then the answer back."""
    names = question.source, question.target, question.version
    if names not in consumers.pairs:
        consumers.pairs[names] = _pair(consumers.places, question)
    pair = consumers.pairs[names]
    if pair is None:
        why = f"{question.source} and {question.target} don't both have an IPv{question.version} address"
        return Answer(question=question, outcome=Outcome.UNKNOWN, why=why)
    source, target, own, asked = pair
    if source.is_outside and target.is_outside:
        why = f"{question.source} and {question.target} are both outside, past all that the site knows"
        return Answer(question=question, outcome=Outcome.UNKNOWN, why=why)
    packet = _first(question, source, own, target, asked)
    there = Walk(consumers, forged=question.is_forged)
    if question.service.protocol == "arp":
        arrives = there.across(source, target, packet)
    else:
        arrives = there.go(source, target, packet)
    if not arrives:
        return _stopped(question, there, None)
    answer = None if question.is_forged else _answer_to(there.arrived, packet)
    if answer is None:
        return Answer(question=question, outcome=Outcome.DELIVERED, forward=tuple(there.hops))
    back = Walk(consumers, translations=there.translations)
    if not back.go(target, source, replace(answer, source_mac="")):  # that of the interface that it leaves by
        return _stopped(question, there, back)
    return Answer(question=question, outcome=Outcome.DELIVERED, forward=tuple(there.hops), back=tuple(back.hops))


def _stopped(question: Question, there: Walk, back: Walk | None) -> Answer:
    last = (back or there).hops[-1]
    is_unknown = last.step.verdict is Verdict.UNKNOWN
    stopped = Outcome.BLOCKED if back is None else Outcome.ONE_WAY
    return Answer(
        question=question,
        outcome=Outcome.UNKNOWN if is_unknown else stopped,
        forward=tuple(there.hops),
        back=() if back is None else tuple(back.hops),
        cause=last.step.cause,
        host=last.host,
        why=last.step.why,
    )


def _pair(places: Places, question: Question) -> tuple[Attachment, Attachment, Address, Address] | None:
    """The two interfaces and their addresses, on one segment where there is a choice."""
    sources, targets = ends_of(places, question.source), ends_of(places, question.target)
    choices = [
        (source, target, own, asked)
        for source in sources
        for target in targets
        for own in _addresses(source, question.version, question.source)
        for asked in _addresses(target, question.version, question.target)
    ]
    choices = [choice for pair in choices for choice in _nearby(places, *pair)]
    if len(choices) > 1:
        choices.sort(key=lambda choice: (_distance(places, choice[0], choice[1], choice[3]), _turns(places, *choice)))
    return next(iter(choices), None)


def _nearby(
    places: Places, source: Attachment, target: Attachment, own: Address, asked: Address
) -> Iterator[tuple[Attachment, Attachment, Address, Address]]:
    """The same ends; where the inventory tells no way of the one to what is outside, a machine of its own subnet is."""
    one, far = (source, asked) if target.is_outside else (target, own)
    if source.is_outside == target.is_outside or far not in OUTSIDE_ADDRESSES.values():
        yield source, target, own, asked
        return
    machines = [one, *(other for other in places.of[f"{one.kind}:{one.owner}"] if other != one)]
    found = places.next_hop(machines, far)
    is_told = found is not None and (found[0] == one or places.names_gateway(one))
    if not is_told and places.outside_of(one.segment, one.host) is not None:
        near = places.unused(one, asked if source.is_outside else own)
        far = near or far
    yield (source, target, own, far) if target.is_outside else (source, target, far, asked)


def _addresses(one: Attachment, version: int, name: str) -> Iterator[Address]:
    for own in one.addresses:
        if own.version == version and (str(own.ip) == name or (not _is_address(name) and not own.ip.is_link_local)):
            yield own.ip


def _distance(places: Places, source: Attachment, target: Attachment, asked: Address) -> int:
    """0 where both are in one subnet of one segment, 1 where a route of the source's leads there, else 2."""
    if source.segment and source.segment == target.segment and source.serves(asked):
        return 0
    if source.is_outside:
        return 0 if places.way_in(target) == target else 1
    found = places.next_hop([source], asked)
    if found is None:
        return 2
    is_other = (
        found[1] == asked and found[0].segment != target.segment
    )  # somebody else's, in a subnet of the same range
    return 2 if is_other else 1


def _turns(places: Places, source: Attachment, target: Attachment, own: Address, _: Address) -> bool:
    """Whether the answer leaves by another interface than the question comes in by, which reverse path filters drop."""
    if target.is_outside:
        return False
    every = places.of[f"{target.kind}:{target.owner}"]
    back = places.next_hop([target, *(one for one in every if one != target)], own)
    return back is None or back[0] != target


def _first(question: Question, source: Attachment, own: Address, target: Attachment, asked: Address) -> Packet:
    """The question's first packet."""
    service, shown = question.service, question.spoof_ip or own
    mac = question.spoof_mac or source.mac
    if service.protocol == "arp":
        said = ArpMessage(opcode=2, sender_mac=mac, sender=shown, target_mac=target.mac, target=asked)
        return Packet(source_mac=source.mac, target_mac=target.mac, ethertype=ARP, arp=said)
    if service.protocol == "ping":
        service = Service(protocol="icmp", type=8) if question.version == 4 else Service(protocol="icmpv6", type=128)
    return Packet(
        source_mac=question.spoof_mac or "",  # of the interface that it leaves by, where nobody is named
        target_mac=BROADCAST,
        ethertype=IPV4 if question.version == 4 else IPV6,
        source=shown,
        target=asked,
        protocol=_PROTOCOLS[service.protocol],
        source_port=None if service.port is None else _EPHEMERAL,
        target_port=service.port,
        icmp=None if service.type is None else (service.type, 0),
        tcp_flags=frozenset(("SYN",)) if service.protocol == "tcp" else frozenset(),
    )


def _answer_to(arrived: Packet | None, first: Packet) -> Packet | None:
    """What the target answers; ``None`` for what isn't answered."""
    if arrived is None or arrived.source is None or arrived.protocol is None:
        return None
    icmp = None
    if arrived.icmp is not None:
        kind = _ANSWERED[arrived.protocol].get(arrived.icmp[0])
        if kind is None:
            return None
        icmp = (kind, 0)
    return replace(
        arrived,
        target_mac=first.source_mac,
        source=arrived.target,
        target=arrived.source,
        source_port=arrived.target_port,
        target_port=arrived.source_port,
        icmp=icmp,
        tcp_flags=frozenset(("SYN", "ACK")) if arrived.protocol == TCP else frozenset(),
        state=State.ESTABLISHED,
        reply=True,
    )
