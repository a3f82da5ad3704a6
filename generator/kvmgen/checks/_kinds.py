"""What the attributes of an nwfilter's rules take, for values that arrive through a variable.

libvirt hands such a value to ebtables or iptables as it is; it judges none itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address

_MAC = re.compile(r"([0-9A-Fa-f]{1,2}:){5}[0-9A-Fa-f]{1,2}")
_MAC_WORDS = frozenset(("unicast", "multicast", "broadcast", "bga"))
_NUMBER = re.compile(r"(0[xX][0-9A-Fa-f]+)|[0-9]+")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of value, in words, and whether a value is of it."""

    what: str
    fits: Callable[[str], bool]


def _is_mac(text: str) -> bool:
    return _MAC.fullmatch(text) is not None or text.lower() in _MAC_WORDS


@cache
def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True


@cache
def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return True


def _is_ipv4_mask(text: str) -> bool:
    return int(text) <= 32 if text.isdecimal() else _is_ipv4(text)


def _is_ipv6_mask(text: str) -> bool:
    return int(text) <= 128 if text.isdecimal() else _is_ipv6(text)


def _number(lowest: int, highest: int) -> Callable[[str], bool]:
    """A number, decimal or hexadecimal."""

    def fits(text: str) -> bool:
        found = _NUMBER.fullmatch(text)
        return found is not None and lowest <= int(text, 16 if found[1] else 10) <= highest

    return fits


def _number_or_name(lowest: int, highest: int) -> Callable[[str], bool]:
    """A number, or a name that the host's own tables know: nothing here can judge it."""
    in_range = _number(lowest, highest)
    return lambda text: text[:1].isalpha() or in_range(text)


_is_port = _number_or_name(0, 0xFFFF)


def _is_port_or_range(text: str) -> bool:
    return all(map(_is_port, text.split(":", 1)))


def _is_vlan(text: str) -> bool:
    return text.isdecimal() and int(text) <= 4095


_MAC_KIND = Kind("a MAC address", _is_mac)
_IPV4 = Kind("an IPv4 address", _is_ipv4)
_IPV6 = Kind("an IPv6 address", _is_ipv6)
_IPV4_MASK = Kind("an IPv4 mask", _is_ipv4_mask)
_IPV6_MASK = Kind("an IPv6 mask", _is_ipv6_mask)
_PORT = Kind("a port", _is_port_or_range)
_UINT16 = Kind("a number from 0 to 65535", _number(0, 0xFFFF))
_UINT32 = Kind("a number from 0 to 4294967295", _number(0, 0xFFFFFFFF))
_ETHERTYPE = Kind("an EtherType (1536 to 65535, or a name)", _number_or_name(1536, 0xFFFF))

_BY_ATTRIBUTE = {
    "vlanid": Kind("a VLAN ID in decimal", _is_vlan),
    "dscp": Kind("a DSCP (0 to 63)", _number(0, 63)),
    "protocolid": _ETHERTYPE,
    "encap-protocol": _ETHERTYPE,
    "protocol": Kind("a protocol (0 to 255, or a name)", _number_or_name(0, 255)),
    "opcode": Kind("an operation of ARP", _number_or_name(0, 0xFFFF)),
    "hwtype": _UINT16,
    "protocoltype": _UINT16,
    "connlimit-above": _UINT32,
}


@cache
def kind_of(protocol: str, attribute: str) -> Kind | None:
    """What an attribute takes; ``None`` where nothing is known of it."""
    if attribute in _BY_ATTRIBUTE:
        return _BY_ATTRIBUTE[attribute]
    if attribute.endswith(("macaddr", "macmask")):
        return _MAC_KIND
    version6 = protocol.endswith("v6")
    if attribute.endswith(("ipaddr", "ipfrom", "ipto")):
        return _IPV6 if version6 else _IPV4
    if attribute.endswith("ipmask"):
        return _IPV6_MASK if version6 else _IPV4_MASK
    return _PORT if attribute.endswith(("portstart", "portend")) else None
