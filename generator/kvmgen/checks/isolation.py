"""Rules of a host's FORWARD chain that were to keep guests apart, or to let them through."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.checks._bridged import filtered
from kvmgen.checks._iptables import chains, written
from kvmgen.checks._words import DROPS, Words, words
from kvmgen.diagnostics import Diagnostic, Rule, Severity
from kvmgen.model.host import Bridge, DirectRule, Host
from kvmgen.model.network import Forward, VirtualNetwork
from kvmgen.model.site import Site

BELOW_LIBVIRT = Rule(code="KV616", title="A drop that libvirt's own rules stand above")
BEHIND_REJECT = Rule(code="KV617", title="An accept that libvirt's own reject stands above", severity=Severity.WARNING)
BELOW_FILTERS = Rule(code="KV618", title="A drop that guests' own filters stand above")
UPLINK_CUT = Rule(code="KV619", title="A drop between guests that cuts their uplink")

_MANAGED = (Forward.NAT, Forward.ROUTE, Forward.ISOLATED)
"""The modes in which libvirt writes rules of its own for a network."""


def below_libvirt(site: Site) -> Iterator[Diagnostic]:
    """libvirt puts its rules for a network above all others of FORWARD when the network starts, and decides first.

    It accepts what goes from guest to guest and what a nat or routed network sends, and rejects the rest, so that
    no packet of the network comes to a rule of yours. Only networks of mode open are left to the administrator.

    Bad::

        # hosts/kvm01.yaml
        - {family: both, chain: FORWARD, rule: "-i virbr0 -o virbr0 -j DROP"}

    Good::

        # hosts/kvm01.yaml
        - {family: both, table: mangle, chain: FORWARD, rule: "-i virbr0 -o virbr0 -j DROP"}

    Source: https://libvirt.org/firewall.html (the virtual network driver).
    """
    for host, rule, read in _forwarding(site):
        network = _network(site, host, rule, read) if read.target in DROPS else None
        if network is not None:
            between_guests = read.bridge == network.bridge
            hint = "Write `isolation: guests` at the network, or the rule" if between_guests else "Write it"
            yield Diagnostic(
                rule=BELOW_LIBVIRT,
                message=f"libvirt's rules for the network {network.name!r} stand above and decide first: "
                "the rule drops nothing",
                hint=f"{hint} in table mangle, chain FORWARD, which comes before libvirt's rules.",
                origin=rule.origin.at("rule"),
                related=((network.origin, "the network"),),
            )


def _forwarding(site: Site) -> Iterator[tuple[Host, DirectRule, Words]]:
    """The rules of hosts' FORWARD chains in table filter."""
    for node, rule, read in written(site):
        if (rule.table, rule.chain) == ("filter", "FORWARD") and isinstance(node, Host):
            yield node, rule, read


def _network(site: Site, host: Host, rule: DirectRule, read: Words) -> VirtualNetwork | None:
    """The network with rules of libvirt's for the rule's IP version whose bridge the rule names."""
    named = {read.value("-i"), read.value("-o")} - {""}
    for network in site.networks.get(host.name, {}).values() if named else ():
        if network.bridge in named and network.forward in _MANAGED:
            has_ipv6 = network.guest_ipv6 or any(address.version == 6 for address in network.addresses)
            return network if rule.family == "ipv4" or has_ipv6 else None
    return None


def behind_reject(site: Site) -> Iterator[Diagnostic]:
    """What comes from outside into a nat or isolated network is rejected by libvirt's rules, which stand above yours.

    The usual half of a port forwarding: DNAT in table nat changes the address, and the accept behind it in FORWARD is
    never asked.

    Bad::

        # hosts/kvm01.yaml
        - {family: ipv4, chain: FORWARD, rule: "-o virbr0 -d 192.168.122.10 -p tcp --dport 80 -j ACCEPT"}

    Good::

        # hosts/kvm01.yaml
        - {family: ipv4, chain: FORWARD, rule: "-o virbr2 -d 192.168.124.10 -p tcp --dport 80 -j ACCEPT"}
        # networks/web.yaml
        forward: route

    Source: https://libvirt.org/firewall.html; https://wiki.libvirt.org/Networking.html (forwarding incoming
    connections).
    """
    for host, rule, read in _forwarding(site):
        network = _network(site, host, rule, read) if read.target == "ACCEPT" and read.is_for_new_flows else None
        if network is not None and _is_rejected(network, rule, read):
            yield Diagnostic(
                rule=BEHIND_REJECT,
                message=f"libvirt's rules for the network {network.name!r} stand above and reject what this accepts",
                hint="Use `forward: route` or `open`, or a guest on a bridge of the host, where others must reach it.",
                origin=rule.origin.at("rule"),
                related=((network.origin, "the network"),),
            )


def _is_rejected(network: VirtualNetwork, rule: DirectRule, read: Words) -> bool:
    if read.bridge == network.bridge:
        return False
    into = read.value("-o") == network.bridge
    if network.forward is Forward.ISOLATED:
        return True
    translated = rule.family == "ipv4" or (network.nat is not None and network.nat.ipv6)
    return network.forward is Forward.NAT and into and translated


def below_filters(site: Site) -> Iterator[Diagnostic]:
    """libvirt's rules for a guest with a filter for TCP, UDP and the like end with an accept, above all of yours.

    Whatever the guest's own filter lets pass never comes to a drop in table filter, in either direction: the guests
    with filters are those that the drop doesn't keep apart.

    Bad::

        # hosts/kvm01.yaml
        - family: both
          table: filter
          chain: FORWARD

    Good::

        # hosts/kvm01.yaml
        - family: both
          table: mangle
          chain: FORWARD

    Source: https://libvirt.org/formatnwfilter.html; https://libvirt.org/firewall.html (the network filter driver).
    """
    found = [
        (host, rule, read)
        for host, rule, read in _forwarding(site)
        if read.target in DROPS and host.bridge_netfilter and read.bridge
    ]
    with_filters = filtered(site, {host.name for host, _, _ in found})
    for host, rule, read in found:
        nic = with_filters.get(((host.name, read.bridge), rule.family))
        if nic is not None:
            yield Diagnostic(
                rule=BELOW_FILTERS,
                message=f"guests on {read.bridge} have filters whose rules stand above and accept: "
                "for those guests the rule drops nothing",
                hint="Write it in table mangle, chain FORWARD; or `isolation: guests` at the bridge, if it is to keep "
                "guests apart.",
                origin=rule.origin.at("rule"),
                related=((nic, "an interface with such a filter"),),
            )


def uplink_cut(site: Site) -> Iterator[Diagnostic]:
    """A bridge's uplink is a port like the guests': a drop of all that passes between ports cuts them from the network.

    The host itself still reaches them, so that it looks well from there. ARP passes, as in all of these rules.

    Bad::

        # hosts/kvm01.yaml
        rule: "-i br0 -o br0 -j DROP"

    Good::

        # hosts/kvm01.yaml
        rule: "-i br0 -o br0 -m physdev --physdev-is-bridged ! --physdev-in bond0 ! --physdev-out bond0 -j DROP"

    Source: physdev in https://man7.org/linux/man-pages/man8/iptables-extensions.8.html.
    """
    for node, rule, read in written(site):
        bridge = next((bridge for bridge in node.bridges if bridge.name == read.bridge), None)
        if bridge and bridge.ports and rule.chain == "FORWARD" and node.bridge_netfilter and _cuts(read):
            if _is_let_through(chains(node)[rule.family, rule.table, rule.chain], rule, bridge):
                continue
            ports = " and ".join(bridge.ports)
            yield Diagnostic(
                rule=UPLINK_CUT,
                message=f"the rule also drops what guests on {bridge.name} send and receive by its uplink {ports}",
                hint="Write `isolation: guests` at the bridge in its place, or leave the uplink out: '-m physdev "
                f"--physdev-is-bridged ! --physdev-in {bridge.ports[0]} ! --physdev-out {bridge.ports[0]}'.",
                origin=rule.origin.at("rule"),
                related=((bridge.origin.at("ports"), "the bridge's ports"),),
            )


def _cuts(read: Words) -> bool:
    """Whether it drops every frame of a bridge, or all but those that come in by (or go out by) one port."""
    routed_only = read.get("--physdev-is-bridged")
    if read.target not in DROPS or (routed_only and routed_only.negated):
        return False
    ports = [option for option in read.options if option.name in ("--physdev-in", "--physdev-out")]
    others = {option.name for option in read.conditions} - {"-i", "-o", "--physdev-is-bridged"}
    one_way = len(ports) == 1 and ports[0].negated
    return others <= {"--physdev-in", "--physdev-out"} and (not ports or one_way)


def _is_let_through(rules: list[DirectRule], drop: DirectRule, bridge: Bridge) -> bool:
    """Whether a rule before the drop takes the uplink's frames out of the chain."""
    for rule in rules:
        if rule is drop:
            return False
        read = words(rule.rule)
        uplink = {read.value("--physdev-in"), read.value("--physdev-out")} & set(bridge.ports)
        if uplink and read.target not in DROPS:
            return True
    return False
