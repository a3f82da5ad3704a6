"""A policy as an nwfilter: what its lines accept, at both of libvirt's layers.

The rules for tcp, udp, icmp and all know connections, and judge what is bridged to the guest and all that the guest
sends. Of what its host sends or routes to the guest libvirt shows them nothing: there the Ethernet rules (`ip`, `ipv6`)
are the guard, which knows no connections and lets pass whatever may be an answer.

| priority | what |
|---|---|
| 100 | the guard's accepts |
| 200 to 320 | the guard's rest (see `kvmgen.inventory.policy_filters`) |
| 400 | drops above a limit of connections |
| 500 | accepts of what comes in, with its answers |
| 550 to 573 | errors of connections |
| 600 | drops of answers to what slipped through the guard |
| 700 | accepts of what goes out, with its answers |
| 800 | the accept of all in an open direction |
| 960 | neighbour discovery |
| 999 | the drop of all else |
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from kvmgen.diagnostics import Origin
from kvmgen.model.filters import FilterRule, Match
from kvmgen.model.policy import ADDRESS, Entry, Peer, Policy, Service

GUARD, LIMIT, IN, OUT = 100, 400, 500, 700

LOWEST_CLIENT_PORT = 512
"""From where on a port may be a client's, and what comes to it an answer; the lowest are those of rcmd and NFS."""

_ANSWERS = {8: 0, 13: 14, 128: 129}
"""What answers an ICMP or ICMPv6 message."""

_UNTRACKED = (134, 137)
"""ICMPv6 messages that connection tracking doesn't know: no state fits them."""

ETHERNET = {4: "ip", 6: "ipv6"}

Said = dict[str, str]


def rule(
    origin: Origin, priority: int, action: str, direction: str, protocol: str, said: Said, state_match: bool = True
) -> FilterRule:
    """One rule, its attributes in the order of libvirt's format page."""
    attributes = tuple((name, said[name]) for name in _ORDER if name in said)
    match = Match(protocol=protocol, attributes=attributes)
    return FilterRule(
        action=action, direction=direction, priority=priority, match=match, state_match=state_match, origin=origin
    )


_ORDER = (
    *("srcipaddr", "srcipmask", "dstipaddr", "dstipmask", "protocol"),
    *("srcportstart", "srcportend", "dstportstart", "dstportend", "type", "connlimit-above", "state", "flags"),
)


def of_version(protocol: str, version: int) -> str:
    """libvirt's element for a protocol over an IP version."""
    if protocol == "icmp":
        return "icmp" if version == 4 else "icmpv6"
    return protocol if version == 4 else f"{protocol}-ipv6"


def ports(side: str, first: int, last: int) -> Said:
    """A port or a range of ports."""
    said = {f"{side}portstart": str(first)}
    return said if first == last else said | {f"{side}portend": str(last)}


def parameter(peer: Peer, version: int) -> str:
    """The list parameter that holds a peer's addresses; its masks' is the same with ``_MASK``.

    Every name has one of its own: what isn't a small letter, a digit or a dash is an X and its number.
    """
    name = re.sub(r"[^a-z0-9-]", lambda found: f"X{ord(found[0]):02X}", peer.name).replace("-", "_")
    return peer.kind.upper() + (f"_{name}" if name else "") + ("_IPV6" if version == 6 else "")


def _peers(entry: Entry, version: int) -> Iterator[tuple[Peer | None, str, str]]:
    """Each peer with its address and mask as a rule names them; one without both where it is anyone."""
    if not entry.peers:
        yield None, "", ""
    for peer in entry.peers:
        if peer.kind != ADDRESS:
            name = parameter(peer, version)
            yield peer, f"${name}", f"${name}_MASK"
        elif peer.network is not None and peer.network.version == version:
            yield peer, str(peer.network.network_address), str(peer.network.prefixlen)


def _side(side: str, address: str, mask: str) -> Said:
    return {f"{side}ipaddr": address, f"{side}ipmask": mask} if address else {}


def policy_rules(policy: Policy) -> Iterator[FilterRule]:
    """All rules of a policy's filter, in the order of its lines."""
    for direction, entry in policy.entries():
        for version in entry.versions:
            for _, address, mask in _peers(entry, version):
                for service in entry.services:
                    lowering = _Lowering(entry, direction, version, address, mask)
                    yield from lowering.rules(service)


class _Lowering:
    """One line for one peer and one IP version."""

    def __init__(self, entry: Entry, direction: str, version: int, address: str, mask: str) -> None:
        self._entry = entry
        self._direction = direction
        self._version = version
        self._asker = _side("src" if direction == "in" else "dst", address, mask)
        self._asked = _side("dst" if direction == "in" else "src", address, mask)
        self._sender = _side("src", address, mask)

    def rules(self, service: Service) -> Iterator[FilterRule]:
        """The rules for a service: the guard's first."""
        if service.protocol == "dhcp":
            yield from self._dhcp()
            return
        yield from self._guard(service)
        for protocol, said in self._matches(service):
            if self._entry.connections is not None:
                limit = {"connlimit-above": str(self._entry.connections), "state": "NEW"}
                yield self._rule(LIMIT, "drop", self._direction, protocol, said | limit)
            yield from self._accept(protocol, said)

    def _matches(self, service: Service) -> Iterator[tuple[str, Said]]:
        protocol = of_version(service.protocol, self._version)
        if service.ports is not None:
            yield protocol, self._asker | ports("dst", *service.ports)
        elif service.protocol == "icmp":
            for version, number in service.types:
                if version == self._version:
                    yield protocol, self._asker | {"type": str(number)}
        else:
            yield protocol, self._asker

    def _accept(self, protocol: str, said: Said) -> Iterator[FilterRule]:
        """libvirt accepts the answers of a connection by itself, but not those of ICMP with a type."""
        number = int(said.get("type", -1))
        priority = IN if self._direction == "in" else OUT
        yield self._rule(priority, "accept", self._direction, protocol, said, number not in _UNTRACKED)
        if number in _ANSWERS:
            back = "out" if self._direction == "in" else "in"
            yield self._rule(priority, "accept", back, protocol, self._asked | {"type": str(_ANSWERS[number])})

    def _guard(self, service: Service) -> Iterator[FilterRule]:
        """What of it, or of its answers, must not be stopped on the way in; ICMP isn't at all."""
        if service.protocol == "all":
            yield self._ethernet(self._sender)
        elif service.ports is not None:
            said = self._sender | {"protocol": service.protocol}
            if self._direction == "in":
                yield self._ethernet(said | ports("dst", *service.ports))
            else:
                for answer in _answers(service):
                    yield self._ethernet(said | answer)

    def _dhcp(self) -> Iterator[FilterRule]:
        client, server = (68, 67) if self._version == 4 else (546, 547)
        protocol = of_version("udp", self._version)
        answer = ports("src", server, server) | ports("dst", client, client)
        yield self._ethernet({"protocol": "udp"} | answer)
        yield self._rule(OUT, "accept", "out", protocol, ports("src", client, client) | ports("dst", server, server))
        yield self._rule(OUT, "accept", "in", protocol, answer)

    def _ethernet(self, said: Said) -> FilterRule:
        return self._rule(GUARD, "accept", "in", ETHERNET[self._version], said)

    def _rule(
        self, priority: int, action: str, direction: str, protocol: str, said: Said, state_match: bool = True
    ) -> FilterRule:
        return rule(self._entry.origin, priority, action, direction, protocol, said, state_match)


def _answers(service: Service) -> Iterator[Said]:
    """What the answers to a question may look like: to a client's port, or to the very port that was asked.

    The latter is how NTP and IKE talk; of a range it is any of the range.
    """
    assert service.ports, "of tcp and udp only"
    first, last = service.ports
    source = ports("src", first, last)
    yield source | ports("dst", LOWEST_CLIENT_PORT, 65535)
    if service.protocol == "udp" and first < LOWEST_CLIENT_PORT:
        yield source | ports("dst", first, min(last, LOWEST_CLIENT_PORT - 1))
