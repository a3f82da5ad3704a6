"""What a change of links' files does to links that run, by the applier's rules.

A link that isn't there yet is started. One that runs takes what NetworkManager's ``device reapply`` changes; for all
else, and always under network-scripts, it runs on as it is until somebody names it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from kvmgen.artifact import Artifact
from kvmgen.difference.impact_guests import Guests
from kvmgen.difference.model import Effect, Impact
from kvmgen.value import value

_IFCFG = "etc/sysconfig/network-scripts/ifcfg-"
_PLACES = ("etc/sysconfig/network", "etc/NetworkManager/")
_KEYFILES = "etc/NetworkManager/system-connections/"
_BEHIND = ("ovs-port", "ovs-bridge")
"""What Open vSwitch has behind a link, with profiles of their own."""

_TAKEN_LIVE = re.compile(r"connection\.(id|zone)|ethernet\.mtu|ipv[46]\..*|bridge\.(?!stp$|mac-address$).*")
"""The keys of a profile that NetworkManager changes in a link that runs, as the applier has them."""


@value
class Wire:
    """A link as its file has it: ``parent`` is a VLAN's, ``controller`` the bridge or bond that it is a port of."""

    device: str
    path: str
    kind: str = ""
    parent: str | None = None
    controller: str | None = None
    is_switched: bool = False


def device_of(path: str) -> str:
    """The device that an ifcfg, route or keyfile is for; Open vSwitch has several keyfiles with one device."""
    name = path.rpartition("/")[2]
    return re.sub(r"^(ifcfg|route6?|rule6?|keys)-|(\.ovs-\w+)?\.nmconnection$", "", name)


def wires(artifacts: Mapping[str, Artifact]) -> dict[str, Wire]:
    """A host's links by their names, the lower ones first."""
    found: list[Wire] = []
    behind: dict[str, Wire] = {}
    for path, artifact in artifacts.items():
        if path.startswith(_KEYFILES):
            wire, uuid = _of_keyfile(path, keys_of(artifact.text))
            if wire.kind in _BEHIND:
                behind[uuid] = wire
            else:
                found.append(wire)
        elif path.startswith(_IFCFG):
            found.append(_of_ifcfg(path, artifact.text))
    return {wire.device: _past(wire, behind) for wire in found}


def _of_ifcfg(path: str, text: str) -> Wire:
    keys = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', text, re.MULTILINE))
    above = keys.get("BRIDGE") or keys.get("MASTER")
    return Wire(device=keys.get("DEVICE") or device_of(path), path=path, parent=keys.get("PHYSDEV"), controller=above)


def _of_keyfile(path: str, keys: Mapping[str, str]) -> tuple[Wire, str]:
    wire = Wire(
        device=keys.get("connection.interface-name", ""),
        path=path,
        kind=keys.get("connection.type", ""),
        parent=keys.get("vlan.parent"),
        controller=keys.get("connection.controller") or keys.get("connection.master"),
    )
    return wire, keys.get("connection.uuid", "")


def _past(wire: Wire, behind: Mapping[str, Wire]) -> Wire:
    """A link with its bridge instead of the port of Open vSwitch that stands between them."""
    controller, is_switched = wire.controller, False
    while known := behind.get(controller or ""):
        is_switched = True
        controller = known.controller if known.kind == "ovs-port" else known.device
    above = None if controller == wire.device else controller
    return Wire(
        device=wire.device,
        path=wire.path,
        kind=wire.kind,
        parent=wire.parent,
        controller=above,
        is_switched=is_switched,
    )


def keys_of(keyfile: str) -> dict[str, str]:
    """A keyfile's settings, as ``section.key``."""
    found, section = {}, ""
    for line in map(str.strip, keyfile.splitlines()):
        key, equals, text = line.partition("=")
        if line.startswith("["):
            section = line.strip("[]")
        elif equals and not line.startswith("#"):
            found[f"{section}.{key.strip()}"] = text.strip()
    return found


def right_below(device: str, links: Mapping[str, Wire]) -> set[str]:
    """The links right below one: a VLAN's parent, a bridge's and a bond's ports."""
    parent = links[device].parent if device in links else None
    ports = {name for name, wire in links.items() if wire.controller == device}
    return ports | ({parent} if parent else set())


def below(devices: Iterable[str], links: Mapping[str, Wire]) -> set[str]:
    """Links and all that is below them."""
    found = set(devices)
    for device in tuple(found):
        found |= below(right_below(device, links) - found, links)
    return found


def above(device: str, links: Mapping[str, Wire]) -> set[str]:
    """A link and all that stands on it."""
    found, new = {device}, {device}
    while new:
        new = {name for name, wire in links.items() if {wire.parent, wire.controller} & new} | {
            str(links[name].controller) for name in new if name in links and links[name].controller
        }
        new -= found
        found |= new
    return found


# -- what becomes of them ----------------------------------------------------------------------------------------------


class Links:
    """A host's links before and after a change, and what becomes of those whose files change."""

    def __init__(self, before: Mapping[str, Artifact], after: Mapping[str, Artifact]) -> None:
        self._texts = before, after
        self._before, self._after = wires(before), wires(after)
        self._changed: dict[str, list[str]] = {}
        for path in dict.fromkeys([*before, *after]):
            if path.startswith(_PLACES) and not is_same(before.get(path), after.get(path)):
                self._changed.setdefault(device_of(path), []).append(path)
        self._waiting = self._that_wait()

    def impact(self, path: str, ways_in: Collection[str], guests: Guests) -> Impact:
        """What becomes of the link of a file; ``ways_in`` are the links that administrators come in by."""
        device = device_of(path)
        found = self._unguarded(device, guests)
        if device in below(below(ways_in, self._before), self._after):
            return on_the_way_in(found)
        return found

    def _unguarded(self, device: str, guests: Guests) -> Impact:
        if device in self._waiting and device not in self._before:
            lower = sorted(self._waiting.keys() & right_below(device, self._after))
            return self._restart(lower, self._waiting[device], guests)
        if device in self._waiting:
            return self._restart([device], self._waiting[device], guests)
        if device not in self._before:
            return Impact(effect=Effect.LIVE, why="it is started" if device in self._after else "")
        if device not in self._after:
            return self._restart([device], "it runs on until the host starts anew", guests)
        return Impact(effect=Effect.LIVE, why="NetworkManager changes it as it runs")

    def _restart(self, devices: Collection[str], why: str, guests: Guests) -> Impact:
        """Of links that run on until they are named, and of the guests on all that stands on them."""
        cut = guests.on_bridges(set().union(*(above(device, self._before) for device in devices)))
        effect = Effect.NETWORK_RESTART if cut else Effect.RESTART
        return Impact(effect=effect, guests=cut, needs=" ".join(f"--disruptive {name}" for name in devices), why=why)

    def _that_wait(self) -> dict[str, str]:
        """The links that run on as they are, or don't start, and why."""
        found: dict[str, str] = {}
        for device in [name for name in self._after if name in self._changed]:
            lower = sorted(found.keys() & right_below(device, self._after))
            why = f"it waits for {', '.join(lower)}" if lower else self._why_it_waits(device)
            if why:
                found[device] = why
        return found

    def _why_it_waits(self, device: str) -> str:
        if device not in self._before:
            return ""
        wire, paths = self._after[device], self._changed[device]
        before, after = (texts.get(wire.path) for texts in self._texts)
        if not wire.path.startswith(_KEYFILES):
            return "ifup changes nothing of a link that runs"
        if before is None or after is None or paths != [wire.path] or wire.is_switched:
            return "NetworkManager changes it only by starting it anew"
        old, new = keys_of(before.text), keys_of(after.text)
        changed = sorted(key for key in {*old, *new} if old.get(key) != new.get(key) and not _TAKEN_LIVE.fullmatch(key))
        return f"NetworkManager can't change {', '.join(changed)} of a link that runs" if changed else ""


def is_same(one: Artifact | None, other: Artifact | None) -> bool:
    """Whether two files of text are one to the applier."""
    if one is None or other is None:
        return one is other
    return (one.text, one.mode) == (other.text, other.mode)


CONFIRMED = "--confirm-within 120"


def on_the_way_in(found: Impact) -> Impact:
    """The same on the way that administrators come in by: it goes back unless they confirm it."""
    needs = f"{CONFIRMED} {found.needs}".rstrip()
    return Impact(effect=Effect.MANAGEMENT, guests=found.guests, needs=needs, why=found.why)
