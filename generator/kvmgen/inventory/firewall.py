"""Lowering packet filters: what an inventory says word for word, and what bridges with guests need besides."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from kvmgen.diagnostics import Origin
from kvmgen.inventory.context import Context, Data
from kvmgen.inventory.firewall_rules import ZONES_THAT_FORWARD, lower_rules, zone_ports
from kvmgen.model.host import BUILT_IN_ZONES, Bridge, DirectChain, DirectRule, Firewall, Policy, Zone
from kvmgen.model.platform import Platform

DEFAULT_SERVICES = ("dhcpv6-client", "ssh")
"""What firewalld's default zone opens on a server."""

LATE = 10_000
"""The priority of derived rules: behind every rule of the inventory, so that those decide first."""

_FAMILIES = {"both": ("ipv4", "ipv6")}


def lower_firewall(context: Context, data: Data, origin: Origin, zones_of_links: dict[str, list[str]]) -> Firewall:
    """The packet filter as the inventory says it; ``zones_of_links`` are the links that name each zone."""
    return Firewall(
        origin=origin,
        zones=tuple(
            _zone(context, name, zone, origin.at("zones", name), zones_of_links.get(name, []))
            for name, zone in sorted(data.get("zones", {}).items())
        ),
        policies=tuple(
            _policy(context, name, policy, origin.at("policies", name), data.get("zones", {}).keys())
            for name, policy in sorted(data.get("policies", {}).items())
        ),
        chains=tuple(
            DirectChain(
                family=family,
                table=chain.get("table", "filter"),
                chain=chain["chain"],
                origin=origin.at("chains", index),
            )
            for index, chain in enumerate(data.get("chains", ()))
            for family in _families(chain)
        ),
        rules=tuple(
            DirectRule(
                family=family,
                table=rule.get("table", "filter"),
                chain=rule["chain"],
                priority=rule.get("priority", 0),
                rule=rule["rule"],
                origin=origin.at("direct", index),
            )
            for index, rule in enumerate(data.get("direct", ()))
            for family in _families(rule)
        ),
        chain_policies=tuple(
            (family, chain, verdict)
            for chain, verdict in sorted(data.get("chain-policies", {}).items())
            for family in ("ipv4", "ipv6")
        ),
        ipv6_rpfilter=data.get("ipv6-rpfilter"),
    )


def _families(data: Data) -> Sequence[str]:
    return _FAMILIES.get(data["family"], (data["family"],))


def _zone(context: Context, name: str, data: Data, origin: Origin, links: list[str]) -> Zone:
    context.networks(data.get("sources", ()), origin.at("sources"))
    return Zone(
        name=name,
        origin=origin,
        target=data.get("target", "default"),
        description=data.get("description"),
        interfaces=tuple(links),
        sources=tuple(data.get("sources", ())),
        services=tuple(data.get("services", ())),
        ports=zone_ports(data),
        masquerade=data.get("masquerade", False),
        forward=data.get("forward", False),
        rules=lower_rules(context, data.get("rules", ()), origin.at("rules")),
    )


def _policy(context: Context, name: str, data: Data, origin: Origin, zones: Collection[str]) -> Policy:
    for side in ("ingress-zones", "egress-zones"):
        for index, zone in enumerate(data[side]):
            if zone not in BUILT_IN_ZONES and zone not in zones and zone not in ("HOST", "ANY"):
                context.no_reference(origin.at(side, index), "zone", zone, {*BUILT_IN_ZONES, *zones, "HOST", "ANY"})
    return Policy(
        name=name,
        origin=origin,
        ingress_zones=tuple(data["ingress-zones"]),
        egress_zones=tuple(data["egress-zones"]),
        target=data.get("target", "CONTINUE"),
        priority=data.get("priority", -1),
        description=data.get("description"),
        services=tuple(data.get("services", ())),
        ports=zone_ports(data),
        masquerade=data.get("masquerade", False),
        rules=lower_rules(context, data.get("rules", ()), origin.at("rules")),
    )


def bridged_rules(firewall: Firewall | None, bridges: Iterable[str], networks: Iterable[str]) -> Iterator[Origin]:
    """The rules of FORWARD that look at frames between the ports of a bridge.

    ``bridges`` are the host's own. Those of libvirt's ``networks`` are routers' ports as well: a rule that names one on
    one side only is about what is routed.
    """
    of_host, of_libvirt = ("|".join(map(re.escape, names)) for names in (bridges, networks))
    wanted = ["physdev"]
    wanted += [rf"-[io] ({of_host})( |$)"] if of_host else []
    wanted += [rf"(?<!! )-[io] (?P<bridge>{of_libvirt}) (.* )?(?<!! )-[io] (?P=bridge)( |$)"] if of_libvirt else []
    rules = firewall.rules if firewall else ()
    of_bridges = re.compile("|".join(wanted))
    return (rule.origin for rule in rules if rule.chain == "FORWARD" and of_bridges.search(rule.rule))


def let_guests_talk(platform: Platform, firewall: Firewall, bridges: Sequence[Bridge]) -> Firewall:
    """Add what lets bridged frames between guests pass where bridge netfilter shows them to the host's firewall.

    Both of firewalld's backends reject them otherwise. Where zones can forward, each bridge that is in no zone yet gets
    one of its own, which opens no more of the host than the default zone does; elsewhere a direct rule behind all
    others accepts bridged frames.
    """
    bridges = [bridge for bridge in bridges if bridge.zone is None]
    if platform.firewalld is None or not bridges:
        return firewall
    if platform.firewalld >= ZONES_THAT_FORWARD:
        zones = (*firewall.zones, *(_guest_zone(bridge) for bridge in bridges))
        return replace(firewall, zones=tuple(sorted(zones, key=lambda zone: zone.name)))
    return replace(firewall, rules=(*firewall.rules, *_accept_bridged(bridges)))


_REACHED: Mapping[str | None, str] = {"guests": "the uplink", "groups": "the uplink and their own group"}


def _guest_zone(bridge: Bridge) -> Zone:
    """A zone for a bridge alone. Where the host has addresses of its own on it, administrators still come in."""
    only_guests = bridge.addressing.is_empty
    whom = _REACHED.get(bridge.isolation, "each other")
    to = "no port" if only_guests else "SSH"
    return Zone(
        name=bridge.name,
        origin=bridge.origin,
        description=f"The guests on {bridge.name} reach {whom}, and {to} of this host.",
        interfaces=(bridge.name,),
        services=() if only_guests else DEFAULT_SERVICES,
        forward=True,
    )


def _accept_bridged(bridges: Iterable[Bridge]) -> Iterable[DirectRule]:
    for bridge in bridges:
        for family in ("ipv4", "ipv6"):
            yield DirectRule(
                family=family,
                table="filter",
                chain="FORWARD",
                priority=LATE,
                rule=f"-i {bridge.name} -o {bridge.name} -m physdev --physdev-is-bridged -j ACCEPT",
                origin=bridge.origin,
                why=f"Frames between the ports of {bridge.name} pass; firewalld would reject what nothing accepts.",
            )
