"""The profiles of a bridge of Open vSwitch: a bridge, its ports and its interfaces are three things to NetworkManager.

A link of the inventory is the interface: the bridge's own, which has its addresses, or a NIC, bond or VLAN. Behind each
of them stands a port, and behind the ports the bridge. All three may have one name, so they refer to each other by
UUID. Source: https://networkmanager.dev/docs/api/latest/nm-openvswitch.html.
"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID, uuid5

from kvmgen.model.host import Bridge, Link, Node

Keys = Iterator[tuple[str, str]]
Sections = Iterator[tuple[str, Keys]]

PORT, BRIDGE = "ovs-port", "ovs-bridge"


def switch_of(link: Link, node: Node) -> Bridge | None:
    """The bridge of Open vSwitch that a link is on: as one of its ports, or as its own interface."""
    name = link.name if isinstance(link, Bridge) else link.bridge
    return next((bridge for bridge in node.bridges if bridge.name == name and bridge.openvswitch), None)


def membership(link: Link) -> Keys:
    """What an interface's profile says of its port."""
    yield from (("master", _uuid(link, PORT)), ("slave-type", PORT))


def behind(link: Link, switch: Bridge) -> Iterator[tuple[str, Sections]]:
    """The profiles behind an interface, by their files' names: its port, and the bridge behind the bridge's own."""
    yield f"{link.name}.{PORT}", _port(link, switch)
    if link is switch:
        yield f"{link.name}.{BRIDGE}", _bridge(switch)


def _port(link: Link, switch: Bridge) -> Sections:
    masters = (("master", _uuid(switch, BRIDGE)), ("slave-type", BRIDGE))
    yield "connection", iter((*_named(link, PORT), *masters))


def _bridge(switch: Bridge) -> Sections:
    yield "connection", iter(_named(switch, BRIDGE))
    if switch.stp:
        yield BRIDGE, iter((("stp-enable", "true"),))


def _named(link: Link, kind: str) -> tuple[tuple[str, str], ...]:
    names = (("id", f"{link.name} {kind}"), ("uuid", _uuid(link, kind)), ("type", kind), ("interface-name", link.name))
    return (*names, ("autoconnect-slaves", "1"))


def _uuid(link: Link, kind: str) -> str:
    return str(uuid5(UUID(link.uuid), kind))
