"""Direct rules in chains, with targets and in words that aren't there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from kvmgen.checks._iptables import BUILT_IN_CHAINS, Place, declared, what_follows, written
from kvmgen.checks._words import Option, Words
from kvmgen.diagnostics import Diagnostic, Rule
from kvmgen.model.host import DirectRule, Node
from kvmgen.model.site import Site

NO_CHAIN = Rule(code="KV603", title="A rule in a chain that isn't there")
NO_TARGET = Rule(code="KV604", title="A rule with a target that isn't there")
OTHER_VERSION = Rule(code="KV605", title="A rule in the words of the other IP version")


def no_chain(site: Site) -> Iterator[Diagnostic]:
    """A rule in a chain that neither its table has nor `chains` declares: the whole file fails at that rule.

    Table filter has INPUT, FORWARD and OUTPUT, nat and raw have no FORWARD. el6's kernel has no INPUT in table nat, and
    no table nat for IPv6 at all. What Docker or libvirt make is not there yet when the firewall starts.

    Bad::

        # hosts/kvm01.yaml
        chains:
          - {family: ipv4, chain: GUESTS}
        direct:
          - {family: ipv4, chain: FORWARD, rule: "-i br0 -j GUESTS"}
          - {family: ipv4, chain: GUESTZ, rule: "-s 192.0.2.99 -j DROP"}
          - {family: ipv4, table: filter, chain: POSTROUTING, rule: "-s 192.0.2.99 -j DROP"}

    Good::

        # hosts/kvm01.yaml
        chains:
          - {family: ipv4, chain: GUESTS}
        direct:
          - {family: ipv4, chain: FORWARD, rule: "-i br0 -j GUESTS"}
          - {family: ipv4, chain: GUESTS, rule: "-s 192.0.2.99 -j DROP"}
          - {family: ipv4, table: mangle, chain: POSTROUTING, rule: "-s 192.0.2.99 -j DROP"}

    Source: iptables(8), the tables and their chains (https://man7.org/linux/man-pages/man8/iptables.8.html).
    """
    for node, rule, _ in written(site):
        reason = _missing(node, rule)
        if reason:
            yield Diagnostic(
                rule=NO_CHAIN,
                message=f"{reason}; {what_follows(node)}",
                hint=f"Table {rule.table} has {', '.join(_built_in(node, rule.table))}; declare others under `chains`, "
                "for the same family and table.",
                origin=rule.origin.at("chain"),
            )


def _missing(node: Node, rule: DirectRule) -> str | None:
    if node.platform.major == 6 and (rule.family, rule.table) == ("ipv6", "nat"):
        return "el6 has no table nat for IPv6"
    known = rule.chain in _built_in(node, rule.table) or (rule.family, rule.table, rule.chain) in declared(node)
    if known or _is_firewallds(node, rule.chain):
        return None
    return f"there is no chain {rule.chain!r} in table {rule.table} for {_FAMILIES[rule.family]}"


_FAMILIES = {"ipv4": "IPv4", "ipv6": "IPv6"}


def _built_in(node: Node, table: str) -> tuple[str, ...]:
    chains = BUILT_IN_CHAINS[table]
    return tuple(chain for chain in chains if (node.platform.major, table, chain) != (6, "nat", "INPUT"))


def _is_firewallds(node: Node, chain: str) -> bool:
    """Whether it may be one of the chains that firewalld itself makes, which its nftables backend doesn't."""
    return node.platform.major == 7 and re.match(r"(IN|FWDI|FWDO|PRE|POST)_|(INPUT|FORWARD|OUTPUT)_", chain) is not None


def no_target(site: Site) -> Iterator[Diagnostic]:
    """A misspelt verdict is taken for a chain that isn't there, and the whole file fails with it.

    Some targets belong to one table: MASQUERADE, SNAT, DNAT and REDIRECT to nat, REJECT to filter; table nat takes no
    DROP. Targets are written in capitals.

    Bad::

        # hosts/kvm01.yaml
        - {family: both, chain: INPUT, rule: "-p tcp --dport 25 -j DORP"}
        - {family: both, table: mangle, chain: FORWARD, rule: "-p tcp --dport 25 -j REJECT"}

    Good::

        # hosts/kvm01.yaml
        - {family: both, chain: INPUT, rule: "-p tcp --dport 25 -j DROP"}
        - {family: both, table: mangle, chain: FORWARD, rule: "-p tcp --dport 25 -j DROP"}

    Source: iptables-extensions(8), the targets (https://man7.org/linux/man-pages/man8/iptables-extensions.8.html).
    """
    for node, rule, read in written(site):
        reason = _wrong_target(node, rule, read)
        if reason:
            yield Diagnostic(
                rule=NO_TARGET,
                message=f"{reason}; {what_follows(node)}",
                hint="Write ACCEPT, DROP, REJECT or another target that the table has, or declare the chain under "
                "`chains` for the same family and table.",
                origin=rule.origin.at("rule"),
            )


_VERDICTS = frozenset(("ACCEPT", "DROP", "RETURN", "QUEUE"))
_EXTENSIONS = frozenset(
    (
        *("AUDIT", "CHECKSUM", "CLASSIFY", "CLUSTERIP", "CONNMARK", "CONNSECMARK", "CT", "DNAT", "DNPT", "DSCP", "ECN"),
        *("HL", "HMARK", "IDLETIMER", "LED", "LOG", "MARK", "MASQUERADE", "NETMAP", "NFLOG", "NFQUEUE", "NOTRACK"),
        *("RATEEST", "REDIRECT", "REJECT", "SECMARK", "SET", "SNAT", "SNPT", "SYNPROXY", "TCPMSS", "TCPOPTSTRIP"),
        *("TEE", "TOS", "TPROXY", "TRACE", "TTL", "ULOG"),
        *("ACCOUNT", "CHAOS", "DELUDE", "DHCPMAC", "DNETMAP", "ECHO", "IPMARK", "LOGMARK", "PROTO", "RAWDNAT"),
        *("RAWSNAT", "STEAL", "SYSRQ", "TARPIT"),
    )
)
"""iptables' targets, and behind them those of xtables-addons."""

_TABLES_OF: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        **dict.fromkeys(("MASQUERADE", "SNAT", "DNAT", "REDIRECT", "NETMAP"), ("nat",)),
        "REJECT": ("filter",),
        "DROP": ("filter", "mangle", "raw"),
        **dict.fromkeys(("TTL", "HL", "DSCP", "TOS", "ECN", "TPROXY"), ("mangle",)),
        **dict.fromkeys(("CT", "NOTRACK"), ("raw",)),
    }
)


def _wrong_target(node: Node, rule: DirectRule, read: Words) -> str | None:
    target = read.target
    place: Place = (rule.family, rule.table, target)
    if not target or place in declared(node) or _is_firewallds(node, target):
        return None
    if read.get("-g") or target not in _VERDICTS | _EXTENSIONS:
        return f"there is no target or chain {target!r}"
    if rule.table not in _TABLES_OF.get(target, (rule.table,)):
        return f"table {rule.table} doesn't take {target}"
    return None


def other_version(site: Site) -> Iterator[Diagnostic]:
    """`family: both` writes one text for two programs: what only one of them knows makes the other's file fail.

    Addresses belong to one version, and so do `--reject-with icmp-...` and `--icmp-type`. ip6tables takes `-p icmp`,
    but no IPv6 packet has that protocol: what was to let pings and neighbour discovery pass lets nothing pass.

    Bad::

        # hosts/kvm01.yaml
        - {family: both, chain: INPUT, rule: "-p icmp -j ACCEPT"}
        - {family: both, chain: INPUT, rule: "-s 192.0.2.99 -j DROP"}

    Good::

        # hosts/kvm01.yaml
        - {family: ipv4, chain: INPUT, rule: "-p icmp -j ACCEPT"}
        - {family: ipv6, chain: INPUT, rule: "-p ipv6-icmp -j ACCEPT"}
        - {family: ipv4, chain: INPUT, rule: "-s 192.0.2.99 -j DROP"}

    Source: iptables-extensions(8), icmp, icmp6 and REJECT
    (https://man7.org/linux/man-pages/man8/iptables-extensions.8.html).
    """
    for node, rule, read in written(site):
        foreign = next((option for option in read.options if _is_foreign(option, rule.family)), None)
        if foreign:
            text = " ".join((foreign.name, *foreign.values))
            other = "IPv6" if rule.family == "ipv4" else "IPv4"
            follows = "it fits no packet" if foreign.name == "-p" else what_follows(node)
            yield Diagnostic(
                rule=OTHER_VERSION,
                message=f"'{text}' is {other}'s, and the rule is for {_FAMILIES[rule.family]}: {follows}",
                hint="Write a rule for each family: '-p icmp' for ipv4 is '-p ipv6-icmp' for ipv6.",
                origin=rule.origin.at("rule"),
            )


_FOREIGN_WORDS: Mapping[str, frozenset[str]] = MappingProxyType(
    {"ipv4": frozenset(("icmpv6", "ipv6-icmp", "58")), "ipv6": frozenset(("icmp", "1"))}
)


def _is_foreign(option: Option, family: str) -> bool:
    name, value = option.name, option.value
    if name == "-p":
        return value.lower() in _FOREIGN_WORDS[family] and not option.negated
    if name == "--reject-with":
        return value.startswith("icmp-" if family == "ipv6" else "icmp6-")
    if name in ("--icmp-type", "-f"):
        return family == "ipv6"
    if name == "--icmpv6-type":
        return family == "ipv4"
    if name in ("-s", "-d", "--to-destination", "--to-source", "--to"):
        return _version(value) not in (None, family)
    return False


def _version(text: str) -> str | None:
    """The family of what looks like an address, perhaps with a length, a port or another address behind it."""
    if re.match(r"\d+\.\d+\.\d+\.\d+", text):
        return "ipv4"
    return "ipv6" if re.match(r"\[?[0-9a-fA-F]*:[0-9a-fA-F:]*", text) else None
