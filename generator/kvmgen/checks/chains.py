"""A machine's chains: those of its own, and rules that no packet comes to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from kvmgen.checks._iptables import BUILT_IN_CHAINS, Place, chains, declared, what_follows
from kvmgen.checks._words import DROPS, Option, words
from kvmgen.diagnostics import Diagnostic, Rule, Severity
from kvmgen.model.host import DirectChain, DirectRule, Node
from kvmgen.model.site import Site

IMPOSSIBLE_CHAIN = Rule(code="KV607", title="A chain that can't be made")
UNUSED_CHAIN = Rule(code="KV608", title="A chain that no rule jumps to", severity=Severity.WARNING)
UNREACHABLE = Rule(code="KV609", title="A rule that no packet reaches")


def impossible(site: Site) -> Iterator[Diagnostic]:
    """A chain named as a built-in one, declared twice on el6, or that leads back to itself: the firewall fails.

    firewalld refuses to declare INPUT; iptables-restore of el6 refuses a second chain of one name; the kernel refuses a
    ring of jumps. With firewalld no direct rule is loaded then.

    Bad::

        # hosts/kvm01.yaml
        chains:
          - {family: both, chain: INPUT}
          - {family: both, chain: GUESTS}
          - {family: both, chain: GUESTS}
        direct:
          - {family: both, chain: FORWARD, rule: "-i br0 -j GUESTS"}
          - {family: both, chain: GUESTS, rule: "-p tcp -j GUESTS"}

    Good::

        # hosts/kvm01.yaml
        chains:
          - {family: both, chain: GUESTS}
          - {family: both, chain: MAIL}
        direct:
          - {family: both, chain: FORWARD, rule: "-i br0 -j GUESTS"}
          - {family: both, chain: GUESTS, rule: "-p tcp -j MAIL"}

    Source: firewalld.direct(5), `chain` (https://firewalld.org/documentation/man-pages/firewalld.direct.html).
    """
    for node in site.nodes():
        for chain, what in _wrongly_declared(node):
            yield Diagnostic(
                rule=IMPOSSIBLE_CHAIN,
                message=f"the chain {chain.chain!r} {what}; {what_follows(node)}",
                hint="Declare each chain of your own once; the built-in ones are there.",
                origin=chain.origin.at("chain"),
            )
        yield from _rings(node)


def _wrongly_declared(node: Node) -> Iterator[tuple[DirectChain, str]]:
    seen: set[Place] = set()
    for chain in node.firewall.chains if node.firewall else ():
        place = (chain.family, chain.table, chain.chain)
        if chain.chain in BUILT_IN_CHAINS[chain.table]:
            yield chain, f"of table {chain.table} is there already"
        elif place in seen and node.platform.major == 6:
            yield chain, "is declared twice"
        seen.add(place)


def _rings(node: Node) -> Iterator[Diagnostic]:
    own = declared(node)
    jumps = {place: _jumps(place, rules, own) for place, rules in chains(node).items() if place in own} if own else {}
    done: set[Place] = set()
    for place in jumps:
        ring = _ring(jumps, place, [], done)
        if ring:
            yield Diagnostic(
                rule=IMPOSSIBLE_CHAIN,
                message=f"the chain {ring.chain!r} leads back to itself; {what_follows(node)}",
                hint="Remove one of the jumps.",
                origin=ring.origin.at("rule"),
            )


Jumps = Mapping[Place, Sequence[tuple[Place, DirectRule]]]


def _jumps(place: Place, rules: Sequence[DirectRule], own: frozenset[Place]) -> list[tuple[Place, DirectRule]]:
    targets = (((*place[:2], words(rule.rule).target), rule) for rule in rules)
    return [(target, rule) for target, rule in targets if target in own]


def _ring(jumps: Jumps, place: Place, way: list[Place], done: set[Place]) -> DirectRule | None:
    """The jump that closes a ring, or nothing."""
    if place in done:
        return None
    done.add(place)
    for target, rule in jumps.get(place, ()):
        if target in (*way, place):
            return rule
        found = _ring(jumps, target, [*way, place], done)
        if found:
            return found
    return None


def unused(site: Site) -> Iterator[Diagnostic]:
    """A chain of one's own that no rule jumps to is never entered: its rules are loaded and decide nothing.

    Bad::

        # hosts/kvm01.yaml
        chains:
          - {family: ipv4, chain: GUESTS}
        direct:
          - {family: ipv4, chain: GUESTS, rule: "-s 192.0.2.99 -j DROP"}

    Good::

        # hosts/kvm01.yaml
        chains:
          - {family: ipv4, chain: GUESTS}
        direct:
          - {family: ipv4, chain: FORWARD, rule: "-i br0 -j GUESTS"}
          - {family: ipv4, chain: GUESTS, rule: "-s 192.0.2.99 -j DROP"}

    Source: iptables(8), user-defined chains (https://man7.org/linux/man-pages/man8/iptables.8.html).
    """
    for node in site.nodes():
        if node.firewall is None or not node.firewall.chains:
            continue
        used = {(rule.family, rule.table, words(rule.rule).target) for rule in node.firewall.rules}
        for chain in node.firewall.chains:
            place = (chain.family, chain.table, chain.chain)
            if place not in used and chain.chain not in BUILT_IN_CHAINS[chain.table]:
                yield Diagnostic(
                    rule=UNUSED_CHAIN,
                    message=f"no rule of table {chain.table} jumps to the chain {chain.chain!r}: it is never entered",
                    hint=f"Add a rule of its family and table with '-j {chain.chain}', or remove the chain.",
                    origin=chain.origin,
                )


def unreachable(site: Site) -> Iterator[Diagnostic]:
    """Behind a rule that decides every packet, the chain's other rules are never asked; so with contradictions.

    Rules of a chain stand by their priority, those of one priority in the order of the inventory. A rule added at the
    end of a list that closes with `-j REJECT` looks loaded in every listing.

    Bad::

        # hosts/kvm01.yaml
        - {family: both, chain: FORWARD, priority: 1, rule: "-p tcp --dport 26 -j DROP"}
        - {family: both, chain: FORWARD, priority: 0, rule: "-j ACCEPT"}
        - {family: both, chain: OUTPUT, rule: "-p tcp --dport 25 -j ACCEPT"}
        - {family: both, chain: OUTPUT, rule: "-p tcp -m tcp --dport 25 -j DROP"}

    Good::

        # hosts/kvm01.yaml
        - {family: both, chain: FORWARD, priority: 0, rule: "-p tcp --dport 26 -j DROP"}
        - {family: both, chain: FORWARD, priority: 1, rule: "-j ACCEPT"}
        - {family: both, chain: OUTPUT, rule: "-p tcp -m tcp --dport 25 -j DROP"}

    Source: firewalld.direct(5), `priority` (https://firewalld.org/documentation/man-pages/firewalld.direct.html).
    """
    for node in site.nodes():
        for rules in chains(node).values() if node.firewall else ():
            yield from _unreachable(rules)


def _unreachable(rules: Sequence[DirectRule]) -> Iterator[Diagnostic]:
    decided: dict[frozenset[Option], tuple[DirectRule, str]] = {}
    everything: frozenset[Option] = frozenset()
    for rule in rules:
        read = words(rule.rule)
        conditions = read.conditions
        before, verdict = decided.get(everything) or decided.get(conditions) or (None, "")
        if before and rule.why is None and (everything in decided or verdict != read.target):
            what = "every packet" if everything in decided else "the same packets"
            yield Diagnostic(
                rule=UNREACHABLE,
                message=f"no packet reaches the rule: one before it in {rule.chain} decides {what}",
                hint="Move it forward (a smaller `priority`, or further up), or remove one of the two.",
                origin=rule.origin.at("rule"),
                related=((before.origin.at("rule"), "the rule that decides"),),
            )
        if read.decides_all or (read.target in DROPS | {"ACCEPT"} and not _is_fickle(conditions)):
            decided.setdefault(conditions, (rule, read.target))


def _is_fickle(conditions: frozenset[Option]) -> bool:
    """Whether one packet may fit and the next one like it not (limits, counters, dice)."""
    return any(option.name == "-m" for option in conditions)
