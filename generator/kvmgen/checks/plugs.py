"""What doesn't hold where guests aren't on a Linux bridge: on macvtap, virtual functions and Open vSwitch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from kvmgen.checks._plugs import Plugs
from kvmgen.diagnostics import Diagnostic, Origin, Rule
from kvmgen.model.guest import GuestInterface
from kvmgen.model.network import Forward, Plug, Portgroup, VirtualNetwork
from kvmgen.model.site import Site
from kvmgen.model.values import VlanTags

UNFILTERED = Rule(code="KV341", title="A filter where none holds")
NOT_HELD = Rule(code="KV342", title="Isolation or a limit where none holds")
NO_TAGS_HERE = Rule(code="KV343", title="VLAN tags where nobody sets them")

_UNFILTERED: Mapping[Plug, str] = MappingProxyType(
    {
        Plug.MACVTAP: "is plugged into macvtap, past the bridge that filters are for: libvirt doesn't start it, and an "
        "old one starts it without its filter",
        Plug.HOSTDEV: "gets a virtual function, which the host's kernel doesn't see: libvirt doesn't start it, and an "
        "old one starts it without its filter",
        Plug.OPENVSWITCH: "is on Open vSwitch, whose ports no packet filter of the kernel's sees: libvirt takes the "
        "filter, and nothing is filtered",
    }
)


def unfiltered(site: Site) -> Iterator[Diagnostic]:
    """An nwfilter becomes rules of ebtables and iptables, which only see the ports of a Linux bridge.

    libvirt refuses one at an interface that is plugged into a device of the host by macvtap or that gets a virtual
    function, when the guest starts. On Open vSwitch it writes the rules, and no frame ever meets them. kvmgen's
    anti-spoofing is a filter too, so the interface must say that it has none.

    Bad::

        # guests/web01.yaml
        eth1: {network: direct, addresses: [198.51.100.20/24]}

        # networks/direct.yaml
        forward: private
        devices: [eno3]

    Good::

        # guests/web01.yaml
        eth1: {network: direct, addresses: [198.51.100.20/24], anti-spoofing: none}

        # networks/direct.yaml
        forward: private
        devices: [eno3]

    Source: https://libvirt.org/formatnwfilter.html; libvirt 9.0 says "filterref is not supported for network interfaces
    of type direct".
    """
    plugs = Plugs(site)
    for host, plug, guest, nic in plugs.elsewhere():
        if nic.filterref is not None:
            own = nic.filterref.origin is not None or bool(nic.policies)
            place = nic.origin.at("policies") if nic.policies else nic.origin.at("network" if nic.network else "bridge")
            removing = "Remove `policies` and write" if nic.policies else "Write"
            yield Diagnostic(
                rule=UNFILTERED,
                message=f"{guest.name} ({nic.name}) has {'a filter' if own else 'anti-spoofing by a filter'} and "
                f"{_UNFILTERED[plug]}",
                hint=f"{removing} `anti-spoofing: none`, so that whoever reviews it sees it, and let the switch hold "
                "the guest to its addresses; or plug it into a Linux bridge.",
                origin=nic.filterref.origin or place,
                related=(plugs.place(host, nic),),
            )


def not_held(site: Site) -> Iterator[Diagnostic]:
    """Only ports of a Linux bridge can be isolated from each other, and nobody limits what a virtual function sends.

    libvirt doesn't start a guest that asks for it. With macvtap, forward mode `private` keeps the guests of a device
    apart.

    Bad::

        # guests/web01.yaml
        eth1: {network: direct, anti-spoofing: none, isolated: true}

        # networks/direct.yaml
        forward: bridge
        devices: [eno3]

    Good::

        # guests/web01.yaml
        eth1: {network: direct, anti-spoofing: none}

        # networks/direct.yaml
        forward: private
        devices: [eno3]

    Source: https://libvirt.org/formatdomain.html#isolating-guests-network-traffic-from-each-other; libvirt 9.0 says
    "<port isolated='yes'/> is not supported for network interfaces with type='direct'".
    """
    plugs = Plugs(site)
    for host, plug, guest, nic in plugs.elsewhere():
        group = _group(plugs.network(host, nic), nic)
        for asked, what, origin in _asked(nic, group, plug, plugs.network(host, nic)):
            if asked:
                yield Diagnostic(
                    rule=NOT_HELD,
                    message=f"{what} doesn't hold where {guest.name} ({nic.name}) is plugged in ({plug}): libvirt "
                    "doesn't start it",
                    hint=_INSTEAD[plug],
                    origin=origin,
                    related=(plugs.place(host, nic),),
                )


_INSTEAD: Mapping[Plug, str] = MappingProxyType(
    {
        Plug.MACVTAP: "Remove it; forward mode private keeps guests apart, a bridge of the host does both.",
        Plug.HOSTDEV: "Remove it, and set it up at the card or the switch; or plug the guest into a bridge.",
        Plug.OPENVSWITCH: "Remove it, and keep the guests apart by VLANs or flows; or plug them into a Linux bridge.",
    }
)


def _asked(
    nic: GuestInterface, group: Portgroup | None, plug: Plug, network: VirtualNetwork | None
) -> Iterator[tuple[object, str, Origin]]:
    isolated = "an isolated port"
    yield nic.isolated, isolated, nic.origin.at("isolated")
    if network is not None:
        yield network.isolated, isolated, network.isolated_at
    if group is not None and network is not None:
        yield group.isolated, isolated, network.at("portgroups", group.name, "isolated")
    if plug is Plug.HOSTDEV:
        yield nic.bandwidth, "a traffic limit", nic.origin.at("bandwidth")


def _group(network: VirtualNetwork | None, nic: GuestInterface) -> Portgroup | None:
    """The port group that an interface is in: the one it names, else the default one."""
    groups = network.portgroups if network is not None else ()
    return next(
        (group for group in groups if (group.default if nic.portgroup is None else group.name == nic.portgroup)), None
    )


def tags(site: Site) -> Iterator[Diagnostic]:
    """Tags are set outside the guest by Open vSwitch, by a Linux bridge (libvirt 11.0), or in a virtual function.

    libvirt refuses a network with tags that is run by itself or plugs guests into a device by macvtap, and a guest with
    tags there doesn't start. A virtual function has one tag and no trunk.

    Bad::

        # networks/direct.yaml
        forward: private
        devices: [eno3]
        vlan: 11

        # networks/functions.yaml
        forward: hostdev
        pf: eno4
        vlan: {tags: [11, 12]}

    Good::

        # networks/direct.yaml
        forward: private
        devices: [eno3.11]

        # networks/functions.yaml
        forward: hostdev
        pf: eno4
        vlan: 11

    Source: https://libvirt.org/formatdomain.html#setting-vlan-tag-on-supported-network-types-only; libvirt 9.0 says
    "<vlan> element specified for network direct, whose type doesn't support vlan configuration".
    """
    for network in site.carried():
        yield from _told(network, network.vlan, network.at("vlan"))
        for group in network.portgroups:
            yield from _told(network, group.vlan, network.at("portgroups", group.name, "vlan"))
    for guest, nic in site.nics():
        for host in guest.hosts if nic.vlan is not None and nic.network is not None else ():
            found = site.networks[host].get(nic.network or "")
            if found is not None:
                yield from _told(found, nic.vlan, nic.origin.at("vlan"))


def _told(network: VirtualNetwork, vlan: VlanTags | None, origin: Origin) -> Iterator[Diagnostic]:
    why = None if vlan is None else _refused(network, vlan)
    if why is not None:
        yield Diagnostic(
            rule=NO_TAGS_HERE,
            message=f"libvirt sets no such tags on the network {network.name!r}: {why[0]}",
            hint=why[1],
            origin=origin,
            related=((network.origin.at("forward"), "the network"),),
        )


def _refused(network: VirtualNetwork, vlan: VlanTags) -> tuple[str, str] | None:
    """Why a network doesn't take the tags, and what to do."""
    functions = network.forward in (Forward.HOSTDEV, Forward.PASSTHROUGH)
    if network.forward.makes_bridge:
        return "libvirt runs it itself", "Take a network on a bridge of the host, or one network for each VLAN."
    if functions and vlan.trunk:
        return "a virtual function has one tag", "Write the one: `vlan: 11`; or take a bridge that knows tags."
    if network.plug is Plug.MACVTAP and not functions:
        return "macvtap knows none", "Name the host's VLAN link as the device: `devices: [eno3.11]`."
    return None
