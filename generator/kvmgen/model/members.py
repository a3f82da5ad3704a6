"""Who stands behind a policy's peers: their addresses, or that nobody can know them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_network

from kvmgen.model.guest import Guest, GuestInterface
from kvmgen.model.host import Host
from kvmgen.model.network import VirtualNetwork
from kvmgen.model.policy import ADDRESS, GUEST, HOST, NETWORK, Entry, Peer, Policy
from kvmgen.model.values import Interface, Network
from kvmgen.value import record


@record
class Nobody:
    """A member's interface whose addresses aren't known."""

    guest: Guest
    nic: GuestInterface


Member = Network | Nobody


def peers_of(policies: Iterable[Policy]) -> Iterator[Peer]:
    """The peers of policies that stand for something in the inventory, each once."""
    entries: Iterable[Entry] = (entry for policy in policies for _, entry in policy.entries())
    peers = (peer for entry in entries for peer in entry.peers if peer.kind != ADDRESS)
    return iter(dict.fromkeys(peers))


def addresses_of(
    peer: Peer,
    guest: Guest,
    nic: GuestInterface,
    guests: Mapping[str, Guest],
    hosts: Mapping[str, Host],
    networks: Mapping[str, Mapping[str, VirtualNetwork]],
) -> Iterator[Member]:
    """What a peer means to an interface of a guest."""
    if peer.kind == HOST:
        yield from _hosts_own(guest, nic, hosts, networks)
    elif peer.kind == NETWORK:
        carried = (networks[host].get(peer.name) for host in networks)
        yield from (address.network for network in carried if network for address in network.addresses)
    else:
        yield from members(peer, guests)


def members(peer: Peer, guests: Mapping[str, Guest]) -> Iterator[Member]:
    """The interfaces of a guest, or those that choose a policy, by the addresses that they may send from."""
    for guest in [guests[peer.name]] if peer.kind == GUEST and peer.name in guests else guests.values():
        for nic in guest.interfaces:
            if peer.kind == GUEST or peer.name in nic.policies:
                if not (nic.addressing.addresses or nic.allowed):
                    yield Nobody(guest, nic)
                yield from map(_single, nic.addressing.addresses)
                yield from nic.allowed


def _hosts_own(
    guest: Guest,
    nic: GuestInterface,
    hosts: Mapping[str, Host],
    networks: Mapping[str, Mapping[str, VirtualNetwork]],
) -> Iterator[Network]:
    """The addresses of all that can carry the guest, where it is plugged in."""
    for name in guest.hosts:
        network = networks.get(name, {}).get(nic.network or "")
        bridge = network.bridge if network is not None else nic.bridge
        if network is not None:
            yield from map(_single, network.addresses)
        for link in hosts[name].bridges if name in hosts else ():
            if link.name == bridge:
                yield from map(_single, link.addressing.addresses)


def _single(address: Interface) -> Network:
    return ip_network(address.ip)
