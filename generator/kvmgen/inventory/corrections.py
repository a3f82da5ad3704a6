"""What has one right answer in an inventory file.

Each correction changes a document, plain or as ruamel.yaml read it, in place, and tells what it changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kvmgen.diagnostics import Pointer

Data = Any
"""A document: plain data, or what ruamel makes of it."""

Change = tuple[Pointer, str]
"""Where something is corrected, and what."""


def correct(kind: str, document: Data) -> Iterator[Change]:
    """Make every correction in a document, and tell it."""
    yield from _macs(document, ())
    for way, correction in _LISTS.get(kind, ()):
        for pointer, items in _found(document, way, ()):
            yield from correction(items, pointer)
    if kind == "host":
        yield from _bridge_mtus(document)


_MAC_KEY = re.compile(r"mac|(src|dst|arpsrc|arpdst)mac(addr|mask)")
_MAC = re.compile(r"([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}|([0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}|[0-9A-Fa-f]{12}")


def _macs(node: Data, pointer: Pointer) -> Iterator[Change]:
    """MACs are written in lower case, with colons, in quotes."""
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in list(entries):
        if isinstance(value, dict | list):
            yield from _macs(value, (*pointer, key))
        elif isinstance(key, str) and _MAC_KEY.fullmatch(key) and isinstance(value, str) and _MAC.fullmatch(value):
            digits = re.sub(r"[:.-]", "", value).lower()
            mac = ":".join(digits[start : start + 2] for start in range(0, 12, 2))
            node[key] = _quoted(mac)
            if mac != value:
                yield (*pointer, key), f"the MAC {value} is written {mac}"


def _quoted(text: str) -> str:
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    quoted: str = DoubleQuotedScalarString(text)
    return quoted


Way = tuple[str, ...]
Correction = Callable[[list[Data], Pointer], Iterator[Change]]


def _found(node: Data, way: Way, pointer: Pointer) -> Iterator[tuple[Pointer, list[Data]]]:
    """The lists at the end of a way; ``*`` stands for every key."""
    if not way:
        if isinstance(node, list) and all(isinstance(item, str) for item in node):
            yield pointer, node
        return
    if not isinstance(node, dict):
        return
    for key in list(node) if way[0] == "*" else [way[0]]:
        if key in node:
            yield from _found(node[key], way[1:], (*pointer, key))


def _without_doubles(items: list[Data], pointer: Pointer) -> Iterator[Change]:
    """Where order means something, what stands twice counts where it stands first."""
    first = [items.index(item) for item in dict.fromkeys(items)]
    if len(first) < len(items):
        _reorder(items, first)
        yield pointer, f"{pointer[-1]} has each item once"


def _in_order(items: list[Data], pointer: Pointer) -> Iterator[Change]:
    """Where order means nothing, items are sorted and stand once."""
    wanted = [items.index(item) for item in sorted(set(items), key=_natural)]
    if wanted != list(range(len(items))) and not _has_remarks(items):
        _reorder(items, wanted)
        yield pointer, f"{pointer[-1]} is sorted, each item once"


def _natural(text: str) -> list[tuple[int, str]]:
    """``eno2`` before ``eno10``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", text)]


def _has_remarks(items: list[Data]) -> bool:
    """Whether comments stand on lines of their own between the items: nobody knows which of them they mean."""
    tokens = [token for entry in _comments(items).values() for token in entry if token is not None]
    return any("\n" in token.value.rstrip("\n") for token in tokens if hasattr(token, "value"))


def _reorder(items: list[Data], order: list[int]) -> None:
    """Put items into another order, each with the comment on its line."""
    comments = _comments(items)
    moved = {new: comments[old] for new, old in enumerate(order) if old in comments}
    chosen = [items[index] for index in order]
    comments.clear()
    while items:
        items.pop()
    items.extend(chosen)
    comments.update(moved)


def _comments(items: list[Data]) -> dict[int, Any]:
    """ruamel's comments by index; plain data has none."""
    attached = getattr(items, "ca", None)
    return attached.items if attached is not None else {}


_ZONES: tuple[tuple[Way, Correction], ...] = tuple(
    (("firewall", "zones", "*", key), _in_order) for key in ("ports", "services", "sources")
)
_RESOLVER: tuple[tuple[Way, Correction], ...] = (
    (("dns", "search"), _without_doubles),
    (("dns", "servers"), _without_doubles),
)
_LISTS: Mapping[str, tuple[tuple[Way, Correction], ...]] = {
    "host": (
        *((((layer, "*", "addresses"), _without_doubles)) for layer in ("ethernets", "bonds", "vlans", "bridges")),
        (("bonds", "*", "ports"), _without_doubles),
        (("bridges", "*", "ports"), _in_order),
        *_RESOLVER,
        *_ZONES,
    ),
    "guest": (
        (("hosts",), _without_doubles),
        (("interfaces", "*", "addresses"), _without_doubles),
        (("interfaces", "*", "allowed-addresses"), _in_order),
        *_RESOLVER,
        *_ZONES,
    ),
    "network": ((("addresses",), _without_doubles), (("dhcp", "ranges"), _in_order)),
}
"""The lists that are corrected, by kind and the way to them."""


def _bridge_mtus(document: Data) -> Iterator[Change]:
    """A bridge without an MTU whose ports all have the same large one gets theirs."""
    layers = [document.get(layer) for layer in ("ethernets", "bonds", "vlans", "bridges")]
    links = {name: link for layer in layers if isinstance(layer, dict) for name, link in layer.items()}
    for name, bridge in list((document.get("bridges") or {}).items()) if isinstance(layers[-1], dict) else ():
        ports = bridge.get("ports") if isinstance(bridge, dict) else None
        if not isinstance(ports, list) or "mtu" in bridge or not all(isinstance(port, str) for port in ports):
            continue
        mtus = {port["mtu"] if isinstance(port := links.get(key), dict) and "mtu" in port else None for key in ports}
        mtu = mtus.pop() if len(mtus) == 1 else None
        if isinstance(mtu, int) and mtu > 1500:
            _insert_after(bridge, "ports", "mtu", mtu)
            yield ("bridges", name), f"the bridge {name} gets the MTU {mtu} of its ports"


def _insert_after(mapping: Data, neighbour: str, key: str, value: int) -> None:
    if hasattr(mapping, "insert"):
        mapping.insert(list(mapping).index(neighbour) + 1, key, value)
    else:
        mapping[key] = value
