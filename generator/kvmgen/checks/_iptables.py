"""The packet filter rules of machines: those that iptables takes, chain by chain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from kvmgen.checks._refusals import refusal
from kvmgen.checks._words import Words, words
from kvmgen.model.host import DirectRule, Node
from kvmgen.model.site import Site

BUILT_IN_CHAINS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "filter": ("INPUT", "FORWARD", "OUTPUT"),
        "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
        "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
        "raw": ("PREROUTING", "OUTPUT"),
    }
)


def written(site: Site) -> Iterator[tuple[Node, DirectRule, Words]]:
    """Every rule that the inventory itself has, with its machine; not those that iptables refuses."""
    for node in site.nodes():
        for rule in node.firewall.rules if node.firewall else ():
            if rule.why is None and not refusal(rule.rule):
                yield node, rule, words(rule.rule)


Place = tuple[str, str, str]
"""A family, a table and a chain."""


def chains(node: Node) -> Mapping[Place, list[DirectRule]]:
    """A machine's rules by their chain, in the order in which a packet meets them."""
    found: dict[Place, list[DirectRule]] = {}
    for rule in sorted(node.firewall.rules if node.firewall else (), key=lambda rule: rule.priority):
        if not refusal(rule.rule):
            found.setdefault((rule.family, rule.table, rule.chain), []).append(rule)
    return found


def declared(node: Node) -> frozenset[Place]:
    """A machine's own chains."""
    return (
        frozenset((chain.family, chain.table, chain.chain) for chain in node.firewall.chains)
        if node.firewall
        else frozenset()
    )


def what_follows(node: Node) -> str:
    """What the machine does with a file that holds a rule which can't be loaded."""
    if node.platform.firewalld is None:
        return "iptables-restore loads none of the table's rules"
    return "firewalld fails and loads none of the direct rules"
