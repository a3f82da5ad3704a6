"""The sections and keys of a NetworkManager profile, in the order in which they are written.

What a key means is what nm-settings-keyfile(5) says. All of them are read by every NetworkManager since 1.36 (el9.0)
but those of `kvmgen.model.ethtool.CHANNELS_SINCE`: it drops a key that it doesn't know without a word.
"""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.model.ethtool import ethtool
from kvmgen.model.host import Addressing, Bond, Bridge, Ethernet, Link, Node, Vlan
from kvmgen.model.values import Address, Mac, Route
from kvmgen.render._keyfile_ovs import membership, switch_of
from kvmgen.render._machine import SHORTEST_FORWARD_DELAY, Machine, has_default, is_port, of_version

Keys = Iterator[tuple[str, str]]
Sections = Iterator[tuple[str, Keys]]

AHEAD = "100"
"""A profile that somebody left behind for the same device has priority 0, and doesn't win."""

FOREVER = "2147483647"
"""NetworkManager takes a link down whose DHCP server or router was silent for so many seconds. This is its word for
never: a bridge stays up for its guests, and gets its address when the server is back."""

PATIENCE = "45000"
"""How long a boot waits for an answer, in milliseconds, before it takes the link for ready without one."""

KERNELS_METRIC = {4: 0, 6: 1024}
"""The metric of a route that says none, by IP version, as ``ip route add`` has it; NetworkManager's own depends on the
kind of link, and a route with a metric that the inventory says would win or lose by that."""

IPV6_FIRST = "50"
"""A priority ahead of the usual 100: resolvers of IPv4 come first unless something says otherwise."""


def escaped(value: str) -> str:
    """A value as GLib's key files read it back, unchanged."""
    assert "\n" not in value, "a key file is read line by line"
    text = value.replace("\\", "\\\\")
    bare = text.lstrip(" ")
    return "\\s" * (len(text) - len(bare)) + bare


def sections(link: Link, machine: Machine) -> Sections:
    """All sections of a link's profile."""
    yield "connection", _connection(link, machine)
    yield "ethernet", _ethernet(link)
    match link:
        case Ethernet() if link.ethtool is not None:
            yield "ethtool", iter(ethtool(link.ethtool, link.name).options)
        case Bond():
            yield "bond", iter(link.options)
        case Vlan():
            yield "vlan", iter((("id", str(link.id)), ("parent", link.parent)))
        case Bridge() if link.openvswitch:
            yield "ovs-interface", iter((("type", "internal"),))
        case Bridge():
            yield "bridge", _bridge(link, machine.node)
    yield "bridge-port", _bridge_port(link, machine.node)
    if not is_port(link):
        yield "ipv4", _ipv4(link, machine)
        yield "ipv6", _ipv6(link, machine)


def _connection(link: Link, machine: Machine) -> Keys:
    """Who the link is, and what it belongs to.

    A port names its bond or bridge by the device: by its UUID, it would stay outside for as long as another profile is
    active on that device. Newer releases call ``master`` and ``slave-type`` ``controller`` and ``port-type``, and go on
    reading the older words, which are all that 1.42 knows.
    """
    yield "id", link.name
    yield "uuid", link.uuid
    switch = switch_of(link, machine.node)
    yield "type", "ovs-interface" if switch is link else type(link).__name__.lower()
    yield "interface-name", link.name
    yield "autoconnect-priority", AHEAD
    if isinstance(link, Bond | Bridge) and switch is not link:
        yield "autoconnect-slaves", "1"
    if switch is not None:
        yield from membership(link)
    if link.bond is not None:
        yield from (("master", link.bond), ("slave-type", "bond"))
    elif link.bridge is not None and switch is None:
        yield from (("master", link.bridge), ("slave-type", "bridge"))
    elif link.name in machine.zones:
        yield "zone", machine.zones[link.name]


def _ethernet(link: Link) -> Keys:
    """What a profile of any kind says of its Ethernet side; the MAC is what a NIC must have, not what it gets."""
    if isinstance(link, Ethernet):
        if link.mac is not None:
            yield "mac-address", link.mac.upper()
        if link.ethtool is not None:
            yield from ethtool(link.ethtool, link.name).link
    if isinstance(link, Bridge) and link.openvswitch and link.mac is not None:
        yield "cloned-mac-address", link.mac.upper()
    if link.mtu is not None:
        yield "mtu", str(link.mtu)


def _bridge(bridge: Bridge, node: Node) -> Keys:
    """A bridge's keys. Spanning tree is on where nothing is said.

    Its MAC is pinned where it can be known: NetworkManager gives a bridge its addresses before the first port is in, so
    that the link-local one would be made of a random MAC.
    """
    mac = bridge.mac or mac_below(bridge, {link.name: link for link in node.links})
    if mac is not None:
        yield "mac-address", mac.upper()
    yield "stp", "true" if bridge.stp else "false"
    if bridge.stp:
        yield "forward-delay", str(max(bridge.forward_delay, SHORTEST_FORWARD_DELAY))
    if bridge.vlans:
        yield "vlan-filtering", "true"


def _bridge_port(link: Link, node: Node) -> Keys:
    """The VLANs that a port of a bridge carries with their tags, next to what has none."""
    vlans = next((bridge.vlans for bridge in node.bridges if bridge.name == link.bridge), ())
    if vlans:
        yield "vlans", ",".join(map(str, sorted(vlans)))


def mac_below(link: Link | None, links: dict[str, Link]) -> Mac | None:
    """The MAC that the kernel gives a link: a bridge has its ports' lowest, a bond its first port's."""
    match link:
        case Ethernet():
            return link.mac
        case Vlan():
            return mac_below(links.get(link.parent), links)
        case Bond():
            return mac_below(links.get(link.ports[0]), links)
        case Bridge():
            found = [mac_below(links.get(port), links) for port in link.ports]
            known = [mac for mac in found if mac is not None]
            return link.mac or (min(known) if known and len(known) == len(found) else None)
    return None


def _ipv4(link: Link, machine: Machine) -> Keys:
    addressing = link.addressing
    static = any(of_version(addressing, 4))
    yield "method", "auto" if addressing.dhcp4 else "manual" if static else "disabled"
    if addressing.dhcp4:
        yield from (("dhcp-timeout", FOREVER), ("required-timeout", PATIENCE))
        if link.name != machine.dhcp_gateway:
            yield "never-default", "true"
    yield from _static(addressing, 4)
    yield from _dns(link, machine, 4)


def _ipv6(link: Link, machine: Machine) -> Keys:
    """IPv6. The method ``dhcp`` heeds no router advertisements, and ``link-local`` is what every link has.

    The link-local address is the one that follows from the MAC, because a guest's filter lets no other pass. A bridge
    for guests alone has none: it has no carrier before the first guest starts, and the boot would wait for that.
    """
    addressing = link.addressing
    if isinstance(link, Bridge) and not link.ports and addressing.is_empty:
        yield "method", "disabled"
        return
    static = any(of_version(addressing, 6))
    asks = addressing.accept_ra or addressing.dhcp6
    dynamic = "auto" if addressing.accept_ra else "dhcp"
    yield "method", dynamic if asks else "manual" if static else "link-local"
    yield from (("addr-gen-mode", "eui64"), ("ip6-privacy", "0"))
    if addressing.accept_ra:
        yield "ra-timeout", FOREVER
    if asks:
        yield from (("dhcp-timeout", FOREVER), ("required-timeout", PATIENCE))
        if any(has_default(other, 6) for other in machine.node.links):
            yield "never-default", "true"
    yield from _static(addressing, 6)
    yield from _dns(link, machine, 6)


def _static(addressing: Addressing, version: int) -> Keys:
    for number, address in enumerate(of_version(addressing, version), 1):
        yield f"address{number}", str(address)
    routes = (route for route in addressing.routes if route.version == version)
    for number, route in enumerate(routes, 1):
        yield f"route{number}", _route(route)


def _route(route: Route) -> str:
    everything = "0.0.0.0/0" if route.version == 4 else "::/0"
    metric = KERNELS_METRIC[route.version] if route.metric is None else route.metric
    return f"{route.to or everything},{route.via},{metric}"


def _dns(link: Link, machine: Machine, version: int) -> Keys:
    """The resolvers of one IP version, on one link that has that version: elsewhere the profile would be refused."""
    dns, addressing = machine.node.dns, link.addressing
    asks = addressing.dhcp4 if version == 4 else addressing.dhcp6 or addressing.accept_ra
    if asks and dns.servers:
        yield "ignore-auto-dns", "true"
    if link.name != resolver(machine, version):
        return
    servers = [server for server in dns.servers if server.version == version]
    if servers:
        yield "dns", _listed(servers)
        if version == 6 and dns.servers[0].version == 6 and len(servers) < len(dns.servers):
            yield "dns-priority", IPV6_FIRST
    if dns.search and version == _of_search(machine):
        yield "dns-search", _listed(dns.search)


def resolver(machine: Machine, version: int) -> str | None:
    """The link whose profile names the resolvers of an IP version."""
    speaking = [link.name for link in machine.node.links if not is_port(link) and link.addressing.speaks(version)]
    return machine.resolver if machine.resolver in speaking else next(iter(speaking), None)


def _of_search(machine: Machine) -> int:
    """The IP version whose section has the search domains: the first that any link has."""
    return 4 if resolver(machine, 4) is not None else 6


def _listed(items: list[Address] | tuple[str, ...]) -> str:
    return "".join(f"{item};" for item in items)
