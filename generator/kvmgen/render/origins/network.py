"""Where the lines of a virtual network come from: its file, a host's differences, and its guests' addresses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address
from pathlib import PurePosixPath

from kvmgen.diagnostics import Origin
from kvmgen.model.network import DhcpHost, VirtualNetwork
from kvmgen.model.site import Site
from kvmgen.model.values import Interface
from kvmgen.render.network import boot_address, home
from kvmgen.render.origins.walk import Origins, nth

_SAID: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "name": (("libvirt-name",), ()),
    "uuid": (("uuid",),),
    "forward": (("forward",), ("forward-dev",)),
    "forward/driver": (("forward",),),
    "forward/nat": (("nat",),),
    "forward/nat/address": (("nat", "addresses"),),
    "forward/nat/port": (("nat", "ports"),),
    "forward/pf": (("pf",),),
    "bridge": (("bridge",),),
    "mtu": (("bridge", "mtu"),),
    "mac": (("bridge", "mac"),),
    "domain": (("domain",), ("domain-local-only",)),
    "dns": (("dns",),),
    "vlan": (("vlan",),),
    "bandwidth": (("bandwidth",),),
    "bandwidth/inbound": (("bandwidth", "inbound"),),
    "bandwidth/outbound": (("bandwidth", "outbound"),),
}
"""The network's keys that decide an element; the empty way is the network itself."""

Place = tuple[str, Origins]

_Leases = Mapping[IPv4Address | IPv6Address, Origins]
"""Where the addresses of the network's guests stand, with the interface that has each."""


def network_places(network: VirtualNetwork, site: Site) -> dict[str, Origins]:
    """A network's elements in the order of `kvmgen.render.network`."""
    at = network.at
    leases = _leases(network, site)
    found: dict[str, Origins] = {"": (network.origin, at("guest-ipv6")), "port": (network.isolated_at,)}
    found |= {way: tuple(at(*key) if key else network.origin for key in keys) for way, keys in _SAID.items()}
    found |= _listed(network)
    found |= {"virtualport": tuple(_switch(network, site))}
    for index, host in enumerate(network.dns.hosts):
        said = leases.get(host.address) or (at("dns", "hosts", index),)
        found[f"dns/{nth('host', index)}"] = said
    for index, address in enumerate(network.addresses):
        found |= _subnet(network, nth("ip", index), index, address, leases)
    return found


def _listed(network: VirtualNetwork) -> Iterator[Place]:
    at, dns = network.at, network.dns
    lists = (
        ("forward/interface", "devices", network.devices),
        ("forward/address", "pci-addresses", network.pci_addresses),
        ("route", "routes", network.routes),
    )
    for way, key, listed in lists:
        yield from ((nth(way, index), (at(key, index),)) for index in range(len(listed)))
    for tag, key, records in (("forwarder", "forwarders", dns.forwarders), ("txt", "txt", dns.txts)):
        yield from ((f"dns/{nth(tag, index)}", (at("dns", key, index),)) for index in range(len(records)))
    yield from ((f"dns/{nth('srv', index)}", (at("dns", "srv", index),)) for index in range(len(dns.srvs)))
    for index, group in enumerate(network.portgroups):
        way, place = nth("portgroup", index), at("portgroups", group.name)
        yield way, (place,)
        yield from ((f"{way}/{part}", (place.at(part),)) for part in ("vlan", "bandwidth"))
        yield from ((f"{way}/bandwidth/{side}", (place.at("bandwidth", side),)) for side in ("inbound", "outbound"))


def _switch(network: VirtualNetwork, site: Site) -> Iterator[Origin]:
    yield network.at("bridge")
    bridges = site.hosts[network.host].bridges
    yield from (bridge.origin.at("openvswitch") for bridge in bridges if bridge.name == network.bridge)


def _leases(network: VirtualNetwork, site: Site) -> _Leases:
    """By address: of the network's own guests, those whose interfaces it names."""
    named = set(network.named_from)
    guests = (site.guests.get(PurePosixPath(origin.file).stem) for origin in network.named_from)
    nics = [nic for guest in guests if guest is not None for nic in guest.interfaces if nic.origin in named]
    return {
        address.ip: (nic.origin.at("addresses", index), nic.origin)
        for nic in nics
        for index, address in enumerate(nic.addressing.addresses)
    }


def _subnet(network: VirtualNetwork, way: str, index: int, address: Interface, leases: _Leases) -> Iterator[Place]:
    """One address with what is leased in its subnet: the ranges and hosts whose home it is, in their order."""
    dhcp = network.dhcp
    yield way, (network.at("addresses", index),)
    if address == boot_address(network):
        yield f"{way}/tftp", (network.at("dhcp", "tftp"),)
        yield f"{way}/dhcp/bootp", (network.at("dhcp", "bootp"),)
    yield f"{way}/dhcp", (network.at("dhcp"),)
    ranges = [number for number, leased in enumerate(dhcp.ranges) if home(network, leased.start) == address]
    for place, number in enumerate(ranges):
        yield f"{way}/dhcp/{nth('range', place)}", (network.at("dhcp", "ranges", number),)
    hosts = [host for host in dhcp.hosts if home(network, host.address) == address]
    for place, host in enumerate(hosts):
        yield f"{way}/dhcp/{nth('host', place)}", _leased(network, host, leases)


def _leased(network: VirtualNetwork, host: DhcpHost, leases: _Leases) -> Origins:
    if host.origin is not None:
        return (host.origin,)
    return leases.get(host.address) or (network.at("dhcp"),)
