"""Which running guests feel what: those of the older files, all of which are taken to run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cached_property

from kvmgen.artifact import Artifact, Kind
from kvmgen.difference.impact_libvirt import interfaces, plug
from kvmgen.difference.impact_xml import definition
from kvmgen.reachability._xml import Element

_Artifacts = Mapping[str, Artifact]
_Plugged = list[tuple[str, Element]]


class Guests:
    """A host's guests as they run before a change, and as they run once all that can be live is made."""

    def __init__(self, before: _Artifacts, after: _Artifacts) -> None:
        self._before, self._after = before, after

    @cached_property
    def _now(self) -> Mapping[str, _Plugged]:
        return {name: list(interfaces(definition(text))) for name, text in _texts(self._before, Kind.DOMAIN)}

    @cached_property
    def _then(self) -> Mapping[str, _Plugged]:
        """The same, with each interface as it is to be: what it is plugged into and its filter change live."""
        wanted = dict(_texts(self._after, Kind.DOMAIN))
        found = {}
        for name, there in self._now.items():
            changed = dict(interfaces(definition(wanted[name]))) if name in wanted else {}
            found[name] = [(mac, changed.get(mac, interface)) for mac, interface in there]
        return found

    def on_network(self, name: str) -> tuple[str, ...]:
        """Those that are on a network of libvirt's."""
        return _of(self._now, {("network", name)})

    def left_on_network(self, name: str) -> tuple[str, ...]:
        """Those that are still on it once the change is made."""
        return _of(self._then, {("network", name)})

    def on_bridges(self, names: Collection[str]) -> tuple[str, ...]:
        """Those that are on bridges of the host, by themselves or by a network that is such a bridge."""
        plugs = {("bridge", name) for name in names}
        for network, text in _texts(self._before, Kind.NETWORK):
            root = definition(text)
            forward, bridge = root.find("forward"), root.find("bridge")
            if forward is not None and forward.get("mode") == "bridge" and bridge is not None:
                plugs |= {("network", network)} if bridge.get("name") in names else set()
        return _of(self._now, plugs)

    def left_with_filter(self, name: str) -> tuple[str, ...]:
        """Those whose interfaces still have a filter once the change is made, or one that includes it."""
        texts = {**dict(_texts(self._before, Kind.NWFILTER)), **dict(_texts(self._after, Kind.NWFILTER))}
        includes = {one: set(_references(definition(text))) for one, text in texts.items()}
        having = {name}
        while more := {one for one, others in includes.items() if others & having} - having:
            having |= more
        filters = {guest: {ref for _, one in there for ref in _references(one)} for guest, there in self._then.items()}
        return tuple(sorted(guest for guest, names in filters.items() if names & having))


def _texts(artifacts: _Artifacts, kind: Kind) -> Iterator[tuple[str, str]]:
    """The definitions of a kind by the names that libvirt knows them by."""
    for artifact in artifacts.values():
        if artifact.kind is kind and artifact.defines is not None:
            yield artifact.defines.name, artifact.text


def _of(guests: Mapping[str, _Plugged], plugs: Collection[tuple[str, str]]) -> tuple[str, ...]:
    there = {name: {plug(interface) for _, interface in plugged} for name, plugged in guests.items()}
    return tuple(sorted(name for name, found in there.items() if found & set(plugs)))


def _references(element: Element) -> Iterator[str]:
    for reference in element.findall("filterref"):
        yield str(reference.get("filter"))
