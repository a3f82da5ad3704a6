"""Where addresses stand in the inventory that end up somewhere else: in filters' parameters and in networks' leases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from weakref import WeakKeyDictionary

from kvmgen.diagnostics import Origin
from kvmgen.model.filter_trees import FilterTrees
from kvmgen.model.guest import Guest, GuestInterface
from kvmgen.model.policy import ADDRESS, GUEST, HOST, NETWORK, Peer
from kvmgen.model.site import Site
from kvmgen.render.origins.walk import Origins

Known = Iterator[tuple[str, Origin]]
"""Addresses as text, each with its place."""


def own_addresses(nic: GuestInterface) -> Known:
    """The addresses and segments that an interface may send from."""
    for index, address in enumerate(nic.addressing.addresses):
        yield str(address.ip), nic.origin.at("addresses", index)
    for index, network in enumerate(nic.allowed):
        yield str(network.network_address), nic.origin.at("allowed-addresses", index)


def peers_addresses(guest: Guest, nic: GuestInterface, site: Site) -> dict[str, Origins]:
    """By each address that the interface's policies mean by a name: where it stands, and the lines that name it."""
    found: dict[str, dict[Origin, None]] = {}
    policies = (site.policies[name] for name in nic.policies if name in site.policies)
    for _, entry in (entry for policy in policies for entry in policy.entries()):
        for peer in entry.peers:
            for text, origin in _of_peer(peer, guest, nic, site) if peer.kind != ADDRESS else ():
                found.setdefault(text, {}).update({origin: None, entry.origin: None})
    return {text: tuple(origins) for text, origins in found.items()}


def _of_peer(peer: Peer, guest: Guest, nic: GuestInterface, site: Site) -> Known:
    if peer.kind == NETWORK:
        for networks in site.networks.values():
            for network in (networks[peer.name],) if peer.name in networks else ():
                for index, address in enumerate(network.addresses):
                    yield str(address.network.network_address), network.at("addresses", index)
    elif peer.kind == HOST:
        yield from _hosts(guest, nic, site)
    else:
        yield from _members(peer, site)


_Members = dict[Peer, tuple[tuple[str, Origin], ...]]

_known: WeakKeyDictionary[FilterTrees, tuple[Mapping[str, Guest], _Members]] = WeakKeyDictionary()
"""The last answers of `_members`: on a large site many guests name one policy, and it has many members."""


def _members(peer: Peer, site: Site) -> tuple[tuple[str, Origin], ...]:
    """The addresses of a guest, or of all that choose a policy."""
    guests, known = _known.get(site.filter_trees, (None, {}))
    if guests is not site.guests:
        known = {}
        _known[site.filter_trees] = (site.guests, known)
    if peer not in known:
        nics = [
            nic for guest, nic in site.nics() if peer.name in ((guest.name,) if peer.kind == GUEST else nic.policies)
        ]
        known[peer] = tuple(address for nic in nics for address in own_addresses(nic))
    return known[peer]


def _hosts(guest: Guest, nic: GuestInterface, site: Site) -> Known:
    """The addresses of whatever carries the guest, where the interface is plugged in."""
    for name in guest.hosts:
        network = site.networks[name].get(nic.network or "")
        bridge = nic.bridge if network is None else network.bridge
        for index, address in enumerate(() if network is None else network.addresses):
            yield str(address.ip), (network.at("addresses", index) if network else nic.origin)
        for link in site.hosts[name].bridges:
            for index, address in enumerate(link.addressing.addresses if link.name == bridge else ()):
                yield str(address.ip), link.origin.at("addresses", index)
