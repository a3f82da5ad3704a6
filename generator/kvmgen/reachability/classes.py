"""Ends that fare alike: which guests' interfaces, hosts and what is outside need to be asked about only once.

Two interfaces are of one class where nothing that decides about packets tells them apart: their hosts are equal but for
what is each one's own (`fingerprints`), they are plugged in alike, have the same filters, the same ways out and in, and
their addresses are among the same atoms (`constants`). In doubt they are of two.

What is on the way beside the two ends and their hosts (a guest that routes, another host) is called by its name, and
whoever is called so is alone in its class. Of an address that several have it counts on which segments it is: a packet
to it goes no further than to the first of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from kvmgen.model.values import Address
from kvmgen.reachability.constants import Block, mac_block, point
from kvmgen.reachability.consumers import Consumers
from kvmgen.reachability.fingerprints import Fingerprints, digest
from kvmgen.reachability.nwfilter_constants import Conditions, conditions, fingerprint
from kvmgen.reachability.place import OUTSIDE, OUTSIDE_ADDRESSES, Attachment, Places, link_local
from kvmgen.reachability.topology import Party, Tap
from kvmgen.value import record, value

_OWN = "own"
_FEW = 4
"""A longer list is named as a whole."""


@value
class End:
    """Somebody who may be asked about: ``name`` as questions have it, ``owner`` the machine, ``key`` what it's like.

    ``host`` is where it is, and empty for what is outside. Equal keys, even of two sites, are equal ends.
    """

    name: str
    owner: str
    kind: str
    host: str
    key: str
    versions: frozenset[int]


@record
class _Told:
    """A tap's filter: its fingerprint, and its parameters with words for the guest's own addresses."""

    filter: str
    parameters: tuple[tuple[str, tuple[object, ...]], ...]


@dataclass(slots=True)
class Ends:
    """All ends of a site; ``routers`` is what those are like who pass on packets of others."""

    known: Mapping[str, End]
    routers: str


def ends(consumers: Consumers) -> Ends:
    """Every end of a site, outside first, then hosts and guests by their names; found out once."""
    found = consumers.kept.get("ends")
    if not isinstance(found, Ends):
        found = consumers.kept["ends"] = _Maker(consumers).made()
    return found


@dataclass(slots=True)
class _Maker:
    consumers: Consumers
    files: Fingerprints = field(init=False)
    taps: dict[str, _Told] = field(default_factory=dict)
    twice: dict[Address, str] = field(default_factory=dict)
    notable: set[str] = field(default_factory=set)
    hosts: dict[str, str] = field(default_factory=dict)
    groups: dict[_Told, Conditions] = field(default_factory=dict)
    noted: set[tuple[int, str]] = field(default_factory=set)
    prints: dict[tuple[int, str], str] = field(default_factory=dict)
    near: dict[str, list[tuple[object, object]]] = field(default_factory=dict)
    lists: dict[tuple[object, ...], str] = field(default_factory=dict)
    by_segment: dict[str, list[str]] | None = None

    @property
    def places(self) -> Places:
        return self.consumers.places

    def made(self) -> Ends:
        self.files = Fingerprints(self.places)
        self.files.read()
        self._collect()
        owners = {name: self.places.of[name] for name in sorted(self.places.of)}
        ways = {name: [self._ways(one, nics) for one in nics] for name, nics in owners.items()}
        self._find_repeated()
        self.hosts = {host: self._host(host) for host in sorted(self.places.site.hosts)}
        keys = {name: self._key(name, nics, ways[name]) for name, nics in owners.items()}
        outside = End(
            name=OUTSIDE, owner=OUTSIDE, kind="outside", host="", key=OUTSIDE, versions=frozenset(OUTSIDE_ADDRESSES)
        )
        found = {OUTSIDE: outside}
        for name, nics in owners.items():
            for end in self._ends(nics, keys[name]):
                found[end.name] = end
        routers = [(name, key) for name, key in keys.items() if name in self.notable]
        return Ends(known=found, routers=digest(routers))

    @staticmethod
    def _ends(nics: Sequence[Attachment], key: str) -> Iterator[End]:
        one = nics[0]
        if one.kind == "host" or len(nics) == 1:
            versions = frozenset(version for version in (4, 6) if any(nic.speaks(version) for nic in nics))
            yield End(name=one.owner, owner=one.owner, kind=one.kind, host=one.host, key=key, versions=versions)
            return
        for number, nic in enumerate(nics):
            yield End(
                name=f"{nic.owner}:{nic.interface}",
                owner=nic.owner,
                kind=nic.kind,
                host=nic.host,
                key=f"{key} {number}",
                versions=frozenset(version for version in (4, 6) if nic.speaks(version)),
            )

    # -- what is compared ----------------------------------------------------------------------------------------------

    def _collect(self) -> None:
        """Collect every atom that isn't in machines' files."""
        atoms, site = self.files.atoms, self.places.site
        for tap in site.taps.values():
            party = site.party_by_mac.get(tap.mac)
            if party is None:
                continue
            atoms.add(_blocks(party), tap.host)
            self.taps[tap.mac] = self._told(tap, party)
        for one in (one for several in self.places.of.values() for one in several):
            for block in (mac_block(one.mac), *(point(own.ip) for own in one.addresses)):
                atoms.met(block, one.host)
        for address in OUTSIDE_ADDRESSES.values():
            atoms.met(point(address), "")

    def _find_repeated(self) -> None:
        """Call an address that several have by where it is, and each host by who of its own has one."""
        where: dict[Address, list[tuple[str, int, str]]] = {}
        for name, several in self.places.of.items():
            for one in several:
                who = name if one.kind == "host" or name in self.notable else one.kind
                for own in dict.fromkeys(own.ip for own in one.addresses):
                    where.setdefault(own, []).append((one.segment, one.vlan, who))
        self.twice = {address: digest(sorted(found)) for address, found in where.items() if len(found) > 1}
        there: dict[str, list[tuple[str, int, str]]] = {}
        for address, pattern in self.twice.items():
            for segment, vlan, who in where[address]:
                there.setdefault(segment, []).append((pattern, vlan, who))
        for segment, several in self.places.on_segment.items():
            hosts = dict.fromkeys(one.host for one in several)
            found = sorted(there.get(segment, ()))
            known = digest(found) if len(hosts) > 1 else ""
            for host in hosts:
                own_view = known or [(*one, "its host" if who == f"host:{host}" else who) for *one, who in found]
                self.near.setdefault(host, []).append((self.files.segment(segment, host), own_view))

    def _told(self, tap: Tap, party: Party) -> _Told:
        if tap.filter is None:
            return _Told("", ())
        filters = self.consumers.filters_of(tap.host)
        key = id(filters), tap.filter
        if key not in self.prints:
            self.prints[key] = fingerprint(filters, tap.filter)
        words = _own_words(party)
        told = _tokens(tap, words, frozenset())
        own = frozenset(name for name, values in told if all(isinstance(one, tuple) for one in values))
        values = {"MAC": (tap.mac,), **dict(tap.parameters)}
        learned = next((str(one.ip) for one in party.learned if one.version == 4), None)
        if learned:
            values = {"IP": (learned,), **values}
        group = _Told(f"{self.prints[key]} {learned is None}", told)
        asked = self.groups.get(group)
        if asked is None or asked.spread:
            asked = conditions(filters, tap.filter, values, own | {"MAC"} | ({"IP"} if learned else set()))
            self.groups[group] = asked
        if asked.spread or (id(asked), tap.host) not in self.noted:
            self.noted.add((id(asked), tap.host))
            asked.add_to(self.files.atoms, tap.host)
        return _Told(self.prints[key], _tokens(tap, words, asked.spread) if asked.spread else told)

    # -- machines ------------------------------------------------------------------------------------------------------

    def _host(self, name: str) -> str:
        alone = name if f"host:{name}" in self.notable else ""
        own = [[self.twice.get(own.ip) for own in one.addresses] for one in self.places.of.get(f"host:{name}", ())]
        return digest(self.files.host(name), alone, sorted(self.near.get(name, ()), key=repr), own)

    def _ways(self, one: Attachment, nics: Sequence[Attachment]) -> list[object]:
        """A machine's ways out and in by one of its interfaces. Whoever is on them by name becomes notable."""
        own = [one, *(other for other in nics if other != one)]
        found: list[object] = []
        targets: list[tuple[object, Address]] = [("outside", address) for address in OUTSIDE_ADDRESSES.values()]
        targets += [(repr(route.to), route.via) for route in self.places.routes_of(one) if route.via is not None]
        for what, address in targets:
            if what == "outside":
                hop = self.places.next_hop(own, address)
            else:
                hop = next(((other, address) for other in own if other.serves(address)), None)
            found.append((what if what == "outside" else "route", self._hop(hop, own, one)))
        found.append(self._named(self.places.way_in(one), one))
        return found

    def _hop(self, hop: tuple[Attachment, Address] | None, own: Sequence[Attachment], one: Attachment) -> object:
        if hop is None:
            return None
        leaving, asked = hop
        return own.index(leaving), self._named(self.places.neighbour(leaving, asked), one)

    def _named(self, whom: Attachment | None, one: Attachment) -> tuple[str, str]:
        kind, name = self.files.way(whom, one)
        if kind in ("guest", "host"):
            self.notable.add(f"{kind}:{name}")
        return kind, name

    def _key(self, name: str, nics: Sequence[Attachment], ways: object) -> str:
        one = nics[0]
        alone = name if name in self.notable else ""
        if one.kind == "host":
            shared = [str(own.ip) for nic in nics for own in nic.addresses if own.ip in self.twice]
            around = [self._notable_on(nic) for nic in nics], shared
            return digest("host", self.hosts[one.host], ways, around, alone)
        own: dict[Block, object] = {}
        for number, nic in enumerate(nics):
            own |= {point(address.ip): (_OWN, number, at) for at, address in enumerate(nic.addresses)}
            own[mac_block(nic.mac)] = (_OWN, number)
        inside = list(self.files.said(name, one.host, own)) if one.owner in self.places.site.insides else None
        told = [self._nic(nic) for nic in nics]
        return digest("guest", self.hosts[one.host], told, self._unclear(nics), ways, inside, alone)

    def _unclear(self, nics: Sequence[Attachment]) -> list[str]:
        """Addresses of a guest that others have as well, where another one of its subnet may be sought elsewhere."""
        return [
            str(own.ip)
            for nic in nics
            for own in nic.addresses
            if own.ip in self.twice
            and (own.network.num_addresses == 1 or any(other.serves(own.ip) for other in nics if other != nic))
        ]

    def _nic(self, nic: Attachment) -> object:
        tap, party = nic.tap, self.places.site.party_by_mac[nic.mac]
        assert tap is not None
        host, files, told = nic.host, self.files, self.taps[nic.mac]
        return (
            nic.interface if nic.owner in self.places.site.insides else "",
            files.segment(nic.segment, host),
            self._notable_on(nic),
            (nic.bridge, nic.vlan, tap.isolated, tap.up, tap.vlans, tap.trunk, self._tap_name(tap)),
            (told.filter, [(name, self._values(values, host)) for name, values in told.parameters]),
            [self._address(nic, own.ip, own.network.prefixlen, host) for own in nic.addresses],
            [self._word(str(address), host) for address in party.gateways],
            [
                (repr(route.to and self._word(str(route.to), host)), self._word(str(route.via), host))
                for route in party.routes
            ],
            len(party.learned),
            files.labels(mac_block(nic.mac), host),
            self.places.names_gateway(nic),
        )

    def _address(self, nic: Attachment, address: Address, length: int, host: str) -> object:
        shown = self.twice.get(address, "")
        if address.is_link_local:
            return shown, length, self.files.of_address(address, host)
        free = self.places.unused(nic, address)
        around = None if free is None else self.files.of_address(free, host)
        return shown, length, self.files.of_address(address, host), around

    def _values(self, values: tuple[object, ...], host: str) -> object:
        if len(values) <= _FEW:
            return [self._word(one, host) for one in values]
        if values not in self.lists:
            self.lists[values] = digest(values)
        return self.lists[values]

    def _word(self, word: object, host: str) -> object:
        """A parameter or an address, by its number where only the host itself knows it."""
        if not isinstance(word, str):
            return word
        return self.files.word(word, host)

    def _tap_name(self, tap: Tap) -> object:
        words, patterns = self.files.named
        fitting = [one for one in patterns if tap.name.startswith(one.rstrip("+")) or fnmatchcase(tap.name, one)]
        return tap.name if tap.name in words else "", fitting

    def _notable_on(self, nic: Attachment) -> list[str]:
        """Who is on the nic's segment that others name."""
        if self.by_segment is None:
            self.by_segment = {}
            for name in sorted(self.notable):
                for one in self.places.of[name]:
                    self.by_segment.setdefault(one.segment, []).append(name)
        return self.by_segment.get(nic.segment, [])


def _blocks(party: Party) -> Iterator[Block]:
    for own in party.all_addresses:
        network = own.network
        yield own.version, int(network.network_address), int(network.broadcast_address)
    yield from (point(address) for address in party.gateways)
    for route in party.routes:
        yield point(route.via)
        if route.to is not None:
            yield route.to.version, int(route.to.network_address), int(route.to.broadcast_address)


def _own_words(party: Party) -> dict[str, tuple[object, ...]]:
    words: dict[str, tuple[object, ...]] = {party.mac: (_OWN, "mac")}
    words[str(link_local(party.mac).ip)] = (_OWN, "link")
    words |= {str(own.ip): (_OWN, number) for number, own in enumerate(party.all_addresses)}
    return words


def _tokens(
    tap: Tap, own: Mapping[str, tuple[object, ...]], literal: frozenset[str] | set[str]
) -> tuple[tuple[str, tuple[object, ...]], ...]:
    """The parameters; one that holds nothing but the tap's own addresses says which, unless it is to stay as it is."""
    found = []
    for name, values in tap.parameters:
        is_own = name not in literal and all(one.lower() in own for one in values)
        found.append((name, tuple(own[one.lower()] for one in values) if is_own else tuple(values)))
    return tuple(found)
