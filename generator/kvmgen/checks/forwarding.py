"""How a virtual network reaches the world: the device, translation, and routes behind its guests."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.checks._dhcp import subnets
from kvmgen.checks.dhcp import is_too_wide
from kvmgen.diagnostics import Diagnostic, Origin, Rule, Severity
from kvmgen.model.network import Forward, VirtualNetwork
from kvmgen.model.site import Site
from kvmgen.model.values import Network, Route

NO_DEVICE = Rule(code="KV319", title="A forward device that the host doesn't have")
NAT_PORTS = Rule(code="KV320", title="NAT ports that libvirt refuses")
NAT_ADDRESSES = Rule(code="KV321", title="NAT addresses that libvirt refuses")
NOT_TRANSLATED = Rule(code="KV322", title="A NAT network whose IPv6 addresses stay private", severity=Severity.WARNING)
GATEWAY_OFF_NET = Rule(code="KV323", title="A network's route through a gateway that isn't on it")
INTO_ITSELF = Rule(code="KV324", title="A network's route to its own subnet")
NO_METRIC = Rule(code="KV325", title="A network's route with a metric of 0")

_OTHERS_MAKE = ("gre", "ib", "ipsec", "ppp", "sit", "tailscale", "tap", "team", "tun", "vti", "wg", "wl", "ww", "zt")
"""How links are called that an inventory has no words for: tunnels, dial-up, wireless and the like."""


def devices(site: Site) -> Iterator[Diagnostic]:
    """Traffic may leave a network with a forward device by this one only: where it isn't there, nothing leaves.

    libvirt writes the name into its packet filter without looking: network and guests start, and their packets are
    rejected. Names of tunnels and of other links that an inventory can't describe (tun0, wg0, ppp0) are left alone.

    Bad::

        # networks/default.yaml
        forward-dev: br1

    Good::

        # networks/default.yaml
        forward-dev: br0

    Source: `dev` in https://libvirt.org/formatnetwork.html#connectivity.
    """
    for host, carried in site.networks.items():
        wanting = [network for network in carried.values() if network.forward_dev is not None]
        if not wanting or host not in site.hosts:
            continue
        known = [link.name for link in site.hosts[host].links]
        made = {network.bridge for network in carried.values()}
        hint = f"Name one of {', '.join(known)}, or leave it out" if known else "Leave it out"
        for network in wanting:
            device = network.forward_dev or ""
            if device not in known and device not in made and not device.startswith(_OTHERS_MAKE):
                yield Diagnostic(
                    rule=NO_DEVICE,
                    message=f"{host} has no link {device!r}: nothing would leave network {network.name}",
                    hint=f"{hint} to let traffic leave by any link.",
                    origin=network.at("forward-dev"),
                )


def nat_ports(site: Site) -> Iterator[Diagnostic]:
    """libvirt refuses a network whose range of source ports is reversed or goes beyond 65535.

    A range of one port is defined, and then the network doesn't start. Port 0 gets past `net-define` without validation
    only; it is nobody's port.

    Bad::

        # networks/default.yaml
        nat: {ports: 65535-1024}

    Good::

        # networks/default.yaml
        nat: {ports: 1024-65535}

    Source: https://libvirt.org/formatnetwork.html#connectivity; libvirt 9.0 says "Missing or invalid 'end' attribute in
    <port> in <nat>", and of one port "Invalid port range".
    """
    for network in site.carried():
        if network.nat is None or network.nat.ports is None:
            continue
        first, last = network.nat.ports
        if not 1 <= first < last <= 65535:
            wrong = _wrong_ports(first, last)
            yield Diagnostic(
                rule=NAT_PORTS,
                message=f"{first}-{last} is no range of ports: {wrong}",
                hint="Write two ports, the lower one first: 1024-65535.",
                origin=network.at("nat", "ports"),
            )


def _wrong_ports(first: int, last: int) -> str:
    if first == last:
        return "libvirt starts no network with a single one"
    return f"{last} comes before {first}" if last < first else "they are 1 to 65535"


def nat_addresses(site: Site) -> Iterator[Diagnostic]:
    """libvirt translates to IPv4 addresses only, and to ranges whose ends differ in their last two numbers at most.

    Bad::

        # networks/default.yaml
        nat: {addresses: "2001:db8::100-2001:db8::1ff"}

    Good::

        # networks/default.yaml
        nat: {addresses: 192.0.2.100-192.0.2.199}

    Source: https://libvirt.org/formatnetwork.html#connectivity; libvirt 9.0 says "Bad ipv4 start address" and "range
    192.0.255.250 - 192.1.0.5 is too large (> 65535)".
    """
    for network in site.carried():
        translated = network.nat.addresses if network.nat is not None else None
        if translated is None:
            continue
        if translated.start.version == 6:
            wrong, hint = "is IPv6", "Leave it out: `ipv6: true` translates to the host's own IPv6 address."
        elif is_too_wide(translated):
            wrong, hint = "has ends that differ in their first two numbers", "Write a smaller range."
        else:
            continue
        yield Diagnostic(
            rule=NAT_ADDRESSES,
            message=f"the range {translated.start}-{translated.end} {wrong}: libvirt refuses the network",
            hint=hint,
            origin=network.at("nat", "addresses"),
        )


_UNIQUE_LOCAL = 0xFC >> 1


def not_translated(site: Site) -> Iterator[Diagnostic]:
    """NAT is for IPv4 unless the network says otherwise: IPv6 packets leave with the guests' own addresses.

    A unique local address (fc00::/7) isn't routed outside, so that nobody can answer what a guest sends to the world
    from it. libvirt translates IPv6 since 6.5; an older one has a routed prefix, or IPv6 among guests and host only.
    Where that is meant, or where the site routes these addresses to the host, silence it.

    Bad::

        # networks/default.yaml
        forward: nat
        addresses: [192.168.122.1/24, "fd00:122::1/64"]

    Good::

        # networks/default.yaml
        forward: nat
        nat: {ipv6: true}
        addresses: [192.168.122.1/24, "fd00:122::1/64"]

    Source: `ipv6` of `nat` in https://libvirt.org/formatnetwork.html#connectivity; RFC 4193 for fc00::/7
    (https://www.rfc-editor.org/rfc/rfc4193).
    """
    for network in site.carried():
        if network.forward is not Forward.NAT or (network.nat is not None and network.nat.ipv6):
            continue
        for index, own in enumerate(network.addresses):
            if own.version == 6 and int(own) >> 121 == _UNIQUE_LOCAL:
                yield Diagnostic(
                    rule=NOT_TRANSLATED,
                    message=f"IPv6 isn't translated on this network, and {own.network} isn't routed outside",
                    hint="Write `nat: {ipv6: true}` (libvirt 6.5 and later), or take a prefix that is routed here.",
                    origin=network.at("addresses", index),
                )


RouteAt = tuple[VirtualNetwork, Route, Origin]


def _routes(site: Site) -> Iterator[RouteAt]:
    for network in site.carried():
        for index, route in enumerate(network.routes):
            yield network, route, network.at("routes", index)


def gateways(site: Site) -> Iterator[Diagnostic]:
    """A network's routes lead through its guests, so that their gateways are in its subnets.

    libvirt refuses the network otherwise; link-local gateways are refused as well. A gateway that is the host's own
    address, or an address that no machine has, is taken and leads nowhere.

    Bad::

        # networks/routed.yaml
        addresses: [192.168.130.1/24]
        routes:
          - {to: 10.20.0.0/16, via: 192.168.131.2}

    Good::

        # networks/routed.yaml
        addresses: [192.168.130.1/24]
        routes:
          - {to: 10.20.0.0/16, via: 192.168.130.2}

    Source: https://libvirt.org/formatnetwork.html#static-routes; libvirt 9.0 says "unreachable static route gateway".
    """
    for network, route, origin in _routes(site):
        wrong = _wrong_gateway(network, route)
        if wrong is not None:
            yield Diagnostic(
                rule=GATEWAY_OFF_NET,
                message=f"the gateway {route.via} {wrong}",
                hint="Write the address of the guest that routes, in one of the network's own subnets.",
                origin=origin.at("via"),
            )


def _wrong_gateway(network: VirtualNetwork, route: Route) -> str | None:
    within = [own for own in network.addresses if route.via in own.network]
    if not within:
        own_subnets = subnets(network, route.version) or f"no IPv{route.version} subnet"
        return f"isn't on the network ({own_subnets}): libvirt refuses the network"
    for own in within:
        if route.via == own.ip:
            return "is the host's own address, so that the route leads nowhere"
        subnet = own.network
        if subnet.version == 4 and subnet.prefixlen < 31 and route.via in (subnet[0], subnet[-1]):
            return f"is the first or last address of {subnet}, which no machine has"
    return None


def into_itself(site: Site) -> Iterator[Diagnostic]:
    """The host is in its networks' subnets itself: a route to one is never used, one to a part of it comes before.

    Where the network leases addresses in that part, the host looks for these guests behind the gateway, which has
    to send everything back. A part in which nothing is leased may well be behind a guest.

    Bad::

        # networks/routed.yaml
        addresses: [192.168.130.1/24]
        dhcp: {ranges: [192.168.130.100-192.168.130.199]}
        routes:
          - {to: 192.168.130.128/25, via: 192.168.130.2}

    Good::

        # networks/routed.yaml
        addresses: [192.168.130.1/24]
        dhcp: {ranges: [192.168.130.100-192.168.130.127]}
        routes:
          - {to: 192.168.130.128/25, via: 192.168.130.2}

    Source: https://libvirt.org/formatnetwork.html#static-routes; ip-route(8),
    https://man7.org/linux/man-pages/man8/ip-route.8.html.
    """
    for network, route, origin in _routes(site):
        for index, own in enumerate(network.addresses):
            if route.to is None or not _holds(own.network, route.to):
                continue
            if route.to == own.network:
                message = f"the route to {route.to} is never used: it is the network's own subnet"
            elif _leases_in(network, route.to):
                message = f"the route to {route.to} takes away addresses that {own.network} leases to guests here"
            else:
                continue
            yield Diagnostic(
                rule=INTO_ITSELF,
                message=message,
                hint="Remove it, or write what is behind the gateway.",
                origin=origin.at("to"),
                related=((network.at("addresses", index), "the network's own subnet"),),
            )


def _holds(outer: Network, inner: Network) -> bool:
    if outer.version != inner.version or inner.prefixlen < outer.prefixlen:
        return False
    return inner.network_address in outer


def _leases_in(network: VirtualNetwork, part: Network) -> bool:
    if any(lease.address in part for lease in network.dhcp.hosts):
        return True
    first, last = int(part.network_address), int(part.broadcast_address)
    return any(
        leased.start.version == part.version and int(leased.start) <= last and int(leased.end) >= first
        for leased in network.dhcp.ranges
    )


def metrics(site: Site) -> Iterator[Diagnostic]:
    """libvirt refuses a network that has a route with a metric of 0; without one it takes 1.

    Bad::

        # networks/routed.yaml
        routes:
          - {to: 10.20.0.0/16, via: 192.168.130.2, metric: 0}

    Good::

        # networks/routed.yaml
        routes:
          - {to: 10.20.0.0/16, via: 192.168.130.2}

    Source: `metric` in https://libvirt.org/formatnetwork.html#static-routes; libvirt 9.0 says "Zero is not permitted".
    """
    for _, route, origin in _routes(site):
        if route.metric == 0:
            yield Diagnostic(
                rule=NO_METRIC,
                message="libvirt refuses the network: a route's metric can't be 0",
                hint="Leave it out, or write a metric from 1 on.",
                origin=origin.at("metric"),
            )
