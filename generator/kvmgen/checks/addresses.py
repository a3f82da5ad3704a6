"""Addresses that stand twice, that no machine can have, or that are missing."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.checks._machines import (
    Attached,
    Holder,
    attached,
    holders,
    is_default,
    is_host_length,
    is_nobodys,
    machines,
)
from kvmgen.diagnostics import Diagnostic, Origin, Rule, Severity
from kvmgen.model.network import DhcpHost
from kvmgen.model.site import Site
from kvmgen.model.values import Address, Interface

ADDRESS_TWICE = Rule(code="KV101", title="An address used twice in one segment")
SUBNETS_OWN = Rule(code="KV105", title="A subnet's network or broadcast address")
IGNORED_BESIDE_DHCP = Rule(code="KV108", title="Static IPv4 addresses beside DHCP")
NOBODYS = Rule(code="KV110", title="An address that no machine can have")
LINK_LOCAL = Rule(code="KV114", title="A link-local address outside fe80::/64", severity=Severity.WARNING)
ON_TWO_LINKS = Rule(code="KV116", title="An address twice on one machine")

Key = tuple[str, int, int]
"""A segment, an IP version and an address."""


def twice(site: Site) -> Iterator[Diagnostic]:
    """Two machines with one address on one segment: now one, now the other gets the packets that are meant for both.

    A segment is as far as a broadcast reaches. Bridges are on one where they name the same `segment`; a bridge that
    names none, and a network that libvirt makes, is a segment of its own on each host. A fixed
    lease that is given by hand is told as well, unless it is the guest's own.

    Bad::

        # guests/web02.yaml
        eth0: {bridge: br0, addresses: [192.0.2.20/24]}

    Good::

        # guests/web02.yaml
        eth0: {bridge: br0, addresses: [192.0.2.21/24]}

    Source: IPv4 address conflicts (https://www.rfc-editor.org/rfc/rfc5227#section-1), IPv6 duplicate address detection
    (https://www.rfc-editor.org/rfc/rfc4862#section-5.4).
    """
    first: dict[Key, Holder] = {}
    for segment, address, holder in holders(site):
        other = first.setdefault((segment, address.version, int(address)), holder)
        if other is not holder and other.origin.file != holder.origin.file:
            yield _taken(f"the address {address.ip} of {holder}", holder.place, other)
    for network in site.carried():
        for lease in network.dhcp.hosts:
            if lease.origin is not None:
                owner = first.get((network.segment, lease.address.version, int(lease.address)))
                if owner is not None and not _is_of(lease, owner):
                    what = f"the address {lease.address} that network {network.name} leases by hand"
                    yield _taken(what, lease.origin.at("address"), owner)


def _is_of(lease: DhcpHost, holder: Holder) -> bool:
    """Whether a lease given by hand is the guest's own; a DUID says nothing of whose it is."""
    if holder.mac is None:
        return False
    if lease.address.version == 4:
        return lease.mac == holder.mac
    return lease.name in (None, holder.machine, holder.machine.partition(".")[0])


def _taken(what: str, origin: Origin, other: Holder) -> Diagnostic:
    return Diagnostic(
        rule=ADDRESS_TWICE,
        message=f"{what} is also {other}'s: each would take the other's packets, now and then",
        hint="Give one of them another address; bridges that aren't connected get different `segment`s.",
        origin=origin,
        related=((other.place, f"{other} has it"),),
    )


def subnets_own(site: Site) -> Iterator[Diagnostic]:
    """The first and the last address of an IPv4 subnet are no machine's: nothing answers there.

    A packet to the broadcast address goes to everybody, and Linux gives no answer from it; the first address is an
    old broadcast address, which kernels up to el8's still treat as one. libvirt takes either for a network without a
    word, and the kernel refuses both as gateways. Subnets of two addresses and one (/31, /32) have no such addresses.

    Bad::

        # hosts/kvm01.yaml
        bridges:
          br0:
            ports: [bond0]
            addresses: [192.0.2.0/24, "2001:db8::11/64"]
            routes: [{to: default, via: 192.0.2.255}, {to: default, via: "2001:db8::1"}]

        # networks/default.yaml
        addresses: [192.168.122.0/24]

    Good::

        # hosts/kvm01.yaml
        bridges:
          br0:
            ports: [bond0]
            addresses: [192.0.2.11/24, "2001:db8::11/64"]
            routes: [{to: default, via: 192.0.2.254}, {to: default, via: "2001:db8::1"}]

        # networks/default.yaml
        addresses: [192.168.122.1/24]

    Source: RFC 1122, section 3.2.1.3 (https://www.rfc-editor.org/rfc/rfc1122); RFC 3021 for /31
    (https://www.rfc-editor.org/rfc/rfc3021).
    """
    for _, link in attached(site):
        addressing = link.addressing
        for index, address in enumerate(addressing.addresses):
            if _is_reserved(address, int(address)):
                yield _reserved(address, int(address), link.origin.at("addresses", index))
        for index, route in enumerate(addressing.routes):
            for address in addressing.addresses:
                if route.via in address.network and _is_reserved(address, int(route.via)):
                    yield _reserved(address, int(route.via), link.origin.at("routes", index, "via"))
    for network in site.carried():
        for index, address in enumerate(network.addresses):
            if _is_reserved(address, int(address)):
                yield _reserved(address, int(address), network.at("addresses", index))
            for lease in network.dhcp.hosts:
                is_here = lease.address in address.network and _is_reserved(address, int(lease.address))
                if is_here and lease.origin is not None:
                    yield _reserved(address, int(lease.address), lease.origin.at("address"))


def _is_reserved(within: Interface, number: int) -> bool:
    if within.version == 6:
        return False
    ones = 0xFFFFFFFF >> within.network.prefixlen
    return number & ones in (0, ones) and ones > 1


def _reserved(within: Interface, number: int, origin: Origin) -> Diagnostic:
    subnet = within.network
    value, kind = (subnet[0], "network") if number == int(subnet[0]) else (subnet[-1], "broadcast")
    return Diagnostic(
        rule=SUBNETS_OWN,
        message=f"{value} is the {kind} address of {subnet}: no machine answers there",
        hint=f"Take one of {subnet[1]} to {subnet[-2]}, or correct the prefix length.",
        origin=origin,
    )


def beside_dhcp(site: Site) -> Iterator[Diagnostic]:
    """On el6 to el8 a link has either DHCP or static IPv4 addresses: beside BOOTPROTO=dhcp they are never set.

    ``ifup-eth`` reads IPADDR only where it doesn't run dhclient, says nothing of it, and reports success. What is
    reached by the static address is down, and anti-spoofing and DNS believe in an address that nobody has. IPv6 is
    configured apart and isn't concerned.

    Bad::

        # hosts/kvm01.yaml
        ethernets:
          eno3: {dhcp4: true, addresses: [198.51.100.11/24, "2001:db8:3::11/64"]}

    Good::

        # hosts/kvm01.yaml
        ethernets:
          eno3: {dhcp4: true, addresses: ["2001:db8:3::11/64"]}
          eno4: {addresses: [198.51.100.11/24]}

    Source: ``ifup-eth`` of initscripts (https://github.com/fedora-sysv/initscripts).
    """
    for node in site.nodes():
        if not node.platform.uses_ifcfg:
            continue
        for link in node.links:
            index = next((n for n, one in enumerate(link.addressing.addresses) if one.version == 4), None)
            if link.addressing.dhcp4 and index is not None:
                yield Diagnostic(
                    rule=IGNORED_BESIDE_DHCP,
                    message=f"{link.name} of {node.name} asks DHCP, and {node.platform} then never sets its static "
                    "IPv4 addresses",
                    hint="Remove `dhcp4`, or the IPv4 addresses and let the DHCP server lease the one that is wanted.",
                    origin=link.origin.at("addresses", index),
                    related=((link.origin.at("dhcp4"), "DHCP is asked here"),),
                )


def nobodys(site: Site) -> Iterator[Diagnostic]:
    """A multicast, loopback or unspecified address can't be a machine's on a network, nor its gateway.

    The kernel refuses such an IPv6 address and every such gateway; it takes such an IPv4 address, and then drops what
    is sent to or from it as a packet that can't be (a martian). As a gateway 0.0.0.0 means that the destination is on
    the link itself: so a default route through it asks the link for the whole internet by ARP.

    Bad::

        # hosts/kvm01.yaml
        ethernets:
          eno3:
            addresses: [127.0.0.11/8, "ff02::11/64"]

        # networks/default.yaml
        addresses: [192.168.122.1/24, "::1/64"]

    Good::

        # hosts/kvm01.yaml
        ethernets:
          eno3:
            addresses: [198.51.100.11/24, "fd02::11/64"]

        # networks/default.yaml
        addresses: [192.168.122.1/24, "2001:db8:122::1/64"]

    Source: RFC 6890's tables of special addresses (https://www.rfc-editor.org/rfc/rfc6890); RFC 4291, section 2.5
    (https://www.rfc-editor.org/rfc/rfc4291).
    """
    for machine, link in attached(site):
        for index, address in enumerate(link.addressing.addresses):
            if is_nobodys(address):
                yield _nobodys(address.ip, f"of {machine} ({link.name})", link.origin.at("addresses", index))
        for index, route in enumerate(link.addressing.routes):
            is_on_link = int(route.via) == 0 and route.version == 4 and not is_default(route)
            if is_nobodys(route.via) and not is_on_link:
                whose = f"that {machine} ({link.name}) takes for a gateway"
                yield _nobodys(route.via, whose, link.origin.at("routes", index, "via"))
    for network in site.carried():
        for index, address in enumerate(network.addresses):
            if is_nobodys(address):
                yield _nobodys(address.ip, f"of network {network.name}", network.at("addresses", index))


def _nobodys(address: Address, whose: str, origin: Origin) -> Diagnostic:
    kind = "a multicast" if address.is_multicast else "a loopback" if address.is_loopback else "a special"
    return Diagnostic(
        rule=NOBODYS,
        message=f"{address} {whose} is {kind} address, which no machine on a network can have",
        hint="Write a machine's address: one of the segment's own subnet.",
        origin=origin,
    )


_LINK_LOCAL_10 = 0xFE80 >> 6
_LINK_LOCAL_64 = 0xFE80 << 48


def link_local(site: Site) -> Iterator[Diagnostic]:
    """Every machine has a route to fe80::/64 on each link, and none to the rest of fe80::/10.

    Linux gives a link the route of its own link-local address, which ends there. To an address outside of it the
    neighbours answer "network is unreachable", unless each of them has an address of the same odd subnet.

    Bad::

        # guests/web01.yaml
        interfaces:
          eth1: {bridge: br0, addresses: [192.0.2.20/24, "fe80:0:0:1::20/64"]}

    Good::

        # guests/web01.yaml
        interfaces:
          eth1: {bridge: br0, addresses: [192.0.2.20/24, "fe80::20/64"]}

    Source: RFC 4291, section 2.5.6: 54 zero bits (https://www.rfc-editor.org/rfc/rfc4291).
    """
    for machine, link in attached(site):
        for index, address in enumerate(link.addressing.addresses):
            if _is_astray(address):
                whose = f"{machine} ({link.name})"
                yield _astray(address.ip, whose, link.origin.at("addresses", index))
    for network in site.carried():
        for index, address in enumerate(network.addresses):
            if _is_astray(address):
                yield _astray(address.ip, f"network {network.name}", network.at("addresses", index))


def _is_astray(address: Interface) -> bool:
    number = int(address)
    return address.version == 6 and number >> 118 == _LINK_LOCAL_10 and number >> 64 != _LINK_LOCAL_64


def _astray(address: Address, whose: str, origin: Origin) -> Diagnostic:
    return Diagnostic(
        rule=LINK_LOCAL,
        message=f"the link-local address {address} of {whose} is outside fe80::/64, where its neighbours have no route",
        hint="Write fe80:: and the last 64 bits, or a unique local address (fd00::/8).",
        origin=origin,
    )


def on_two_links(site: Site) -> Iterator[Diagnostic]:
    """A machine with one address on two links answers for it on both, and sends through whichever came up first.

    On one link it is refused (IPv6) or of no use (IPv4). Link-local addresses belong to their link, and an address
    without a subnet (/32, /128) may stand on several: these are well.

    Bad::

        # hosts/kvm01.yaml
        ethernets:
          eno3: {addresses: [198.51.100.11/24, "2001:db8:3::11/64", "2001:db8:3:0::11/80"]}
          eno4: {addresses: [198.51.100.11/24]}

    Good::

        # hosts/kvm01.yaml
        ethernets:
          eno3: {addresses: [198.51.100.11/24, "2001:db8:3::11/64", "2001:db8:3:0::12/64"]}
          eno4: {addresses: [203.0.113.11/24]}

    Source: the kernel's Documentation/networking/ip-sysctl.rst, arp_filter and rp_filter
    (https://docs.kernel.org/networking/ip-sysctl.html).
    """
    for machine, links in machines(site):
        addressed = [link for link in links if link.addressing.addresses]
        if len(addressed) > 1 or (addressed and len(addressed[0].addressing.addresses) > 1):
            yield from _repeated(machine, addressed)


def _repeated(machine: str, links: list[Attached]) -> Iterator[Diagnostic]:
    first: dict[tuple[int, int], tuple[Attached, int, Interface]] = {}
    for link in links:
        for index, address in enumerate(link.addressing.addresses):
            other, at, its = first.setdefault((address.version, int(address)), (link, index, address))
            if (other is link and at == index) or (other is not link and _is_shared(address, its)):
                continue
            where = f"on {other.name} and on {link.name}" if other is not link else f"twice on {link.name}"
            yield Diagnostic(
                rule=ON_TWO_LINKS,
                message=f"{machine} has the address {address.ip} {where}",
                hint="Remove one of them, or write the address that is meant.",
                origin=link.origin.at("addresses", index),
                related=((other.origin.at("addresses", at), "the first one"),),
            )


def _is_shared(address: Interface, other: Interface) -> bool:
    """Whether it may stand on several links of a machine."""
    return address.is_link_local or is_host_length(address) or is_host_length(other)
