"""Traffic limits of networks, port groups and guests' interfaces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from kvmgen.diagnostics import Diagnostic, Origin, Rule, Severity
from kvmgen.model.guest import Guest, GuestInterface
from kvmgen.model.network import VirtualNetwork
from kvmgen.model.site import Site
from kvmgen.model.values import Bandwidth, Bandwidths

NO_AVERAGE = Rule(code="KV329", title="A traffic limit without its average")
NO_FLOOR_HERE = Rule(code="KV330", title="A floor where libvirt takes none")
FLOOR_TOO_HIGH = Rule(code="KV331", title="Floors that a network can't keep")
PEAK_WITHOUT_EFFECT = Rule(code="KV332", title="A peak rate without effect", severity=Severity.WARNING)


class _Limit(NamedTuple):
    """One direction's limit; ``way`` is inbound or outbound."""

    way: str
    limit: Bandwidth
    origin: Origin


def _limits(site: Site) -> Iterator[_Limit]:
    for network in site.carried():
        yield from _both(network.bandwidth, network.at("bandwidth"))
        for group in network.portgroups:
            yield from _both(group.bandwidth, network.at("portgroups", group.name, "bandwidth"))
    for _, nic in site.nics():
        if nic.bandwidth is not None:
            yield from _both(nic.bandwidth, nic.origin.at("bandwidth"))


def _both(bandwidths: Bandwidths | None, origin: Origin) -> Iterator[_Limit]:
    if bandwidths is None:
        return
    for way, limit in (("inbound", bandwidths.inbound), ("outbound", bandwidths.outbound)):
        if limit is not None:
            yield _Limit(way, limit, origin.at(way))


def averages(site: Site) -> Iterator[Diagnostic]:
    """A limit starts from an average rate; libvirt refuses `peak` and `burst` without one, and a limit of nothing.

    A floor may stand alone.

    Bad::

        # guests/web01.yaml
        eth0:
          bandwidth: {inbound: {peak: 4000, burst: 1024}}

    Good::

        # guests/web01.yaml
        eth0:
          bandwidth: {inbound: {average: 1000, peak: 4000, burst: 1024}}

    Source: https://libvirt.org/formatnetwork.html#quality-of-service; libvirt 9.0 says "Missing mandatory average or
    floor attributes" and "'peak' and 'burst' require 'average' attribute".
    """
    for way, limit, origin in _limits(site):
        if limit.average is None and (limit.floor is None or limit.peak is not None or limit.burst is not None):
            yield Diagnostic(
                rule=NO_AVERAGE,
                message=f"the {way} limit has no average rate: libvirt refuses the definition",
                hint="Add `average`, in KiB/s.",
                origin=origin,
            )


def floors(site: Site) -> Iterator[Diagnostic]:
    """A floor is what a network that libvirt runs guarantees a guest's interface, of the traffic towards the guest.

    libvirt refuses it elsewhere: outbound, on a network or port group, and on a host's bridge: in the definition, or,
    where the bridge is a network of forward mode bridge, when the guest starts.

    Bad::

        # guests/web01.yaml
        eth1:
          bridge: br0
          bandwidth: {inbound: {average: 1000, floor: 500}}

    Good::

        # guests/web01.yaml
        eth1:
          bridge: br0
          bandwidth: {inbound: {average: 1000}}

    Source: https://libvirt.org/formatnetwork.html#quality-of-service; libvirt 9.0 says "floor attribute is not
    supported for this config" and "'floor' is only supported for interface type 'network' with forward type 'nat',
    'route', 'open' or none".
    """
    for network in site.carried():
        yield from _no_floor(network.bandwidth, network.at("bandwidth"), "on a network")
        for group in network.portgroups:
            yield from _no_floor(group.bandwidth, network.at("portgroups", group.name, "bandwidth"), "on a port group")
    for guest, nic in site.nics():
        if nic.bandwidth is not None:
            elsewhere = nic.bridge is not None or any(
                not network.forward.makes_bridge for network in _networks_of(site, guest, nic)
            )
            where = "on a bridge or device of the host" if elsewhere else None
            yield from _no_floor(nic.bandwidth, nic.origin.at("bandwidth"), where)


def _no_floor(bandwidths: Bandwidths | None, origin: Origin, where: str | None) -> Iterator[Diagnostic]:
    """Tell of floors; ``where`` is what no floor can be on, ``None`` where only the direction matters."""
    for way, limit, place in _both(bandwidths, origin):
        wrong = where or ("for what a guest sends" if way == "outbound" else None)
        if limit.floor is not None and wrong is not None:
            yield Diagnostic(
                rule=NO_FLOOR_HERE,
                message=f"libvirt takes no floor {wrong}",
                hint="Remove it: only a guest's interface on a network that libvirt runs has one, inbound.",
                origin=place.at("floor"),
                on_key=True,
            )


def _networks_of(site: Site, guest: Guest, nic: GuestInterface) -> Iterator[VirtualNetwork]:
    """The network on each host that can carry the guest."""
    for host in guest.hosts:
        network = site.networks.get(host, {}).get(nic.network) if nic.network is not None else None
        if network is not None:
            yield network


def overcommitted(site: Site) -> Iterator[Diagnostic]:
    """libvirt starts no guest whose floor its network can't keep: it needs an inbound limit that all floors fit in.

    The floors of the guests that run on a network may not be more than its inbound peak together, or than its average
    where it has no peak. The guest that starts last stays down; those at home on a host are counted.

    Bad::

        # networks/default.yaml
        bandwidth: {inbound: {average: 1000, peak: 2000}}

        # guests/web01.yaml
        eth0: {network: default, bandwidth: {inbound: {floor: 2500}}}

    Good::

        # networks/default.yaml
        bandwidth: {inbound: {average: 1000, peak: 2500}}

        # guests/web01.yaml
        eth0: {network: default, bandwidth: {inbound: {floor: 2500}}}

    Source: https://libvirt.org/formatnetwork.html#quality-of-service; libvirt 9.0 says "network has no inbound QoS set"
    and "new combined inbound floor would overcommit peak".
    """
    used: dict[tuple[str, str], int] = {}
    for guest, nic in site.nics():
        floor = nic.bandwidth.inbound.floor if nic.bandwidth and nic.bandwidth.inbound else None
        if floor is None:
            continue
        for network in _networks_of(site, guest, nic):
            if not network.forward.makes_bridge:
                continue
            inbound = network.bandwidth.inbound if network.bandwidth is not None else None
            if inbound is None:
                yield _no_limit(guest, nic, network)
                continue
            room = inbound.peak or inbound.average
            before = used.get((network.host, network.name), 0) if network.host == guest.home else 0
            if room is not None and before + floor > room:
                yield _no_room(guest, nic, network, before + floor, room)
            elif network.host == guest.home:
                used[network.host, network.name] = before + floor


def _no_limit(guest: Guest, nic: GuestInterface, network: VirtualNetwork) -> Diagnostic:
    return Diagnostic(
        rule=FLOOR_TOO_HIGH,
        message=f"network {network.name} has no inbound limit to keep a floor with: {guest.name} doesn't start",
        hint="Give the network `bandwidth: {inbound: {average: ...}}`: what its bridge can carry, in KiB/s.",
        origin=nic.origin.at("bandwidth", "inbound", "floor"),
        related=((network.at("forward"), "the network"),),
    )


def _no_room(guest: Guest, nic: GuestInterface, network: VirtualNetwork, wanted: int, room: int) -> Diagnostic:
    return Diagnostic(
        rule=FLOOR_TOO_HIGH,
        message=f"with {guest.name} ({nic.name}) the floors on network {network.name} of {network.host} are {wanted} "
        f"KiB/s together, and it has {room}: the last guest doesn't start",
        hint="Lower the floors, or raise the network's limit.",
        origin=nic.origin.at("bandwidth", "inbound", "floor"),
        related=((network.at("bandwidth", "inbound"), "the network's limit"),),
    )


def peaks(site: Site) -> Iterator[Diagnostic]:
    """A peak is above the average, and only of traffic towards the guest.

    libvirt polices what a guest sends by average and burst alone, and ignores an outbound peak. An inbound peak below
    the average leaves nothing to the word "peak".

    Bad::

        # guests/web01.yaml
        eth0:
          bandwidth: {inbound: {average: 2000, peak: 1000}, outbound: {average: 1000, peak: 4000}}

    Good::

        # guests/web01.yaml
        eth0:
          bandwidth: {inbound: {average: 1000, peak: 2000}, outbound: {average: 1000, burst: 4000}}

    Source: https://libvirt.org/formatnetwork.html#quality-of-service: "peak" of outbound is ignored.
    """
    for way, limit, origin in _limits(site):
        if limit.peak is None:
            continue
        if way == "outbound":
            message, hint = "libvirt ignores the peak rate of what is sent", "Remove it, or write a `burst`."
        elif limit.average is not None and limit.peak < limit.average:
            message = f"the peak rate {limit.peak} is below the average rate {limit.average}"
            hint = "Write a peak above the average, or leave it out."
        else:
            continue
        yield Diagnostic(
            rule=PEAK_WITHOUT_EFFECT, message=message, hint=hint, origin=origin.at("peak"), on_key=way == "outbound"
        )
