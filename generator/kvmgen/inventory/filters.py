"""Lowering an nwfilter: the inventory's words are libvirt's own, so little changes but the order of attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from kvmgen.diagnostics import Origin
from kvmgen.model.filters import Filter, FilterInclude, FilterRule, Match
from kvmgen.model.values import Uuid

_MACS = ("srcmacaddr", "srcmacmask", "dstmacaddr", "dstmacmask")
_ADDRESSES = ("srcipaddr", "srcipmask", "dstipaddr", "dstipmask")
_PORTS = ("srcportstart", "srcportend", "dstportstart", "dstportend")
_ICMP = ("type", "code")
_RANGES = ("srcipfrom", "srcipto", "dstipfrom", "dstipto")
_LAYER_3 = ("srcmacaddr", *_ADDRESSES, *_RANGES)
_TRACKING = ("dscp", "comment", "connlimit-above", "state", "ipset", "ipsetflags")

_PLAIN = (*_LAYER_3, *_TRACKING)
_WITH_PORTS = (*_LAYER_3, *_PORTS, *_TRACKING)
_TCP = (*_WITH_PORTS, "flags")
_ICMP_MESSAGE = (*_LAYER_3, *_ICMP, *_TRACKING)

_ARP = (
    *_MACS,
    *("hwtype", "protocoltype", "opcode", "arpsrcmacaddr", "arpdstmacaddr"),
    *("arpsrcipaddr", "arpsrcipmask", "arpdstipaddr", "arpdstipmask", "comment", "gratuitous"),
)

_STP = (
    *("srcmacaddr", "srcmacmask", "type", "flags"),
    *("root-priority", "root-priority-hi", "root-address", "root-address-mask", "root-cost", "root-cost-hi"),
    *("sender-priority", "sender-priority-hi", "sender-address", "sender-address-mask"),
    *("port", "port-hi", "age", "age-hi", "max-age", "max-age-hi"),
    *("hello-time", "hello-time-hi", "forward-delay", "forward-delay-hi", "comment"),
)

ATTRIBUTES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "mac": (*_MACS, "protocolid", "comment"),
        "vlan": (*_MACS, "vlanid", "encap-protocol", "comment"),
        "stp": _STP,
        "arp": _ARP,
        "rarp": _ARP,
        "ip": (*_MACS, *_ADDRESSES, "protocol", *_PORTS, "dscp", "comment"),
        "ipv6": (*_MACS, *_ADDRESSES, "protocol", *_PORTS, "type", "typeend", "code", "codeend", "comment"),
        "tcp": _TCP,
        "udp": _WITH_PORTS,
        "sctp": _WITH_PORTS,
        "icmp": _ICMP_MESSAGE,
        "igmp": _PLAIN,
        "esp": _PLAIN,
        "ah": _PLAIN,
        "udplite": _PLAIN,
        "all": _PLAIN,
        "tcp-ipv6": _TCP,
        "udp-ipv6": _WITH_PORTS,
        "sctp-ipv6": _WITH_PORTS,
        "icmpv6": _ICMP_MESSAGE,
        "esp-ipv6": _PLAIN,
        "ah-ipv6": _PLAIN,
        "udplite-ipv6": _PLAIN,
        "all-ipv6": _PLAIN,
    }
)
"""Every protocol and its attributes in the order of libvirt's format page.

Source: https://libvirt.org/formatnwfilter.html#supported-protocols. Left out is what the page lists and libvirt's
parser doesn't read (``srcmacmask`` of ``icmp``, ``msg-age`` of ``stp``, which it calls ``age``).
"""


def lower_filter(name: str, data: Mapping[str, Any], origin: Origin, uuid: Uuid) -> Filter:
    """The filter that a document describes; the document is valid by its schema."""
    entries = (_entry(rule, origin.at("rules", index)) for index, rule in enumerate(data["rules"]))
    return Filter(
        name=name,
        origin=origin,
        uuid=uuid,
        chain=data.get("chain", "root"),
        priority=data.get("priority"),
        entries=tuple(entries),
    )


def _entry(data: Mapping[str, Any], origin: Origin) -> FilterRule | FilterInclude:
    if "filter" in data:
        return FilterInclude(filter=data["filter"], parameters=lower_parameters(data), origin=origin)
    return FilterRule(
        action=data["action"],
        direction=data["direction"],
        priority=data.get("priority"),
        match=_match(data),
        state_match=data.get("statematch", True),
        origin=origin,
    )


def _match(rule: Mapping[str, Any]) -> Match | None:
    protocol = next((key for key in rule if key in ATTRIBUTES), None)
    if protocol is None:
        return None
    said = rule[protocol]
    attributes = tuple((name, _text(said[name])) for name in ATTRIBUTES[protocol] if name in said)
    return Match(protocol=protocol, attributes=attributes, negated=not said.get("match", True))


def lower_parameters(reference: Mapping[str, Any]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The ``parameters`` of a reference to a filter, sorted by name, each with its list of values."""
    return tuple((name, _values(value)) for name, value in sorted(reference.get("parameters", {}).items()))


def _values(value: str | int | Sequence[str | int]) -> tuple[str, ...]:
    several = [value] if isinstance(value, str | int) else value
    return tuple(str(item) for item in several)


def _text(value: str | int | bool) -> str:
    """A value as libvirt's XML has it."""
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
