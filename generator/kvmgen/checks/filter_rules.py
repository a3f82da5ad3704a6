"""Single rules of nwfilters that don't mean what they seem to."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.checks._filters import (
    EVERYTHING,
    IPV4,
    IPV6,
    KIND_OF_FRAME,
    PORTS,
    chain_kind,
    conditions,
    ethertype,
    family_of,
    number,
    own_filters,
    own_rules,
    rules_of,
)
from kvmgen.diagnostics import Diagnostic, Rule, Severity
from kvmgen.model.filters import Filter, FilterRule, Match
from kvmgen.model.site import Site

NEVER_MATCHES = Rule(code="KV503", title="Rules that match no packet")
OUTSIDE_ROOT = Rule(code="KV504", title="iptables rules outside of chain root")
REJECT_IS_DROP = Rule(code="KV507", title="Rejecting at the Ethernet layer", severity=Severity.WARNING)
NO_RULE_AT_ALL = Rule(code="KV511", title="ICMP types in both directions")
NOT_NEGATED = Rule(code="KV512", title="Matches that can't be turned round")
PORT_OF_BOTH = Rule(code="KV514", title="Ports in both directions", severity=Severity.WARNING)
NO_CONTINUE = Rule(code="KV515", title="Continue in an iptables rule")
ACCEPTS_EVERYTHING = Rule(code="KV519", title="Accepting every frame", severity=Severity.WARNING)

_PROTOCOLS_ELSEWHERE = {"ip": {"icmpv6": IPV6, "58": IPV6}, "ipv6": dict.fromkeys(("icmp", "1", "igmp", "2"), IPV4)}
_NOT_NEGATED = frozenset(("state",))


def never_matching(site: Site) -> Iterator[Diagnostic]:
    """A chain is entered only by the frames of its protocol, so a rule in it for another protocol never matches.

    libvirt writes it all the same and says nothing. The same goes for an IP protocol of the other IP version: no IPv4
    packet carries ICMPv6.

    Bad::

        # filters/arp.yaml
        chain: arp-own
        rules:
          - {priority: 100, action: accept, direction: out, arp: {arpsrcipaddr: $IP}}
          - {priority: 200, action: accept, direction: out, ip: {srcipaddr: $IP}}

    Good::

        # filters/arp.yaml
        chain: arp-own
        rules:
          - {priority: 100, action: accept, direction: out, arp: {arpsrcipaddr: $IP}}

    Source: libvirt's "Filtering chains" (https://libvirt.org/formatnwfilter.html#filtering-chains).
    """
    for filter_, rule in own_rules(site):
        if rule.match is None or family_of(rule) is not None:
            continue
        yield from _foreign_to_chain(filter_, rule, rule.match)
        yield from _foreign_to_version(rule, rule.match)


def _foreign_to_chain(filter_: Filter, rule: FilterRule, match: Match) -> Iterator[Diagnostic]:
    chain, kind = chain_kind(filter_.chain), KIND_OF_FRAME.get(match.protocol)
    if match.protocol == "mac" and not match.negated:
        kind = ethertype(conditions(rule).get("protocolid"))
    if kind is None or chain in (EVERYTHING, kind):
        return
    yield Diagnostic(
        rule=NEVER_MATCHES,
        message=f"only {chain} frames enter chain {filter_.chain}, and this rule is for {kind}: it never matches",
        hint=f"Put it into a filter of chain root or of a chain that starts with {kind}.",
        origin=rule.origin.at(match.protocol),
        on_key=True,
    )


def _foreign_to_version(rule: FilterRule, match: Match) -> Iterator[Diagnostic]:
    protocol = conditions(rule).get("protocol", "")
    value = number(protocol)
    version = _PROTOCOLS_ELSEWHERE.get(match.protocol, {}).get(protocol if value is None else str(value))
    if version is not None and not match.negated:
        yield Diagnostic(
            rule=NEVER_MATCHES,
            message=f"protocol {protocol} belongs to {version}: no frame of {match.protocol} carries it",
            hint="Name the protocol of this IP version, or the other version's element.",
            origin=rule.origin.at(match.protocol, "protocol"),
        )


def outside_root(site: Site) -> Iterator[Diagnostic]:
    """Rules for tcp, udp, icmp, all and their like are judged by iptables, which knows nothing of a filter's chain.

    libvirt writes the rules of chain root first and those of other chains behind them, whatever their priorities are:
    an accept stands behind root's final drop and never matches.

    Bad::

        # filters/web.yaml
        chain: ipv4-web
        rules:
          - {priority: 100, action: accept, direction: in, tcp: {dstportstart: 80}}

    Good::

        # filters/web.yaml
        chain: root
        rules:
          - {priority: 100, action: accept, direction: in, tcp: {dstportstart: 80}}

    Source: libvirt's "Filtering chains" (https://libvirt.org/formatnwfilter.html#filtering-chains), and the order of
    rules in https://github.com/libvirt/libvirt/blob/master/src/nwfilter/nwfilter_ebiptables_driver.c.
    """
    for filter_, rule in own_rules(site):
        if rule.match is not None and filter_.chain != "root" and family_of(rule) is not None:
            yield Diagnostic(
                rule=OUTSIDE_ROOT,
                message=f"chain {filter_.chain} doesn't hold a rule for {rule.match.protocol}: iptables judges it,"
                " behind all such rules of chain root",
                hint="Move it to a filter of chain root, or match the frame with ip or ipv6.",
                origin=rule.origin.at(rule.match.protocol),
                on_key=True,
                related=((filter_.origin.at("chain"), "the filter's chain"),),
            )


def rejects(site: Site) -> Iterator[Diagnostic]:
    """ebtables can't answer a frame, so libvirt makes a silent drop of reject in rules for mac, ip, ipv6 or arp.

    The sender waits for its timeout instead of being told.

    Bad::

        # filters/web.yaml
        rules:
          - {priority: 100, action: reject, direction: out, ip: {protocol: tcp, dstportstart: 25}}

    Good::

        # filters/web.yaml
        rules:
          - {priority: 100, action: reject, direction: out, tcp: {dstportstart: 25}}

    Source: https://github.com/libvirt/libvirt/blob/master/src/nwfilter/nwfilter_ebiptables_driver.c
    """
    for _, rule in own_rules(site):
        if rule.action == "reject" and family_of(rule) is None:
            yield Diagnostic(
                rule=REJECT_IS_DROP,
                message="at the Ethernet layer reject is the same as drop: the sender gets no answer",
                hint="Write drop, or reject in a rule for tcp, udp, all or their like.",
                origin=rule.origin.at("action"),
            )


def types_of_both(site: Site) -> Iterator[Diagnostic]:
    """For an ICMP type and direction inout, libvirt makes no rule at all, and says nothing.

    A type belongs to one direction: a request goes one way, its answer is another type. An accept is missing, a drop
    drops nothing.

    Bad::

        # filters/web.yaml
        rules:
          - {priority: 100, action: drop, direction: inout, icmp: {type: 5}}

    Good::

        # filters/web.yaml
        rules:
          - {priority: 100, action: drop, direction: in, icmp: {type: 5}}
          - {priority: 101, action: drop, direction: out, icmp: {type: 5}}

    Source: https://github.com/libvirt/libvirt/blob/master/src/nwfilter/nwfilter_ebiptables_driver.c
    """
    for _, rule in own_rules(site):
        match = rule.match
        if match and match.protocol in ("icmp", "icmpv6") and rule.direction == "inout" and "type" in conditions(rule):
            yield Diagnostic(
                rule=NO_RULE_AT_ALL,
                message=f"libvirt makes no rule of an {match.protocol} type with direction inout",
                hint="Write two rules, one with direction in and one with direction out.",
                origin=rule.origin.at("direction"),
            )


def negations(site: Site) -> Iterator[Diagnostic]:
    """``match: false`` turns round every condition of a rule, but not those that libvirt can't turn round.

    A destination port takes its negation from the source port: without one, "any port but 80" becomes "port 80". In ip
    and ipv6 the protocol is turned round as well, and ebtables refuses a port or an ICMPv6 type beside that: the guest
    doesn't start. And without any condition there is nothing to turn round: the rule matches every packet of the
    protocol, not every other one.

    Bad::

        # filters/web.yaml
        rules:
          - {priority: 100, action: drop, direction: in, tcp: {match: false, dstportstart: 80}}

    Good::

        # filters/web.yaml
        rules:
          - {priority: 100, action: accept, direction: in, tcp: {dstportstart: 80}}
          - {priority: 200, action: drop, direction: inout, tcp: {}}

    Source: https://github.com/libvirt/libvirt/blob/master/src/nwfilter/nwfilter_ebiptables_driver.c, and the checks of
    https://github.com/torvalds/linux/blob/master/net/bridge/netfilter/ebt_ip.c.
    """
    for _, rule in own_rules(site):
        if rule.match is not None and rule.match.negated:
            problem = _not_negated(rule, rule.match)
            if problem:
                yield Diagnostic(
                    rule=NOT_NEGATED,
                    message=problem,
                    hint="Say what shall match, and let another rule with a higher priority number hold the rest.",
                    origin=rule.origin.at(rule.match.protocol, "match"),
                )


def _not_negated(rule: FilterRule, match: Match) -> str | None:
    said = conditions(rule)
    if not said.keys() - _NOT_NEGATED:
        return f"there is no condition to turn round: the rule matches every packet of {match.protocol}"
    if match.protocol in ("ip", "ipv6"):
        inner = [name for name in (*PORTS, "type", "typeend", "code", "codeend") if name in said]
        if "protocol" in said and inner:
            return f"ebtables refuses {inner[0]} beside a protocol that is turned round: the guest doesn't start"
    elif "dstportstart" in said and "srcportstart" not in said:
        return f"libvirt doesn't turn dstportstart round: the rule matches port {said['dstportstart']}, not the others"
    return None


def ports_of_both(site: Site) -> Iterator[Diagnostic]:
    """A port with direction inout is one side's in both directions: of what goes the other way, answers match.

    ``inout tcp dstportstart 25`` is the guest's own port 25: as destination of what comes in, as source of what goes
    out. What the guest sends to port 25 of others isn't meant. The same goes for a source port, the other way round.

    Bad::

        # filters/web.yaml
        rules:
          - {priority: 100, action: drop, direction: inout, tcp: {dstportstart: 25}}

    Good::

        # filters/web.yaml
        rules:
          - {priority: 100, action: drop, direction: in, tcp: {dstportstart: 25}}
          - {priority: 110, action: drop, direction: out, tcp: {dstportstart: 25}}

    Source: https://github.com/libvirt/libvirt/blob/master/src/nwfilter/nwfilter_ebiptables_driver.c
    """
    for filter_ in own_filters(site):
        both = [rule for rule in rules_of(filter_) if rule.direction == "inout" and rule.match]
        turned = {(rule.action, _kind(rule), _turned(_ports(rule))) for rule in both}
        for rule in both:
            ports = _ports(rule)
            if any(ports) and (rule.action, _kind(rule), ports) not in turned:
                yield _port_of_both(rule, conditions(rule))


_Ports = tuple[str | None, ...]


def _ports(rule: FilterRule) -> _Ports:
    said = conditions(rule)
    return tuple(said.get(name) for name in PORTS)


def _turned(ports: _Ports) -> _Ports:
    return ports[2:] + ports[:2]


def _kind(rule: FilterRule) -> tuple[str, str]:
    protocol = rule.match.protocol if rule.match else ""
    return protocol, conditions(rule).get("protocol", "")


def _port_of_both(rule: FilterRule, said: dict[str, str]) -> Diagnostic:
    assert rule.match is not None
    name = next(name for name in ("dstportstart", "srcportstart", "dstportend", "srcportend") if name in said)
    whose, others = ("the guest's", "others'") if name.startswith("dst") else ("the others'", "the guest's")
    return Diagnostic(
        rule=PORT_OF_BOTH,
        message=f"with direction inout, port {said[name]} is {whose} in both directions, never {others}",
        hint="Write direction in or out: an accept lets the answers pass. For both, write two rules.",
        origin=rule.origin.at("direction"),
        related=((rule.origin.at(rule.match.protocol, name), "the port"),),
    )


def continues(site: Site) -> Iterator[Diagnostic]:
    """iptables has no target CONTINUE, and libvirt asks for it all the same: a guest with such a filter doesn't start.

    ebtables has it, so rules for frames may say it.

    Bad::

        # filters/web.yaml
        rules:
          - {priority: 100, action: continue, direction: in, tcp: {dstportstart: 80}}

    Good::

        # filters/web.yaml
        rules:
          - {priority: 100, action: continue, direction: in, ip: {protocol: tcp, dstportstart: 80}}

    Source: libvirt's "Filtering rules" (https://libvirt.org/formatnwfilter.html#filtering-rules), and
    iptables-extensions(8) (https://man7.org/linux/man-pages/man8/iptables-extensions.8.html), which has no such target.
    """
    for _, rule in own_rules(site):
        if rule.action == "continue" and rule.match is not None and family_of(rule) is not None:
            yield Diagnostic(
                rule=NO_CONTINUE,
                message=f"iptables can't continue: a guest with this rule for {rule.match.protocol} doesn't start",
                hint="Leave the rule out, it decides nothing.",
                origin=rule.origin.at("action"),
            )


def accepting_everything(site: Site) -> Iterator[Diagnostic]:
    """A rule of chain root without a protocol matches every frame: IPv4, IPv6, ARP, VLAN tags, anything.

    An accept of everything ends the Ethernet layer: what stands behind it there, in this filter or in those that
    include it or are included (clean-traffic's drop of other protocols), never matches. It doesn't reach the rules for
    tcp, udp or all, whose drops stay.

    Bad::

        # filters/web.yaml
        rules:
          - {priority: 500, action: accept, direction: inout}

    Good::

        # filters/web.yaml
        rules:
          - {priority: 500, action: accept, direction: inout, mac: {protocolid: ipv6}}

    Source: libvirt's "Filtering chains" (https://libvirt.org/formatnwfilter.html#filtering-chains).
    """
    for filter_, rule in own_rules(site):
        if filter_.chain == "root" and rule.action == "accept" and _is_about_everything(rule):
            yield Diagnostic(
                rule=ACCEPTS_EVERYTHING,
                message="this accepts frames of every protocol, and leaves the rules for tcp, udp or all as they are",
                hint="Name what shall pass, or leave the rule out: frames pass where no rule holds them.",
                origin=rule.origin.at("action"),
            )


def _is_about_everything(rule: FilterRule) -> bool:
    return rule.match is None or (rule.match.protocol == "mac" and not conditions(rule))
