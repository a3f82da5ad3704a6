"""What a change opens and closes, with the lines of the inventory that decide."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from kvmgen.artifact import Kind
from kvmgen.difference.flows import Flows, flows
from kvmgen.difference.model import HostChange, ObjectChange, Place, Verb
from kvmgen.difference.sides import Side
from kvmgen.proof import Rendered
from kvmgen.proof.services import named_services
from kvmgen.reachability.answer import Service
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

    asked = services or named_services(before.site, after.site)
    return flows(before.made(only), after.made(only), asked, locate)


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
    if origin is None:
        return None
    position = side.sources.position_of(origin)
    return Place(file=side.path(origin.file), line=position.line if position else 0, before=side.before)
