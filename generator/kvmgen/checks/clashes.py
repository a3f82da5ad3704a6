"""MACs and UUIDs that stand twice, or can't be what they say."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.checks._clash import Use, clashes
from kvmgen.diagnostics import Diagnostic, Origin, Rule, Severity
from kvmgen.model.host import Bridge, Ethernet
from kvmgen.model.site import Site
from kvmgen.model.values import Mac

MAC_TWICE = Rule(code="KV401", title="A MAC used twice")
GROUP_MAC = Rule(code="KV402", title="A MAC that can't be a NIC's")
FOREIGN_MAC = Rule(code="KV403", title="A pinned MAC of a vendor's range", severity=Severity.WARNING)
UUID_TWICE = Rule(code="KV404", title="A UUID used twice")

_ZERO = "00:00:00:00:00:00"


def macs(site: Site) -> Iterator[Diagnostic]:
    """Two NICs with one MAC: the bridge sends frames to whichever spoke last, and DHCP gives both one address.

    Derived MACs differ by themselves; it is the pinned ones that get copied, together with the file around them. A MAC
    is unique over the whole inventory, because guests move.

    Bad::

        # guests/web02.yaml
        eth0: {network: default, mac: "52:54:00:00:00:01"}

    Good::

        # guests/web02.yaml
        eth0: {network: default, mac: "52:54:00:00:00:02"}

    Source: https://libvirt.org/formatdomain.html#network-interfaces; that a bridge learns where a MAC is, in
    https://docs.kernel.org/networking/bridge.html.
    """
    hint = "Pin another MAC to one of them with `mac`."
    so = "bridges send the frames of both to whichever spoke last"
    yield from clashes((*_macs(site), *_leased_elsewhere(site)), MAC_TWICE, "the MAC", so, hint)


def _leased_elsewhere(site: Site) -> Iterator[tuple[Mac, Origin, str]]:
    """The MACs that a network leases to, and that the inventory gives to a link which isn't on that network."""
    on_network = {(nic.mac, nic.network) for guest in site.guests.values() for nic in guest.interfaces}
    leases = [
        (host.mac, network.at("dhcp", "hosts", index), f"the lease of {host.address} (network {network.name})")
        for network in site.carried()
        for index, host in enumerate(network.dhcp.hosts)
        if host.mac is not None and (host.mac, network.name) not in on_network
    ]
    known = {mac for mac, _, _ in _macs(site)} if leases else set()
    yield from (lease for lease in leases if lease[0] in known)


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
    """A multicast or zero MAC is no NIC's: libvirt or the kernel refuses it when the network or guest starts.

    The lowest bit of the first byte says multicast, so a NIC's second digit is even.

    Bad::

        # networks/default.yaml
        bridge: {name: virbr0, mac: "B1:4C:49:FC:DF:71"}

    Good::

        # networks/default.yaml
        bridge: {name: virbr0, mac: "B2:4C:49:FC:DF:71"}

    Source: the group bit (https://www.rfc-editor.org/rfc/rfc9542#section-2.1), and
    https://libvirt.org/formatnetwork.html#addressing.
    """
    for mac, origin, whose in _macs(site):
        if int(mac[0:2], 16) & 1 or mac == _ZERO:
            kind = "zero" if mac.startswith("00") else "a multicast address"
            message = f"the MAC {mac} of {whose} is {kind}, which no NIC can have"
            hint = "Write a unicast MAC (an even second digit), or leave it out to have one derived."
            yield Diagnostic(rule=GROUP_MAC, message=message, hint=hint, origin=origin)


def foreign_macs(site: Site) -> Iterator[Diagnostic]:
    """A guest's MAC without the locally administered bit belongs to a vendor, whose next card may have it too.

    What was moved here from another hypervisor may have to keep its MAC: silence it there, and say so.

    Bad::

        # guests/web01.yaml
        eth0: {network: default, mac: "00:16:3e:00:00:01"}

    Good::

        # guests/web01.yaml
        eth0: {network: default, mac: "52:54:00:00:00:01"}

    Source: the local bit (https://www.rfc-editor.org/rfc/rfc9542#section-2.1); 52:54:00 is what QEMU and libvirt choose
    from (https://libvirt.org/formatdomain.html#network-interfaces).
    """
    for guest in site.guests.values():
        for nic in guest.interfaces:
            if not int(nic.mac[0:2], 16) & 3 and nic.mac != _ZERO:
                message = f"the MAC {nic.mac} of {guest.name} ({nic.name}) is of a vendor's range"
                hint = "Leave it out to have one derived, or pin one that starts with 52:54."
                yield Diagnostic(rule=FOREIGN_MAC, message=message, hint=hint, origin=nic.origin.at("mac"))


def uuids(site: Site) -> Iterator[Diagnostic]:
    """Two objects with one UUID: libvirt refuses the second one, because the UUID is the first one's.

    It keeps guests, networks and filters apart, so a guest and a network may share one, and each host has networks of
    its own. Guests and filters have theirs to themselves on the whole site: any of them may meet on a host some day.

    Bad::

        # guests/web02.yaml
        uuid: 6c2bb3a6-5d0c-4a4e-9c4d-1f0e5a7b8c90

    Good::

        # guests/web02.yaml
        uuid: 6c2bb3a6-5d0c-4a4e-9c4d-1f0e5a7b8c91

    Source: https://libvirt.org/formatdomain.html#general-metadata, https://libvirt.org/formatnetwork.html and
    https://libvirt.org/formatnwfilter.html.
    """
    hint = "Pin another UUID to one of them with `uuid`."
    so = "libvirt takes the second definition for the first's"
    yield from clashes(_uuids(site), UUID_TWICE, "the UUID", so, hint)


def _uuids(site: Site) -> Iterator[Use]:
    for guest in site.guests.values():
        yield ("guest", guest.uuid), guest.origin.at("uuid"), guest.name
    for filter_ in site.filters.values():
        yield ("filter", filter_.uuid), filter_.origin.at("uuid"), filter_.name
    for network in site.carried():
        yield (network.host, network.uuid), network.at("uuid"), f"{network.name} on {network.host}"
