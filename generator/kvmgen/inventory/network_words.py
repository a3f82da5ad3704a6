"""Which words of a network go together: what `net-define` refuses is told here, with a place."""

from __future__ import annotations

from collections.abc import Iterable

from kvmgen.diagnostics import Origin
from kvmgen.inventory.context import NOT_TOGETHER, Context, Data
from kvmgen.model.network import Forward
from kvmgen.value import record

_RUN_BY_LIBVIRT = (
    "forward-dev",
    "nat",
    "guest-ipv6",
    "addresses",
    "dhcp",
    "domain",
    "domain-local-only",
    "dns",
    "routes",
)
"""What only a network has whose bridge libvirt makes."""

_ON_A_BRIDGE = ("bridge", "isolated-ports", "isolation", "bandwidth")
_POOLS = ("devices", "pf", "pci-addresses")


@record
class Place:
    """A network's data on one host, and where each key of it was said."""

    data: Data
    network: Origin
    own_keys: frozenset[str]
    host: str

    def at(self, key: str) -> Origin:
        """Where a key was said: for this host alone, or for all."""
        return self.network.at("hosts", self.host, key) if key in self.own_keys else self.network.at(key)


def has_pool(data: Data) -> bool:
    """Whether guests are plugged into devices of the host instead of a bridge."""
    return any(key in data for key in _POOLS)


def refuse_combinations(context: Context, place: Place, forward: Forward) -> None:
    """Tell of what libvirt would refuse or drop."""
    if forward.makes_bridge:
        _refuse(context, place, (*_POOLS, "segment"), f"a network of forward mode {forward} has a bridge of its own")
        _need_bridge_name(context, place)
    elif forward is Forward.BRIDGE and not has_pool(place.data):
        _on_hosts_bridge(context, place)
    else:
        _on_devices(context, place, forward)
    if forward is not Forward.HOSTDEV:
        _refuse(context, place, ("managed", "pci-addresses"), "only forward mode hostdev takes devices from the host")
    _routed(context, place, forward)


def _refuse(context: Context, place: Place, keys: Iterable[str], why: str) -> None:
    for key in keys:
        if key in place.data:
            message = f"libvirt refuses {key!r} here: {why}"
            context.error(
                NOT_TOGETHER, place.at(key), message, "Remove it, or choose another forward mode.", on_key=True
            )


def _need_bridge_name(context: Context, place: Place) -> None:
    if "name" not in place.data.get("bridge", {}):
        hint = "Write `bridge: {name: virbr0}`: libvirt would choose a name that depends on what is already there."
        context.error(NOT_TOGETHER, place.network, "the network doesn't name its bridge", hint)


def _on_hosts_bridge(context: Context, place: Place) -> None:
    _need_bridge_name(context, place)
    for key in _RUN_BY_LIBVIRT:
        if key in place.data:
            message = f"libvirt refuses {key!r} on a network that is a bridge of the host"
            hint = "Write it where that bridge's network is run, or choose another forward mode."
            context.error(NOT_TOGETHER, place.at(key), message, hint, on_key=True)
    for key in place.data.get("bridge", {}).keys() - {"name"}:
        message = f"libvirt refuses {key!r} here: the bridge is the host's own"
        context.error(NOT_TOGETHER, place.at("bridge").at(key), message, "Write it at the host's bridge.", on_key=True)
    _refuse(context, place, ("segment",), "the host's bridge names its own")
    if "isolation" in place.data:
        message = "the network is a bridge of the host, on which others may be too: isolation is that bridge's"
        hint = f"Write it at the bridge, in the host's file: `isolation: {place.data['isolation']}`."
        context.error(NOT_TOGETHER, place.at("isolation"), message, hint, on_key=True)


def _on_devices(context: Context, place: Place, forward: Forward) -> None:
    """Where guests are plugged into devices: exactly one way to name those, and nothing that needs a bridge."""
    data = place.data
    _refuse(context, place, (*_RUN_BY_LIBVIRT, *_ON_A_BRIDGE), "its guests are on the host's devices, not on a bridge")
    if forward is Forward.HOSTDEV:
        _refuse(context, place, ("devices",), "virtual functions are known by `pf` or by their PCI addresses")
    said = [key for key in _POOLS if key in data]
    if not said:
        wanted = "`pf: eno3` or `pci-addresses`" if forward is Forward.HOSTDEV else "`devices: [eno3]` or `pf: eno3`"
        message = f"the network doesn't say which devices its guests get: in mode {forward} none of them could start"
        context.error(NOT_TOGETHER, place.network.at("forward"), message, f"Write {wanted}.")
    for key in said[1:]:
        message = f"libvirt takes either {said[0]!r} or {key!r}, not both"
        context.error(NOT_TOGETHER, place.at(key), message, "Keep one of them.", on_key=True)


def _routed(context: Context, place: Place, forward: Forward) -> None:
    data = place.data
    if not forward.makes_bridge:
        return
    if "nat" in data and forward is not Forward.NAT:
        message = f"libvirt refuses `nat` on a network whose forward mode is {forward}"
        context.error(NOT_TOGETHER, place.at("nat"), message, "Remove it, or write `forward: nat`.", on_key=True)
    if forward is not Forward.ISOLATED and not data.get("addresses"):
        message = f"libvirt refuses a network of forward mode {forward} without an address"
        context.error(NOT_TOGETHER, place.network, message, "Give the host's own address on it: `addresses: [...]`.")
    _isolating(context, place)
    if "forward-dev" in data and forward in (Forward.OPEN, Forward.ISOLATED):
        message = f"libvirt refuses a forward device on a network whose forward mode is {forward}"
        context.error(NOT_TOGETHER, place.at("forward-dev"), message, "Remove it.", on_key=True)


def _isolating(context: Context, place: Place) -> None:
    if place.data.get("isolation") == "all":
        message = "libvirt's bridge has no uplink to keep guests from: beside each other they reach the host alone"
        hint = "Write `isolation: guests`; and `forward: isolated`, if the host isn't to route for them either."
        context.error(NOT_TOGETHER, place.at("isolation"), message, hint)
    if "isolation" in place.data and place.data.get("isolated-ports"):
        message = "`isolation` says who is kept apart, and the host's platform how: isolated ports are one of its ways"
        context.error(NOT_TOGETHER, place.at("isolated-ports"), message, "Remove `isolated-ports`.", on_key=True)
