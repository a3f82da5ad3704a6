"""Where packets start and end: interfaces on layer-2 segments, and which of them is the next on a packet's way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, ip_interface, ip_network

from kvmgen.model.values import Address, Interface, Network
from kvmgen.reachability.links import RouteTo
from kvmgen.reachability.topology import Machine, Party, Site, Tap
from kvmgen.value import value

OUTSIDE = "outside"
OUTSIDE_MAC = "02:00:5e:00:00:fe"
OUTSIDE_ADDRESSES: Mapping[int, Address] = {4: IPv4Address("198.51.100.254"), 6: IPv6Address("2001:db8:ffff:fffe::fe")}
"""Stand-ins for a machine somewhere behind the uplinks; documentation addresses at the far end of their blocks."""

_NOBODYS = "02:00:00:00:00:00"
_Name = tuple[str, str, str, str, str]


@value
class Attachment:
    """One interface on a segment: a guest's NIC, an interface of a host's own, or what is outside.

    ``owner`` is a guest, a host or `OUTSIDE`; ``host`` and ``bridge`` are where the frame enters or leaves the wire
    (``bridge`` is empty for a host's link that is no bridge). ``vlan`` is the tag that a bridge adds for a tap, 0 for
    none.
    """

    owner: str
    kind: str  # guest, host or outside
    interface: str
    segment: str
    host: str
    bridge: str
    mac: str
    addresses: tuple[Interface, ...]
    tap: Tap | None = None
    vlan: int = 0

    @property
    def is_outside(self) -> bool:
        """Whether it is the machine behind the uplinks."""
        return self.kind == "outside"

    @property
    def place(self) -> _Name:
        """Which one it is: no two have the same kind, owner and interface, on one segment of one host."""
        return self.kind, self.owner, self.interface, self.segment, self.host

    def has(self, address: Address) -> bool:
        """Whether an address is its own."""
        return any(own.ip == address for own in self.addresses)

    def serves(self, address: Address) -> bool:
        """Whether an address is in one of its subnets."""
        return any(address in own.network for own in self.addresses)

    def speaks(self, version: int) -> bool:
        """Whether it has an address of an IP version beyond the link."""
        return any(own.version == version and not own.ip.is_link_local for own in self.addresses)

    def named(self) -> str:
        """The interface as a trace names it."""
        return self.owner if self.is_outside else f"{self.owner} {self.interface}"


def as_interfaces(addresses: Iterable[Address]) -> tuple[Interface, ...]:
    """Addresses in a subnet of their own."""
    return tuple(ip_interface(address) for address in addresses)


def link_local(mac: str) -> Interface:
    """The link-local address that follows from a MAC (EUI-64)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return ip_interface((int.from_bytes(b"\xfe\x80" + bytes(6) + identifier), 64))


class Places:
    """Every attachment of a site."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._outsides: dict[tuple[str, str], Attachment | None] = {}
        self._known_routes: dict[_Name, tuple[RouteTo, ...]] = {}
        self._next_hops: dict[tuple[_Name, int, Address], tuple[Attachment, Address] | None] = {}

    @cached_property
    def on_segment(self) -> Mapping[str, Sequence[Attachment]]:
        """The attachments of each segment but what is outside."""
        found: dict[str, list[Attachment]] = {}
        for one in (*self._of_guests(), *self._of_hosts()):
            found.setdefault(one.segment, []).append(one)
        return found

    @cached_property
    def of(self) -> Mapping[str, Sequence[Attachment]]:
        """The attachments of each guest and host, under ``guest:NAME`` and ``host:NAME``."""
        found: dict[str, list[Attachment]] = {}
        for several in self.on_segment.values():
            for one in several:
                found.setdefault(f"{one.kind}:{one.owner}", []).append(one)
        return found

    @cached_property
    def having(self) -> Mapping[tuple[str, Address], Sequence[Attachment]]:
        """Who has an address on a segment."""
        found: dict[tuple[str, Address], list[Attachment]] = {}
        for segment, several in self.on_segment.items():
            for one in several:
                for own in dict.fromkeys(own.ip for own in one.addresses):
                    found.setdefault((segment, own), []).append(one)
        return found

    @cached_property
    def hosts_on(self) -> Mapping[str, Sequence[Attachment]]:
        """The hosts' own attachments of each segment."""
        found = {name: [one for one in several if one.kind == "host"] for name, several in self.on_segment.items()}
        return {name: several for name, several in found.items() if several}

    @cached_property
    def compiled_on(self) -> Mapping[str, Sequence[Attachment]]:
        """The attachments of each segment whose guests' inside is compiled."""
        found: dict[str, list[Attachment]] = {}
        for name in self.site.insides:
            for one in self.of.get(f"guest:{name}", ()):
                found.setdefault(one.segment, []).append(one)
        order = {id(one): number for several in self.on_segment.values() for number, one in enumerate(several)}
        return {name: sorted(several, key=lambda one: order[id(one)]) for name, several in found.items()}

    def _of_guests(self) -> Iterator[Attachment]:
        for tap in self.site.taps.values():
            party = self.site.party_by_mac.get(tap.mac)
            if party is None:
                continue
            filtering = self._filters_vlans(tap.host, tap.bridge)
            yield Attachment(
                owner=party.name,
                kind="guest",
                interface=party.nic,
                segment=self.site.segment(tap.host, tap.bridge),
                host=tap.host,
                bridge=tap.bridge,
                mac=tap.mac,
                addresses=_with_link_local(party),
                tap=tap,
                vlan=tap.vlans[0] if tap.vlans and filtering and not tap.trunk else 0,
            )

    def _filters_vlans(self, host: str, bridge: str) -> bool:
        link = self.site.hosts[host].links.get(bridge)
        return link is not None and link.filters_vlans

    def _of_hosts(self) -> Iterator[Attachment]:
        for machine in self.site.hosts.values():
            for interface in dict.fromkeys(machine.interfaces()):
                is_bridge = machine.is_bridge(interface)
                link = machine.links.get(interface)
                yield Attachment(
                    owner=machine.name,
                    kind="host",
                    interface=interface,
                    segment=self.site.segment(machine.name, interface) if is_bridge else f"{machine.name}/{interface}",
                    host=machine.name,
                    bridge=interface if is_bridge else "",
                    mac=(link.mac if link else None) or _NOBODYS,
                    addresses=machine.addresses(interface),
                )

    def outside_of(self, segment: str, host: str) -> Attachment | None:
        """What is outside, as it is reached on a segment from one host; ``None`` where no uplink leads there."""
        if (segment, host) not in self._outsides:
            self._outsides[segment, host] = self._outside_of(segment, host)
        return self._outsides[segment, host]

    def _outside_of(self, segment: str, host: str) -> Attachment | None:
        pairs = self.site.bridges_of.get(segment, ())
        bridge = next((bridge for name, bridge in pairs if name == host), "")
        machine = self.site.hosts.get(host)
        if machine is None or (bridge and not machine.uplinks(bridge)):
            return None
        return Attachment(
            owner=OUTSIDE,
            kind="outside",
            interface="",
            segment=segment,
            host=host,
            bridge=bridge,
            mac=OUTSIDE_MAC,
            addresses=as_interfaces(OUTSIDE_ADDRESSES.values()),
        )

    def neighbour(self, of: Attachment, address: Address) -> Attachment | None:
        """Who answers for an address on an attachment's segment: whoever has it, else the router outside."""
        for one in self.having.get((of.segment, address), ()):
            if one != of and (one.vlan == of.vlan or of.is_outside):
                return one
        return None if of.is_outside else self.outside_of(of.segment, of.host)

    def unused(self, of: Attachment, address: Address, last: bool = True) -> Address | None:
        """The last address of an address's subnet that nobody on the segment has, or the one next to it."""
        subnet = next((own.network for own in of.addresses if own.ip == address), None)
        if subnet is None or subnet.num_addresses < 4:
            return None
        first = subnet.broadcast_address if last else address
        candidates = (first - below for below in range(1, min(subnet.num_addresses, 64)))
        return next((one for one in candidates if one in subnet and (of.segment, one) not in self.having), None)

    def machine(self, one: Attachment) -> Machine | None:
        """The machine whose files say what happens there; ``None`` for a guest whose inside isn't compiled."""
        if one.kind == "host":
            return self.site.hosts[one.owner]
        return self.site.insides.get(one.owner) if one.kind == "guest" else None

    def next_hop(self, from_: Sequence[Attachment], target: Address) -> tuple[Attachment, Address] | None:
        """By which of its interfaces a machine sends to an address, and to whom on that segment.

        The interfaces are one of them, or all with the one that is preferred first.
        """
        if not from_:
            return None
        known = from_[0].place, len(from_), target
        if known not in self._next_hops:
            self._next_hops[known] = self._next_hop(from_, target)
        return self._next_hops[known]

    def _next_hop(self, from_: Sequence[Attachment], target: Address) -> tuple[Attachment, Address] | None:
        for one in from_:
            if one.serves(target):
                return one, target
        for one, route in self._routes(from_, target):
            if route.via is None:
                return one, target
            for other in (one, *from_):
                if other.serves(route.via):
                    return other, route.via
        return None

    def _routes(self, from_: Sequence[Attachment], target: Address) -> list[tuple[Attachment, RouteTo]]:
        """The routes that hold the address, the narrowest first."""
        found = [
            (one, route)
            for one in from_
            for route in self.routes_of(one)
            if route.to.version == target.version and target in route.to
        ]
        return sorted(found, key=lambda pair: -pair[1].to.prefixlen)

    def routes_of(self, one: Attachment) -> Sequence[RouteTo]:
        """The routes by one attachment, those of a machine's files first."""
        if one.place not in self._known_routes:
            self._known_routes[one.place] = tuple(self._routes_of(one))
        return self._known_routes[one.place]

    def _routes_of(self, one: Attachment) -> Iterator[RouteTo]:
        machine = self.machine(one)
        link = None if machine is None else machine.links.get(one.interface)
        if link is not None:
            yield from link.routes
        if one.kind == "guest":
            yield from self._gateways(one, has_routes=link is not None and bool(link.routes))

    def _gateways(self, one: Attachment, has_routes: bool) -> Iterator[RouteTo]:
        """A guest's default routes: its own, or of libvirt's network the address that serves it.

        Of what it leases, somebody on the segment is its router: what is outside.
        """
        party = self.site.party_by_mac[one.mac]
        for route in party.routes:
            if route.to is not None:
                yield RouteTo(to=route.to, via=route.via)
        for gateway in party.gateways:
            yield RouteTo(to=_everything(gateway.version), via=gateway)
        if party.gateways or has_routes:
            return
        for own in party.all_addresses:
            for other in self.hosts_on.get(one.segment, ()):
                if other.host == one.host and self._is_libvirts(other) and other.serves(own.ip):
                    via = next(ip.ip for ip in other.addresses if own.ip in ip.network)
                    yield RouteTo(to=_everything(via.version), via=via)
        for own in party.learned:
            yield RouteTo(to=_everything(own.version), via=own.network.broadcast_address - 1)

    def names_gateway(self, of: Attachment) -> bool:
        """Whether the inventory or a machine's files name a default route, rather than that one is assumed."""
        parties = self.site.parties_of.get(of.owner, ()) if of.kind == "guest" else ()
        return of.kind == "host" or any(party.gateways for party in parties)

    def _is_libvirts(self, one: Attachment) -> bool:
        networks = self.site.hosts[one.host].networks.values()
        return any(network.bridge == one.bridge and network.mode != "bridge" for network in networks)

    def way_in(self, target: Attachment) -> Attachment | None:
        """Where a packet from outside enters for a target: on its own segment, or at a machine that routes to it."""
        if self.outside_of(target.segment, target.host) is not None:
            return target
        if target.kind == "host" or self._is_routed_by_host(target):
            return self._first_reached(self.of[f"host:{target.host}"])
        compiled = self.compiled_on.get(target.segment, ())
        for one in sorted(compiled, key=lambda one: one != target):  # it may be reached by an interface of its own
            found = self._first_reached(self.of[f"guest:{one.owner}"])
            if found is not None:
                return found
        return None

    def _is_routed_by_host(self, target: Attachment) -> bool:
        own = self.hosts_on.get(target.segment, ())
        return any(
            one.serves(address.ip) for one in own for address in target.addresses if not address.ip.is_link_local
        )

    def _first_reached(self, several: Sequence[Attachment]) -> Attachment | None:
        """The first interface of a machine that is reached from outside: that of its default route before others."""
        reached = [one for one in several if one.addresses and self.outside_of(one.segment, one.host) is not None]
        reached.sort(key=lambda one: not any(route.to.prefixlen == 0 for route in self.routes_of(one)))
        return next(iter(reached), None)


def _with_link_local(party: Party) -> tuple[Interface, ...]:
    own = party.all_addresses
    if any(address.version == 6 and address.ip.is_link_local for address in own):
        return own
    return (*own, link_local(party.mac))


def _everything(version: int) -> Network:
    return ip_network("0.0.0.0/0" if version == 4 else "::/0")
