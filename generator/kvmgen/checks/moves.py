"""Guests that several hosts can carry, and guests that start with their host."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.diagnostics import Diagnostic, Rule, Severity
from kvmgen.model.guest import Guest, GuestInterface
from kvmgen.model.host import Bridge
from kvmgen.model.network import Forward
from kvmgen.model.site import Site

PASSED_THROUGH_CPU = Rule(
    code="KV434", title="The host's own CPU in a guest that moves between platforms", severity=Severity.WARNING
)
OTHER_SEGMENT = Rule(code="KV435", title="A guest that would move to another segment", severity=Severity.WARNING)
NETWORK_NOT_STARTED = Rule(code="KV436", title="A guest that starts before its network does", severity=Severity.WARNING)


def passed_through_cpus(site: Site) -> Iterator[Diagnostic]:
    """With host-passthrough the guest sees the host's CPU as that host's QEMU and microcode show it.

    Migrated to a host with other versions, it meets another CPU while it runs: the migration is refused, or the guest
    crashes at the first instruction that isn't there.

    Bad::

        # hosts/kvm02.yaml
        platform: el8.8

        # guests/web01.yaml
        hosts: [kvm01, kvm02]
        cpu: {mode: host-passthrough}

    Good::

        # hosts/kvm02.yaml
        platform: el8.8

        # guests/web01.yaml
        hosts: [kvm01, kvm02]
        cpu: {mode: host-model}

    Source: host-passthrough at https://libvirt.org/formatdomain.html#cpu-model-and-topology.
    """
    for guest in site.guests.values():
        if guest.cpu.mode != "host-passthrough":
            continue
        home = site.hosts[guest.home]
        other = next((name for name in guest.hosts if site.hosts[name].platform != home.platform), None)
        if other is not None:
            platform = site.hosts[other].platform
            yield Diagnostic(
                rule=PASSED_THROUGH_CPU,
                message=f"{guest.name} takes over its host's CPU, and can move from {home.name} ({home.platform}) to "
                f"{other} ({platform})",
                hint="Write `mode: host-model`, or `custom` with a `model` that all its hosts have.",
                origin=guest.at("cpu").at("mode"),
                related=((site.hosts[other].origin.at("platform"), f"{other} runs {platform}"),),
            )


def other_segments(site: Site) -> Iterator[Diagnostic]:
    """After a move, a guest on a bridge is in the layer-2 segment that the other host's bridge is in.

    If that isn't the same one, its addresses are nobody's there: no gateway, no neighbours. A bridge without a
    `segment` is a segment of its own; where two are connected, the word says so, and addresses are then held unique
    over both. Networks that libvirt runs itself are a segment per host, and aren't told of.

    Bad::

        # hosts/kvm02.yaml
        bridges:
          br0:
            ports: [eno1]

        # guests/web01.yaml
        hosts: [kvm01, kvm02]
        interfaces:
          eth0: {bridge: br0}

    Good::

        # hosts/kvm02.yaml
        bridges:
          br0:
            ports: [eno1]
            segment: lan

        # guests/web01.yaml
        hosts: [kvm01, kvm02]
        interfaces:
          eth0: {bridge: br0}

    Source: https://libvirt.org/migration.html; what a bridge connects: https://docs.kernel.org/networking/bridge.html.
    """
    told: set[tuple[str, str, str, str]] = set()
    for guest in site.guests.values():
        for nic in guest.interfaces if len(guest.hosts) > 1 else ():
            home = _bridge(site, guest.home, nic)
            for host in guest.hosts[1:] if home else ():
                other = _bridge(site, host, nic)
                if home and other and home.segment != other.segment:
                    key = (guest.home, home.name, host, other.name)
                    if key not in told:
                        told.add(key)
                        yield _moves_away(guest, nic, home, host, other)


def _bridge(site: Site, host: str, nic: GuestInterface) -> Bridge | None:
    """The host's own bridge that a NIC is plugged into there."""
    name = nic.bridge
    if nic.network is not None:
        network = site.networks[host].get(nic.network)
        name = network.bridge if network is not None and network.forward is Forward.BRIDGE else None
    return next((bridge for bridge in site.hosts[host].bridges if bridge.name == name), None)


def _moves_away(guest: Guest, nic: GuestInterface, home: Bridge, host: str, other: Bridge) -> Diagnostic:
    return Diagnostic(
        rule=OTHER_SEGMENT,
        message=f"{guest.name} ({nic.name}) is in the segment {home.segment!r} on {guest.home}, and would be in "
        f"{other.segment!r} on {host}",
        hint=f"Give both bridges one `segment` if they are connected; otherwise take {host} from the guest's `hosts`.",
        origin=other.origin,
        on_key=True,
        related=((home.origin, f"its bridge on {guest.home}"), (guest.origin.at("hosts"), "the guest's hosts")),
    )


def network_not_started(site: Site) -> Iterator[Diagnostic]:
    """A guest that starts with its host needs its networks to start with it: on an inactive one it doesn't start.

    libvirt tries once, when it starts itself; whoever starts the network later starts the guest by hand as well.

    Bad::

        # networks/default.yaml
        autostart: false

        # guests/web01.yaml
        interfaces:
          eth0: {network: default}

    Good::

        # networks/default.yaml
        autostart: false

        # guests/web01.yaml
        autostart: false
        interfaces:
          eth0: {network: default}

    Source: net-autostart and autostart in https://libvirt.org/manpages/virsh.html; libvirt 9.0 says "network
    'default' is not active".
    """
    if all(network.autostart for network in site.carried()):
        return
    for guest, nic in site.nics():
        network = site.networks[guest.home].get(nic.network) if nic.network is not None else None
        if guest.autostart and network is not None and not network.autostart:
            yield Diagnostic(
                rule=NETWORK_NOT_STARTED,
                message=f"{guest.name} ({nic.name}) starts with {guest.home}, and its network {network.name!r} doesn't",
                hint="Write `autostart: true` at the network, or `autostart: false` at the guest.",
                origin=nic.origin.at("network"),
                related=((network.at("autostart"), "the network doesn't start by itself"),),
            )
