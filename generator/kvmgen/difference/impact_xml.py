"""How two definitions of libvirt differ, as the applier sees it: the order of unlike elements means nothing."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from types import MappingProxyType

from kvmgen.reachability._xml import Element, children, read, written

_IDENTITIES = MappingProxyType(
    {
        "channel": ("target", "name"),
        "controller": ("", "type", "index"),
        "disk": ("target", "dev"),
        "filterref": ("", "filter"),
        "forwarder": ("", "domain", "addr"),
        "graphics": ("", "type"),
        "host": ("", "ip"),
        "input": ("", "type", "bus"),
        "interface": ("mac", "address"),
        "ip": ("", "address"),
        "parameter": ("", "name"),
        "portgroup": ("", "name"),
        "range": ("", "start"),
        "route": ("", "address", "prefix"),
        "rule": ("", "action", "direction", "priority"),
        "srv": ("", "service", "protocol", "domain", "target"),
        "timer": ("", "name"),
        "txt": ("", "name"),
    }
)
"""What tells elements of one tag apart: a child's attribute, or attributes of their own. The applier has the same."""


def missing(meant: Element, there: Element, way: str = "") -> Iterator[str]:
    """Where something stands that is there in no way or otherwise: ``/network/ip/dhcp/range/@end``."""
    way = f"{way}/{meant.tag!s}"
    for name, text in sorted(meant.attrib.items()):
        if there.get(name) != text:
            yield f"{way}/@{name!s}"
    if _text(meant) and _text(meant) != _text(there):
        yield way
    counterparts: dict[tuple[str, ...], list[Element]] = {}
    for child in children(there):
        counterparts.setdefault(_identity(child), []).append(child)
    for child in children(meant):
        same = counterparts.get(_identity(child))
        if not same:
            yield f"{way}/{child.tag!s}"
        elif written(child) != written(other := same.pop(0)):  # most are the same, and nothing is to be found in them
            yield from missing(child, other, way)


def unlike(one: Element, other: Element) -> list[str]:
    """Where two definitions differ, each place once."""
    return list(dict.fromkeys([*missing(one, other), *missing(other, one)]))


def _identity(element: Element) -> tuple[str, ...]:
    inner, *names = _IDENTITIES.get(str(element.tag), ("",))
    holder = element.find(inner) if inner else element
    return (str(element.tag), *("" if holder is None else holder.get(name, "") for name in names))


def _text(element: Element) -> str:
    return (element.text or "").strip()


def canonical(element: Element) -> tuple[object, ...]:
    """What an element says, whatever its layout; equal where two say the same in the same order."""
    inside = tuple(canonical(child) for child in children(element))
    return (str(element.tag), tuple(sorted(element.attrib.items())), _text(element), inside)


def definition(text: str) -> Element:
    """A definition, to be read; take a `copy` before parts of it are taken away."""
    return read(text)


def copy(element: Element) -> Element:
    """A copy that may be changed."""
    return deepcopy(element)
