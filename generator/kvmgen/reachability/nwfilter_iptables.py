"""What libvirt makes of one rule for iptables or ip6tables.

It writes each rule into three chains: FI (what the guest sends), FO (what is bridged to it) and HI (what it sends to
the host), and turns source and target round in those that the rule isn't about. Source:
``_iptablesCreateRuleInstance`` and its callers in
https://gitlab.com/libvirt/libvirt/-/blob/master/src/nwfilter/nwfilter_ebiptables_driver.c.
"""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.reachability.nwfilter_match import Condition, Line
from kvmgen.reachability.nwfilter_read import ReadRule
from kvmgen.reachability.nwfilter_tree import NoRulesError
from kvmgen.reachability.nwfilter_values import FLAGS, PROTOCOLS, STATES, Said, mac_text
from kvmgen.reachability.packet import State
from kvmgen.value import value

_TARGETS = {"drop": "DROP", "reject": "REJECT", "return": "RETURN"}
_ANY_MESSAGE = 255
_WITH_PORTS = ("tcp", "udp", "sctp")


@value
class _Place:
    """One of the three chains: ``turned`` is whether source and target change sides in it."""

    chain: str
    turned: bool
    accepts_by: str
    skips_messages: bool
    states: tuple[str, ...]
    with_direction: bool


def iptables_lines(rule: ReadRule, said: Said) -> Iterator[Line]:
    """The lines of one rule, for one combination of its variables' values."""
    if rule.action == "continue":
        raise NoRulesError("iptables has no CONTINUE")
    if "ipset" in said and "ipsetflags" not in said and not rule.protocol.startswith("all"):
        raise NoRulesError(f"libvirt takes no ipset without ipsetflags for {rule.protocol}")
    for place in _places(rule, said):
        line = _line(rule, said, place)
        if line is not None:
            yield line


def _places(rule: ReadRule, said: Said) -> Iterator[_Place]:
    inward, both = rule.direction != "out", rule.direction == "inout"
    explicit = rule.state_match and "state" in said
    for chain, forth in (("FI", True), ("FO", False), ("HI", True)):
        turned = inward if forth else not inward
        if explicit and not both and turned:
            continue
        skips = inward if forth else (not inward or both)
        states: tuple[str, ...] = ()
        if explicit:
            states = _explicit_states(said.text("state"))
        elif rule.state_match and not both:
            states = ("ESTABLISHED",) if turned else ("NEW", "ESTABLISHED")
        yield _Place(
            chain=f"{chain}-{{tap}}",
            turned=turned,
            accepts_by="RETURN" if forth else "ACCEPT",
            skips_messages=skips,
            states=states,
            with_direction=not explicit,
        )


def _explicit_states(text: str) -> tuple[str, ...]:
    said = text.upper().replace(" ", "").split(",")
    return () if "NONE" in said else tuple(state for state in STATES if state in said)


def _line(rule: ReadRule, said: Said, place: _Place) -> Line | None:
    """The line for one chain; ``None`` where libvirt makes none."""
    typed = rule.protocol in ("icmp", "icmpv6") and "type" in said
    limited = "connlimit-above" in said
    asked = list(_asked(rule.protocol, said, place.turned))
    if typed and place.skips_messages:
        return None
    if place.turned and (limited or ("srcmacaddr" in said and not asked)):
        return None
    accepts = rule.action == "accept"
    # A limit takes the state from a rule that accepts, an action that doesn't from one without a state of its own.
    stateless = (limited and not place.turned) if accepts else place.with_direction
    states = () if stateless else place.states
    tracked = list(_tracked(states, place, directed=place.with_direction and not typed))
    return Line(
        layer="ip6tables" if _version(rule.protocol) == 6 else "iptables",
        chain=place.chain,
        conditions=(*_protocol(rule.protocol), *asked, *tracked, *_last(rule, said, place.turned)),
        target=place.accepts_by if accepts else _TARGETS[rule.action],
        cause=rule.cause,
        limited=limited,
    )


def _version(protocol: str) -> int:
    return 6 if protocol == "icmpv6" or protocol.endswith("-ipv6") else 4


def _protocol(protocol: str) -> Iterator[Condition]:
    name = protocol.removesuffix("-ipv6")
    if name != "all":
        yield Condition("protocol", PROTOCOLS[name], f"-p {name}")


def _option(said: Said, kind: str, wanted: object, words: str) -> Condition:
    return Condition(kind, wanted, f"! {words}" if said.negated else words, said.negated)


def _asked(protocol: str, said: Said, turned: bool) -> Iterator[Condition]:
    """What the rule's attributes ask, but for connection tracking."""
    if "srcmacaddr" in said and not turned:
        number = said.mac("srcmacaddr")
        words = "! --mac-source" if said.negated else "--mac-source"
        yield Condition(
            "source-mac", said.mac_and_mask("srcmacaddr", ""), f"-m mac {words} {mac_text(number)}", said.negated
        )
    yield from _addresses(_version(protocol), said, turned)
    if "dscp" in said:
        words = f"{'! ' if said.negated else ''}--dscp {said.text('dscp')}"
        yield Condition("dscp", said.number("dscp", 63), f"-m dscp {words}", said.negated)
    name = protocol.removesuffix("-ipv6")
    if "flags" in said:
        yield _flags(said)
    if name in _WITH_PORTS:
        yield from _ports(said, turned)
    if "option" in said:
        yield _option(said, "unknown", None, f"--tcp-option {said.text('option')}")
    if name in ("icmp", "icmpv6") and "type" in said:
        yield _message(name, said)


def _addresses(version: int, said: Said, turned: bool) -> Iterator[Condition]:
    for side, is_source in (("src", not turned), ("dst", turned)):
        name, word = ("source", "--source") if is_source else ("target", "--destination")
        address, first, last = (f"{side}ip{part}" for part in ("addr", "from", "to"))
        if address in said:
            network = said.network(address, f"{side}ipmask", version)
            if said.negated and network[1] == 0:
                raise NoRulesError("iptables takes no rule that nothing fits")
            yield _option(said, name, network, f"{word} {_with_mask(said, address, f'{side}ipmask')}")
        elif first in said:
            low = said.address(first, version)
            high = said.address(last, version) if last in said else low
            text = f"{said.text(first)}-{said.text(last)}" if last in said else said.text(first)
            words = f"{'! ' if said.negated else ''}--{'src' if is_source else 'dst'}-range {text}"
            yield Condition(f"{name}-range", (low, high), f"-m iprange {words}", said.negated)


def _with_mask(said: Said, address: str, mask: str) -> str:
    return f"{said.text(address)}/{said.text(mask)}" if mask in said else said.text(address)


def _ports(said: Said, turned: bool) -> Iterator[Condition]:
    """The target's port is negated only beside a source's port: libvirt copies the sign from there."""
    negated = said.negated and "srcportstart" in said
    for side, is_source in (("src", not turned), ("dst", turned)):
        start, end = f"{side}portstart", f"{side}portend"
        if start in said:
            low, high = said.ports(start, end)
            name, word = ("source-port", "--sport") if is_source else ("target-port", "--dport")
            text = f"{'! ' if negated else ''}{word} {low}" + (f":{high}" if high != low else "")
            yield Condition(name, (low, high), text, negated)


def _flags(said: Said) -> Condition:
    mask, _, wanted = said.text("flags").partition("/")
    sets = (_flag_set(mask), _flag_set(wanted))
    texts = (",".join(flag for flag in FLAGS if flag in one) or "NONE" for one in sets)
    return _option(said, "flags", sets, f"--tcp-flags {' '.join(texts)}")


def _flag_set(text: str) -> frozenset[str]:
    words = text.upper().split(",")
    return frozenset(FLAGS if "ALL" in words else (flag for flag in FLAGS if flag in words))


def _message(name: str, said: Said) -> Condition:
    type_ = said.number("type", 255)
    code = said.number("code", 255) if "code" in said else None
    any_type = name == "icmp" and type_ == _ANY_MESSAGE
    text = f"--{name}-type {type_}" + ("" if code is None else f"/{code}")
    return _option(said, "message", (None if any_type else type_, code), text)


def _tracked(states: tuple[str, ...], place: _Place, *, directed: bool) -> Iterator[Condition]:
    if not states:
        return
    names = ",".join(states)
    yield Condition("state", frozenset(map(State, states)), f"-m conntrack --ctstate {names}")
    if directed:
        yield Condition("direction", place.turned, f"-m conntrack --ctdir {'Reply' if place.turned else 'Original'}")


def _last(rule: ReadRule, said: Said, turned: bool) -> Iterator[Condition]:
    if rule.protocol.startswith("all") and "ipset" in said and "ipsetflags" in said:
        sides = (_side(word.strip().lower(), turned) for word in said.text("ipsetflags").split(","))
        yield Condition("unknown", None, f"-m set --match-set {said.text('ipset')} {','.join(sides)}")
    if "connlimit-above" in said:
        above = said.number("connlimit-above")
        word = f"{'! ' if said.negated else ''}--connlimit-above {above}"
        yield Condition("limit", above, f"-m connlimit {word}", said.negated)
    if "comment" in said:
        escaped = said.text("comment").replace("\\", "\\\\").replace('"', '\\"')
        yield Condition("comment", None, f'-m comment --comment "{escaped}"')


def _side(word: str, turned: bool) -> str:
    """A set's word changes sides like an address does."""
    return {"src": "dst", "dst": "src"}[word] if turned else word
