"""What a change opens and closes, with the lines of the inventory that decide."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from kvmgen.artifact import Kind
from kvmgen.diagnostics import Origin
from kvmgen.difference.deciding import Locate
from kvmgen.difference.flows import Flows, flows
from kvmgen.difference.model import HostChange, ObjectChange, Place, Verb
from kvmgen.difference.sides import Side
from kvmgen.model.guest import Guest
from kvmgen.model.host import Host
from kvmgen.proof import Rendered
from kvmgen.proof.services import named_services
from kvmgen.reachability.answer import Service
from kvmgen.reachability.classes import End
from kvmgen.reachability.step import Cause


def packets(
    before: Side, after: Side, hosts: Iterable[HostChange], only: Collection[str] | None = None
) -> Flows | None:
    """The packets that fare otherwise than before; ``None`` where nothing that decides has changed.

    With ``only``, those of some hosts and their guests, among each other and with the outside.
    """
    changes = [change for host in hosts for change in host.objects]
    if not any(host.verb is not Verb.CHANGED for host in hosts) and not any(map(_decides, changes)):
        return None
    return ways(before, after, only=only)


def ways(before: Side, after: Side, services: Sequence[Service] = (), *, only: Collection[str] | None = None) -> Flows:
    """The same whatever has changed; without services, of those that either inventory names."""

    def locate(made: Rendered, host: str, cause: Cause, is_before: bool) -> Place | None:
        return _located(before if is_before else after, made, host, cause)

    def end(of: End, is_before: bool) -> Place | None:
        return _end(before if is_before else after, of)

    asked = services or named_services(before.site, after.site)
    return flows(before.made(only), after.made(only), asked, Locate(locate, end))


_NOT_ASKED = (Kind.SEED, Kind.UDEV, "manifest")


def _decides(change: ObjectChange) -> bool:
    """Whether a change may matter to packets: of guests' definitions, what is said of their interfaces."""
    if change.kind in _NOT_ASKED:
        return False
    if change.kind != Kind.DOMAIN or change.verb is not Verb.CHANGED:
        return True
    return any(attribute.name.startswith(("interface", "text")) for attribute in change.attributes)


def _located(side: Side, made: Rendered, host: str, cause: Cause) -> Place | None:
    """The line of the inventory that a line of a host's file comes from; ``None`` for what is part of kvmgen."""
    artifact = made.artifacts.get((host, cause.file))
    origins = artifact.origins_at(cause.line) if artifact is not None else ()
    origin = next((origin for origin in origins if not origin.is_kvmgens), None)
    return None if origin is None else _place(side, origin)


def _end(side: Side, end: End) -> Place | None:
    """The line of the inventory that makes a machine."""
    known: Mapping[str, Guest | Host] = side.site.guests if end.kind == "guest" else side.site.hosts
    return _place(side, known[end.owner].origin) if end.owner in known else None


def _place(side: Side, origin: Origin) -> Place:
    position = side.sources.position_of(origin)
    return Place(file=side.path(origin.file), line=position.line if position else 0, before=side.before)
