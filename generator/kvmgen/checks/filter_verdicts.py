"""What the whole of a filter does to connections, and to the IP version that it forgets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kvmgen.checks._filters import (
    DROPS,
    EVERYTHING,
    IPV4,
    IPV6,
    PASSES,
    Placed,
    chain_kind,
    conditions,
    directions,
    ethertype,
    family_of,
    kind_of,
    priority_of,
    states,
    trees,
    used_trees,
)
from kvmgen.diagnostics import Diagnostic, Origin, Rule, Severity
from kvmgen.model.filters import Filter, FilterRule
from kvmgen.model.site import Site

HOLDS_BOTH = Rule(code="KV508", title="Dropping one direction and meaning one")
NO_ANSWERS = Rule(code="KV509", title="Accepting connections without their answers")
NOT_RELATED = Rule(code="KV510", title="Connection states without RELATED", severity=Severity.WARNING)
IPV6_FREE = Rule(code="KV520", title="IPv6 past an IPv4 filter")
NO_NEIGHBOURS = Rule(code="KV521", title="IPv6 without neighbour discovery", severity=Severity.WARNING)
CUT_BELOW = Rule(code="KV524", title="Dropping frames that other rules accept")

_CONNECTED = frozenset(("tcp", "sctp", "tcp-ipv6", "sctp-ipv6"))
_NEIGHBOURS = frozenset(("135", "136"))
_ICMP = {IPV4: "icmp", IPV6: "icmpv6"}
_ALL = {IPV4: "all", IPV6: "all-ipv6"}


def _said(rule: FilterRule) -> dict[str, str]:
    """What a rule looks at, its states left out."""
    said = conditions(rule)
    said.pop("state", None)
    return said


def _is_mirrored(rule: FilterRule) -> bool:
    """Whether an iptables rule that doesn't accept holds both directions, all its packets in each."""
    return not _said(rule) and (not rule.state_match or "state" not in conditions(rule))


def _last_drop(tree: Sequence[Placed], family: str) -> Placed | None:
    """The drop of everything that is left of an IP version, in both directions."""
    for placed in tree:
        rule = placed.rule
        if rule.action in DROPS and family_of(rule) == family and kind_of(rule) == EVERYTHING and _is_mirrored(rule):
            return placed
    return None


def _accepts(tree: Sequence[Placed], family: str) -> list[FilterRule]:
    """The iptables rules that let packets of an IP version pass."""
    return [one.rule for one in tree if one.rule.action in PASSES and family_of(one.rule) == family]


def _once(found: dict[Origin, Diagnostic], diagnostic: Diagnostic) -> None:
    assert diagnostic.origin is not None
    found.setdefault(diagnostic.origin, diagnostic)


def _at_action(placed: Placed) -> Origin:
    return placed.place.at("action") if placed.is_own else placed.place


# -- one direction -----------------------------------------------------------------------------------------------------


def both_directions(site: Site) -> Iterator[Diagnostic]:
    """libvirt writes a drop for tcp, udp, icmp or all for both directions, whichever is said, and return like it.

    ``drop in all`` drops what the guest sends as well. Only a state keeps a drop in its direction, and what a guest may
    not be asked is a matter of state NEW: then its own connections and their answers pass. This is told where nothing
    before it accepts the other direction, so that nothing of it is left.

    Bad::

        # filters/web.yaml
        rules:
          - {priority: 500, action: accept, direction: in, tcp: {dstportstart: 80}}
          - {priority: 1000, action: drop, direction: in, all: {}}

    Good::

        # filters/web.yaml
        rules:
          - {priority: 500, action: accept, direction: in, tcp: {dstportstart: 80}}
          - {priority: 1000, action: drop, direction: in, all: {state: NEW}}

    Source: https://github.com/libvirt/libvirt/blob/master/src/nwfilter/nwfilter_ebiptables_driver.c
    """
    found: dict[Origin, Diagnostic] = {}
    for tree in trees(site):
        for placed in tree:
            if placed.is_own and _surprises(placed.rule, tree):
                _once(found, _holds_both(placed.rule))
    yield from found.values()


def _surprises(rule: FilterRule, tree: Sequence[Placed]) -> bool:
    family = family_of(rule)
    if family is None or rule.direction == "inout" or rule.action not in (*DROPS, "return") or not _is_mirrored(rule):
        return False
    return rule.action == "return" or not any(_is_for_the_other_way(rule, one) for one in _accepts(tree, family))


def _is_for_the_other_way(rule: FilterRule, accept: FilterRule) -> bool:
    if accept is rule or accept.direction == rule.direction:
        return False
    if accept.direction != "inout" and kind_of(rule) == EVERYTHING:
        return True
    return kind_of(accept) in (kind_of(rule), EVERYTHING)


def _holds_both(rule: FilterRule) -> Diagnostic:
    assert rule.match is not None
    other = "in" if rule.direction == "out" else "out"
    what = "passes" if rule.action == "return" else "is held"
    return Diagnostic(
        rule=HOLDS_BOTH,
        message=f"without a state, libvirt writes this {rule.action} for direction {other} as well: {rule.match.protocol}"
        f" {what} in both",
        hint=f"Say state: NEW in {rule.match.protocol} where only new connections are meant, else direction: inout.",
        origin=rule.origin.at("direction"),
    )


# -- states ------------------------------------------------------------------------------------------------------------


def no_answers(site: Site) -> Iterator[Diagnostic]:
    """An accept that names its state is written for one direction and that state, nothing else.

    Without a state, libvirt lets the answers and the rest of the connection pass. With ``state: NEW`` the first packet
    passes and its answer meets the final drop: no connection comes about.

    Bad::

        # filters/web.yaml
        rules:
          - {priority: 500, action: accept, direction: in, tcp: {dstportstart: 80, state: NEW}}
          - {priority: 1000, action: drop, direction: inout, all: {}}

    Good::

        # filters/web.yaml
        rules:
          - {priority: 500, action: accept, direction: in, tcp: {dstportstart: 80}}
          - {priority: 1000, action: drop, direction: inout, all: {}}

    Source: libvirt's "Advanced filter configuration topics"
    (https://libvirt.org/formatnwfilter.html#advanced-filter-configuration-topics).
    """
    found: dict[Origin, Diagnostic] = {}
    for _, tree in used_trees(site):
        for family in (IPV4, IPV6):
            last = _last_drop(tree, family)
            accepts = _accepts(tree, family) if last else []
            for placed in tree:
                if last and placed.is_own and family_of(placed.rule) == family and _opens_only(placed.rule, accepts):
                    _once(found, _answerless(placed.rule, last))
    yield from found.values()


def _opens_only(rule: FilterRule, accepts: Sequence[FilterRule]) -> bool:
    """Whether an accept lets the first packet of a connection pass and no accept the others."""
    protocol = rule.match.protocol if rule.match else ""
    if rule.action != "accept" or protocol not in _CONNECTED:
        return False
    if "NEW" not in states(rule) or "ESTABLISHED" in states(rule) or "connlimit-above" in conditions(rule):
        return False
    return not any(_lets_answers_pass(accept, rule) for accept in accepts if accept is not rule)


def _lets_answers_pass(accept: FilterRule, rule: FilterRule) -> bool:
    if kind_of(accept) not in (kind_of(rule), EVERYTHING):
        return False
    if "state" in conditions(accept) and accept.state_match:
        return bool(states(accept) & {"ESTABLISHED", "NONE"})
    return accept.direction in (rule.direction, "inout") or not accept.state_match or not _said(accept)


def _answerless(rule: FilterRule, last: Placed) -> Diagnostic:
    assert rule.match is not None
    return Diagnostic(
        rule=NO_ANSWERS,
        message="only the first packet of a connection passes: no rule accepts state ESTABLISHED, and the final drop takes"
        " the answer",
        hint="Leave the state out: libvirt then lets the whole connection pass, and nothing else.",
        origin=rule.origin.at(rule.match.protocol, "state"),
        related=((last.place, "the final drop"),),
    )


def not_related(site: Site) -> Iterator[Diagnostic]:
    """Who names states must name RELATED: it is the state of the ICMP messages that belong to a connection.

    "Fragmentation needed" is the one that hurts: without it, a connection whose way has a smaller MTU opens and then
    stands still. It is told where a filter accepts ESTABLISHED by name, drops the rest, and lets no such message in.

    Bad::

        # filters/web.yaml
        rules:
          - {priority: 500, action: accept, direction: in, tcp: {state: "NEW,ESTABLISHED"}}
          - {priority: 501, action: accept, direction: out, tcp: {state: ESTABLISHED}}
          - {priority: 1000, action: drop, direction: inout, all: {}}

    Good::

        # filters/web.yaml
        rules:
          - {priority: 500, action: accept, direction: in, tcp: {state: "NEW,ESTABLISHED"}}
          - {priority: 501, action: accept, direction: out, tcp: {state: ESTABLISHED}}
          - {priority: 502, action: accept, direction: in, icmp: {state: RELATED}}
          - {priority: 1000, action: drop, direction: inout, all: {}}

    Source: RFC 2923, "TCP Problems with Path MTU Discovery" (https://www.rfc-editor.org/rfc/rfc2923).
    """
    found: dict[Origin, Diagnostic] = {}
    for _, tree in used_trees(site):
        for family in (IPV4, IPV6):
            first = _first_stateful(tree, family)
            if first and _last_drop(tree, family) and not any(map(_lets_errors_in, _accepts(tree, family))):
                _once(found, _lonely(first.rule, _ICMP[family]))
    yield from found.values()


def _first_stateful(tree: Sequence[Placed], family: str) -> Placed | None:
    wanted = (one for one in tree if one.is_own and one.rule.action == "accept" and family_of(one.rule) == family)
    return next((one for one in wanted if "ESTABLISHED" in states(one.rule)), None)


def _lets_errors_in(rule: FilterRule) -> bool:
    if kind_of(rule) not in ("icmp", "icmpv6", EVERYTHING) or ("in" not in directions(rule) and rule.action == "accept"):
        return False
    if "state" in conditions(rule) and rule.state_match:
        return bool(states(rule) & {"RELATED", "NONE"})
    return not rule.state_match or rule.direction == "inout" or rule.action == "return"


def _lonely(rule: FilterRule, icmp: str) -> Diagnostic:
    assert rule.match is not None
    return Diagnostic(
        rule=NOT_RELATED,
        message=f"connections pass by their state, but the {icmp} errors that belong to them don't: none accepts RELATED",
        hint=f"Add an accept, direction in, {icmp}: {{state: RELATED}}.",
        origin=rule.origin.at(rule.match.protocol, "state"),
    )


# -- the other IP version ----------------------------------------------------------------------------------------------


def ipv6_free(site: Site) -> Iterator[Diagnostic]:
    """``all`` is IPv4 alone: a filter that ends with ``drop all`` says nothing of IPv6, and all of IPv6 passes.

    A guest needs no IPv6 address for that: every system gives itself a link-local one. It is told of filters that
    guests use, whose whole tree has no rule on IPv6.

    Bad::

        # filters/web.yaml
        rules:
          - {priority: 500, action: accept, direction: in, tcp: {dstportstart: 80}}
          - {priority: 1000, action: drop, direction: inout, all: {}}

    Good::

        # filters/web.yaml
        rules:
          - {priority: 500, action: accept, direction: in, tcp: {dstportstart: 80}}
          - {priority: 999, action: drop, direction: inout, all-ipv6: {}}
          - {priority: 1000, action: drop, direction: inout, all: {}}

    Source: libvirt's "Supported protocols" (https://libvirt.org/formatnwfilter.html#supported-protocols).
    """
    found: dict[Origin, Diagnostic] = {}
    for filter_, tree in used_trees(site):
        drop = next((one for one in tree if one.is_own and _drops_ipv4(one.rule)), None)
        if drop is not None and not any(map(_is_about_ipv6, tree)):
            _once(found, _free(filter_, drop))
    yield from found.values()


def _drops_ipv4(rule: FilterRule) -> bool:
    is_all = rule.match is not None and rule.match.protocol == "all"
    return is_all and rule.action in DROPS and not _said(rule)


def _is_about_ipv6(placed: Placed) -> bool:
    rule = placed.rule
    if family_of(rule) is not None:
        return family_of(rule) == IPV6
    if IPV6 in (chain_kind(placed.filter.chain), kind_of(rule)):
        return True
    return rule.action in DROPS and kind_of(rule) == EVERYTHING and _is_whole_or_other(rule)


def _is_whole_or_other(rule: FilterRule) -> bool:
    """Whether a rule on any frame takes IPv6: it has no condition, or is for what isn't of another protocol."""
    said = conditions(rule)
    if rule.match is not None and rule.match.negated:
        return said.keys() == {"protocolid"} and ethertype(said["protocolid"]) != IPV6
    return not said


def _free(filter_: Filter, drop: Placed) -> Diagnostic:
    return Diagnostic(
        rule=IPV6_FREE,
        message=f"all means IPv4: nothing in filter {filter_.name} holds IPv6, and all of it passes",
        hint="Add a drop of all-ipv6 beside it, or include what holds IPv6 (kvmgen-anti-spoofing-ipv4, clean-traffic).",
        origin=drop.rule.origin.at("all"),
        on_key=True,
    )


def no_neighbours(site: Site) -> Iterator[Diagnostic]:
    """IPv6 finds its neighbours and routers by ICMPv6, so a drop of everything holds that as well.

    Connection tracking leaves these messages untracked, and libvirt limits an accept to tracked states: even ``accept in
    icmpv6`` doesn't match them. What is accepted beside the drop never gets as far as being sent.

    Bad::

        # filters/web.yaml
        rules:
          - {priority: 500, action: accept, direction: in, tcp-ipv6: {dstportstart: 80}}
          - {priority: 1000, action: drop, direction: inout, all-ipv6: {}}

    Good::

        # filters/web.yaml
        rules:
          - filter: kvmgen-neighbour-discovery
          - {priority: 500, action: accept, direction: in, tcp-ipv6: {dstportstart: 80}}
          - {priority: 1000, action: drop, direction: inout, all-ipv6: {}}

    Source: RFC 4861, "Neighbor Discovery for IP version 6" (https://www.rfc-editor.org/rfc/rfc4861), and
    https://github.com/torvalds/linux/blob/master/net/netfilter/nf_conntrack_proto_icmpv6.c.
    """
    found: dict[Origin, Diagnostic] = {}
    for _, tree in used_trees(site):
        last = _last_drop(tree, IPV6)
        accepts = _accepts(tree, IPV6)
        if last is None or not accepts or any(_finds_neighbours(rule, last.rule) for rule in accepts):
            continue
        _once(found, _lost(last))
    yield from found.values()


def _finds_neighbours(rule: FilterRule, last: FilterRule) -> bool:
    if kind_of(rule) not in ("icmpv6", EVERYTHING) or priority_of(rule) >= priority_of(last):
        return False
    said = conditions(rule)
    if "type" in said and (said["type"] not in _NEIGHBOURS or rule.direction == "inout"):
        return False
    if "state" in said and rule.state_match:
        return said["state"] == "NONE"
    return not rule.state_match or rule.direction == "inout" or rule.action == "return"


def _lost(last: Placed) -> Diagnostic:
    return Diagnostic(
        rule=NO_NEIGHBOURS,
        message="this drops neighbour discovery, too: without it the IPv6 that the filter accepts doesn't work",
        hint="Include kvmgen-neighbour-discovery, whose rules have priorities from 960 to 970.",
        origin=_at_action(last),
    )


# -- below IP ----------------------------------------------------------------------------------------------------------


def cut_below(site: Site) -> Iterator[Diagnostic]:
    """A rule without a protocol is about frames, and frames are judged first: a drop of all of them ends IP as well.

    The accepts for tcp, udp and so on are another layer's, and never asked. What shall be held behind them is said with
    ``all`` and ``all-ipv6``.

    Bad::

        # filters/web.yaml
        rules:
          - {priority: 500, action: accept, direction: in, tcp: {dstportstart: 80}}
          - {priority: 1000, action: drop, direction: inout}

    Good::

        # filters/web.yaml
        rules:
          - {priority: 500, action: accept, direction: in, tcp: {dstportstart: 80}}
          - {priority: 999, action: drop, direction: inout, all-ipv6: {}}
          - {priority: 1000, action: drop, direction: inout, all: {}}

    Source: libvirt's "Filtering chains" (https://libvirt.org/formatnwfilter.html#filtering-chains).
    """
    found: dict[Origin, Diagnostic] = {}
    for _, tree in used_trees(site):
        for family in (IPV4, IPV6):
            accept = next((one for one in tree if one.is_own and one.rule.action == "accept" and _is(one, family)), None)
            drop = next((one for one in tree if _ends_frames(one)), None)
            if accept and drop and not any(_accepts_frames(one, family, drop.rule) for one in tree):
                _once(found, _cut(drop, accept, _ALL[family]))
    yield from found.values()


def _is(placed: Placed, family: str) -> bool:
    return family_of(placed.rule) == family


def _ends_frames(placed: Placed) -> bool:
    rule = placed.rule
    is_everything = family_of(rule) is None and kind_of(rule) == EVERYTHING and not conditions(rule)
    return placed.filter.chain == "root" and rule.action in DROPS and is_everything


def _accepts_frames(placed: Placed, family: str, drop: FilterRule) -> bool:
    """Whether a rule lets some frames of an IP version past a drop of all."""
    rule = placed.rule
    if family_of(rule) is not None or rule.action not in PASSES or not set(directions(rule)) & set(directions(drop)):
        return False
    if rule.action == "return" and placed.filter.chain != "root":
        return False
    return kind_of(rule) in (family, EVERYTHING) and chain_kind(placed.filter.chain) in (family, EVERYTHING)


def _cut(drop: Placed, accept: Placed, all_: str) -> Diagnostic:
    return Diagnostic(
        rule=CUT_BELOW,
        message="this drops every frame before IP is looked at: what the filter accepts of IP never gets there",
        hint=f"Write {all_}: {{}} for what isn't accepted, or accept the frames of that protocol before the drop.",
        origin=_at_action(drop),
        related=((accept.place, "is never asked"),),
    )

