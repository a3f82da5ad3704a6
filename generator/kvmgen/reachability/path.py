"""The way of one packet: filter, bridge, packet filter, router, and on, until it arrives or a line stops it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from kvmgen.model.values import Address
from kvmgen.reachability.consumers import Consumers
from kvmgen.reachability.fragments import put_together
from kvmgen.reachability.hop import address_for, file_of, is_group, port_of, sender_for
from kvmgen.reachability.neighbours import exchange
from kvmgen.reachability.nwfilter import TapFilter
from kvmgen.reachability.packet import Packet
from kvmgen.reachability.place import Attachment, Places
from kvmgen.reachability.step import Cause, Step, Verdict
from kvmgen.reachability.topology import Machine
from kvmgen.reachability.way import Way
from kvmgen.value import value

_BRIDGE_NETFILTER = "bridge netfilter"
MOST_MACHINES = 16
"""A packet that crosses more machines goes in circles."""


@value
class Hop:
    """One step, and the host in whose folder its cause's file lies; empty where it is nobody's."""

    host: str
    step: Step


@value
class Translation:
    """What a machine made of a sender's address, to be undone with the answer."""

    machine: str
    shown: Address
    meant: Address


@dataclass(slots=True)
class Walk:
    """A packet under way. ``hops`` are what it met; `arrived` is what came out at the other end.

    What nobody can tell of a packet it is taken to survive: where something stops it later on, that is the answer in
    any case, and the doubt is one only where the packet arrives. A ``forged`` one is put on the wire by whoever rules
    the guest, past the guest's own packet filter.
    """

    consumers: Consumers
    translations: list[Translation] = field(default_factory=list)
    hops: list[Hop] = field(default_factory=list)
    arrived: Packet | None = None
    forged: bool = False
    _port_in: str | None = None
    _source_filter: TapFilter | None = None
    _doubt: int | None = None

    @property
    def places(self) -> Places:
        """The site's attachments."""
        return self.consumers.places

    # -- telling -------------------------------------------------------------------------------------------------------

    def _tell(self, host: str, *steps: Step) -> bool:
        """Note steps; whether the packet goes on."""
        self.hops += [Hop(host=host, step=step) for step in steps]
        if steps and steps[-1].verdict is Verdict.UNKNOWN and self._doubt is None:
            self._doubt = len(self.hops)
        return not steps or not steps[-1].verdict.stops

    def _is_certain(self, arrives: bool) -> bool:
        """Whether the packet arrives without a doubt; where there is one, the hops end with it."""
        if arrives and self._doubt is not None:
            del self.hops[self._doubt :]
            self.arrived = None
            return False
        return arrives

    def _stop(self, host: str, where: str, text: str, *, file: str = "", line: int = 0) -> bool:
        cause = Cause(file=file, text=text, line=line)
        return self._tell(host, Step(where=where, verdict=Verdict.DROP, cause=cause))

    def _unknown(self, host: str, where: str, why: str) -> bool:
        self.hops.append(Hop(host=host, step=Step(where=where, verdict=Verdict.UNKNOWN, why=why)))
        return False

    # -- the way -------------------------------------------------------------------------------------------------------

    def go(self, source: Attachment, target: Attachment, packet: Packet) -> bool:
        """Send a packet from one end to the other; whether it arrives."""
        return self._is_certain(self._go(source, target, packet))

    def _go(self, source: Attachment, target: Attachment, packet: Packet) -> bool:
        machine = None if self.forged and source.kind == "guest" else self.places.machine(source)
        here: Attachment = source
        routed: Attachment | None = None
        for _ in range(MOST_MACHINES):
            towards = self._towards(here, target, packet)
            if towards is None:
                return self._no_way(here, packet)
            leaving, neighbour, asked = towards
            if not self._is_meant(here, neighbour, target, packet):
                return False
            sent = self._leave(machine, packet, self._way(leaving, routed), routed)
            if sent is None:
                return False
            packet = replace(sent, source_mac=(not routed and sent.source_mac) or leaving.mac, target_mac=neighbour.mac)
            if not self._resolved(leaving, neighbour, asked, packet) or not self._carry(leaving, neighbour, packet):
                return False
            here, routed, machine = neighbour, neighbour, self.places.machine(neighbour)
            packet = self._undone(machine, packet)
            ends = self._ends(here, machine, target, packet)
            if ends is not None:
                return ends
        return self._unknown(here.host, "routing", "the packet goes in circles")

    def across(self, source: Attachment, target: Attachment, packet: Packet) -> bool:
        """Send one frame that no machine routes (ARP); whether it arrives."""
        if source.is_outside or target.is_outside:
            known = target if source.is_outside else source
            outside = self.places.outside_of(known.segment, known.host)
            if outside is None:
                return self._stop(known.host, f"bridge {known.bridge}", f"{known.bridge} has no uplink")
            source, target = (outside, target) if source.is_outside else (source, outside)
        elif source.segment != target.segment:
            return self._stop(source.host, "bridge", f"{target.named()} is on another segment", file="kernel")
        carried = self._carry(source, target, packet)
        self.arrived = packet if carried else None
        return self._is_certain(carried)

    def in_pieces(self, source: Attachment, target: Attachment, pieces: Sequence[Packet], whole: Packet | None) -> bool:
        """Send fragments of one packet that no machine routes; whether they arrive. ``whole`` is what they make up."""
        host = self.places.site.hosts[source.host]
        made = put_together(self.consumers, host, pieces[0].version or 0)
        if made is None:
            return self._unknown(host.name, _BRIDGE_NETFILTER, "whether connections are tracked is in no file")
        if not made:
            return all(self.across(source, target, piece) for piece in pieces)
        self._prepare(source)
        if not all(self._from_tap(source, piece) for piece in pieces):
            return False
        if whole is None:
            return self._stop(host.name, _BRIDGE_NETFILTER, "fragments wait until they are whole", file="kernel")
        self.arrived = whole
        return self._is_certain(self._bridged(source, target, whole) and self._to_tap(target, whole))

    def _towards(
        self, here: Attachment, target: Attachment, packet: Packet
    ) -> tuple[Attachment, Attachment, Address] | None:
        """The interface that a packet leaves by, who takes it next, and the address that is asked for."""
        assert packet.target is not None
        if here.is_outside:
            entry = self.places.way_in(target)
            outside = None if entry is None else self.places.outside_of(entry.segment, entry.host)
            return None if entry is None or outside is None else (outside, entry, address_for(entry, packet))
        own = self.places.of[f"{here.kind}:{here.owner}"]
        found = self.places.next_hop([here, *(one for one in own if one != here)], packet.target)
        if found is None:
            return None
        leaving, asked = found
        if target.segment == leaving.segment and target.has(asked) and target != leaving:
            return leaving, target, asked
        neighbour = self.places.neighbour(leaving, asked)
        return None if neighbour is None else (leaving, neighbour, asked)

    def _is_meant(self, here: Attachment, neighbour: Attachment, target: Attachment, packet: Packet) -> bool:
        """Whether the packet is on its way to its target: of an address that several have, the nearest is meant."""
        if (here.kind, here.owner) != (target.kind, target.owner) and any(
            one.has(packet.target) for one in self.places.of.get(f"{here.kind}:{here.owner}", ()) if packet.target
        ):
            return self._anothers(here, here, packet)
        if neighbour.is_outside or packet.target is None or not neighbour.has(packet.target):
            return True
        if (neighbour.kind, neighbour.owner) == (target.kind, target.owner):
            return True
        shown = {(note.machine, note.shown) for note in self.translations} if packet.reply else ()
        return (neighbour.owner, packet.target) in shown or self._anothers(here, neighbour, packet)

    def _anothers(self, here: Attachment, owner: Attachment, packet: Packet) -> bool:
        where, text = f"routing, {here.named()}", f"{packet.target} is {owner.owner} on this network"
        return self._stop(here.host, where, text, file="kernel")

    def _no_way(self, here: Attachment, packet: Packet) -> bool:
        if here.is_outside:
            return self._stop("", "outside", f"no uplink leads towards {packet.target}")
        return self._stop(
            here.host, f"routing, {here.named()}", f"{here.owner} has no way to {packet.target}", file="kernel"
        )

    def _way(self, leaving: Attachment, routed: Attachment | None) -> Way:
        if routed is None:
            return Way(outgoing=leaving.interface)
        return Way(incoming=routed.interface, outgoing=leaving.interface, port_in=self._port_in)

    def _leave(self, machine: Machine | None, packet: Packet, way: Way, routed: Attachment | None) -> Packet | None:
        """What a machine's packet filter says of a packet that it sends or passes on; the packet as it leaves."""
        if machine is None:
            return packet
        filter_ = self.consumers.inside(machine)
        host = machine.folder.name
        if routed is None:
            passed = self._tell(host, *filter_.output(packet, way))
        else:
            source = self._source_filter if machine.inside is None else None
            passed = self._tell(host, *filter_.forward(packet, way, source, None))
        if not passed:
            return None
        translated = filter_.translate(packet, way)
        if translated.source != packet.source and translated.source is None:
            self._unknown(host, "address translation", "the address that the sender is shown under isn't known")
            return None
        return self._noted(machine, packet, self._masqueraded(machine, packet, translated, way))

    def _masqueraded(self, machine: Machine, packet: Packet, translated: Packet, way: Way) -> Packet:
        """The address of the interface that a masqueraded packet leaves by, where the rule leaves it to the kernel."""
        if translated.source is None or translated.source == packet.source or not translated.source.is_unspecified:
            return translated
        own = self.places.of[f"{'guest' if machine.inside else 'host'}:{machine.name}"]
        version = translated.source.version
        shown = (
            address.ip
            for one in own
            if one.interface == way.outgoing
            for address in one.addresses
            if address.version == version and not address.ip.is_link_local
        )
        return replace(translated, source=next(shown, translated.source))

    def _noted(self, machine: Machine, packet: Packet, translated: Packet) -> Packet:
        if translated.source != packet.source:
            assert translated.source is not None
            assert packet.source is not None
            note = Translation(machine=machine.name, shown=translated.source, meant=packet.source)
            self.translations.append(note)
            step = Step(
                where=f"address translation, {machine.name}",
                verdict=Verdict.PASS,
                why=f"{packet.source} is shown as {translated.source}",
            )
            self._tell(machine.folder.name, step)
        return translated

    def _undone(self, machine: Machine | None, packet: Packet) -> Packet:
        """An answer's target as it was before a machine translated the question's sender."""
        for note in reversed(self.translations):
            if packet.reply and machine is not None and note.machine == machine.name and packet.target == note.shown:
                return replace(packet, target=note.meant)
        return packet

    def _ends(self, here: Attachment, machine: Machine | None, target: Attachment, packet: Packet) -> bool | None:
        """Whether the packet has arrived, or has come to where it goes no further; ``None`` where it is passed on."""
        assert packet.target is not None
        if here.is_outside:
            if target.is_outside:
                self.arrived = packet
                return True
            self._tell(
                "", Step(where="outside", verdict=Verdict.PASS, why="the routers outside are taken to pass it on")
            )
            return None
        own = self.places.of[f"{here.kind}:{here.owner}"]
        if any(one.has(packet.target) for one in own) or is_group(packet.target):
            return self._delivered(here, machine, target, packet)
        if machine is None:
            why = f"whether {here.owner} routes isn't known: its inside isn't compiled (`platform`)"
            return self._unknown(here.host, f"routing, {here.owner}", why)
        if not machine.forwards(packet.target.version):
            key = "net.ipv4.ip_forward" if packet.target.version == 4 else "net.ipv6.conf.all.forwarding"
            return self._stop(machine.folder.name, f"routing, {machine.name}", f"{key} = 0", file="kernel")
        return None

    def _delivered(self, here: Attachment, machine: Machine | None, target: Attachment, packet: Packet) -> bool:
        assert packet.target is not None
        if not is_group(packet.target) and (here.kind, here.owner) != (target.kind, target.owner):
            return self._anothers(here, here, packet)
        if machine is not None:
            source = self._source_filter if machine.inside is None else None
            way = Way(incoming=here.interface, port_in=self._port_in)
            if not self._tell(machine.folder.name, *self.consumers.inside(machine).input(packet, way, source)):
                return False
        self.arrived = packet
        return True

    # -- one segment ---------------------------------------------------------------------------------------------------

    def _resolved(self, leaving: Attachment, neighbour: Attachment, asked: Address, packet: Packet) -> bool:
        """Whether the neighbour's MAC can be found: ARP and neighbour discovery meet the same filters."""
        if is_group(asked) or packet.source_mac != leaving.mac:
            return True
        sender = sender_for(leaving, asked, packet)
        known = leaving.place, neighbour.place, sender, asked
        if known not in self.consumers.resolutions:
            self.consumers.resolutions[known] = self._resolution(leaving, neighbour, sender, asked)
        host, step = self.consumers.resolutions[known]
        return self._tell(host, step)

    def _resolution(
        self, leaving: Attachment, neighbour: Attachment, sender: Address, asked: Address
    ) -> tuple[str, Step]:
        kind = "ARP" if asked.version == 4 else "neighbour discovery"
        for one, other, question in exchange(leaving, neighbour, sender, asked):
            trial = Walk(self.consumers)
            if not trial._is_certain(trial._carry(one, other, question) and trial._heard(other, question)):
                host, step = trial.hops[-1].host, trial.hops[-1].step
                return host, replace(step, where=f"{kind}: {step.where}")
        found = f"finds {neighbour.named()} at {asked}"
        return leaving.host, Step(where=f"{kind}, {leaving.named()}", verdict=Verdict.PASS, why=found)

    def _heard(self, here: Attachment, packet: Packet) -> bool:
        """Whether a machine's own packet filter lets it hear neighbour discovery, which is IPv6 like all else."""
        machine = self.places.machine(here)
        if machine is None or packet.version is None:
            return True
        source = self._source_filter if machine.inside is None else None
        way = Way(incoming=here.interface, port_in=self._port_in)
        return self._tell(machine.folder.name, *self.consumers.inside(machine).input(packet, way, source))

    def _carry(self, source: Attachment, target: Attachment, packet: Packet) -> bool:
        """One frame over one segment: the sender's filter, the bridges, the receiver's filter."""
        self._prepare(source)
        return self._from_tap(source, packet) and self._bridged(source, target, packet) and self._to_tap(target, packet)

    def _prepare(self, source: Attachment) -> None:
        self._source_filter = self.consumers.on_tap(source.tap)
        self._port_in = None if source.tap is None else source.tap.name

    def _from_tap(self, source: Attachment, packet: Packet) -> bool:
        tap = source.tap
        if tap is None:
            return True
        if not tap.up:
            return self._stop(tap.host, f"link, {source.named()}", "link state='down'", file=tap.file, line=tap.line)
        filter_ = self.consumers.on_tap(tap)
        return filter_ is None or self._tell(tap.host, filter_.from_guest(packet))

    def _to_tap(self, target: Attachment, packet: Packet) -> bool:
        tap = target.tap
        if tap is None:
            return True
        filter_ = self.consumers.on_tap(tap)
        if filter_ is not None and not self._tell(tap.host, filter_.to_guest(packet)):
            return False
        return tap.up or self._stop(
            tap.host, f"link, {target.named()}", "link state='down'", file=tap.file, line=tap.line
        )

    def _bridged(self, source: Attachment, target: Attachment, packet: Packet) -> bool:
        """From port to port: on one bridge, or out by the uplink of one host and in by that of another."""
        if source.host == target.host and not (source.is_outside or target.is_outside):
            return self._across(source.host, source.bridge, source, target, packet)
        first = source.is_outside or self._across(source.host, source.bridge, source, None, packet)
        return first and (target.is_outside or self._across(target.host, target.bridge, None, target, packet))

    def _across(
        self, host: str, bridge: str, source: Attachment | None, target: Attachment | None, packet: Packet
    ) -> bool:
        """One bridge, from port to port; ``None`` is the uplink. What the host sends or gets crosses no bridge."""
        machine = self.places.site.hosts[host]
        uplink = next(iter(machine.uplinks(bridge)), None) if bridge else None
        port_in = port_of(source) if source else uplink.name if uplink else None
        port_out = port_of(target) if target else uplink.name if uplink else None
        if source is None:
            self._port_in = port_in
        if (source and source.kind == "host") or (target and target.kind == "host"):
            return True
        if not machine.is_bridge(bridge):
            return self._unknown(host, f"bridge {bridge}", f"no file of {host} says what {bridge} is")
        if port_in is None or port_out is None:
            return self._stop(host, f"bridge {bridge}", f"{bridge} has no uplink", file=file_of(machine, bridge))
        if any(one and one.tap and one.tap.trunk for one in (source, target)):
            return self._unknown(host, f"bridge {bridge}", "a guest that tags its frames itself isn't followed")
        if source and target and source.tap and target.tap and source.tap.isolated and target.tap.isolated:
            text = "both ports are isolated"
            return self._stop(host, f"bridge {bridge}", text, file=target.tap.file, line=target.tap.line)
        way = Way(incoming=bridge, outgoing=bridge, bridged=True, port_in=port_in, port_out=port_out)
        return self._filtered(machine, packet, way, source, target)

    def _filtered(
        self, machine: Machine, packet: Packet, way: Way, source: Attachment | None, target: Attachment | None
    ) -> bool:
        filter_, host = self.consumers.inside(machine), machine.name
        if not self._tell(host, *filter_.bridge(packet, way)):
            return False
        if packet.version is None:
            return True
        taps = (self.consumers.on_tap(one.tap if one else None) for one in (source, target))
        return self._tell(host, *filter_.forward(packet, way, *taps))
