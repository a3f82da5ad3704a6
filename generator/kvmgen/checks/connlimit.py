"""Limits of connections in nwfilters: they count per source address, and hold only as a drop in front of an accept."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.checks._filters import (
    DROPS,
    EVERYTHING,
    Placed,
    conditions,
    directions,
    family_of,
    kind_of,
    own_rules,
    priority_of,
    states,
    trees,
)
from kvmgen.diagnostics import Diagnostic, Rule
from kvmgen.model.filters import FilterRule
from kvmgen.model.site import Site

UPSIDE_DOWN = Rule(code="KV516", title="Connection limits that limit nothing")
KILLS_THE_FIRST = Rule(code="KV517", title="Connection limits for any state")
TOO_LATE = Rule(code="KV518", title="Connection limits behind the accept")

LIMIT = "connlimit-above"
_NOT_OF_THE_FLOW = frozenset((LIMIT, "state"))


def _limits(site: Site) -> Iterator[FilterRule]:
    return (rule for _, rule in own_rules(site) if LIMIT in conditions(rule))


def upside_down(site: Site) -> Iterator[Diagnostic]:
    """``connlimit-above: 2`` is true of the third connection and of those after it: an accept lets only those pass.

    What limits is a drop of them, in front of an accept of the rest. Turned round with ``match: false``, an accept
    holds every packet of all connections as soon as there are too many, and a drop lets only too many pass. With
    direction inout, libvirt limits what comes in alone.

    Bad::

        # filters/limit.yaml
        rules:
          - {priority: 500, action: accept, direction: in, icmp: {connlimit-above: 2}}

    Good::

        # filters/limit.yaml
        rules:
          - {priority: 400, action: drop, direction: in, icmp: {state: NEW, connlimit-above: 2}}
          - {priority: 500, action: accept, direction: in, icmp: {}}

    Source: libvirt's "Limiting number of connections" (https://libvirt.org/formatnwfilter.html#limiting-number-of-connections),
    and https://github.com/libvirt/libvirt/blob/master/src/nwfilter/nwfilter_ebiptables_driver.c.
    """
    for rule in _limits(site):
        assert rule.match is not None
        at = rule.match.protocol
        if rule.action in ("accept", "return"):
            message = f"this lets connections pass only above the limit of {conditions(rule)[LIMIT]}"
            yield _wrong(UPSIDE_DOWN, rule, message, "action")
        elif rule.match.negated:
            message = f"turned round, this drops every connection up to the limit of {conditions(rule)[LIMIT]}"
            yield _wrong(UPSIDE_DOWN, rule, message, at, "match")
        elif rule.direction == "inout":
            message = "with direction inout, libvirt limits only what comes in"
            yield _wrong(UPSIDE_DOWN, rule, message, "direction")


def for_any_state(site: Site) -> Iterator[Diagnostic]:
    """A limit counts connections, but is asked for every packet: with one too many, it drops those of all.

    Only a packet of state NEW opens a connection. A limit for that state alone turns the third one away and leaves the
    first two in peace.

    Bad::

        # filters/limit.yaml
        rules:
          - {priority: 400, action: drop, direction: in, icmp: {connlimit-above: 2}}

    Good::

        # filters/limit.yaml
        rules:
          - {priority: 400, action: drop, direction: in, icmp: {state: NEW, connlimit-above: 2}}

    Source: iptables-extensions(8), connlimit (https://man7.org/linux/man-pages/man8/iptables-extensions.8.html).
    """
    for rule in _limits(site):
        if rule.action in DROPS and (not states(rule) or states(rule) & {"ESTABLISHED", "NONE"}):
            assert rule.match is not None
            message = "the connection above the limit takes those below it with it: packets of every state are dropped"
            yield _wrong(KILLS_THE_FIRST, rule, message, rule.match.protocol, LIMIT)


_HINT = "Drop what is above the limit, in state NEW, in front of the accept; one rule for each direction."


def _wrong(code: Rule, rule: FilterRule, message: str, *keys: str) -> Diagnostic:
    return Diagnostic(rule=code, message=message, hint=_HINT, origin=rule.origin.at(*keys))


def too_late(site: Site) -> Iterator[Diagnostic]:
    """The first rule that matches decides: a limit behind the accept of the same packets is never asked.

    Bad::

        # filters/limit.yaml
        rules:
          - {priority: 500, action: accept, direction: inout, icmp: {}}
          - {priority: 600, action: drop, direction: in, icmp: {state: NEW, connlimit-above: 2}}

    Good::

        # filters/limit.yaml
        rules:
          - {priority: 400, action: drop, direction: in, icmp: {state: NEW, connlimit-above: 2}}
          - {priority: 500, action: accept, direction: inout, icmp: {}}

    Source: libvirt's "Filtering rules" (https://libvirt.org/formatnwfilter.html#filtering-rules).
    """
    for tree in trees(site):
        limits = [one for one in tree if one.is_own and one.rule.action in DROPS and LIMIT in conditions(one.rule)]
        accepts = [one for one in tree if one.rule.action == "accept" and family_of(one.rule)] if limits else []
        for limit in limits:
            earlier = next((accept for accept in accepts if _is_asked_first(accept.rule, limit.rule)), None)
            if earlier is not None:
                yield _late(limit, earlier)


def _is_asked_first(accept: FilterRule, limit: FilterRule) -> bool:
    """Whether an accept takes all that a limit would be asked for."""
    ways = set(directions(limit)) & ({"in"} if limit.direction == "inout" else {"in", "out"})
    said = conditions(accept)
    return (
        priority_of(accept) < priority_of(limit)
        and family_of(accept) == family_of(limit)
        and kind_of(accept) in (kind_of(limit), EVERYTHING)
        and accept.match is not None
        and not accept.match.negated
        and LIMIT not in said
        and (not states(accept) or "NEW" in states(accept))
        and ways <= set(directions(accept))
        and {item for item in said.items() if item[0] not in _NOT_OF_THE_FLOW} <= conditions(limit).items()
    )


def _late(limit: Placed, earlier: Placed) -> Diagnostic:
    rule = limit.rule
    return Diagnostic(
        rule=TOO_LATE,
        message=f"an accept with priority {priority_of(earlier.rule)} takes these packets before the limit is asked",
        hint=_HINT,
        origin=rule.origin.at("priority") if rule.priority is not None else rule.origin,
        related=((earlier.place, "the accept"),),
    )
