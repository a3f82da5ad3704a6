"""Where the lines of a packet filter's files come from: firewalld's, and el6's iptables files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from kvmgen.artifact import Lines
from kvmgen.diagnostics import Origin
from kvmgen.model.host import DirectRule, Firewall, Isolation, Node, Policy, Zone
from kvmgen.render.origins.sysctl import bridging_origins
from kvmgen.render.origins.walk import CHOICE, Origins, nth

_CHAIN = re.compile(r":(\S+) (\S+) ")


def direct_places(firewall: Firewall, node: Node) -> dict[str, Origins]:
    """Each chain and rule of direct.xml."""
    found: dict[str, Origins] = {"": (firewall.origin,)}
    found |= {nth("chain", index): (chain.origin,) for index, chain in enumerate(firewall.chains)}
    for index, rule in enumerate(firewall.rules):
        found[nth("rule", index)] = (rule.origin, *_members(node.isolations, rule.rule))
    return found


def _members(isolations: Iterable[Isolation], rule: str) -> Iterator[Origin]:
    """Who is in the group that a rule tells by what its taps' names start with."""
    for isolation in isolations:
        for prefix, origins in isolation.members.items():
            if f"{prefix}+" in rule or f'"{prefix}*"' in rule:
                yield from origins


def zone_places(zone: Zone | Policy, node: Node) -> dict[str, Origins]:
    """A zone or a policy; one that a bridge with guests needs comes from that bridge."""
    origin = zone.origin
    found: dict[str, Origins] = {"": (origin,) if is_said(zone) else (origin, *bridging_origins(node))}
    found |= {nth("rule", index): (rule.origin,) for index, rule in enumerate(zone.rules)}
    if isinstance(zone, Zone):
        found |= {nth("interface", i): _bound(name, zone, node) for i, name in enumerate(zone.interfaces)}
    return found | dict(_said(zone)) if is_said(zone) else found


def is_said(zone: Zone | Policy) -> bool:
    """Whether the inventory says it, rather than that a bridge with guests needs it."""
    return zone.origin.pointer[-2:-1] in {("zones",), ("policies",)}


def _said(zone: Zone | Policy) -> Iterator[tuple[str, Origins]]:
    at = zone.origin.at
    for tag in ("description", "masquerade", "forward"):
        yield tag, (at(tag),)
    for tag, listed in (("service", zone.services), ("port", zone.ports)):
        yield from ((nth(tag, index), (at(f"{tag}s", index),)) for index in range(len(listed)))
    if isinstance(zone, Zone):
        yield from ((nth("source", index), (at("sources", index),)) for index in range(len(zone.sources)))
        return
    for side, zones in (("ingress-zone", zone.ingress_zones), ("egress-zone", zone.egress_zones)):
        yield from ((nth(side, index), (at(f"{side}s", index),)) for index in range(len(zones)))


def _bound(name: str, zone: Zone, node: Node) -> Origins:
    """Where a link says its zone; a zone of kvmgen's is bound to the bridge that it was made for."""
    link = next((link for link in node.links if link.name == name and link.zone == zone.name), None)
    return (zone.origin,) if link is None else (link.origin.at("zone"),)


def iptables_lines(firewall: Firewall, text: str, rules: Iterable[DirectRule]) -> Lines:
    """Each rule, and each chain with the verdict that is said for it; ``rules`` as they stand in the file."""
    remaining = iter(rules)
    chains = {chain.chain: chain.origin for chain in firewall.chains}
    verdicts = {chain for _, chain, _ in firewall.chain_policies}
    found: dict[int, Origins] = {}
    comments: list[int] = []
    for number, line in enumerate(text.splitlines(), 1):
        chain = _CHAIN.match(line)
        if line.startswith("#"):
            comments.append(number)
            continue
        origins: Origins = CHOICE
        if line.startswith("-A "):
            origins = (next(remaining).origin,)
        elif chain is not None and chain[1] in chains:
            origins = (chains[chain[1]],)
        elif chain is not None and chain[1] in verdicts:
            origins = (firewall.origin.at("chain-policies", chain[1]),)
        found |= dict.fromkeys(comments, origins if found else (firewall.origin,))
        found[number] = origins
        comments = []
    return found


def nftables_origins(isolations: Iterable[Isolation], rules: Iterable[str]) -> Iterator[Origins]:
    """Each line of the table: a rule names the bridge that it keeps apart."""
    by_bridge = {f'meta ibrname "{isolation.bridge}" ': isolation for isolation in isolations}
    for rule in rules:
        about = next((isolation for start, isolation in by_bridge.items() if rule.strip().startswith(start)), None)
        yield CHOICE if about is None else (about.origin, *_members((about,), rule))
