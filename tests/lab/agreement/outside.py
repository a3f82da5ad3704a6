"""What is behind a host's NICs: routers with the addresses of a machine far away, and the ways there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_interface
from xml.etree.ElementTree import fromstring

from kvmgen.artifact import Kind
from kvmgen.model.values import Address, Interface
from kvmgen.reachability.place import OUTSIDE_ADDRESSES, OUTSIDE_MAC
from tests.lab.agreement.machines import Machine, Nic, Stage, exists, network_address, nodad, start


@dataclass(frozen=True, slots=True)
class Uplink:
    """A NIC of the host that leads outside, with the subnets there and the host's own addresses on it."""

    port: str
    bridge: str
    near: tuple[Interface, ...]
    own: tuple[Interface, ...]

    def clashes(self, other: Uplink) -> bool:
        """Whether one machine couldn't tell by an address which of the two leads to it."""
        return any(one.network.overlaps(a.network) for one in self.near for a in other.near if a.version == one.version)


def outside(stage: Stage) -> list[Machine]:
    """What is behind the NICs: one machine that is every subnet's router and has the addresses of a machine far away.

    Where the same subnet is behind two NICs, it is two machines.
    """
    together: list[list[Uplink]] = []
    for uplink in _uplinks(stage):
        fitting = (group for group in together if not any(uplink.clashes(other) for other in group))
        group = next(fitting, None)
        if group is None:
            together.append([uplink])
        else:
            group.append(uplink)
    return [_router(stage, f"outside{number or ''}", group) for number, group in enumerate(together)]


def _uplinks(stage: Stage) -> Iterator[Uplink]:
    lab, host = stage.lab, stage.lab.files.host
    for bridge in host.bridges:
        own = bridge.addressing.addresses
        for port in bridge.ports:
            yield Uplink(port, bridge.name, (*own, *_guests_on(stage, bridge.name)), own)
    for link in host.links:
        if link.addressing.addresses and not exists(lab, link.name):
            yield Uplink(link.name, "", link.addressing.addresses, link.addressing.addresses)


def _guests_on(stage: Stage, bridge: str) -> list[Interface]:
    nics = (nic for machine in stage.machines for nic in machine.nics if nic.bridge == bridge)
    every = (address for nic in nics for address in (*nic.addresses, *stage.parties[nic.mac].learned))
    return [address for address in every if not address.ip.is_link_local]


def _router(stage: Stage, name: str, uplinks: Sequence[Uplink]) -> Machine:
    lab = stage.lab
    taken = {address.ip for machine in stage.machines for nic in machine.nics for address in nic.addresses}
    taken |= {address.ip for uplink in uplinks for address in uplink.own}
    taken |= {address.ip for party in stage.parties.values() for address in party.learned}
    nics = []
    for number, uplink in enumerate(uplinks):
        addresses = tuple(_routers_addresses(uplink, _vias(stage), taken))
        nics.append(
            Nic(name=f"eth{number}", mac=OUTSIDE_MAC, addresses=addresses, tap=uplink.port, bridge=uplink.bridge)
        )
    machine = start(lab, name, nics, [])
    machine.kind = "outside"
    machine.far = tuple(OUTSIDE_ADDRESSES.values())
    lab.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", netns=name)
    lab.ip_batch([f"address add {address} dev lo{nodad(address)}" for address in machine.far], netns=name)
    for uplink in uplinks:
        if not uplink.bridge:
            lab.ip_batch([f"address add {own} dev {uplink.port}{nodad(own)}" for own in uplink.own])
    _default_routes(stage)
    entrances = [own for uplink in sorted(uplinks, key=lambda one: not _has_default(stage, one)) for own in uplink.own]
    for network in _behind(stage):
        for own in (own for own in entrances[:] if own.version == network.version):
            route = ["route", "replace", str(network.network), "via", str(own.ip)]
            lab.run("ip", *route, netns=name, check=False)
            break
    return machine


def _routers_addresses(uplink: Uplink, vias: Sequence[Address], taken: set[Address]) -> Iterator[Interface]:
    """In each subnet the address that somebody names as a gateway, else one at the subnet's end."""
    for subnet in dict.fromkeys(address.network for address in uplink.near):
        named = (via for via in vias if via in subnet and via not in taken)
        router = next(named, subnet.broadcast_address - 1)
        if router not in taken:
            yield ip_interface(f"{router}/{subnet.prefixlen}")


def _default_routes(stage: Stage) -> None:
    for link in stage.lab.files.host.links:
        for route in link.addressing.routes:
            to = "default" if route.to is None else str(route.to)
            stage.lab.run("ip", "route", "replace", to, "via", str(route.via), check=False)


def _has_default(stage: Stage, uplink: Uplink) -> bool:
    named = (link for link in stage.lab.files.host.links if link.name in (uplink.port, uplink.bridge))
    return any(route.to is None for link in named for route in link.addressing.routes)


def _vias(stage: Stage) -> list[Address]:
    files = stage.lab.files
    every = [route for link in files.host.links for route in link.addressing.routes]
    every += [route for guest in files.guests.values() for nic in guest.interfaces for route in nic.addressing.routes]
    return [route.via for route in every]


def _behind(stage: Stage) -> list[Interface]:
    texts = stage.lab.files.texts
    networks = (fromstring(texts[path]) for path in stage.lab.files.of_kind(Kind.NETWORK))
    return [network_address(element.attrib) for network in networks for element in network.findall("ip")]


def lead_through_guests(stage: Stage) -> None:
    """What is outside knows the way to the networks behind guests that are routers themselves."""
    for guest in stage.lab.files.guests.values():
        if guest.inside is None or not any("forward" in setting.key for setting in guest.inside.sysctl):
            continue
        for machine in (machine for machine in stage.machines if machine.kind == "outside"):
            here = {nic.bridge for nic in machine.nics if nic.bridge}
            nics = stage.machine(guest.name).nics
            entrances = [own for nic in nics if nic.bridge in here for own in nic.addresses]
            for behind in (own for nic in nics if nic.bridge not in here for own in nic.addresses):
                for own in (own for own in entrances if own.version == behind.version):
                    route = ["route", "replace", str(behind.network), "via", str(own.ip)]
                    stage.lab.run("ip", *route, netns=machine.name, check=False)
                    break
