"""Packets from whom no route leads back by the interface that they came in by: the kernel's filter, and firewalld's.

The kernel holds the source of each IPv4 packet that it routes or takes in itself against its routes, frames between
ports of a bridge never. Of IPv6 it has no such filter; firewalld has, in chain PREROUTING, which bridged frames pass as
well where bridge netfilter is on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kvmgen.model.values import Address
from kvmgen.reachability.iptables_matches import Seen
from kvmgen.reachability.packet import ICMPV6
from kvmgen.reachability.step import Cause, Step, Verdict
from kvmgen.reachability.sysctl import Settings

RouteBack = Callable[[Address, str], bool | None]
"""Whether what is sent to an address would leave by an interface, or by any where none is named."""

_DISCOVERY = (134, 135)


def by_firewalld(seen: Seen, leads: RouteBack) -> Iterator[Step]:
    """firewalld drops IPv6 whose answer would leave by another interface, bridged frames as well."""
    packet, way = seen.packet, seen.way
    discovery = packet.protocol == ICMPV6 and packet.icmp is not None and packet.icmp[0] in _DISCOVERY
    if packet.version != 6 or discovery or packet.source is None:
        return
    if leads(packet.source, way.incoming) is False:
        cause = Cause(file="firewalld", text="IPv6_rpfilter=yes")
        why = f"no route to {packet.source} leads out of {way.incoming}"
        yield Step(where="firewalld reverse path", verdict=Verdict.DROP, cause=cause, why=why)


def by_kernel(seen: Seen, leads: RouteBack, settings: Settings) -> Iterator[Step]:
    """The kernel drops IPv4 by what ``rp_filter`` says of the interface: strict (1) or loose (2)."""
    packet, way = seen.packet, seen.way
    if packet.version != 4 or way.bridged or packet.source is None or packet.source.is_unspecified:
        return
    setting = settings.reverse_path(way.incoming)
    leaving = {"1": way.incoming, "2": ""}.get(setting.value)
    if leaving is not None and leads(packet.source, leaving) is False:
        by = f"leads out of {leaving}" if leaving else "is there"
        why = f"no route to {packet.source} {by}"
        yield Step(where="reverse path filter", verdict=Verdict.DROP, cause=setting.cause, why=why)
