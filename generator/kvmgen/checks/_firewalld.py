"""What firewalld's zones and policies hold, and the names that it knows of itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from kvmgen.diagnostics import Origin
from kvmgen.model.host import Node, Policy, RichRule, Zone, ZonePort

_V4, _V6, _BOTH = ("ipv4",), ("ipv6",), ("ipv4", "ipv6")

_ICMP_TYPES = {
    _V4: """fragmentation-needed host-precedence-violation host-prohibited host-redirect host-unknown host-unreachable
        ip-header-bad network-prohibited network-redirect network-unknown network-unreachable precedence-cutoff
        protocol-unreachable required-option-missing source-quench source-route-failed timestamp-reply timestamp-request
        tos-host-redirect tos-host-unreachable tos-network-redirect tos-network-unreachable""",
    _V6: """address-unreachable bad-header beyond-scope failed-policy neighbour-advertisement neighbour-solicitation
        no-route packet-too-big reject-route unknown-header-type unknown-option""",
    _BOTH: """communication-prohibited destination-unreachable echo-reply echo-request parameter-problem
        port-unreachable redirect router-advertisement router-solicitation time-exceeded ttl-zero-during-reassembly
        ttl-zero-during-transit""",
}

ICMP_TYPES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {name: families for families, names in _ICMP_TYPES.items() for name in names.split()}
)
"""The ICMP types that all of el7's to el10's firewalld come with, and the IP versions that each is for."""

SERVICES_WITH_ADDRESSES = frozenset(
    ("bittorrent-lsd", "dds-multicast", "dhcpv6-client", "llmnr-udp", "mdns", "ssdp", "ws-discovery-udp")
)
"""The services of firewalld's that name a destination themselves."""


def holders(node: Node) -> Iterator[Zone | Policy]:
    """A machine's zones and policies."""
    if node.firewall is not None:
        yield from node.firewall.zones
        yield from node.firewall.policies


def rules(node: Node) -> Iterator[RichRule]:
    """Every rich rule of a machine."""
    for holder in holders(node):
        yield from holder.rules


def services(node: Node) -> Iterator[tuple[str, Origin]]:
    """Every service that a machine's zones, policies and their rules name, and where."""
    for holder in holders(node):
        yield from ((service, holder.origin.at("services", index)) for index, service in enumerate(holder.services))
        yield from ((rule.service, rule.origin.at("service")) for rule in holder.rules if rule.service is not None)


def ports(node: Node) -> Iterator[tuple[ZonePort, Origin]]:
    """Every port that a machine's zones, policies and their rules name, and where."""
    for holder in holders(node):
        yield from ((port, holder.origin.at("ports", index)) for index, port in enumerate(holder.ports))
        yield from ((rule.port, rule.origin.at("port")) for rule in holder.rules if rule.port is not None)


def lets_ssh_in(holder: Zone | Policy) -> bool:
    """Whether a zone or policy lets SSH in for somebody."""
    named = {*holder.services, *(rule.service for rule in holder.rules if rule.action == "accept")}
    open_ports = (*holder.ports, *(rule.port for rule in holder.rules if rule.port and rule.action == "accept"))
    everything = any(_accepts_everything(rule) for rule in holder.rules)
    return "ssh" in named or holder.target == "ACCEPT" or everything or any(map(_has_ssh, open_ports))


def _accepts_everything(rule: RichRule) -> bool:
    narrow = rule.service or rule.port or rule.icmp_type or rule.protocol not in (None, "tcp")
    return rule.action == "accept" and not narrow


def _has_ssh(port: ZonePort) -> bool:
    ends = [int(end) for end in port.port.split("-")]
    return port.protocol == "tcp" and min(ends) <= 22 <= max(ends)
