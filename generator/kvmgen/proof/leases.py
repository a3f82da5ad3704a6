"""Stand-ins for the addresses that DHCP servers lease: nobody can know them before a guest asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from kvmgen.model.guest import Guest, GuestInterface
from kvmgen.model.site import Site
from kvmgen.model.values import Address, Interface

_UNKNOWN_LAN = IPv4Network("192.0.2.0/24")
"""The stand-in of a subnet that nothing in the inventory tells: of a lease from a DHCP server outside."""


class Leases:
    """An address for each guest that leases one: nobody else's in the site, as long as the subnet has such."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._taken: set[Address] = {one.ip for _, nic in site.nics() for one in nic.addressing.addresses}
        self._leased: set[tuple[str, IPv4Address]] = set()
        self._last: dict[IPv4Address, IPv4Address] = {}
        self._subnets = _first_subnets(site)

    def of(self, guest: Guest, nic: GuestInterface) -> IPv4Interface:
        """An address that the segment's DHCP server could lease: of libvirt's range, else of the segment's subnet."""
        network = self._site.networks[guest.home].get(nic.network) if nic.network else None
        segments = tuple(self._site.segments_of(guest, nic))
        if network is not None and network.forward.makes_bridge:
            length = _length(network.addresses)
            for host in network.dhcp.hosts:
                if host.mac == nic.mac and isinstance(host.address, IPv4Address):
                    self._taken.add(host.address)
                    return IPv4Interface((host.address, length))
            for range_ in network.dhcp.ranges:
                if isinstance(range_.start, IPv4Address):
                    subnet = IPv4Interface((range_.start, length)).network
                    return IPv4Interface((self._free(range_.start, subnet, segments), length))
        known = [self._subnets[segment] for segment in segments if segment in self._subnets]
        subnet = min(known)[1] if known else _UNKNOWN_LAN
        first = subnet.network_address + subnet.num_addresses // 2
        return IPv4Interface((self._free(first, subnet, segments), subnet.prefixlen))

    def _free(self, first: IPv4Address, subnet: IPv4Network, segments: Iterable[str]) -> IPv4Address:
        """The first address that nobody in the site has; of a subnet without one, that nobody on the segment leases."""
        found = self._last.get(first, first)
        while found in self._taken:
            found += 1
        self._last[first] = found
        segment = next(iter(segments), "")
        if found not in subnet:
            found = first
            while (segment, found) in self._leased and found in subnet:
                found += 1
        self._taken.add(found)
        self._leased.add((segment, found))
        return found


def _length(addresses: tuple[Interface, ...]) -> int:
    return next((address.network.prefixlen for address in addresses if address.version == 4), 24)


def _first_subnets(site: Site) -> dict[str, tuple[int, IPv4Network]]:
    """The first IPv4 subnet of each segment, as hosts and guests with addresses there show them, and its place."""
    found: dict[str, tuple[int, IPv4Network]] = {}
    for number, (segments, addresses) in enumerate(_addressed(site)):
        for subnet in (one.network for one in addresses if isinstance(one, IPv4Interface)):
            for segment in segments:
                found.setdefault(segment, (number, subnet))
    return found


def _addressed(site: Site) -> Iterator[tuple[Iterable[str], tuple[Interface, ...]]]:
    for host in site.hosts.values():
        yield from (((bridge.segment,), bridge.addressing.addresses) for bridge in host.bridges)
    yield from ((site.segments_of(guest, nic), nic.addressing.addresses) for guest, nic in site.nics())
