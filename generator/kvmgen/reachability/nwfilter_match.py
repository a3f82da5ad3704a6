"""What one rule of ebtables or iptables asks of a packet, and what a chain of rules decides.

Sources: ``ebt_*.c`` in https://elixir.bootlin.com/linux/latest/source/net/bridge/netfilter and ``xt_*.c`` in
https://elixir.bootlin.com/linux/latest/source/net/netfilter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from kvmgen.reachability.packet import ArpMessage, Packet, State
from kvmgen.reachability.step import Cause, Verdict
from kvmgen.value import record, value

Answer = bool | None
"""Whether something matches; ``None`` where that isn't known."""

_VLAN = 0x8100
_TRACKED = (State.NEW, State.ESTABLISHED, State.RELATED)


class _Never:
    """A packet that a match doesn't fit even where it is turned round."""


_NEVER = _Never()


@record
class Condition:
    """One thing that a rule asks: ``kind`` says which, ``text`` how the program's command line has it."""

    kind: str
    value: Any
    text: str
    negated: bool = False

    def holds(self, packet: Packet) -> Answer:
        """Whether the packet is so."""
        found = _MATCHES[self.kind](packet, self.value)
        if isinstance(found, _Never):
            return False
        return found if found is None else found is not self.negated


@value
class Line:
    """A rule as ebtables or iptables has it; ``{tap}`` in the names of chains stands for the tap.

    ``limited`` is whether it counts connections, ``calls_at`` the priority of the chain that it calls.
    """

    layer: str
    chain: str
    conditions: tuple[Condition, ...]
    target: str
    cause: Cause
    limited: bool = False
    calls_at: int | None = None

    def text(self, tap: str) -> str:
        """As the program's command line has it."""
        table = " -t nat" if self.layer == "ebtables" else ""
        words = [f"{self.layer}{table} -A {self.chain}", *(one.text for one in self.conditions), f"-j {self.target}"]
        return " ".join(filter(None, words)).replace("{tap}", tap)

    def fits(self, packet: Packet) -> Answer:
        """Whether the packet is what the rule is about."""
        known: Answer = True
        for condition in self.conditions:
            answer = condition.holds(packet)
            if answer is False:
                return False
            if answer is None:
                known = None
        return known


@record
class Outcome:
    """What a chain does with a packet; ``cause`` is the rule that decided, ``None`` where none did."""

    verdict: Verdict
    cause: Cause | None = None
    why: str = ""


NOTHING = Outcome(Verdict.PASS)
_VERDICTS = {"ACCEPT": Verdict.ACCEPT, "DROP": Verdict.DROP, "REJECT": Verdict.REJECT}
BELOW = "believed to be below its connection limit"


@value
class Block:
    """The lines that one rule of a filter became in one chain: a single one, or one for each value of its lists."""

    lines: tuple[Line, ...]
    index: Mapping[int, Mapping[int, tuple[Line, ...]]] | None = None
    key: str = ""

    def candidates(self, packet: Packet) -> Iterable[Line]:
        """The lines that may fit: by the packet's address, where they differ in that."""
        if self.index is None:
            return self.lines
        address = packet.source if self.key == "source" else packet.target
        if address is None:
            return ()
        number, bits = int(address), address.max_prefixlen
        return (
            line
            for length, networks in self.index.items()
            if length <= bits  # an Ethernet rule may be of the other IP version
            for line in networks.get(number >> (bits - length) << (bits - length), ())
        )


_MANY = 4


def block(lines: Sequence[Line]) -> Block:
    """Lines of one rule, found by address where there are many."""
    if len(lines) >= _MANY:
        for key in ("source", "target"):
            found = [_network(line, key) for line in lines]
            if all(network is not None for network in found):
                return Block(lines=tuple(lines), key=key, index=_index(lines, [one for one in found if one]))
    return Block(lines=tuple(lines))


def _network(line: Line, key: str) -> tuple[int, int] | None:
    return next((one.value[:2] for one in line.conditions if one.kind == key and not one.negated), None)


def _index(lines: Sequence[Line], networks: Sequence[tuple[int, int]]) -> dict[int, dict[int, tuple[Line, ...]]]:
    index: dict[int, dict[int, tuple[Line, ...]]] = {}
    for line, (number, length) in zip(lines, networks, strict=True):
        by_number = index.setdefault(length, {})
        by_number[number] = (*by_number.get(number, ()), line)
    return index


@value
class Chain:
    """The blocks of a chain, in order; ``end`` is what becomes of a packet that none of them decides.

    ebtables accepts it, as is the policy of every chain that libvirt makes; only ``RETURN`` goes back to the caller.
    """

    blocks: tuple[Block, ...]
    end: Outcome


Chains = Mapping[str, Chain]
_EMPTY = Chain(blocks=(), end=NOTHING)


def run(chains: Chains, name: str, packet: Packet) -> Outcome:
    """What becomes of a packet in a chain."""
    return _run(chains, chains.get(name, _EMPTY), packet)


def _run(chains: Chains, chain: Chain, packet: Packet, start: int = 0) -> Outcome:
    why = ""
    for number in range(start, len(chain.blocks)):
        for line in chain.blocks[number].candidates(packet):
            answer = line.fits(packet)
            if answer is False:
                if line.limited and not why and _but_for_limit(line, packet):
                    why = BELOW
                continue
            done = _meet(chains, line, packet)
            if answer is None:
                rest = _run(chains, chain, packet, number + 1)
                done = _either(line, done, rest)
                return done if done is not None else rest
            if done is not None:
                return done if done.why or not why else Outcome(done.verdict, done.cause, why)
    return Outcome(chain.end.verdict, chain.end.cause, why)


def _but_for_limit(line: Line, packet: Packet) -> bool:
    return all(one.kind == "limit" or one.holds(packet) for one in line.conditions)


def _meet(chains: Chains, line: Line, packet: Packet) -> Outcome | None:
    """What a line that fits does; ``None`` where it goes on with the next."""
    if line.target in _VERDICTS:
        return Outcome(_VERDICTS[line.target], line.cause)
    if line.target == "RETURN":
        return Outcome(Verdict.PASS, line.cause)
    if line.target == "CONTINUE":
        return None
    inner = run(chains, line.target, packet)
    return None if inner.verdict is Verdict.PASS else inner


def _either(line: Line, matched: Outcome | None, rest: Outcome) -> Outcome | None:
    if (matched or rest).verdict is rest.verdict:
        return rest
    return Outcome(Verdict.UNKNOWN, line.cause, f"whether the packet fits “{line.cause.text}” can't be told from here")


# -- the matches -------------------------------------------------------------------------------------------------------


def _ethertype(packet: Packet, wanted: int) -> Answer:
    return (packet.ethertype if packet.vlan is None else _VLAN) == wanted


def _mac(read: Callable[[Packet], str]) -> Callable[[Packet, tuple[int, int]], Answer]:
    return lambda packet, wanted: _number(read(packet)) & wanted[1] == wanted[0]


def _number(mac: str) -> int:
    return int(mac.replace(":", ""), 16)


def _source(packet: Packet, wanted: tuple[int, int, int]) -> Answer:
    return None if packet.source is None else _within(int(packet.source), wanted)


def _target(packet: Packet, wanted: tuple[int, int, int]) -> Answer:
    return None if packet.target is None else _within(int(packet.target), wanted)


def _within(number: int, wanted: tuple[int, int, int]) -> bool:
    network, length, bits = wanted
    return number >> (bits - length) == network >> (bits - length)


def _source_range(packet: Packet, wanted: tuple[int, int]) -> Answer:
    return None if packet.source is None else wanted[0] <= int(packet.source) <= wanted[1]


def _target_range(packet: Packet, wanted: tuple[int, int]) -> Answer:
    return None if packet.target is None else wanted[0] <= int(packet.target) <= wanted[1]


def _protocol(packet: Packet, wanted: int) -> Answer:
    return packet.protocol == wanted


def _bridged_protocol(packet: Packet, wanted: int) -> Answer:
    """Of a later IPv6 fragment the bridge sees only that it is one."""
    return packet.protocol == wanted and not (packet.fragment and packet.version == 6)


def _port(read: Callable[[Packet], int | None]) -> Callable[[Packet, tuple[int, int]], Answer]:
    def port(packet: Packet, wanted: tuple[int, int]) -> Answer:
        found = read(packet)
        return None if found is None else wanted[0] <= found <= wanted[1]

    return port


def _whole(match: Callable[[Packet, Any], Answer]) -> Callable[[Packet, Any], Answer | _Never]:
    """ebtables sees a fragment as it is: what isn't in it never matches, not even turned round."""
    return lambda packet, wanted: _NEVER if packet.fragment else match(packet, wanted)


def _message(packet: Packet, wanted: tuple[int | None, int | None]) -> Answer:
    if packet.icmp is None:
        return None
    type_, code = wanted
    return type_ is None or (packet.icmp[0] == type_ and code in (None, packet.icmp[1]))


def _message_range(packet: Packet, wanted: tuple[int, int, int, int]) -> Answer:
    if packet.icmp is None:
        return None
    return wanted[0] <= packet.icmp[0] <= wanted[1] and wanted[2] <= packet.icmp[1] <= wanted[3]


def _direction(packet: Packet, reply: bool) -> Answer | _Never:
    return packet.reply is reply if packet.state in _TRACKED else _NEVER


def _flags(packet: Packet, wanted: tuple[frozenset[str], frozenset[str]]) -> Answer:
    return packet.tcp_flags & wanted[0] == wanted[1]


def _arp(read: Callable[[ArpMessage, Any], bool]) -> Callable[[Packet, Any], Answer]:
    return lambda packet, wanted: None if packet.arp is None else read(packet.arp, wanted)


def _vlan(packet: Packet, wanted: int) -> Answer | _Never:
    return _NEVER if packet.vlan is None else packet.vlan == wanted


_MATCHES: Mapping[str, Callable[[Packet, Any], Answer | _Never]] = MappingProxyType(
    {
        "ethertype": _ethertype,
        "source-mac": _mac(lambda packet: packet.source_mac),
        "target-mac": _mac(lambda packet: packet.target_mac),
        "source": _source,
        "target": _target,
        "source-range": _source_range,
        "target-range": _target_range,
        "protocol": _protocol,
        "bridged-protocol": _bridged_protocol,
        "source-port": _port(lambda packet: packet.source_port),
        "target-port": _port(lambda packet: packet.target_port),
        "bridged-source-port": _whole(_port(lambda packet: packet.source_port)),
        "bridged-target-port": _whole(_port(lambda packet: packet.target_port)),
        "message": _message,
        "bridged-message": _whole(_message_range),
        "dscp": lambda packet, wanted: packet.tos >> 2 == wanted,
        "tos": lambda packet, wanted: packet.tos == wanted,
        "state": lambda packet, wanted: packet.state in wanted,
        "direction": _direction,
        "flags": _flags,
        # Nobody counts connections here: they are believed to be fewer than any limit.
        "limit": lambda _, above: above == 0,
        "comment": lambda _packet, _text: True,
        "unknown": lambda _packet, _what: None,
        "vlan": _vlan,
        "encapsulated": lambda packet, wanted: _NEVER if packet.vlan is None else packet.ethertype == wanted,
        "arp-operation": _arp(lambda arp, wanted: arp.opcode == wanted),
        "arp-hardware": _arp(lambda _, wanted: wanted == 1),
        "arp-protocol": _arp(lambda _, wanted: wanted == 0x0800),
        "arp-sender": _arp(lambda arp, wanted: _within(int(arp.sender), wanted)),
        "arp-target": _arp(lambda arp, wanted: _within(int(arp.target), wanted)),
        "arp-sender-mac": _arp(lambda arp, wanted: _number(arp.sender_mac) == wanted),
        "arp-target-mac": _arp(lambda arp, wanted: _number(arp.target_mac) == wanted),
        "arp-gratuitous": _arp(lambda arp, _: arp.sender == arp.target),
    }
)


def by_rule(lines: Iterable[Line]) -> Iterator[Block]:
    """The lines of a chain, those of one rule together."""
    group: list[Line] = []
    for line in lines:
        if group and (line.cause is not group[0].cause or line.target != group[0].target):
            yield block(group)
            group = []
        group.append(line)
    if group:
        yield block(group)
