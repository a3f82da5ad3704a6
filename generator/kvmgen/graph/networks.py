"""Layer-2 networks as nodes, and how each leads outside."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from kvmgen.graph.picture import Edge, Kind, Node
from kvmgen.model.guest import Guest, GuestInterface
from kvmgen.model.host import Bridge, Host
from kvmgen.model.network import Forward, VirtualNetwork
from kvmgen.model.site import Site

OUTSIDE = Node(id="outside", kind=Kind.OUTSIDE, name="outside")

_WORDS = {Forward.NAT: "NAT", Forward.ROUTE: "routed"}
_LISTED = 4


@dataclass(slots=True)
class Networks:
    """What stands for each network, by the host and by what a guest's interface names there.

    Bridges that share a segment are one network, which stands outside of the hosts.
    """

    nodes: dict[str, Node] = field(default_factory=dict)
    ways_out: dict[str, Edge] = field(default_factory=dict)
    _ids: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def at(self, guest: Guest, nic: GuestInterface) -> str | None:
        """What an interface is on, at its guest's home."""
        if nic.network is not None:
            return self._ids.get((guest.home, "network", nic.network))
        return self._ids.get((guest.home, "bridge", nic.bridge or ""))

    def add_bridge(self, host: Host, bridge: Bridge, networks: Iterable[VirtualNetwork], is_shared: bool) -> None:
        """A host's bridge, under its own name and that of each libvirt network that is the same."""
        names = [network.name for network in networks]
        node = _of_bridge(host, bridge, names, is_shared)
        self.nodes[node.id] = _joined(self.nodes.get(node.id), node)
        self._ids[host.name, "bridge", bridge.name] = node.id
        self._ids |= {(host.name, "network", name): node.id for name in names}
        if bridge.ports:
            self._lead_out(node, "bridged" if is_shared else f"bridged by {', '.join(bridge.ports)}")

    def add_network(self, network: VirtualNetwork) -> None:
        """A network of libvirt's that isn't a bridge of the host's."""
        node = _of_network(network)
        self.nodes[node.id] = node
        self._ids[network.host, "network", network.name] = node.id
        if network.forward is not Forward.ISOLATED:
            devices = (network.forward_dev, *network.devices, network.pf, *network.pci_addresses[:1])
            by = ", ".join(filter(None, devices))
            self._lead_out(node, _WORDS.get(network.forward, str(network.forward)) + (f" by {by}" if by else ""))

    def _lead_out(self, node: Node, how: str) -> None:
        self.ways_out[node.id] = Edge(source=node.id, target=OUTSIDE.id, label=(how,))


def used_bridges(site: Site) -> frozenset[tuple[str, str]]:
    """The bridges that guests are on, by host and name."""
    return frozenset((guest.home, nic.bridge) for guest, nic in site.nics() if nic.bridge is not None)


def networks_of(site: Site, hosts: Iterable[Host], also: Iterable[tuple[str, str]] = ()) -> Networks:
    """The networks of some hosts: libvirt's own, and the bridges that guests are on, or that stand in ``also``."""
    found = Networks()
    used = {*used_bridges(site), *also}
    hosts = tuple(hosts)
    shared = _shared(hosts)
    for host in hosts:
        carried = site.networks[host.name].values()
        bridges = {bridge.name for bridge in host.bridges}
        for bridge in host.bridges:
            same = [network for network in carried if network.bridge == bridge.name]
            if same or (host.name, bridge.name) in used:
                found.add_bridge(host, bridge, same, bridge.segment in shared)
        for network in carried:
            if network.bridge not in bridges:
                found.add_network(network)
    return found


def _shared(hosts: Iterable[Host]) -> frozenset[str]:
    carriers: defaultdict[str, set[str]] = defaultdict(set)
    for host in hosts:
        for bridge in host.bridges:
            carriers[bridge.segment].add(host.name)
    return frozenset(segment for segment, names in carriers.items() if len(names) > 1)


def _of_bridge(host: Host, bridge: Bridge, networks: Iterable[str], is_shared: bool) -> Node:
    notes = [f"network {name}" for name in networks]
    notes += [f"isolation: {bridge.isolation}"] if bridge.isolation else []
    notes += [] if bridge.ports else ["no uplink"]
    own = tuple(map(str, bridge.addressing.addresses))
    if is_shared:
        segment = f"segment/{bridge.segment}"
        return Node(id=segment, kind=Kind.NETWORK, name=bridge.segment, notes=tuple(notes), own=own)
    return Node(
        id=f"{host.name}/bridge/{bridge.name}",
        kind=Kind.NETWORK,
        name=bridge.name,
        group=host.name,
        notes=tuple(notes),
        own=own,
    )


def _joined(one: Node | None, other: Node) -> Node:
    """A segment as several hosts have it; where they are many, their addresses aren't listed."""
    if one is None:
        return other
    notes = tuple(dict.fromkeys((*one.notes, *other.notes)))
    own = tuple(dict.fromkeys((*one.own, *other.own)))
    return replace(one, notes=notes, own=own if len(own) <= _LISTED else (*own[:_LISTED], "\u2026"))


def kept_apart(network: VirtualNetwork) -> list[str]:
    """What is said of guests on a network that don't reach each other."""
    if network.isolation:
        return [f"isolation: {network.isolation}"]
    return ["isolated ports"] if network.isolated else []


def _of_network(network: VirtualNetwork) -> Node:
    notes = [f"{_WORDS.get(network.forward, network.forward)} network"]
    notes += kept_apart(network)
    return Node(
        id=f"{network.host}/network/{network.name}",
        kind=Kind.NETWORK,
        name=network.name,
        group=network.host,
        notes=tuple(notes),
        own=tuple(map(str, network.addresses)),
    )
