"""Typed values: what has been checked once and is then believed."""

from __future__ import annotations

from dataclasses import field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import NewType

from kvmgen.diagnostics import Origin
from kvmgen.value import record, value

Mac = NewType("Mac", str)
"""Six lower-case hexadecimal pairs with colons."""

Uuid = NewType("Uuid", str)
"""A UUID in lower case with dashes."""

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network

KIB = 1
MIB = 1024
GIB = 1024 * 1024
"""Memory is counted in KiB, as libvirt does."""


@record
class Range:
    """An inclusive range of addresses, both of one family."""

    start: Address
    end: Address


@value
class Route:
    """A route: ``to`` is ``None`` for the default route, whose family is that of ``via``."""

    to: Network | None
    via: Address
    metric: int | None = None

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.via.version


@value
class Dns:
    """The resolver's settings; ``origin`` is where they were said, a machine's own file or the site's."""

    servers: tuple[Address, ...] = ()
    search: tuple[str, ...] = ()
    origin: Origin | None = field(default=None, compare=False)


@value
class VlanTags:
    """The VLANs of a port. With ``trunk`` the guest sees their tags, but for those of ``native``, one of them."""

    tags: tuple[int, ...]
    native: int | None = None
    trunk: bool = False


@value
class Bandwidth:
    """A traffic limit of one direction, in libvirt's units: KiB/s for rates, KiB for ``burst``."""

    average: int | None = None
    peak: int | None = None
    burst: int | None = None
    floor: int | None = None


@value
class Bandwidths:
    """Limits of both directions; libvirt's ``inbound`` is towards the guest."""

    inbound: Bandwidth | None = None
    outbound: Bandwidth | None = None
