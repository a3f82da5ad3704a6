"""What the inventory says must be true of its packets: who reaches whom, and that nobody poses as another."""

from __future__ import annotations

from kvmgen.diagnostics import Origin
from kvmgen.value import record, value

NAMED, POLICY, NETWORK, GUESTS, OUTSIDE, HOST = "named", "policy", "network", "guests", "outside", "host"
"""What an end can be; a `NAMED` one is a guest, a host or an address; `HOST` carries the guest at the other end."""


@record
class End:
    """One end of an expected packet, and its name where it has one."""

    kind: str
    name: str = ""

    def __str__(self) -> str:
        return self.name if self.kind == NAMED else f"{self.kind} {self.name}".rstrip()


@value
class Expectation:
    """One expectation. ``sources`` must, for ``service`` in ``versions``, come out at ``targets`` as ``verdict`` says.

    ``excepted`` are not meant, though they are among the sources. With ``only_from``, these are delivered and nobody
    else. With ``spoof`` (``mac``, ``ip``, ``arp``), the sources forge their packets. ``service`` is (protocol, port or
    type).
    """

    origin: Origin
    verdict: str
    sources: tuple[End, ...] = ()
    targets: tuple[End, ...] = ()
    excepted: tuple[End, ...] = ()
    only_from: tuple[End, ...] | None = None
    service: tuple[str, int | None] = ("ping", None)
    versions: tuple[int, ...] = (4, 6)
    spoof: tuple[str, ...] = ()
