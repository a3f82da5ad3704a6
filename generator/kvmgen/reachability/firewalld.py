"""firewalld on one machine: which zone an interface is in, and what zones, policies and direct rules say of a packet.

Three generations of it: up to 0.8 a forwarded packet meets the zone that it comes from and then the one that it goes
to; 0.9 has policies before and after them; from 1.0 on only the zone that it comes from, and nothing crosses zones
without a policy. Sources: firewalld.zone(5), firewalld.policies(5), firewalld.direct(5), and what firewalld 1.3 loads.

An interface that NetworkManager or initscripts bring up without a zone is put into the default zone by name. An
interface that nobody puts anywhere falls to the default zone as well, but isn't one of its interfaces (`<forward/>`).
"""

from __future__ import annotations

import configparser
import ipaddress
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property

from kvmgen.model.platform import Platform
from kvmgen.model.values import Address
from kvmgen.reachability import libvirt_network
from kvmgen.reachability.firewalld_files import Holder, Line, Reader, direct
from kvmgen.reachability.folder import Folder
from kvmgen.reachability.iptables import Chains, Rule, command, parse
from kvmgen.reachability.step import Cause

_DROPS_INVALID_FIRST, _POLICIES, _BY_SOURCE_ZONE = (0, 7), (0, 9), (1, 0)
_UNWANTED_IPV6 = (
    "::/96,::ffff:0.0.0.0/96,2002::/24,2002:a00::/24,2002:7f00::/24,2002:a9fe::/32,2002:ac10::/28,2002:c0a8::/32,"
    "2002:e000::/19"
)
"""IPv6 addresses that stand for IPv4 ones which no packet goes to (RFC 3964)."""

_ANSWERS = "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
_INVALID = "-m conntrack --ctstate INVALID -j DROP"
_LAST = "-j REJECT"


class Firewalld:
    """firewalld as a machine's files set it up; whoever asks has seen that there are any."""

    def __init__(self, folder: Folder, inside: str | None, platform: Platform) -> None:
        self._folder, self._root, self._platform = folder, folder.root(inside), platform
        self._inside = inside
        self.version = platform.firewalld or (0, 5)
        reader = Reader(folder, self._root, platform.major)
        self.zones = reader.zones()
        self.policies = reader.policies() if self.version >= _POLICIES else {}
        if platform.libvirt < (8, 10):  # libvirt's zone for routed networks came with its policies
            self.policies = {name: one for name, one in self.policies.items() if not _is_libvirts(one)}
        self.conf = self._conf()
        self._lists: dict[tuple[str, int, str, str], list[Rule]] = {}

    def _conf(self) -> Mapping[str, str]:
        text = self._folder.files.get(f"{self._root}etc/firewalld/firewalld.conf", "")
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        parser.read_string(f"[firewalld]\n{text}")
        return dict(parser["firewalld"])

    @property
    def uses_nftables(self) -> bool:
        """Whether zones are a table of nftables; direct rules are iptables' own in any case."""
        default = "nftables" if self._platform.major >= 8 else "iptables"
        return self.conf.get("firewallbackend", default).strip().lower() == "nftables"

    @property
    def checks_reverse_path(self) -> bool:
        """Whether IPv6 packets whose answers would leave by another interface are dropped."""
        return self.conf.get("ipv6_rpfilter", "yes").strip().lower() not in ("no", "false")

    # -- zones ---------------------------------------------------------------------------------------------------------

    @cached_property
    def default_zone(self) -> Holder:
        """The zone of what no zone claims."""
        return self.zones.get(self.conf.get("defaultzone", "public").strip(), self.zones["public"])

    @cached_property
    def interfaces(self) -> Mapping[str, str]:
        """The zones' own interfaces: those that their files name, that links' files and that libvirt puts there."""
        found = dict(self._links())
        if self._inside is None and self._platform.libvirt >= libvirt_network.OWN_CHAINS:
            for network in libvirt_network.networks(self._folder):
                if network.zone or network.mode != "open":
                    found[network.bridge] = network.zone or self._libvirts_zone(network.mode)
        found.update({name: zone.name for zone in self.zones.values() for name in zone.interfaces})
        return found

    def _libvirts_zone(self, mode: str) -> str:
        return "libvirt-routed" if mode == "route" and "libvirt-routed-in" in self.policies else "libvirt"

    def _links(self) -> Iterator[tuple[str, str]]:
        """The interfaces of keyfiles and ifcfg files, with the zone that they name or the default one."""
        folders = (f"{self._root}{name}" for name in ("etc/NetworkManager/", "etc/sysconfig/network-scripts/"))
        for path, text in (found for folder in folders for found in self._folder.under(folder)):
            name = path.rpartition("/")[2]
            if path.endswith(".nmconnection"):
                keys, wanted = _assignments(text), "interface-name"
            elif name.startswith("ifcfg-"):
                keys, wanted = _assignments(text), "DEVICE"
            else:
                continue
            if wanted in keys and not {"BRIDGE", "MASTER", "master", "controller"} & keys.keys():
                yield keys[wanted], keys.get("zone") or keys.get("ZONE") or self.default_zone.name

    def zone(self, interface: str, address: Address | None) -> Holder:
        """The zone of a packet at one side: sources come before interfaces."""
        for name in sorted(self.zones):
            if address is not None and any(_is_in(address, source) for source in self.zones[name].sources):
                return self.zones[name]
        return self.zones.get(self.interfaces.get(interface, ""), self.default_zone)

    # -- lists of rules ------------------------------------------------------------------------------------------------

    def input(self, version: int, zone: Holder) -> list[Rule]:
        """What is for the machine itself, from a zone."""
        return self._cached("input", version, zone.name, "", lambda: self._input(version, zone))

    def forward(self, version: int, source: Holder, target: Holder) -> list[Rule]:
        """What goes from one zone to another, or from a zone to itself."""
        build = self._forward if self.version >= _BY_SOURCE_ZONE else self._forward_through_both
        return self._cached("forward", version, source.name, target.name, lambda: build(version, source, target))

    def output(self, version: int, zone: Holder) -> list[Rule]:
        """What the machine itself sends into a zone."""
        return self._cached("output", version, "", zone.name, lambda: self._output(version, zone))

    def _cached(
        self, kind: str, version: int, source: str, target: str, build: Callable[[], Iterable[Rule]]
    ) -> list[Rule]:
        key = kind, version, source, target
        if key not in self._lists:
            self._lists[key] = [*build()]
        return self._lists[key]

    def _input(self, version: int, zone: Holder) -> Iterator[Rule]:
        yield from self._policy_rules(version, zone.name, "HOST", before=True)
        yield from _rules(version, zone.lines)
        yield from self._policy_rules(version, zone.name, "HOST", before=False)
        yield from _target(version, zone, pings=True)

    def _forward(self, version: int, source: Holder, target: Holder) -> Iterator[Rule]:
        yield from self._policy_rules(version, source.name, target.name, before=True)
        yield from _rules(version, (line for line in source.lines if line.everywhere))
        yield from self._within(version, source)
        yield from self._policy_rules(version, source.name, target.name, before=False)
        yield from _target(version, source, pings=False)

    def _forward_through_both(self, version: int, source: Holder, target: Holder) -> Iterator[Rule]:
        """Up to 0.9: first the zone that a packet comes from, then the one that it goes to."""
        yield from self._policy_rules(version, source.name, target.name, before=True)
        yield from _rules(version, (line for line in source.lines if line.everywhere))
        if self.version >= _POLICIES:
            yield from self._within(version, source)
        yield from self._policy_rules(version, source.name, target.name, before=False)
        yield from _own_target(version, source)
        if source.target == "default":
            yield _rule(version, _pings(version), source.cause)
        if target.masquerade is not None and version == 4:
            yield _rule(version, "-m conntrack --ctstate NEW -j ACCEPT", target.masquerade)
        yield from _own_target(version, target)

    def _output(self, version: int, zone: Holder) -> Iterator[Rule]:
        yield from self._policy_rules(version, "HOST", zone.name, before=True)
        yield from self._policy_rules(version, "HOST", zone.name, before=False)

    def _within(self, version: int, zone: Holder) -> Iterator[Rule]:
        """From an interface of a zone to another one of it, or to itself."""
        if zone.forward is None:
            return
        for name, of in self.interfaces.items():
            if of == zone.name:
                yield _rule(version, f"-o {name} -j ACCEPT", zone.forward)
        for source in zone.sources:
            if _version_of(source) == version:
                yield _rule(version, f"-d {source} -j ACCEPT", zone.forward)

    def _policy_rules(self, version: int, source: str, target: str, *, before: bool) -> Iterator[Rule]:
        for policy in sorted(self.policies.values(), key=lambda policy: (policy.priority, policy.name)):
            if (policy.priority < 0) is before and _covers(policy.ingress, source) and _covers(policy.egress, target):
                yield from _rules(version, policy.lines)
                yield from _own_target(version, policy)

    def first(self, version: int, chain: str) -> list[Rule]:
        """What comes before direct rules and zones."""
        return self._cached("first", version, chain, "", lambda: self._first(version, chain))

    def before_zones(self, version: int, chain: str) -> list[Rule]:
        """What comes after direct rules and before the zones."""
        if version == 4 or chain == "INPUT" or self.version < _DROPS_INVALID_FIRST:
            return []
        cause = _own("RFC3964_IPv4: IPv6 that stands for IPv4")
        text = f"-d {_UNWANTED_IPV6} -j REJECT"
        return self._cached("before", version, chain, "", lambda: [_rule(version, text, cause)])

    def last(self, version: int, chain: str) -> list[Rule]:
        """What comes after the zones."""
        return self._cached("last", version, chain, "", lambda: self._last(version, chain))

    def _first(self, version: int, chain: str) -> Iterator[Rule]:
        if chain == "OUTPUT":
            yield _rule(version, _ANSWERS, _own(_ANSWERS))
            yield _rule(version, "-o lo -j ACCEPT", _own("-o lo -j ACCEPT"))
            return
        for text in (_ANSWERS.replace("ESTABLISHED", "ESTABLISHED,DNAT"), "-i lo -j ACCEPT"):
            yield _rule(version, text, _own(text))
        if self.version >= _DROPS_INVALID_FIRST:
            yield _rule(version, _INVALID, _own(_INVALID))

    def _last(self, version: int, chain: str) -> Iterator[Rule]:
        if chain == "OUTPUT":
            return
        if self.version < _DROPS_INVALID_FIRST:
            yield _rule(version, _INVALID, _own(_INVALID))
        yield _rule(version, _LAST, _own(f"{_LAST}, at the end of {chain}"))

    # -- address translation -------------------------------------------------------------------------------------------

    def masquerades(self, version: int, source: Holder, target: Holder) -> Cause | None:
        """Who says that what goes from one zone to another takes the machine's own address."""
        if version != 4:
            return None
        if target.masquerade is not None:
            return target.masquerade
        applying = (p for p in self.policies.values() if _covers(p.ingress, source.name))
        return next((p.masquerade for p in applying if p.masquerade and _covers(p.egress, target.name)), None)

    def redirects(self, version: int, source: Holder) -> list[Rule]:
        """Where packets from a zone are sent on to."""
        return [_rule(version, line.text, line.cause) for line in source.redirects if line.version in (0, version)]

    # -- direct rules --------------------------------------------------------------------------------------------------

    def direct(self, version: int) -> Chains:
        """direct.xml's chains; on the iptables backend those of built-in ones are named ``FORWARD_direct``."""
        path = f"{self._root}etc/firewalld/direct.xml"
        chains, family = Chains(version), "ipv6" if version == 6 else "ipv4"
        elements = list(direct(path, self._folder.files[path])) if path in self._folder.files else []
        own = [(tag, at, words[0], cause) for tag, at, words, cause in elements if at.get("ipv") == family]
        for tag, at, _, _ in own:
            if tag == "chain":
                chains.declare(at.get("table", "filter"), at.get("chain", ""))
        rules = [element for element in own if element[0] == "rule"]
        for _, at, text, cause in sorted(rules, key=lambda element: int(element[1].get("priority", "0"))):
            table, chain = at.get("table", "filter"), at.get("chain", "")
            chains.add(table, self.direct_chain(chain), text, cause)
        for tag, _, text, cause in own:
            if tag == "passthrough":
                command(text, "filter", chains, cause)
        return chains

    def direct_chain(self, chain: str) -> str:
        """The chain that direct rules for another one are in."""
        is_built_in = chain in ("INPUT", "FORWARD", "OUTPUT", "PREROUTING", "POSTROUTING")
        return f"{chain}_direct" if is_built_in and not self.uses_nftables else chain


def _own(text: str) -> Cause:
    return Cause(file="firewalld", text=text)


def _is_libvirts(policy: Holder) -> bool:
    return policy.cause.file.startswith("firewalld:policy libvirt-")


def _covers(zones: frozenset[str], zone: str) -> bool:
    return zone in zones or ("ANY" in zones and zone != "HOST")


def _rule(version: int, text: str, cause: Cause) -> Rule:
    return parse(text, version, cause)


def _rules(version: int, lines: Iterable[Line]) -> Iterator[Rule]:
    return (parse(line.text, version, line.cause) for line in lines if line.version in (0, version))


def _own_target(version: int, holder: Holder) -> Iterator[Rule]:
    if holder.target in ("ACCEPT", "DROP", "REJECT"):
        yield _rule(version, f"-j {holder.target}", holder.cause)


def _target(version: int, zone: Holder, *, pings: bool) -> Iterator[Rule]:
    """What becomes of the rest; the default target lets ICMP come to the machine itself."""
    yield from _own_target(version, zone)
    if zone.target == "default":
        if pings:
            yield _rule(version, _pings(version), zone.cause)
        yield _rule(version, _LAST, zone.cause)


def _pings(version: int) -> str:
    return f"-p {'ipv6-icmp' if version == 6 else 'icmp'} -j ACCEPT"


def _version_of(source: str) -> int:
    return 6 if ":" in source else 4


def _is_in(address: Address, source: str) -> bool:
    try:
        network = ipaddress.ip_network(source, strict=False)
    except ValueError:  # a MAC or a set of addresses, which no packet here is compared with
        return False
    return address in network


def _assignments(text: str) -> Mapping[str, str]:
    """The ``KEY=value`` lines of a file, the first of each key."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, given = line.strip().partition("=")
        if equals and not key.startswith("#"):
            words = shlex.split(given) if given.startswith(('"', "'")) else [given]
            found.setdefault(key, words[0] if words else "")
    return found
