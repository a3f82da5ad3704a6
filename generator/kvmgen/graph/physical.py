"""What carries what: NIC, bond, VLAN, bridge, tap and guest, host by host."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from kvmgen.graph.logical import guest_node, host_group
from kvmgen.graph.networks import kept_apart
from kvmgen.graph.picture import Edge, Graph, Kind, Node
from kvmgen.model.guest import Guest, GuestInterface
from kvmgen.model.host import Bond, Bridge, Ethernet, Host, Link, Vlan
from kvmgen.model.network import VirtualNetwork
from kvmgen.model.site import Site

_COLUMNS = {Kind.NIC: 0, Kind.BOND: 1, Kind.VLAN: 2, Kind.BRIDGE: 3, Kind.GUEST: 4}


def physical(site: Site, hosts: Collection[str]) -> Graph:
    """The links of some hosts, and the guests at home there."""
    chosen = [host for name, host in site.hosts.items() if name in hosts]
    nodes: dict[str, Node] = {}
    edges: list[Edge] = []
    for host in chosen:
        networks = site.networks[host.name]
        nodes |= {node.id: node for node in _of_host(host, networks)}
        edges += _between(host)
    for guest in site.guests.values():
        if guest.home in hosts:
            node = guest_node(guest)
            nodes[node.id] = replace(node, column=_COLUMNS[Kind.GUEST])
            edges += _taps(guest, site.networks[guest.home])
    return Graph(
        title=f"{site.name}: links",
        description="What carries what on each host: NIC, bond, VLAN, bridge, tap, guest.",
        groups=tuple(map(host_group, chosen)),
        nodes=tuple(nodes.values()),
        edges=tuple(edges),
        directed=False,
    )


def _of_host(host: Host, networks: Mapping[str, VirtualNetwork]) -> Iterator[Node]:
    for link in host.links:
        yield _of_link(host, link, networks)
    known = {link.name for link in host.links}
    for network in networks.values():
        if network.forward.makes_bridge:
            yield _of_libvirts_bridge(network)
        for device in _devices(network):
            if device not in known:
                yield _node(host.name, Kind.NIC, device)


def _node(host: str, kind: Kind, name: str, notes: tuple[str, ...] = (), own: tuple[str, ...] = ()) -> Node:
    return Node(id=f"{host}/{name}", kind=kind, name=name, group=host, notes=notes, own=own, column=_COLUMNS[kind])


def _of_link(host: Host, link: Link, networks: Mapping[str, VirtualNetwork]) -> Node:
    kind, notes = _form(link)
    notes += tuple(f"network {network.name}" for network in networks.values() if network.bridge == link.name)
    notes += (f"MTU {link.mtu}",) if link.mtu else ()
    notes += ("management",) if host.management == link.name else ()
    own = (link.mac,) if isinstance(link, Ethernet) and link.mac else ()
    return _node(host.name, kind, link.name, notes, (*own, *map(str, link.addressing.addresses)))


def _form(link: Link) -> tuple[Kind, tuple[str, ...]]:
    match link:
        case Bond():
            return Kind.BOND, (dict(link.options).get("mode", "bond"),)
        case Vlan():
            return Kind.VLAN, (f"VLAN {link.id}",)
        case Bridge():
            notes = ["Open vSwitch"] if link.openvswitch else []
            notes += [f"isolation: {link.isolation}"] if link.isolation else []
            return Kind.BRIDGE, tuple(notes)
    return Kind.NIC, ()


def _of_libvirts_bridge(network: VirtualNetwork) -> Node:
    notes = [f"network {network.name} ({network.forward})"]
    notes += kept_apart(network)
    notes += [f"MTU {network.mtu}"] if network.mtu else []
    return _node(network.host, Kind.BRIDGE, network.bridge, tuple(notes), tuple(map(str, network.addresses)))


def _devices(network: VirtualNetwork) -> tuple[str, ...]:
    """The host's devices that guests on the network are plugged into without a bridge."""
    if network.bridge:
        return ()
    functions = (f"PCI {network.pci_addresses[0]} \u2026",) if len(network.pci_addresses) > 1 else network.pci_addresses
    return (*network.devices, *((network.pf,) if network.pf else ()), *functions)


def _between(host: Host) -> Iterator[Edge]:
    for link in host.links:
        parents = [parent for parent in (link.bond, link.bridge) if parent]
        yield from (Edge(source=f"{host.name}/{link.name}", target=f"{host.name}/{parent}") for parent in parents)
        if isinstance(link, Vlan):
            yield Edge(source=f"{host.name}/{link.parent}", target=f"{host.name}/{link.name}")


def _taps(guest: Guest, networks: Mapping[str, VirtualNetwork]) -> Iterator[Edge]:
    for nic in guest.interfaces:
        network = networks.get(nic.network or "")
        bridge = network.bridge if network is not None else nic.bridge
        sources = (bridge,) if bridge else _devices(network) if network is not None else ()
        label = tuple(_about(nic, "tap" if bridge else str(network.plug) if network is not None else ""))
        for source in sources:
            yield Edge(source=f"{guest.home}/{source}", target=f"guest/{guest.name}", name=nic.name, label=label)


def _about(nic: GuestInterface, plug: str) -> Iterator[str]:
    """The tap's name is libvirt's choice (vnet0, vnet1, ...) where the inventory doesn't say it."""
    yield f"{plug} {nic.target}: {nic.name}" if nic.target else f"{plug}: {nic.name}"
    if nic.vlan is not None:
        yield f"VLAN {', '.join(map(str, nic.vlan.tags))}"
    if nic.isolated:
        yield "isolated"
    if not nic.link_up:
        yield "link down"
