"""Lowering firewalld's rich rules, and what a platform's firewall can't do of what an inventory says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from kvmgen.diagnostics import Origin, Rule
from kvmgen.inventory import docs
from kvmgen.inventory.context import NOT_TOGETHER, Context, Data
from kvmgen.model.host import RichRule, ZonePort
from kvmgen.model.platform import Platform

NOT_ON_PLATFORM = Rule(code="KV023", title="Something that the platform can't do", doc=docs.NOT_ON_PLATFORM)
RULES = (NOT_ON_PLATFORM,)

ZONES_THAT_FORWARD = POLICIES = (0, 9)
"""firewalld's zones know ``forward``, and it has policies, since 0.9."""

RULES_WITH_PRIORITY = (0, 7)

MASQUERADE_FROM_LINKS = (1, 3)
"""Before, a policy could masquerade only what came from zones that no interface is in."""

_ELEMENTS = ("service", "port", "protocol", "icmp-type")
_ADDRESSES = ("source", "destination")


def zone_ports(data: Data) -> tuple[ZonePort, ...]:
    """The open ports of a zone or policy."""
    return tuple(_port(text) for text in data.get("ports", ()))


def _port(text: str) -> ZonePort:
    port, _, protocol = text.partition("/")
    return ZonePort(port=port, protocol=protocol)


def lower_rules(context: Context, rules: Sequence[Data], origin: Origin) -> tuple[RichRule, ...]:
    """The rich rules of a zone or policy."""
    return tuple(_rule(context, rule, origin.at(index)) for index, rule in enumerate(rules))


def _rule(context: Context, data: Data, origin: Origin) -> RichRule:
    elements = [word for word in _ELEMENTS if word in data]
    if len(elements) > 1:
        message = f"a rule is about one thing, and this one says {' and '.join(f'`{word}`' for word in elements)}"
        context.error(NOT_TOGETHER, origin.at(elements[1]), message, "Write a rule for each.", on_key=True)
    log = data.get("log")
    return RichRule(
        origin=origin,
        action=data["action"],
        family=_family(context, data, origin),
        priority=data.get("priority", 0),
        source=data.get("source"),
        destination=data.get("destination"),
        service=data.get("service"),
        port=_port(data["port"]) if "port" in data else None,
        protocol=data.get("protocol"),
        icmp_type=data.get("icmp-type"),
        log=None if log is None else (log.get("prefix", ""), log.get("level", "")),
    )


def _family(context: Context, data: Data, origin: Origin) -> str | None:
    """The family that is said, or else the addresses'; all of them must be of one."""
    found = [("family", data["family"])] if "family" in data else []
    for word in _ADDRESSES:
        network = context.network(data[word], origin.at(word)) if word in data else None
        if network is not None:
            found.append((word, f"ipv{network.version}"))
    for word, family in found[1:]:
        if family != found[0][1]:
            message = f"the {word} is {_shown(family)}, and the {found[0][0]} {_shown(found[0][1])}"
            context.error(NOT_TOGETHER, origin.at(word), message, "Addresses and `family` must be of one IP version.")
    return None if not found or found[0][1] == "both" else found[0][1]


def _shown(family: str) -> str:
    return "both" if family == "both" else f"IP{family[2:]}"


def refuse_what_the_platform_lacks(
    context: Context, platform: Platform, data: Data, origin: Origin, zones_of_links: Mapping[str, Sequence[str]]
) -> None:
    """Tell of firewall words that mean nothing on a platform."""
    for place, message, hint in (*_without_firewalld(platform, data), *_too_new(platform, data, zones_of_links)):
        context.error(NOT_ON_PLATFORM, origin.at(*place), message, hint, on_key=True)


Refusal = tuple[tuple[str | int, ...], str, str]


def _without_firewalld(platform: Platform, data: Data) -> Iterator[Refusal]:
    """What only iptables files can say, or only firewalld."""
    if platform.firewalld is None:
        for word in data.keys() & {"zones", "policies"}:
            yield (word,), f"{platform} has no firewalld, so no {word}", "Write `direct` rules and `chain-policies`."
        if "ipv6-rpfilter" in data:
            hint = "Leave it out: IPv6 has no reverse path filter there, unless a `direct` rule of table raw makes one."
            yield ("ipv6-rpfilter",), f"{platform} has no firewalld, which filters so from el7 on", hint
        return
    if "chain-policies" in data:
        hint = "Write `zones`, whose `target` is what happens to the rest."
        yield ("chain-policies",), f"on {platform} firewalld owns the built-in chains", hint
    for word in () if platform.has_direct_rules else sorted(data.keys() & {"direct", "chains"}):
        message = f"on {platform} firewalld's direct rules are deprecated: kvmgen writes none there"
        hint = (
            "Write what is for the host as `services`, `ports` and `rules` of its zones, what is between zones as "
            "`policies`, and `isolation: guests` at a bridge whose guests shall not reach each other."
        )
        yield (word,), message, hint


def _too_new(platform: Platform, data: Data, zones_of_links: Mapping[str, Sequence[str]]) -> Iterator[Refusal]:
    version = platform.firewalld
    if version is None:
        return
    has = f"firewalld {'.'.join(map(str, version))} of {platform}"
    policies = data.get("policies", {})
    if version < ZONES_THAT_FORWARD:
        for name in (name for name, zone in data.get("zones", {}).items() if zone.get("forward")):
            hint = "Name the platform's minor (el8.5 and later know it), or write a direct rule."
            yield ("zones", name, "forward"), f"{has} knows no `forward` in a zone", hint
    if version < RULES_WITH_PRIORITY:
        for way in _priorities(data):
            hint = "Leave it out: rules that drop or reject come before those that accept. el8.3 and later know it."
            yield way, f"{has} knows no priority of a rule", hint
    if version < POLICIES and policies:
        hint = "Name the platform's minor (el8.5 and later have them), or write direct rules."
        yield ("policies",), f"{has} has no policies", hint
    elif version < MASQUERADE_FROM_LINKS:
        for name, zone in _masqueraded(policies, zones_of_links):
            message = f"{has} masquerades in a policy only what comes from zones without a link, unlike {zone!r}"
            hint = "Write `masquerade` in the egress zone. el9.4 and later can do it in the policy."
            yield ("policies", name, "masquerade"), message, hint


def _priorities(data: Data) -> Iterator[tuple[str | int, ...]]:
    for name, zone in data.get("zones", {}).items():
        for index, rule in enumerate(zone.get("rules", ())):
            if rule.get("priority"):
                yield "zones", name, "rules", index, "priority"


def _masqueraded(policies: Data, zones_of_links: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """The policies that masquerade what comes from a zone with links, and one such zone."""
    for name, policy in policies.items():
        bound = [zone for zone in policy["ingress-zones"] if zones_of_links.get(zone)]
        if policy.get("masquerade") and bound:
            yield name, bound[0]
