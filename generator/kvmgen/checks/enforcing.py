"""Policies where nothing could hold what they say."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.diagnostics import Diagnostic, Origin, Rule
from kvmgen.model.guest import Guest, GuestInterface
from kvmgen.model.network import Forward
from kvmgen.model.policy import Entry
from kvmgen.model.site import Site

NOT_COUNTED = Rule(code="KV551", title="A limit of connections that come by the host")
INSIDE_TAGS = Rule(code="KV552", title="Policies for a guest that sends tagged frames")


def not_counted(site: Site) -> Iterator[Diagnostic]:
    """What a host routes to a guest passes by the rules that count connections: such a limit holds nobody there.

    The rules with connections are iptables' own for the ports of a bridge. On a routed or open network, and where the
    host is a guest's router on a bridge, everybody outside comes another way; the port is open, and not limited.

    Bad::

        # policies/ssh.yaml
        allow-in: [{tcp: 22, connections: 3}]
        allow-out: [dns]

        # networks/routed.yaml
        forward: route

        # guests/web01.yaml
        eth2: {network: routed, addresses: [198.51.100.10/24], policies: [ssh]}

    Good::

        # policies/ssh.yaml
        allow-in: [{tcp: 22, from: 198.51.100.0/24}]
        allow-out: [dns]

        # networks/routed.yaml
        forward: route

        # guests/web01.yaml
        eth2: {network: routed, addresses: [198.51.100.10/24], policies: [ssh]}

    Source: which traffic the rules of iptables see (https://libvirt.org/firewall.html); connlimit in
    https://man7.org/linux/man-pages/man8/iptables-extensions.8.html.
    """
    for guest, nic in site.nics():
        limit = _limit(site, nic) if nic.policies else None
        routed = None if limit is None else _routed(site, guest, nic)
        if limit is not None and routed is not None:
            yield Diagnostic(
                rule=NOT_COUNTED,
                message=f"nobody counts the connections that come to {guest.name} ({nic.name}) by its host: the limit "
                f"of {limit.connections} for {limit.words} holds only on the bridge itself",
                hint="Plug the guest into a bridge whose router is another machine, or leave the limit to the guest "
                "and name who may ask with `from`.",
                origin=nic.origin.at("policies"),
                related=((limit.origin, "the limit"), (routed, "the host routes to it")),
            )


def _limit(site: Site, nic: GuestInterface) -> Entry | None:
    chosen = (site.policies[name] for name in nic.policies if name in site.policies)
    entries = (entry for policy in chosen for entry in policy.allow_in or ())
    return next((entry for entry in entries if entry.connections is not None), None)


def _routed(site: Site, guest: Guest, nic: GuestInterface) -> Origin | None:
    """Where it is said that a host of a guest's is its way to the world, or nothing."""
    gateways = {route.via for route in nic.addressing.routes if route.to is None}
    for name in guest.hosts:
        network = site.networks[name].get(nic.network or "")
        if network is not None and network.forward in (Forward.ROUTE, Forward.OPEN):
            return network.at("forward")
        for bridge in site.hosts[name].bridges:
            own = {address.ip for address in bridge.addressing.addresses}
            if bridge.name == nic.bridge and not gateways.isdisjoint(own):
                return nic.origin.at("routes")
    return None


def inside_tags(site: Site) -> Iterator[Diagnostic]:
    """A trunk's frames carry VLAN tags, and no rule about addresses or ports looks inside those.

    kvmgen's filters drop them, for what is inside would pass unread; so with policies the guest has its native VLAN and
    none of the others.

    Bad::

        # guests/router01.yaml
        eth0: {bridge: br0, vlan: {tags: [7, 8], trunk: true}, policies: [web]}

    Good::

        # guests/router01.yaml
        eth0: {bridge: br0, vlan: 7, policies: [web]}
        eth1: {bridge: br0, vlan: 8, policies: [web]}

    Source: bridge-nf-filter-vlan-tagged in https://docs.kernel.org/networking/ip-sysctl.html; trunk in
    https://libvirt.org/formatdomain.html#setting-vlan-tag-on-supported-network-types-only.
    """
    for guest, nic in site.nics():
        if nic.policies and nic.vlan is not None and (nic.vlan.trunk or len(nic.vlan.tags) > 1):
            yield Diagnostic(
                rule=INSIDE_TAGS,
                message=f"{guest.name} ({nic.name}) sends tagged frames, into which no policy can look: they are "
                "dropped as a whole",
                hint="Give it an interface for each VLAN, each with its own policies; or none, where the guest is a "
                "router that filters itself.",
                origin=nic.origin.at("policies"),
                related=((nic.origin.at("vlan"), "the trunk"),),
            )
