"""Who is on which network, through which filter, and where the network leads to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from kvmgen.graph.networks import OUTSIDE, Networks, networks_of
from kvmgen.graph.picture import Edge, Graph, Group, Kind, Node
from kvmgen.model.guest import Guest, GuestInterface
from kvmgen.model.host import Host
from kvmgen.model.site import Site

_FORWARDING = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "net.ipv6.conf.default.forwarding")


def logical(site: Site, hosts: Collection[str], also: Collection[tuple[str, str]] = ()) -> Graph:
    """The networks of some hosts, the guests at home there, and the world; bridges in ``also`` without guests, too."""
    chosen = [host for name, host in site.hosts.items() if name in hosts]
    networks = networks_of(site, chosen, also)
    guests = [guest for guest in site.guests.values() if guest.home in hosts]
    gateways = _gateways(guests, networks)
    edges = [edge for guest in guests for edge in _edges(guest, networks, gateways)]
    edges += networks.ways_out.values()
    outside = [OUTSIDE] if networks.ways_out else []
    return Graph(
        title=f"{site.name}: networks",
        description="Who is on which network, through which filter, and where the network leads to.",
        groups=tuple(host_group(host) for host in chosen),
        nodes=(*(_guest(guest, gateways) for guest in guests), *networks.nodes.values(), *outside),
        edges=tuple(edges),
        directed=True,
    )


def host_group(host: Host) -> Group:
    """A host as what its nodes stand in."""
    return Group(id=host.name, name=host.name, notes=(str(host.platform),))


def _gateways(guests: Iterable[Guest], networks: Networks) -> Mapping[str, frozenset[str]]:
    """By guest, the networks that it leads out of: others' routes go by it, or it forwards where nothing else does."""
    guests = tuple(guests)
    wanted = set(_vias(guests, networks))
    found: dict[str, frozenset[str]] = {}
    for guest in guests:
        on = [(networks.at(guest, nic), nic) for nic in guest.interfaces]
        asked = {network for network, nic in on if network and any((network, ip) in wanted for ip in _ips(nic))}
        if not asked and _forwards(guest):
            asked = {network for network, _ in on if network and network not in networks.ways_out}
        behind = {network for network in asked if network not in networks.ways_out} or asked
        if asked and len({network for network, _ in on} - {None}) > 1:
            found[guest.name] = frozenset(behind)
    return found


def _vias(guests: Iterable[Guest], networks: Networks) -> Iterator[tuple[str, str]]:
    for guest in guests:
        for nic in guest.interfaces:
            network = networks.at(guest, nic)
            if network is not None:
                yield from ((network, str(route.via)) for route in nic.addressing.routes)


def _ips(nic: GuestInterface) -> Iterator[str]:
    return (str(address.ip) for address in nic.addressing.addresses)


def _forwards(guest: Guest) -> bool:
    settings = guest.inside.sysctl if guest.inside is not None else ()
    return any(setting.key in _FORWARDING and setting.value == "1" for setting in settings)


def _guest(guest: Guest, gateways: Mapping[str, frozenset[str]]) -> Node:
    node = guest_node(guest)
    own = tuple(str(address) for nic in guest.interfaces for address in nic.addressing.addresses)
    if guest.name in gateways:
        node = replace(node, kind=Kind.GATEWAY, notes=("gateway", *node.notes))
    return replace(node, own=(*node.own, *own))


def guest_node(guest: Guest) -> Node:
    """A guest at its home; what other hosts can carry it makes it differ from those that can't move there."""
    others = guest.hosts[1:]
    return Node(
        id=f"guest/{guest.name}",
        kind=Kind.GUEST,
        name=guest.name,
        group=guest.home,
        notes=(f"also on {', '.join(others)}",) if others else (),
        own=(guest.title,) if guest.title else (),
    )


def _edges(guest: Guest, networks: Networks, gateways: Mapping[str, frozenset[str]]) -> Iterator[Edge]:
    """From a guest to its networks; from a network that it is the gateway of to the guest."""
    for nic in guest.interfaces:
        network = networks.at(guest, nic)
        if network is None:
            continue
        ends = (f"guest/{guest.name}", network)
        if network in gateways.get(guest.name, ()):
            ends = ends[::-1]
        yield Edge(source=ends[0], target=ends[1], name=nic.name, label=tuple(_about(nic)))


def _about(nic: GuestInterface) -> Iterator[str]:
    guard = nic.filterref.filter if nic.filterref else "no filter"
    if nic.policies:
        guard = f"{'policy' if len(nic.policies) == 1 else 'policies'} {', '.join(nic.policies)}"
    yield f"{nic.name}: {guard}"
    if nic.portgroup:
        yield f"portgroup {nic.portgroup}"
    if nic.isolation_group:
        yield f"isolation group {nic.isolation_group}"
    if nic.isolated:
        yield "isolated"
    if not nic.link_up:
        yield "link down"
