"""Where the lines of a seed's texts come from."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.artifact import Lines
from kvmgen.diagnostics import Origin
from kvmgen.model.guest import CloudInit, Guest, GuestInterface
from kvmgen.render._cloud_config import ways
from kvmgen.render.cloudinit import is_gateway
from kvmgen.render.origins.walk import CHOICE, Origins, hostname_origins


def seed_lines(guest: Guest, name: str, text: str) -> Lines:
    """A seed's file by its name."""
    assert guest.cloud_init is not None
    found: dict[int, Origins] = {1: (guest.origin,)}
    for line, way in ways(text).items():
        found[line] = _network(guest, guest.cloud_init, way) if name == "network-config" else _own(guest, way)
    return found


def _own(guest: Guest, way: tuple[str | int, ...]) -> Origins:
    """Of the user data what the guest says, else the inventory's word for word."""
    assert guest.cloud_init is not None
    place, key = guest.cloud_init.origin, way[0]
    if key == "instance-id":
        return (place.at("instance"), guest.at("uuid"), guest.at("dns"), *(nic.origin for nic in guest.interfaces))
    if key in ("hostname", "fqdn", "local-hostname"):
        return hostname_origins(guest.origin, guest.at("hostname"), guest.name, guest.cloud_init.hostname)
    if key == "manage_etc_hosts" and key not in guest.cloud_init.user_data:
        return CHOICE
    return (place.at("user-data", *way),)


def _network(guest: Guest, seed: CloudInit, way: tuple[str | int, ...]) -> Origins:
    nic = next((nic for nic in guest.interfaces if way[1:2] == (nic.name,)), None)
    if nic is None:
        return CHOICE if way == ("version",) else (guest.at("interfaces"),)
    key = str(way[2]) if len(way) > 2 else ""
    if key == "nameservers":
        return (nic.origin,) if seed.dns.origin is None else (seed.dns.origin,)
    if key.startswith("gateway") or key == "routes":
        return tuple(_routes(nic, key)) or (nic.origin.at("routes"),)
    said = {"match": "mac", "mtu": "mtu", "dhcp4": "dhcp4", "dhcp6": "dhcp6", "accept-ra": "accept-ra"}
    if key == "addresses":
        return tuple(nic.origin.at("addresses", index) for index in range(len(nic.addressing.addresses)))
    return (nic.origin.at(said[key]),) if key in said else (nic.origin,)


def _routes(nic: GuestInterface, key: str) -> Iterator[Origin]:
    for index, route in enumerate(nic.addressing.routes):
        gateway = is_gateway(route, nic.addressing)
        if (gateway and key == f"gateway{route.version}") or (not gateway and key == "routes"):
            yield nic.origin.at("routes", index)
