"""Which link stands on which: rings, forbidden neighbours, and what a stack of links means on the wire."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.checks._stack import Links, beneath, by_name, names_below, ports
from kvmgen.diagnostics import Diagnostic, Origin, Rule, Severity
from kvmgen.model.host import Bond, Bridge, Link, Vlan
from kvmgen.model.site import Site

RING = Rule(code="KV217", title="Links that stand on each other")
BRIDGE_IN_BRIDGE = Rule(code="KV218", title="A bridge that is a bridge's port")
VLAN_ON_BOND_PORT = Rule(code="KV219", title="A VLAN on a port of a bond", severity=Severity.WARNING)
VLAN_ONE = Rule(code="KV220", title="VLAN 1 with a tag", severity=Severity.WARNING)
TWO_UPLINKS = Rule(code="KV221", title="Two uplinks in a bridge without spanning tree", severity=Severity.WARNING)
TAGS_DIFFER = Rule(code="KV222", title="A segment with two VLAN tags", severity=Severity.WARNING)
SHORT_DELAY = Rule(code="KV223", title="A forward delay that spanning tree doesn't have", severity=Severity.WARNING)


def rings(site: Site) -> Iterator[Diagnostic]:
    """A link needs what it stands on first: in a ring none of them can come up.

    Bad::

        # hosts/kvm01.yaml
        bonds:
          bond1: {ports: [br1.7, eno3], mode: active-backup, miimon: 100}
        vlans:
          br1.7: {parent: br1, id: 7}
        bridges:
          br1: {ports: [bond1]}

    Good::

        # hosts/kvm01.yaml
        bonds:
          bond1: {ports: [eno3], mode: active-backup, miimon: 100}
        bridges:
          br1: {ports: [bond1]}

    Source: the kernel's net/core/dev.c, which refuses an upper device that is below the lower one
    (https://github.com/torvalds/linux/blob/master/net/core/dev.c).
    """
    for host in site.hosts.values():
        links = by_name(host)
        done: set[str] = set()
        for link in host.links:
            ring = _ring(links, link, done)
            if ring:
                first, below = links[ring[0]], ring[1]
                yield Diagnostic(
                    rule=RING,
                    message=f"these links stand on each other: {' on '.join(ring)}",
                    hint="Take one of them out of the ring.",
                    origin=_place_of(first, below),
                )


def _ring(links: Links, start: Link, done: set[str]) -> list[str] | None:
    """The ring that going down from a link ends in, as names from the first link of the ring back to it."""
    way: list[str] = []

    def descend(name: str) -> list[str] | None:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done or name not in links:
            return None
        way.append(name)
        for below in names_below(links[name]):
            found = descend(below)
            if found:
                return found
        way.pop()
        done.add(name)
        return None

    ring = descend(start.name)
    done.update(way)
    return ring


def _place_of(link: Link, below: str) -> Origin:
    if isinstance(link, Bond | Bridge):
        return link.origin.at("ports", link.ports.index(below))
    return link.origin.at("parent")


def bridges_in_bridges(site: Site) -> Iterator[Diagnostic]:
    """The kernel doesn't take a bridge as a bridge's port.

    Bad::

        # hosts/kvm01.yaml
        bridges:
          br1: {ports: [br2]}
          br2: {ports: [eno3]}

    Good::

        # hosts/kvm01.yaml
        bridges:
          br1: {ports: [eno3]}

    Source: the kernel's br_add_if, net/bridge/br_if.c
    (https://github.com/torvalds/linux/blob/master/net/bridge/br_if.c).
    """
    for host in site.hosts.values():
        links = by_name(host)
        for bridge in host.bridges:
            for port in ports(links, bridge):
                if isinstance(port, Bridge) and port is not bridge:  # itself: KV217
                    yield Diagnostic(
                        rule=BRIDGE_IN_BRIDGE,
                        message=f"the bridge {port.name!r} can't be a port of the bridge {bridge.name!r}: "
                        "the kernel refuses it",
                        hint="Make one bridge of the two, or put what the port stands on into this one.",
                        origin=bridge.origin.at("ports", bridge.ports.index(port.name)),
                        related=((port.origin, "the other bridge"),),
                    )


def vlans_on_bond_ports(site: Site) -> Iterator[Diagnostic]:
    """A bond's ports are no links of their own any more: frames of one conversation go through any of them.

    A VLAN on one port sees what happens to come in there, and ends when that port does. On the bond it survives, and
    sees everything.

    Bad::

        # hosts/kvm01.yaml
        vlans:
          eno1.11: {parent: eno1, id: 11}

    Good::

        # hosts/kvm01.yaml
        vlans:
          bond0.11: {parent: bond0, id: 11}

    Source: the kernel's documentation of bonding, "802.1q VLAN Support"
    (https://docs.kernel.org/networking/bonding.html).
    """
    for host in site.hosts.values():
        links = by_name(host)
        for vlan in host.vlans:
            parent = links.get(vlan.parent)
            if parent is not None and parent.bond is not None and parent.bond in links:
                yield Diagnostic(
                    rule=VLAN_ON_BOND_PORT,
                    message=f"the VLAN {vlan.name!r} is on {parent.name!r} alone, which is a port of {parent.bond!r}",
                    hint=f"Put it on the bond: {parent.bond}.{vlan.id}.",
                    origin=vlan.origin.at("parent"),
                    related=((links[parent.bond].origin.at("ports"), "the bond's ports"),),
                )


def vlan_one(site: Site) -> Iterator[Diagnostic]:
    """VLAN 1 is what switches call the untagged frames of a port, unless they were told otherwise.

    Such a switch sends VLAN 1 without a tag, and a link that waits for the tag hears nothing.

    Bad::

        # hosts/kvm01.yaml
        vlans:
          bond0.1: {parent: bond0, id: 1}

    Good::

        # hosts/kvm01.yaml
        vlans:
          bond0.11: {parent: bond0, id: 11}

    Source: IEEE 802.1Q, whose default for a port is VLAN 1; ip-link(8) on vlan_default_pvid
    (https://man7.org/linux/man-pages/man8/ip-link.8.html).
    """
    for host in site.hosts.values():
        for vlan in host.vlans:
            if vlan.id == 1:
                yield Diagnostic(
                    rule=VLAN_ONE,
                    message=f"the VLAN {vlan.name!r} waits for tag 1, which switches usually send without a tag",
                    hint=f"Use {vlan.parent!r} itself where the frames come untagged, or another VLAN.",
                    origin=vlan.origin.at("id"),
                )


def two_uplinks(site: Site) -> Iterator[Diagnostic]:
    """Two NICs of one host in one bridge close a loop where they end in the same network.

    Without the spanning tree protocol the first broadcast then goes round forever, and takes the whole network down.

    Bad::

        # hosts/kvm01.yaml
        bridges:
          br1: {ports: [eno3, eno4]}

    Good::

        # hosts/kvm01.yaml
        bonds:
          bond1: {ports: [eno3, eno4], mode: active-backup, miimon: 100}
        bridges:
          br1: {ports: [bond1]}

    Source: the kernel's documentation of bridging, "STP" (https://docs.kernel.org/networking/bridge.html).
    """
    for host in site.hosts.values():
        links = by_name(host)
        for bridge in host.bridges:
            if bridge.stp or len(bridge.ports) < 2:
                continue
            uplinks = sorted({_uplink(links, port) for port in ports(links, bridge)})
            if len(uplinks) > 1:
                yield Diagnostic(
                    rule=TWO_UPLINKS,
                    message=f"the bridge {bridge.name!r} joins {' and '.join(uplinks)} without spanning tree: "
                    "a loop where they end in one network",
                    hint="Make a bond of them, or write `stp: true` and a forward-delay.",
                    origin=bridge.origin.at("ports"),
                )


def _uplink(links: Links, port: Link) -> str:
    """The NIC or bond that a port's frames leave through."""
    below = (link for link in (port, *beneath(links, port)) if not isinstance(link, Vlan))
    return next(below, port).name


def tags(site: Site) -> Iterator[Diagnostic]:
    """Bridges of one segment can reach each other; with different tags on the wire they are in different VLANs.

    The inventory then believes in a connection that isn't there: guests that move lose their network.

    Bad::

        # hosts/kvm01.yaml
        vlans:
          bond0.11: {parent: bond0, id: 11}
        bridges:
          br11: {ports: [bond0.11], segment: customers}
        # hosts/kvm02.yaml
        vlans:
          bond0.12: {parent: bond0, id: 12}
        bridges:
          br11: {ports: [bond0.12], segment: customers}

    Good::

        # hosts/kvm01.yaml
        vlans:
          bond0.11: {parent: bond0, id: 11}
        bridges:
          br11: {ports: [bond0.11], segment: customers}
        # hosts/kvm02.yaml
        vlans:
          bond0.11: {parent: bond0, id: 11}
        bridges:
          br11: {ports: [bond0.11], segment: customers}

    Source: IEEE 802.1Q, as the kernel's 8021q driver does it
    (https://github.com/torvalds/linux/blob/master/net/8021q/vlan_dev.c).
    """
    first: dict[str, Vlan] = {}
    for host in site.hosts.values():
        links = by_name(host)
        for bridge in host.bridges:
            tag = _only_tag(links, bridge)
            other = first.setdefault(bridge.segment, tag) if tag else None
            if tag and other and other.id != tag.id:
                yield Diagnostic(
                    rule=TAGS_DIFFER,
                    message=f"the segment {bridge.segment!r} has tag {tag.id} here and tag {other.id} elsewhere",
                    hint="Give both bridges the same VLAN, or different segments.",
                    origin=tag.origin.at("id"),
                    related=((other.origin.at("id"), "the other tag"),),
                )


def _only_tag(links: Links, bridge: Bridge) -> Vlan | None:
    only = links.get(bridge.ports[0]) if len(bridge.ports) == 1 else None
    return only if isinstance(only, Vlan) else None


def forward_delays(site: Site) -> Iterator[Diagnostic]:
    """With spanning tree a port listens and learns for 2 to 30 seconds each; the kernel takes no other delay.

    A shorter one becomes 2 seconds from el7 on; on el6 the bridge may forward at once, before it has found the loops.
    The usual delay is 15 seconds.

    Bad::

        # hosts/kvm01.yaml
        bridges:
          br1: {ports: [eno3], stp: true, forward-delay: 1}

    Good::

        # hosts/kvm01.yaml
        bridges:
          br1: {ports: [eno3], stp: true, forward-delay: 15}

    Source: NetworkManager's settings of a bridge
    (https://networkmanager.dev/docs/api/latest/settings-bridge.html).
    """
    for host in site.hosts.values():
        for bridge in host.bridges:
            if bridge.stp and bridge.forward_delay < _SHORTEST:
                yield Diagnostic(
                    rule=SHORT_DELAY,
                    message=f"the bridge {bridge.name!r} has spanning tree with a forward delay of "
                    f"{bridge.forward_delay} s, and the kernel takes {_SHORTEST} to 30",
                    hint="Write `forward-delay: 15`, or what the rest of the spanning tree has.",
                    origin=bridge.origin.at("forward-delay"),
                )


_SHORTEST = 2
