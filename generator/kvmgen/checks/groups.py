"""`isolation: groups` and `isolation: all`: words that have no effect, or another one than they say."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from kvmgen.checks._kept import Place, isolating, plugged
from kvmgen.diagnostics import Diagnostic, Origin, Rule, Severity
from kvmgen.model.guest import Guest, GuestInterface
from kvmgen.model.site import Site

NO_GROUPS_HERE = Rule(code="KV646", title="An isolation group where nobody isolates by groups")
GROUP_OF_ONE = Rule(code="KV647", title="An isolation group of one", severity=Severity.WARNING)
IN_BY_NAME = Rule(code="KV648", title="An interface that is in an isolation group by its name")
NOBODY_LEFT = Rule(code="KV649", title="Isolation that leaves guests nobody to reach", severity=Severity.WARNING)


def no_groups_here(site: Site) -> Iterator[Diagnostic]:
    """A group means something on a bridge or network with `isolation: groups` alone.

    Elsewhere nothing asks for it: without isolation everybody reaches everybody, with another word not even the members
    of the group reach each other. A guest is held to this on each host that can carry it.

    Bad::

        # hosts/kvm01.yaml
        br11: {ports: [eno2], isolation: guests}
        # guests/web01.yaml
        eth0: {bridge: br11, addresses: [198.51.100.20/24], isolation-group: shop}

    Good::

        # hosts/kvm01.yaml
        br11: {ports: [eno2], isolation: groups}
        # guests/web01.yaml
        eth0: {bridge: br11, addresses: [198.51.100.20/24], isolation-group: shop}

    Source: physdev in https://man7.org/linux/man-pages/man8/iptables-extensions.8.html; iifname in
    https://wiki.nftables.org/wiki-nftables/index.php/Matching_packet_metainformation.
    """
    apart = isolating(site)
    for guest, nic in site.nics():
        for host in guest.hosts if nic.isolation_group else ():
            place = plugged(site, host, nic)
            found = apart.get(place) if place else None
            if found is None or found.word != "groups":
                where = f"{place[1]} of {host}" if place else f"what it is plugged into on {host}"
                yield Diagnostic(
                    rule=NO_GROUPS_HERE,
                    message=f"the group {nic.isolation_group!r} of {guest.name} ({nic.name}) has no meaning: {where} "
                    "doesn't isolate by groups",
                    hint="Write `isolation: groups` there, or remove `isolation-group`.",
                    origin=nic.origin.at("isolation-group"),
                    related=() if found is None else ((found.origin, "isolates otherwise"),),
                )
                break


def groups_of_one(site: Site) -> Iterator[Diagnostic]:
    """A guest that is alone in its group reaches what a guest without a group does: the uplink and the host.

    Mostly the group of the others is spelt otherwise. Groups are one over all hosts of a layer-2 segment.

    Bad::

        # guests/web01.yaml
        eth0: {bridge: br11, addresses: [198.51.100.20/24], isolation-group: shop}
        # guests/db01.yaml
        eth0: {bridge: br11, addresses: [198.51.100.21/24], isolation-group: shops}

    Good::

        # guests/web01.yaml
        eth0: {bridge: br11, addresses: [198.51.100.20/24], isolation-group: shop}
        # guests/db01.yaml
        eth0: {bridge: br11, addresses: [198.51.100.21/24], isolation-group: shop}

    Source: https://datatracker.ietf.org/doc/html/rfc5517 (communities of private VLANs).
    """
    members: dict[tuple[str, str], list[tuple[Guest, GuestInterface]]] = {}
    apart = {place for place, found in isolating(site).items() if found.groups}
    for guest, nic in site.nics() if apart else ():
        grouped = nic.isolation_group and any(plugged(site, host, nic) in apart for host in guest.hosts)
        for segment in site.segments_of(guest, nic) if grouped else ():
            members.setdefault((segment, nic.isolation_group or ""), []).append((guest, nic))
    told: set[Origin] = set()
    for (segment, group), found in members.items():
        guest, nic = found[0]
        if len(found) == 1 and nic.origin not in told:
            told.add(nic.origin)
            yield Diagnostic(
                rule=GROUP_OF_ONE,
                message=f"{guest.name} ({nic.name}) is the only one of the group {group!r} in the segment {segment!r}",
                hint="Compare the other guests' `isolation-group`, or remove this one.",
                origin=nic.origin.at("isolation-group"),
            )


def in_by_name(site: Site) -> Iterator[Diagnostic]:
    """Rules know a group's members by what the names of their taps start with, which kvmgen derives from the group.

    Another interface whose name starts so would be let through to them, and two groups whose names are shortened to the
    same would be one.

    Bad::

        # guests/web01.yaml
        eth0: {bridge: br11, addresses: [198.51.100.20/24], isolation-group: shop}
        # guests/other01.yaml
        eth0: {bridge: br11, addresses: [198.51.100.22/24], target: shop-other}

    Good::

        # guests/web01.yaml
        eth0: {bridge: br11, addresses: [198.51.100.20/24], isolation-group: shop}
        # guests/other01.yaml
        eth0: {bridge: br11, addresses: [198.51.100.22/24], target: other-shop}

    Source: physdev in https://man7.org/linux/man-pages/man8/iptables-extensions.8.html.
    """
    groups = {place: found.groups for place, found in isolating(site).items() if found.groups}
    owners: dict[tuple[Place, str], tuple[str, Origin]] = {}
    for place, group, name, origin in sorted(_names(site, groups), key=lambda named: named[1] is None):
        prefix = next((prefix for prefix in groups[place] if name.startswith(prefix)), None)
        if prefix is None:
            continue
        owner, other = owners.setdefault((place, prefix), (group or "", origin))
        if owner != group:
            yield Diagnostic(
                rule=IN_BY_NAME,
                message=f"the name {name!r} starts with {prefix!r}, by which rules know the group {owner!r} on "
                f"{place[1]} of {place[0]}",
                hint="Choose another name; a group's prefix is its name, or a part of it with a hash.",
                origin=origin,
                related=((other, "a member of that group"),),
            )


def _names(site: Site, places: Collection[Place]) -> Iterator[tuple[Place, str | None, str, Origin]]:
    """The ports of some bridges that have names of their own, each with its group."""
    for guest, nic in site.nics() if places else ():
        for host in guest.hosts if nic.target else ():
            place = plugged(site, host, nic)
            if place is not None and place in places:
                group = nic.isolation_group
                yield place, group, nic.target or "", nic.origin.at("isolation-group" if group else "target")
    for place in places:
        for link in site.hosts[place[0]].links:
            if link.bridge == place[1]:
                yield place, None, link.name, link.origin


def nobody_left(site: Site) -> Iterator[Diagnostic]:
    """With `isolation: all` guests reach the host alone: where it has no address on the bridge, they reach nobody.

    Not even what they ask by DHCP is answered. Mostly the uplink was to stay open.

    Bad::

        # hosts/kvm01.yaml
        br11: {ports: [eno2], isolation: all}

    Good::

        # hosts/kvm01.yaml
        br11: {ports: [eno2], addresses: [198.51.100.1/24], isolation: all}

    Source: https://datatracker.ietf.org/doc/html/rfc5517 (isolated ports reach a promiscuous one).
    """
    for host in site.hosts.values():
        for bridge in host.bridges:
            if bridge.isolation == "all" and bridge.addressing.is_empty:
                yield Diagnostic(
                    rule=NOBODY_LEFT,
                    message=f"guests on {bridge.name} of {host.name} reach nobody: neither each other nor the uplink, "
                    "and the host has no address there",
                    hint="Write `isolation: guests`, which leaves the uplink open; or give the host an address.",
                    origin=bridge.origin.at("isolation"),
                )
