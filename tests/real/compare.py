"""What libvirt made of a definition: everything that was meant must be in what it dumps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from xml.etree.ElementTree import Element, fromstring

Key = tuple[str, ...]


def _attributes(*names: str) -> Callable[[Element], Key]:
    return lambda element: tuple(element.get(name, "") for name in names)


def _below(path: str, name: str) -> Callable[[Element], Key]:
    def key(element: Element) -> Key:
        found = element.find(path)
        return () if found is None else (found.get(name, ""),)

    return key


def _text(element: Element) -> Key:
    return ((element.text or "").strip(),)


IDENTITY: Mapping[str, Callable[[Element], Key]] = MappingProxyType(
    {
        "disk": _below("target", "dev"),
        "controller": _attributes("type", "index"),
        "interface": lambda element: _below("mac", "address")(element) or _attributes("dev")(element),
        "channel": _below("target", "name"),
        "graphics": _attributes("type"),
        "input": _attributes("type", "bus"),
        "timer": _attributes("name"),
        "feature": _attributes("name"),
        "parameter": _attributes("name"),
        "portgroup": _attributes("name"),
        "ip": _attributes("address"),
        "route": _attributes("address", "prefix"),
        "range": _attributes("start"),
        "host": _attributes("ip"),
        "hostname": _text,
        "forwarder": _attributes("domain", "addr"),
        "txt": _attributes("name"),
        "srv": _attributes("service", "protocol", "domain", "target"),
        "filterref": _attributes("filter"),
        "rule": _attributes("action", "direction", "priority"),
    }
)
"""What tells elements of one tag apart; those of the same identity are compared in their order.

A tag that isn't here is told apart by its place alone.
"""


def differences(meant_xml: str, dumped_xml: str) -> list[str]:
    """What was meant and isn't in the dump, one line each: missing elements, missing and changed values.

    What libvirt adds is no difference; neither is the order of elements with an identity of their own.
    """
    meant, dumped = fromstring(meant_xml), fromstring(dumped_xml)
    if meant.tag != dumped.tag:
        return [f"/{meant.tag} is /{dumped.tag}"]
    return list(_differences(meant, dumped, f"/{meant.tag}"))


def _differences(meant: Element, dumped: Element, path: str) -> Iterator[str]:
    for name, value in meant.attrib.items():
        yield from _changed(f"{path}/@{name}", value, dumped.get(name))
    if text := (meant.text or "").strip():
        yield from _changed(path, text, (dumped.text or "").strip())
    there = _by_identity(dumped)
    for (tag, key), children in _by_identity(meant).items():
        counterparts = there.get((tag, key), [])
        for place, child in enumerate(children):
            inside = f"{path}/{tag}{_label(key, place)}"
            if place < len(counterparts):
                yield from _differences(child, counterparts[place], inside)
            else:
                yield f"{inside} is missing"


def _changed(path: str, meant: str, dumped: str | None) -> Iterator[str]:
    if dumped is None:
        yield f"{path} is missing, not {meant!r}"
    elif dumped != meant:
        yield f"{path} is {dumped!r}, not {meant!r}"


def _by_identity(parent: Iterable[Element]) -> dict[tuple[str, Key], list[Element]]:
    grouped: defaultdict[tuple[str, Key], list[Element]] = defaultdict(list)
    for child in parent:
        grouped[child.tag, IDENTITY.get(child.tag, _place_alone)(child)].append(child)
    return grouped


def _place_alone(element: Element) -> Key:
    return ()


def _label(key: Key, place: int) -> str:
    words = [word for word in key if word] + ([f"#{place + 1}"] if place else [])
    return f"[{' '.join(words)}]" if words else ""
