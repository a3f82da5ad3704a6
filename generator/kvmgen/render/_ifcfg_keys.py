"""The keys of an ifcfg file, in the order in which they are written.

What each key does is what the release's own scripts make of it: initscripts' ``ifup``, ``ifup-eth``, ``ifup-ipv6`` and
``ifup-post`` (package initscripts on el6 and el7, network-scripts on el8).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from kvmgen.model.host import Addressing, Bond, Bridge, Ethernet, Link, Vlan
from kvmgen.model.platform import Platform
from kvmgen.model.values import Route
from kvmgen.render._machine import SHORTEST_FORWARD_DELAY, Machine, is_default, is_port, of_version

Keys = Iterator[tuple[str, str]]

_PLAIN = re.compile(r"[A-Za-z0-9_.,:/@%+-]+")
_SPECIAL = re.compile(r'([\\"$`])')


def quoted(value: str) -> str:
    """A value as the shell that sources the file reads it back, unchanged and without running anything."""
    assert "\n" not in value, "initscripts also greps these files line by line"
    return value if _PLAIN.fullmatch(value) else '"' + _SPECIAL.sub(r"\\\1", value) + '"'


def gateway4(addressing: Addressing) -> Route | None:
    """The IPv4 default route that GATEWAY can express.

    ``ifup-eth`` reads it for static links alone, and silently sets no route where it isn't in the first address's
    subnet: such routes go to the route file.
    """
    first = next(of_version(addressing, 4), None)
    if first is None or addressing.dhcp4:
        return None
    fitting = (route for route in addressing.routes if is_default(route) and route.via in first.network)
    return next(fitting, None)


def gateway6(addressing: Addressing) -> Route | None:
    """The IPv6 default route that IPV6_DEFAULTGW can express: it knows no metric."""
    defaults = (route for route in addressing.routes if is_default(route) and route.version == 6)
    return next((route for route in defaults if route.metric is None), None)


def keys(link: Link, machine: Machine) -> Keys:
    """All keys of a link's file, unquoted. DEVICE stands alone on its line: scripts grep for it."""
    yield "DEVICE", link.name
    yield from _kind(link, machine.node.platform)
    yield "ONBOOT", "yes"
    yield "NM_CONTROLLED", "no"
    yield "USERCTL", "no"
    if link.mtu is not None:
        yield "MTU", str(link.mtu)
    yield from _port(link) if is_port(link) else _top(link, machine)


def _kind(link: Link, platform: Platform) -> Keys:
    match link:
        case Ethernet():
            yield "TYPE", "Ethernet"
            if link.mac is not None:
                yield "HWADDR", link.mac.upper()
            if link.ethtool is not None:
                yield "ETHTOOL_OPTS", link.ethtool
        case Bond():
            yield "TYPE", "Bond"
            yield "BONDING_MASTER", "yes"
            yield "BONDING_OPTS", " ".join(f"{option}={value}" for option, value in link.options)
        case Vlan():
            yield "TYPE", "Vlan"
            yield "VLAN", "yes"
            yield "PHYSDEV", link.parent
            yield "VLAN_ID", str(link.id)  # read by NetworkManager
            yield "VID", str(link.id)  # read by initscripts
        case Bridge():
            yield "TYPE", "Bridge"
            yield from _bridge(link, platform)


def _bridge(bridge: Bridge, platform: Platform) -> Keys:
    """A bridge's keys; DELAY is in seconds for ``brctl`` (el6, el7) and in centiseconds for ``ip link`` (el8).

    With STP, el8's ``ifup-eth`` also waits 2 x DELAY + 7 *seconds* for the bridge, most of an hour for the usual 1500.
    There the delay goes through sysfs, from where the script reads it back in the right unit.
    """
    if bridge.mac is not None:
        yield "MACADDR", bridge.mac.upper()
    yield "STP", "yes" if bridge.stp else "no"
    if platform.major < 8:
        yield "DELAY", str(bridge.forward_delay)
    elif bridge.stp:
        seconds = max(bridge.forward_delay, SHORTEST_FORWARD_DELAY)
        yield "BRIDGING_OPTS", f"forward_delay={seconds * 100}"
    else:
        yield "DELAY", str(bridge.forward_delay * 100)


def _port(link: Link) -> Keys:
    if link.bond is not None:
        yield "MASTER", link.bond
        yield "SLAVE", "yes"
    elif link.bridge is not None:
        yield "BRIDGE", link.bridge
    yield "BOOTPROTO", "none"
    yield "IPV6INIT", "no"


def _top(link: Link, machine: Machine) -> Keys:
    """The keys of a link that isn't a port.

    NOZEROCONF stands on every one: ``ifup-eth`` routes 169.254.0.0/16 even through a bridge without an address.
    """
    if link.name in machine.zones:
        yield "ZONE", machine.zones[link.name]
    yield from _ipv4(link, machine)
    yield "NOZEROCONF", "yes"
    yield from _ipv6(link, machine.forwards_ipv6)
    yield from _dns(link, machine)


def _ipv4(link: Link, machine: Machine) -> Keys:
    """IPv4. The first address has no number, the next is IPADDR1: ``expand_config`` skips a missing IPADDR0."""
    addressing = link.addressing
    yield "BOOTPROTO", "dhcp" if addressing.dhcp4 else "none"
    if addressing.dhcp4 and link.name != machine.dhcp_gateway:
        yield "DEFROUTE", "no"
    for number, address in enumerate(of_version(addressing, 4)):
        suffix = str(number or "")
        yield f"IPADDR{suffix}", str(address.ip)
        yield f"PREFIX{suffix}", str(address.network.prefixlen)
    gateway = gateway4(addressing)
    if gateway is not None:
        yield "GATEWAY", str(gateway.via)
        if gateway.metric is not None:
            yield "METRIC", str(gateway.metric)


def _ipv6(link: Link, forwards: bool) -> Keys:
    """IPv6. It is initialised on every link, because only then ``ifup-ipv6`` switches router advertisements off."""
    addressing = link.addressing
    yield "IPV6INIT", "yes"
    yield "IPV6_AUTOCONF", "yes" if addressing.accept_ra else "no"
    if forwards:
        yield "IPV6FORWARDING", "yes"
    addresses = [str(address) for address in of_version(addressing, 6)]
    if addresses:
        yield "IPV6ADDR", addresses[0]
    if addresses[1:]:
        yield "IPV6ADDR_SECONDARIES", " ".join(addresses[1:])
    gateway = gateway6(addressing)
    if gateway is not None:
        yield "IPV6_DEFAULTGW", f"{gateway.via}%{link.name}" if gateway.via.is_link_local else str(gateway.via)
    if addressing.dhcp6:
        yield "DHCPV6C", "yes"


def _dns(link: Link, machine: Machine) -> Keys:
    """The resolver, on one link.

    PEERDNS=no keeps DHCP from resolv.conf, but also ``ifup-post`` from writing DNS1 there, unless RESOLV_MODS asks for
    it: so that a static link says neither, and a DHCP link both.
    """
    dns, addressing = machine.node.dns, link.addressing
    sets_resolver = link.name == machine.resolver
    if sets_resolver:
        for number, server in enumerate(dns.servers, 1):
            yield f"DNS{number}", str(server)
        if dns.search:
            yield "DOMAIN", " ".join(dns.search)
    if dns.servers and (addressing.dhcp4 or addressing.dhcp6):
        yield "PEERDNS", "no"
        if sets_resolver:
            yield "RESOLV_MODS", "yes"
