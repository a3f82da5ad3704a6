"""Guests' NICs beside each other on a bridge."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from kvmgen.diagnostics import Diagnostic, Origin, Rule, Severity
from kvmgen.model.guest import Guest, GuestInterface
from kvmgen.model.network import VirtualNetwork
from kvmgen.model.site import Site

ISOLATED_ALONE = Rule(code="KV413", title="An isolated port without another", severity=Severity.WARNING)

_Port = tuple[Guest, GuestInterface, Origin | None]
"""A NIC, and where it was isolated."""


def isolated_alone(site: Site) -> Iterator[Diagnostic]:
    """A bridge stops frames between two isolated ports; an isolated port and another one talk as ever.

    So the only isolated port among a bridge's guests is isolated from nobody, whatever its name promises.

    Bad::

        # guests/web01.yaml
        interfaces:
          eth0: {bridge: br0, isolated: true}

        # guests/web02.yaml
        interfaces:
          eth0: {bridge: br0}

    Good::

        # guests/web01.yaml
        interfaces:
          eth0: {bridge: br0, isolated: true}

        # guests/web02.yaml
        interfaces:
          eth0: {bridge: br0, isolated: true}

    Source: https://libvirt.org/formatdomain.html#isolating-guests-network-traffic-from-each-other; IFLA_BRPORT_ISOLATED
    in https://docs.kernel.org/networking/bridge.html.
    """
    if not any(nic.isolated for _, nic in site.nics()) and not any(net.portgroups for net in site.carried()):
        return
    for (host, bridge), ports in _ports(site).items():
        isolated = [port for port in ports if port[2] is not None]
        if len(isolated) != 1 or len(ports) == 1:
            continue
        guest, nic, origin = isolated[0]
        if guest.home == host:
            yield Diagnostic(
                rule=ISOLATED_ALONE,
                message=f"{guest.name} ({nic.name}) is the only isolated port on {bridge!r} of {host}: "
                "every other guest there reaches it",
                hint="Isolate the others as well, or all of them with the network's `isolated-ports`.",
                origin=origin,
            )


def _ports(site: Site) -> dict[tuple[str, str], list[_Port]]:
    """The NICs that can be on each host's bridges."""
    found: defaultdict[tuple[str, str], list[_Port]] = defaultdict(list)
    for guest, nic in site.nics():
        for host in guest.hosts:
            network = site.networks[host].get(nic.network) if nic.network else None
            bridge = network.bridge if network else nic.bridge
            if bridge:
                found[host, bridge].append((guest, nic, _isolated_at(nic, network)))
    return found


def _isolated_at(nic: GuestInterface, network: VirtualNetwork | None) -> Origin | None:
    if nic.isolated:
        return nic.origin.at("isolated")
    if network is None:
        return None
    if network.isolated:
        return network.isolated_at
    for group in network.portgroups:
        if group.isolated and (group.name == nic.portgroup or (nic.portgroup is None and group.default)):
            return nic.origin.at("portgroup") if nic.portgroup else network.at("portgroups", group.name)
    return None
