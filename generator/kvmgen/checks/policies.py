"""firewalld's policies and rich rules: those that it would refuse, or read past."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

from kvmgen.checks._firewalld import ICMP_TYPES, SERVICES_WITH_ADDRESSES, rules
from kvmgen.diagnostics import Diagnostic, Rule
from kvmgen.model.host import BUILT_IN_POLICIES, Node, Policy, RichRule
from kvmgen.model.site import Site

POLICY_REFUSED = Rule(code="KV640", title="A policy that firewalld refuses")
RULE_REFUSED = Rule(code="KV641", title="A rule that firewalld refuses")

_SYMBOLIC = frozenset(("ANY", "HOST"))

Problem = tuple[Sequence[str], str, str]
"""A key, what is wrong with it, and what to write instead."""


def policies_refused(site: Site) -> Iterator[Diagnostic]:
    """firewalld fails over one policy that isn't to its rules, and runs without any of the inventory's configuration.

    ANY and HOST stand alone in their list; HOST can't be on both sides, and nothing is masqueraded from or to it;
    priority 0 is the zones' own; and a policy's name is no zone's, and none of a policy that firewalld or libvirt
    brings, which it would replace.

    Bad::

        # hosts/kvm01.yaml
        policies:
          lan: {ingress-zones: [lan], egress-zones: [ANY]}
          to-host: {ingress-zones: [dmz, ANY], egress-zones: [HOST], masquerade: true}

    Good::

        # hosts/kvm01.yaml
        policies:
          dmz-out: {ingress-zones: [dmz], egress-zones: [ANY], masquerade: true}
          to-host: {ingress-zones: [ANY], egress-zones: [HOST]}

    Source: https://firewalld.org/documentation/man-pages/firewalld.policy.html and firewalld.policies(5).
    """
    for node in site.nodes():
        for policy in node.firewall.policies if node.firewall else ():
            for way, message, hint in _problems(node, policy):
                on_key = not way
                yield Diagnostic(
                    rule=POLICY_REFUSED, message=message, hint=hint, origin=policy.origin.at(*way), on_key=on_key
                )


def _problems(node: Node, policy: Policy) -> Iterator[Problem]:
    if policy.name in BUILT_IN_POLICIES:
        yield (), f"the policy {policy.name!r} comes with firewalld or libvirt, and would be replaced", "Rename it."
    if node.firewall and policy.name in {zone.name for zone in node.firewall.zones}:
        hint = "Give it a name of its own, such as one that says from where to where."
        yield (), f"the policy {policy.name!r} has the name of a zone: firewalld fails over the two", hint
    for key, zones in (("ingress-zones", policy.ingress_zones), ("egress-zones", policy.egress_zones)):
        if len(zones) > 1 and _SYMBOLIC.intersection(zones):
            yield (key,), "ANY and HOST stand alone: firewalld refuses them beside others", "Write a policy for each."
    sides = (policy.ingress_zones, policy.egress_zones)
    if all("HOST" in side for side in sides):
        hint = "Name zones, or ANY, on one side."
        yield ("egress-zones",), "what goes from the host to the host is no policy's: firewalld refuses it", hint
    elif policy.masquerade and any("HOST" in side for side in sides):
        hint = "Masquerade between zones, or in the zone that packets leave by."
        yield ("masquerade",), "firewalld masquerades nothing that comes from the host or goes to it", hint
    if policy.priority == 0:
        hint = "Write a negative one to come before the zones, or a positive one to come after them."
        yield ("priority",), "the priority 0 is the zones' own: firewalld refuses it in a policy", hint


def rules_refused(site: Site) -> Iterator[Diagnostic]:
    """firewalld skips a rule that it can't read, with a warning in its log, or fails over it as a whole.

    A rule must say what packets it is about, unless it has a priority of its own. ICMP types are firewalld's, and some
    are of one IP version. A service that names its own destination can't have another.

    Bad::

        # hosts/kvm01.yaml
        rules:
          - {action: drop}
          - {icmp-type: echo, action: accept}
          - {family: ipv4, icmp-type: packet-too-big, action: accept}
          - {service: mdns, destination: 192.0.2.0/24, action: accept}

    Good::

        # hosts/kvm01.yaml
        rules:
          - {action: drop, priority: 100}
          - {icmp-type: echo-request, action: accept}
          - {family: ipv6, icmp-type: packet-too-big, action: accept}
          - {service: mdns, action: accept}

    Source: https://firewalld.org/documentation/man-pages/firewalld.richlanguage.html.
    """
    for node in site.nodes():
        for rule in rules(node):
            for way, message, hint in _unreadable(rule):
                yield Diagnostic(rule=RULE_REFUSED, message=message, hint=hint, origin=rule.origin.at(*way))


def _unreadable(rule: RichRule) -> Iterator[Problem]:
    about = (rule.source, rule.destination, rule.service, rule.port, rule.protocol, rule.icmp_type)
    if not any(about) and rule.priority == 0:
        hint = "Say what it is about, or give it a `priority` and it is for all packets."
        yield (), "the rule doesn't say which packets it is about, and firewalld skips it", hint
    families = ICMP_TYPES.get(rule.icmp_type or "")
    if rule.icmp_type and families is None:
        near = difflib.get_close_matches(rule.icmp_type, ICMP_TYPES, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "`firewall-cmd --get-icmptypes` lists them."
        yield ("icmp-type",), f"firewalld has no ICMP type {rule.icmp_type!r}", hint
    elif families and rule.family and rule.family not in families:
        hint = f"Write `family: {families[0]}`, or leave it out."
        yield ("icmp-type",), f"the ICMP type {rule.icmp_type!r} isn't one of IP{rule.family[2:]}", hint
    if rule.service in SERVICES_WITH_ADDRESSES and rule.destination:
        message = f"the service {rule.service!r} has a destination of its own, and firewalld takes no second one"
        yield ("destination",), message, "Leave one of the two out."
