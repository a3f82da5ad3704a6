"""`kvmgen show`: one object with everything resolved, where each value was said, and the files that it is in."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from kvmgen.diagnostics import Origin
from kvmgen.inventory.sources import Sources
from kvmgen.model.builtin_filters import BUILT_IN_FILTERS
from kvmgen.model.site import Site, views
from kvmgen.render import render
from kvmgen.show.guest import guest
from kvmgen.show.host import host
from kvmgen.show.network import network
from kvmgen.show.packets import filter_, policy
from kvmgen.show.said import Pointer, said
from kvmgen.value import value

Known = Callable[[Site], Mapping[str, Any]]
"""A kind's objects by name."""

KINDS: Mapping[str, tuple[Known, Callable[[Site, str], dict[str, Any]]]] = MappingProxyType(
    {
        "host": (lambda site: site.hosts, host),
        "network": (
            lambda site: {name: one for carried in site.networks.values() for name, one in carried.items()},
            network,
        ),
        "guest": (lambda site: site.guests, guest),
        "filter": (lambda site: {**site.filters, **BUILT_IN_FILTERS}, filter_),
        "policy": (lambda site: site.policies, policy),
    }
)
"""By kind, its objects, and one of them with everything resolved, in the inventory's words."""


@value
class Shown:
    """An object: its ``value``, where each part of that was said by the way to it, and its files below the output."""

    kind: str
    name: str
    value: Mapping[str, Any]
    said: Mapping[Pointer, str]
    files: tuple[str, ...]


def show(kind: str, name: str, site: Site, sources: Sources) -> Shown | str:
    """One object, or what to say where there is none of that name."""
    known, resolved = KINDS[kind]
    objects = known(site)
    if name not in objects:
        return _no_such(kind, name, sorted(objects))
    origin: Origin = objects[name].origin
    found = resolved(site, name)
    places = said(kind, found, objects[name], site, sources)
    return Shown(kind=kind, name=name, value=found, said=places, files=_files(site, origin))


def _no_such(kind: str, name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"There is no {kind} {name!r}. Did you mean {near[0]!r}?"
    some = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return (
        f"There is no {kind} {name!r}. There is: {some}."
        if names
        else f"There is no {kind} {name!r}: there is none yet."
    )


def _files(site: Site, origin: Origin) -> tuple[str, ...]:
    """The files of the output that its file of the inventory is a source of."""
    return tuple(
        sorted(
            f"{view.host.name}/{artifact.path}"
            for view in views(site)
            for artifact in render(view)
            if any(source.file == origin.file for source in artifact.sources)
        )
    )
