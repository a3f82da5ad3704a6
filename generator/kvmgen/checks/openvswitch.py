"""Bridges of Open vSwitch."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.diagnostics import Diagnostic, Rule
from kvmgen.model.host import Bridge, Host
from kvmgen.model.site import Site

NO_OPENVSWITCH = Rule(code="KV344", title="A bridge that Open vSwitch can't be")

_FIRST = 9


def impossible(site: Site) -> Iterator[Diagnostic]:
    """A bridge of Open vSwitch is made by NetworkManager, so from el9 on, and isn't a bridge of the kernel's.

    It has no forward delay, and the kernel keeps no guests apart on it. The hosts need the packages openvswitch (which
    isn't among the release's own: CentOS' NFV or Red Hat's Fast Datapath have it) and NetworkManager-ovs.

    Bad::

        # hosts/kvm02.yaml
        platform: el8.6
        bridges:
          ovs0: {ports: [eno1], openvswitch: true}

    Good::

        # hosts/kvm02.yaml
        platform: el9
        bridges:
          ovs0: {ports: [eno1], openvswitch: true}

    Source: https://networkmanager.dev/docs/api/latest/nm-openvswitch.html.
    """
    for host in site.hosts.values():
        for bridge in host.bridges:
            why = _why_not(host, bridge) if bridge.openvswitch else None
            if why is not None:
                yield Diagnostic(
                    rule=NO_OPENVSWITCH,
                    message=f"the bridge {bridge.name!r} of {host.name} can't be one of Open vSwitch: {why[0]}",
                    hint=why[1],
                    origin=bridge.origin.at(why[2]),
                )


def _why_not(host: Host, bridge: Bridge) -> tuple[str, str, str] | None:
    """What is wrong, what to do, and the key that says it."""
    if host.platform.major < _FIRST:
        why = f"{host.platform}'s links are initscripts', and only NetworkManager (from el{_FIRST} on) makes those"
        return why, "Leave the word out, or move the host to el9.", "openvswitch"
    if bridge.isolation is not None:
        why = "the kernel keeps no guests apart there"
        return why, "Remove `isolation`, and keep guests apart by VLANs or flows; or take a Linux bridge.", "isolation"
    if bridge.forward_delay:
        return "it has no forward delay", "Remove `forward-delay`.", "forward-delay"
    return None
