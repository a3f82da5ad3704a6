"""What the whole of a filter does to IPv6, and to the frames below IP."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.checks._filters import (
    DROPS,
    EVERYTHING,
    IPV4,
    IPV6,
    PASSES,
    Placed,
    accepts_of,
    at_action,
    chain_kind,
    conditions,
    directions,
    ethertype,
    family_of,
    kind_of,
    last_drop,
    priority_of,
    said_besides_state,
    tell_once,
    used_trees,
)
from kvmgen.diagnostics import Diagnostic, Origin, Rule, Severity
from kvmgen.model.filters import Filter, FilterRule
from kvmgen.model.site import Site

IPV6_FREE = Rule(code="KV520", title="IPv6 past an IPv4 filter")
NO_NEIGHBOURS = Rule(code="KV521", title="IPv6 without neighbour discovery", severity=Severity.WARNING)
CUT_BELOW = Rule(code="KV524", title="Dropping frames that other rules accept")

_NEIGHBOURS = frozenset(("135", "136"))
_ALL = {IPV4: "all", IPV6: "all-ipv6"}


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
            tell_once(found, _free(filter_, drop))
    yield from found.values()


def _drops_ipv4(rule: FilterRule) -> bool:
    is_all = rule.match is not None and rule.match.protocol == "all"
    return is_all and rule.action in DROPS and not said_besides_state(rule)


def _is_about_ipv6(placed: Placed) -> bool:
    rule = placed.rule
    if family_of(rule) is not None:
        return family_of(rule) == IPV6
    chain = chain_kind(placed.filter.chain)
    if IPV6 in (chain, kind_of(rule)):
        return True
    return chain == EVERYTHING and rule.action in DROPS and kind_of(rule) == EVERYTHING and _is_whole_or_other(rule)


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

    Connection tracking leaves these messages untracked, and libvirt limits an accept to tracked states: even ``accept
    in icmpv6`` doesn't match them. What is accepted beside the drop never gets as far as being sent.

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
        last = last_drop(tree, IPV6)
        accepts = accepts_of(tree, IPV6)
        if last is None or not accepts or any(_finds_neighbours(rule, last.rule) for rule in accepts):
            continue
        tell_once(found, _lost(last))
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
        origin=at_action(last),
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
    for filter_, tree in used_trees(site):
        if filter_.origin.file.startswith("policies/"):
            continue  # a policy means both IP versions, whichever of them the interface has
        for family in (IPV4, IPV6):
            accept = next((one for one in tree if one.is_own and _is_accept(one.rule, family)), None)
            drop = next((one for one in tree if _ends_frames(one)), None)
            if accept and drop and not any(_accepts_frames(one, family, drop.rule) for one in tree):
                tell_once(found, _cut(drop, accept, _ALL[family]))
    yield from found.values()


def _is_accept(rule: FilterRule, family: str) -> bool:
    return rule.action == "accept" and family_of(rule) == family


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
        origin=at_action(drop),
        related=((accept.place, "is never asked"),),
    )
