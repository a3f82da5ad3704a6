"""el6's packet filter: /etc/sysconfig/iptables and ip6tables, as ``iptables-restore`` reads them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from kvmgen.artifact import Artifact, Kind, Lines
from kvmgen.model.host import DirectRule, Firewall, Node
from kvmgen.render._header import hash_header

_BUILT_IN = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}
"""The built-in chains of el6's kernel, tables in the order in which a packet meets them."""

_FILES = {"ipv4": "etc/sysconfig/iptables", "ipv6": "etc/sysconfig/ip6tables"}


def files(node: Node) -> Iterator[Artifact]:
    """One file for each family that the inventory says something of.

    A family of which it says nothing keeps the file that the host has: an empty one would open it. The mode is the
    scripts' own, 0600.
    """
    firewall = node.firewall
    if firewall is None:
        return
    for family, path in _FILES.items():
        text = "".join(_table(firewall, family, table) for table in _BUILT_IN)
        if text:
            yield Artifact(
                path=path,
                text=hash_header(firewall.origin) + text,
                kind=Kind.FIREWALL,
                sources=tuple(dict.fromkeys((firewall.origin, *(rule.origin for rule in firewall.rules)))),
                mode=0o600,
                lines=partial(_lines, firewall, family, hash_header(firewall.origin) + text),
            )


def _lines(firewall: Firewall, family: str, text: str) -> Lines:
    from kvmgen.render.origins.firewall import iptables_lines

    rules = [rule for table in _BUILT_IN for rule in _in_order(firewall, family, table)]
    return iptables_lines(firewall, text, rules)


def _in_order(firewall: Firewall, family: str, table: str) -> list[DirectRule]:
    rules = [rule for rule in firewall.rules if (rule.family, rule.table) == (family, table)]
    own = [chain.chain for chain in firewall.chains if (chain.family, chain.table) == (family, table)]
    return _sorted(rules, (*_BUILT_IN[table], *own))


def _table(firewall: Firewall, family: str, table: str) -> str:
    """A table from its name to COMMIT; nothing for a table without chains, rules or policies of ours."""
    rules = [rule for rule in firewall.rules if (rule.family, rule.table) == (family, table)]
    own = [chain.chain for chain in firewall.chains if (chain.family, chain.table) == (family, table)]
    verdicts = {chain: verdict for of, chain, verdict in firewall.chain_policies if of == family and table == "filter"}
    if not (rules or own or verdicts):
        return ""
    built_in = _BUILT_IN[table]
    return "".join(
        (
            f"*{table}\n",
            *(f":{chain} {verdicts.get(chain, 'ACCEPT')} [0:0]\n" for chain in built_in),
            *(f":{chain} - [0:0]\n" for chain in own),
            *map(_rule, _sorted(rules, (*built_in, *own))),
            "COMMIT\n",
        )
    )


def _sorted(rules: list[DirectRule], chains: tuple[str, ...]) -> list[DirectRule]:
    """Chain by chain, then by priority; rules of one priority keep their order."""
    position = {chain: number for number, chain in enumerate(chains)}
    return sorted(rules, key=lambda rule: (position.get(rule.chain, len(chains)), rule.priority))


def _rule(rule: DirectRule) -> str:
    why = "" if rule.why is None else f"# {rule.why}\n"
    return f"{why}-A {rule.chain} {rule.rule}\n"
