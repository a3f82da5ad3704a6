"""Where each value of an object was said: its own file, what fills it in, a default, or nowhere: it follows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kvmgen.diagnostics import Origin, Position
from kvmgen.inventory.schema import defaults
from kvmgen.inventory.source import parse
from kvmgen.inventory.sources import Sources
from kvmgen.model.site import Site
from kvmgen.value import record

Pointer = tuple[str | int, ...]

DEFAULT = "default"
DERIVED = "derived"


@record
class Layer:
    """Data that fills an object in, where it stands, and what people call it; nothing for the object's own file."""

    data: Any
    origin: Origin
    name: str = ""


def said(kind: str, value: Mapping[str, Any], thing: Any, site: Site, sources: Sources) -> dict[Pointer, str]:
    """By the way to each scalar and list of a value, where it was said."""
    layers = list(_layers(kind, thing, sources))
    found = {}
    for pointer in _leaves(value):
        ways = [pointer, pointer[2:]] if kind == "network" and pointer[:1] == ("hosts",) else [pointer]
        found[pointer] = next(filter(None, (_place(way, layers, sources) for way in ways)), None) or _unsaid(
            kind, ways[-1]
        )
    return found


def _layers(kind: str, thing: Any, sources: Sources) -> Iterator[Layer]:
    origin: Origin = thing.origin
    own = parse(sources.source(origin.file))[0] if not origin.file.partition(":")[1] else None
    yield Layer(own, origin)
    preset = parse(sources.source("site.yaml"))[0] or {}
    place = Origin("site.yaml")
    profile = str(own.get("profile", "")) if isinstance(own, Mapping) else ""
    if profile in preset.get("profiles", {}):
        yield Layer(preset["profiles"][profile], place.at("profiles", profile), f"profile {profile}")
    if kind in ("guest", "host"):
        known = preset.get("defaults", {}).get(f"{kind}s", {})
        yield Layer(known, place.at("defaults", f"{kind}s"), "the site's defaults")


def _leaves(value: Any, pointer: Pointer = ()) -> Iterator[Pointer]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*pointer, key))
    else:
        yield pointer


def _place(pointer: Pointer, layers: Sequence[Layer], sources: Sources) -> str | None:
    """Only the first layer that has the key counts: keys aren't merged any deeper."""
    for layer in layers:
        if pointer and isinstance(layer.data, Mapping) and pointer[0] in layer.data:
            held = _held(layer.data, pointer)
            if held is None:
                return None
            origin = layer.origin.at(*held)
            position = sources.position_of(origin, of_key=True) or Position(1, 1)
            return f"{sources.root}/{origin.file}:{position.line}" + (f" ({layer.name})" if layer.name else "")
    return None


def _held(data: Any, pointer: Pointer) -> Pointer | None:
    """The place of a value in its file; a word alone may stand for a mapping: ``filter: web`` for its name."""
    for depth, key in enumerate(pointer):
        if isinstance(data, str) and pointer[depth:] == ("name",):
            return pointer[:depth]
        if not isinstance(data, Mapping) or key not in data:
            return None
        data = data[key]
    return pointer


def _unsaid(kind: str, pointer: Pointer) -> str:
    try:
        known = defaults(kind, *map(str, pointer[:1])) if len(pointer) > 1 else defaults(kind)
    except KeyError:
        return DERIVED
    return DEFAULT if pointer and pointer[-1] in known else DERIVED
