"""The MTUs of a host's links: what the kernel refuses, changes by itself, or drops frames for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kvmgen.checks._stack import Links, by_name, ports
from kvmgen.diagnostics import Diagnostic, Origin, Rule, Severity
from kvmgen.model.host import Addressing, Bridge, Link, Vlan
from kvmgen.model.site import Site

VLAN_OVER_PARENT = Rule(code="KV224", title="A VLAN's MTU above its parent's")
BRIDGE_OVER_PORT = Rule(code="KV225", title="A bridge's MTU above a port's")
BOND_PORT = Rule(code="KV226", title="A bond's port with an MTU of its own")
BORROWED = Rule(code="KV232", title="A bridge that has large frames only from its ports", severity=Severity.WARNING)
SMALL_FOR_IPV6 = Rule(code="KV290", title="A link's MTU too small for IPv6")
FALLING = Rule(code="KV227", title="A bridge whose MTU falls to its smallest port's", severity=Severity.WARNING)

_ETHERNET = 1500
"""What NICs and bonds have where nothing is said."""

_SMALLEST_OF_IPV6 = 1280


def _mtu(links: Links, link: Link, above: frozenset[str] = frozenset()) -> int:
    """A link's MTU once everything is up: its own, a VLAN's parent's, the smallest of a bridge's ports'."""
    if link.mtu is not None or link.name in above:
        return link.mtu or _ETHERNET
    above |= {link.name}
    if isinstance(link, Vlan) and link.parent in links:
        return _mtu(links, links[link.parent], above)
    if isinstance(link, Bridge):
        return min((_mtu(links, port, above) for port in ports(links, link)), default=_ETHERNET)
    return _ETHERNET


def _where(link: Link) -> Origin:
    return link.origin.at("mtu") if link.mtu is not None else link.origin


def vlan_mtus(site: Site) -> Iterator[Diagnostic]:
    """The kernel refuses a VLAN's MTU that its parent couldn't send; the VLAN stays at its parent's.

    Bad::

        # hosts/kvm01.yaml
        ethernets:
          eno3: {}
        vlans:
          eno3.11: {parent: eno3, id: 11, mtu: 9000}

    Good::

        # hosts/kvm01.yaml
        ethernets:
          eno3: {mtu: 9000}
        vlans:
          eno3.11: {parent: eno3, id: 11, mtu: 9000}

    Source: the kernel's vlan_dev_change_mtu
    (https://github.com/torvalds/linux/blob/master/net/8021q/vlan_dev.c).
    """
    for host in site.hosts.values():
        links = by_name(host)
        for vlan in host.vlans:
            parent = links.get(vlan.parent)
            if vlan.mtu is None or parent is None or vlan.mtu <= _mtu(links, parent):
                continue
            yield Diagnostic(
                rule=VLAN_OVER_PARENT,
                message=f"the VLAN {vlan.name!r} can't have an MTU of {vlan.mtu}: {parent.name!r} has "
                f"{_mtu(links, parent)}",
                hint=f"Give {parent.name!r} the larger MTU: `mtu: {vlan.mtu}`.",
                origin=vlan.origin.at("mtu"),
                related=((_where(parent), "the parent"),),
            )


def bridge_mtus(site: Site) -> Iterator[Diagnostic]:
    """A bridge sends what its ports can carry: packets that are larger than a port's MTU are dropped there, unheard.

    Older kernels refuse such an MTU, so that the bridge stays at its smallest port's; newer ones take it and lose the
    host's large packets.

    Bad::

        # hosts/kvm01.yaml
        ethernets:
          eno3: {}
        bridges:
          br1: {ports: [eno3], mtu: 9000}

    Good::

        # hosts/kvm01.yaml
        ethernets:
          eno3: {mtu: 9000}
        bridges:
          br1: {ports: [eno3], mtu: 9000}

    Source: the kernel's br_change_mtu and is_skb_forwardable
    (https://github.com/torvalds/linux/blob/master/net/bridge/br_device.c).
    """
    for host in site.hosts.values():
        links = by_name(host)
        for bridge in host.bridges:
            if bridge.mtu is None or not bridge.ports:
                continue
            smallest = min(ports(links, bridge), key=lambda port: _mtu(links, port), default=None)
            if smallest is not None and _mtu(links, smallest) < bridge.mtu:
                yield Diagnostic(
                    rule=BRIDGE_OVER_PORT,
                    message=f"the bridge {bridge.name!r} has an MTU of {bridge.mtu}, and its port {smallest.name!r} "
                    f"carries {_mtu(links, smallest)}",
                    hint=f"Give {smallest.name!r} and what it stands on `mtu: {bridge.mtu}`, or lower the bridge's.",
                    origin=bridge.origin.at("mtu"),
                    related=((_where(smallest), "the port"),),
                )


def bond_port_mtus(site: Site) -> Iterator[Diagnostic]:
    """A bond gives its own MTU to every port that it takes, 1500 where it has none: what the port says is lost.

    Bad::

        # hosts/kvm01.yaml
        ethernets:
          eno3: {mtu: 9000}
        bonds:
          bond1: {ports: [eno3, eno4], mode: active-backup, miimon: 100}

    Good::

        # hosts/kvm01.yaml
        ethernets:
          eno3: {mtu: 9000}
        bonds:
          bond1: {ports: [eno3, eno4], mode: active-backup, miimon: 100, mtu: 9000}

    Source: the kernel's bond_enslave
    (https://github.com/torvalds/linux/blob/master/drivers/net/bonding/bond_main.c).
    """
    for host in site.hosts.values():
        links = by_name(host)
        for bond in host.bonds:
            for port in ports(links, bond):
                if port.mtu not in (None, bond.mtu or _ETHERNET):
                    yield Diagnostic(
                        rule=BOND_PORT,
                        message=f"{port.name!r} gets the MTU {bond.mtu or _ETHERNET} of its bond {bond.name!r}, "
                        f"not {port.mtu}",
                        hint="Write the MTU on the bond; its ports follow.",
                        origin=port.origin.at("mtu"),
                        related=((_where(bond), "the bond"),),
                    )


def falling_mtus(site: Site) -> Iterator[Diagnostic]:
    """A bridge without an MTU of its own has that of its smallest port, a guest's interface included.

    One port with a smaller MTU lowers the bridge for all, when it joins: what the larger ports receive is dropped. An
    interface that says no MTU does no harm, for libvirt gives it the bridge's.

    Bad::

        # hosts/kvm01.yaml
        ethernets:
          eno3: {mtu: 9000}
        bridges:
          br1: {ports: [eno3]}
        # guests/web01.yaml
        interfaces:
          eth2: {bridge: br1, mtu: 1500}

    Good::

        # hosts/kvm01.yaml
        ethernets:
          eno3: {mtu: 9000}
        bridges:
          br1: {ports: [eno3], mtu: 9000}
        # guests/web01.yaml
        interfaces:
          eth2: {bridge: br1, mtu: 1500}

    Source: the kernel's br_mtu_auto_adjust
    (https://github.com/torvalds/linux/blob/master/net/bridge/br_if.c).
    """
    of_guests = _guests_smallest(site)
    for host in site.hosts.values():
        links = by_name(host)
        for bridge in host.bridges:
            if bridge.mtu is not None:
                continue
            sizes = [(_mtu(links, port), _where(port), repr(port.name)) for port in ports(links, bridge)]
            if not sizes:
                continue
            guest = of_guests.get((host.name, bridge.name))
            largest = max(sizes, key=lambda size: size[0])
            smallest = min([*sizes, guest] if guest else sizes, key=lambda size: size[0])
            if smallest[0] < largest[0]:
                yield Diagnostic(
                    rule=FALLING,
                    message=f"the bridge {bridge.name!r} falls to the MTU {smallest[0]} of {smallest[2]}, and what "
                    f"{largest[2]} receives is larger: up to {largest[0]}",
                    hint="Give all of them one MTU, or write the `mtu` that the bridge shall have.",
                    origin=bridge.origin,
                    on_key=True,
                    related=((smallest[1], "the smallest port"), (largest[1], "the largest port")),
                )


def borrowed_mtus(site: Site) -> Iterator[Diagnostic]:
    """A bridge that says no MTU keeps large frames only as long as every port has them.

    libvirt gives its guests' interfaces the bridge's MTU, so all is well until something else joins: a container's
    link, another tool's tap, a NIC that was replaced. Then the bridge falls to 1500, and large frames that come in are
    dropped without a word. What the bridge says itself stays.

    Bad::

        # hosts/kvm01.yaml
        ethernets:
          eno3: {mtu: 9000}
        bridges:
          br1: {ports: [eno3]}

    Good::

        # hosts/kvm01.yaml
        ethernets:
          eno3: {mtu: 9000}
        bridges:
          br1: {ports: [eno3], mtu: 9000}

    Source: the kernel's br_mtu_auto_adjust
    (https://github.com/torvalds/linux/blob/master/net/bridge/br_if.c).
    """
    of_guests = _guests_smallest(site)
    for host in site.hosts.values():
        links = by_name(host)
        for bridge in host.bridges:
            of_ports = {_mtu(links, port) for port in ports(links, bridge)} if bridge.mtu is None else set()
            large = of_ports.pop() if len(of_ports) == 1 else 0
            guest = of_guests.get((host.name, bridge.name))
            if large > _ETHERNET and (guest is None or guest[0] >= large):
                port = next(ports(links, bridge))
                yield Diagnostic(
                    rule=BORROWED,
                    message=f"the bridge {bridge.name!r} has its MTU of {large} from {port.name!r} alone: "
                    "the next port that has less lowers it for all",
                    hint=f"Write `mtu: {large}` on the bridge; `kvmgen validate --fix` does it.",
                    origin=bridge.origin,
                    on_key=True,
                    related=((_where(port), "the port"),),
                )


def _guests_smallest(site: Site) -> Mapping[tuple[str, str], tuple[int, Origin, str]]:
    """The smallest MTU that a guest's interface asks for, by host and bridge."""
    smallest: dict[tuple[str, str], tuple[int, Origin, str]] = {}
    for guest, nic in site.nics():
        if nic.mtu is None or nic.bridge is None:
            continue
        for host in guest.hosts:
            found = smallest.get((host, nic.bridge))
            if found is None or nic.mtu < found[0]:
                smallest[host, nic.bridge] = (nic.mtu, nic.origin.at("mtu"), f"{guest.name} ({nic.name})")
    return smallest


def small_for_ipv6(site: Site) -> Iterator[Diagnostic]:
    """IPv6 needs packets of 1280 bytes: on a link with a smaller MTU the kernel has none, and refuses the addresses.

    That holds for a host's links and for the NICs of its guests. A bridge has its smallest port's MTU unless it has one
    of its own.

    Bad::

        # hosts/kvm01.yaml
        bridges:
          br1: {mtu: 1200, addresses: [203.0.113.1/24, "2001:db8:1::1/64"]}

    Good::

        # hosts/kvm01.yaml
        bridges:
          br1: {mtu: 1280, addresses: [203.0.113.1/24, "2001:db8:1::1/64"]}

    Source: RFC 8200, section 5 (https://www.rfc-editor.org/rfc/rfc8200#section-5); the kernel's addrconf.c
    (https://github.com/torvalds/linux/blob/master/net/ipv6/addrconf.c).
    """
    for host in site.hosts.values():
        links = by_name(host)
        for link in host.links:
            if link.bond is None and link.bridge is None and _has_ipv6(link.addressing):
                yield from _too_small(_mtu(links, link), _where(link), link.name)
    for _, nic in site.nics():
        if nic.mtu is not None and nic.mtu < _SMALLEST_OF_IPV6 and _has_ipv6(nic.addressing):
            yield from _too_small(nic.mtu, nic.origin.at("mtu"), nic.name)


def _has_ipv6(addressing: Addressing) -> bool:
    return addressing.dhcp6 or addressing.accept_ra or any(own.version == 6 for own in addressing.addresses)


def _too_small(mtu: int, origin: Origin, name: str) -> Iterator[Diagnostic]:
    if mtu < _SMALLEST_OF_IPV6:
        yield Diagnostic(
            rule=SMALL_FOR_IPV6,
            message=f"an MTU of {mtu} leaves no room for IPv6, which {name} is to have: the kernel refuses it",
            hint=f"Write {_SMALLEST_OF_IPV6} or more, or leave IPv6 out.",
            origin=origin,
        )
