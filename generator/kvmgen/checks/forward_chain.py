"""What a machine's packet filter leaves open, or shuts, for all that it forwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from kvmgen.checks._bridged import with_guests
from kvmgen.checks._iptables import BUILT_IN_CHAINS, Place, chains
from kvmgen.checks._sysctl import is_on, settings
from kvmgen.checks._words import DROPS, Option, Words, words
from kvmgen.diagnostics import Diagnostic, Origin, Rule
from kvmgen.model.host import DirectRule, Firewall, Host, Node
from kvmgen.model.site import Site

IPV6_OPEN = Rule(code="KV620", title="A drop for IPv4 that leaves IPv6 open")
GUESTS_SHUT_OFF = Rule(code="KV621", title="Guests that the host's own FORWARD rules shut off")


def ipv6_open(site: Site) -> Iterator[Diagnostic]:
    """iptables and ip6tables are two filters: what is dropped in one passes in the other, and most machines speak both.

    Not told of rules that name IPv4 addresses or what only IPv4 has, nor where a rule for IPv6 drops as much or more.

    Bad::

        # hosts/kvm01.yaml
        - {family: ipv4, table: mangle, chain: FORWARD, rule: "-i br0 -p tcp --dport 25 -j DROP"}

    Good::

        # hosts/kvm01.yaml
        - {family: both, table: mangle, chain: FORWARD, rule: "-i br0 -p tcp --dport 25 -j DROP"}

    Source: ip6tables in https://man7.org/linux/man-pages/man8/iptables.8.html.
    """
    for node in site.nodes():
        if node.firewall is None or not node.firewall.rules or not _is_open_to_ipv6(node, node.firewall):
            continue
        by_chain = chains(node)
        for (family, table, chain), rules in by_chain.items():
            if family == "ipv4" and table != "nat" and chain in BUILT_IN_CHAINS[table]:
                drops = _drops(by_chain.get(("ipv6", table, chain), ()))
                closed = table == "filter" and ("ipv6", chain, "DROP") in node.firewall.chain_policies
                yield from (_told(rule) for rule in rules if not closed and _has_no_twin(rule, drops))


def _is_open_to_ipv6(node: Node, firewall: Firewall) -> bool:
    """Not where IPv6 is off; nor on el6 where nothing is said of it: the distribution's own file stays, and rejects."""
    said = firewall.chain_policies or any(rule.family == "ipv6" for rule in firewall.rules)
    if node.platform.major == 6 and not said:
        return False
    return not is_on(settings(node), "net.ipv6.conf.all.disable_ipv6")


def _drops(rules: Sequence[DirectRule]) -> frozenset[frozenset[Option]]:
    """What the rules that drop ask for."""
    return frozenset(words(rule.rule).conditions for rule in rules if words(rule.rule).target in DROPS)


def _has_no_twin(rule: DirectRule, drops: frozenset[frozenset[Option]]) -> bool:
    read = words(rule.rule)
    if read.target not in DROPS or rule.why or any(map(_is_ipv4s, read.options)):
        return False
    return not _includes_one(read.conditions, drops)


def _includes_one(conditions: frozenset[Option], drops: frozenset[frozenset[Option]]) -> bool:
    """Whether some drop asks for no more; by whichever are fewer, the drops or the ways to ask for less."""
    if len(drops) < 2 ** len(conditions):
        return any(drop <= conditions for drop in drops)
    fewer = (frozenset(some) for size in range(len(conditions) + 1) for some in combinations(conditions, size))
    return not drops.isdisjoint(fewer)


_IPV4S = frozenset(("-s", "-d", "-f", "-4", "--src-range", "--dst-range", "--match-set", "--icmp-type", "--ahspi"))
_IPV4S_PROTOCOLS = frozenset(("icmp", "1", "igmp", "2", "ipencap", "ipip", "4", "ipv6", "41", "ah", "51"))
_IPV4S_PORTS = frozenset(("67", "68", "67:68", "bootps", "bootpc"))


def _is_ipv4s(option: Option) -> bool:
    if option.name == "-p":
        return option.value.lower() in _IPV4S_PROTOCOLS
    if option.name in ("--dport", "--sport"):
        return option.value in _IPV4S_PORTS
    return option.name in _IPV4S or option.name.startswith("--ttl")


def _told(rule: DirectRule) -> Diagnostic:
    return Diagnostic(
        rule=IPV6_OPEN,
        message=f"the rule drops IPv4 only: the same over IPv6 passes chain {rule.chain}",
        hint="Write `family: both`, or a rule of its own with `family: ipv6`.",
        origin=rule.origin.at("family"),
    )


def shut_off(site: Site) -> Iterator[Diagnostic]:
    """With bridge netfilter on, a FORWARD chain that ends in a reject also rejects what passes between guests' ports.

    el6's own firewall closes so, and many others that were written for routed packets. Guests on the host's bridges
    reach neither each other nor their gateway then; those with a filter for TCP and the like do, by libvirt's rules.

    Bad::

        # hosts/kvm01.yaml
        - {family: both, chain: FORWARD, rule: "-m state --state ESTABLISHED,RELATED -j ACCEPT"}
        - {family: both, chain: FORWARD, rule: "-j REJECT"}

    Good::

        # hosts/kvm01.yaml
        - {family: both, chain: FORWARD, rule: "-m state --state ESTABLISHED,RELATED -j ACCEPT"}
        - {family: both, chain: FORWARD, rule: "-m physdev --physdev-is-bridged -j ACCEPT"}
        - {family: both, chain: FORWARD, rule: "-j REJECT"}

    Source: bridge-nf-call-iptables in https://docs.kernel.org/networking/ip-sysctl.html; physdev in
    https://man7.org/linux/man-pages/man8/iptables-extensions.8.html.
    """
    hosts = {host.name: host for host in site.hosts.values() if host.bridge_netfilter and host.firewall}
    by_host: dict[str, dict[str, Origin]] = {}
    for (host, bridge), origin in with_guests(site, hosts).items():
        if any(link.name == bridge for link in hosts[host].bridges):
            by_host.setdefault(host, {})[bridge] = origin
    for name, bridges in by_host.items():
        yield from _shutting(hosts[name], bridges)


def _shutting(host: Host, bridges: Mapping[str, Origin]) -> Iterator[Diagnostic]:
    by_chain = chains(host)
    for family in ("ipv4", "ipv6"):
        place = _end(host, by_chain, (family, "filter", "FORWARD"), bridges)
        if place is not None:
            first = next(iter(bridges))
            yield Diagnostic(
                rule=GUESTS_SHUT_OFF,
                message=f"bridge netfilter is on, and nothing before this accepts frames between guests on {first}",
                hint="Accept them first: '-m physdev --physdev-is-bridged -j ACCEPT' in FORWARD, for both families.",
                origin=place,
                related=((bridges[first], "guests on the bridge"),),
            )


def _end(
    host: Host, by_chain: Mapping[Place, Sequence[DirectRule]], place: Place, bridges: Mapping[str, Origin]
) -> Origin | None:
    """The rule or policy that shuts the chain before anything lets frames between guests pass, or nothing."""
    for rule in by_chain.get(place, ()):
        read = words(rule.rule)
        if read.target in DROPS and read.decides_all:
            return rule.origin.at("rule")
        if read.target not in DROPS and _may_let_pass(read, bridges):
            return None
    firewall = host.firewall
    closes = firewall is not None and (place[0], "FORWARD", "DROP") in firewall.chain_policies
    return firewall.origin.at("chain-policies", "FORWARD") if firewall and closes else None


def _may_let_pass(read: Words, bridges: Mapping[str, Origin]) -> bool:
    """Whether some new flow between guests might leave the chain by the rule; in doubt it does."""
    named = [option for option in read.options if option.name in ("-i", "-o") and not option.negated]
    elsewhere = any(option.value not in bridges and not option.value.endswith("+") for option in named)
    return bool(read.target) and read.target != "LOG" and read.is_for_new_flows and not elsewhere and not _is_icmp(read)


def _is_icmp(read: Words) -> bool:
    return read.protocol in ("icmp", "1", "icmpv6", "ipv6-icmp", "58")
