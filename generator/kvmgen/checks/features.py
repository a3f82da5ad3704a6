"""What a host's libvirt is too old for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kvmgen.checks._plugs import TAGS_ON_BRIDGES, Plugs
from kvmgen.diagnostics import Diagnostic, Origin, Rule
from kvmgen.model.guest import Disk, Guest, GuestInterface
from kvmgen.model.network import Forward, Plug, VirtualNetwork
from kvmgen.model.platform import Version, with_libvirt
from kvmgen.model.site import Site

TOO_NEW = Rule(code="KV303", title="Something that a host's libvirt is too old for")

At = Callable[..., Origin]

Need = tuple[object, Version, str, At, tuple[str | int, ...]]
"""Whether it is asked for, since when libvirt has it, what it is, and the way to where it was said."""


def too_new(site: Site) -> Iterator[Diagnostic]:
    """An older libvirt refuses the definition or, worse, drops what it doesn't know in silence.

    A guest is held to the oldest libvirt among its hosts: it must be able to run on each. A platform without a minor
    means the oldest supported one; naming the minor that the host has (`el8.6`) often settles the matter.

    Bad::

        # guests/moves.yaml
        hosts: [kvm01, kvm07]
        eth0: {bridge: br0, isolated: true}

        # hosts/kvm07.yaml
        platform: el7

    Good::

        # guests/moves.yaml
        hosts: [kvm01, kvm07]
        eth0: {bridge: br0, isolated: true}

        # hosts/kvm07.yaml
        platform: el8.6

    Source: libvirt's pages say since when it knows what: https://libvirt.org/formatdomain.html,
    https://libvirt.org/formatnetwork.html.
    """
    for host, carried in site.networks.items():
        for network in carried.values():
            yield from _told(site, host, _network_needs(network))
    plugs = Plugs(site)
    for guest in site.guests.values():
        for host in guest.hosts:
            yield from _told(site, host, _guest_needs(guest))
            yield from _told(site, host, _tag_needs(guest, plugs, host))


def _told(site: Site, host: str, needs: Iterator[Need]) -> Iterator[Diagnostic]:
    platform = site.hosts[host].platform
    has = platform.libvirt
    for asked, since, what, at, way in needs:
        if asked and has < since:
            message = f"{what} needs libvirt {_dotted(since)}, and {host} ({platform}) has {_dotted(has)}"
            able = ", ".join(with_libvirt(since))
            hint = f"Leave it out, or name the platform's minor where the host has it: it works from {able} on."
            yield Diagnostic(rule=TOO_NEW, message=message, hint=hint, origin=at(*way))


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))


def _network_needs(network: VirtualNetwork) -> Iterator[Need]:
    at = network.at
    isolated = network.isolated or any(group.isolated for group in network.portgroups)
    yield network.forward is Forward.OPEN, (2, 2), "forward mode open", at, ("forward",)
    yield network.mtu, (3, 1), "a network's MTU", at, ("bridge", "mtu")
    yield network.zone, (5, 1), "a network's firewalld zone", at, ("bridge", "zone")
    yield isolated, (6, 1), "isolated ports", at, ("isolated-ports" if network.isolated else "portgroups",)
    yield network.nat is not None and network.nat.ipv6, (6, 5), "NAT for IPv6", at, ("nat", "ipv6")
    yield network.forward is Forward.HOSTDEV, (1, 0, 5), "a pool of virtual functions (VFIO)", at, ("forward",)
    if network.forward is Forward.BRIDGE and network.plug is Plug.BRIDGE:
        yield network.vlan, TAGS_ON_BRIDGES, "a VLAN tag on a Linux bridge", at, ("vlan",)
        for group in network.portgroups:
            way = ("portgroups", group.name, "vlan")
            yield group.vlan, TAGS_ON_BRIDGES, "a VLAN tag on a Linux bridge", at, way
    yield from _tags_of_functions(network)
    if network.forward.makes_bridge:
        yield from _needs_of_routed(network)


def _tags_of_functions(network: VirtualNetwork) -> Iterator[Need]:
    if network.forward is Forward.PASSTHROUGH:
        since, what = (1, 3, 5), "a VLAN tag on a device that is passed through"
        yield network.vlan, since, what, network.at, ("vlan",)
        for group in network.portgroups:
            yield group.vlan, since, what, network.at, ("portgroups", group.name, "vlan")


def _needs_of_routed(network: VirtualNetwork) -> Iterator[Need]:
    """What el6's libvirt doesn't know of networks that it runs itself."""
    at, nat, dns = network.at, network.nat, network.dns
    leases_ipv6 = any(leased.start.version == 6 for leased in network.dhcp.ranges)
    yield nat is not None and nat.ports, (1, 0, 3), "a range of NAT's ports", at, ("nat", "ports")
    yield nat is not None and nat.addresses, (1, 0, 3), "a range of NAT's addresses", at, ("nat", "addresses")
    yield leases_ipv6, (1, 0, 1), "DHCP for IPv6", at, ("dhcp", "ranges")
    yield network.guest_ipv6, (1, 0, 1), "IPv6 between guests", at, ("guest-ipv6",)
    yield network.routes, (1, 0, 6), "a network's route", at, ("routes",)
    yield network.domain_local_only, (1, 2, 12), "a domain that is answered here alone", at, ("domain-local-only",)
    yield dns.enable is False, (2, 2), "a network without a resolver", at, ("dns", "enable")
    for index, forwarder in enumerate(dns.forwarders):
        since = (1, 1, 3) if forwarder.domain is None else (2, 2)
        yield True, since, "a resolver of the network's own", at, ("dns", "forwarders", index)


def _guest_needs(guest: Guest) -> Iterator[Need]:
    yield guest.rng, (1, 0, 3), "a random number device", guest.at, ("rng",)
    for disk in guest.disks:
        yield from _disk_needs(disk)
    for nic in guest.interfaces:
        yield from _nic_needs(nic)


def _disk_needs(disk: Disk) -> Iterator[Need]:
    yield disk.volume, (1, 0, 5), "a disk that is a pool's volume", disk.origin.at, ("volume",)
    yield disk.discard, (1, 0, 6), "discard", disk.origin.at, ("discard",)
    yield disk.io == "io_uring", (6, 3), "I/O by io_uring", disk.origin.at, ("io",)


def _nic_needs(nic: GuestInterface) -> Iterator[Need]:
    yield nic.queues, (1, 0, 6), "several queues", nic.origin.at, ("queues",)
    yield nic.allowed, (1, 2, 3), "anti-spoofing for whole segments", nic.origin.at, ("allowed-addresses",)
    floor = nic.bandwidth and nic.bandwidth.inbound and nic.bandwidth.inbound.floor
    yield floor, (1, 0, 1), "a floor", nic.origin.at, ("bandwidth", "inbound", "floor")
    yield nic.mtu, (3, 1), "an interface's MTU", nic.origin.at, ("mtu",)
    yield nic.isolated, (6, 1), "an isolated port", nic.origin.at, ("isolated",)


def _tag_needs(guest: Guest, plugs: Plugs, host: str) -> Iterator[Need]:
    for nic in guest.interfaces:
        network = plugs.network(host, nic)
        libvirts = network is not None and network.forward.makes_bridge
        if nic.vlan is not None and plugs.of(host, nic) is Plug.BRIDGE and not libvirts:
            yield True, TAGS_ON_BRIDGES, "a VLAN tag on a Linux bridge", nic.origin.at, ("vlan",)
