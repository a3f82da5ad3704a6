"""The machine's own table of nftables' bridge family: which frames it keeps from other ports, and from the machine.

The forms that a build writes are understood, and rules made of the same words; others are unknown. Source: nft(8).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network
from types import MappingProxyType

from kvmgen.model.values import Network
from kvmgen.reachability.packet import ARP, IPV4, IPV6, Packet
from kvmgen.reachability.step import Cause, Step, Verdict
from kvmgen.reachability.way import Way
from kvmgen.value import value

PATH = "etc/nftables/kvmgen.nft"
_HOOKS = ("forward", "input")
_VERDICTS = MappingProxyType({"drop": Verdict.DROP, "accept": Verdict.ACCEPT, "reject": Verdict.REJECT})
_ETHERTYPES = MappingProxyType({"ip": IPV4, "ip6": IPV6, "arp": ARP})

_Field = Callable[[Packet, Way], str]
_FIELDS: Mapping[tuple[str, ...], _Field] = MappingProxyType(
    {
        ("meta", "ibrname"): lambda _, way: way.incoming,
        ("meta", "obrname"): lambda _, way: way.outgoing,
        ("ibrname",): lambda _, way: way.incoming,
        ("obrname",): lambda _, way: way.outgoing,
        ("iifname",): lambda _, way: way.port_in or "",
        ("oifname",): lambda _, way: way.port_out or "",
        ("meta", "iifname"): lambda _, way: way.port_in or "",
        ("meta", "oifname"): lambda _, way: way.port_out or "",
        ("ether", "saddr"): lambda packet, _: packet.source_mac,
        ("ether", "daddr"): lambda packet, _: packet.target_mac,
        ("ip", "saddr"): lambda packet, _: str(packet.source) if packet.version == 4 else "",
        ("ip", "daddr"): lambda packet, _: str(packet.target) if packet.version == 4 else "",
        ("ip6", "saddr"): lambda packet, _: str(packet.source) if packet.version == 6 else "",
        ("ip6", "daddr"): lambda packet, _: str(packet.target) if packet.version == 6 else "",
        ("ether", "type"): lambda packet, _: str(packet.ethertype if packet.vlan is None else 0x8100),
    }
)


@value
class _Condition:
    field: _Field
    values: frozenset[str]
    negated: bool
    networks: tuple[Network, ...] | None = None

    def holds(self, packet: Packet, way: Way) -> bool:
        """A packet of another IP version has no such address, whether or not the condition is negated."""
        given = self.field(packet, way)
        if self.networks is None:
            return any(fnmatchcase(given, known) for known in self.values) is not self.negated
        if not given:
            return False
        return any(ip_address(given) in network for network in self.networks) is not self.negated


@value
class _Rule:
    conditions: tuple[_Condition, ...]
    verdict: Verdict
    cause: Cause
    unclear: str = ""


class BridgeTable:
    """The bridge family's hooks, rule by rule: ``forward`` is from port to port, ``input`` to the machine."""

    def __init__(self, text: str, path: str = PATH) -> None:
        self._rules: dict[str, list[_Rule]] = {hook: [] for hook in _HOOKS}
        self._policies: dict[str, tuple[Verdict, Cause]] = {}
        self._read(text, path)

    def step(self, packet: Packet, way: Way, hook: str = "forward") -> Step:
        """What the table does with a frame at a hook."""
        where = f"nftables, bridge {hook}"
        for rule in self._rules[hook]:
            if all(condition.holds(packet, way) for condition in rule.conditions):
                verdict = Verdict.UNKNOWN if rule.unclear else rule.verdict
                return Step(where=where, verdict=verdict, cause=rule.cause, why=rule.unclear)
        verdict, cause = self._policies.get(hook, (Verdict.PASS, None))
        return Step(where=where, verdict=verdict, cause=cause)

    def _read(self, text: str, path: str) -> None:
        family, hook = "", ""
        for number, line in enumerate(text.splitlines(), start=1):
            words = line.partition("#")[0].replace(";", " ; ").split()
            cause = Cause(file=path, line=number, text=line.strip())
            if words[:1] == ["table"] and words[-1] == "{":
                family = words[1]
            elif words[:1] == ["type"]:
                hook = next((word for word in _HOOKS if word in words), "")
                if hook and "drop" in words:
                    self._policies[hook] = Verdict.DROP, cause
            elif words[:1] == ["chain"] or words == ["}"]:
                hook = ""
            elif family == "bridge" and hook and words:
                self._rules[hook].append(_rule(line.partition("#")[0], cause))


def _rule(text: str, cause: Cause) -> _Rule:
    """A rule; what comes after a word that isn't known leaves it in doubt, should the rest fit."""
    words = [word.strip('"') for word in re.findall(r'"[^"]*"|!=|==|[{},]|[^\s{},"]+', text)]
    conditions: list[_Condition] = []
    while words:
        if words[0] in _VERDICTS:
            return _Rule(conditions=tuple(conditions), verdict=_VERDICTS[words[0]], cause=cause)
        if words[0] in ("counter", "log"):
            words = words[1:]
            continue
        name = tuple(words[:2]) if tuple(words[:2]) in _FIELDS else tuple(words[:1])
        if name not in _FIELDS:
            break
        words = words[len(name) :]
        negated = words[:1] == ["!="]
        words = words[1:] if words[:1] in (["!="], ["=="]) else words
        values, words = _values(words)
        try:
            conditions.append(_condition(name, values, negated))
        except ValueError:  # a range, a set's name
            words = [*name, *values, *words]
            break
    why = f"the rule's words {' '.join(words)!r} aren't understood"
    return _Rule(conditions=tuple(conditions), verdict=Verdict.UNKNOWN, cause=cause, unclear=why)


def _condition(name: tuple[str, ...], values: Sequence[str], negated: bool) -> _Condition:
    known = frozenset(_spelled(name, values))
    networks = tuple(ip_network(one, strict=False) for one in known) if name[0] in ("ip", "ip6") else None
    return _Condition(field=_FIELDS[name], values=known, negated=negated, networks=networks)


def _values(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """A value, or the values of a set, and the words after it."""
    if words[:1] != ["{"] or "}" not in words:
        return list(words[:1]), list(words[1:])
    end = words.index("}")
    return [word for word in words[1:end] if word != ","], list(words[end + 1 :])


def _spelled(name: tuple[str, ...], values: Sequence[str]) -> Iterator[str]:
    for given in values:
        yield str(_ETHERTYPES.get(given, given)) if name == ("ether", "type") else given
