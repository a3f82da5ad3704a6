"""A policy: whom a guest listens to and whom it may ask, as the inventory says it.

A direction that a policy doesn't name is ``None``: it says nothing of it. Of several policies on an interface, a
direction that any of them names lets through what one of them allows, and nothing else.
"""

from __future__ import annotations

from dataclasses import field

from kvmgen.diagnostics import Origin
from kvmgen.model.expectation import Expectation
from kvmgen.model.values import Network
from kvmgen.value import record, value

ADDRESS, GUEST, POLICY, NETWORK, HOST = "address", "guest", "policy", "network", "host"
"""What a peer can be; `HOST` is whatever carries the guest, on the bridge or network where that is plugged in."""


@record
class Peer:
    """Somebody at the other end. ``name`` is an object's; ``network`` is set for an `ADDRESS`, one or a subnet."""

    kind: str
    name: str = ""
    network: Network | None = None
    origin: Origin = field(default=Origin(""), compare=False)

    def __str__(self) -> str:
        if self.kind == ADDRESS and self.network is not None:
            single = self.network.prefixlen == self.network.max_prefixlen
            return str(self.network.network_address if single else self.network)
        return "the host" if self.kind == HOST else f"the {self.kind} {self.name}"


@record
class Service:
    """What is asked for: ``protocol`` is tcp, udp, icmp, dhcp or all.

    ``ports`` are the first and the last port that is asked, of tcp and udp. ``types`` are the types of an ICMP message
    by IP version, those that it has one for.
    """

    protocol: str
    ports: tuple[int, int] | None = None
    types: tuple[tuple[int, int], ...] = ()

    def covers(self, other: Service) -> bool:
        """Whether whoever may ask for this may also ask for the other."""
        if self.protocol == "all":
            return True
        if self.protocol != other.protocol:
            return False
        if self.ports is not None and other.ports is not None:
            return self.ports[0] <= other.ports[0] and other.ports[1] <= self.ports[1]
        return set(other.types) <= set(self.types)

    def overlaps(self, other: Service) -> bool:
        """Whether something can be asked for by both."""
        if "all" in (self.protocol, other.protocol):
            return True
        if self.protocol != other.protocol:
            return False
        if self.ports is not None and other.ports is not None:
            return self.ports[0] <= other.ports[1] and other.ports[0] <= self.ports[1]
        return self.types == other.types or bool(set(self.types) & set(other.types))


@value
class Entry:
    """One line of an allow-list: these services, for these peers; no peers are anyone.

    ``origin`` is the line's, ``words`` what it calls the services. ``connections`` is how many of them one source may
    have at a time.
    """

    origin: Origin
    words: str
    services: tuple[Service, ...]
    peers: tuple[Peer, ...] = ()
    versions: tuple[int, ...] = (4, 6)
    connections: int | None = None


@value
class Policy:
    """A policy. ``expects`` is what must be true of its members' packets."""

    name: str
    origin: Origin
    allow_in: tuple[Entry, ...] | None = None
    allow_out: tuple[Entry, ...] | None = None
    expects: tuple[Expectation, ...] = ()

    def directions(self) -> tuple[tuple[str, tuple[Entry, ...] | None], ...]:
        """Its lists by libvirt's word for their direction."""
        return ("in", self.allow_in), ("out", self.allow_out)

    def entries(self) -> tuple[tuple[str, Entry], ...]:
        """Every line with its direction."""
        return tuple((direction, entry) for direction, listed in self.directions() for entry in listed or ())
