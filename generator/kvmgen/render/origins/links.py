"""Where the lines of links' files come from: ifcfg, route and route6 files, and NetworkManager's profiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kvmgen.diagnostics import Origin
from kvmgen.model.host import Bond, Bridge, Link, Node
from kvmgen.model.values import Route
from kvmgen.render._ifcfg_keys import gateway4, gateway6
from kvmgen.render._keyfile_keys import mac_below
from kvmgen.render._machine import Machine, has_default, is_port
from kvmgen.render.origins.firewall import is_said
from kvmgen.render.origins.sysctl import bridging_origins
from kvmgen.render.origins.walk import CHOICE, Origins, hostname_origins

Place = tuple[str, Origins]

_IFCFG: Mapping[str, tuple[str, ...]] = {
    "HWADDR": ("mac",),
    "MACADDR": ("mac",),
    "ETHTOOL_OPTS": ("ethtool",),
    "MTU": ("mtu",),
    "PHYSDEV": ("parent",),
    "VLAN_ID": ("id",),
    "VID": ("id",),
    "STP": ("stp",),
    "DELAY": ("forward-delay", "stp"),
    "BRIDGING_OPTS": ("forward-delay", "stp"),
    "IPV6_AUTOCONF": ("accept-ra",),
    "DHCPV6C": ("dhcp6",),
}
_KEYFILE: Mapping[str, tuple[str, ...]] = {
    "ethernet/mac-address": ("mac",),
    "ethernet/cloned-mac-address": ("mac",),
    "ethernet/mtu": ("mtu",),
    "ethtool": ("ethtool",),
    "vlan/id": ("id",),
    "vlan/parent": ("parent",),
    "bridge/stp": ("stp",),
    "bridge/forward-delay": ("forward-delay", "stp"),
    "bridge/vlan-filtering": ("vlans",),
    "ovs-interface": ("openvswitch",),
    "ovs-bridge/stp-enable": ("stp",),
}
"""The link's keys that decide a line."""

_CHOSEN_IFCFG = ("ONBOOT", "NM_CONTROLLED", "USERCTL", "NOZEROCONF", "IPV6INIT", "NETWORKING", "NETWORKING_IPV6")
_CHOSEN_KEYFILE = ("autoconnect-priority", "autoconnect-slaves")


def ifcfg_places(link: Link, machine: Machine) -> dict[str, Origins]:
    """An ifcfg file's keys in the order of `kvmgen.render._ifcfg_keys`."""
    found: dict[str, Origins] = {"": (link.origin,), **dict.fromkeys(_CHOSEN_IFCFG, CHOICE)}
    found |= {key: tuple(map(link.origin.at, said)) for key, said in _IFCFG.items()}
    if isinstance(link, Bond):
        found["BONDING_OPTS"] = _options(link)
    if is_port(link):
        return found | dict.fromkeys(("MASTER", "SLAVE", "BRIDGE", "BOOTPROTO"), _membership(link, machine.node))
    found |= {"ZONE": _zone(link, machine.node), "BOOTPROTO": _method(link, 4)}
    found |= {"IPV6FORWARDING": forwarding_origins(machine.node), "DEFROUTE": _other_default(link, machine, 4)}
    return found | dict(_ifcfg_addresses(link)) | dict(_ifcfg_resolver(link, machine.node))


def route_origins(link: Link, version: int) -> Iterator[Origins]:
    """Each line of a route file: the routes that no key of the ifcfg file says."""
    by_key = (gateway4(link.addressing), gateway6(link.addressing))
    for route, origin in _routes(link):
        if route.version == version and route not in by_key:
            yield (origin,)


def global_places(node: Node) -> dict[str, Origins]:
    """el6's /etc/sysconfig/network."""
    found: dict[str, Origins] = {"": (node.origin,), **dict.fromkeys(_CHOSEN_IFCFG, CHOICE)}
    hostname = hostname_origins(node.origin, node.origin.at("hostname"), node.name, node.hostname)
    return found | {"HOSTNAME": hostname, "IPV6FORWARDING": forwarding_origins(node)}


def forwarding_origins(node: Node) -> Origins:
    """Where it is said that the machine forwards IPv6."""
    settings = [setting for setting in node.sysctl if setting.key.replace("/", ".") == "net.ipv6.conf.all.forwarding"]
    return tuple(setting.origin for setting in settings) or (node.origin,)


def keyfile_places(link: Link, machine: Machine) -> dict[str, Origins]:
    """A profile's keys in the order of `kvmgen.render._keyfile_keys`, those behind Open vSwitch's links included."""
    node = machine.node
    found: dict[str, Origins] = {"": (link.origin,)}
    found |= {f"connection/{key}": CHOICE for key in _CHOSEN_KEYFILE}
    found |= {way: tuple(map(link.origin.at, said)) for way, said in _KEYFILE.items()}
    if isinstance(link, Bond):
        found["bond"] = _options(link)
        found |= {f"bond/{name}": (link.origin.at(name.replace("_", "-")),) for name, _ in link.options}
    found |= dict.fromkeys(("connection/master", "connection/slave-type"), _membership(link, node))
    found["connection/zone"] = _zone(link, node)
    found["bridge/mac-address"] = tuple(_mac(link, node))
    bridge = next((bridge for bridge in node.bridges if bridge.name == link.bridge), None)
    found["bridge-port"] = (link.origin,) if bridge is None else (bridge.origin.at("vlans"),)
    for version in (4, 6):
        found |= dict(_keyfile_family(link, machine, version))
    return found


def _keyfile_family(link: Link, machine: Machine, version: int) -> Iterator[Place]:
    way, dns = f"ipv{version}", machine.node.dns
    yield way, _method(link, version)
    yield from ((f"{way}/{key}", CHOICE) for key in ("addr-gen-mode", "ip6-privacy"))
    yield f"{way}/never-default", _other_default(link, machine, version)
    for index, (_, origin) in enumerate(_addresses(link, version), 1):
        yield f"{way}/address{index}", (origin,)
    routes = [origin for route, origin in _routes(link) if route.version == version]
    yield from ((f"{way}/route{index}", (origin,)) for index, origin in enumerate(routes, 1))
    if dns.origin is not None:
        servers = (dns.origin.at("servers", index) for index, one in enumerate(dns.servers) if one.version == version)
        yield f"{way}/dns", tuple(servers)
        yield f"{way}/dns-priority", (dns.origin.at("servers"),)
        yield f"{way}/dns-search", (dns.origin.at("search"),)
        yield f"{way}/ignore-auto-dns", (dns.origin.at("servers"), *_method(link, version))


def _options(bond: Bond) -> Origins:
    return tuple(bond.origin.at(name.replace("_", "-")) for name, _ in bond.options)


def _membership(link: Link, node: Node) -> Origins:
    """Where a bond or bridge names the link as its port; of Open vSwitch's own interface, where the bridge says so."""
    controllers: tuple[Bond | Bridge, ...] = (*node.bonds, *node.bridges)
    for above in controllers:
        if link.name in above.ports:
            return (above.origin.at("ports", above.ports.index(link.name)),)
    return (link.origin.at("openvswitch"),)


def _mac(link: Link, node: Node) -> Iterator[Origin]:
    """Where a bridge's MAC stands: at the bridge, or at the NIC below that has it."""
    mac = mac_below(link, {one.name: one for one in node.links})
    below = [nic.origin.at("mac") for nic in node.ethernets if nic.mac == mac]
    said = isinstance(link, Bridge) and link.mac is not None
    yield from (link.origin.at("mac"),) if said or not below else below


def _zone(link: Link, node: Node) -> Origins:
    """Where the link's zone is said; kvmgen's own zones are bound to the bridge that they were made for."""
    if link.zone is not None:
        return (link.origin.at("zone"),)
    zones = node.firewall.zones if node.firewall is not None else ()
    mine = [zone for zone in zones if link.name in zone.interfaces]
    derived = bridging_origins(node) if not all(map(is_said, mine)) else ()
    return (*(zone.origin for zone in mine), *derived) or (link.origin,)


def _method(link: Link, version: int) -> Origins:
    """What decides how the link gets addresses of an IP version: what it asks for, and the addresses that it has."""
    asked = ("dhcp4",) if version == 4 else ("accept-ra", "dhcp6")
    own = tuple(origin for _, origin in _addresses(link, version))
    return (*map(link.origin.at, asked), *(own or (link.origin.at("addresses"),)))


def _other_default(link: Link, machine: Machine, version: int) -> Origins:
    """The default route for which this link's DHCP or router gives none."""
    others = [other for other in machine.node.links if has_default(other, version)]
    routes = tuple(
        origin
        for other in others
        for route, origin in _routes(other)
        if _is_default(route) and route.version == version
    )
    return (*_method(link, version), *routes)


def _is_default(route: Route) -> bool:
    return route.to is None or route.to.prefixlen == 0


def _addresses(link: Link, version: int) -> list[tuple[str, Origin]]:
    listed = enumerate(link.addressing.addresses)
    return [(str(one), link.origin.at("addresses", index)) for index, one in listed if one.version == version]


def _routes(link: Link) -> Iterator[tuple[Route, Origin]]:
    for index, route in enumerate(link.addressing.routes):
        yield route, link.origin.at("routes", index)


def _ifcfg_addresses(link: Link) -> Iterator[Place]:
    for number, (_, origin) in enumerate(_addresses(link, 4)):
        for key in ("IPADDR", "PREFIX"):
            yield f"{key}{number or ''}", (origin,)
    first, *others = [origin for _, origin in _addresses(link, 6)] or [link.origin]
    yield "IPV6ADDR", (first,)
    yield "IPV6ADDR_SECONDARIES", tuple(others)
    own = link.addressing
    for keys, gateway in ((("GATEWAY", "METRIC"), gateway4(own)), (("IPV6_DEFAULTGW",), gateway6(own))):
        places = tuple(origin for route, origin in _routes(link) if route == gateway)[:1]
        yield from ((key, places) for key in keys)


def _ifcfg_resolver(link: Link, node: Node) -> Iterator[Place]:
    dns = node.dns
    if dns.origin is None:
        return
    for index in range(len(dns.servers)):
        yield f"DNS{index + 1}", (dns.origin.at("servers", index),)
    yield "DOMAIN", (dns.origin.at("search"),)
    for key in ("PEERDNS", "RESOLV_MODS"):
        yield key, (dns.origin.at("servers"), *_method(link, 4 if link.addressing.dhcp4 else 6))
