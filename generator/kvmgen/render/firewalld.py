"""firewalld's own files: zones, policies, direct rules up to el8, and its settings where the inventory says one.

Sources: firewalld.conf(5), firewalld.zone(5), firewalld.policy(5), firewalld.richlanguage(5) and firewalld.direct(5).
firewalld itself leaves the mode to its umask and reads any; the files hold no secret, so that they are readable here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import partial

from kvmgen.artifact import Artifact, Kind, Lines
from kvmgen.diagnostics import Origin
from kvmgen.model.host import DEFAULT_ZONE, DirectChain, DirectRule, Firewall, Node, Policy, RichRule, Zone, ZonePort
from kvmgen.render._header import hash_header, made_from
from kvmgen.render._xml import Content, Element, document, el, escape, when


def files(node: Node) -> Iterator[Artifact]:
    """``direct.xml`` and one file for each zone and policy; nothing where the inventory says nothing."""
    firewall = node.firewall
    if firewall is None:
        return
    if node.platform.has_direct_rules and (firewall.chains or firewall.rules):
        yield Artifact(
            path="etc/firewalld/direct.xml",
            text=_direct(firewall),
            lines=partial(_direct_lines, firewall, node),
            kind=Kind.FIREWALL,
            sources=tuple(dict.fromkeys((firewall.origin, *(rule.origin for rule in firewall.rules)))),
        )
    if firewall.ipv6_rpfilter is not None:
        yield _settings(node, firewall)
    for zone in firewall.zones:
        yield _artifact(f"zones/{zone.name}.xml", _zone(zone), zone, node)
    for policy in firewall.policies:
        yield _artifact(f"policies/{policy.name}.xml", _policy(policy), policy, node)


def _artifact(name: str, text: str, zone: Zone | Policy, node: Node) -> Artifact:
    return Artifact(
        path=f"etc/firewalld/{name}",
        text=text,
        kind=Kind.FIREWALL,
        sources=(zone.origin,),
        lines=partial(_zone_lines, zone, node, text),
    )


def _settings(node: Node, firewall: Firewall) -> Artifact:
    """What differs from firewalld's own defaults, and what they aren't the same for everywhere.

    The distribution's file names the other defaults, which hold without being named.
    """
    place = firewall.origin.at("ipv6-rpfilter")
    backend = "iptables" if node.platform.major == 7 else "nftables"
    said = f"IPv6_rpfilter={'yes' if firewall.ipv6_rpfilter else 'no'}\n"
    text = f"{hash_header(place)}DefaultZone={DEFAULT_ZONE}\nFirewallBackend={backend}\n{said}"
    return Artifact(
        path="etc/firewalld/firewalld.conf",
        text=text,
        kind=Kind.FIREWALL,
        sources=(place,),
        lines=partial(_settings_lines, place, text),
    )


def _settings_lines(place: Origin, text: str) -> Lines:
    from kvmgen.render.origins.walk import CHOICE, key_lines

    return key_lines(text, {"": (place,), "DefaultZone": CHOICE, "FirewallBackend": CHOICE})


def _direct(firewall: Firewall) -> str:
    """Chains first: a rule that jumps to a chain which isn't there yet would fail the whole file."""
    return "".join(
        (
            '<?xml version="1.0" encoding="utf-8"?>\n',
            f"<!-- {_comment(made_from(firewall.origin))} -->\n",
            "<direct>\n",
            *map(_chain, firewall.chains),
            *_rules(firewall.rules),
            "</direct>\n",
        )
    )


def _direct_lines(firewall: Firewall, node: Node) -> Lines:
    from kvmgen.render.origins.firewall import direct_places
    from kvmgen.render.origins.walk import xml_lines

    return xml_lines(_direct(firewall), direct_places(firewall, node))


def _zone_lines(zone: Zone | Policy, node: Node, text: str) -> Lines:
    from kvmgen.render.origins.firewall import zone_places
    from kvmgen.render.origins.walk import xml_lines

    return xml_lines(text, zone_places(zone, node))


def _chain(chain: DirectChain) -> str:
    return f"  <chain ipv='{chain.family}' table='{chain.table}' chain='{escape(chain.chain)}'/>\n"


def _rules(rules: Iterable[DirectRule]) -> Iterator[str]:
    """The rules, with the reason of derived ones before the first that it is the reason of."""
    why = None
    for rule in rules:
        if rule.why is not None and rule.why != why:
            yield f"  <!-- {_comment(rule.why)} -->\n"
        why = rule.why
        yield _rule(rule)


def _rule(rule: DirectRule) -> str:
    """A rule on one line: firewalld splits its text into arguments as a shell would."""
    where = f"ipv='{rule.family}' table='{rule.table}' chain='{escape(rule.chain)}' priority='{rule.priority}'"
    return f"  <rule {where}>{escape(rule.rule)}</rule>\n"


def _comment(text: str) -> str:
    """Text without ``--``, which would end an XML comment."""
    return re.sub("-(?=-)", "- ", text)


def _zone(zone: Zone) -> str:
    """A zone, its elements in firewalld's order."""
    root = el(
        "zone",
        {"target": None if zone.target == "default" else _target(zone.target)},
        *_common(zone),
        (el("interface", {"name": interface}) for interface in zone.interfaces),
        (el("source", {"address": source}) for source in zone.sources),
        when(zone.forward, el("forward")),
    )
    return document(root, zone.origin, declaration=True)


def _target(target: str) -> str:
    return "%%REJECT%%" if target == "REJECT" else target


def _policy(policy: Policy) -> str:
    """A policy, its elements in firewalld's order; a priority of -1 is the one that it doesn't write."""
    root = el(
        "policy",
        {"priority": None if policy.priority == -1 else policy.priority, "target": policy.target},
        *_common(policy),
        (el("ingress-zone", {"name": zone}) for zone in policy.ingress_zones),
        (el("egress-zone", {"name": zone}) for zone in policy.egress_zones),
    )
    return document(root, policy.origin, declaration=True)


def _common(zone: Zone | Policy) -> Iterator[Content]:
    """What zones and policies have in common."""
    yield el("short", {}, zone.name)
    yield None if zone.description is None else el("description", {}, zone.description)
    yield (el("service", {"name": service}) for service in zone.services)
    yield map(_port, zone.ports)
    yield when(zone.masquerade, el("masquerade"))
    yield map(_rich_rule, zone.rules)


def _port(port: ZonePort) -> Element:
    return el("port", {"port": port.port, "protocol": port.protocol})


def _rich_rule(rule: RichRule) -> Element:
    return el(
        "rule",
        {"family": rule.family, "priority": rule.priority or None},
        None if rule.source is None else el("source", {"address": rule.source}),
        None if rule.destination is None else el("destination", {"address": rule.destination}),
        None if rule.service is None else el("service", {"name": rule.service}),
        None if rule.port is None else _port(rule.port),
        None if rule.protocol is None else el("protocol", {"value": rule.protocol}),
        None if rule.icmp_type is None else el("icmp-type", {"name": rule.icmp_type}),
        None if rule.log is None else el("log", {"prefix": rule.log[0] or None, "level": rule.log[1] or None}),
        el(rule.action),
    )
