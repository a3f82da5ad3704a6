"""Filters for the tests: from YAML to the model, and one that uses every attribute of every protocol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

from kvmgen.diagnostics import Origin
from kvmgen.inventory import schema
from kvmgen.inventory.filters import ATTRIBUTES, lower_filter
from kvmgen.inventory.known_filters import own_filter_documents
from kvmgen.inventory.source import Source, parse
from kvmgen.model.filters import Filter
from kvmgen.model.values import Uuid

IPV6 = tuple(protocol for protocol in ATTRIBUTES if protocol.endswith("v6"))
TRACKED = tuple(protocol for protocol in ATTRIBUTES if "state" in ATTRIBUTES[protocol])

BEYOND_LIBVIRTS_SCHEMA: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "arp": frozenset({"arpsrcipmask", "arpdstipmask"}),
        "rarp": frozenset({"arpsrcipmask", "arpdstipmask"}),
        **{
            protocol: frozenset({"connlimit-above", "state", "ipset", "ipsetflags"})
            for protocol in TRACKED
            if protocol in IPV6
        },
    }
)
"""What libvirt's parser and its format page know and its RELAX NG schema doesn't, to this day."""

_Values = dict[str, str | int]

_V4: _Values = {"srcipaddr": "192.0.2.1", "srcipmask": 24, "dstipaddr": "$IP", "dstipmask": 32}
_V4 |= {"srcipfrom": "192.0.2.1", "srcipto": "192.0.2.9", "dstipfrom": "192.0.2.1", "dstipto": "192.0.2.9"}
_V6: _Values = {"srcipaddr": "2001:db8::", "srcipmask": 64, "dstipaddr": "$IPV6[@1]", "dstipmask": 128}
_V6 |= {"srcipfrom": "2001:db8::1", "srcipto": "2001:db8::9", "dstipfrom": "2001:db8::1", "dstipto": "$LAST"}
_ARP: _Values = {"hwtype": 1, "protocoltype": 2048, "opcode": "Request", "gratuitous": True}
_ARP |= {f"arp{side}macaddr": "52:54:00:00:00:01" for side in ("src", "dst")}
_ARP |= {f"arp{side}ipaddr": "192.0.2.1" for side in ("src", "dst")} | {"arpsrcipmask": 24, "arpdstipmask": "$MASK"}
_PORTS: _Values = {"srcportstart": 1024, "srcportend": 65535, "dstportstart": "$PORTS[@2]", "dstportend": 80}
_MACS: _Values = {"srcmacaddr": "$MAC", "srcmacmask": "ff:ff:ff:00:00:00", "dstmacaddr": "52:54:00:00:00:01"}
_MACS |= {"dstmacmask": "ff:ff:ff:ff:ff:ff"}
_TRACKING: _Values = {
    "dscp": 10,
    "connlimit-above": 2,
    "state": "NEW,ESTABLISHED",
    "ipset": "friends",
    "ipsetflags": "src,dst",
}
_OTHERS: _Values = {"comment": "why (because), 100%", "protocolid": "ipv4", "vlanid": 7, "encap-protocol": "arp"}
_OTHERS |= {"protocol": "udp", "type": 3, "typeend": 4, "code": 0, "codeend": 1}
_TEXTS: _Values = {**_V4, **_ARP, **_PORTS, **_MACS, **_TRACKING, **_OTHERS}
_STP_MACS: _Values = {"root-address": "52:54:00:00:00:01", "root-address-mask": "ff:ff:ff:ff:ff:ff"}
_STP_MACS |= {"sender-address": "52:54:00:00:00:01", "sender-address-mask": "ff:ff:ff:ff:ff:ff"}


def value(protocol: str, attribute: str) -> str | int:
    """A value for one attribute."""
    if attribute == "flags":
        return 1 if protocol == "stp" else "SYN,ACK/SYN"
    if protocol == "stp":
        return {**_TEXTS, **_STP_MACS}.get(attribute, 5)
    return (_TEXTS | _V6 if protocol in IPV6 else _TEXTS)[attribute]


def everything() -> dict[str, Any]:
    """A document that uses every attribute of every protocol, each in a rule of its own with what it needs beside it.

    Small rules, because the time that libvirt's schema takes doubles with each attribute more in one rule.
    """
    return {"chain": "root", "rules": [*_rules(), {"filter": "clean-traffic", "parameters": {"IP": ["192.0.2.1"]}}]}


def _rules() -> Iterator[dict[str, Any]]:
    for protocol, attributes in ATTRIBUTES.items():
        for attribute in attributes:
            needed = [*_needed(protocol, attribute), attribute]
            said = {name: value(protocol, name) for name in sorted(needed, reverse=True)}
            if protocol == "ipv6" and attribute in ("type", "typeend", "code", "codeend"):
                said["protocol"] = "icmpv6"
            yield {"direction": "in", "action": "accept", protocol: said}


def _needed(protocol: str, attribute: str) -> Iterator[str]:
    """What an attribute means nothing without."""
    for ending, other in (("-mask", ""), ("mask", "addr"), ("ipto", "ipfrom"), ("portend", "portstart"), ("-hi", "")):
        if attribute.endswith(ending):
            yield attribute.removesuffix(ending) + other
            break
    if attribute == "ipsetflags":
        yield "ipset"
    if attribute in ("code", "codeend", "typeend"):
        yield "type"
    if attribute == "codeend":
        yield "code"
    if protocol in ("ip", "ipv6") and "port" in attribute:
        yield "protocol"


def lowered(data: Mapping[str, Any] | str, name: str = "web") -> Filter:
    """The filter of a document, which must be valid."""
    file = f"filters/{name}.yaml"
    if isinstance(data, str):
        parsed, problems = parse(Source(file, data))
        assert problems == []
        return lowered(parsed, name)
    assert schema.validate("filter", data, file) == []
    return lower_filter(name, data, Origin(file), Uuid(str(uuid5(NAMESPACE_DNS, name))))


def own_filters() -> dict[str, Filter]:
    """kvmgen's own filters, leaves first."""
    found = {name: lowered(document.data, name) for name, document in own_filter_documents().items()}
    in_order: dict[str, Filter] = {}
    while waiting := [name for name in found if name not in in_order]:
        in_order |= {name: found[name] for name in waiting if set(found[name].includes) <= set(in_order)}
    return in_order
