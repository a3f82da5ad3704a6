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

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

from kvmgen.model.guest import FilterRef
from kvmgen.model.values import Interface, Mac, Network

Parameters = tuple[tuple[str, tuple[str, ...]], ...]
_Values = dict[str, tuple[str, ...]]

_LINK_LOCAL = IPv6Network("fe80::/10")


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
    ipv4, ipv6 = _ipv4_known(addresses, allowed), _ipv6_known(addresses, allowed)
    if word == "mac" or not (ipv4 or ipv6 or learned):
        return FilterRef(filter="kvmgen-anti-spoofing-mac")
    values: _Values = {"CTRL_IP_LEARNING": ("dhcp" if learned else "none",)}
    values |= _ipv4(ipv4, learned)
    values |= _ipv6(mac, ipv6) if ipv6 else {}
    family = "-ipv4" if not ipv6 else "" if ipv4 or learned else "-ipv6"
    segments = "-segments" if "IP_SEGMENT" in values else ""
    return FilterRef(filter=f"kvmgen-anti-spoofing{family}{segments}", parameters=tuple(sorted(values.items())))


def known_parameters(mac: Mac, addresses: Sequence[Interface], allowed: Sequence[Network]) -> Parameters:
    """What is known of an interface, as parameters for a filter of the inventory's own, sorted by name.

    They serve libvirt's filters (``clean-traffic`` reads IP) and kvmgen's. The interface's link-local address is known
    in any case. Without an IPv4 address, IP is left out and learned from DHCP alone: libvirt's default would take
    whatever address the guest uses first.
    """
    ipv4, ipv6 = _ipv4_known(addresses, allowed), _ipv6_known(addresses, allowed)
    values: _Values = {"CTRL_IP_LEARNING": ("none" if ipv4 else "dhcp",)}
    values |= _ipv4(ipv4, learned=False)
    values |= _ipv6(mac, ipv6)
    return tuple(sorted(values.items()))


def _ipv4_known(addresses: Iterable[Interface], allowed: Iterable[Network]) -> list[IPv4Network]:
    """Addresses (as segments of one) and segments, each once, in the order given."""
    own = (IPv4Network(known.ip) for known in addresses if isinstance(known, IPv4Interface))
    return list(dict.fromkeys((*own, *(known for known in allowed if isinstance(known, IPv4Network)))))


def _ipv6_known(addresses: Iterable[Interface], allowed: Iterable[Network]) -> list[IPv6Network]:
    own = (IPv6Network(known.ip) for known in addresses if isinstance(known, IPv6Interface))
    return list(dict.fromkeys((*own, *(known for known in allowed if isinstance(known, IPv6Network)))))


def _ipv4(known: Sequence[IPv4Network], learned: bool) -> _Values:
    """IP, and IP_SEGMENT with its masks where there are segments.

    A learned IP leaves no room for known ones beside it, so those become segments of one address. An IP that nobody
    learns must not be empty: a guest that has only segments gets the first one's first address.
    """
    single = [] if learned else [segment for segment in known if segment.num_addresses == 1]
    segments = [segment for segment in known if segment not in single]
    values: _Values = {}
    if known and not learned:
        values["IP"] = _addresses(single or segments[:1])
    if segments:
        values |= {"IP_SEGMENT": _addresses(segments), "IP_SEGMENT_MASK": _masks(segments)}
    return values


def _ipv6(mac: Mac, known: Sequence[IPv6Network]) -> _Values:
    """IPV6 and its masks; the link-local address is the one derived from the MAC where none is given."""
    has_link_local = any(segment.subnet_of(_LINK_LOCAL) for segment in known)
    segments = known if has_link_local else [IPv6Network(link_local(mac)), *known]
    return {"IPV6": _addresses(segments), "IPV6_MASK": _masks(segments)}


def _addresses(segments: Iterable[Network]) -> tuple[str, ...]:
    return tuple(str(segment.network_address) for segment in segments)


def _masks(segments: Iterable[Network]) -> tuple[str, ...]:
    return tuple(str(segment.prefixlen) for segment in segments)


def link_local(mac: Mac) -> IPv6Address:
    """The link-local address that a guest derives from its MAC (RFC 4291, appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes((octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]))
    return IPv6Address(b"\xfe\x80" + bytes(6) + identifier)
