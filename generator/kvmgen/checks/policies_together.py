"""Policies beside each other: of one interface, and of the two ends of what is allowed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from kvmgen.checks._policy_lines import covers, serves
from kvmgen.diagnostics import Diagnostic, Origin, Rule, Severity
from kvmgen.model.guest import GuestInterface
from kvmgen.model.policy import GUEST, HOST, POLICY, Entry, Peer, Policy
from kvmgen.model.site import Site

COVERED = Rule(code="KV549", title="A line that another policy of the interface covers", severity=Severity.WARNING)
REFUSED = Rule(code="KV550", title="A line that the other end's policies refuse", severity=Severity.WARNING)

Chosen = tuple[str, ...]
"""The names of the policies that an interface chooses."""


# -- of one interface --------------------------------------------------------------------------------------------------


def covered(site: Site) -> Iterator[Diagnostic]:
    """Policies of one interface add up: what one of them allows, no other can narrow.

    A line for some peers beside another policy's line for anyone says nothing there, and reads as if it held the rest
    back. One of the two isn't what is meant for this guest.

    Bad::

        # policies/web.yaml
        allow-in: [{tcp: [22, 80]}]

        # policies/administered.yaml
        allow-in: [{service: ssh, from: host}]

        # guests/web01.yaml
        eth0: {network: default, addresses: [192.168.122.10/24], policies: [web, administered]}

    Good::

        # policies/web.yaml
        allow-in: [{tcp: 80}]

        # policies/administered.yaml
        allow-in: [{service: ssh, from: host}]

        # guests/web01.yaml
        eth0: {network: default, addresses: [192.168.122.10/24], policies: [web, administered]}

    Source: a packet passes by the first rule that accepts it (https://libvirt.org/formatnwfilter.html).
    """
    for names, nic in _combinations(site).items():
        lines = [line for name in names if name in site.policies for line in _lines(site.policies[name])]
        for place, (way, policy, entry) in enumerate(lines):
            wider = next((other for other in _others(lines, place) if _is_wider(other[2], entry, lines, place)), None)
            if wider is not None:
                yield _covered(nic, way, (policy, entry), (wider[1], wider[2]))


_Line = tuple[str, str, Entry]


def _combinations(site: Site) -> Mapping[Chosen, GuestInterface]:
    """The first interface of each combination of several policies."""
    found: dict[Chosen, GuestInterface] = {}
    for _, nic in site.nics():
        if len(nic.policies) > 1:
            found.setdefault(nic.policies, nic)
    return found


def _lines(policy: Policy) -> Iterator[_Line]:
    yield from ((way, policy.name, entry) for way, entry in policy.entries())


def _others(lines: Sequence[_Line], place: int) -> Iterator[_Line]:
    """The lines of other policies for the same direction."""
    way, policy, _ = lines[place]
    return (line for line in lines if line[0] == way and line[1] != policy)


def _is_wider(other: Entry, entry: Entry, lines: Sequence[_Line], place: int) -> bool:
    """Whether a line covers one; of two that are the same, the later one is the one too many."""
    is_earlier = any(line[2] is other for line in lines[:place])
    return covers(other, entry) and (is_earlier or not covers(entry, other))


def _covered(nic: GuestInterface, way: str, narrow: tuple[str, Entry], wide: tuple[str, Entry]) -> Diagnostic:
    return Diagnostic(
        rule=COVERED,
        message=f"{narrow[1].words} of the policy {narrow[0]} (allow-{way}) changes nothing beside {wide[0]}, which "
        "allows it already",
        hint="Narrow the other policy, or leave one of the two out here.",
        origin=nic.origin.at("policies"),
        related=((narrow[1].origin, "the line that changes nothing"), (wide[1].origin, "the line that covers it")),
    )


# -- of both ends ------------------------------------------------------------------------------------------------------


def refused(site: Site) -> Iterator[Diagnostic]:
    """Both ends of a connection have policies, and both must allow it.

    What one side says it may ask, or whom it says it listens to, is refused by every policy of the other side that
    speaks of that direction: the packets meet the other guest's filter, and nothing works until both files agree.

    Bad::

        # policies/app.yaml
        allow-out: [{tcp: 5432, to: {policy: db}}]

        # policies/db.yaml
        allow-in: [{tcp: 3306, from: {policy: app}}]

    Good::

        # policies/app.yaml
        allow-out: [{tcp: 5432, to: {policy: db}}]

        # policies/db.yaml
        allow-in: [{tcp: 5432, from: {policy: app}}]

    Source: a packet between two guests meets both guests' filters (https://libvirt.org/firewall.html).
    """
    known = _Members(site)
    for policy in site.policies.values():
        own = known.of(Peer(kind=POLICY, name=policy.name))
        for way, entry in policy.entries():
            for peer in entry.peers if own else ():
                if peer.kind in (POLICY, GUEST):
                    ends = known.of(peer)
                    refusing = known.refusing(ends, own, "out" if way == "in" else "in", entry)
                    if ends and refusing is not None:
                        yield _refused(entry, peer, way, refusing)


class _Members:
    """Who is behind a peer, as the combinations of policies that are chosen there, each with its guests."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._guests: dict[Chosen, set[str]] = {}
        for guest, nic in site.nics():
            self._guests.setdefault(nic.policies, set()).add(guest.name)

    def of(self, peer: Peer) -> dict[Chosen, set[str]]:
        """The combinations of a policy's members, or of a guest's interfaces."""
        if peer.kind == POLICY:
            return {chosen: names for chosen, names in self._guests.items() if peer.name in chosen}
        return {chosen: {peer.name} for chosen, names in self._guests.items() if peer.name in names}

    def refusing(
        self, ends: Mapping[Chosen, set[str]], askers: Mapping[Chosen, set[str]], way: str, entry: Entry
    ) -> Origin | None:
        """Where it is said, if every end refuses what every asker may; in doubt nobody does."""
        found = [self._lists(chosen, way) for chosen in ends]
        if not all(found):
            return None
        for lists in found:
            allowing = (one for _, listed in lists for one in listed if serves(one, entry))
            if any(_means(one, askers) for one in allowing):
                return None
        return next((origin for lists in found for origin, _ in lists), None)

    def _lists(self, chosen: Chosen, way: str) -> list[tuple[Origin, tuple[Entry, ...]]]:
        policies = (self._site.policies[name] for name in chosen if name in self._site.policies)
        every = ((policy.origin.at(f"allow-{way}"), dict(policy.directions())[way]) for policy in policies)
        return [(origin, listed) for origin, listed in every if listed is not None]


def _means(entry: Entry, askers: Mapping[Chosen, set[str]]) -> bool:
    """Whether a line may speak of one of some guests."""
    if not entry.peers:
        return True
    for peer in entry.peers:
        if peer.kind == POLICY and any(peer.name in chosen for chosen in askers):
            return True
        if peer.kind == GUEST and any(peer.name in names for names in askers.values()):
            return True
        if peer.kind not in (POLICY, GUEST, HOST):
            return True  # an address or a network may be theirs
    return False


def _refused(entry: Entry, peer: Peer, way: str, refusing: Origin) -> Diagnostic:
    goes, back = ("go to", "in") if way == "out" else ("come from", "out")
    return Diagnostic(
        rule=REFUSED,
        message=f"{entry.words} may {goes} {peer} by this line, and no policy there allows it {back}: it is refused at "
        "that end",
        hint=f"Add it to `allow-{back}` there, or remove this line.",
        origin=entry.origin,
        related=((refusing, "what is allowed there"),),
    )
