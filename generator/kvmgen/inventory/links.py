"""Lowering the links of a machine: NICs, bonds, VLANs and bridges, and which is a port of which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kvmgen.diagnostics import Origin
from kvmgen.inventory.context import NAME_TWICE, NOT_TOGETHER, Context, Data, optional_mac
from kvmgen.inventory.schema import defaults
from kvmgen.model.host import Addressing, Bond, Bridge, Ethernet, Vlan
from kvmgen.value import record

_LAYERS = ("ethernets", "bonds", "vlans", "bridges")

_BOND_OPTIONS = (
    "mode",
    "miimon",
    "updelay",
    "downdelay",
    "use-carrier",
    "arp-interval",
    "arp-ip-target",
    "arp-validate",
    "arp-all-targets",
    "primary",
    "primary-reselect",
    "fail-over-mac",
    "xmit-hash-policy",
    "lacp-rate",
    "ad-select",
    "min-links",
    "num-grat-arp",
    "resend-igmp",
    "lp-interval",
    "packets-per-slave",
    "all-slaves-active",
    "tlb-dynamic-lb",
)
"""The kernel's bonding options, in the order of its documentation; the kernel writes them with underscores."""


@record
class Links:
    """A machine's links by layer."""

    ethernets: tuple[Ethernet, ...] = ()
    bonds: tuple[Bond, ...] = ()
    vlans: tuple[Vlan, ...] = ()
    bridges: tuple[Bridge, ...] = ()


class _Lowering:
    def __init__(self, context: Context, host: str, data: Data, origin: Origin) -> None:
        self.context = context
        self.host = host
        self.data = data
        self.origin = origin
        self.places = self._places()
        self.bridge_of = self._ports_of("bridges")
        self.bond_of = self._ports_of("bonds")
        self._refuse_two_controllers()

    def _places(self) -> dict[str, Origin]:
        """Where each link stands; a name in two layers is told."""
        places: dict[str, Origin] = {}
        for layer in _LAYERS:
            for name in self.data.get(layer, ()):
                place = self.origin.at(layer, name)
                if name in places:
                    message = f"the link {name!r} stands in {layer} and in {places[name].pointer[0]}"
                    related = ((places[name], "here too"),)
                    self.context.error(NAME_TWICE, place, message, "Give each link one name.", related, on_key=True)
                places.setdefault(name, place)
        return places

    def _ports_of(self, layer: str) -> dict[str, str]:
        """The controller of each port; unknown ports and ports of two controllers are told."""
        controller_of: dict[str, str] = {}
        for name, link in self.data.get(layer, {}).items():
            for index, port in enumerate(link.get("ports", ())):
                place = self.origin.at(layer, name, "ports", index)
                if port not in self.places:
                    self.context.no_reference(place, "link", port, self.places)
                if port in controller_of:
                    message = f"the link {port!r} is a port of {controller_of[port]} already"
                    self.context.error(NOT_TOGETHER, place, message, "A link can be the port of one bond or bridge.")
                controller_of[port] = name
        return controller_of

    def _refuse_two_controllers(self) -> None:
        for port in sorted(self.bond_of.keys() & self.bridge_of.keys()):
            message = f"the link {port!r} is a port of {self.bond_of[port]} and of {self.bridge_of[port]}"
            hint = f"Make {self.bond_of[port]} the bridge's port: a NIC of a bond is only the bond's."
            place = self.places.get(port, self.origin)
            self.context.error(NOT_TOGETHER, place, message, hint, on_key=True)

    def common(self, layer: str, name: str, link: Data) -> dict[str, Any]:
        """What every link has."""
        origin = self.origin.at(layer, name)
        return {
            "name": name,
            "origin": origin,
            "uuid": self.context.identity.uuid("link", self.host, name),
            "addressing": addressing(self.context, link, origin),
            "mtu": link.get("mtu"),
            "zone": link.get("zone"),
            "bridge": self.bridge_of.get(name),
            "bond": self.bond_of.get(name),
        }

    def ethernets(self) -> tuple[Ethernet, ...]:
        return tuple(
            Ethernet(**self.common("ethernets", name, link), mac=optional_mac(link), ethtool=link.get("ethtool"))
            for name, link in sorted(self.data.get("ethernets", {}).items())
        )

    def bonds(self) -> tuple[Bond, ...]:
        return tuple(
            Bond(**self.common("bonds", name, link), ports=tuple(link["ports"]), options=_bond_options(link))
            for name, link in sorted(self.data.get("bonds", {}).items())
        )

    def vlans(self) -> tuple[Vlan, ...]:
        return tuple(self._vlan(name, link) for name, link in sorted(self.data.get("vlans", {}).items()))

    def _vlan(self, name: str, link: Data) -> Vlan:
        origin = self.origin.at("vlans", name)
        if link["parent"] not in self.places:
            self.context.no_reference(origin.at("parent"), "link", link["parent"], self.places)
        wanted = f"{link['parent']}.{link['id']}"
        if name != wanted:
            message = f"the VLAN {link['id']} on {link['parent']} must be called {wanted!r}, not {name!r}"
            hint = "initscripts and NetworkManager read the parent and the tag from the name: write PARENT.ID."
            self.context.error(NOT_TOGETHER, origin, message, hint, on_key=True)
        return Vlan(**self.common("vlans", name, link), parent=link["parent"], id=link["id"])

    def bridges(self) -> tuple[Bridge, ...]:
        return tuple(self._bridge(name, link) for name, link in sorted(self.data.get("bridges", {}).items()))

    def _bridge(self, name: str, link: Data) -> Bridge:
        default = defaults("host", "bridges")
        return Bridge(
            **self.common("bridges", name, link),
            ports=tuple(link.get("ports", ())),
            stp=link.get("stp", default["stp"]),
            forward_delay=link.get("forward-delay", default["forward-delay"]),
            segment=link.get("segment", f"{self.host}/{name}"),
            mac=optional_mac(link),
            isolation=link.get("isolation"),
            openvswitch=link.get("openvswitch", default["openvswitch"]),
            vlans=tuple(link.get("vlans", ())),
        )


def lower_links(context: Context, host: str, data: Data, origin: Origin) -> Links:
    """The links of a host, sorted by name within their layer."""
    lowering = _Lowering(context, host, data, origin)
    _refuse_addresses_on_ports(context, lowering)
    return Links(lowering.ethernets(), lowering.bonds(), lowering.vlans(), lowering.bridges())


def _refuse_addresses_on_ports(context: Context, lowering: _Lowering) -> None:
    controllers: Mapping[str, str] = {**lowering.bond_of, **lowering.bridge_of}
    for port, controller in sorted(controllers.items()):
        place = lowering.places.get(port)
        link = lowering.data.get(str(place.pointer[0]), {}).get(port, {}) if place else {}
        for key in ("addresses", "dhcp4", "dhcp6", "accept-ra", "routes", "zone"):
            if place and link.get(key):
                message = f"{key!r} on {port!r}, which is a port of {controller!r}, would be ignored on the host"
                context.error(NOT_TOGETHER, place.at(key), message, f"Write it on {controller!r}.", on_key=True)


def addressing(context: Context, link: Data, origin: Origin) -> Addressing:
    """How a link gets its addresses."""
    if not link.keys() & {"addresses", "dhcp4", "dhcp6", "accept-ra", "routes"}:
        return _NO_ADDRESSING
    return Addressing(
        addresses=context.interfaces(link.get("addresses", ()), origin.at("addresses")),
        dhcp4=link.get("dhcp4", False),
        dhcp6=link.get("dhcp6", False),
        accept_ra=link.get("accept-ra", False),
        routes=context.routes(link["routes"], origin.at("routes")) if "routes" in link else (),
    )


_NO_ADDRESSING = Addressing()


def _bond_options(link: Data) -> tuple[tuple[str, str], ...]:
    return tuple((key.replace("-", "_"), _option(link[key])) for key in _BOND_OPTIONS if key in link)


def _option(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return ",".join(value) if isinstance(value, list) else str(value)
