"""Where the lines of a domain's ``<interface>`` come from, its filter's parameters included."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.diagnostics import Origin
from kvmgen.model.guest import FilterRef, Guest, GuestInterface
from kvmgen.model.network import VirtualNetwork
from kvmgen.model.site import HostView, Site
from kvmgen.render.origins.addresses import own_addresses, peers_addresses
from kvmgen.render.origins.walk import Origins, nth

Place = tuple[str, Origins]

_KEYS = ("mac", "vlan", "model", "link", "mtu", "bandwidth")
"""The elements that are called as their keys are."""

_CHOOSING = ("anti-spoofing", "dhcp4", "addresses", "allowed-addresses")
"""What decides which anti-spoofing filter an interface has, and whether libvirt learns its address."""

_OWN = ("IP", "IP_SEGMENT", "IPV6")
"""The parameters that hold the interface's own addresses; all others that nobody gives are lists of policies' peers."""


def interface_places(way: str, guest: Guest, nic: GuestInterface, view: HostView) -> Iterator[Place]:
    """A NIC's elements in the order of `kvmgen.render._interface`."""
    at = nic.origin.at
    network = view.site.networks.get(view.host.name, {}).get(nic.network or "")
    yield way, (nic.origin,)
    yield from ((f"{way}/{key}", (at(key),)) for key in _KEYS)
    yield from ((f"{way}/bandwidth/{side}", (at("bandwidth", side),)) for side in ("inbound", "outbound"))
    yield f"{way}/source", _source(nic, network)
    yield f"{way}/virtualport", (_switch(nic, view),)
    yield f"{way}/port", _isolated(nic, network)
    yield f"{way}/target", (at("isolation-group" if nic.isolation_group else "target"),)
    yield f"{way}/driver", (at("queues"),)
    yield f"{way}/boot", (at("boot-order"),)
    yield f"{way}/address", (at("pci"),)
    if nic.filterref is not None:
        yield f"{way}/filterref", _filter(nic, nic.filterref)
        for index, origins in enumerate(_parameters(guest, nic, nic.filterref, view.site)):
            yield f"{way}/filterref/{nth('parameter', index)}", origins


def _source(nic: GuestInterface, network: VirtualNetwork | None) -> Origins:
    if network is None:
        return (nic.origin.at("bridge"),)
    portgroup = (nic.origin.at("portgroup"),) if nic.portgroup else ()
    return (nic.origin.at("network"), *portgroup, network.at("libvirt-name"))


def _switch(nic: GuestInterface, view: HostView) -> Origin:
    bridge = next((bridge for bridge in view.host.bridges if bridge.name == nic.bridge), None)
    return nic.origin.at("bridge") if bridge is None else bridge.origin.at("openvswitch")


def _isolated(nic: GuestInterface, network: VirtualNetwork | None) -> Origins:
    """Where the port is isolated: by its own word, or by a portgroup's, which libvirt can't say itself."""
    if nic.isolated or network is None:
        return (nic.origin.at("isolated"),)
    groups = [group for group in network.portgroups if (group.name == nic.portgroup) or not nic.portgroup]
    places = (network.at("portgroups", group.name) for group in groups if group.isolated)
    return tuple(place.at(key) for place in places for key in ("isolated", "default"))


def _filter(nic: GuestInterface, reference: FilterRef) -> Origins:
    if reference.origin is not None:
        return (reference.origin,)
    policies = tuple(nic.origin.at("policies", index) for index in range(len(nic.policies)))
    return (*policies, *map(nic.origin.at, _CHOOSING))


def _parameters(guest: Guest, nic: GuestInterface, reference: FilterRef, site: Site) -> Iterator[Origins]:
    """Each parameter in its order; a mask stands where the address does that it belongs to."""
    values = dict(reference.parameters)
    own = {text: (origin,) for text, origin in reversed(list(own_addresses(nic)))}
    peers = peers_addresses(guest, nic, site)
    for name, said in reference.parameters:
        known = own if name.removesuffix("_MASK") in _OWN else peers
        for index, value in enumerate(values.get(name.removesuffix("_MASK"), said)):
            if reference.origin is not None and name in reference.said:
                place = reference.origin.at("parameters", name)
                yield (place.at(index) if len(said) > 1 else place,)
            elif name == "CTRL_IP_LEARNING":
                yield tuple(map(nic.origin.at, _CHOOSING))
            else:
                yield known.get(value) or _unnamed(nic, name)


def _unnamed(nic: GuestInterface, name: str) -> Origins:
    """What stands nowhere: a policy's peer that is nobody yet, and the link-local address that the MAC makes."""
    if name.removesuffix("_MASK") in _OWN:
        return (nic.origin.at("mac"),)
    return tuple(nic.origin.at("policies", index) for index in range(len(nic.policies)))
