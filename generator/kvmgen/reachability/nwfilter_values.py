"""The values of a rule's attributes: what they mean, and how libvirt hands them to ebtables and iptables.

A value that stands in the rule was read by libvirt, which writes numbers in decimal. One that a variable brings goes to
the programs as it is: ebtables reads an EtherType's digits as hexadecimal, and a leading zero makes a number octal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from types import MappingProxyType

from kvmgen.reachability.nwfilter_tree import NoRulesError

ETHERTYPES: Mapping[str, int] = MappingProxyType(
    {"ipv4": 0x0800, "arp": 0x0806, "rarp": 0x8035, "vlan": 0x8100, "ipv6": 0x86DD}
)
PROTOCOLS: Mapping[str, int] = MappingProxyType(
    {
        "icmp": 1,
        "igmp": 2,
        "tcp": 6,
        "udp": 17,
        "esp": 50,
        "ah": 51,
        "icmpv6": 58,
        "sctp": 132,
        "udplite": 136,
    }
)
_OPERATIONS = (
    *("request", "reply", "request_reverse", "reply_reverse", "drarp_request", "drarp_reply", "drarp_error"),
    *("inarp_request", "arp_nak"),
)
FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")
STATES = ("NEW", "ESTABLISHED", "RELATED", "INVALID")
_EVERY_BIT = 0xFFFFFFFFFFFF


class Said:
    """What a rule's attributes say, once its variables have values; ``variables`` are the attributes that had one."""

    def __init__(self, values: Mapping[str, str], variables: frozenset[str], negated: bool) -> None:
        self._values = values
        self._variables = variables
        self.negated = negated

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def text(self, name: str) -> str:
        """The value as it is said."""
        return self._values[name]

    def from_variable(self, name: str) -> bool:
        """Whether a variable brought the value."""
        return name in self._variables

    def _read(self, name: str, read: Callable[[str], int], what: str) -> int:
        try:
            return read(self._values[name])
        except ValueError as error:
            raise NoRulesError(f"{name} is “{self._values[name]}”, not {what}") from error

    def number(self, name: str, highest: int = 0xFFFFFFFF) -> int:
        """A number; names of the host's own tables aren't known here."""
        found = self._read(name, _from_variable if name in self._variables else _from_rule, "a number")
        if found > highest:
            raise NoRulesError(f"{name} is {found}, and {highest} is the most")
        return found

    def named(self, name: str, names: Mapping[str, int]) -> int:
        """A number that may have a name."""
        known = names.get(self._values[name].lower())
        return self.number(name) if known is None else known

    def ethertype(self, name: str) -> int:
        """An EtherType."""
        text = self._values[name]
        if text.lower() in ETHERTYPES:
            return ETHERTYPES[text.lower()]
        if name in self._variables:
            return self._read(name, lambda digits: int(digits, 16), "an EtherType")
        return self.number(name, 0xFFFF)

    def operation(self, name: str) -> int:
        """What an ARP message is about."""
        return self.named(name, {word: number for number, word in enumerate(_OPERATIONS, 1)})

    def mac(self, name: str) -> int:
        """A MAC address, or a mask for one."""
        return self._read(name, _mac, "a MAC address")

    def mac_and_mask(self, name: str, mask: str) -> tuple[int, int]:
        """A MAC address under its mask, and the mask."""
        bits = self.mac(mask) if mask in self else _EVERY_BIT
        return self.mac(name) & bits, bits

    def address(self, name: str, version: int) -> int:
        """An IP address."""
        kind = IPv4Address if version == 4 else IPv6Address
        return self._read(name, lambda text: int(kind(text)), f"an IPv{version} address")

    def network(self, name: str, mask: str, version: int) -> tuple[int, int, int]:
        """An address under its mask, the mask's length, and how many bits there are."""
        bits = 32 if version == 4 else 128
        length = self._read(mask, _mask_length, "a mask") if mask in self else bits
        if length > bits:
            raise NoRulesError(f"{mask} is {length}, and {bits} is the most")
        return self.address(name, version) >> (bits - length) << (bits - length), length, bits

    def ports(self, start: str, end: str) -> tuple[int, int]:
        """A range of ports; a variable may hold a whole one."""
        text = self._values[start]
        if start in self._variables and ":" in text and end not in self:
            first, _, last = text.partition(":")
            low, high = self._part(start, first or "0"), self._part(start, last or "65535")
        else:
            low = self.number(start, 0xFFFF)
            high = self.number(end, 0xFFFF) if end in self else low
        if low > high:
            raise NoRulesError(f"the ports from {low} to {high} are turned round")
        return low, high

    def _part(self, name: str, text: str) -> int:
        return Said({name: text}, frozenset((name,)), negated=False).number(name, 0xFFFF)


def _from_rule(text: str) -> int:
    """libvirt takes decimal digits, and hexadecimal ones where they aren't."""
    return int(text) if text.isdecimal() else int(text, 16)


def _from_variable(text: str) -> int:
    return int(text, 8) if text.startswith("0") and text.isdecimal() and len(text) > 1 else int(text, 0)


def _mac(text: str) -> int:
    pairs = text.split(":")
    if len(pairs) != 6 or not all(1 <= len(pair) <= 2 for pair in pairs):
        raise ValueError(text)
    return int("".join(pair.zfill(2) for pair in pairs), 16)


def _mask_length(text: str) -> int:
    if text.isdecimal():
        return _from_variable(text)
    address = ip_address(text)
    number, bits = int(address), address.max_prefixlen
    length = number.bit_count()
    if number != ((1 << length) - 1) << (bits - length):
        raise ValueError(text)
    return length


def mac_text(number: int) -> str:
    """Six pairs with colons."""
    return number.to_bytes(6, "big").hex(":")
