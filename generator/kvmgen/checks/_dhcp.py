"""Where on a network an address belongs, and which leases were written by hand."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.diagnostics import Origin
from kvmgen.model.network import DhcpHost, VirtualNetwork
from kvmgen.model.site import Site
from kvmgen.model.values import Address, Range

RangeAt = tuple[VirtualNetwork, Range, Origin]


def home(network: VirtualNetwork, address: Address) -> int | None:
    """Which of the network's own addresses has this one in its subnet: the first one, as it is written for libvirt."""
    return next((index for index, own in enumerate(network.addresses) if address in own.network), None)


def ranges(site: Site) -> Iterator[RangeAt]:
    """Every DHCP range with its network and its place."""
    for network in site.carried():
        for index, leased in enumerate(network.dhcp.ranges):
            yield network, leased, network.at("dhcp", "ranges", index)


def hand_leases(network: VirtualNetwork) -> Iterator[tuple[DhcpHost, Origin]]:
    """The fixed leases that the inventory gives by hand; those that follow from guests' addresses are right."""
    for lease in network.dhcp.hosts:
        if lease.origin is not None:
            yield lease, lease.origin


def serves(network: VirtualNetwork, version: int) -> bool:
    """Whether anything of an IP version is leased on the network."""
    dhcp = network.dhcp
    return any(leased.start.version == version for leased in dhcp.ranges) or any(
        lease.address.version == version for lease in dhcp.hosts
    )


def subnets(network: VirtualNetwork, version: int | None = None) -> str:
    """The network's subnets in words."""
    own = [str(address.network) for address in network.addresses if version in (None, address.version)]
    return " and ".join(own)
