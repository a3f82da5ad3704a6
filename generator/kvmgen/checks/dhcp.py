"""The ranges that libvirt's dnsmasq leases from."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.checks._dhcp import hand_leases, home, ranges, subnets
from kvmgen.diagnostics import Diagnostic, Origin, Rule, Severity
from kvmgen.model.network import VirtualNetwork
from kvmgen.model.site import Site
from kvmgen.model.values import Address, Range

RANGE_OUTSIDE = Rule(code="KV304", title="A DHCP range outside its network's subnets")
RESERVED_END = Rule(code="KV305", title="A DHCP range up to an address that is no machine's")
TOO_WIDE = Rule(code="KV310", title="A DHCP range wider than libvirt takes")
TWO_SUBNETS = Rule(code="KV311", title="DHCP in two subnets of one IP version")
SHORT_PREFIX = Rule(code="KV312", title="DHCP in an IPv6 subnet larger than /64")
OWN_IN_RANGE = Rule(code="KV313", title="A DHCP range with the network's own address in it", severity=Severity.WARNING)
OVERLAPPING = Rule(code="KV314", title="DHCP ranges that overlap", severity=Severity.WARNING)


def outside(site: Site) -> Iterator[Diagnostic]:
    """libvirt leases from the subnets of a network's own addresses; a range beyond them is refused at `net-define`.

    Without its network no guest that is plugged into it starts. A range that starts in no subnet at all belongs to no
    address of the network, and would be lost.

    Bad::

        # networks/default.yaml
        addresses: [192.168.122.1/24]
        dhcp:
          ranges:
            - 192.168.123.100-192.168.123.254

    Good::

        # networks/default.yaml
        addresses: [192.168.122.1/24]
        dhcp:
          ranges:
            - 192.168.122.100-192.168.122.254

    Source: https://libvirt.org/formatnetwork.html#addressing; libvirt 9.0 says "range ... is not entirely within
    network".
    """
    for network, leased, origin in ranges(site):
        start, end = home(network, leased.start), home(network, leased.end)
        if start is None or end is None or leased.end not in network.addresses[start].network:
            yield Diagnostic(
                rule=RANGE_OUTSIDE,
                message=f"the range {leased.start}-{leased.end} {_stray(network, leased, start)}",
                hint="Write addresses of one subnet of the network, or give the network an address in that subnet.",
                origin=origin,
            )


def _stray(network: VirtualNetwork, leased: Range, start: int | None) -> str:
    if start is not None:
        return f"reaches beyond {network.addresses[start].network}: libvirt refuses the network"
    own = subnets(network, leased.start.version)
    if not own:
        return f"is on a network without an IPv{leased.start.version} address: nothing would be leased"
    return f"doesn't start in {own}: nothing would be leased from there"


def reserved_ends(site: Site) -> Iterator[Diagnostic]:
    """The first and the last address of an IPv4 subnet are no machine's, and libvirt refuses a range with either.

    Bad::

        # networks/default.yaml
        addresses: [192.168.122.100/24]
        dhcp: {ranges: [192.168.122.0-192.168.122.99, 192.168.122.101-192.168.122.255]}

    Good::

        # networks/default.yaml
        addresses: [192.168.122.100/24]
        dhcp: {ranges: [192.168.122.1-192.168.122.99, 192.168.122.101-192.168.122.254]}

    Source: https://libvirt.org/formatnetwork.html#addressing; libvirt 9.0 says "start of range ... is the network
    address" and "end of range ... is the broadcast address".
    """
    for network, leased, origin in ranges(site):
        at = home(network, leased.start)
        if at is None or leased.start.version == 6:
            continue
        subnet = network.addresses[at].network
        ends = (
            ("starts", leased.start, subnet.network_address, "network"),
            ("ends", leased.end, subnet.broadcast_address, "broadcast"),
        )
        for what, address, reserved, kind in ends:
            if address == reserved:
                yield Diagnostic(
                    rule=RESERVED_END,
                    message=f"the range {what} at {address}, the {kind} address of {subnet}: libvirt refuses the "
                    "network",
                    hint="Leave the subnet's first and last address out.",
                    origin=origin,
                )


_COUNTED_BITS = 16
"""libvirt counts a range's addresses in the last bits alone, so that both ends must have the others in common."""


def too_wide(site: Site) -> Iterator[Diagnostic]:
    """libvirt takes no range whose two ends differ in more than their last 16 bits.

    For IPv4 they must have the first two numbers in common, for IPv6 all but the last group; then it says that the
    range is too large, however few addresses it has. Several ranges beside each other are well.

    Bad::

        # networks/lab.yaml
        addresses: [10.0.0.1/15, "fd00:122::1/64"]
        dhcp:
          ranges:
            - 10.0.0.2-10.1.255.254
            - "fd00:122::ff00-fd00:122::1:ff"

    Good::

        # networks/lab.yaml
        addresses: [10.0.0.1/15, "fd00:122::1/64"]
        dhcp:
          ranges:
            - 10.0.0.2-10.0.255.255
            - 10.1.0.0-10.1.255.254
            - "fd00:122::1:0-fd00:122::1:ffff"

    Source: `virSocketAddrGetRange` in https://gitlab.com/libvirt/libvirt/-/blob/master/src/util/virsocketaddr.c;
    libvirt 9.0 says "range 10.0.255.250 - 10.1.0.5 is too large (> 65535)".
    """
    for _, leased, origin in ranges(site):
        if is_too_wide(leased):
            yield Diagnostic(
                rule=TOO_WIDE,
                message=f"the ends of {leased.start}-{leased.end} differ in more than their last 16 bits: libvirt "
                "refuses the network",
                hint="Write several ranges beside each other.",
                origin=origin,
            )


def is_too_wide(leased: Range) -> bool:
    """Whether libvirt refuses to count a range's addresses."""
    return int(leased.start) >> _COUNTED_BITS != int(leased.end) >> _COUNTED_BITS


def two_subnets(site: Site) -> Iterator[Diagnostic]:
    """libvirt leases in one subnet of each IP version: a network with a second one is refused at `net-define`.

    Ranges and fixed leases both count. Guests with addresses of their own may be in every subnet of a network.

    Bad::

        # networks/lab.yaml
        addresses: [192.168.130.1/24, 192.168.131.1/24, "fd00:130::1/64", "fd00:131::1/64"]
        dhcp:
          ranges:
            - 192.168.130.100-192.168.130.254
            - 192.168.131.100-192.168.131.254

    Good::

        # networks/lab.yaml
        addresses: [192.168.130.1/23, "fd00:130::1/64", "fd00:131::1/64"]
        dhcp:
          ranges:
            - 192.168.130.100-192.168.130.254
            - 192.168.131.100-192.168.131.254

    Source: https://libvirt.org/formatnetwork.html#addressing; libvirt 9.0 says "Multiple IPv4 dhcp sections found".
    """
    for network in site.carried():
        if len(network.addresses) < 2:
            continue
        first: dict[int, tuple[int, Origin]] = {}
        for address, origin in _leased(network):
            at = home(network, address)
            if at is None:
                continue
            other, place = first.setdefault(address.version, (at, origin))
            if other != at:
                yield _second_subnet(network, at, other, origin, place)


def _leased(network: VirtualNetwork) -> Iterator[tuple[Address, Origin]]:
    for index, leased in enumerate(network.dhcp.ranges):
        yield leased.start, network.at("dhcp", "ranges", index)
    for lease, origin in hand_leases(network):
        yield lease.address, origin


def _second_subnet(network: VirtualNetwork, at: int, other: int, origin: Origin, place: Origin) -> Diagnostic:
    second, first = network.addresses[at], network.addresses[other]
    return Diagnostic(
        rule=TWO_SUBNETS,
        message=f"DHCP in {second.network} beside {first.network}: libvirt takes one subnet of IPv{second.version}",
        hint="Keep the leases of one subnet, or make it one network for each.",
        origin=origin,
        related=((place, f"leased in {first.network}"),),
    )


def short_prefixes(site: Site) -> Iterator[Diagnostic]:
    """dnsmasq ends at once where it shall lease IPv6 addresses of a subnet larger than /64, and the network with it.

    libvirt defines such a network, and it fails when it starts.

    Bad::

        # networks/lab.yaml
        addresses: [192.168.130.1/24, "fd00:130::1/48"]
        dhcp: {ranges: [192.168.130.100-192.168.130.254, "fd00:130::100-fd00:130::1ff"]}

    Good::

        # networks/lab.yaml
        addresses: [192.168.130.1/24, "fd00:130::1/64"]
        dhcp: {ranges: [192.168.130.100-192.168.130.254, "fd00:130::100-fd00:130::1ff"]}

    Source: `--dhcp-range` in https://thekelleys.org.uk/dnsmasq/docs/dnsmasq-man.html; dnsmasq 2.90 says "prefix length
    must be at least 64".
    """
    for network in site.carried():
        large = {at for at, own in enumerate(network.addresses) if own.version == 6 and own.network.prefixlen < 64}
        for address, origin in _leased(network) if large else ():
            at = home(network, address)
            if at in large:
                large.discard(at)
                yield Diagnostic(
                    rule=SHORT_PREFIX,
                    message=f"addresses of {network.addresses[at].network} are leased, which is larger than /64: "
                    "dnsmasq refuses, and the network doesn't start",
                    hint="Write a prefix length of 64 or more.",
                    origin=network.at("addresses", at),
                    related=((origin, "leased here"),),
                )


def own_in_range(site: Site) -> Iterator[Diagnostic]:
    """dnsmasq never leases an address of the host's own: the range has fewer addresses than it says.

    Nothing breaks as long as it is dnsmasq that leases. But whoever reads the range takes the gateway for one of the
    guests, and it is one typing error from a range that means another subnet.

    Bad::

        # networks/default.yaml
        addresses: [192.168.122.1/24]
        dhcp: {ranges: [192.168.122.1-192.168.122.254]}

    Good::

        # networks/default.yaml
        addresses: [192.168.122.1/24]
        dhcp: {ranges: [192.168.122.2-192.168.122.254]}

    Source: `--dhcp-range` in https://thekelleys.org.uk/dnsmasq/docs/dnsmasq-man.html; dnsmasq 2.90 leased every address
    of such a range but the host's.
    """
    for network, leased, origin in ranges(site):
        start, end = int(leased.start), int(leased.end)
        for index, own in enumerate(network.addresses):
            if own.version == leased.start.version and start <= int(own) <= end:
                yield Diagnostic(
                    rule=OWN_IN_RANGE,
                    message=f"the range {leased.start}-{leased.end} holds {own.ip}, the host's own address, which "
                    "dnsmasq leases to nobody",
                    hint="Start the range behind it, or write two ranges.",
                    origin=origin,
                    related=((network.at("addresses", index), "the host's own address"),),
                )


def overlapping(site: Site) -> Iterator[Diagnostic]:
    """An address of two ranges is leased once: together they have fewer addresses than it seems.

    Bad::

        # networks/default.yaml
        dhcp:
          ranges:
            - 192.168.122.100-192.168.122.199
            - 192.168.122.150-192.168.122.254

    Good::

        # networks/default.yaml
        dhcp:
          ranges:
            - 192.168.122.100-192.168.122.149
            - 192.168.122.150-192.168.122.254

    Source: https://libvirt.org/formatnetwork.html#addressing; dnsmasq 2.90 takes both, and leases each address once.
    """
    for network in site.carried():
        if len(network.dhcp.ranges) < 2:
            continue
        said = [(leased.start.version, int(leased.start), index) for index, leased in enumerate(network.dhcp.ranges)]
        widest: tuple[int, int, int] | None = None  # IP version, last address, index
        for version, start, index in sorted(said):
            if widest is not None and widest[0] == version and start <= widest[1]:
                yield _overlap(network, index, widest[2])
            end = int(network.dhcp.ranges[index].end)
            if widest is None or (version, end) > widest[:2]:
                widest = (version, end, index)


def _overlap(network: VirtualNetwork, index: int, other: int) -> Diagnostic:
    index, other = max(index, other), min(index, other)
    one, two = network.dhcp.ranges[index], network.dhcp.ranges[other]
    return Diagnostic(
        rule=OVERLAPPING,
        message=f"the range {one.start}-{one.end} overlaps with {two.start}-{two.end}",
        hint="Make it one range, or let the second one start behind the first.",
        origin=network.at("dhcp", "ranges", index),
        related=((network.at("dhcp", "ranges", other), "the other range"),),
    )
