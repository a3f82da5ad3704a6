"""From two sides to what differs, host by host, object by object."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import replace
from difflib import unified_diff
from types import MappingProxyType

from kvmgen.artifact import APPLY_ORDER, Artifact, Kind
from kvmgen.difference.attributes import Found, differing
from kvmgen.difference.causes import Causes
from kvmgen.difference.facts import facts_of_both
from kvmgen.difference.impact import Applying
from kvmgen.difference.model import Attribute, FileChange, HostChange, Impact, ObjectChange, Place, Verb
from kvmgen.difference.sides import HostSide, Side
from kvmgen.output.manifest import NAME as MANIFEST
from kvmgen.parallel import mapped
from kvmgen.value import record

Artifacts = Mapping[str, Artifact]
_NOTHING: Artifacts = MappingProxyType({})
ImpactOf = Callable[[ObjectChange], Impact | None]


def host_changes(
    before: Side | None, after: Side | None, causes: Causes, only: Container[str] | None = None
) -> tuple[HostChange, ...]:
    """What changes on each host, sorted by name; hosts that get what they had aren't among them.

    ``only`` some hosts are looked at where it is known that the others get what they had.
    """
    old, new = (before.hosts if before else {}), (after.hosts if after else {})
    homes = Homes(_homes(before), _homes(after))

    def change(name: str) -> HostChange | None:
        return _host(old.get(name), new.get(name), causes, homes)

    names = sorted(name for name in {*old, *new} if only is None or name in only)
    return tuple(found for found in mapped(change, names, worth=_HOSTS_A_PROCESS) if found is not None)


_HOSTS_A_PROCESS = 12


def _host(before: HostSide | None, after: HostSide | None, causes: Causes, homes: Homes) -> HostChange | None:
    objects = tuple(_objects(before, after, causes, homes))
    verb = Verb.ADDED if before is None else Verb.REMOVED if after is None else Verb.CHANGED
    known = after or before
    assert known is not None
    if not objects and verb is Verb.CHANGED:
        return None
    return HostChange(host=known.name, platform=known.platform, verb=verb, objects=objects)


@record
class Homes:
    """Where guests are at home, by their names."""

    before: Mapping[str, str]
    after: Mapping[str, str]


def _homes(side: Side | None) -> Mapping[str, str]:
    return {} if side is None else {name: guest.home for name, guest in side.site.guests.items()}


def _objects(before: HostSide | None, after: HostSide | None, causes: Causes, homes: Homes) -> Iterator[ObjectChange]:
    old = before.artifacts if before else _NOTHING
    new = after.artifacts if after else _NOTHING
    host = (after or before).name  # type: ignore[union-attr] # one of them is there
    groups: dict[tuple[Kind, str], list[str]] = {}
    for path in (*new, *(path for path in old if path not in new)):
        if not _is_same(old.get(path), new.get(path)):
            artifact = new.get(path) or old[path]
            groups.setdefault((artifact.kind, name_of(artifact)), []).append(path)
    applying = Applying(before, after)
    if before is not None and after is not None:
        yield from _manifest_of(before, after, causes, applying.impact_of)
    for (kind, name), paths in sorted(groups.items(), key=_in_order):
        compared = _Compared(before, after, old, new, paths)
        yield _object(host, kind, name, compared, causes, homes, applying.impact_of)


def _manifest_of(before: HostSide, after: HostSide, causes: Causes, impact_of: ImpactOf) -> Iterator[ObjectChange]:
    """What the manifest says of the host itself."""
    said = [(side.view.site.name, side.platform) for side in (before, after)]
    attributes = tuple(
        Attribute(name=name, before=old, after=new, causes=causes.of_host(after.name, name))
        for name, old, new in zip(("site", "platform"), *said, strict=True)
        if old != new
    )
    if attributes:
        places = tuple(place for attribute in attributes for place in attribute.causes)
        files = (FileChange(path=MANIFEST, verb=Verb.CHANGED),)
        change = ObjectChange(
            kind="manifest", name=MANIFEST, verb=Verb.CHANGED, attributes=attributes, causes=places, files=files
        )
        yield replace(change, impact=impact_of(change))


def _in_order(group: tuple[tuple[Kind, str], list[str]]) -> tuple[int, str]:
    (kind, name), _ = group
    return APPLY_ORDER.index(kind), name


@record
class _Compared:
    before: HostSide | None
    after: HostSide | None
    old: Artifacts
    new: Artifacts
    paths: list[str]


def _is_same(old: Artifact | None, new: Artifact | None) -> bool:
    """Whether a file and what the manifest says of it are what they were."""
    if old is None or new is None:
        return False
    if (old.text, old.mode, old.kind, old.defines) != (new.text, new.mode, new.kind, new.defines):
        return False
    return (old.binary is None and new.binary is None) or old.content == new.content


def name_of(artifact: Artifact) -> str:
    """What an object is called whose file this is; several files may be one object's."""
    if artifact.defines is not None:
        return artifact.defines.name
    for pattern, name in _NAMES:
        match = re.fullmatch(pattern, artifact.path)
        if match:
            return name.format(*match.groups())
    return artifact.path


_NAMES = (
    (r"etc/sysconfig/network-scripts/(?:ifcfg|route6?|rule6?|keys)-(.+)", "{0}"),
    (r"etc/NetworkManager/system-connections/(.+)\.nmconnection", "{0}"),
    (r"etc/firewalld/zones/(.+)\.xml", "zone {0}"),
    (r"etc/firewalld/policies/(.+)\.xml", "policy {0}"),
    (r"etc/firewalld/direct\.xml", "direct rules"),
    (r"etc/firewalld/firewalld\.conf", "firewalld's settings"),
    (r"etc/sysconfig/(ip6?tables)", "{0}"),
    (r"guests/([^/]+)/.+", "{0}"),
    (r"var/lib/libvirt/images/kvmgen-(.+)-seed\.iso", "{0}"),
)
"""Names by path; ``{0}`` is the first group."""


def _object(
    host: str, kind: Kind, name: str, compared: _Compared, causes: Causes, homes: Homes, impact_of: ImpactOf
) -> ObjectChange:
    verb = _verb(compared, kind, name)
    attributes = tuple(_attributes(host, kind, name, verb, compared, causes, homes))
    places = dict.fromkeys(place for attribute in attributes for place in attribute.causes)
    if kind is Kind.NWFILTER and verb is not Verb.CHANGED and not places:
        places = dict.fromkeys(_of_users(name, compared, causes))
    change = ObjectChange(
        kind=str(kind),
        name=name,
        verb=verb,
        attributes=attributes,
        causes=tuple(places) or causes.of_object(name, tuple(_both(compared))),
        files=tuple(_file(path, compared) for path in compared.paths),
    )
    return replace(change, impact=impact_of(change))


def _of_users(name: str, compared: _Compared, causes: Causes) -> Iterator[Place]:
    """What made the first guest use a filter on this host, or the last one no longer: the filter came with it."""
    for side in (compared.after, compared.before):
        if side is None:
            continue
        for guest in side.view.site.guests.values():
            own = [nic.filterref.filter for nic in guest.interfaces if nic.filterref is not None]
            if side.name in guest.hosts and any(name in side.filters_of(filter_) for filter_ in own):
                places = causes.of_guest(guest.name)
                if places:
                    yield places[0]
                    return


def _both(compared: _Compared) -> Iterator[tuple[Artifact | None, Artifact | None]]:
    yield from ((compared.old.get(path), compared.new.get(path)) for path in compared.paths)


def _verb(compared: _Compared, kind: Kind, name: str) -> Verb:
    """What became of the object: it may have lost one file of several."""

    def has(artifacts: Artifacts) -> bool:
        return any(path in artifacts for path in compared.paths) or any(
            artifact.kind is kind and name_of(artifact) == name for artifact in artifacts.values()
        )

    if not has(compared.old):
        return Verb.ADDED
    return Verb.CHANGED if has(compared.new) else Verb.REMOVED


def _file(path: str, compared: _Compared) -> FileChange:
    old, new = compared.old.get(path), compared.new.get(path)
    verb = Verb.ADDED if old is None else Verb.REMOVED if new is None else Verb.CHANGED
    return FileChange(path=path, verb=verb, diff=raw(path, _text(old), _text(new)))


def _text(artifact: Artifact | None) -> str:
    return "" if artifact is None or artifact.binary is not None else artifact.text


def raw(path: str, before: str, after: str) -> str:
    """A unified diff, as git would tell it; empty where nothing differs."""
    old, new = (text.removesuffix("\n").split("\n") if text else [] for text in (before, after))
    return "".join(f"{line}\n" for line in unified_diff(old, new, f"a/{path}", f"b/{path}", lineterm=""))


def _attributes(
    host: str, kind: Kind, name: str, verb: Verb, compared: _Compared, causes: Causes, homes: Homes
) -> Iterator[Attribute]:
    if kind is Kind.DOMAIN and verb is not Verb.CHANGED:
        yield from _moved(name, host, compared, causes, homes)
    for path in compared.paths:
        old, new = compared.old.get(path), compared.new.get(path)
        prefix = f"{_short(path)}: " if kind is Kind.GUEST_FILE else ""
        found = list(_of_file(path, old, new, _names(compared.before, old), _names(compared.after, new)))
        if verb is not Verb.CHANGED:
            found = [one for one in found if _TELLING.get(kind, _NEVER).match(one.name)]
        for one in found:
            yield Attribute(
                name=f"{prefix}{one.name}",
                before=one.before,
                after=one.after,
                causes=causes.of(one, old, new) if verb is Verb.CHANGED else (),
            )


_NEVER = re.compile(r"(?!)")
_TELLING = {
    Kind.DOMAIN: re.compile(r"memory$|vcpu$|(disk|interface) [^ ]+$"),
    Kind.NETWORK: re.compile(r"forward mode$|bridge name$|ip( [^ ]+)? (address|prefix|netmask)$"),
}
"""What is told of an object that comes or goes: the rest is in its file."""


def _short(path: str) -> str:
    return path.split("/", 2)[2]


def _names(side: HostSide | None, artifact: Artifact | None) -> dict[str, str]:
    """A guest's interfaces by their MACs."""
    if side is None or artifact is None or artifact.kind is not Kind.DOMAIN or artifact.defines is None:
        return {}
    guest = side.view.site.guests[artifact.defines.name]
    return {str(nic.mac): nic.name for nic in guest.interfaces}


def _moved(name: str, host: str, compared: _Compared, causes: Causes, homes: Homes) -> Iterator[Attribute]:
    """A guest that is at home on another host than before."""
    before, after = homes.before.get(name), homes.after.get(name)
    if before is not None and after is not None and before != after and host in (before, after):
        yield Attribute(name="home", before=before, after=after, causes=causes.of_guest(name, "hosts"))


def _of_file(
    path: str, old: Artifact | None, new: Artifact | None, old_names: dict[str, str], new_names: dict[str, str]
) -> Iterator[Found]:
    """What a file and the manifest's entry for it say otherwise than before. Nothing that differs stays untold."""
    found = list(_manifest(old, new))
    before, after = _text(old), _text(new)
    if before != after:
        said = differing(*facts_of_both(path, before, after, (old_names, new_names)))
        inside = list(said)
        found += inside or [Found(name="text", before=_lines(before, after), after=_lines(after, before))]
    elif old is not None and new is not None and old.content != new.content:
        found.append(Found(name="content", before=_size(old), after=_size(new)))
    yield from found


def _lines(text: str, other: str) -> str:
    """The lines that only one text has, or has elsewhere."""
    known = set(other.splitlines())
    own = [line.strip() for line in text.splitlines() if line not in known]
    return " / ".join(own) if own else "the same lines, otherwise"


def _size(artifact: Artifact) -> str:
    from hashlib import sha256

    return f"sha256 {sha256(artifact.content).hexdigest()[:12]}"


def _manifest(old: Artifact | None, new: Artifact | None) -> Iterator[Found]:
    """What only the manifest says of a file."""
    if old is None or new is None:
        return
    if old.mode != new.mode:
        yield Found(name="mode", before=f"{old.mode:04o}", after=f"{new.mode:04o}")
    one, other = old.defines, new.defines
    if one is not None and other is not None:
        for name in ("autostart", "validate"):
            before, after = getattr(one, name), getattr(other, name)
            if before != after:
                yield Found(name=name, before=_yes(before), after=_yes(after))


def _yes(value: bool | None) -> str | None:
    return None if value is None else "yes" if value else "no"
