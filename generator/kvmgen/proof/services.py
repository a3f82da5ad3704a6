"""The services that a site's inventory names: what it is worth asking who reaches."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from kvmgen.model.filters import Filter, FilterRule
from kvmgen.model.host import Firewall, Zone
from kvmgen.model.host import Policy as HostPolicy
from kvmgen.model.site import Site
from kvmgen.proof.expected import expected
from kvmgen.reachability.answer import Service
from kvmgen.reachability.firewalld_services import SERVICES
from kvmgen.reachability.iptables_matches import SERVICES as NUMBERS

PING = Service(protocol="ping")
UNNAMED = 47808
"""The port that stands for those that nobody names, or the next one below that nobody does."""

_PROTOCOLS = {"6": "tcp", "17": "udp"}
_PORTS = re.compile(r"-p\s*(tcp|udp)\b.*?--(?:dport|destination-port|dports|destination-ports)[ =]+(\S+)")

_Named = tuple[str, int]


def named_services(*sites: Site | None) -> tuple[Service, ...]:
    """A ping, the ports that sites name (of a range its ends), and of each protocol one that they don't."""
    named = {one for site in sites if site is not None for one in _named(site)}
    others = {(service.protocol, service.port or 0) for service in unnamed_services(*sites)}
    return (PING, *(Service(protocol=protocol, port=port) for protocol, port in sorted(named | others)))


def unnamed_services(*sites: Site | None) -> tuple[Service, ...]:
    """The ports that stand for those that sites don't name."""
    named = {one for site in sites if site is not None for one in _named(site)}
    return tuple(
        Service(protocol=protocol, port=next(port for port in range(UNNAMED, 0, -1) if (protocol, port) not in named))
        for protocol in ("tcp", "udp")
    )


def _named(site: Site) -> Iterator[_Named]:
    for policy in site.policies.values():
        for _, entry in policy.entries():
            for service in entry.services:
                yield from ((service.protocol, port) for port in service.ports or ())
    for filter_ in site.filters.values():
        yield from _of_filter(filter_)
    for expectation in expected(site):
        protocol, number = expectation.service
        if protocol in _PROTOCOLS.values() and number is not None:
            yield protocol, number
    for node in site.nodes():
        if node.firewall is not None:
            yield from _of_firewall(node.firewall)


def _of_filter(filter_: Filter) -> Iterator[_Named]:
    if filter_.name.startswith("kvmgen-"):
        return
    for rule in filter_.entries:
        if not isinstance(rule, FilterRule) or rule.match is None:
            continue
        said = dict(rule.match.attributes)
        protocol = rule.match.protocol.removesuffix("-ipv6")
        protocol = _PROTOCOLS.get(said.get("protocol", ""), said.get("protocol", protocol))
        if protocol in _PROTOCOLS.values():
            yield from _numbers(protocol, (said.get(name, "") for name in ("dstportstart", "dstportend")))


def _of_firewall(firewall: Firewall) -> Iterator[_Named]:
    holders: list[Zone | HostPolicy] = [*firewall.zones, *firewall.policies]
    for holder in holders:
        for port in holder.ports:
            yield from _numbers(port.protocol, port.port.split("-"))
        for name in holder.services:
            yield from _of_service(name)
        for rule in holder.rules:
            if rule.port is not None:
                yield from _numbers(rule.port.protocol, rule.port.port.split("-"))
            yield from _of_service(rule.service or "")
    for direct in firewall.rules:
        for protocol, ports in _PORTS.findall(direct.rule):
            yield from _numbers(protocol, re.split("[,:]", ports))


def _of_service(name: str) -> Iterator[_Named]:
    for word in SERVICES.get(name, ()):
        ports, _, protocol = word.partition("/")
        yield from _numbers(protocol, ports.split("-"))


def _numbers(protocol: str, words: Iterable[str]) -> Iterator[_Named]:
    for word in words:
        number = int(word) if word.isdecimal() else NUMBERS.get(word.lower(), 0)
        if protocol in _PROTOCOLS.values() and 0 < number < 65536:
            yield protocol, number
