"""firewalld's reverse path filter, which judges bridged IPv6 by the host's routes."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.checks._bridged import SWITCHES, OnBridge, on_bridges
from kvmgen.checks._sysctl import is_on, settings
from kvmgen.diagnostics import Diagnostic, Rule
from kvmgen.model.guest import Guest, GuestInterface
from kvmgen.model.host import Addressing, Bridge, Host
from kvmgen.model.site import Site
from kvmgen.model.values import Address

NO_ROUTE_BACK = Rule(code="KV638", title="Guests whose IPv6 the host's reverse path filter drops")


def no_route_back(site: Site) -> Iterator[Diagnostic]:
    """firewalld drops IPv6 packets that came in where the host itself would send no answer out, and bridged ones too.

    With bridge netfilter on, frames between the ports of a bridge come to its chains, and it looks for a route of the
    host's to their sender. Where the host has no IPv6 on the bridge there is none, and guests there lose IPv6 even
    among themselves; their IPv4 works. It is IPv6_rpfilter in firewalld.conf, and on unless somebody switched it off.

    Bad::

        # hosts/kvm01.yaml
        br11: {ports: [eno3]}
        firewall: {bridge-netfilter: true}

        # guests/inner01.yaml
        eth0: {bridge: br11, addresses: [198.51.100.20/24, "2001:db8:11::20/64"]}

    Good::

        # hosts/kvm01.yaml
        br11: {ports: [eno3]}
        firewall: {bridge-netfilter: true, ipv6-rpfilter: false}

        # guests/inner01.yaml
        eth0: {bridge: br11, addresses: [198.51.100.20/24, "2001:db8:11::20/64"]}

    Source: IPv6_rpfilter in https://firewalld.org/documentation/man-pages/firewalld.conf.html; what it does to bridges:
    https://github.com/firewalld/firewalld/issues/1235.
    """
    hosts = {host.name: host for host in site.hosts.values() if _filters_bridged(host)}
    told: set[OnBridge] = set()
    for place, guest, nic in on_bridges(site, hosts):
        host, name = hosts[place[0]], place[1]
        bridge = next((bridge for bridge in host.bridges if bridge.name == name), None)
        sender = None if bridge is None or place in told else _without_route(bridge.addressing, nic)
        if bridge is not None and sender is not None:
            told.add(place)
            yield _told(host, bridge, guest, nic, sender)


def _filters_bridged(host: Host) -> bool:
    switched_on = host.bridge_netfilter is None and is_on(settings(host), SWITCHES["ipv6"])
    said = None if host.firewall is None else host.firewall.ipv6_rpfilter
    return host.platform.firewalld is not None and said is not False and (host.bridge_netfilter or switched_on)


def _without_route(addressing: Addressing, nic: GuestInterface) -> Address | None:
    """An address of an interface that none of the routes of the bridge's own leads to, if there is one."""
    if addressing.accept_ra or addressing.dhcp6:
        return None
    own = (address.ip for address in nic.addressing.addresses if address.version == 6)
    return next((sender for sender in own if not _leads_to(addressing, sender)), None)


def _leads_to(addressing: Addressing, sender: Address) -> bool:
    """Whether a link has a route to an address: by its own addresses, or one that is written."""
    if sender.is_link_local:
        return addressing.speaks(6)
    routes = (route.to for route in addressing.routes if route.version == 6)
    return any(to is None or sender in to for to in routes) or any(
        sender in address.network for address in addressing.addresses
    )


def _told(host: Host, bridge: Bridge, guest: Guest, nic: GuestInterface, sender: Address) -> Diagnostic:
    related = [(nic.origin, f"{guest.name} ({nic.name})")]
    if host.bridge_netfilter_at is not None:
        related.append((host.bridge_netfilter_at, "bridge netfilter is on"))
    return Diagnostic(
        rule=NO_ROUTE_BACK,
        message=f"firewalld on {host.name} drops the IPv6 that guests send on {bridge.name}, {guest.name}'s from "
        f"{sender} for one: bridge netfilter shows it their frames, and the host has no route to them there",
        hint=f"Write `ipv6-rpfilter: false` in the host's `firewall`, or give {bridge.name} an address in their "
        "subnet; or `bridge-netfilter: false` where no filter depends on it.",
        origin=bridge.origin,
        related=tuple(related),
    )
