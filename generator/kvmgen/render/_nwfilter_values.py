"""Values of nwfilters' rules in the one spelling that libvirt writes back, whatever the inventory's is.

So that what a host holds can be compared with what it should hold, text by text. Sources: ``virNWFilterRuleDefFormat``
and its tables in https://github.com/libvirt/libvirt/blob/master/src/conf/nwfilter_conf.c.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from socket import AF_INET6, inet_ntop, inet_pton
from types import MappingProxyType

_ETHERTYPES: Mapping[int, str] = MappingProxyType(
    {0x0800: "ipv4", 0x0806: "arp", 0x8035: "rarp", 0x8100: "vlan", 0x86DD: "ipv6"}
)
_PROTOCOLS: Mapping[int, str] = MappingProxyType(
    {
        1: "icmp",
        2: "igmp",
        6: "tcp",
        17: "udp",
        50: "esp",
        51: "ah",
        58: "icmpv6",
        132: "sctp",
        136: "udplite",
    }
)
_REQUESTS = ("Request", "Reply", "Request_Reverse", "Reply_Reverse", "DRARP_Request", "DRARP_Reply", "DRARP_Error")
_OPERATIONS: Mapping[int, str] = MappingProxyType(dict(enumerate((*_REQUESTS, "InARP_Request", "ARP_NAK"), 1)))
_STATES = ("NEW", "ESTABLISHED", "RELATED", "INVALID")
_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")
_VARIABLE = re.compile(r"(\$\w+)(?:\[(@?)([0-9]+)\])?")


def as_written_back(protocol: str, attribute: str, text: str) -> str:
    """An attribute's value as ``virsh nwfilter-dumpxml`` has it."""
    if text.startswith("$"):
        return _variable(text)
    return _spelling(protocol, attribute)(text)


def _spelling(protocol: str, attribute: str) -> Callable[[str], str]:
    if attribute == "flags" and protocol != "stp":
        return _tcp_flags
    if attribute in _BY_ATTRIBUTE:
        return _BY_ATTRIBUTE[attribute]
    if attribute.endswith(("macaddr", "macmask", "-address", "-mask")):
        return str.lower
    if attribute.endswith("ipmask"):
        return _mask
    return _address if attribute.endswith(("ipaddr", "ipfrom", "ipto")) else _number


def _variable(text: str) -> str:
    """A variable; its first iterator is the one that is meant without any."""
    found = _VARIABLE.fullmatch(text)
    assert found, "the schema knows this form"
    name, iterator, index = found.groups()
    if index is None or (iterator and int(index) == 0):
        return name
    return f"{name}[{iterator}{int(index)}]"


def _number(text: str) -> str:
    return hex(int(text, 16)) if text.startswith("0x") else text


def _named(names: Mapping[int, str]) -> Callable[[str], str]:
    """A number by its name, if it has one; a name in the right case."""
    known = {name.lower(): name for name in names.values()}

    def spelling(text: str) -> str:
        if text[0].isdigit():
            return names.get(int(text, 0), _number(text))
        return known.get(text.lower(), text)

    return spelling


def _address(text: str) -> str:
    return inet_ntop(AF_INET6, inet_pton(AF_INET6, text)) if ":" in text else text


def _mask(text: str) -> str:
    """A mask as its length."""
    return text if text.isdecimal() else str(int(ip_address(text)).bit_count())


def _in_order(words: Sequence[str]) -> Callable[[str], str]:
    def spelling(text: str) -> str:
        said = text.split(",")
        return ",".join(word for word in words if word in said) or text

    return spelling


def _tcp_flags(text: str) -> str:
    ordered = (_in_order(_FLAGS)(part) for part in text.split("/"))
    return "/".join("ALL" if part == ",".join(_FLAGS) else part for part in ordered)


def _unchanged(text: str) -> str:
    return text


_BY_ATTRIBUTE: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {
        "comment": _unchanged,
        "ipset": _unchanged,
        "ipsetflags": str.lower,
        "gratuitous": lambda text: "true" if text == "yes" else "false",
        "state": _in_order(_STATES),
        "protocolid": _named(_ETHERTYPES),
        "encap-protocol": _named(_ETHERTYPES),
        "protocol": _named(_PROTOCOLS),
        "opcode": _named(_OPERATIONS),
    }
)
