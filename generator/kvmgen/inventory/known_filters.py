"""The filters that nobody has to write: libvirt's built-in ones and kvmgen's own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from kvmgen.diagnostics import OWN, Origin
from kvmgen.inventory.context import Document
from kvmgen.inventory.source import Source, decode, parse
from kvmgen.model.filters import Filter, FilterInclude

BUILT_IN_FILTERS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "allow-arp": frozenset(),
        "allow-dhcp": frozenset(),
        "allow-dhcp-server": frozenset({"DHCPSERVER"}),
        "allow-dhcpv6": frozenset(),
        "allow-dhcpv6-server": frozenset({"DHCPSERVER"}),
        "allow-incoming-ipv4": frozenset(),
        "allow-incoming-ipv6": frozenset(),
        "allow-ipv4": frozenset(),
        "allow-ipv6": frozenset(),
        "clean-traffic": frozenset({"IP"}),
        "clean-traffic-gateway": frozenset({"IP", "GATEWAY_MAC"}),
        "no-arp-ip-spoofing": frozenset({"IP"}),
        "no-arp-mac-spoofing": frozenset(),
        "no-arp-spoofing": frozenset({"IP"}),
        "no-ip-multicast": frozenset(),
        "no-ip-spoofing": frozenset({"IP"}),
        "no-ipv6-multicast": frozenset(),
        "no-ipv6-spoofing": frozenset({"IPV6"}),
        "no-mac-broadcast": frozenset(),
        "no-mac-spoofing": frozenset(),
        "no-other-l2-traffic": frozenset(),
        "no-other-rarp-traffic": frozenset(),
        "qemu-announce-self": frozenset(),
        "qemu-announce-self-rarp": frozenset(),
    }
)
"""libvirt's own filters, with the variables that each needs besides MAC, which libvirt always sets."""

_OWN_FOLDER = "own_filters"
_VARIABLE = re.compile(r"\$([A-Za-z0-9_]+)")


@cache
def own_filter_documents() -> Mapping[str, Document]:
    """kvmgen's own filters, written in the inventory's language and shipped with the package."""
    folder = Path(__file__).parent / _OWN_FOLDER
    return {path.stem: _own_document(path) for path in sorted(folder.glob("*.yaml"))}


def _own_document(path: Path) -> Document:
    file = f"{OWN}{path.name}"
    source = decode(file, path.read_bytes())
    assert isinstance(source, Source), f"{path} is part of kvmgen and must be readable"
    data, problems = parse(source)
    assert not problems, f"{path} is part of kvmgen and must be valid"
    return Document(Origin(file), data)


def used_variables(filters: Mapping[str, Filter]) -> dict[str, frozenset[str]]:
    """The variables that each filter and all that it includes use, libvirt's built-in ones among them."""
    direct = {name: frozenset(_variables(filter_)) for name, filter_ in filters.items()}
    return {name: _with_included(name, filters, direct, set()) for name in filters} | dict(BUILT_IN_FILTERS)


def _variables(filter_: Filter) -> Iterator[str]:
    for entry in filter_.entries:
        if isinstance(entry, FilterInclude):
            continue
        if entry.match is not None:
            for _, value in entry.match.attributes:
                yield from _VARIABLE.findall(value)


def _with_included(
    name: str, filters: Mapping[str, Filter], direct: Mapping[str, frozenset[str]], seen: set[str]
) -> frozenset[str]:
    if name in seen or name not in filters:
        return BUILT_IN_FILTERS.get(name, frozenset())
    seen.add(name)
    used = set(direct[name])
    for entry in filters[name].entries:
        if isinstance(entry, FilterInclude):
            given = {key for key, _ in entry.parameters}
            used |= _with_included(entry.filter, filters, direct, seen) - given
    return frozenset(used)
