"""Static routes: the kernel refuses some, and takes others for something else than what is meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kvmgen.checks._machines import Attached, is_default, is_nobodys, machines, metric, routes
from kvmgen.diagnostics import Diagnostic, Origin, Rule, Severity
from kvmgen.model.network import Forward
from kvmgen.model.site import Site
from kvmgen.model.values import Address, Network

NO_DEFAULT_ROUTE = Rule(code="KV103", title="A default gateway that the link can't reach")
TWO_DEFAULTS = Rule(code="KV104", title="Two default routes")
GATEWAY_OFF_LINK = Rule(code="KV112", title="A static route whose gateway the link can't reach")
OWN_GATEWAY = Rule(code="KV113", title="A gateway that is the machine itself")
DESTINATION_TWICE = Rule(code="KV118", title="Two routes to one destination")
TO_OWN_SUBNET = Rule(code="KV119", title="A route to the machine's own subnet")
LEADS_NOWHERE = Rule(code="KV122", title="A default route into an isolated network", severity=Severity.WARNING)


def default_gateways(site: Site) -> Iterator[Diagnostic]:
    """The kernel takes a gateway only in a subnet of the link: otherwise the machine has no default route.

    initscripts then leave the route out or print one line at boot, and report success: the machine is reached from its
    own segment, and answers nobody else. NetworkManager (el9, el10) takes such a gateway for a neighbour on the link
    and asks for it there, where a router of another subnet doesn't answer. An IPv6 gateway may be link-local; what DHCP
    or router advertisements give a link isn't known here, so such links aren't judged.

    Bad::

        # hosts/kvm01.yaml
        bridges:
          br0:
            ports: [bond0]
            addresses: [192.0.2.11/24, "2001:db8::11/64"]
            routes: [{to: default, via: 192.0.3.254}, {to: default, via: "2001:db8:1::1"}]

    Good::

        # hosts/kvm01.yaml
        bridges:
          br0:
            ports: [bond0]
            addresses: [192.0.2.11/24, "2001:db8::11/64"]
            routes: [{to: default, via: 192.0.2.254}, {to: default, via: "fe80::1"}]

    Source: ``ifup-eth`` and ``ifup-routes`` of initscripts (https://github.com/fedora-sysv/initscripts).
    """
    for origin, link, gateway, to, by_profile in _unreachable(site):
        if to is None:
            so = _BY_PROFILE if by_profile else "there will be no default route"
            message = f"the default gateway {gateway} is in no subnet of {link}: {so}"
            yield _off_link(NO_DEFAULT_ROUTE, origin, message)


def gateways(site: Site) -> Iterator[Diagnostic]:
    """The kernel takes a route only if its gateway is in a subnet of the link that the route is said at.

    ``ifup`` prints "Nexthop has invalid gateway" or "Network is unreachable", and then OK. The destination is then
    looked for behind the default route. NetworkManager (el9, el10) adds a route to the gateway itself, as if it stood
    on the link; where it doesn't, what is sent to the destination is lost.

    Bad::

        # hosts/kvm01.yaml
        bridges:
          br0:
            routes:
              - {to: 198.51.100.0/24, via: 203.0.113.1}

    Good::

        # hosts/kvm01.yaml
        bridges:
          br0:
            routes:
              - {to: 198.51.100.0/24, via: 192.0.2.1}

    Source: ip-route(8), https://man7.org/linux/man-pages/man8/ip-route.8.html; ``ifup-routes`` of initscripts
    (https://github.com/fedora-sysv/initscripts).
    """
    for origin, link, gateway, to, by_profile in _unreachable(site):
        if to is not None:
            so = _BY_PROFILE if by_profile else "the kernel refuses it"
            message = f"the gateway {gateway} of the route to {to} is in no subnet of {link}: {so}"
            yield _off_link(GATEWAY_OFF_LINK, origin, message)


_BY_PROFILE = "NetworkManager asks for it on the link all the same"


def _off_link(rule: Rule, origin: Origin, message: str) -> Diagnostic:
    hint = "Write a router of the link's own subnet, or the route at the link whose subnet the router is in."
    return Diagnostic(rule=rule, message=message, hint=hint, origin=origin)


def _unreachable(site: Site) -> Iterator[tuple[Origin, str, Address, Network | None, bool]]:
    """The place of each such gateway, whose link it is, the gateway, and the destination unless it is the default.

    The last is whether the link has a NetworkManager profile.
    """
    with_profiles = {node.origin.file for node in site.nodes() if not node.platform.uses_ifcfg}
    for machine, links in machines(site):
        for link, index, route in routes(links):
            if not is_nobodys(route.via) and not _reaches(link, route.via):
                to = None if is_default(route) else route.to
                place = link.origin.at("routes", index, "via")
                yield place, f"{machine} ({link.name})", route.via, to, place.file in with_profiles


def _reaches(link: Attached, gateway: Address) -> bool:
    own = link.addressing
    if own.dhcp4 if gateway.version == 4 else gateway.is_link_local or own.dhcp6 or own.accept_ra:
        return True
    return any(gateway in address.network for address in own.addresses)


def two_defaults(site: Site) -> Iterator[Diagnostic]:
    """A machine has one default route of each IP version: of two with one metric, only one is there.

    initscripts replace the first by the second, so that the order in which links come up decides where the world is.
    With different metrics the lower one is used, and the other one when that link is gone.

    Bad::

        # guests/web01.yaml
        interfaces:
          eth0:
            routes: [{to: default, via: 192.168.122.1}]
          eth1:
            routes: [{to: default, via: 192.0.2.254}]

    Good::

        # guests/web01.yaml
        interfaces:
          eth0:
            routes: [{to: default, via: 192.168.122.1, metric: 100}]
          eth1:
            routes: [{to: default, via: 192.0.2.254}]

    Source: ``ifup-eth`` of initscripts: ``ip route replace default`` (https://github.com/fedora-sysv/initscripts).
    """
    for machine, links in machines(site):
        first: dict[tuple[int, int], Origin] = {}
        for link, index, route in routes(links):
            place = link.origin.at("routes", index)
            other = first.setdefault((route.version, metric(route)), place) if is_default(route) else place
            if other is not place:
                yield Diagnostic(
                    rule=TWO_DEFAULTS,
                    message=f"{machine} has two default routes for IPv{route.version} with one metric: only one of "
                    "them will be there",
                    hint="Keep the one that leads to the world, or give them different metrics.",
                    origin=place,
                    related=((other, "the other default route"),),
                )


def own_gateways(site: Site) -> Iterator[Diagnostic]:
    """A gateway is another machine: a route through the machine's own address leads nowhere.

    For IPv6 the kernel refuses it. For IPv4 it takes the route as a wish to ask for every destination on the link by
    ARP, and there nobody answers.

    Bad::

        # hosts/kvm01.yaml
        bridges:
          br0:
            addresses: [192.0.2.11/24, "2001:db8::11/64"]
            routes: [{to: default, via: 192.0.2.11}, {to: default, via: "2001:db8::11"}]

    Good::

        # hosts/kvm01.yaml
        bridges:
          br0:
            addresses: [192.0.2.11/24, "2001:db8::11/64"]
            routes: [{to: default, via: 192.0.2.254}, {to: default, via: "2001:db8::1"}]

    Source: ip-route(8), https://man7.org/linux/man-pages/man8/ip-route.8.html.
    """
    for machine, links in machines(site):
        if any(link.addressing.routes for link in links):
            own = {
                address.ip: link.origin.at("addresses", index)
                for link in links
                for index, address in enumerate(link.addressing.addresses)
            }
            for link, index, route in routes(links):
                if route.via in own:
                    yield Diagnostic(
                        rule=OWN_GATEWAY,
                        message=f"the gateway {route.via} is an address of {machine} itself: the route leads nowhere",
                        hint="Write the router's address.",
                        origin=link.origin.at("routes", index, "via"),
                        related=((own[route.via], "its own address"),),
                    )


def destinations_twice(site: Site) -> Iterator[Diagnostic]:
    """The kernel has one route to a destination with one metric: the second one is refused, or replaces the first.

    el6 and el7 print "File exists" and go on; el8's ``ifup-routes`` then replaces the route that was there.

    Bad::

        # hosts/kvm01.yaml
        bridges:
          br0:
            routes:
              - {to: 198.51.100.0/24, via: 192.0.2.1}
              - {to: 198.51.100.0/24, via: 192.0.2.2}

    Good::

        # hosts/kvm01.yaml
        bridges:
          br0:
            routes:
              - {to: 198.51.100.0/24, via: 192.0.2.1}
              - {to: 198.51.100.0/24, via: 192.0.2.2, metric: 10}

    Source: ``ifup-routes`` of initscripts (https://github.com/fedora-sysv/initscripts); ip-route(8),
    https://man7.org/linux/man-pages/man8/ip-route.8.html.
    """
    for machine, links in machines(site):
        first: dict[tuple[Network, int], Origin] = {}
        for link, index, route in routes(links):
            if route.to is None or is_default(route):
                continue
            place = link.origin.at("routes", index)
            other = first.setdefault((route.to, metric(route)), place)
            if other is not place:
                yield Diagnostic(
                    rule=DESTINATION_TWICE,
                    message=f"{machine} has two routes to {route.to} with one metric: only one of them will be there",
                    hint="Remove one, or give the one that is second choice a higher metric.",
                    origin=place,
                    related=((other, "the other route"),),
                )


def to_own_subnet(site: Site) -> Iterator[Diagnostic]:
    """A machine reaches its own IPv4 subnet without a gateway; a route to it with the same metric clashes with that.

    Depending on which comes first, ``ifup`` prints "File exists", or the route takes the place of the link's own and
    the neighbours are out of reach, the gateway among them. A route with a metric is one for when the link is gone.

    Bad::

        # hosts/kvm01.yaml
        bridges:
          br0:
            addresses: [192.0.2.11/24, "2001:db8::11/64"]
            routes:
              - {to: 192.0.2.0/24, via: 192.0.2.254}

    Good::

        # hosts/kvm01.yaml
        bridges:
          br0:
            addresses: [192.0.2.11/24, "2001:db8::11/64"]
            routes:
              - {to: 192.0.2.128/25, via: 192.0.2.254}

    Source: ``ifup-routes`` of initscripts (https://github.com/fedora-sysv/initscripts); ip-route(8),
    https://man7.org/linux/man-pages/man8/ip-route.8.html.
    """
    for machine, links in machines(site):
        candidates = [said for said in routes(links) if said[2].version == 4 and metric(said[2]) == 0]
        own = _subnets(links) if candidates else {}
        for link, index, route in candidates:
            if route.to in own:
                yield Diagnostic(
                    rule=TO_OWN_SUBNET,
                    message=f"{machine} has a route to {route.to}, which it is in itself: it is refused, or its "
                    "neighbours are out of reach",
                    hint="Remove it: neighbours are reached without a gateway.",
                    origin=link.origin.at("routes", index, "to"),
                    related=((own[route.to], "its own subnet"),),
                )


def _subnets(links: Sequence[Attached]) -> dict[Network | None, Origin]:
    return {
        address.network: link.origin.at("addresses", index)
        for link in links
        for index, address in enumerate(link.addressing.addresses)
    }


def into_isolation(site: Site) -> Iterator[Diagnostic]:
    """A guest's default route to the host on an isolated network ends there: libvirt rejects whatever it forwards.

    The guest sends everything for the world into a wall, although another of its interfaces may lead there. A guest
    that is the network's router is another matter, and isn't told.

    Bad::

        # guests/web01.yaml
        interfaces:
          eth0:
            network: inside
            addresses: [192.168.124.10/24]
            routes: [{to: default, via: 192.168.124.1}]

    Good::

        # guests/web01.yaml
        interfaces:
          eth0:
            network: inside
            addresses: [192.168.124.10/24]
            routes: [{to: default, via: 192.168.124.254}]

    Source: https://libvirt.org/formatnetwork.html, isolated networks.
    """
    for guest, nic in site.nics():
        if nic.network is None or not nic.addressing.routes:
            continue
        for host in guest.hosts:
            network = site.networks.get(host, {}).get(nic.network)
            if network is None or network.forward is not Forward.ISOLATED:
                continue
            own = {address.ip: index for index, address in enumerate(network.addresses)}
            for index, route in enumerate(nic.addressing.routes):
                if is_default(route) and route.via in own:
                    yield Diagnostic(
                        rule=LEADS_NOWHERE,
                        message=f"the default route of {guest.name} ({nic.name}) ends at the host: network "
                        f"{network.name} is isolated",
                        hint="Remove it, or choose another forward mode for the network.",
                        origin=nic.origin.at("routes", index),
                        related=((network.at("addresses", own[route.via]), "the host's address there"),),
                    )
