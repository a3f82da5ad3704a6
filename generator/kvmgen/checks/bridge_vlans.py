"""Linux bridges that keep VLANs apart."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.checks._plugs import TAGS_ON_BRIDGES, Plugs
from kvmgen.diagnostics import Diagnostic, Origin, Rule
from kvmgen.model.host import Bridge
from kvmgen.model.network import Plug, VirtualNetwork
from kvmgen.model.site import Site
from kvmgen.model.values import VlanTags

NOT_CARRIED = Rule(code="KV345", title="A VLAN that its bridge doesn't carry")
NO_VLANS_HERE = Rule(code="KV346", title="VLANs of a bridge that can't keep them apart")


def not_carried(site: Site) -> Iterator[Diagnostic]:
    """libvirt puts a guest's port into its VLANs; whether the bridge heeds them, and its uplink, is the host's matter.

    On a bridge that doesn't keep VLANs apart the guest is among all others, as if it had no tag; in a VLAN that the
    bridge's ports don't carry it reaches nobody outside its host.

    Bad::

        # hosts/kvm10.yaml
        br0: {ports: [eno1]}

        # guests/web10.yaml
        eth0: {bridge: br0, vlan: 11}

    Good::

        # hosts/kvm10.yaml
        br0: {ports: [eno1], vlans: [11]}

        # guests/web10.yaml
        eth0: {bridge: br0, vlan: 11}

    Source: https://libvirt.org/formatdomain.html#setting-vlan-tag-on-supported-network-types-only; vlan_filtering in
    https://docs.kernel.org/networking/bridge.html.
    """
    for host, name, vlan, origin in _tagged(site):
        if site.hosts[host].platform.libvirt < TAGS_ON_BRIDGES:
            continue
        bridge = next((bridge for bridge in site.hosts[host].bridges if bridge.name == name), None)
        lacking = [tag for tag in vlan.tags if bridge is not None and tag not in bridge.vlans]
        if bridge is not None and lacking:
            what = "doesn't carry it" if bridge.vlans else "doesn't keep VLANs apart"
            yield Diagnostic(
                rule=NOT_CARRIED,
                message=f"the VLAN {lacking[0]} is asked for on {name!r} of {host}, which {what}",
                hint=f"Write it at the bridge: `vlans: {sorted({*bridge.vlans, *vlan.tags})}`.",
                origin=origin,
                related=((bridge.origin.at("vlans"), "the bridge"),),
            )


def _tagged(site: Site) -> Iterator[tuple[str, str, VlanTags, Origin]]:
    """Every port of a host's Linux bridge that wants tags: the host, the bridge, the tags, and where they were said."""
    for network in site.carried():
        for vlan, origin in _of_network(network) if network.plug is Plug.BRIDGE else ():
            if vlan is not None:
                yield network.host, network.bridge, vlan, origin
    plugs = Plugs(site)
    for guest, nic in site.nics():
        for host in guest.hosts if nic.vlan is not None else ():
            network_ = plugs.network(host, nic)
            bridge = nic.bridge if network_ is None else network_.bridge
            if bridge and nic.vlan is not None and plugs.of(host, nic) is Plug.BRIDGE:
                yield host, bridge, nic.vlan, nic.origin.at("vlan")


def _of_network(network: VirtualNetwork) -> Iterator[tuple[VlanTags | None, Origin]]:
    yield network.vlan, network.at("vlan")
    for group in network.portgroups:
        yield group.vlan, network.at("portgroups", group.name, "vlan")


def impossible(site: Site) -> Iterator[Diagnostic]:
    """NetworkManager has bridges keep VLANs apart, so from el9 on; initscripts don't, and Open vSwitch always does.

    Bad::

        # hosts/kvm02.yaml
        platform: el8.6
        bridges:
          br0: {ports: [eno1], vlans: [11]}

    Good::

        # hosts/kvm02.yaml
        platform: el9
        bridges:
          br0: {ports: [eno1], vlans: [11]}

    Source: vlan-filtering in https://networkmanager.dev/docs/api/latest/settings-bridge.html.
    """
    for host in site.hosts.values():
        for bridge in host.bridges:
            if bridge.vlans and (bridge.openvswitch or host.platform.uses_ifcfg):
                yield _impossible(bridge, host.name, str(host.platform))


def _impossible(bridge: Bridge, host: str, platform: str) -> Diagnostic:
    if bridge.openvswitch:
        why, hint = "ports of Open vSwitch carry all VLANs anyway", "Remove it."
    else:
        why = f"{platform}'s links are initscripts', and only NetworkManager (from el9 on) sets them"
        hint = "Remove it, and make a VLAN link and a bridge on it for each; or move the host to el9."
    message = f"the bridge {bridge.name!r} of {host} can't have `vlans`: {why}"
    return Diagnostic(rule=NO_VLANS_HERE, message=message, hint=hint, origin=bridge.origin.at("vlans"), on_key=True)
