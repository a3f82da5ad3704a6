"""firewalld's own files: zones, and direct rules up to el8.

Sources: firewalld.zone(5) and firewalld.direct(5). firewalld itself leaves the mode to its umask and reads any; the
files hold no secret, so that they are readable here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from kvmgen.artifact import Artifact, Kind
from kvmgen.model.host import DirectChain, DirectRule, Firewall, Node, Zone
from kvmgen.render._header import made_from
from kvmgen.render._xml import document, el, escape, when

LAST_WITH_DIRECT_RULES = 8
"""The last platform for which direct rules are written; firewalld 1.0 calls them deprecated."""


def files(node: Node) -> Iterator[Artifact]:
    """``direct.xml`` and one file for each zone; nothing where the inventory says nothing."""
    firewall = node.firewall
    if firewall is None:
        return
    if node.platform.major <= LAST_WITH_DIRECT_RULES and (firewall.chains or firewall.rules):
        yield Artifact(
            path="etc/firewalld/direct.xml",
            text=_direct(firewall),
            kind=Kind.FIREWALL,
            sources=tuple(dict.fromkeys((firewall.origin, *(rule.origin for rule in firewall.rules)))),
        )
    for zone in firewall.zones:
        yield Artifact(
            path=f"etc/firewalld/zones/{zone.name}.xml", text=_zone(zone), kind=Kind.FIREWALL, sources=(zone.origin,)
        )


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
        el("short", {}, zone.name),
        None if zone.description is None else el("description", {}, zone.description),
        (el("service", {"name": service}) for service in zone.services),
        (el("port", {"port": port.port, "protocol": port.protocol}) for port in zone.ports),
        when(zone.masquerade, el("masquerade")),
        (el("interface", {"name": interface}) for interface in zone.interfaces),
        (el("source", {"address": source}) for source in zone.sources),
        when(zone.forward, el("forward")),
    )
    return document(root, zone.origin, declaration=True)


def _target(target: str) -> str:
    return "%%REJECT%%" if target == "REJECT" else target
