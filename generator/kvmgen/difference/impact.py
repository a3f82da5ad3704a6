"""What applying a change does to a host, told before anybody does it: the applier's `plan`, without the host.

Taken for granted is what only the host knows: that it runs what the older files say, with all its networks and guests
on, NetworkManager (or ifup) and firewalld running, and nothing changed by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from types import MappingProxyType

from kvmgen.artifact import Artifact, Kind
from kvmgen.difference.impact_guests import Guests
from kvmgen.difference.impact_libvirt import domain_impact, network_impact
from kvmgen.difference.impact_links import Links, is_same, on_the_way_in
from kvmgen.difference.model import Effect, Impact, ObjectChange
from kvmgen.difference.sides import HostSide
from kvmgen.difference.words import joined
from kvmgen.model.host import Host

_Artifacts = Mapping[str, Artifact]
_NOTHING: _Artifacts = MappingProxyType({})
_LIVE = Impact(effect=Effect.LIVE)
_NFTABLES = "etc/nftables/"
_FOR_ADDRESSES = re.compile("net/ipv[46]/conf/")
_ANOTHER_UUID = "the applier refuses it: libvirt redefines what is there only under the UUID that it has"
_HOLDS_ON = "what it said holds until the host starts anew"


class Applying:
    """One host before and after a change, and what the applier does to it; either side may be absent."""

    def __init__(self, before: HostSide | None, after: HostSide | None) -> None:
        self._before = _NOTHING if before is None else before.artifacts
        self._after = _NOTHING if after is None else after.artifacts
        self._host = before.view.host if before else after.view.host if after else None
        self._is_left = after is None
        self.guests = Guests(self._before, self._after)

    @cached_property
    def links(self) -> Links:
        """Its links, and what becomes of them."""
        return Links(self._before, self._after)

    @cached_property
    def ways_in(self) -> frozenset[str]:
        """The links that administrators come in by."""
        return ways_in(self._host) if self._host else frozenset()

    def impact_of(self, change: ObjectChange) -> Impact | None:
        """What becomes of an object: the heaviest of what becomes of its files.

        ``None`` where the host leaves the inventory: nothing is applied to it any more, and it stays as it is.
        """
        if self._is_left:
            return None
        paths = [file.path for file in change.files] or list(self._paths_of(change))
        return joined(map(self.of_path, paths)) or _LIVE

    def _paths_of(self, change: ObjectChange) -> Iterable[str]:
        """The file of an object none of whose files says otherwise than before: the manifest alone does."""
        for artifacts in (self._after, self._before):
            for path, artifact in artifacts.items():
                name = artifact.defines.name if artifact.defines else path
                if (str(artifact.kind), name) == (change.kind, change.name):
                    yield path
                    return

    def of_path(self, path: str) -> Impact:
        """What becomes of one file of the host's folder."""
        before, after = self._before.get(path), self._after.get(path)
        known = after or before
        if known is None:
            return _LIVE
        found = _OF_KIND.get(known.kind, _of_another)(self, path, before, after)
        return replace(found, why=_ANOTHER_UUID) if _has_another_uuid(before, after) else found


def _has_another_uuid(before: Artifact | None, after: Artifact | None) -> bool:
    """Whether an object of libvirt is to have another UUID."""
    known = [artifact.defines.uuid for artifact in (before, after) if artifact and artifact.defines]
    return len(set(known)) > 1


def ways_in(host: Host) -> frozenset[str]:
    """The links that administrators come in by: the one that the inventory names, and those of the default routes.

    A host that asks for its addresses may be given a default route with them.
    """
    found = {host.management} if host.management else set()
    for link in host.links:
        addressing = link.addressing
        is_asking = addressing.dhcp4 or addressing.dhcp6 or addressing.accept_ra
        if is_asking or any(route.to is None or route.to.prefixlen == 0 for route in addressing.routes):
            found.add(link.name)
    return frozenset(found)


# -- a kind of file each -----------------------------------------------------------------------------------------------

_OfKind = Callable[[Applying, str, Artifact | None, Artifact | None], Impact]


def _of_link(applying: Applying, path: str, _before: Artifact | None, _after: Artifact | None) -> Impact:
    return applying.links.impact(path, applying.ways_in, applying.guests)


def _of_sysctl(_applying: Applying, _path: str, before: Artifact | None, after: Artifact | None) -> Impact:
    why = "" if after else _HOLDS_ON
    changed = _settings(before) ^ _settings(after)
    if any(_FOR_ADDRESSES.match(place) for place, _ in changed):
        return on_the_way_in(Impact(effect=Effect.LIVE, why=why or "it sets how the host handles addresses"))
    return Impact(effect=Effect.LIVE, why=why)


def _settings(artifact: Artifact | None) -> set[tuple[str, str]]:
    """The settings of a file of sysctl.d: a place below /proc/sys and a value each."""
    found = set()
    for line in artifact.text.splitlines() if artifact else ():
        key, equals, text = line.partition("=")
        key = key.strip().lstrip("-")
        if equals and not key.startswith(("#", ";")):
            if "/" not in key or -1 < key.find(".") < key.find("/"):
                key = key.translate({ord("."): "/", ord("/"): "."})
            found.add((key, " ".join(text.split())))
    return found


def _of_firewall(_applying: Applying, path: str, _before: Artifact | None, _after: Artifact | None) -> Impact:
    if path.startswith(_NFTABLES):
        return Impact(effect=Effect.LIVE, why="nftables replaces kvmgen's table at once")
    return on_the_way_in(Impact(effect=Effect.LIVE, why="the host's firewall is loaded anew"))


def _of_modules(_applying: Applying, _path: str, _before: Artifact | None, after: Artifact | None) -> Impact:
    return Impact(effect=Effect.LIVE, why="" if after else _HOLDS_ON)


def _of_network(applying: Applying, _path: str, before: Artifact | None, after: Artifact | None) -> Impact:
    if before is None or after is None:
        return _gone(before, applying.guests.left_on_network) if after is None else _LIVE
    if is_same(before, after):
        return _LIVE
    name = _name(after)
    return network_impact(name, before.text, after.text, applying.guests.on_network(name))


def _of_nwfilter(applying: Applying, _path: str, before: Artifact | None, after: Artifact | None) -> Impact:
    if after is None:
        return _gone(before, applying.guests.left_with_filter)
    return Impact(effect=Effect.LIVE, why="libvirt changes it at once on the guests that have it" if before else "")


def _of_domain(_applying: Applying, _path: str, before: Artifact | None, after: Artifact | None) -> Impact:
    if before is None or after is None:
        return _gone(before, lambda name: (name,)) if after is None else _LIVE
    return domain_impact(_name(after), before.text, after.text)


def _gone(before: Artifact | None, still_used_by: Callable[[str], tuple[str, ...]]) -> Impact:
    guests = still_used_by(_name(before))
    return Impact(effect=Effect.WAITS, guests=guests) if guests else _LIVE


def _name(artifact: Artifact | None) -> str:
    return artifact.defines.name if artifact and artifact.defines else ""


def _of_seed(_applying: Applying, _path: str, before: Artifact | None, _after: Artifact | None) -> Impact:
    return Impact(effect=Effect.LIVE, why="a running guest keeps the seed that it started with") if before else _LIVE


def _of_unit(*_: object) -> Impact:
    return Impact(effect=Effect.LIVE, why="it counts when its service starts next")


def _of_guest_file(*_: object) -> Impact:
    return Impact(effect=Effect.LIVE, why="it belongs inside the guest, where the applier does nothing")


def _of_another(*_: object) -> Impact:
    return _LIVE


_OF_KIND: Mapping[Kind, _OfKind] = MappingProxyType(
    {
        Kind.MODULES: _of_modules,
        Kind.SYSCTL: _of_sysctl,
        Kind.LINK: _of_link,
        Kind.FIREWALL: _of_firewall,
        Kind.UNIT: _of_unit,
        Kind.NETWORK: _of_network,
        Kind.NWFILTER: _of_nwfilter,
        Kind.SEED: _of_seed,
        Kind.DOMAIN: _of_domain,
        Kind.GUEST_FILE: _of_guest_file,
    }
)
