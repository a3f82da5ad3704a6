"""Policies: lines that say nothing more, say two things, or speak of nobody."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from kvmgen.checks._policy_lines import covers, overlap
from kvmgen.diagnostics import Diagnostic, Origin, Rule, Severity
from kvmgen.model.members import Nobody, addresses_of, members
from kvmgen.model.network import Forward
from kvmgen.model.policy import GUEST, HOST, NETWORK, POLICY, Entry, Peer, Policy
from kvmgen.model.site import Site

UNUSED = Rule(code="KV542", title="A policy that nobody chooses", severity=Severity.WARNING)
NO_MEMBER = Rule(code="KV543", title="A peer that is nobody", severity=Severity.WARNING)
UNKNOWN_ADDRESS = Rule(code="KV544", title="A peer whose address nobody knows")
TWO_LIMITS = Rule(code="KV545", title="Two limits for the same connections")
SAID_TWICE = Rule(code="KV546", title="A line of a policy that another one covers", severity=Severity.WARNING)
ROUTED_ANSWERS = Rule(code="KV547", title="A policy that can't tell answers from questions", severity=Severity.WARNING)


def unused(site: Site) -> Iterator[Diagnostic]:
    """A policy that no interface chooses is compiled for no host, and the guests that it was meant for stay open.

    Bad::

        # policies/web.yaml
        allow-in: [http]

        # guests/web01.yaml
        eth0: {network: default, addresses: [192.168.122.10/24]}

    Good::

        # policies/web.yaml
        allow-in: [http]

        # guests/web01.yaml
        eth0: {network: default, addresses: [192.168.122.10/24], policies: [web]}

    Source: libvirt's "Concepts": a filter takes effect by an interface's reference to it
    (https://libvirt.org/formatnwfilter.html).
    """
    used = {name for _, nic in site.nics() for name in nic.policies} | {peer.name for _, peer in _peers(site, POLICY)}
    for name, policy in site.policies.items():
        if name not in used:
            yield Diagnostic(
                rule=UNUSED,
                message=f"no interface chooses the policy {name}: it reaches no host",
                hint=f"Write `policies: [{name}]` at the interfaces that it is for, or remove the file.",
                origin=policy.origin,
            )


def _peers(site: Site, *kinds: str) -> Iterator[tuple[Entry, Peer]]:
    for policy in site.policies.values():
        for _, entry in policy.entries():
            for peer in entry.peers:
                if peer.kind in kinds:
                    yield entry, peer


def no_member(site: Site) -> Iterator[Diagnostic]:
    """A policy as a peer stands for the interfaces that choose it. Where none does, the line allows nobody anything.

    So with a network that has no subnet of its own, and with ``host`` where that has no address at a guest's bridge.
    The filter is written all the same, for members that come later, with an address in its list that no packet has.

    Bad::

        # policies/db.yaml
        allow-in: [{tcp: 5432, from: {policy: app}}]

        # policies/app.yaml
        allow-out: [{tcp: 5432, to: 192.168.122.10}]

        # guests/web01.yaml
        eth0: {network: default, addresses: [192.168.122.10/24], policies: [db]}

    Good::

        # policies/db.yaml
        allow-in: [{tcp: 5432, from: {policy: app}}]

        # policies/app.yaml
        allow-out: [{tcp: 5432, to: 192.168.122.10}]

        # guests/web01.yaml
        eth0: {network: default, addresses: [192.168.122.10/24], policies: [db]}

        # guests/app01.yaml
        eth0: {network: default, addresses: [192.168.122.11/24], policies: [app]}

    Source: lists of values in "Usage of variables in filters" (https://libvirt.org/formatnwfilter.html).
    """
    for _, peer in _peers(site, POLICY, GUEST):
        if not list(members(peer, site.guests)):
            hint = f"Write `policies: [{peer.name}]` where it is meant, or remove the line."
            yield Diagnostic(
                rule=NO_MEMBER,
                message=f"{peer} is nobody: no interface chooses it"
                if peer.kind == POLICY
                else f"{peer} is nobody: it has no interface",
                hint=hint if peer.kind == POLICY else "Give it an interface, or remove the line.",
                origin=peer.origin,
            )
    for _, peer in _peers(site, NETWORK):
        if not any(network.addresses for network in site.carried() if network.name == peer.name):
            yield Diagnostic(
                rule=NO_MEMBER,
                message=f"{peer} is nobody: it has no subnet of its own",
                hint="Name the subnet itself, or the guests.",
                origin=peer.origin,
            )
    yield from _without_host(site)


def _without_host(site: Site) -> Iterator[Diagnostic]:
    """Interfaces to which none of their hosts has an address that a policy's `host` could mean, one for each line."""
    told: set[Origin] = set()
    for guest, nic in site.nics():
        chosen = (site.policies[name] for name in nic.policies if name in site.policies)
        for peer in (peer for policy in chosen for _, entry in policy.entries() for peer in entry.peers):
            if peer.kind != HOST or peer.origin in told:
                continue
            if not any(addresses_of(peer, guest, nic, site.guests, site.hosts, site.networks)):
                told.add(peer.origin)
                yield Diagnostic(
                    rule=NO_MEMBER,
                    message=f"the host is nobody to {guest.name} ({nic.name}): it has no known address at "
                    f"{nic.network or nic.bridge}",
                    hint="Name the addresses that the host, or who administers it, comes from.",
                    origin=peer.origin,
                    related=((nic.origin, "the interface"),),
                )


def unknown_addresses(site: Site) -> Iterator[Diagnostic]:
    """A filter knows a peer by its addresses. One that is leased, or that only the guest knows, isn't known here.

    libvirt learns a guest's own address for that guest's filter alone; the others' filters would shut it out.

    Bad::

        # policies/db.yaml
        allow-in: [{tcp: 5432, from: {guest: app01}}]

        # guests/app01.yaml
        eth0: {network: default, dhcp4: true}

    Good::

        # policies/db.yaml
        allow-in: [{tcp: 5432, from: {guest: app01}}]

        # guests/app01.yaml
        eth0: {network: default, addresses: [192.168.122.11/24]}

    Source: "Automatic IP address detection" and "Usage of variables in filters"
    (https://libvirt.org/formatnwfilter.html).
    """
    for _, peer in _peers(site, POLICY, GUEST):
        for member in members(peer, site.guests):
            if isinstance(member, Nobody):
                whose = f"{member.guest.name} ({member.nic.name})"
                yield Diagnostic(
                    rule=UNKNOWN_ADDRESS,
                    message=f"{whose}, one of {peer}, has no address that is known here: it would be shut out",
                    hint="Give it `addresses`, or the segment that its lease comes from in `allowed-addresses`; or "
                    "name that segment here.",
                    origin=peer.origin,
                    related=((member.nic.origin, "the interface"),),
                )


def two_limits(site: Site) -> Iterator[Diagnostic]:
    """The drop above a limit stands before what accepts, so that a limit also holds for lines that don't have it.

    Of two lines about the same connections, one with a limit and one without or with another, the lower limit counts
    for both; nobody who reads the other one expects that.

    Bad::

        # policies/ssh.yaml
        allow-in: [{tcp: 22, connections: 3}]

        # policies/administered.yaml
        allow-in: [{tcp: 22, from: host}]

        # guests/web01.yaml
        eth0: {network: default, addresses: [192.168.122.10/24], policies: [administered, ssh]}

    Good::

        # policies/ssh.yaml
        allow-in: [{tcp: 22, from: 192.168.122.0/26, connections: 3}]

        # policies/administered.yaml
        allow-in: [{tcp: 22, from: host, connections: 3}]

        # guests/web01.yaml
        eth0: {network: default, addresses: [192.168.122.10/24], policies: [administered, ssh]}

    Source: the order of rules by priority (https://libvirt.org/formatnwfilter.html); connlimit in
    https://man7.org/linux/man-pages/man8/iptables-extensions.8.html.
    """
    chosen = {nic.policies for _, nic in site.nics()} | {(name,) for name in site.policies}
    for names in sorted(chosen):
        lines = [line for name in names if name in site.policies for line in site.policies[name].entries()]
        for (way, one), (other_way, other) in combinations(lines, 2):
            if way == other_way and one.connections != other.connections and overlap(one, other):
                first, second = (one, other) if one.connections is not None else (other, one)
                yield Diagnostic(
                    rule=TWO_LIMITS,
                    message=f"{second.words} has {_limit(second)} here, and {_limit(first)} in another line of the "
                    "same interface: the lower one counts for both",
                    hint="Give both the same `connections`, or let them speak of different ports or peers.",
                    origin=second.origin,
                    related=((first.origin, f"here it has {_limit(first)}"),),
                )


def _limit(entry: Entry) -> str:
    return "no limit" if entry.connections is None else f"a limit of {entry.connections}"


def said_twice(site: Site) -> Iterator[Diagnostic]:
    """A line that another one of the same policy covers changes nothing, and often one of the two is a mistake.

    The wider one may be what shouldn't be there: a line for one peer beside one for anyone narrows nothing.

    Bad::

        # policies/web.yaml
        allow-in:
          - {tcp: "20-80"}
          - {tcp: 22, from: 192.168.122.0/26}

    Good::

        # policies/web.yaml
        allow-in:
          - {tcp: 80}
          - {tcp: 22, from: 192.168.122.0/26}

    Source: a packet passes by the first rule that accepts it (https://libvirt.org/formatnwfilter.html).
    """
    for policy in site.policies.values():
        for _, listed in policy.directions():
            for index, entry in enumerate(listed or ()):
                covering = _covering(listed or (), index)
                if covering is not None:
                    yield Diagnostic(
                        rule=SAID_TWICE,
                        message=f"{entry.words} is allowed already by another line of the policy {policy.name}",
                        hint="Remove this line, or narrow the other one.",
                        origin=entry.origin,
                        related=((covering.origin, "the line that covers it"),),
                    )


def _covering(listed: Sequence[Entry], index: int) -> Entry | None:
    """Another line that says all of one; of two that are the same the later one is the one too many."""
    entry = listed[index]
    for place, other in enumerate(listed):
        if place != index and covers(other, entry) and (place < index or not covers(entry, other)):
            return other
    return None


def routed_answers(site: Site) -> Iterator[Diagnostic]:
    """To a guest on a routed network everybody comes through the host, past the rules that know connections.

    There a filter judges each packet alone. Where the guest may ask anybody anything (no `allow-out`), what comes to a
    port from 512 on may be an answer, and passes: UDP in any case, and TCP over IPv6. Of TCP over IPv4 only the first
    packet passes, for the guest's answer to it doesn't.

    Bad::

        # policies/web.yaml
        allow-in: [http]

        # networks/routed.yaml
        forward: route

        # guests/web01.yaml
        eth2: {network: routed, addresses: [198.51.100.10/24], policies: [web]}

    Good::

        # policies/web.yaml
        allow-in: [http]
        allow-out: [dns, ntp]

        # networks/routed.yaml
        forward: route

        # guests/web01.yaml
        eth2: {network: routed, addresses: [198.51.100.10/24], policies: [web]}

    Source: which traffic the rules of iptables see (https://libvirt.org/firewall.html).
    """
    for guest, nic in site.nics():
        chosen = [site.policies[name] for name in nic.policies if name in site.policies]
        if not any(policy.allow_in is not None for policy in chosen) or any(
            policy.allow_out is not None for policy in chosen
        ):
            continue
        for host in guest.hosts:
            network = site.networks[host].get(nic.network or "")
            if network is not None and network.forward in (Forward.ROUTE, Forward.OPEN):
                yield Diagnostic(
                    rule=ROUTED_ANSWERS,
                    message=f"whoever {host} routes to {guest.name} ({nic.name}) reaches its UDP ports from 512 on: "
                    "they may be answers to what it asks",
                    hint="Add `allow-out` with what it may ask.",
                    origin=nic.origin.at("policies"),
                    related=((_first_in(chosen), "the way in is closed here"), (network.at("forward"), "routed here")),
                )
                break


def _first_in(chosen: Sequence[Policy]) -> Origin:
    return next(policy.origin.at("allow-in") for policy in chosen if policy.allow_in is not None)
