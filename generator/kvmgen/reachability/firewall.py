"""The packet filter of one machine, a host or the inside of a guest, as its files make it.

A packet that is forwarded meets raw and mangle, libvirt's nwfilters on taps, libvirt's own rules for its networks,
direct rules and a person's own, then policies; what nftables has besides (firewalld's zones from el8 on, libvirt's
rules on el10) must accept it too. Whoever drops it anywhere has the last word, and one step for each place says so.

libvirt puts a tap's chains on top of FORWARD whenever a guest starts, and its networks' only as the first of them
starts, which is before their guests: so nwfilters come first. A machine without a file of firewalld's is taken not to
run it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Protocol

from kvmgen.model.values import Address
from kvmgen.reachability import libvirt_network
from kvmgen.reachability.firewalld import Firewalld
from kvmgen.reachability.folder import Folder
from kvmgen.reachability.iptables import NAT_TARGETS, Chains, Outcome, Rule, load, run
from kvmgen.reachability.iptables_matches import Seen
from kvmgen.reachability.nftables import PATH as BRIDGE_TABLE
from kvmgen.reachability.nftables import BridgeTable
from kvmgen.reachability.packet import Packet, State
from kvmgen.reachability.reverse_path import RouteBack, by_firewalld, by_kernel
from kvmgen.reachability.step import Cause, Step, Verdict
from kvmgen.reachability.sysctl import Settings
from kvmgen.reachability.way import Way

_FILES = {4: "etc/sysconfig/iptables", 6: "etc/sysconfig/ip6tables"}
_PASS = Outcome(verdict=Verdict.PASS)


class TapFilter(Protocol):
    """As much of an nwfilter on a tap as a machine's packet filter calls."""

    @property
    def tap(self) -> str:
        """The tap's name."""

    def has_chains(self, version: int) -> bool:
        """Whether there are chains for an IP version, after which libvirt accepts."""

    def forwarded_from(self, packet: Packet) -> Step:
        """What the guest sends."""

    def forwarded_to(self, packet: Packet) -> Step:
        """What is bridged to the guest."""

    def to_host(self, packet: Packet) -> Step:
        """What the guest sends to the host."""


class PacketFilter:
    """What one machine does with packets; ``inside`` is a guest whose own files are asked.

    ``route_back`` tells of the machine's routes; without it every packet is taken to come by the way that its answer
    would go.
    """

    def __init__(self, folder: Folder, inside: str | None = None, route_back: RouteBack | None = None) -> None:
        self._folder, self._inside, self._route_back = folder, inside, route_back
        self._root = folder.root(inside)
        platform = folder.platform if inside is None else folder.guest_platforms.get(inside, folder.platform)
        self._platform = platform
        self.settings = Settings(folder.files, self._root, platform.major)
        runs = platform.firewalld is not None and any(
            path.startswith(f"{self._root}etc/firewalld/") for path in folder.files
        )
        self._firewalld = Firewalld(folder, inside, platform) if runs else None
        self._user = {version: self._own_chains(version) for version in (4, 6)}

    def _own_chains(self, version: int) -> Chains:
        """The rules that the machine's files have in iptables' own language."""
        chains = self._firewalld.direct(version) if self._firewalld else Chains(version)
        path = f"{self._root}{_FILES[version]}"
        if path in self._folder.files:
            load(path, self._folder.files[path], chains)
        return chains

    @property
    def runs_firewalld(self) -> bool:
        """Whether firewalld runs there."""
        return self._firewalld is not None

    # -- what libvirt adds ---------------------------------------------------------------------------------------------

    @cached_property
    def networks(self) -> Sequence[libvirt_network.VirtualNetwork]:
        """The libvirt networks of the host."""
        return () if self._inside else libvirt_network.networks(self._folder)

    @cached_property
    def _libvirt(self) -> dict[int, list[tuple[libvirt_network.VirtualNetwork, Chains]]]:
        """Each network's chains."""
        found: dict[int, list[tuple[libvirt_network.VirtualNetwork, Chains]]] = {4: [], 6: []}
        for network in self.networks:
            for version, several in found.items():
                chains = Chains(version)
                for table, chain, text in libvirt_network.rules(network, version):
                    cause = Cause(file=f"libvirt:network {network.name}", text=f"-A {chain} {text}")
                    chains.add(table, chain, text, cause)
                several.append((network, chains))
        return found

    def _of_networks(self, version: int, table: str, chain: str, seen: Seen) -> Outcome:
        """What libvirt's rules for its networks say; each rule is about one network's bridge or subnets.

        Before libvirt 5.1 one network's rules follow another's in FORWARD, and the order is that of their start: of a
        hash table whose seed is random, so that it is another one each time that libvirtd starts.
        """
        if self._platform.libvirt >= libvirt_network.OWN_CHAINS:
            return _first(
                run(chains.rules(table, own), seen, {})
                for own in libvirt_network.jumps(table, chain)
                for _, chains in self._libvirt[version]
            )
        found = [self._of_one(chains, table, chain, seen) for _, chains in self._libvirt[version]]
        said = [outcome for outcome in found if outcome.verdict is not Verdict.PASS]
        if len({outcome.verdict.stops for outcome in said}) > 1:
            stopping = next(outcome for outcome in said if outcome.verdict.stops)
            why = "the rules of the network that was started last come first, and another network's differ"
            return Outcome(verdict=Verdict.UNKNOWN, cause=stopping.cause, why=why)
        return said[0] if said else _PASS

    @staticmethod
    def _of_one(chains: Chains, table: str, chain: str, seen: Seen) -> Outcome:
        """One network's rules in the order of an old libvirt: what accepts comes before what rejects."""
        rules = [rule for own in libvirt_network.jumps(table, chain) for rule in chains.rules(table, own)]
        return run(sorted(rules, key=lambda rule: rule.target == "REJECT"), seen, {})

    # -- forwarded packets ---------------------------------------------------------------------------------------------

    def forward(self, packet: Packet, way: Way, source: TapFilter | None, target: TapFilter | None) -> list[Step]:
        """What happens to what is bridged or routed; the last step decides."""
        if packet.version is None:
            return []
        called = self.settings.calls_iptables(packet.version)
        up = self._up_from_the_bridge(packet, way)
        if not called.on:
            if way.bridged:
                return [Step(where="bridge netfilter", verdict=Verdict.PASS, cause=called.cause)]
            way, source, target = replace(way, port_in=None, port_out=None), None, None
        seen = self._untracked(Seen(packet, way))
        return _decided([*up, *self._prerouting(seen), *self._forwarding(seen, source, target)])

    def _forwarding(self, seen: Seen, source: TapFilter | None, target: TapFilter | None) -> Iterator[Step]:
        version = _version(seen)
        yield _step("mangle FORWARD", self._direct(version, "mangle", "FORWARD", seen))
        yield from self._filter_forward(seen, source, target if seen.way.bridged else None)
        if self.networks and libvirt_network.uses_nftables(self._platform):
            outcome = self._of_networks(version, "filter", "FORWARD", seen)
            yield _step("nftables libvirt_network forward", outcome)
        if self._firewalld is not None and self._firewalld.uses_nftables:
            yield _step("firewalld forward", self._zones(version, "FORWARD", seen))
        yield _step("mangle POSTROUTING", self._direct(version, "mangle", "POSTROUTING", seen))

    def _filter_forward(self, seen: Seen, source: TapFilter | None, target: TapFilter | None) -> Iterator[Step]:
        """iptables' chain FORWARD of table filter, where the first who accepts ends it."""
        version = _version(seen)
        for step in self._of_taps(seen, source, target):
            yield step
            if step.verdict is not Verdict.PASS:
                return
        if not libvirt_network.uses_nftables(self._platform):
            outcome = self._of_networks(version, "filter", "FORWARD", seen)
            yield _step("libvirt's networks, FORWARD", outcome)
            if outcome.verdict is not Verdict.PASS:
                return
        yield _step("filter FORWARD", self._last_in_filter(version, "FORWARD", seen))

    @staticmethod
    def _of_taps(seen: Seen, source: TapFilter | None, target: TapFilter | None) -> Iterator[Step]:
        if source is not None:
            yield source.forwarded_from(seen.packet)
        if target is not None:
            yield target.forwarded_to(seen.packet)
        if source is not None and source.has_chains(_version(seen)):
            text = f"-A libvirt-in-post -m physdev --physdev-in {source.tap} -j ACCEPT"
            cause = Cause(file="libvirt:nwfilter", text=text)
            yield Step(where="libvirt-in-post", verdict=Verdict.ACCEPT, cause=cause)

    def _last_in_filter(self, version: int, chain: str, seen: Seen) -> Outcome:
        """What comes after libvirt's rules in table filter: a person's, and firewalld's where it's iptables'."""
        user = self._user[version]
        if self._firewalld is None or self._firewalld.uses_nftables:
            return user.walk("filter", chain, seen)
        first = run(user.rules("filter", chain), seen, user.of("filter"))
        return first if first.verdict is not Verdict.PASS else self._zones(version, chain, seen)

    def _zones(self, version: int, chain: str, seen: Seen) -> Outcome:
        """firewalld's own chain; with iptables its direct rules are in the middle of it."""
        firewalld = self._firewalld
        assert firewalld is not None
        lists: list[Sequence[Rule]] = [firewalld.first(version, chain)]
        user = self._user[version]
        if not firewalld.uses_nftables:
            lists.append(user.rules("filter", firewalld.direct_chain(chain)))
        lists += [
            firewalld.before_zones(version, chain),
            self._of_zones(version, chain, seen),
            firewalld.last(version, chain),
        ]
        return _first(run(rules, seen, user.of("filter")) for rules in lists)

    def _of_zones(self, version: int, chain: str, seen: Seen) -> Sequence[Rule]:
        assert self._firewalld is not None
        packet, way = seen.packet, seen.way
        source = self._firewalld.zone(way.incoming, packet.source)
        target = self._firewalld.zone(way.outgoing, packet.target)
        if chain == "INPUT":
            return self._firewalld.input(version, source)
        if chain == "OUTPUT":
            return self._firewalld.output(version, target)
        return self._firewalld.forward(version, source, target)

    # -- before the way is chosen --------------------------------------------------------------------------------------

    def _untracked(self, seen: Seen) -> Seen:
        version = _version(seen)
        chains = self._user[version]
        if self._firewalld is not None and not self._firewalld.uses_nftables:
            return chains.untracked(seen, "PREROUTING_direct")
        return chains.untracked(seen)

    def _prerouting(self, seen: Seen) -> Iterator[Step]:
        version = _version(seen)
        yield _step("raw PREROUTING", self._direct(version, "raw", "PREROUTING", seen))
        yield _step("mangle PREROUTING", self._direct(version, "mangle", "PREROUTING", seen))
        yield from self._reverse_path(seen)

    def _reverse_path(self, seen: Seen) -> Iterator[Step]:
        if self._route_back is None:
            return
        if self._firewalld is not None and self._firewalld.checks_reverse_path:
            yield from by_firewalld(seen, self._route_back)
        yield from by_kernel(seen, self._route_back, self.settings)

    def _direct(self, version: int, table: str, chain: str, seen: Seen) -> Outcome:
        """A built-in chain of another table than filter: the machine's own rules."""
        user = self._user[version]
        outcome = user.walk(table, chain, seen)
        if outcome.verdict is Verdict.PASS and self._firewalld is not None and not self._firewalld.uses_nftables:
            return user.walk(table, self._firewalld.direct_chain(chain), seen)
        return outcome

    # -- to the machine itself, and from it ----------------------------------------------------------------------------

    def input(self, packet: Packet, way: Way, source: TapFilter | None) -> list[Step]:
        """What happens to what is for the machine itself."""
        up = self._up_from_the_bridge(packet, way)
        if packet.version is None:
            return _decided(up)
        if not self.settings.calls_iptables(packet.version).on:
            way, source = replace(way, port_in=None), None
        seen = self._untracked(Seen(packet, way))
        return _decided([*up, *self._prerouting(seen), *self._inwards(seen, source)])

    def _inwards(self, seen: Seen, source: TapFilter | None) -> Iterator[Step]:
        version = _version(seen)
        yield _step("mangle INPUT", self._direct(version, "mangle", "INPUT", seen))
        yield from self._filter("INPUT", seen, [] if source is None else [source.to_host(seen.packet)])
        if self._firewalld is not None and self._firewalld.uses_nftables:
            yield _step("firewalld input", self._zones(version, "INPUT", seen))

    def _filter(self, chain: str, seen: Seen, first: Sequence[Step]) -> Iterator[Step]:
        """INPUT and OUTPUT of table filter."""
        version = _version(seen)
        for step in first:
            yield step
            if step.verdict is not Verdict.PASS:
                return
        if not libvirt_network.uses_nftables(self._platform):
            outcome = self._of_networks(version, "filter", chain, seen)
            yield _step(f"libvirt's networks, {chain}", outcome)
            if outcome.verdict is not Verdict.PASS:
                return
        yield _step(f"filter {chain}", self._last_in_filter(version, chain, seen))

    def output(self, packet: Packet, way: Way) -> list[Step]:
        """What happens to what the machine sends."""
        if packet.version is None:
            return []
        seen = Seen(packet, way)
        steps = [
            _step(f"{table} OUTPUT", self._direct(packet.version, table, "OUTPUT", seen)) for table in ("raw", "mangle")
        ]
        steps += self._filter("OUTPUT", seen, [])
        if self._firewalld is not None and self._firewalld.uses_nftables:
            steps.append(_step("firewalld output", self._zones(packet.version, "OUTPUT", seen)))
        return _decided(steps)

    # -- bridged frames of any kind, and address translation -----------------------------------------------------------

    @cached_property
    def _bridge_table(self) -> BridgeTable | None:
        text = self._folder.files.get(f"{self._root}{BRIDGE_TABLE}")
        return None if text is None else BridgeTable(text, f"{self._root}{BRIDGE_TABLE}")

    def bridge(self, packet: Packet, way: Way) -> list[Step]:
        """What nftables' bridge family does with a frame between two ports of a bridge."""
        return [] if self._bridge_table is None else [self._bridge_table.step(packet, way)]

    def _up_from_the_bridge(self, packet: Packet, way: Way) -> list[Step]:
        """What nftables' bridge family does with a frame that a port brings to the machine, to be routed or not."""
        if self._bridge_table is None or way.bridged or way.port_in is None:
            return []
        return [self._bridge_table.step(packet, way, "input")]

    def forwards(self, version: int, interface: str = "all") -> bool:
        """Whether the machine routes; libvirt switches that on as it starts a network that isn't isolated."""
        by_libvirt = any(
            network.mode != "isolated" and any(subnet.version == version for subnet in network.subnets)
            for network in self.networks
        )
        return by_libvirt or self.settings.forwards(version, interface).on

    def translate(self, packet: Packet, way: Way) -> Packet:
        """The packet as it leaves: of an unspecified source (``0.0.0.0``) where it takes the outgoing interface's.

        Answers and what isn't tracked keep their addresses; only a flow's first packet decides, so that the state
        of the others is left aside. A rule that can't be judged leaves no source at all.
        """
        if packet.version is None or packet.reply or packet.state is State.UNTRACKED:
            return packet
        seen = Seen(replace(packet, state=State.NEW), way)
        outcome = self._postrouting(packet.version, seen)
        if outcome.verdict is Verdict.UNKNOWN:
            return replace(packet, source=None)
        if outcome.rule is None or outcome.rule.target not in NAT_TARGETS:
            return packet
        nobody: Address = IPv6Address(0) if packet.version == 6 else IPv4Address(0)
        to = outcome.rule.option("--to-source", "--to")
        source = _first_address(to) or nobody if outcome.rule.target == "SNAT" else nobody
        return replace(packet, source=source, translated=packet.translated | {"SNAT"})

    def _postrouting(self, version: int, seen: Seen) -> Outcome:
        found = self._of_networks(version, "nat", "POSTROUTING", seen)
        if found.verdict is Verdict.PASS:
            found = self._direct(version, "nat", "POSTROUTING", seen)
        if self._firewalld is None or found.verdict is not Verdict.PASS:
            return found
        source = self._firewalld.zone(seen.way.incoming, seen.packet.source)
        target = self._firewalld.zone(seen.way.outgoing, seen.packet.target)
        cause = self._firewalld.masquerades(version, source, target)
        if cause is None or seen.way.outgoing == "lo":
            return _PASS
        rule = Rule(matches=(), target="MASQUERADE", cause=cause)
        return Outcome(verdict=Verdict.ACCEPT, cause=cause, rule=rule)


def _version(seen: Seen) -> int:
    assert seen.packet.version is not None
    return seen.packet.version


def _first(outcomes: Iterator[Outcome]) -> Outcome:
    """The first that decides anything."""
    return next((outcome for outcome in outcomes if outcome.verdict is not Verdict.PASS), _PASS)


def _step(where: str, outcome: Outcome) -> Step:
    return Step(where=where, verdict=outcome.verdict, cause=outcome.cause, why=outcome.why)


def _decided(steps: Sequence[Step]) -> list[Step]:
    """The steps that say something, up to the one that stops the packet; what is unknown comes last otherwise."""
    said = [step for step in steps if step.verdict is not Verdict.PASS]
    for number, step in enumerate(said):
        if step.verdict.stops:
            return [*(one for one in said[:number] if one.verdict is not Verdict.UNKNOWN), step]
    unknown = [step for step in said if step.verdict is Verdict.UNKNOWN]
    return [*(step for step in said if step.verdict is not Verdict.UNKNOWN), *unknown[:1]]


def _first_address(text: str) -> Address | None:
    """The first address of ``192.0.2.1-192.0.2.3:1024-65535`` or ``[2001:db8::1]:80``."""
    start = text.partition("-")[0].strip("[]")
    if start.count(":") == 1:
        start = start.partition(":")[0]
    try:
        return ip_address(start.partition("]")[0])
    except ValueError:
        return None
