"""Virtual networks as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from kvmgen.diagnostics import Diagnostic, Origin, Rule, Severity
from kvmgen.model.network import Forward, VirtualNetwork
from kvmgen.model.site import Site
from kvmgen.model.values import Network

SMALL_MTU = Rule(code="KV326", title="A network's MTU too small for IPv6")
ROUTED_TWICE = Rule(code="KV327", title="A routed subnet on two hosts", severity=Severity.WARNING)
TWO_DEFAULTS = Rule(code="KV328", title="Two default port groups of a network")

_SMALLEST_OF_IPV6 = 1280


def small_mtus(site: Site) -> Iterator[Diagnostic]:
    """IPv6 needs packets of 1280 bytes: the kernel has no IPv6 on a smaller link, and libvirt can't start the network.

    Bad::

        # networks/small.yaml
        bridge: {name: virbr7, mtu: 1200}
        addresses: ["fd00:7::1/64"]

    Good::

        # networks/small.yaml
        bridge: {name: virbr7, mtu: 1280}
        addresses: ["fd00:7::1/64"]

    Source: RFC 8200, section 5 (https://www.rfc-editor.org/rfc/rfc8200#section-5); libvirt 9.0 says "Failed to add IP
    address".
    """
    for network in site.carried():
        if network.mtu is not None and network.mtu < _SMALLEST_OF_IPV6:
            index = next((index for index, own in enumerate(network.addresses) if own.version == 6), None)
            if index is not None:
                yield Diagnostic(
                    rule=SMALL_MTU,
                    message=f"an MTU of {network.mtu} leaves no room for IPv6: the network doesn't start",
                    hint="Write 1280 or more, or remove the IPv6 address.",
                    origin=network.at("bridge", "mtu"),
                    related=((network.at("addresses", index), "the network's IPv6 address"),),
                )


class _Routed(NamedTuple):
    """A subnet that the world reaches through one host."""

    version: int
    first: int
    last: int
    host: str
    number: int
    subnet: Network
    network: VirtualNetwork


def routed_twice(site: Site) -> Iterator[Diagnostic]:
    """A routed network's subnet is reached through its host: the routers outside can send it to one host only.

    Guests of the other host get no answers, and nobody can tell why from either host. NAT and isolated networks are
    each host's own affair. Where the network is reached through one host at a time, by a routing protocol or by hand,
    silence it.

    Bad::

        # networks/routed.yaml
        hosts:
          kvm01: {}
          kvm02: {}
        forward: route
        addresses: [198.51.100.1/25]

    Good::

        # networks/routed.yaml
        hosts:
          kvm01: {}
          kvm02: {addresses: [198.51.100.129/25]}
        forward: route
        addresses: [198.51.100.1/25]

    Source: forward mode `route` in https://libvirt.org/formatnetwork.html#connectivity.
    """
    widest: _Routed | None = None
    for routed in sorted(_routed(site), key=lambda one: one[:5]):
        if widest is not None and widest.version == routed.version and routed.first <= widest.last:
            if widest.host != routed.host:
                yield _reached_twice(*sorted((widest, routed), key=lambda one: one.host))
            if routed.last <= widest.last:
                continue
        widest = routed


def _routed(site: Site) -> Iterator[_Routed]:
    for network in site.carried():
        if network.forward in (Forward.ROUTE, Forward.OPEN):
            for index, own in enumerate(network.addresses):
                subnet = own.network
                first, last = int(subnet.network_address), int(subnet.broadcast_address)
                yield _Routed(own.version, first, last, network.host, index, subnet, network)


def _reached_twice(other: _Routed, routed: _Routed) -> Diagnostic:
    places = [one.network.at("addresses", one.number) for one in (routed, other)]
    shared = places[0] == places[1]
    if shared:
        places = [one.network.origin.at("hosts", one.host) for one in (routed, other)]
    return Diagnostic(
        rule=ROUTED_TWICE,
        message=f"{routed.subnet} is routed to {routed.host}, and {other.subnet} to {other.host}: one of them gets no "
        "answers",
        hint="Give each host a subnet of its own, for one of them under `hosts`.",
        origin=places[0],
        on_key=shared,
        related=((places[1], f"routed to {other.host}"),),
    )


def default_groups(site: Site) -> Iterator[Diagnostic]:
    """A network has one default port group; libvirt refuses a network with two.

    Bad::

        # networks/default.yaml
        portgroups:
          slow: {default: true, bandwidth: {inbound: {average: 1000}}}
          fast: {default: true}

    Good::

        # networks/default.yaml
        portgroups:
          slow: {default: true, bandwidth: {inbound: {average: 1000}}}
          fast: {default: false}

    Source: https://libvirt.org/formatnetwork.html#portgroups; libvirt 9.0 says "only one default is allowed".
    """
    for network in site.carried():
        chosen = [group.name for group in network.portgroups if group.default]
        for name in chosen[1:]:
            yield Diagnostic(
                rule=TWO_DEFAULTS,
                message=f"the port groups {chosen[0]} and {name} are both default: libvirt refuses the network",
                hint="Leave `default` to one of them.",
                origin=_default(network, name),
                related=((_default(network, chosen[0]), "the other default"),),
            )


def _default(network: VirtualNetwork, group: str) -> Origin:
    return network.at("portgroups", group, "default")
