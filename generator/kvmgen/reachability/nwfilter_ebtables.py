"""What libvirt makes of a filter's Ethernet rules: ebtables' chains of one tap, in table nat.

A rule of direction inout has source and target turned round in what the guest sends, and stands as it is in what it
receives. Source: ``ebtablesCreateRuleInstance`` and ``ebiptablesApplyNewRules`` in
https://gitlab.com/libvirt/libvirt/-/blob/master/src/nwfilter/nwfilter_ebiptables_driver.c.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from kvmgen.reachability.nwfilter_match import Condition, Line
from kvmgen.reachability.nwfilter_read import STP_FIELDS, ReadRule
from kvmgen.reachability.nwfilter_tree import NoRulesError, Placed
from kvmgen.reachability.nwfilter_values import ETHERTYPES, PROTOCOLS, Said, mac_text
from kvmgen.reachability.step import Cause
from kvmgen.value import record

SENT, RECEIVED = "I", "O"
"""The letters in the names of the chains of what a guest sends and receives."""

_TARGETS = {"accept": "ACCEPT", "drop": "DROP", "reject": "DROP", "return": "RETURN", "continue": "CONTINUE"}
_BRIDGE_GROUP = 0x0180C2000000
_EVERY_BIT = 0xFFFFFFFFFFFF
_WITH_PORTS = (6, 17, 33, 132)
_PROTOCOL_CHAINS = (("ipv4", 0x0800), ("ipv6", 0x86DD), ("arp", 0x0806), ("rarp", 0x8035), ("vlan", 0x8100))


@record
class SubChain:
    """A chain beside root's."""

    priority: int
    letter: str
    name: str


def chain_name(letter: str, chain: str) -> str:
    """A chain's name, with ``{tap}`` for the tap."""
    return f"libvirt-{letter}-{{tap}}" if chain == "root" else f"{letter}-{{tap}}-{chain}"


def letters(rule: ReadRule) -> tuple[str, ...]:
    """In which of the two directions a rule stands."""
    return {"out": (SENT,), "in": (RECEIVED,)}.get(rule.direction, (SENT, RECEIVED))


def sub_chains(rules: Sequence[Placed]) -> list[SubChain]:
    """The chains that the rules need, in the order of their priorities; with two priorities, a chain has the last."""
    found: dict[tuple[str, str], int] = {}
    for placed in rules:
        if placed.chain != "root":
            found |= {(letter, placed.chain): placed.chain_priority for letter in letters(placed.rule)}
    chains = [SubChain(priority, letter, name) for (letter, name), priority in found.items()]
    return sorted(chains, key=lambda chain: chain.priority)


def jump(chain: SubChain) -> Line:
    """How root's chain calls another."""
    target = chain_name(chain.letter, chain.name)
    return Line(
        layer="ebtables",
        chain=chain_name(chain.letter, "root"),
        conditions=tuple(_of_chain(chain.name)),
        target=target,
        cause=Cause(file="libvirt:chains", text=f"chain {chain.name} (priority {chain.priority})"),
        calls_at=chain.priority,
    )


def _of_chain(name: str) -> Iterator[Condition]:
    for prefix, ethertype in _PROTOCOL_CHAINS:
        if name.startswith(prefix):
            yield Condition("ethertype", ethertype, f"-p 0x{ethertype:04x}")
            return
    if name.startswith("stp"):
        yield _bridge_group()


def _bridge_group() -> Condition:
    return Condition("target-mac", (_BRIDGE_GROUP, _EVERY_BIT), f"-d {mac_text(_BRIDGE_GROUP)}")


def ebtables_lines(rule: ReadRule, said: Said, chain: str) -> Iterator[Line]:
    """The lines of one rule, for one combination of its variables' values."""
    for letter in letters(rule):
        turned = letter == SENT and rule.direction == "inout"
        yield Line(
            layer="ebtables",
            chain=chain_name(letter, chain),
            conditions=tuple(_asked(rule.protocol, said, turned)),
            target=_TARGETS[rule.action],
            cause=rule.cause,
        )


def _asked(protocol: str, said: Said, turned: bool) -> Iterator[Condition]:
    if protocol:
        yield from _macs(said, turned)
        yield from _BY_PROTOCOL[protocol](said, turned)


def _option(said: Said, kind: str, wanted: object, option: str, text: object) -> Condition:
    return Condition(kind, wanted, f"{option} {'! ' if said.negated else ''}{text}", said.negated)


def _macs(said: Said, turned: bool) -> Iterator[Condition]:
    for side, is_source in (("src", not turned), ("dst", turned)):
        name, mask = f"{side}macaddr", f"{side}macmask"
        if name in said:
            wanted = said.mac_and_mask(name, mask)
            text = mac_text(said.mac(name)) + (f"/{mac_text(wanted[1])}" if mask in said else "")
            kind, option = ("source-mac", "-s") if is_source else ("target-mac", "-d")
            yield _option(said, kind, wanted, option, text)


def _mac(said: Said, turned: bool) -> Iterator[Condition]:
    if "protocolid" in said:
        number = said.ethertype("protocolid")
        yield _option(said, "ethertype", number, "-p", f"0x{number:x}")


def _vlan(said: Said, turned: bool) -> Iterator[Condition]:
    yield _is("vlan")
    if "vlanid" in said:
        yield _option(said, "vlan", said.number("vlanid", 4094), "--vlan-id", said.number("vlanid"))
    if "encap-protocol" in said:
        yield _encapsulated(said)


def _encapsulated(said: Said) -> Condition:
    """libvirt writes an EtherType in decimal here, and ebtables reads its digits as hexadecimal."""
    name = "encap-protocol"
    written = f"0x{said.ethertype(name):x}" if said.from_variable(name) else str(said.ethertype(name))
    return _option(said, "encapsulated", int(written, 16) & 0xFFFF, "--vlan-encap", written)


def _is(protocol: str) -> Condition:
    return Condition("ethertype", ETHERTYPES[protocol], f"-p 0x{ETHERTYPES[protocol]:x}")


def _stp(said: Said, turned: bool) -> Iterator[Condition]:
    if turned and "srcmacaddr" in said:
        raise NoRulesError("libvirt makes no stp rule of direction inout with srcmacaddr")
    yield _bridge_group()
    for name, (option, end) in STP_FIELDS.items():
        if name in said:
            text = said.text(name)
            if end in said:
                text += ("/" if end.endswith("mask") else ":") + said.text(end)
            yield _option(said, "unknown", None, option, text)


def _arp(said: Said, turned: bool) -> Iterator[Condition]:
    yield _is("arp")
    yield from _arp_message(said, turned)


def _rarp(said: Said, turned: bool) -> Iterator[Condition]:
    yield _is("rarp")
    yield from _arp_message(said, turned)


def _arp_message(said: Said, turned: bool) -> Iterator[Condition]:
    if "hwtype" in said:
        number = said.named("hwtype", {"ethernet": 1})
        yield _option(said, "arp-hardware", number, "--arp-htype", number)
    if "opcode" in said:
        yield _option(said, "arp-operation", said.operation("opcode"), "--arp-opcode", said.operation("opcode"))
    if "protocoltype" in said:
        number = said.ethertype("protocoltype")
        yield _option(said, "arp-protocol", number, "--arp-ptype", f"0x{number:x}")
    yield from _arp_addresses(said, turned)
    for side, is_sender in (("src", not turned), ("dst", turned)):
        name, end = f"arp{side}macaddr", "src" if is_sender else "dst"
        if name in said:
            kind = "arp-sender-mac" if is_sender else "arp-target-mac"
            yield _option(said, kind, said.mac(name), f"--arp-mac-{end}", mac_text(said.mac(name)))
    if said.text("gratuitous") in ("true", "1", "yes") if "gratuitous" in said else False:
        yield Condition("arp-gratuitous", None, f"{'! ' if said.negated else ''}--arp-gratuitous", said.negated)


def _arp_addresses(said: Said, turned: bool) -> Iterator[Condition]:
    """libvirt forgets to take the source's mask away before it comes to the target."""
    mask = ""
    for side, is_sender in (("src", not turned), ("dst", turned)):
        name = f"arp{side}ipaddr"
        if name in said:
            mask = f"arp{side}ipmask" if f"arp{side}ipmask" in said else mask
            wanted = said.network(name, mask, 4)
            kind, option = ("arp-sender", "--arp-ip-src") if is_sender else ("arp-target", "--arp-ip-dst")
            yield _option(said, kind, wanted, option, f"{said.text(name)}/{said.text(mask) if mask else 32}")


def _ip(said: Said, turned: bool) -> Iterator[Condition]:
    yield _is("ipv4")
    yield from _addresses(said, turned, 4, "--ip")
    yield from _protocol_and_ports(said, turned, "--ip")
    if "dscp" in said:
        # The whole byte, not the six bits that a DSCP is.
        yield _option(said, "tos", said.number("dscp", 63), "--ip-tos", f"0x{said.number('dscp'):x}")


def _ipv6(said: Said, turned: bool) -> Iterator[Condition]:
    yield _is("ipv6")
    yield from _addresses(said, turned, 6, "--ip6")
    yield from _protocol_and_ports(said, turned, "--ip6")
    if any(name in said for name in ("type", "typeend", "code", "codeend")):
        yield _message(said)


def _addresses(said: Said, turned: bool, version: int, option: str) -> Iterator[Condition]:
    for side, is_source in (("src", not turned), ("dst", turned)):
        name, mask = f"{side}ipaddr", f"{side}ipmask"
        if name in said:
            kind = "source" if is_source else "target"
            text = said.text(name) + (f"/{said.text(mask)}" if mask in said else "")
            long = "source" if is_source else "destination"
            yield _option(said, kind, said.network(name, mask, version), f"{option}-{long}", text)


def _protocol_and_ports(said: Said, turned: bool, option: str) -> Iterator[Condition]:
    number = said.named("protocol", PROTOCOLS) if "protocol" in said else None
    if number is not None:
        yield _option(said, "bridged-protocol", number, f"{option}-protocol", number)
    for side, is_source in (("src", not turned), ("dst", turned)):
        start, end = f"{side}portstart", f"{side}portend"
        if start not in said:
            continue
        if said.negated or number not in _WITH_PORTS:
            raise NoRulesError("ebtables takes ports only beside one of the protocols that have them")
        low, high = said.ports(start, end)
        kind, long = ("source", "source") if is_source else ("target", "destination")
        text = f"{low}:{high}" if high != low else low
        yield _option(said, f"bridged-{kind}-port", (low, high), f"{option}-{long}-port", text)


def _message(said: Said) -> Condition:
    if said.negated or "protocol" not in said or said.named("protocol", PROTOCOLS) != PROTOCOLS["icmpv6"]:
        raise NoRulesError("ebtables takes an ICMPv6 type only beside the protocol icmpv6")
    low, high = _range(said, "type", "typeend")
    first, last = _range(said, "code", "codeend")
    text = f"{low}:{high}/{first}:{last}"
    return _option(said, "bridged-message", (low, high, first, last), "--ip6-icmp-type", text)


def _range(said: Said, start: str, end: str) -> tuple[int, int]:
    """One number, a range, or everything where neither end is said."""
    low = said.number(start, 255) if start in said else 0
    if end in said:
        return low, said.number(end, 255)
    return low, low if start in said else 255


_BY_PROTOCOL: Mapping[str, Callable[[Said, bool], Iterator[Condition]]] = {
    "mac": _mac,
    "vlan": _vlan,
    "stp": _stp,
    "arp": _arp,
    "rarp": _rarp,
    "ip": _ip,
    "ipv6": _ipv6,
}
