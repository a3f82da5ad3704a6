"""Which of kvmgen's own filters holds a guest to its addresses, and with which parameters.

The filters are inventory files of the package (``own_filters/``), written like everybody else's and explained there:

| filter | the guest may send from |
|---|---|
| `kvmgen-anti-spoofing` | its IPv4 and IPv6 addresses |
| `kvmgen-anti-spoofing-ipv4` | its IPv4 addresses; no IPv6 |
| `kvmgen-anti-spoofing-ipv6` | its IPv6 addresses; no IPv4, no ARP |
| `...-segments` of the first two | whole IPv4 segments as well |
| `kvmgen-anti-spoofing-mac` | any address, under its own MAC |

Each can stand in a filter of the inventory (``- filter: kvmgen-anti-spoofing``) with more rules around it; one that
ends with ``drop all-ipv6`` also wants ``kvmgen-neighbour-discovery``. What no nwfilter can see is the address that a
neighbour advertisement claims inside: a guest can advertise a neighbour's IPv6 address from its own.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from ipaddress import IPv6Address

from kvmgen.model.guest import FilterRef
from kvmgen.model.values import Interface, Mac, Network

_Values = dict[str, tuple[str, ...]]

_Segment = tuple[str, int]
"""A network address and the length of its prefix."""

_LINK_LOCAL = re.compile(r"fe[89ab][0-9a-f]:")
"""An address of fe80::/10, as Python writes it."""


def anti_spoofing(word: str, mac: Mac, addresses: Sequence[Interface], allowed: Sequence[Network]) -> FilterRef | None:
    """The filter for a guest's interface, by the word that its inventory says.

    ``addresses``: the addresses and segments given are all that it may use. ``dhcp``: its IPv4 address isn't known;
    libvirt learns it from the DHCP server's answer, and until then nothing but DHCP passes. ``mac``: only its MAC is
    held. ``none``: no filter.

    IPv6 passes where the inventory names an IPv6 address or segment. libvirt can't learn one, so a DHCP guest that gets
    its IPv6 address from outside (DHCPv6, SLAAC) has the segment it comes from among ``allowed``; without any, IPv6 is
    off altogether rather than half working. The same filter as for ``mac`` is returned where nothing at all is given.
    """
    if word == "none":
        return None
    learned = word == "dhcp"
    ipv4, ipv6 = _known(4, addresses, allowed), _known(6, addresses, allowed)
    if word == "mac" or not (ipv4 or ipv6 or learned):
        return FilterRef(filter="kvmgen-anti-spoofing-mac")
    values: _Values = {"CTRL_IP_LEARNING": ("dhcp" if learned else "none",)}
    values |= _ipv4(ipv4, learned)
    values |= _ipv6(mac, ipv6) if ipv6 else {}
    family = "-ipv4" if not ipv6 else "" if ipv4 or learned else "-ipv6"
    segments = "-segments" if "IP_SEGMENT" in values else ""
    return FilterRef(filter=f"kvmgen-anti-spoofing{family}{segments}", parameters=tuple(sorted(values.items())))


def known_parameters(
    mac: Mac, addresses: Sequence[Interface], allowed: Sequence[Network], used: Container[str]
) -> dict[str, tuple[str, ...]]:
    """What is known of an interface, as parameters for a filter of the inventory's own that uses these variables.

    They serve libvirt's filters (``clean-traffic`` reads IP) and kvmgen's. The interface's link-local address is known
    in any case. Without an IPv4 address, IP is left out and learned from DHCP alone: libvirt's default would take
    whatever address the guest uses first.
    """
    values: _Values = {}
    if "IP" in used or "IP_SEGMENT" in used:
        values |= _ipv4(_known(4, addresses, allowed), learned=False)
        values["CTRL_IP_LEARNING"] = ("none" if "IP" in values else "dhcp",)
    if "IPV6" in used:
        values |= _ipv6(mac, _known(6, addresses, allowed))
    return {key: value for key, value in values.items() if key in used or key == "CTRL_IP_LEARNING"}


def _known(version: int, addresses: Iterable[Interface], allowed: Iterable[Network]) -> list[_Segment]:
    """Addresses (as segments of one) and segments of an IP version, each once, in the order given."""
    own = [(str(known.ip), known.max_prefixlen) for known in addresses if known.version == version]
    others = [(str(known.network_address), known.prefixlen) for known in allowed if known.version == version]
    return list(dict.fromkeys(own + others))


def _ipv4(known: Sequence[_Segment], learned: bool) -> _Values:
    """IP, and IP_SEGMENT with its masks where there are segments.

    A learned IP leaves no room for known ones beside it, so those become segments of one address. An IP that nobody
    learns must not be empty: a guest that has only segments gets the first one's first address.
    """
    single = [] if learned else [segment for segment in known if segment[1] == 32]
    segments = [segment for segment in known if segment not in single]
    values: _Values = {}
    if known and not learned:
        values["IP"] = _addresses(single or segments[:1])
    if segments:
        values |= {"IP_SEGMENT": _addresses(segments), "IP_SEGMENT_MASK": _masks(segments)}
    return values


def _ipv6(mac: Mac, known: Sequence[_Segment]) -> _Values:
    """IPV6 and its masks; the link-local address is the one derived from the MAC where none is given."""
    has_link_local = any(_LINK_LOCAL.match(address) and length >= 10 for address, length in known)
    segments = known if has_link_local else [(str(link_local(mac)), 128), *known]
    return {"IPV6": _addresses(segments), "IPV6_MASK": _masks(segments)}


def _addresses(segments: Iterable[_Segment]) -> tuple[str, ...]:
    return tuple(address for address, _ in segments)


def _masks(segments: Iterable[_Segment]) -> tuple[str, ...]:
    return tuple(str(length) for _, length in segments)


def link_local(mac: Mac) -> IPv6Address:
    """The link-local address that a guest derives from its MAC (RFC 4291, appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes((octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]))
    return IPv6Address(b"\xfe\x80" + bytes(6) + identifier)
