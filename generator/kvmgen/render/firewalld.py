"""firewalld's own files: zones, policies, and direct rules up to el8.

Sources: firewalld.zone(5), firewalld.policy(5), firewalld.richlanguage(5) and firewalld.direct(5). firewalld itself
leaves the mode to its umask and reads any; the files hold no secret, so that they are readable here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import partial

from kvmgen.artifact import Artifact, Kind
from kvmgen.diagnostics import Origin
from kvmgen.model.host import DirectChain, DirectRule, Firewall, Node, Policy, RichRule, Zone, ZonePort
from kvmgen.render._header import made_from
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
            lines=partial(_lines, firewall),
            kind=Kind.FIREWALL,
            sources=tuple(dict.fromkeys((firewall.origin, *(rule.origin for rule in firewall.rules)))),
        )
    for zone in firewall.zones:
        yield Artifact(
            path=f"etc/firewalld/zones/{zone.name}.xml", text=_zone(zone), kind=Kind.FIREWALL, sources=(zone.origin,)
        )
    for policy in firewall.policies:
        path = f"etc/firewalld/policies/{policy.name}.xml"
        yield Artifact(path=path, text=_policy(policy), kind=Kind.FIREWALL, sources=(policy.origin,))


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


def _lines(firewall: Firewall) -> dict[int, Origin]:
    """Where each rule stands in direct.xml."""
    lines = enumerate(_direct(firewall).splitlines(), 1)
    numbers = (number for number, line in lines if line.startswith("  <rule "))
    return dict(zip(numbers, (rule.origin for rule in firewall.rules), strict=True))


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
