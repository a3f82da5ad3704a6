"""Lowering `isolation`: who is kept apart where, and what does it where the host's iptables chains must."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from hashlib import sha256

from kvmgen.diagnostics import Origin
from kvmgen.model.guest import Guest
from kvmgen.model.host import Bridge, DirectRule, Firewall, Host, Isolation
from kvmgen.model.network import VirtualNetwork
from kvmgen.model.platform import Platform

EARLY = -10_000
"""The priority of isolating rules: before every rule of the inventory, none of which can make an exception.

Rules of one priority have no order for firewalld: what a group may do is one step before.
"""

Groups = Mapping[str, tuple[Origin, ...]]
"""What the taps of each group start with, and the places that put an interface into it."""

Members = Mapping[tuple[str, str], Groups]
"""The groups by host and bridge."""

_IN_A_TAP = 6
"""How much of a group a tap's name holds: a dash and eight digits of a hash fill it up to the kernel's 15 bytes."""

_LIBVIRTS = ("vnet", "vif")
"""With what libvirt's own names start: it drops others that do so. Those of macvtap are longer than a prefix."""


def tap_prefix(group: str) -> str:
    """What the names of a group's taps start with, and none of another group's; a check holds that for each bridge.

    A group with a short name has it there, any other a part of it and of a hash. As no dash comes before the end, no
    prefix is the beginning of another one.
    """
    name = group.replace("-", "")
    if len(group) > _IN_A_TAP or name != group or group.startswith(_LIBVIRTS):
        name = f"g{name[:2]}{sha256(group.encode()).hexdigest()[:3]}"
    return f"{name}-"


def tap_in_group(group: str, guest: str, interface: str) -> str:
    """The name of an interface's tap in a group, the same on every host."""
    return tap_prefix(group) + sha256(f"{guest}/{interface}".encode()).hexdigest()[:8]


def by_ports(word: str | None, platform: Platform) -> bool:
    """Whether libvirt keeps a network's guests apart itself; of groups it knows nothing."""
    return word == "guests" and platform.isolates_ports


def members(guests: Iterable[Guest], networks: Mapping[str, Mapping[str, VirtualNetwork]]) -> Members:
    """The groups that can be on each bridge."""
    found: dict[tuple[str, str], dict[str, tuple[Origin, ...]]] = {}
    for guest in guests:
        for nic in guest.interfaces:
            for host in guest.hosts if nic.isolation_group else ():
                network = networks[host].get(nic.network) if nic.network else None
                bridge = network.bridge if network else nic.bridge
                if bridge and nic.isolation_group:
                    groups, prefix = found.setdefault((host, bridge), {}), tap_prefix(nic.isolation_group)
                    groups[prefix] = (*groups.get(prefix, ()), nic.origin.at("isolation-group"))
    return found


def isolations(host: Host, networks: Iterable[VirtualNetwork], groups: Members) -> tuple[Isolation, ...]:
    """The host's own bridges that isolate, then those of its networks."""
    own = (_of_bridge(bridge, groups.get((host.name, bridge.name))) for bridge in host.bridges if bridge.isolation)
    libvirts = (
        _of_network(network, host.platform, groups.get((host.name, network.bridge)))
        for network in networks
        if network.isolation and network.forward.makes_bridge
    )
    return (*own, *libvirts)


def _of_bridge(bridge: Bridge, groups: Groups | None) -> Isolation:
    return Isolation(
        bridge=bridge.name,
        word=bridge.isolation or "",
        origin=bridge.origin.at("isolation"),
        uplinks=bridge.ports,
        groups=_groups(bridge.isolation, groups),
        members=groups or {},
    )


def _of_network(network: VirtualNetwork, platform: Platform, groups: Groups | None) -> Isolation:
    return Isolation(
        bridge=network.bridge,
        word=network.isolation or "",
        origin=network.at("isolation"),
        groups=_groups(network.isolation, groups),
        members=groups or {},
        is_libvirts=True,
        subnets=network.addresses,
        by_ports=by_ports(network.isolation, platform),
    )


def _groups(word: str | None, groups: Groups | None) -> tuple[str, ...]:
    return tuple(sorted(groups or ())) if word == "groups" else ()


def reads_frames(isolation: Isolation, platform: Platform) -> bool:
    """Whether rules of iptables do it that must see bridged frames."""
    return not platform.isolates_by_nftables and not isolation.by_ports


def isolated(host: Host, apart: tuple[Isolation, ...]) -> Firewall | None:
    """A host's packet filter with what its bridges' ``isolation`` asks of iptables.

    Up to el8 that is a rule in table mangle, which comes before all that libvirt and firewalld accept in table filter;
    the bridge's own ports are left out, for they lead to the uplink. From el9 on nftables sees the frames themselves
    and needs nothing here.
    """
    if not apart or host.platform.isolates_by_nftables:
        return host.firewall
    firewall = host.firewall or Firewall(origin=host.origin)
    return replace(firewall, rules=(*_rules(apart), *firewall.rules))


def _rules(apart: Iterable[Isolation]) -> Iterator[DirectRule]:
    for isolation in apart:
        for rule, why in _texts(isolation):
            for family in ("ipv4", "ipv6"):
                yield DirectRule(
                    family=family,
                    table="mangle",
                    chain="FORWARD",
                    priority=EARLY - 1 if rule.endswith("ACCEPT") else EARLY,
                    rule=f"-i {isolation.bridge} -o {isolation.bridge} {rule}",
                    origin=isolation.origin,
                    why=why,
                )


_BRIDGED = "-m physdev --physdev-is-bridged"
_LATER = "In table mangle, where no accept of libvirt's can come first; ARP never comes here, and passes."


def _texts(isolation: Isolation) -> Iterator[tuple[str, str]]:
    """What follows on the bridge's name, and why. An accept ends table mangle alone: the others still ask."""
    bridge, uplinks = isolation.bridge, isolation.uplinks
    for prefix in isolation.groups:
        why = f"Guests on {bridge} whose taps start with {prefix} are one group."
        yield f"{_BRIDGED} --physdev-in {prefix}+ --physdev-out {prefix}+ -j ACCEPT", why
    if isolation.by_ports:
        yield "-j DROP", f"Guests on {bridge} don't reach each other by their host: their ports are isolated already."
    elif isolation.is_libvirts:
        yield "-j DROP", f"Guests on {bridge} don't reach each other, by their host neither. {_LATER}"
    elif isolation.word == "all":
        why = f"Guests on {bridge} reach no other port, the uplink neither. {_LATER}"
        for to_or_from in ("in", "out") if len(uplinks) > 1 else ():
            # Between two uplinks the bridge stays a bridge.
            yield f"{_BRIDGED}{_none_of(uplinks, (to_or_from,))} -j DROP", why
        if len(uplinks) <= 1:
            yield f"{_BRIDGED} -j DROP", why
    else:
        why = f"Guests on {bridge} don't reach each other. {_LATER}"
        yield f"{_BRIDGED}{_none_of(uplinks, ('in', 'out'))} -j DROP", why


def _none_of(ports: Iterable[str], ways: Iterable[str]) -> str:
    """Another port than all of these."""
    ways = tuple(ways)
    return " -m physdev".join("".join(f" ! --physdev-{way} {port}" for way in ways) for port in ports)
