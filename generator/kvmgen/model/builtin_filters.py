"""libvirt's own filters: what they say counts in every filter that includes them.

They come with libvirt and are never written by kvmgen. A test compares them with the installed ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from kvmgen.diagnostics import Origin
from kvmgen.model.filters import Filter, FilterInclude, FilterRule, Match
from kvmgen.model.values import Uuid


def _filter(name: str, chain: str, *entries: FilterRule | FilterInclude, priority: int | None = None) -> Filter:
    origin = Origin(f"libvirt:{name}")
    return Filter(name=name, origin=origin, uuid=Uuid(""), chain=chain, priority=priority, entries=entries)


def _rule(priority: int, action: str, direction: str, protocol: str = "", /, **said: str) -> FilterRule:
    match = Match(protocol=protocol, attributes=tuple(said.items())) if protocol else None
    return FilterRule(
        action=action, direction=direction, priority=priority, match=match, state_match=True, origin=Origin("libvirt:")
    )


def _including(*names: str) -> tuple[FilterInclude, ...]:
    return tuple(FilterInclude(filter=name, parameters=(), origin=Origin("libvirt:")) for name in names)


_ANYBODY = "0.0.0.0"  # noqa: S104 an address in a packet, nothing is bound to it
_DHCP = {"protocol": "udp", "srcportstart": "68", "dstportstart": "67"}
_DHCP_ANSWER = {"protocol": "udp", "srcportstart": "67", "dstportstart": "68"}
_DHCP6 = {"protocol": "udp", "srcportstart": "546", "dstportstart": "547"}
_DHCP6_ANSWER = {"protocol": "udp", "srcportstart": "547", "dstportstart": "546"}
_ASKS = _rule(100, "accept", "out", "ip", srcipaddr=_ANYBODY, dstipaddr="255.255.255.255", **_DHCP)
_ASKS6 = _rule(100, "accept", "out", "ipv6", srcipaddr="FE80::", srcipmask="10", dstipaddr="FF02::1:2", **_DHCP6)
_EVERYONE = "ff:ff:ff:ff:ff:ff"
_ANNOUNCED = {
    "opcode": "Request_Reverse",
    "dstmacaddr": _EVERYONE,
    "arpsrcmacaddr": "$MAC",
    "arpdstmacaddr": "$MAC",
    "arpsrcipaddr": _ANYBODY,
    "arpdstipaddr": _ANYBODY,
}

_ALL = (
    _filter("allow-arp", "arp", _rule(500, "accept", "inout")),
    _filter("allow-dhcp", "ipv4", _ASKS, _rule(100, "accept", "in", "ip", **_DHCP_ANSWER)),
    _filter(
        "allow-dhcp-server",
        "ipv4",
        _ASKS,
        _rule(100, "accept", "in", "ip", srcipaddr="$DHCPSERVER", **_DHCP_ANSWER),
    ),
    _filter("allow-dhcpv6", "ipv6", _ASKS6, _rule(100, "accept", "in", "ipv6", **_DHCP6_ANSWER)),
    _filter(
        "allow-dhcpv6-server",
        "ipv6",
        _ASKS6,
        _rule(100, "accept", "in", "ipv6", srcipaddr="$DHCPSERVER", **_DHCP6_ANSWER),
    ),
    _filter("allow-incoming-ipv4", "ipv4", _rule(500, "accept", "in")),
    _filter("allow-incoming-ipv6", "ipv6", _rule(500, "accept", "in")),
    _filter("allow-ipv4", "ipv4", _rule(500, "accept", "inout")),
    _filter("allow-ipv6", "ipv6", _rule(500, "accept", "inout")),
    _filter(
        "clean-traffic",
        "root",
        *_including("no-mac-spoofing", "no-ip-spoofing"),
        _rule(-650, "accept", "out", "mac", protocolid="ipv4"),
        *_including("allow-incoming-ipv4", "no-arp-spoofing"),
        _rule(-500, "accept", "inout", "mac", protocolid="arp"),
        *_including("no-other-l2-traffic", "qemu-announce-self"),
    ),
    _filter(
        "clean-traffic-gateway",
        "root",
        *_including("no-mac-spoofing", "no-ip-spoofing", "no-arp-spoofing"),
        _rule(-500, "accept", "inout", "mac", protocolid="arp"),
        _rule(500, "accept", "in", "mac", srcmacaddr="$GATEWAY_MAC"),
        _rule(500, "accept", "out", "mac", dstmacaddr="$GATEWAY_MAC"),
        *_including("no-other-l2-traffic", "qemu-announce-self"),
    ),
    _filter(
        "no-arp-ip-spoofing",
        "arp-ip",
        _rule(400, "return", "out", "arp", arpsrcipaddr="$IP"),
        _rule(1000, "drop", "out"),
        priority=-510,
    ),
    _filter(
        "no-arp-mac-spoofing",
        "arp-mac",
        _rule(350, "return", "out", "arp", arpsrcmacaddr="$MAC"),
        _rule(1000, "drop", "out"),
        priority=-520,
    ),
    _filter("no-arp-spoofing", "root", *_including("no-arp-mac-spoofing", "no-arp-ip-spoofing")),
    _filter("no-ip-multicast", "ipv4", _rule(500, "drop", "out", "ip", dstipaddr="224.0.0.0", dstipmask="4")),
    _filter(
        "no-ip-spoofing",
        "ipv4-ip",
        _rule(100, "return", "out", "ip", srcipaddr=_ANYBODY, protocol="udp"),
        _rule(500, "return", "out", "ip", srcipaddr="$IP"),
        _rule(1000, "drop", "out"),
        priority=-710,
    ),
    _filter("no-ipv6-multicast", "ipv6", _rule(500, "drop", "out", "ipv6", dstipaddr="FF00::", dstipmask="8")),
    _filter(
        "no-ipv6-spoofing",
        "ipv6-ip",
        _rule(100, "return", "out", "ipv6", srcipaddr="FE80::", srcipmask="10", protocol="udp"),
        _rule(500, "return", "out", "ipv6", srcipaddr="$IPV6"),
        _rule(1000, "drop", "out"),
        priority=-610,
    ),
    _filter("no-mac-broadcast", "ipv4", _rule(500, "drop", "out", "mac", dstmacaddr=_EVERYONE)),
    _filter(
        "no-mac-spoofing",
        "mac",
        _rule(500, "return", "out", "mac", srcmacaddr="$MAC"),
        _rule(500, "drop", "out", "mac"),
        priority=-800,
    ),
    _filter("no-other-l2-traffic", "root", _rule(1000, "drop", "inout")),
    _filter("no-other-rarp-traffic", "rarp", _rule(1000, "drop", "inout")),
    _filter(
        "qemu-announce-self",
        "root",
        _rule(500, "accept", "out", "mac", protocolid="0x835"),
        *_including("qemu-announce-self-rarp", "no-other-rarp-traffic"),
    ),
    _filter(
        "qemu-announce-self-rarp",
        "rarp",
        _rule(500, "accept", "out", "rarp", srcmacaddr="$MAC", **_ANNOUNCED),
        _rule(500, "accept", "in", "rarp", **_ANNOUNCED),
    ),
)

BUILT_IN_FILTERS: Mapping[str, Filter] = MappingProxyType({filter_.name: filter_ for filter_ in _ALL})
"""By name. Source: src/nwfilter/xml/ of libvirt."""
