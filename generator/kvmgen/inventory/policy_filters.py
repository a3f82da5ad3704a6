"""What a guest's policies are compiled to: a filter for each policy, and one for each way in which they are combined.

`policy-NAME` holds what a policy accepts. What an interface names is a small root filter of its own for each set of
policies, anti-spoofing and lease: it includes these and drops what is left. Peers that stand for objects are list
parameters of the interface (``POLICY_app`` with ``POLICY_app_MASK``, the same with ``_IPV6``), so that neither filter
depends on who is a member.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256

from kvmgen.diagnostics import Origin
from kvmgen.inventory.context import NAME_TWICE, Context
from kvmgen.inventory.policy_rules import (
    ETHERNET,
    LOWEST_CLIENT_PORT,
    Said,
    of_version,
    parameter,
    policy_rules,
    ports,
    rule,
)
from kvmgen.model.filters import Filter, FilterInclude, FilterRule
from kvmgen.model.guest import FilterRef, Guest, GuestInterface
from kvmgen.model.host import Host
from kvmgen.model.members import Nobody, addresses_of, peers_of
from kvmgen.model.network import VirtualNetwork
from kvmgen.model.policy import Policy
from kvmgen.model.values import Network
from kvmgen.value import record

_OWN = "kvmgen-"
_LONGEST_NAME = 120
"""libvirt makes a file of a filter's name; beyond this a set of policies goes by a hash."""
_KNOWS_NO_PROTOCOLS = ("none", "anti-spoofing-mac")
"""The anti-spoofing that lets all kinds of frames pass."""
_NOBODY = {4: ("127.0.0.1", "32"), 6: ("::1", "128")}
"""An address that no packet on a wire has: a list must not be empty, for the filter reads it on every guest."""


@record
class Policed:
    """Guests whose interfaces name the compiled filters, and these filters by name."""

    guests: dict[str, Guest]
    filters: dict[str, Filter]


def compile_policies(
    context: Context,
    policies: Mapping[str, Policy],
    guests: Mapping[str, Guest],
    hosts: Mapping[str, Host],
    networks: Mapping[str, Mapping[str, VirtualNetwork]],
    known: Mapping[str, Filter],
) -> Policed:
    """Give every interface with policies its filter; ``known`` are the filters that exist already."""
    made: dict[str, Filter] = {}
    around = _Around(context, policies, guests, hosts, networks, made)
    changed = {
        name: replace(guest, interfaces=tuple(around.policed(guest, nic) for nic in guest.interfaces))
        if any(nic.policies for nic in guest.interfaces)
        else guest
        for name, guest in guests.items()
    }
    for name in made.keys() & known.keys():
        message = f"the name {name!r} is that of the filter which kvmgen makes of policies"
        context.error(NAME_TWICE, known[name].origin, message, "Choose another name for this filter.")
    return Policed(changed, made)


@record
class _Around:
    """What the interfaces' filters are made from, and the filters that have been made."""

    context: Context
    policies: Mapping[str, Policy]
    guests: Mapping[str, Guest]
    hosts: Mapping[str, Host]
    networks: Mapping[str, Mapping[str, VirtualNetwork]]
    made: dict[str, Filter]

    def policed(self, guest: Guest, nic: GuestInterface) -> GuestInterface:
        """The interface with the filter of its policies over its anti-spoofing."""
        chosen = self._chosen(nic)
        closed = _closed(chosen)
        if not closed:
            return nic
        base = nic.filterref or FilterRef(filter="")
        root = self._root(chosen, base.filter, bool(nic.addressing.dhcp4 or nic.addressing.dhcp6) or _learns(base))
        for policy in chosen:
            name = f"policy-{policy.name}"
            if name not in self.made:
                self.made[name] = self._filter(name, policy.origin, policy_rules(policy))
        parameters = dict(base.parameters) | self._members(chosen, guest, nic)
        return replace(nic, filterref=FilterRef(filter=root, parameters=tuple(sorted(parameters.items()))))

    def _chosen(self, nic: GuestInterface) -> list[Policy]:
        for index, name in enumerate(nic.policies):
            if name not in self.policies:
                self.context.no_reference(nic.origin.at("policies", index), "policy", name, self.policies)
        return [self.policies[name] for name in nic.policies if name in self.policies]

    def _root(self, chosen: Sequence[Policy], base: str, leases: bool) -> str:
        """The name of the filter that combines the policies; it is made where it isn't there."""
        variant = base.removeprefix(_OWN) or "none"
        name = _root_name([policy.name for policy in chosen], variant + ("-lease" if leases else ""))
        if name not in self.made:
            origin = chosen[0].origin
            own = ("neighbour-discovery", "related", *(("lease",) if leases else ()))
            own += ("ip-only",) if variant in _KNOWS_NO_PROTOCOLS else ()
            includes = [*((base,) if base else ()), *(f"{_OWN}{one}" for one in own)]
            includes += [f"policy-{policy.name}" for policy in chosen]
            entries = [FilterInclude(filter=one, parameters=(), origin=origin) for one in includes]
            self.made[name] = self._filter(name, origin, [*entries, *_closing(chosen)])
        return name

    def _filter(self, name: str, origin: Origin, entries: Iterable[FilterRule | FilterInclude]) -> Filter:
        uuid = self.context.identity.uuid("filter", name)
        return Filter(name=name, origin=origin, uuid=uuid, chain="root", priority=None, entries=tuple(entries))

    def _members(self, chosen: Sequence[Policy], guest: Guest, nic: GuestInterface) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for peer in peers_of(chosen):
            members = addresses_of(peer, guest, nic, self.guests, self.hosts, self.networks)
            known = [member for member in members if not isinstance(member, Nobody)]
            for version in (4, 6):
                found |= _lists(parameter(peer, version), version, known)
        return found


def _lists(name: str, version: int, members: Iterable[Network]) -> dict[str, tuple[str, ...]]:
    """A list of addresses and the list of their masks beside it."""
    those = [(str(one.network_address), str(one.prefixlen)) for one in members if one.version == version]
    pairs = list(dict.fromkeys(those)) or [_NOBODY[version]]
    return {name: tuple(address for address, _ in pairs), f"{name}_MASK": tuple(mask for _, mask in pairs)}


def _learns(base: FilterRef) -> bool:
    return ("CTRL_IP_LEARNING", ("dhcp",)) in base.parameters


def _root_name(policies: Sequence[str], variant: str) -> str:
    """Dots part the names, which have none; what is last is never a policy's."""
    name = ".".join(("policies", *policies, variant))
    if len(name) > _LONGEST_NAME:
        name = f"policies.{sha256(name.encode()).hexdigest()[:16]}.{variant}"
    return name


def _closed(chosen: Iterable[Policy]) -> dict[str, Origin]:
    """The directions that one of the policies names, and where the first of them does."""
    found: dict[str, Origin] = {}
    for policy in chosen:
        for direction, listed in policy.directions():
            if listed is not None:
                found.setdefault(direction, policy.origin.at(f"allow-{direction}"))
    return found


def _closing(chosen: Sequence[Policy]) -> Iterator[FilterRule]:
    """The rules behind the policies': what guards a closed ``in``, what an open direction lets pass, and the end."""
    closed = _closed(chosen)
    place = next(iter(closed.values()))
    if "in" in closed:
        yield from _guard(closed["in"], out_is_open="out" not in closed)
        yield from _no_answers(closed["in"])
    for direction in ("in", "out"):
        if direction not in closed:
            for version in (4, 6):
                yield rule(place, 800, "accept", direction, of_version("all", version), {})
    yield rule(place, 999, "drop", "inout", "all-ipv6", {})
    yield rule(place, 1000, "drop", "inout", "all", {})


def _guard(place: Origin, out_is_open: bool) -> Iterator[FilterRule]:
    """The Ethernet layer's end: what its rules for the policies haven't accepted and no connection can bring.

    It is all that stands between the guest and what its host sends or routes. ICMP and later fragments pass it: the
    one it can't tell apart, the others have no ports.
    """
    for version, protocol in ETHERNET.items():
        yield rule(place, 200, "accept", "in", protocol, {"protocol": "icmp" if version == 4 else "icmpv6"})
        if out_is_open:
            for said in _any_answers():
                yield rule(place, 210, "accept", "in", protocol, said)
        for carried in ("tcp", "udp"):
            every: Said = {"protocol": carried} | ports("dst", 0, 65535)
            yield rule(place, 300, "drop", "in", protocol, every)
        if not out_is_open:
            later = ("tcp", "udp") if version == 4 else ("44",)  # over IPv6 they are a protocol of their own
            for carried in later:
                yield rule(place, 310, "accept", "in", protocol, {"protocol": carried})
            yield rule(place, 320, "drop", "in", protocol, {})


def _any_answers() -> Iterator[Said]:
    """What may be an answer to whatever a guest asks: to a client's port, or as NTP and IKE talk."""
    for protocol in ("tcp", "udp"):
        yield {"protocol": protocol} | ports("dst", LOWEST_CLIENT_PORT, 65535)
    for port in (123, 500):
        yield {"protocol": "udp"} | ports("src", port, port) | ports("dst", port, port)


def _no_answers(place: Origin) -> Iterator[FilterRule]:
    """What a guest would answer to what slipped through the guard, behind the answers that a policy accepts.

    A state makes the rule for TCP one-directional: the answers that the guest itself gets aren't meant. libvirt reads
    no flags for TCP over IPv6.
    """
    yield rule(place, 600, "drop", "out", "tcp", {"flags": "SYN,ACK/SYN,ACK", "state": "ESTABLISHED"})
    for number in (0, 14):
        yield rule(place, 600, "drop", "out", "icmp", {"type": str(number)})
    yield rule(place, 600, "drop", "out", "icmpv6", {"type": "129"})
