"""What a link's file depends on beside the link itself, whatever the format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kvmgen.model.host import Addressing, Link, Node
from kvmgen.model.values import Interface, Route
from kvmgen.value import record

SHORTEST_FORWARD_DELAY = 2
"""Seconds: the kernel takes no shorter delay while spanning tree is on."""


@record
class Machine:
    """What a link's file depends on beside the link itself.

    ``dhcp_gateway`` is the one link that takes its default route from DHCP, ``resolver`` the one whose file sets
    resolv.conf; ``zones`` maps links to firewalld zones.
    """

    node: Node
    dhcp_gateway: str | None
    resolver: str | None
    zones: Mapping[str, str]
    forwards_ipv6: bool

    @classmethod
    def of(cls, node: Node) -> Machine:
        """Look at all links of a machine at once."""
        links = [link for link in node.links if not is_port(link)]
        with_default = [link for version in (4, 6) for link in links if has_default(link, version)]
        addressed = [link for link in links if not link.addressing.is_empty]
        dhcp = [link for link in links if link.addressing.dhcp4]
        return cls(
            node=node,
            dhcp_gateway=first(dhcp) if not any(has_default(link, 4) for link in links) else None,
            resolver=first(with_default) or first(addressed),
            zones=_zones(node),
            forwards_ipv6=_forwards_ipv6(node),
        )


def first(links: list[Link]) -> str | None:
    """The name of the first link, if there is one."""
    return links[0].name if links else None


def has_default(link: Link, version: int) -> bool:
    """Whether a link has a default route of an IP version."""
    return any(is_default(route) and route.version == version for route in link.addressing.routes)


def _zones(node: Node) -> dict[str, str]:
    """The zone of each link that has one.

    A zone that names its interfaces isn't enough: initscripts and NetworkManager move an interface whose own file says
    nothing to the default zone.
    """
    if node.platform.firewalld is None:
        return {}
    said = node.firewall.zones if node.firewall else ()
    named = {interface: zone.name for zone in said for interface in zone.interfaces}
    return named | {link.name: link.zone for link in node.links if link.zone is not None}


def _forwards_ipv6(node: Node) -> bool:
    settings = {setting.key.replace("/", "."): setting.value for setting in node.sysctl}
    return settings.get("net.ipv6.conf.all.forwarding") == "1"


def is_port(link: Link) -> bool:
    """Whether the link belongs to a bond or bridge: there addresses, routes, DNS and zone are ignored."""
    return link.bond is not None or link.bridge is not None


def is_default(route: Route) -> bool:
    """Whether the route is its family's default route."""
    return route.to is None or route.to.prefixlen == 0


def of_version(addressing: Addressing, version: int) -> Iterator[Interface]:
    """The addresses of an IP version."""
    return (address for address in addressing.addresses if address.version == version)
