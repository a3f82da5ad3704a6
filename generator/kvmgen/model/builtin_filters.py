"""libvirt's own filters, as far as filters that include them depend on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from kvmgen.model.filters import Match


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltIn:
    """A filter that comes with libvirt: what it includes, and its rules that read variables."""

    includes: tuple[str, ...] = ()
    matches: tuple[Match, ...] = ()


def _reads(protocol: str, **attributes: str) -> BuiltIn:
    return BuiltIn(matches=(Match(protocol=protocol, attributes=tuple(attributes.items())),))


_PLAIN = BuiltIn()
_CLEAN = ("no-mac-spoofing", "no-ip-spoofing", "no-arp-spoofing", "no-other-l2-traffic", "qemu-announce-self")

BUILT_IN_FILTERS: Mapping[str, BuiltIn] = MappingProxyType(
    {
        "allow-arp": _PLAIN,
        "allow-dhcp": _PLAIN,
        "allow-dhcp-server": _reads("ip", srcipaddr="$DHCPSERVER"),
        "allow-dhcpv6": _PLAIN,
        "allow-dhcpv6-server": _reads("ipv6", srcipaddr="$DHCPSERVER"),
        "allow-incoming-ipv4": _PLAIN,
        "allow-incoming-ipv6": _PLAIN,
        "allow-ipv4": _PLAIN,
        "allow-ipv6": _PLAIN,
        "clean-traffic": BuiltIn(includes=(*_CLEAN, "allow-incoming-ipv4")),
        "clean-traffic-gateway": BuiltIn(
            includes=_CLEAN,
            matches=(
                Match(protocol="mac", attributes=(("srcmacaddr", "$GATEWAY_MAC"),)),
                Match(protocol="mac", attributes=(("dstmacaddr", "$GATEWAY_MAC"),)),
            ),
        ),
        "no-arp-ip-spoofing": _reads("arp", arpsrcipaddr="$IP"),
        "no-arp-mac-spoofing": _reads("arp", arpsrcmacaddr="$MAC"),
        "no-arp-spoofing": BuiltIn(includes=("no-arp-mac-spoofing", "no-arp-ip-spoofing")),
        "no-ip-multicast": _PLAIN,
        "no-ip-spoofing": _reads("ip", srcipaddr="$IP"),
        "no-ipv6-multicast": _PLAIN,
        "no-ipv6-spoofing": _reads("ipv6", srcipaddr="$IPV6"),
        "no-mac-broadcast": _PLAIN,
        "no-mac-spoofing": _reads("mac", srcmacaddr="$MAC"),
        "no-other-l2-traffic": _PLAIN,
        "no-other-rarp-traffic": _PLAIN,
        "qemu-announce-self": BuiltIn(includes=("qemu-announce-self-rarp", "no-other-rarp-traffic")),
        "qemu-announce-self-rarp": _reads("rarp", srcmacaddr="$MAC", arpsrcmacaddr="$MAC", arpdstmacaddr="$MAC"),
    }
)
"""By name. Source: src/nwfilter/xml/ of libvirt."""
