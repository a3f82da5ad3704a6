"""What the whole of a filter does to connections: their directions, answers and errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kvmgen.checks._filters import (
    DROPS,
    EVERYTHING,
    IPV4,
    IPV6,
    Placed,
    accepts_of,
    conditions,
    directions,
    family_of,
    is_mirrored,
    kind_of,
    last_drop,
    said_besides_state,
    states,
    tell_once,
    trees,
    used_trees,
)
from kvmgen.diagnostics import Diagnostic, Origin, Rule, Severity
from kvmgen.model.filters import FilterRule
from kvmgen.model.site import Site

HOLDS_BOTH = Rule(code="KV508", title="Drops of one direction that hold both")
NO_ANSWERS = Rule(code="KV509", title="Accepting connections without their answers")
NOT_RELATED = Rule(code="KV510", title="Connection states without RELATED", severity=Severity.WARNING)

_CONNECTED = frozenset(("tcp", "sctp", "tcp-ipv6", "sctp-ipv6"))
_ICMP = {IPV4: "icmp", IPV6: "icmpv6"}


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
                tell_once(found, _holds_both(placed.rule))
    yield from found.values()


def _surprises(rule: FilterRule, tree: Sequence[Placed]) -> bool:
    family = family_of(rule)
    if family is None or rule.direction == "inout" or rule.action not in (*DROPS, "return") or not is_mirrored(rule):
        return False
    return rule.action == "return" or not any(_is_for_the_other_way(rule, one) for one in accepts_of(tree, family))


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
        message=f"without a state, libvirt writes this {rule.action} for direction {other} as well:"
        f" {rule.match.protocol} {what} in both",
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
            last = last_drop(tree, family)
            accepts = accepts_of(tree, family) if last else []
            for placed in tree:
                if last and placed.is_own and family_of(placed.rule) == family and _opens_only(placed.rule, accepts):
                    tell_once(found, _answerless(placed.rule, last))
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
    return accept.direction in (rule.direction, "inout") or not accept.state_match or not said_besides_state(accept)


def _answerless(rule: FilterRule, last: Placed) -> Diagnostic:
    assert rule.match is not None
    return Diagnostic(
        rule=NO_ANSWERS,
        message="only the first packet of a connection passes: no rule accepts state ESTABLISHED, and the final drop"
        " takes the answer",
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
            if first and last_drop(tree, family) and not any(map(_lets_errors_in, accepts_of(tree, family))):
                tell_once(found, _lonely(first.rule, _ICMP[family]))
    yield from found.values()


def _first_stateful(tree: Sequence[Placed], family: str) -> Placed | None:
    wanted = (one for one in tree if one.is_own and one.rule.action == "accept" and family_of(one.rule) == family)
    return next((one for one in wanted if "ESTABLISHED" in states(one.rule)), None)


def _lets_errors_in(rule: FilterRule) -> bool:
    if kind_of(rule) not in ("icmp", "icmpv6", EVERYTHING) or (
        "in" not in directions(rule) and rule.action == "accept"
    ):
        return False
    if "state" in conditions(rule) and rule.state_match:
        return bool(states(rule) & {"RELATED", "NONE"})
    return not rule.state_match or rule.direction == "inout" or rule.action == "return"


def _lonely(rule: FilterRule, icmp: str) -> Diagnostic:
    assert rule.match is not None
    return Diagnostic(
        rule=NOT_RELATED,
        message=f"connections pass by their state, but their {icmp} errors don't: no rule accepts RELATED",
        hint=f"Add an accept, direction in, {icmp}: {{state: RELATED}}.",
        origin=rule.origin.at(rule.match.protocol, "state"),
    )
