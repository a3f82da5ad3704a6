"""Lowering a guest's interfaces: where each is plugged in, who it is, and which filter guards it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kvmgen.diagnostics import Origin
from kvmgen.inventory.antispoof import anti_spoofing, known_parameters
from kvmgen.inventory.context import NOT_TOGETHER, Context, Data, bandwidths, optional_mac, vlan_tags
from kvmgen.inventory.isolation import tap_in_group
from kvmgen.inventory.links import addressing
from kvmgen.inventory.schema import defaults
from kvmgen.model.filter_trees import FilterTrees
from kvmgen.model.guest import FilterRef, GuestInterface
from kvmgen.model.host import Addressing, Host
from kvmgen.model.network import VirtualNetwork
from kvmgen.model.values import Mac, Network
from kvmgen.value import record

Networks = Mapping[str, Mapping[str, VirtualNetwork]]


def lower_interface(
    context: Context,
    guest: str,
    name: str,
    data: Data,
    origin: Origin,
    hosts: list[Host],
    networks: Networks,
    filters: FilterTrees,
) -> GuestInterface:
    """One interface; ``hosts`` are all that can carry the guest, ``filters`` those that it can name."""
    mac = optional_mac(data) or context.identity.mac("guest", guest, name)
    own = addressing(context, data, origin)
    allowed = _allowed(context, data, origin)
    segment = _plugged_into(context, data, origin, hosts, networks)
    default = defaults("guest", "interfaces")
    return GuestInterface(
        name=name,
        origin=origin,
        mac=mac,
        model=data.get("model", default["model"]),
        addressing=own,
        network=data.get("network"),
        bridge=data.get("bridge"),
        segment=segment,
        portgroup=data.get("portgroup"),
        target=_target(context, guest, name, data, origin),
        filterref=_filterref(context, data, origin, _Sender(mac, own, allowed), filters),
        allowed=allowed,
        queues=data.get("queues"),
        link_up=data.get("link", default["link"]) == "up",
        mtu=data.get("mtu"),
        openvswitch=any(link.openvswitch for link in hosts[0].bridges if link.name == data.get("bridge")),
        vlan=vlan_tags(context, data.get("vlan"), origin.at("vlan")),
        isolated=data.get("isolated", False),
        isolation_group=data.get("isolation-group"),
        policies=tuple(sorted(data.get("policies", ()))),
        boot_order=data.get("boot-order"),
        bandwidth=bandwidths(data.get("bandwidth")),
        pci=_pci(data.get("pci")),
    )


def _target(context: Context, guest: str, name: str, data: Data, origin: Origin) -> str | None:
    """The tap's name: libvirt's choice, but where rules must tell the taps of a group from others."""
    group = data.get("isolation-group")
    if group is None:
        return data.get("target")
    if "target" in data:
        message = "in an isolation group the tap's name is derived: rules know the group's members by it"
        context.error(NOT_TOGETHER, origin.at("target"), message, "Remove `target`.", on_key=True)
    if data.get("isolated"):
        message = "an isolated port reaches no other one, those of its own group included"
        hint = "Remove `isolated`: an isolation group keeps it from all the others."
        context.error(NOT_TOGETHER, origin.at("isolated"), message, hint, on_key=True)
    return tap_in_group(group, guest, name)


def _allowed(context: Context, data: Data, origin: Origin) -> tuple[Network, ...]:
    if "allowed-addresses" not in data:
        return ()
    return context.networks(data["allowed-addresses"], origin.at("allowed-addresses"))


def _pci(text: str | None) -> tuple[int, int, int] | None:
    if text is None:
        return None
    bus, _, rest = text.partition(":")
    slot, _, function = rest.partition(".")
    return int(bus, 16), int(slot, 16), int(function, 16)


def _plugged_into(context: Context, data: Data, origin: Origin, hosts: list[Host], networks: Networks) -> str | None:
    """The segment at the guest's home; what is missing on any host that can carry the guest is told."""
    if ("network" in data) == ("bridge" in data):
        said = "both `network` and `bridge`" if "network" in data else "neither `network` nor `bridge`"
        message = f"the interface names {said}"
        context.error(NOT_TOGETHER, origin, message, "Name the one that it is plugged into.", on_key=True)
        return None
    if "network" in data:
        found = [_network(context, data, origin, host, networks) for host in hosts]
    else:
        found = [_bridge(context, data["bridge"], origin, host, networks) for host in hosts]
    return found[0] if found else None


def _network(context: Context, data: Data, origin: Origin, host: Host, networks: Networks) -> str | None:
    here = networks.get(host.name, {})
    network = here.get(data["network"])
    if network is None:
        context.no_reference(origin.at("network"), f"network on {host.name} called", data["network"], here)
        return None
    groups = {group.name for group in network.portgroups}
    if "portgroup" in data and data["portgroup"] not in groups:
        context.no_reference(origin.at("portgroup"), f"port group of {network.name}", data["portgroup"], groups)
    return network.segment


def _bridge(context: Context, name: str, origin: Origin, host: Host, networks: Networks) -> str | None:
    bridges = {bridge.name: bridge.segment for bridge in host.bridges}
    if name in bridges:
        return bridges[name]
    for network in networks.get(host.name, {}).values():
        if network.bridge == name:
            message = f"the bridge {name!r} on {host.name} is libvirt's, made for the network {network.name!r}"
            context.error(NOT_TOGETHER, origin.at("bridge"), message, f"Write `network: {network.name}`.")
            return None
    context.no_reference(origin.at("bridge"), f"bridge on {host.name} called", name, bridges)
    return None


@record
class _Sender:
    """What an interface is known to send from."""

    mac: Mac
    own: Addressing
    allowed: tuple[Network, ...]

    @property
    def has_addresses(self) -> bool:
        return bool(self.own.addresses or self.allowed)

    @property
    def default_word(self) -> str:
        """The anti-spoofing of an interface that doesn't say."""
        if self.own.dhcp4:
            return "dhcp"
        return "addresses" if self.has_addresses else "mac"


def _filterref(
    context: Context,
    data: Data,
    origin: Origin,
    sender: _Sender,
    filters: FilterTrees,
) -> FilterRef | None:
    if "filter" not in data:
        word = data.get("anti-spoofing") or sender.default_word
        if word == "addresses" and not sender.has_addresses:
            message = "anti-spoofing by addresses needs to know them, and the interface has none"
            hint = "Give `addresses` or `allowed-addresses`, or write `anti-spoofing: dhcp` or `mac`."
            context.error(NOT_TOGETHER, origin.at("anti-spoofing"), message, hint)
            return None
        return anti_spoofing(word, sender.mac, sender.own.addresses, sender.allowed)
    if "policies" in data:
        message = "an interface has one filter: either `filter` or what its `policies` are compiled to"
        context.error(NOT_TOGETHER, origin.at("policies"), message, "Say it in policies alone, or in the filter alone.")
    if "anti-spoofing" in data:
        message = "an interface has one filter: either `filter` or `anti-spoofing`"
        hint = "Include the anti-spoofing filter in your own: `- filter: kvmgen-anti-spoofing` among its rules."
        context.error(NOT_TOGETHER, origin.at("anti-spoofing"), message, hint, on_key=True)
    return _own_filter(context, data["filter"], origin.at("filter"), sender, filters)


def _own_filter(
    context: Context,
    said: Any,
    origin: Origin,
    sender: _Sender,
    filters: FilterTrees,
) -> FilterRef | None:
    name, given = (said, {}) if isinstance(said, str) else (said["name"], said.get("parameters", {}))
    if name not in filters:
        place = origin if isinstance(said, str) else origin.at("name")
        context.no_reference(place, "filter", name, filters)
        return None
    known = known_parameters(sender.mac, sender.own.addresses, sender.allowed, filters.of(name).needs)
    if "IP" in given:
        known["CTRL_IP_LEARNING"] = ("none",)
    for key, value in given.items():
        known[key] = tuple(value) if isinstance(value, list) else (value,)
    parameters = tuple(sorted(known.items()))
    return FilterRef(filter=name, parameters=parameters, origin=origin, said=frozenset(given))
