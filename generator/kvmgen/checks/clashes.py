"""Identities and addresses that stand twice, or can't be what they say."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.checks._clash import Use, clashes
from kvmgen.diagnostics import Diagnostic, Origin, Rule, Severity
from kvmgen.model.host import Bridge, Ethernet
from kvmgen.model.site import Site
from kvmgen.model.values import Mac

ADDRESS_TWICE = Rule(code="KV101", title="An address used twice in one segment")
MAC_TWICE = Rule(code="KV401", title="A MAC used twice")
GROUP_MAC = Rule(code="KV402", title="A MAC that can't be a NIC's")
FOREIGN_MAC = Rule(code="KV403", title="A pinned MAC of a vendor's range", severity=Severity.WARNING)
UUID_TWICE = Rule(code="KV404", title="A UUID used twice")

_ZERO = "00:00:00:00:00:00"


def addresses(site: Site) -> Iterator[Diagnostic]:
    """Two machines with one address on one layer-2 segment: each takes the other's packets, now and then."""
    hint = "Give one of them another address; bridges that aren't connected get different `segment`s."
    yield from clashes(_addresses(site), ADDRESS_TWICE, "the address", hint)


def _addresses(site: Site) -> Iterator[Use]:
    for host in site.hosts.values():
        for bridge in host.bridges:
            for index, address in enumerate(bridge.addressing.addresses):
                origin = bridge.origin.at("addresses", index)
                yield (bridge.segment, address.ip), origin, f"{host.name} ({bridge.name})"
    for network in site.carried():
        for index, address in enumerate(network.addresses):
            whose = f"{network.host} (network {network.name})"
            yield (network.segment, address.ip), network.at("addresses", index), whose
    for guest in site.guests.values():
        for nic in guest.interfaces:
            segments = site.segments_of(guest, nic)
            for index, address in enumerate(nic.addressing.addresses):
                for segment in segments:
                    yield (segment, address.ip), nic.origin.at("addresses", index), f"{guest.name} ({nic.name})"


def macs(site: Site) -> Iterator[Diagnostic]:
    """Two NICs with one MAC: the bridge sends frames to whichever spoke last, and DHCP gives both one address."""
    hint = "Pin another MAC to one of them with `mac`."
    yield from clashes(_macs(site), MAC_TWICE, "the MAC", hint)


def _macs(site: Site) -> Iterator[tuple[Mac, Origin, str]]:
    for host in site.hosts.values():
        links: tuple[Ethernet | Bridge, ...] = (*host.ethernets, *host.bridges)
        for link in links:
            if link.mac is not None:
                yield link.mac, link.origin.at("mac"), f"{host.name} ({link.name})"
    for network in site.carried():
        if network.mac is not None:
            yield network.mac, network.at("bridge", "mac"), f"{network.host} (network {network.name})"
    for guest in site.guests.values():
        for nic in guest.interfaces:
            yield nic.mac, nic.origin.at("mac"), f"{guest.name} ({nic.name})"


def group_macs(site: Site) -> Iterator[Diagnostic]:
    """A multicast or zero MAC: libvirt or the kernel refuses it when the network or guest starts."""
    for mac, origin, whose in _macs(site):
        if int(mac[0:2], 16) & 1 or mac == _ZERO:
            kind = "zero" if mac.startswith("00") else "a multicast address"
            message = f"the MAC {mac} of {whose} is {kind}, which no NIC can have"
            hint = "Write a unicast MAC (an even second digit), or leave it out to have one derived."
            yield Diagnostic(rule=GROUP_MAC, message=message, hint=hint, origin=origin)


def foreign_macs(site: Site) -> Iterator[Diagnostic]:
    """A guest's MAC without the locally administered bit belongs to a vendor, whose next card may have it too."""
    for guest in site.guests.values():
        for nic in guest.interfaces:
            if not int(nic.mac[0:2], 16) & 3 and nic.mac != _ZERO:
                message = f"the MAC {nic.mac} of {guest.name} ({nic.name}) is of a vendor's range"
                hint = "Leave it out to have one derived, or pin one that starts with 52:54."
                yield Diagnostic(rule=FOREIGN_MAC, message=message, hint=hint, origin=nic.origin.at("mac"))


def uuids(site: Site) -> Iterator[Diagnostic]:
    """Two objects with one UUID: libvirt takes the second definition for a change of the first, or refuses it."""
    hint = "Pin another UUID to one of them with `uuid`."
    yield from clashes(_uuids(site), UUID_TWICE, "the UUID", hint)


def _uuids(site: Site) -> Iterator[Use]:
    for guest in site.guests.values():
        yield ("guest", guest.uuid), guest.origin.at("uuid"), guest.name
    for filter_ in site.filters.values():
        yield ("filter", filter_.uuid), filter_.origin.at("uuid"), filter_.name
    for network in site.carried():
        yield (network.host, network.uuid), network.at("uuid"), f"{network.name} on {network.host}"
