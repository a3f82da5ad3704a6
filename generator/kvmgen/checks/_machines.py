"""Hosts and guests alike: machines whose links have addresses and routes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from kvmgen.diagnostics import Origin
from kvmgen.model.guest import Guest, GuestInterface
from kvmgen.model.host import Addressing
from kvmgen.model.network import VirtualNetwork
from kvmgen.model.site import Site
from kvmgen.model.values import Address, Interface, Mac, Route


class Attached(Protocol):
    """A host's link, or a guest's interface."""

    @property
    def name(self) -> str: ...
    @property
    def origin(self) -> Origin: ...
    @property
    def addressing(self) -> Addressing: ...


def machines(site: Site) -> Iterator[tuple[str, Sequence[Attached]]]:
    """The name and the links of every host, and of every guest whether its inside is described or not."""
    for host in site.hosts.values():
        yield host.name, tuple(host.links)
    for guest in site.guests.values():
        yield guest.name, guest.interfaces


def attached(site: Site) -> Iterator[tuple[str, Attached]]:
    """Every link of every machine."""
    for machine, links in machines(site):
        for link in links:
            yield machine, link


def routes(links: Sequence[Attached]) -> Iterator[tuple[Attached, int, Route]]:
    """The static routes of a machine, with their places in their link's list."""
    for link in links:
        for index, route in enumerate(link.addressing.routes):
            yield link, index, route


def is_default(route: Route) -> bool:
    """Whether this is the default route of its IP version."""
    return route.to is None or route.to.prefixlen == 0


def metric(route: Route) -> int:
    """The metric that the kernel gives the route."""
    if route.version == 6:
        return route.metric or 1024
    return route.metric or 0


def is_host_length(address: Interface) -> bool:
    """Whether the subnet is the address alone (/32, /128)."""
    return address.network.prefixlen == address.max_prefixlen


class Holder(NamedTuple):
    """Who has an address: ``origin`` is what holds the list ``addresses``, in which it is the one of that number."""

    machine: str
    link: str
    origin: Origin
    number: int
    mac: Mac | None = None

    @property
    def place(self) -> Origin:
        """Where the address stands."""
        return self.origin.at("addresses", self.number)

    def __str__(self) -> str:
        return f"{self.machine} ({self.link})"


class Segments:
    """Which layer-2 segments things are on; looked up, not searched."""

    def __init__(self, site: Site) -> None:
        self._bridges = {(host.name, link.name): link.segment for host in site.hosts.values() for link in host.bridges}
        self._networks = {(network.host, network.name): network.segment for network in site.carried()}

    def of(self, guest: Guest, nic: GuestInterface) -> Sequence[str]:
        """The segments that an interface can be on, one for each host that can carry the guest; each once."""
        if len(guest.hosts) == 1:
            return () if nic.segment is None else (nic.segment,)
        known, name = (self._bridges, nic.bridge) if nic.network is None else (self._networks, nic.network)
        found = dict.fromkeys(known.get((host, name or "")) for host in guest.hosts)
        return [segment for segment in found if segment is not None]


def holders(site: Site) -> Iterator[tuple[str, Interface, Holder]]:
    """Every address on a known segment, and who has it: hosts first, then networks, then guests."""
    for host in site.hosts.values():
        for bridge in host.bridges:
            for index, address in enumerate(bridge.addressing.addresses):
                yield bridge.segment, address, Holder(host.name, bridge.name, bridge.origin, index)
    for network in site.carried():
        origin = said_at(network, "addresses")
        for index, address in enumerate(network.addresses):
            yield network.segment, address, Holder(network.host, f"network {network.name}", origin, index)
    segments = Segments(site)
    for guest in site.guests.values():
        for nic in guest.interfaces:
            found = segments.of(guest, nic) if nic.addressing.addresses else ()
            for index, address in enumerate(nic.addressing.addresses):
                for segment in found:
                    yield segment, address, Holder(guest.name, nic.name, nic.origin, index, nic.mac)


def said_at(network: VirtualNetwork, key: str) -> Origin:
    """What holds a key of a network: its document, or its differences on its host."""
    place = network.at(key)
    return Origin(place.file, place.pointer[:-1])


def is_nobodys(address: Address | Interface) -> bool:
    """Whether no machine on a network can have the address: multicast, loopback, or none at all.

    By its first octets, because `ipaddress` takes many times as long to say.
    """
    number = int(address)
    if address.version == 4:
        return number >> 24 in (0, 127) or 224 <= number >> 24 < 240 or number == 0xFFFFFFFF
    return number <= 1 or number >> 120 == 0xFF
