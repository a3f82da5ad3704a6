"""Subnets: which lie in which, and whether those who share one agree about it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from kvmgen.checks._machines import Attached, Holder, Segments, holders, is_default, is_host_length, machines
from kvmgen.checks._nesting import Use, nested, use
from kvmgen.diagnostics import Diagnostic, Rule, Severity
from kvmgen.model.guest import Guest, GuestInterface
from kvmgen.model.host import Host
from kvmgen.model.network import VirtualNetwork
from kvmgen.model.site import Site
from kvmgen.model.values import Interface, Network

NETWORK_OVERLAPS = Rule(code="KV102", title="A virtual network's subnet that its host has elsewhere too")
LENGTHS_DIFFER = Rule(
    code="KV106", title="Different prefix lengths for one subnet of a segment", severity=Severity.WARNING
)
OUTSIDE_ITS_NETWORK = Rule(
    code="KV109", title="A guest's address outside its network's subnets", severity=Severity.WARNING
)
LINKS_OVERLAP = Rule(code="KV124", title="Two links of a machine in one subnet", severity=Severity.WARNING)


def overlapping(site: Site) -> Iterator[Diagnostic]:
    """A host can send to a subnet by one link: of two that share addresses, the guests of one are out of reach.

    libvirt compares a network with the host's routes when it starts it, and refuses only an equal subnet ("Network is
    already in use by interface br0"). A part of the host's LAN, or a network around it, starts, and takes the
    addresses that both have from the other. A route to a larger destination around a network is well: the network's
    own subnet goes first.

    Bad::

        # hosts/kvm01.yaml
        bridges:
          br0:
            addresses: [192.0.2.11/24, "2001:db8::11/64"]

        # networks/default.yaml
        addresses: [192.0.2.129/25]

    Good::

        # hosts/kvm01.yaml
        bridges:
          br0:
            addresses: [192.0.2.11/25, "2001:db8::11/64"]

        # networks/default.yaml
        addresses: [192.0.2.129/25]

    Source: libvirt's ``networkCheckRouteCollision`` in src/network/bridge_driver_linux.c
    (https://gitlab.com/libvirt/libvirt); https://libvirt.org/formatnetwork.html.
    """
    for name, carried in site.networks.items():
        told: set[Use] = set()
        for outer, inner in nested(_uses(site.hosts.get(name), carried.values())):
            if inner not in told and _collide(outer, inner):
                told.add(inner)
                yield _overlap(name, outer, inner)


def _uses(host: Host | None, carried: Iterable[VirtualNetwork]) -> Iterator[Use]:
    """The subnets of a host's links and networks, and where its routes lead; link-local ones are each link's own."""
    for link in () if host is None else host.links:
        yield from _link_uses(link)
        for index, route in enumerate(link.addressing.routes):
            if route.to is not None and not is_default(route):
                yield use(route.to, "a route through", link.name, link.origin.at("routes", index, "to"))
    for network in carried:
        for index, address in enumerate(network.addresses):
            if not address.is_link_local:
                yield use(address.network, "network", network.name, network.at("addresses", index))
        for index, route in enumerate(network.routes):
            if route.to is not None and not is_default(route):
                yield use(route.to, "a route through network", network.name, network.at("routes", index, "to"))


def _link_uses(link: Attached) -> Iterator[Use]:
    """The subnets of a link, each once."""
    seen: set[Network] = set()
    for index, address in enumerate(link.addressing.addresses):
        if address.network not in seen and not is_host_length(address) and not address.is_link_local:
            seen.add(address.network)
            yield use(address.network, "link", link.name, link.origin.at("addresses", index))


def _collide(outer: Use, inner: Use) -> bool:
    kinds = {outer.kind, inner.kind}
    if "network" not in kinds or (outer.owner == inner.owner and kinds <= {"network", "a route through network"}):
        return False
    return outer.kind in ("network", "link") or outer.network == inner.network


def _overlap(host: str, outer: Use, inner: Use) -> Diagnostic:
    told, other = (inner, outer) if inner.kind == "network" else (outer, inner)
    is_refused = told.network == other.network and told.network.version == 4
    result = "libvirt refuses to start it" if is_refused else "what both contain is reached by one of them only"
    return Diagnostic(
        rule=NETWORK_OVERLAPS,
        message=f"the subnet {told} on {host} overlaps {other}: {result}",
        hint="Give the network a subnet that nothing else on this host uses.",
        origin=told.origin,
        related=((other.origin, str(other)),),
    )


def two_links(site: Site) -> Iterator[Diagnostic]:
    """With two links in one subnet a machine sends everything through one of them, whichever came up first.

    Answers leave by another link than the question came in, where anti-spoofing, rp_filter or a switch drops them,
    and ARP is answered on both. Where the links are one network (storage with several paths), policy routing or the
    kernel's arp_filter must say so by other means; where they are two, a subnet is one too few.

    Bad::

        # hosts/kvm01.yaml
        ethernets:
          eno3: {addresses: [198.51.100.11/24]}
          eno4: {addresses: [198.51.100.12/24]}

    Good::

        # hosts/kvm01.yaml
        ethernets:
          eno3: {addresses: [198.51.100.11/24]}
          eno4: {addresses: [203.0.113.12/24]}

    Source: the kernel's Documentation/networking/ip-sysctl.rst, arp_filter and rp_filter
    (https://docs.kernel.org/networking/ip-sysctl.html).
    """
    for machine, links in machines(site):
        addressed = [link for link in links if link.addressing.addresses]
        if len(addressed) > 1 and _share_first_bits(addressed):
            yield from _sharing(machine, addressed)


def _share_first_bits(links: Sequence[Attached]) -> bool:
    """Whether it's worth to look closely: nearly all machines end here."""
    shortest = {4: 32, 6: 128}
    addresses = [(link.name, address) for link in links for address in link.addressing.addresses]
    for _, address in addresses:
        shortest[address.version] = min(shortest[address.version], address.network.prefixlen)
    seen: dict[tuple[int, int], str] = {}
    for name, address in addresses:
        version = address.version
        start = int(address) >> (address.max_prefixlen - shortest[version])
        if seen.setdefault((version, start), name) != name:
            return True
    return False


def _sharing(machine: str, links: Sequence[Attached]) -> Iterator[Diagnostic]:
    told: set[tuple[str, str]] = set()
    uses = [one for link in links for one in _link_uses(link)]
    addresses = {link.name: {address.ip for address in link.addressing.addresses} for link in links}
    for outer, inner in nested(uses):
        pair = outer.owner, inner.owner
        same_link, same_address = outer.owner == inner.owner, addresses[outer.owner] & addresses[inner.owner]
        if not same_link and not same_address and pair not in told:
            told.add(pair)
            yield Diagnostic(
                rule=LINKS_OVERLAP,
                message=f"{inner.owner} of {machine} is in {inner.network}, as {outer.owner} is: all that is sent "
                "there leaves by one of them",
                hint="Give one of them another subnet, join them in a bond, or silence this with what tells them "
                "apart (policy routing, arp_filter).",
                origin=inner.origin,
                related=((outer.origin, f"{outer}"),),
            )


def lengths(site: Site) -> Iterator[Diagnostic]:
    """Machines of one segment that disagree about its subnet's length disagree about who is a neighbour.

    The one with the longer prefix sends to some of its neighbours through the gateway, the one with the shorter prefix
    asks by ARP for machines that aren't there; what is broadcast reaches only some. Those who are fewer are told,
    and of two alike the guest rather than the network, the network rather than the host.
    Addresses without a subnet (/32, /128) are well.

    Bad::

        # guests/web02.yaml
        interfaces:
          eth0: {bridge: br0, addresses: [192.0.2.21/25]}

    Good::

        # guests/web02.yaml
        interfaces:
          eth0: {bridge: br0, addresses: [192.0.2.21/24]}

    Source: RFC 1122, section 3.3.1.1, on how a host tells neighbours from others
    (https://www.rfc-editor.org/rfc/rfc1122).
    """
    doubtful = _segments_of_several_lengths(site)
    if not doubtful:
        return
    found: defaultdict[str, defaultdict[Network, list[Holder]]] = defaultdict(lambda: defaultdict(list))
    for segment, address, holder in holders(site):
        if segment in doubtful and not is_host_length(address):
            found[segment][address.network].append(holder)
    for segment, subnets in found.items():
        uses = (use(subnet, segment, "", those[0].origin) for subnet, those in subnets.items())
        sizes = {subnet: (len(those), -place) for place, (subnet, those) in enumerate(subnets.items())}
        for outer, inner in nested(uses):
            few, many = sorted((outer.network, inner.network), key=sizes.__getitem__)
            yield from _disagreeing(subnets[few], few, subnets[many][0], many)


def _segments_of_several_lengths(site: Site) -> set[str]:
    """The few segments that are worth a closer look."""
    seen: dict[tuple[str, int], int] = {}
    several: set[str] = set()
    for segment, addresses in _by_segment(site):
        for address in addresses:
            length = address.network.prefixlen
            if length != address.max_prefixlen and seen.setdefault((segment, address.version), length) != length:
                several.add(segment)
    return several


def _by_segment(site: Site) -> Iterator[tuple[str, Sequence[Interface]]]:
    for host in site.hosts.values():
        yield from ((bridge.segment, bridge.addressing.addresses) for bridge in host.bridges)
    yield from ((network.segment, network.addresses) for network in site.carried())
    segments = Segments(site)
    for guest, nic in site.nics():
        if nic.addressing.addresses:
            for segment in segments.of(guest, nic):
                yield segment, nic.addressing.addresses


def _disagreeing(those: Sequence[Holder], few: Network, other: Holder, many: Network) -> Iterator[Diagnostic]:
    for holder in those:
        yield Diagnostic(
            rule=LENGTHS_DIFFER,
            message=f"{holder} is in {few}, and {other} on the same segment in {many}: "
            "they disagree who is a neighbour",
            hint=f"Write /{many.prefixlen} if they are neighbours.",
            origin=holder.place,
            related=((other.place, f"{other} is in {many}"),),
        )


def outside(site: Site) -> Iterator[Diagnostic]:
    """A guest whose address is in no subnet of its network has no gateway there, and the host no route to it.

    Only other guests with addresses of that subnet hear it. What the network has routes to is taken for reachable.
    Of a guest that can run on several hosts, each host's own subnets count: it needs an address there.

    Bad::

        # guests/web01.yaml
        interfaces:
          eth0: {network: default, addresses: [192.168.121.10/24]}

    Good::

        # guests/web01.yaml
        interfaces:
          eth0: {network: default, addresses: [192.168.122.10/24]}

    Source: https://libvirt.org/formatnetwork.html, the elements ip and route.
    """
    subnets = {(one.host, one.name): _reachable(one) for one in site.carried()}
    for guest, nic in site.nics():
        if nic.network is not None and nic.addressing.addresses:
            for host in guest.hosts:
                known = subnets.get((host, nic.network))
                if known:
                    yield from _strangers(guest, nic, host, known)


Reachable = Mapping[int, Sequence[Network]]
"""A network's subnets and the destinations of its routes by IP version, only of versions that it has addresses of."""


def _reachable(network: VirtualNetwork) -> Reachable:
    found = {version: [a.network for a in network.addresses if a.version == version] for version in (4, 6)}
    own = {version: networks for version, networks in found.items() if networks}
    for route in network.routes:
        if route.version in own and route.to is not None:
            own[route.version].append(route.to)
    return own


def _strangers(guest: Guest, nic: GuestInterface, host: str, known: Reachable) -> Iterator[Diagnostic]:
    """The addresses that aren't the network's on this host; of a guest that moves, where no other one is either."""
    fitting: set[int] = set()
    strange: list[tuple[int, Interface]] = []
    for index, address in enumerate(nic.addressing.addresses):
        if any(address in network for network in known.get(address.version, ())):
            fitting.add(address.version)
        elif address.version in known and not address.is_link_local:
            strange.append((index, address))
    for index, address in strange:
        if len(guest.hosts) == 1 or address.version not in fitting:
            yield Diagnostic(
                rule=OUTSIDE_ITS_NETWORK,
                message=f"{address.ip} of {guest.name} ({nic.name}) is in no subnet of network {nic.network} on {host}",
                hint=f"There it has {', '.join(map(str, known[address.version]))}.",
                origin=nic.origin.at("addresses", index),
            )
