"""The whole site: what the checks and the renderers read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field

from kvmgen.model.expectation import Expectation
from kvmgen.model.filter_trees import FilterTrees
from kvmgen.model.filters import Filter
from kvmgen.model.guest import Guest, GuestInterface
from kvmgen.model.host import Host, Node
from kvmgen.model.network import VirtualNetwork
from kvmgen.model.policy import Policy
from kvmgen.value import value


@value
class Site:
    """Everything that was said, resolved. The mappings are sorted by name.

    ``networks`` is by host, then by the inventory's name. ``filters`` are the inventory's, those that its
    policies were compiled to, and kvmgen's own, not libvirt's built-in ones.
    """

    name: str
    domain: str | None
    hosts: Mapping[str, Host]
    networks: Mapping[str, Mapping[str, VirtualNetwork]]
    guests: Mapping[str, Guest]
    filters: Mapping[str, Filter]
    filter_trees: FilterTrees = field(default_factory=lambda: FilterTrees({}), compare=False)
    policies: Mapping[str, Policy] = field(default_factory=dict)
    expects: tuple[Expectation, ...] = ()

    def nodes(self) -> Iterator[Node]:
        """The machines with links, kernel settings and packet filters: hosts, and the insides of guests."""
        yield from self.hosts.values()
        yield from (guest.inside for guest in self.guests.values() if guest.inside is not None)

    def carried(self) -> Iterator[VirtualNetwork]:
        """Every network of every host."""
        for networks in self.networks.values():
            yield from networks.values()

    def nics(self) -> Iterator[tuple[Guest, GuestInterface]]:
        """Every interface of every guest."""
        for guest in self.guests.values():
            for nic in guest.interfaces:
                yield guest, nic

    def segments_of(self, guest: Guest, nic: GuestInterface) -> Iterable[str]:
        """The segments that an interface can be on, one for each host that can carry the guest; each once."""
        found: dict[str, None] = {}
        for host in guest.hosts:
            if nic.network is not None and nic.network in self.networks[host]:
                found[self.networks[host][nic.network].segment] = None
            for link in self.hosts[host].bridges:
                if link.name == nic.bridge:
                    found[link.segment] = None
        return found


@value
class HostView:
    """What lands on one host, each tuple in the order in which it is applied.

    ``guests`` are those at home here; ``filters`` are all that guests who can run here use, leaves first.
    """

    site: Site
    host: Host
    networks: tuple[VirtualNetwork, ...]
    filters: tuple[Filter, ...]
    guests: tuple[Guest, ...]


def views(site: Site) -> Iterator[HostView]:
    """What lands on each host, in the order of the hosts' names."""
    at_home: dict[str, list[Guest]] = {name: [] for name in site.hosts}
    used: dict[str, set[str]] = {name: set() for name in site.hosts}
    for guest in site.guests.values():
        at_home[guest.home].append(guest)
        names = {nic.filterref.filter for nic in guest.interfaces if nic.filterref is not None}
        for carrier in guest.hosts:
            used[carrier] |= names
    for name, host in site.hosts.items():
        yield HostView(
            site=site,
            host=host,
            networks=tuple(site.networks[name].values()),
            filters=leaves_first(site.filters, sorted(used[name])),
            guests=tuple(at_home[name]),
        )


def leaves_first(filters: Mapping[str, Filter], names: Iterable[str]) -> tuple[Filter, ...]:
    """The named filters and all that they include, each once and behind what it includes; built-in ones left out."""
    ordered: dict[str, Filter] = {}
    open_names: set[str] = set()

    def visit(name: str) -> None:
        filter_ = filters.get(name)
        if filter_ is None or name in ordered or name in open_names:
            return
        open_names.add(name)
        for included in filter_.includes:
            visit(included)
        ordered[name] = filter_

    for name in names:
        visit(name)
    return tuple(ordered.values())
