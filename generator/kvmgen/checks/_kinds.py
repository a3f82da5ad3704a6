"""What the attributes of an nwfilter's rules take, for values that arrive through a variable.

libvirt hands such a value to ebtables or iptables as it is; it judges none itself. So it means what it means to them,
which isn't always what the same text means in a rule: ebtables reads an EtherType's digits as hexadecimal, and a
leading zero makes a number octal.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from kvmgen.value import record

_MAC = re.compile(r"([0-9A-Fa-f]{1,2}:){5}[0-9A-Fa-f]{1,2}")
_MAC_WORDS = frozenset(("unicast", "multicast", "broadcast", "bga"))
_DECIMAL = re.compile(r"0|[1-9][0-9]*")
_HEXADECIMAL = re.compile(r"0[xX]([0-9A-Fa-f]+)")
_HEX_DIGITS = re.compile(r"0[0-9A-Fa-f]+|[0-9A-Fa-f]*[A-Fa-f][0-9A-Fa-f]*|[0-9]")
"""Digits that nobody means as decimal ones."""


@record
class Kind:
    """A kind of value, in words, and whether a value is of it."""

    what: str
    fits: Callable[[str], bool]


def _is_mac(text: str) -> bool:
    return _MAC.fullmatch(text) is not None or text.lower() in _MAC_WORDS


@cache
def is_ipv4(text: str) -> bool:
    """Whether a text is an IPv4 address."""
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
    return _is_decimal(text, 32) or is_ipv4(text)


def _is_ipv6_mask(text: str) -> bool:
    return _is_decimal(text, 128) or _is_ipv6(text)


def _is_decimal(text: str, highest: int) -> bool:
    return _DECIMAL.fullmatch(text) is not None and int(text) <= highest


def _decimal(highest: int) -> Callable[[str], bool]:
    return lambda text: _is_decimal(text, highest)


def _decimal_or_name(highest: int) -> Callable[[str], bool]:
    """A number, or a name that the host's own tables know: nothing here can judge it."""
    return lambda text: text[:1].isalpha() or _is_decimal(text, highest)


def _number(highest: int) -> Callable[[str], bool]:
    """A number, decimal or hexadecimal."""

    def fits(text: str) -> bool:
        found = _HEXADECIMAL.fullmatch(text)
        return int(found[1], 16) <= highest if found else _is_decimal(text, highest)

    return fits


def _number_or_name(highest: int) -> Callable[[str], bool]:
    fits = _number(highest)
    return lambda text: text[:1].isalpha() or fits(text)


def _is_hexadecimal(text: str, lowest: int) -> bool:
    found = _HEXADECIMAL.fullmatch(text)
    digits = found[1] if found else text if _HEX_DIGITS.fullmatch(text) else ""
    return bool(digits) and lowest <= int(digits, 16) <= 0xFFFF


def _is_ethertype(text: str) -> bool:
    return text[:1].isalpha() or _is_hexadecimal(text, 0x600)


def _is_hardware(text: str) -> bool:
    return text.lower() == "ethernet" or _is_decimal(text, 0xFFFF)


_is_port = _number_or_name(0xFFFF)


def _is_port_or_range(text: str) -> bool:
    return all(map(_is_port, text.split(":", 1)))


_MAC_KIND = Kind("a MAC address", _is_mac)
_IPV4 = Kind("an IPv4 address", is_ipv4)
_IPV6 = Kind("an IPv6 address", _is_ipv6)
_IPV4_MASK = Kind("an IPv4 mask", _is_ipv4_mask)
_IPV6_MASK = Kind("an IPv6 mask", _is_ipv6_mask)
_PORT = Kind("a port", _is_port_or_range)
_ETHERTYPE = Kind("an EtherType, by name or in hexadecimal (0x88cc)", _is_ethertype)

_BY_ATTRIBUTE = {
    "vlanid": Kind("a VLAN ID in decimal", _decimal(4095)),
    "dscp": Kind("a DSCP (0 to 63)", _number(63)),
    "protocolid": _ETHERTYPE,
    "encap-protocol": _ETHERTYPE,
    "protocol": Kind("a protocol (0 to 255, or a name)", _number_or_name(255)),
    "opcode": Kind("an operation of ARP, by name or in decimal", _decimal_or_name(0xFFFF)),
    "hwtype": Kind("a hardware type in decimal", _is_hardware),
    "protocoltype": Kind("a protocol type in hexadecimal (0x800)", lambda text: _is_hexadecimal(text, 0)),
    "connlimit-above": Kind("a number from 0 to 4294967295", _number(0xFFFFFFFF)),
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
