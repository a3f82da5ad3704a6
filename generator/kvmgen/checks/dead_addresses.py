"""Addresses that an interface's filter leaves no way to."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from operator import or_

from kvmgen.checks._filter_use import Use, uses
from kvmgen.diagnostics import Diagnostic, Rule
from kvmgen.model.builtin_filters import BUILT_IN_FILTERS
from kvmgen.model.filter_trees import FilterTree
from kvmgen.model.filters import Filter, FilterRule, Match
from kvmgen.model.site import Site

NO_WAY = Rule(code="KV537", title="An address that its filter lets nothing through for")

_IN4, _OUT4, _IN6, _OUT6 = 1, 2, 4, 8
"""Kinds of frames, added up."""
_IPV4, _IPV6 = _IN4 | _OUT4, _IN6 | _OUT6
_ALL = _IPV4 | _IPV6
_DIRECTIONS = {"in": _IN4 | _IN6, "out": _OUT4 | _OUT6, "inout": _ALL}
_ETHERTYPES = {"ipv4": _IPV4, "2048": _IPV4, "0x800": _IPV4, "0x0800": _IPV4}
_ETHERTYPES |= {"ipv6": _IPV6, "34525": _IPV6, "0x86dd": _IPV6}


def no_way(site: Site) -> Iterator[Diagnostic]:
    """A filter that drops at its end what no rule has let pass drops a whole IP version where no rule names that one.

    libvirt's clean-traffic is such a filter: IPv4 and ARP pass, and all IPv6 is dropped. A guest with an IPv6 address
    under it answers nobody, not even its neighbours' discovery. Rules for tcp, udp and the like don't help: they belong
    to a later layer.

    Bad::

        # guests/web01.yaml
        eth1: {bridge: br0, addresses: [192.0.2.20/24, "2001:db8::20/64"], filter: clean-traffic}

    Good::

        # guests/web01.yaml
        eth1: {bridge: br0, addresses: [192.0.2.20/24, "2001:db8::20/64"], filter: kvmgen-anti-spoofing}

    Source: libvirt's clean-traffic and no-other-l2-traffic among its pre-existing filters
    (https://libvirt.org/formatnwfilter.html).
    """
    effects: dict[str, tuple[int, int]] = {}
    losses: dict[str, int] = {}
    for use in uses(site):
        addresses = use.nic.addressing.addresses
        if use.filter not in losses:
            losses[use.filter] = _lost(site, use.tree, effects)
        lost = losses[use.filter] if addresses else 0
        for version, frames in ((4, _IPV4), (6, _IPV6)) if lost else ():
            if lost & frames:
                index = next((index for index, address in enumerate(addresses) if address.version == version), None)
                if index is not None:
                    yield _told(use, version, index, lost & frames)


def _told(use: Use, version: int, index: int, lost: int) -> Diagnostic:
    how = {_IN4: "receives", _IN6: "receives", _OUT4: "sends", _OUT6: "sends"}.get(lost, "sends and receives")
    return Diagnostic(
        rule=NO_WAY,
        message=f"the filter {use.filter} drops all IPv{version} that {use.whose} {how}, and the interface has an "
        f"IPv{version} address",
        hint="Take kvmgen-anti-spoofing, which knows both IP versions, or add a rule that accepts "
        f"`mac: {{protocolid: ipv{version}}}`.",
        origin=use.place,
        related=((use.nic.origin.at("addresses", index), f"the IPv{version} address"),),
    )


def _lost(site: Site, tree: FilterTree, effects: dict[str, tuple[int, int]]) -> int:
    """The frames that a filter drops at its end and lets pass nowhere; the order of its rules is not looked at."""
    passed = dropped = 0
    for name in tree.names:
        if name not in effects:
            filter_ = site.filters.get(name) or BUILT_IN_FILTERS.get(name)
            effects[name] = _effect(filter_) if filter_ else (0, 0)
        one_passes, one_drops = effects[name]
        passed |= one_passes
        dropped |= one_drops
    return dropped & ~passed


def _effect(filter_: Filter) -> tuple[int, int]:
    """Which frames some rule lets pass, and which ones a rule drops whatever else they are."""
    rules = [entry for entry in filter_.entries if isinstance(entry, FilterRule)]
    is_root = filter_.chain == "root"
    passing = ("accept", "return") if is_root else ("accept",)  # in root, a return leaves the filter
    passed = (_fitting(rule, filter_.chain) for rule in rules if rule.action in passing)
    dropped = (_fitting(rule, "root") for rule in rules if is_root and rule.action == "drop" and _is_plain(rule.match))
    return reduce(or_, passed, 0), reduce(or_, dropped, 0)


def _is_plain(match: Match | None) -> bool:
    """Whether a rule asks for nothing but an IP version, if that."""
    if match is None:
        return True
    asked = {attribute for attribute, _ in match.attributes} - {"comment"}
    return not match.negated and (match.protocol in ("ip", "ipv6", "mac")) and asked <= {"protocolid"}


def _fitting(rule: FilterRule, chain: str) -> int:
    """The frames that a rule can fit."""
    match = rule.match
    frames = _ALL
    if match is None:
        frames = _IPV4 if chain.startswith("ipv4") else _IPV6 if chain.startswith("ipv6") else _ALL
    elif match.protocol == "mac" and not match.negated:
        frames = _ethertype(dict(match.attributes).get("protocolid"))
    elif match.protocol != "mac":
        frames = {"ip": _IPV4, "ipv6": _IPV6}.get(match.protocol, 0)
    return frames & _DIRECTIONS[rule.direction]


def _ethertype(protocol: str | None) -> int:
    if protocol is None or protocol.startswith("$"):
        return _ALL
    return _ETHERTYPES.get(protocol.lower(), 0)
