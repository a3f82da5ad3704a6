"""From a site to questions about it: the hosts' files as they are rendered, and who the parties are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from kvmgen.artifact import Artifact
from kvmgen.diagnostics import Origin
from kvmgen.model.guest import Guest, GuestInterface
from kvmgen.model.site import HostView, Site, views
from kvmgen.model.values import Address, Interface
from kvmgen.reachability import topology
from kvmgen.reachability.consumers import Consumers
from kvmgen.reachability.folder import Folder
from kvmgen.reachability.place import Places
from kvmgen.reachability.step import Cause
from kvmgen.reachability.topology import Party
from kvmgen.render import render

_UNKNOWN_LAN = IPv4Network("192.0.2.0/24")
"""The stand-in of a subnet that nothing in the inventory tells: of a lease from a DHCP server outside."""


@dataclass(slots=True)
class Rendered:
    """A site as its hosts will have it; ``artifacts`` are by (host, path)."""

    artifacts: Mapping[tuple[str, str], Artifact]
    consumers: Consumers

    @property
    def places(self) -> Places:
        """The site's attachments."""
        return self.consumers.places


def rendered(site: Site, render_: Callable[[HostView], Iterable[Artifact]] = render) -> Rendered:
    """Render every host, and connect what was rendered; ``render_`` is for whoever has the files already."""
    artifacts: dict[tuple[str, str], Artifact] = {}
    folders = []
    for view in views(site):
        files = list(render_(view))
        artifacts |= {(view.host.name, file.path): file for file in files}
        folders.append(_folder(view, files))
    connected = topology.Site(folders=folders, parties=list(parties(site)), segments=segments(site))
    return Rendered(artifacts, Consumers(Places(connected)))


def _folder(view: HostView, files: list[Artifact]) -> Folder:
    return Folder(
        name=view.host.name,
        platform=view.host.platform,
        files={file.path: file.text for file in files if file.binary is None},
        guest_platforms={guest.name: guest.inside.platform for guest in view.guests if guest.inside is not None},
    )


def parties(site: Site) -> Iterator[Party]:
    """Every interface of every guest, with the addresses that it has or may be leased."""
    taken: set[Address] = {address.ip for _, nic in site.nics() for address in nic.addressing.addresses}
    for guest, nic in site.nics():
        learned: tuple[Interface, ...] = ()
        if nic.addressing.dhcp4:
            lease = _lease(site, guest, nic, taken)
            taken.add(lease.ip)
            learned = (lease,)
        routes = nic.addressing.routes
        yield Party(
            name=guest.name,
            nic=nic.name,
            mac=nic.mac,
            addresses=nic.addressing.addresses,
            gateways=tuple(route.via for route in routes if route.to is None),
            hosts=guest.hosts,
            origin=nic.origin,
            learned=learned,
            routes=tuple(route for route in routes if route.to is not None),
        )


def _lease(site: Site, guest: Guest, nic: GuestInterface, taken: set[Address]) -> IPv4Interface:
    """An address that the segment's DHCP server could lease: of libvirt's range, else of the segment's subnet."""
    network = site.networks[guest.home].get(nic.network) if nic.network else None
    if network is not None and network.forward.makes_bridge:
        for host in network.dhcp.hosts:
            if host.mac == nic.mac and isinstance(host.address, IPv4Address):
                return IPv4Interface(f"{host.address}/{_length(network.addresses)}")
        for range_ in network.dhcp.ranges:
            if isinstance(range_.start, IPv4Address):
                first = _free(range_.start, taken)
                return IPv4Interface(f"{first}/{_length(network.addresses)}")
    subnet = next(_subnets(site, set(site.segments_of(guest, nic))), _UNKNOWN_LAN)
    return IPv4Interface(f"{_free(subnet.network_address + subnet.num_addresses // 2, taken)}/{subnet.prefixlen}")


def _length(addresses: tuple[Interface, ...]) -> int:
    return next((address.network.prefixlen for address in addresses if address.version == 4), 24)


def _free(first: IPv4Address, taken: set[Address]) -> IPv4Address:
    while first in taken:
        first += 1
    return first


def _subnets(site: Site, wanted: set[str]) -> Iterator[IPv4Network]:
    """The IPv4 subnets of segments, as hosts and guests with addresses there show them."""
    for host in site.hosts.values():
        for bridge in host.bridges:
            if bridge.segment in wanted:
                yield from _v4(bridge.addressing.addresses)
    for guest, nic in site.nics():
        if wanted.intersection(site.segments_of(guest, nic)):
            yield from _v4(nic.addressing.addresses)


def _v4(addresses: tuple[Interface, ...]) -> Iterator[IPv4Network]:
    yield from (address.network for address in addresses if isinstance(address, IPv4Interface))


def segments(site: Site) -> dict[tuple[str, str], str]:
    """The segment of every bridge, a virtual network's included."""
    found = {(network.host, network.bridge): network.segment for network in site.carried() if network.bridge}
    found |= {(host.name, bridge.name): bridge.segment for host in site.hosts.values() for bridge in host.bridges}
    return found


def origin_of(made: Rendered, host: str, cause: Cause) -> Origin | None:
    """The place in the inventory that a line of a host's file comes from; ``None`` for what is no file of ours."""
    artifact = made.artifacts.get((host, cause.file))
    return None if artifact is None else next(iter(artifact.origins_at(cause.line)), None)
