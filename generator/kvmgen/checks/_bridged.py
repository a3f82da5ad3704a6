"""Which bridges of a host guests are on, and whether the host's packet filter sees their frames."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from kvmgen.checks._sysctl import settings, switched_off
from kvmgen.diagnostics import Origin
from kvmgen.model.filters import iptables_families
from kvmgen.model.guest import Guest, GuestInterface
from kvmgen.model.host import Host, Node
from kvmgen.model.network import Forward, Plug, VirtualNetwork
from kvmgen.model.site import Site

OnBridge = tuple[str, str]
"""A host and a bridge of its own."""

SWITCHES: Mapping[str, str] = {
    "ipv4": "net.bridge.bridge-nf-call-iptables",
    "ipv6": "net.bridge.bridge-nf-call-ip6tables",
}


def off_at(node: Node, family: str) -> Origin | None:
    """Where the inventory says that bridged frames pass by the machine's chains, or nothing."""
    if node.bridge_netfilter is False:
        return node.bridge_netfilter_at
    if node.bridge_netfilter is None:
        return next((setting.origin for setting in switched_off(settings(node), SWITCHES[family])), None)
    return None


def is_bridge(site: Site, node: Node, name: str) -> bool:
    """Whether a machine has a bridge of that name, its own or a virtual network's."""
    networks = site.networks.get(node.name, {}) if isinstance(node, Host) and name else {}
    return any(bridge.name == name for bridge in node.bridges) or any(net.bridge == name for net in networks.values())


def on_bridges(site: Site, hosts: Collection[str]) -> Iterator[tuple[OnBridge, Guest, GuestInterface]]:
    """Every guest's interface that can be on a bridge of one of some hosts, also by a network of mode bridge.

    Bridges of Open vSwitch are left out, where no packet filter of the kernel's sees a frame.
    """
    if not hosts:
        return
    by_network = {(network.host, network.name): network.bridge for network in _on_bridges(site)}
    for guest in site.guests.values():
        for host in guest.hosts:
            if host in hosts:
                for nic in guest.interfaces:
                    bridge = nic.bridge or by_network.get((host, nic.network or ""))
                    if bridge and not nic.openvswitch:
                        yield (host, bridge), guest, nic


def _on_bridges(site: Site) -> Iterator[VirtualNetwork]:
    """The networks that are a Linux bridge of their host."""
    return (net for net in site.carried() if net.forward is Forward.BRIDGE and net.plug is Plug.BRIDGE)


def with_guests(site: Site, hosts: Collection[str]) -> Mapping[OnBridge, Origin]:
    """The bridges of some hosts that guests can be on, each with an interface or network that shows it."""
    found: dict[OnBridge, Origin] = {}
    for network in _on_bridges(site) if hosts else ():
        if network.host in hosts:
            found.setdefault((network.host, network.bridge), network.origin)
    for place, _, nic in on_bridges(site, hosts):
        found.setdefault(place, nic.origin)
    return found


def filtered(site: Site, hosts: Collection[str]) -> Mapping[tuple[OnBridge, str], Origin]:
    """The bridges with guests whose filters have rules for iptables, by IP version, each with such an interface."""
    found: dict[tuple[OnBridge, str], Origin] = {}
    if not hosts:
        return found
    families = iptables_families(site.filters)
    for place, _, nic in on_bridges(site, hosts):
        for family in families.get(nic.filterref.filter, ()) if nic.filterref else ():
            found.setdefault((place, family), nic.origin)
    return found
