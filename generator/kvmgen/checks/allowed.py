"""Segments that a guest may use beyond its own addresses."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from ipaddress import IPv6Network

from kvmgen.checks._filter_use import Use, uses
from kvmgen.diagnostics import Diagnostic, Origin, Rule, Severity
from kvmgen.model.site import Site
from kvmgen.model.values import Interface, Network
from kvmgen.value import record

ALL_LINK_LOCAL = Rule(code="KV538", title="Link-local addresses of others")
OTHERS_ADDRESS = Rule(code="KV541", title="An allowed segment with somebody else's address", severity=Severity.WARNING)

_LINK_LOCAL = IPv6Network("fe80::/10")
_LINK_LOCAL_STARTS = ("fe8", "fe9", "fea", "feb")


def all_link_local(site: Site) -> Iterator[Diagnostic]:
    """Every machine of a segment has an address in fe80::/64, and neighbours and routers are known by them.

    A guest that may send from all of them can answer neighbour discovery for another one, or speak for the router. Its
    own link-local address is allowed in any case: the one among its `addresses`, or else the one that follows from its
    MAC.

    Bad::

        # guests/web01.yaml
        eth1:
          bridge: br0
          addresses: [192.0.2.20/24, "2001:db8::20/64"]
          allowed-addresses: ["fe80::/64"]

    Good::

        # guests/web01.yaml
        eth1:
          bridge: br0
          addresses: [192.0.2.20/24, "2001:db8::20/64", "fe80::20/64"]

    Source: neighbour discovery, RFC 4861 (https://www.rfc-editor.org/rfc/rfc4861), and the attacks on it, RFC 3756
    (https://www.rfc-editor.org/rfc/rfc3756).
    """
    for guest, nic in site.nics():
        for index, network in enumerate(nic.allowed):
            if network.version == 6 and network.prefixlen < 128 and network.overlaps(_LINK_LOCAL):
                whose = f"{guest.name} ({nic.name})"
                yield _link_local_of_others(str(network), whose, nic.origin.at("allowed-addresses", index))
    for use in uses(site):
        if {"IPV6", "IPV6_MASK"} <= use.said:
            yield from _in_parameters(use)


def _in_parameters(use: Use) -> Iterator[Diagnostic]:
    for index, (address, mask) in enumerate(zip(use.values["IPV6"], use.values["IPV6_MASK"], strict=False)):
        if address.lower().startswith(_LINK_LOCAL_STARTS) and mask.isdecimal() and int(mask) < 128:
            yield _link_local_of_others(f"{address}/{mask}", use.whose, use.parameter("IPV6", index))


def _link_local_of_others(what: str, whose: str, origin: Origin) -> Diagnostic:
    return Diagnostic(
        rule=ALL_LINK_LOCAL,
        message=f"{what} lets {whose} send from the link-local addresses of its neighbours and routers",
        hint="Leave it out: the guest's own is allowed. One that isn't made from the MAC stands among `addresses`; "
        "all global addresses are 2000::/3.",
        origin=origin,
    )


@record
class _Owned:
    """An address and who has it; no `owner` where it is no guest."""

    number: int
    owner: str
    whose: str
    file: str
    origin: Origin


@record
class _Allowed:
    network: Network
    owner: str
    whose: str
    origin: Origin
    segments: tuple[str, ...]


def others_addresses(site: Site) -> Iterator[Diagnostic]:
    """A guest may claim every address of an allowed segment, and its filter won't stop it.

    Where another machine on the same layer-2 segment has one of them, the guest can take that machine's packets; where
    it is the gateway's, everybody's.

    Bad::

        # guests/web01.yaml
        eth1: {bridge: br0, addresses: [192.0.2.20/24], allowed-addresses: [192.0.2.32/28]}

        # guests/db01.yaml
        eth0: {bridge: br0, addresses: [192.0.2.40/24]}

    Good::

        # guests/web01.yaml
        eth1: {bridge: br0, addresses: [192.0.2.20/24], allowed-addresses: [192.0.2.32/29]}

        # guests/db01.yaml
        eth0: {bridge: br0, addresses: [192.0.2.40/24]}

    Source: address conflicts in ARP, RFC 5227 (https://www.rfc-editor.org/rfc/rfc5227).
    """
    allowed = list(_allowed(site))
    if not allowed:
        return
    owned = _owned(site, {segment for one in allowed for segment in one.segments})
    for one in allowed:
        found = next(_inside(one, owned), None)
        if found is not None:
            yield Diagnostic(
                rule=OTHERS_ADDRESS,
                message=f"{one.network} lets {one.whose} take the address of {found.whose}",
                hint="Allow smaller segments that leave it out.",
                origin=one.origin,
                related=((found.origin, f"the address of {found.whose}"),),
            )


def _allowed(site: Site) -> Iterator[_Allowed]:
    for guest, nic in site.nics():
        if nic.allowed:
            segments = tuple(site.segments_of(guest, nic))
            for index, network in enumerate(nic.allowed):
                origin = nic.origin.at("allowed-addresses", index)
                yield _Allowed(network, guest.name, f"{guest.name} ({nic.name})", origin, segments)


_Known = Mapping[tuple[str, int], list[_Owned]]


def _owned(site: Site, segments: set[str]) -> _Known:
    """The addresses on these segments by segment and IP version, sorted."""
    found: dict[tuple[str, int], list[_Owned]] = {}
    for segment, address, owner, whose, origin in _addresses(site):
        if segment in segments:
            one = _Owned(int(address.ip), owner, whose, origin.file, origin)
            found.setdefault((segment, address.version), []).append(one)
    return {key: sorted(several, key=lambda one: (one.number, one.file, one.whose)) for key, several in found.items()}


def _addresses(site: Site) -> Iterator[tuple[str, Interface, str, str, Origin]]:
    for host in site.hosts.values():
        for bridge in host.bridges:
            for index, address in enumerate(bridge.addressing.addresses):
                yield bridge.segment, address, "", f"{host.name} ({bridge.name})", bridge.origin.at("addresses", index)
    for network in site.carried():
        for index, address in enumerate(network.addresses):
            whose = f"the network {network.name} on {network.host}"
            yield network.segment, address, "", whose, network.at("addresses", index)
    for guest, nic in site.nics():
        for index, address in enumerate(nic.addressing.addresses):
            for segment in site.segments_of(guest, nic):
                yield segment, address, guest.name, f"{guest.name} ({nic.name})", nic.origin.at("addresses", index)


def _inside(one: _Allowed, owned: _Known) -> Iterator[_Owned]:
    """The addresses of others in an allowed segment."""
    first, last = int(one.network.network_address), int(one.network.broadcast_address)
    for segment in one.segments:
        known = owned.get((segment, one.network.version), [])
        for index in range(bisect_left(known, first, key=lambda other: other.number), len(known)):
            if known[index].number > last:
                break
            if known[index].owner != one.owner:
                yield known[index]
