"""What a packet meets on its way, made once and only where a packet meets it: nwfilters on taps, packet filters."""

from __future__ import annotations

from dataclasses import dataclass, field

from kvmgen.model.values import Address
from kvmgen.reachability.firewall import PacketFilter
from kvmgen.reachability.nwfilter import FOLDER as FILTERS
from kvmgen.reachability.nwfilter import Filters, TapFilter
from kvmgen.reachability.place import Attachment, Places
from kvmgen.reachability.reverse_path import RouteBack
from kvmgen.reachability.step import Step
from kvmgen.reachability.topology import Machine, Tap

Ends = tuple[Attachment, Attachment, Address, Address]


@dataclass(slots=True)
class Consumers:
    """The filters and packet filters of a site."""

    places: Places
    resolutions: dict[tuple[object, ...], tuple[str, Step]] = field(default_factory=dict)
    """What came of asking for a neighbour's MAC, by who asks whom."""
    pairs: dict[tuple[str, str, int], Ends | None] = field(default_factory=dict)
    """The interfaces and addresses that names in questions mean, by the names and the IP version."""
    kept: dict[str, object] = field(default_factory=dict)
    """What has been found out about the whole site, by what it is."""
    _filters: dict[str, Filters] = field(default_factory=dict)
    _same_filters: dict[tuple[object, ...], Filters] = field(default_factory=dict)
    _bound: dict[str, TapFilter] = field(default_factory=dict)
    _packet_filters: dict[tuple[str, str | None], PacketFilter] = field(default_factory=dict)

    def on_tap(self, tap: Tap | None) -> TapFilter | None:
        """The filter on a tap, with the address that libvirt has learned where one is leased."""
        if tap is None or tap.filter is None:
            return None
        if tap.mac not in self._bound:
            party = self.places.site.party_by_mac.get(tap.mac)
            leased = (str(own.ip) for own in party.learned if own.version == 4) if party else iter(())
            filters = self.filters_of(tap.host)
            parameters = dict(tap.parameters)
            self._bound[tap.mac] = filters.bind(tap.filter, parameters, tap.mac, tap.name, next(leased, None))
        return self._bound[tap.mac]

    def filters_of(self, host: str) -> Filters:
        """A host's filters; hosts that have the same ones share them."""
        if host not in self._filters:
            folder = self.places.site.hosts[host].folder
            known = (folder.platform, *folder.under(FILTERS))
            if known not in self._same_filters:
                self._same_filters[known] = Filters(folder)
            self._filters[host] = self._same_filters[known]
        return self._filters[host]

    def inside(self, machine: Machine) -> PacketFilter:
        """A machine's packet filter."""
        key = machine.folder.name, machine.inside
        if key not in self._packet_filters:
            route_back = self._route_back(machine)
            self._packet_filters[key] = PacketFilter(machine.folder, machine.inside, route_back)
        return self._packet_filters[key]

    def _route_back(self, machine: Machine) -> RouteBack:
        own = self.places.of.get(f"{'guest' if machine.inside else 'host'}:{machine.name}", ())
        asks = any(link.dhcp for link in machine.links.values())

        def leads(address: Address, interface: str) -> bool | None:
            if address.is_link_local:
                return None
            found = self.places.next_hop(own, address)
            if found is None:
                return None if asks and address.version == 4 else False
            return interface in ("", found[0].interface)

        return leads
