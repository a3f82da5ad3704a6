"""The order of rules in the whole of a filter and what it includes: what comes first, and what never gets its turn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from kvmgen.checks._filters import (
    DROPS,
    EVERYTHING,
    PASSES,
    Placed,
    chain_kind,
    chain_priority,
    conditions,
    directions,
    family_of,
    kind_of,
    own_filters,
    priority_of,
    trees,
)
from kvmgen.diagnostics import Diagnostic, Origin, Rule, Severity
from kvmgen.model.site import Site

CHAIN_PRIORITY = Rule(code="KV502", title="Chain priorities that don't hold")
SAME_PRIORITY = Rule(code="KV505", title="Rules of one priority that disagree", severity=Severity.WARNING)
NEVER_REACHED = Rule(code="KV506", title="Rules that nothing reaches")


def chain_priorities(site: Site) -> Iterator[Diagnostic]:
    """A chain exists once for a guest, and is entered once: two priorities for one name mean that one isn't heeded.

    libvirt takes that of the rule that it writes last. Filters that share a chain must agree, those that libvirt brings
    among them (an arp chain without a suffix has -500). The root chain is where everything starts, so its priority
    means nothing; and a priority of 0 is lost when libvirt starts again.

    Bad::

        # filters/addresses.yaml
        chain: ipv4-own
        priority: -710
        # filters/ports.yaml
        chain: ipv4-own
        priority: -690

    Good::

        # filters/addresses.yaml
        chain: ipv4-own
        priority: -710
        # filters/ports.yaml
        chain: ipv4-own
        priority: -710

    Source: libvirt's "Filtering chains" (https://libvirt.org/formatnwfilter.html#filtering-chains).
    """
    for filter_ in own_filters(site):
        if filter_.chain == "root" and filter_.priority:
            yield Diagnostic(
                rule=CHAIN_PRIORITY,
                message="the root chain has no priority: libvirt keeps the number and does nothing with it",
                hint="Remove it; the order is in the priorities of the rules.",
                origin=filter_.origin.at("priority"),
            )
        elif filter_.chain != "root" and filter_.priority == 0:
            yield Diagnostic(
                rule=CHAIN_PRIORITY,
                message="libvirt doesn't write a chain's priority of 0 down: from its next start on, the chain has the "
                "one of its protocol",
                hint="Write -1 or 1.",
                origin=filter_.origin.at("priority"),
            )
    found: dict[tuple[str, str], Diagnostic] = {}
    for tree in trees(site):
        for one, other in _torn_chains(tree):
            found.setdefault((one.filter.name, other.filter.name), _torn(one, other))
    yield from found.values()


def _torn_chains(tree: Iterable[Placed]) -> Iterator[tuple[Placed, Placed]]:
    """Pairs of filters with one chain and two priorities, what the inventory says first."""
    seen: dict[str, Placed] = {}
    for placed in tree:
        name = placed.filter.chain
        first = seen.setdefault(name, placed)
        if name != "root" and chain_priority(first.filter) != chain_priority(placed.filter):
            if placed.is_own:
                yield placed, first
            elif first.is_own:
                yield first, placed


def _torn(one: Placed, other: Placed) -> Diagnostic:
    filter_ = one.filter
    return Diagnostic(
        rule=CHAIN_PRIORITY,
        message=f"chain {filter_.chain} has priority {chain_priority(filter_)} here and {chain_priority(other.filter)}"
        f" in {other.filter.name}, and a guest has both: only one of them counts",
        hint="Give both the same priority, or one of the chains another name.",
        origin=filter_.origin.at("chain" if filter_.priority is None else "priority"),
        related=((_where(other), "the other priority"),),
    )


def _where(placed: Placed) -> Origin:
    if not placed.is_own:
        return placed.place
    return placed.filter.origin.at("chain" if placed.filter.priority is None else "priority")


# -- what a rule is about ----------------------------------------------------------------------------------------------


class _About(NamedTuple):
    """The packets that a rule matches, so that equal ones are the same packets for certain.

    Asked about many thousand times, and a tuple's hash costs a tenth of a record's.
    """

    kind: str
    negated: bool = False
    conditions: frozenset[tuple[str, str]] = frozenset()

    def and_wider(self) -> tuple[_About, ...]:
        """What certainly contains it: itself, every packet of its kind, every packet."""
        return self, _About(self.kind), _About(EVERYTHING)


def _about(placed: Placed) -> _About:
    rule = placed.rule
    said, kind = conditions(rule), kind_of(rule)
    negated = rule.match is not None and rule.match.negated
    if kind != EVERYTHING and not negated and rule.match is not None and rule.match.protocol == "mac":
        said.pop("protocolid", None)  # the kind says it
    if not rule.state_match:
        said.pop("state", None)
    if any(value.startswith("$") for value in said.values()):
        said["of"] = placed.filter.name  # another filter's variables may have other values
    return _About(kind, negated and bool(said), frozenset(said.items()))


def _layer(placed: Placed) -> str:
    return family_of(placed.rule) or f"chain {placed.filter.chain}"


def _is_judged(placed: Placed) -> bool:
    """Whether libvirt makes a rule of it, in its own place; other checks tell what isn't."""
    rule = placed.rule
    if family_of(rule) is None:
        return True
    is_typed = "type" in conditions(rule) and rule.direction == "inout"
    return placed.filter.chain == "root" and not is_typed and rule.action != "continue"


def _ends(placed: Placed) -> tuple[str, ...]:
    """The directions in which no packet that a rule is about gets past it."""
    rule = placed.rule
    if rule.action == "continue":
        return ()
    if family_of(rule) is None:
        return directions(rule)
    said = conditions(rule)
    if "connlimit-above" in said:
        return ()
    if "state" in said and rule.state_match:
        return directions(rule)
    if rule.action == "accept":
        return directions(rule) if rule.direction == "inout" or not rule.state_match else ()
    return directions(rule) if said else ("in", "out")  # libvirt mirrors it


# -- rules of one priority ---------------------------------------------------------------------------------------------


def same_priority(site: Site) -> Iterator[Diagnostic]:
    """Priorities are the order of rules; which of two rules of one priority comes first, libvirt doesn't promise.

    It matters where both match a packet and want different things. Without a priority every rule has 500.

    Bad::

        # filters/web.yaml
        rules:
          - {action: accept, direction: in, tcp: {dstportstart: 80}}
          - {action: drop, direction: inout, all: {}}

    Good::

        # filters/web.yaml
        rules:
          - {priority: 500, action: accept, direction: in, tcp: {dstportstart: 80}}
          - {priority: 1000, action: drop, direction: inout, all: {}}

    Source: libvirt's "Filtering rules" (https://libvirt.org/formatnwfilter.html#filtering-rules).
    """
    found: dict[Origin, Diagnostic] = {}
    for tree in trees(site):
        for one, other in _disagreeing(tree):
            found.setdefault(one.rule.origin, _tie(one, other))
    yield from found.values()


def _disagreeing(tree: Iterable[Placed]) -> Iterator[tuple[Placed, Placed]]:
    """Pairs of rules, each with the wider one first unless that isn't the inventory's."""
    groups: defaultdict[tuple[str, int, str], list[Placed]] = defaultdict(list)
    for placed in tree:
        if _is_judged(placed) and placed.rule.action != "continue":
            for direction in directions(placed.rule):
                groups[_layer(placed), priority_of(placed.rule), direction].append(placed)
    for group in groups.values():
        if len({_verdict(placed) for placed in group}) > 1:
            yield from _disagreeing_of(group)


def _disagreeing_of(group: list[Placed]) -> Iterator[tuple[Placed, Placed]]:
    first: dict[_About, dict[str, Placed]] = {}
    for placed in group:
        first.setdefault(_about(placed), {}).setdefault(_verdict(placed), placed)
    for placed in group:
        about = _about(placed)
        for wider in dict.fromkeys(about.and_wider()):
            for verdict, other in first.get(wider, {}).items():
                if verdict == _verdict(placed) or (wider == about and group.index(other) > group.index(placed)):
                    continue
                one, two = (placed, other) if wider == about or not other.is_own else (other, placed)
                if one.is_own:
                    yield one, two


def _verdict(placed: Placed) -> str:
    """What a rule does with a packet; for iptables libvirt writes return for many an accept."""
    action = placed.rule.action
    return "accept" if action in PASSES and family_of(placed.rule) else action


def _tie(one: Placed, other: Placed) -> Diagnostic:
    return Diagnostic(
        rule=SAME_PRIORITY,
        message=f"both rules have priority {priority_of(one.rule)}, both match, and one says {one.rule.action}, the"
        f" other {other.rule.action}: nothing says which of them comes first",
        hint="Give them different priorities, the lower one to what shall be asked first.",
        origin=one.rule.origin.at("action" if one.rule.priority is None else "priority"),
        related=((other.place, f"the {other.rule.action}"),),
    )


# -- rules that nothing reaches ----------------------------------------------------------------------------------------


def never_reached(site: Site) -> Iterator[Diagnostic]:
    """The first rule that matches decides, so a rule behind one that takes all its packets never has a say.

    Rules for tcp, udp, all and their like stand in one order, those for frames in another: root's rules and, among
    them, the chains by their priorities. A chain behind root's accept of its protocol is never entered, and what it
    should hold passes: clean-traffic accepts outgoing IPv4 at -650, before a chain of priority -600.

    Bad::

        # filters/web.yaml
        rules:
          - {priority: 900, action: drop, direction: inout, all: {}}
          - {priority: 950, action: accept, direction: in, tcp: {dstportstart: 80}}

    Good::

        # filters/web.yaml
        rules:
          - {priority: 950, action: accept, direction: in, tcp: {dstportstart: 80}}
          - {priority: 1000, action: drop, direction: inout, all: {}}

    Source: libvirt's "Filtering chains" (https://libvirt.org/formatnwfilter.html#filtering-chains).
    """
    found: dict[Origin, Diagnostic] = {}
    for tree in trees(site):
        judged = [placed for placed in tree if _is_judged(placed)]
        ends = _Ends(judged)
        for placed in judged:
            before = ends.before(placed)
            if before is not None and placed.rule.origin.file.startswith("policies/"):
                continue  # policies add up: one may allow what another one allows as a whole
            if before is not None and placed.is_own and not _is_a_late_limit(placed, before):
                found.setdefault(placed.rule.origin, _dead(placed, before))
            elif before is not None and before.is_own and _is_disarmed(placed, before):
                found.setdefault(before.rule.origin, _disarming(before, placed))
    yield from found.values()


class _Ends:
    """Where each kind of packet ends, in one tree: by list of rules and direction, the first rule that takes it."""

    def __init__(self, judged: Iterable[Placed]) -> None:
        self._first: dict[tuple[str, str, _About], tuple[float, Placed]] = {}
        judged = list(judged)
        self._wider = {id(placed): _about(placed).and_wider() for placed in judged}
        chains: dict[tuple[str, str], int] = {}
        returns: dict[tuple[str, str], int] = {}
        for placed in judged:
            self._note(placed, returns)
            if placed.filter.chain != "root":
                chains[placed.filter.chain, chain_kind(placed.filter.chain)] = chain_priority(placed.filter)
        for (chain, kind), priority in chains.items():
            self._note_chain(chain, kind, priority, returns)

    def _note(self, placed: Placed, returns: dict[tuple[str, str], int]) -> None:
        layer, priority = _layer(placed), priority_of(placed.rule)
        for direction in _ends(placed):
            self._add(layer, direction, self._wider[id(placed)][0], priority, placed)
            if placed.rule.action == "return":
                returns[layer, direction] = min(priority, returns.get((layer, direction), priority))

    def _note_chain(self, chain: str, kind: str, priority: int, returns: dict[tuple[str, str], int]) -> None:
        """A chain that takes every frame, without a return before that, takes its kind from root's later rules."""
        layer = f"chain {chain}"
        for direction in ("in", "out"):
            for about in {_About(kind), _About(EVERYTHING)}:
                end = self._first.get((layer, direction, about))
                if end and end[0] < returns.get((layer, direction), 1 + end[0]):
                    self._add(_ROOT, direction, _About(kind), priority - 0.5, end[1])

    def _add(self, layer: str, direction: str, about: _About, priority: float, placed: Placed) -> None:
        key = (layer, direction, about)
        if key not in self._first or priority < self._first[key][0]:
            self._first[key] = (priority, placed)

    def before(self, placed: Placed) -> Placed | None:
        """What takes every packet of a rule before it, in all its directions; ``None`` where some get there."""
        found = [self._before(placed, direction) for direction in directions(placed.rule)]
        return found[0] if all(found) else None

    def _before(self, placed: Placed, direction: str) -> Placed | None:
        layer = _layer(placed)
        earlier = self._earlier(layer, direction, self._wider[id(placed)], priority_of(placed.rule))
        if earlier is None and layer.startswith("chain ") and layer != _ROOT:
            wider = _About(chain_kind(placed.filter.chain)).and_wider()
            earlier = self._earlier(_ROOT, direction, wider, chain_priority(placed.filter) - 0.5)
        return earlier

    def _earlier(self, layer: str, direction: str, wider: tuple[_About, ...], priority: float) -> Placed | None:
        for about in wider:
            end = self._first.get((layer, direction, about))
            if end and end[0] < priority:
                return end[1]
        return None


_ROOT = "chain root"


def _dead(placed: Placed, before: Placed) -> Diagnostic:
    where = "" if before.is_own else f" of {before.filter.name}"
    return Diagnostic(
        rule=NEVER_REACHED,
        message=f"this {placed.rule.action} never has a say: the {before.rule.action}{where} before it takes every"
        " packet that it matches",
        hint="Give it a lower priority than the other rule's, its chain included, or remove it.",
        origin=placed.rule.origin.at("action" if placed.rule.priority is None else "priority"),
        related=((before.place, f"the {before.rule.action}"),),
    )


def _is_a_late_limit(placed: Placed, before: Placed) -> bool:
    """Another check tells of those."""
    return before.rule.action == "accept" and "connlimit-above" in conditions(placed.rule)


def _is_disarmed(placed: Placed, before: Placed) -> bool:
    """Whether an accept keeps the frames from a chain that holds some."""
    return before.rule.action in PASSES and placed.rule.action in DROPS and placed.filter.chain != before.filter.chain


def _disarming(before: Placed, placed: Placed) -> Diagnostic:
    return Diagnostic(
        rule=NEVER_REACHED,
        message=f"this {before.rule.action} stands before chain {placed.filter.chain} of {placed.filter.name}, which"
        " holds nothing any more",
        hint=f"Give it a higher priority than the chain's, {chain_priority(placed.filter)}.",
        origin=before.rule.origin.at("action" if before.rule.priority is None else "priority"),
        related=((placed.place, f"includes {placed.filter.name}"),),
    )
