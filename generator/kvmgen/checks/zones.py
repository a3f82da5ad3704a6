"""firewalld's zones: what is in them, and what they open or shut for guests."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping

from kvmgen.checks._bridged import with_guests
from kvmgen.checks._firewalld import ports
from kvmgen.checks._iptables import chains
from kvmgen.checks._words import words
from kvmgen.diagnostics import Diagnostic, Origin, Rule, Severity
from kvmgen.model.host import BUILT_IN_ZONES, Bridge, Host, Node, Policy, Zone
from kvmgen.model.site import Site

OPENS_THE_HOST = Rule(code="KV622", title="Guests in a zone that opens the whole host")
DOESNT_FORWARD = Rule(code="KV623", title="Guests in a zone that doesn't forward")
NO_ZONE_OF_ITS_OWN = Rule(code="KV624", title="A bridge that can't have a zone of its own")
NO_PORT = Rule(code="KV625", title="A zone's or policy's port that is none")
SOURCE_TWICE = Rule(code="KV626", title="One source in two zones")
EMPTY_ZONE = Rule(code="KV627", title="A zone that nothing is in", severity=Severity.WARNING)

_FORWARDING_BY_DEFAULT = (1, 0)
"""firewalld's own zones forward since 1.0."""


def opens_the_host(site: Site) -> Iterator[Diagnostic]:
    """In a zone whose target is ACCEPT, such as `trusted`, every port of the host is open to its guests.

    Whoever takes over a guest talks to libvirt, SSH and whatever else listens on the host. What guests need among
    themselves is `forward`, not `trusted`.

    Bad::

        # hosts/kvm01.yaml
        br11: {ports: [bond0.11], zone: trusted}
        br12: {ports: [bond0.12], zone: guests}
        firewall:
          zones:
            guests: {target: ACCEPT}

    Good::

        # hosts/kvm01.yaml
        br11: {ports: [bond0.11], zone: guests}
        br12: {ports: [bond0.12], zone: guests}
        firewall:
          zones:
            guests: {forward: true}

    Source: https://firewalld.org/documentation/zone/predefined-zones.html;
    https://firewalld.org/documentation/man-pages/firewalld.zone.html.
    """
    for host, place, zone, told in _zones_of_guests(site):
        policy = _opening_policy(host, zone)
        if policy is not None:
            yield Diagnostic(
                rule=OPENS_THE_HOST,
                message=f"the policy {policy.name!r} accepts everything from the zone {zone!r}: each port of the host "
                "is open to the guests in it",
                hint="Name what guests need of the host in the policy's `services` and `ports`, without the target.",
                origin=policy.origin.at("target"),
                related=((place, "guests are in the zone"),),
            )
        if told.target == "ACCEPT" if told else zone == "trusted":
            yield Diagnostic(
                rule=OPENS_THE_HOST,
                message=f"the zone {zone!r} accepts everything: each port of the host is open to the guests in it",
                hint="Use a zone with `forward: true` and the services that guests need; a virtual network does best "
                "without a zone, which leaves it in libvirt's own.",
                origin=place,
                related=((told.origin.at("target"), "accepts everything"),) if told else (),
            )


def _opening_policy(host: Host, zone: str) -> Policy | None:
    """A policy that accepts all that comes from a zone to the host."""
    for policy in host.firewall.policies if host.firewall else ():
        if policy.target == "ACCEPT" and zone in policy.ingress_zones and "HOST" in policy.egress_zones:
            return policy
    return None


def _zones_of_guests(site: Site) -> Iterator[tuple[Host, Origin, str, Zone | None]]:
    """Where a zone is named for guests' bridges and networks, on which host, and what the inventory says of it."""
    for host, bridge, zone in _bridges_in_zones(site):
        yield host, bridge.origin.at("zone"), zone, _zone(host, zone)
    for network in site.carried():
        host = site.hosts[network.host]
        if network.zone is not None and host.platform.firewalld is not None:
            yield host, network.at("bridge", "zone"), network.zone, _zone(host, network.zone)


def _zone(host: Host, name: str) -> Zone | None:
    zones = host.firewall.zones if host.firewall else ()
    return next((zone for zone in zones if zone.name == name), None)


def _bridges_in_zones(site: Site) -> Iterator[tuple[Host, Bridge, str]]:
    """The hosts' bridges with guests that name a zone."""
    named = {
        (host.name, bridge.name): (host, bridge, bridge.zone)
        for host in site.hosts.values()
        for bridge in host.bridges
        if bridge.zone is not None and host.platform.firewalld is not None
    }
    for place in with_guests(site, {host for host, _ in named}):
        if place in named:
            yield named[place]


def doesnt_forward(site: Site) -> Iterator[Diagnostic]:
    """With bridge netfilter on, firewalld rejects frames between guests whose zone doesn't forward.

    The zones that come with firewalld forward since 1.0, others only where they say so. Before 0.9 no zone does; there,
    on el7, a direct rule that accepts bridged frames does it.

    Bad::

        # hosts/kvm01.yaml
        br11: {ports: [bond0.11], zone: guests}
        firewall:
          bridge-netfilter: true
          zones:
            guests: {services: [dns]}

    Good::

        # hosts/kvm01.yaml
        br11: {ports: [bond0.11], zone: guests}
        firewall:
          bridge-netfilter: true
          zones:
            guests: {services: [dns], forward: true}

    Source: `forward` in https://firewalld.org/documentation/man-pages/firewalld.zone.html;
    https://firewalld.org/2020/04/intra-zone-forwarding.
    """
    for host, bridge, name in _bridges_in_zones(site):
        if host.bridge_netfilter and not forwards(host, name) and not _accepts_bridged(host):
            yield Diagnostic(
                rule=DOESNT_FORWARD,
                message=f"the zone {name!r} doesn't forward: firewalld rejects what guests on {bridge.name} send",
                hint="Write `forward: true` in a zone of your own (el8.5 and later), or leave `zone` out.",
                origin=bridge.origin.at("zone"),
            )


def forwards(host: Host, name: str) -> bool:
    """Whether a zone of the host, the inventory's or firewalld's own, lets packets pass between its interfaces."""
    zone = _zone(host, name)
    for policy in host.firewall.policies if host.firewall else ():
        if policy.target == "ACCEPT" and name in policy.ingress_zones and name in policy.egress_zones:
            return True
    if zone is not None:
        return zone.forward or zone.target == "ACCEPT"
    accepting = name in ("trusted", "libvirt", "nm-shared")
    return accepting or (host.platform.firewalld or ()) >= _FORWARDING_BY_DEFAULT


def _accepts_bridged(host: Host) -> bool:
    """Whether a direct rule may accept bridged frames, which ends the matter with el7's iptables backend."""
    rules = chains(host).get(("ipv4", "filter", "FORWARD"), ()) if host.platform.major == 7 else ()
    return any(words(rule.rule).target not in ("DROP", "REJECT", "LOG") for rule in rules if rule.why is None)


def no_zone_of_its_own(site: Site) -> Iterator[Diagnostic]:
    """Where bridge netfilter is on, kvmgen puts each bridge with guests into a zone of its own, named after it.

    firewalld takes only letters, digits, `-` and `_` in a zone's name, and fails as a whole over any other; and a zone
    that the inventory has by that name without putting the bridge into it would be written over.

    Bad::

        # hosts/kvm01.yaml
        bridges:
          br0.11: {ports: [bond0.11]}
          br12: {ports: [bond0.12]}
        firewall:
          zones:
            br12: {forward: true, sources: [203.0.113.0/24]}

    Good::

        # hosts/kvm01.yaml
        bridges:
          br0.11: {ports: [bond0.11], zone: guests}
          br12: {ports: [bond0.12], zone: br12}
        firewall:
          zones:
            br12: {forward: true, sources: [203.0.113.0/24]}

    Source: https://firewalld.org/documentation/man-pages/firewalld.zone.html.
    """
    for host in site.hosts.values():
        zones = host.firewall.zones if host.firewall else ()
        said = {zone.name: zone for zone in zones if not _is_derived(zone)}
        for zone in filter(_is_derived, zones):
            other = said.get(zone.name)
            if other is not None or "." in zone.name:
                reason = "the inventory has one without the bridge" if other else "firewalld fails over its dot"
                yield Diagnostic(
                    rule=NO_ZONE_OF_ITS_OWN,
                    message=f"the guests on {zone.name} need a zone of that name to reach each other, and {reason}",
                    hint="Name a zone at the bridge, and write it with `forward: true`.",
                    origin=zone.origin,
                    related=((other.origin, "the zone"),) if other else (),
                    on_key=True,
                )


def _is_derived(zone: Zone) -> bool:
    return zone.origin.pointer[:1] == ("bridges",)


def no_port(site: Site) -> Iterator[Diagnostic]:
    """firewalld fails over a port above 65535; port 0 and a reversed range open nothing.

    Bad::

        # hosts/kvm01.yaml
        lan: {services: [ssh], ports: [59000-5910/tcp, 65536/tcp, 0/udp]}

    Good::

        # hosts/kvm01.yaml
        lan: {services: [ssh], ports: [5900-5910/tcp, 65535/tcp, 1/udp]}

    Source: `port` in https://firewalld.org/documentation/man-pages/firewalld.zone.html.
    """
    for node in site.nodes():
        for port, place in ports(node):
            ends = [int(end) for end in port.port.split("-")]
            if not 0 < min(ends) <= max(ends) < 2**16 or ends != sorted(ends):
                yield Diagnostic(
                    rule=NO_PORT,
                    message=f"{port.port} is no port and no range of ports",
                    hint="Write a number from 1 to 65535, or FIRST-LAST with the lower one first.",
                    origin=place,
                )


def source_twice(site: Site) -> Iterator[Diagnostic]:
    """A packet belongs to one zone by its source: firewalld fails where two zones have the same.

    Bad::

        # hosts/kvm01.yaml
        office: {sources: [203.0.113.0/24], services: [ssh]}
        printers: {sources: [203.0.113.0/24, 198.51.100.9/32], services: [ipp]}

    Good::

        # hosts/kvm01.yaml
        office: {sources: [203.0.113.0/24], services: [ssh]}
        printers: {sources: [198.51.100.9/32], services: [ipp]}

    Source: `source` in https://firewalld.org/documentation/man-pages/firewalld.zone.html.
    """
    for node in site.nodes():
        first: dict[str, tuple[Zone, int]] = {}
        for zone in node.firewall.zones if node.firewall else ():
            for index, source in enumerate(zone.sources):
                other, at = first.setdefault(_normal(source), (zone, index))
                if other is not zone:
                    yield Diagnostic(
                        rule=SOURCE_TWICE,
                        message=f"the source {source} is in the zones {other.name!r} and {zone.name!r}: "
                        "firewalld fails and loads neither",
                        hint="Leave it in one of them.",
                        origin=zone.origin.at("sources", index),
                        related=((other.origin.at("sources", at), "the other zone's"),),
                    )


def _normal(source: str) -> str:
    try:
        return str(ipaddress.ip_network(source, strict=False))
    except ValueError:
        return source


def empty_zone(site: Site) -> Iterator[Diagnostic]:
    """A zone takes effect on the links and sources that are in it: without any, nothing of it is ever asked.

    Links name their zone with `zone`, virtual networks with `bridge: {zone: ...}`. firewalld's own zones, of which one
    is the default for all other links, may be written without.

    Bad::

        # hosts/kvm01.yaml
        lan: {services: [ssh]}

    Good::

        # hosts/kvm01.yaml
        zone: lan
        lan: {services: [ssh]}

    Source: https://firewalld.org/documentation/zone/connections-interfaces-and-sources.html.
    """
    networks = _by_networks(site)
    for node in site.nodes():
        for zone in node.firewall.zones if node.firewall else ():
            bound = zone.interfaces or zone.sources or zone.name in BUILT_IN_ZONES
            if not bound and zone.name not in networks.get(node.name, ()):
                yield Diagnostic(
                    rule=EMPTY_ZONE,
                    message=f"no link, source or network is in the zone {zone.name!r}: it does nothing",
                    hint=f"Write `zone: {zone.name}` at a link, or give it `sources`.",
                    origin=zone.origin,
                    on_key=True,
                )


def _by_networks(site: Site) -> Mapping[str, set[str]]:
    """The zones that each host's virtual networks are in."""
    found: dict[str, set[str]] = {}
    for network in site.carried():
        if network.zone is not None:
            found.setdefault(network.host, set()).add(network.zone)
    return found


def administrators_zone(node: Node) -> str | None:
    """The zone that a host's management link names."""
    return next((link.zone for link in node.links if isinstance(node, Host) and link.name == node.management), None)
