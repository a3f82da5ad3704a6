"""An nwfilter in libvirt's own terms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from kvmgen.diagnostics import Origin
from kvmgen.model.platform import Version
from kvmgen.model.values import Uuid
from kvmgen.value import value


@value
class Match:
    """A rule's one protocol element: ``<tcp match='no' dstportstart='22'/>`` without the brackets.

    ``attributes`` keep libvirt's attribute names, in the order of libvirt's format page; values may hold ``$VARIABLE``.
    """

    protocol: str
    attributes: tuple[tuple[str, str], ...] = ()
    negated: bool = False


@value
class FilterRule:
    """``<rule>``; ``match`` is ``None`` for a rule that fits every packet. ``state_match`` False is statematch='0'."""

    action: str
    direction: str
    priority: int | None
    match: Match | None
    state_match: bool
    origin: Origin


@value
class FilterInclude:
    """``<filterref>`` inside a filter, with parameters of its own."""

    filter: str
    parameters: tuple[tuple[str, tuple[str, ...]], ...]
    origin: Origin


@value
class Filter:
    """An nwfilter. ``priority`` is the chain's, ``None`` where libvirt's default for its prefix stands."""

    name: str
    origin: Origin
    uuid: Uuid
    chain: str
    priority: int | None
    entries: tuple[FilterRule | FilterInclude, ...]

    @property
    def includes(self) -> tuple[str, ...]:
        """The names of the filters it refers to, each once, in order."""
        names = (entry.filter for entry in self.entries if isinstance(entry, FilterInclude))
        return tuple(dict.fromkeys(names))


EBTABLES_PROTOCOLS = frozenset(("mac", "vlan", "stp", "arp", "rarp", "ip", "ipv6"))
"""The protocols that libvirt writes for ebtables; all others are iptables' and ip6tables'."""

ICMPV6_SINCE: Version = (1, 2, 12)
_ARP_MASK_SINCE: Version = (1, 2, 3)
READ_SINCE: Mapping[tuple[str, str], Version] = MappingProxyType(
    {
        **{("ipv6", attribute): ICMPV6_SINCE for attribute in ("type", "typeend", "code", "codeend")},
        **{(protocol, f"arp{side}ipmask"): _ARP_MASK_SINCE for protocol in ("arp", "rarp") for side in ("src", "dst")},
    }
)
"""The first libvirt that reads an attribute of a protocol, where an older one of ours skips it."""


def iptables_families(filters: Mapping[str, Filter]) -> Mapping[str, frozenset[str]]:
    """The filters with rules that libvirt writes for iptables, and for which IP versions: ``ipv4``, ``ipv6``.

    Such rules see bridged frames only by bridge netfilter. What a filter includes counts as its own.
    """
    found = {name: frozenset(_families(filter_)) for name, filter_ in filters.items()}
    while True:
        more = {
            name: found[name].union(*(found.get(other, ()) for other in filter_.includes))
            for name, filter_ in filters.items()
        }
        if more == found:
            return {name: families for name, families in found.items() if families}
        found = more


def _families(filter_: Filter) -> Iterator[str]:
    for entry in filter_.entries:
        protocol = entry.match.protocol if isinstance(entry, FilterRule) and entry.match else None
        if protocol is not None and protocol not in EBTABLES_PROTOCOLS:
            yield "ipv6" if protocol.endswith("-ipv6") or protocol == "icmpv6" else "ipv4"
