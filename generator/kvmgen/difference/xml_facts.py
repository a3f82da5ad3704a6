"""What libvirt's and firewalld's XML says, fact by fact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kvmgen.difference.fact import Fact
from kvmgen.reachability import _xml
from kvmgen.reachability._xml import Element

_WHOLE = {
    "network": {"range", "txt", "srv", "forwarder", "hostname", "route", "pf", "tag"},
    "zone": {"service", "port", "rule", "source", "interface", "protocol", "source-port", "forward-port"},
    "policy": {"service", "port", "rule", "ingress-zone", "egress-zone", "protocol"},
    "direct": {"rule", "chain", "passthrough"},
    "domain": {"timer", "feature", "tag"},
}
"""Elements that are one value each, by the root: nothing of them means anything alone."""

_ORDERED = {
    ("direct", "rule"),
    ("direct", "passthrough"),
    ("policy", "rule"),
    ("zone", "rule"),
    ("domain", "parameter"),
}
"""Of these it matters which comes first: of filters' list parameters the first belongs to another list's first."""

_KNOWN_BY: Mapping[str, tuple[str, ...]] = {
    "disk": ("target/@dev",),
    "interface": ("mac/@address", "@dev", "@name"),
    "controller": ("@type", "@index"),
    "channel": ("target/@name",),
    "serial": ("target/@port",),
    "console": ("target/@type", "target/@port"),
    "graphics": ("@type",),
    "hostdev": ("source/address/@bus", "source/address/@slot", "source/address/@function"),
    "filesystem": ("target/@dir",),
    "ip": ("@address",),
    "host": ("@name", "@mac", "@id", "@ip"),
    "portgroup": ("@name",),
    "parameter": ("@name",),
    "filterref": ("@filter",),
    "rule": ("@priority",),
}
"""What tells one element from others of its kind: the attributes' values of these ways, as far as they are there."""


@dataclass(frozen=True, slots=True)
class _Reader:
    """What a file's elements are called: ``names`` instead of MACs, and which tags stand for several elements.

    ``alike`` are the elements of which nothing is to be told.
    """

    root: str
    names: Mapping[str, str]
    crowded: frozenset[str]
    alike: frozenset[bytes]


def crowded(text: str) -> frozenset[str]:
    """Of the tags that need no name alone, those that some element has more than once in it."""
    found: set[str] = set()
    seen: set[tuple[Element | None, str]] = set()
    for element in _xml.read(text).iter(*_ALONE) if text else ():
        place = element.getparent(), str(element.tag)
        if place in seen:
            found.add(place[1])
        seen.add(place)
    return frozenset(found)


def alike(before: str, after: str) -> frozenset[bytes]:
    """The devices and other parts that two versions of a guest write alike: most of them, where one word changes."""
    old, new = (Counter(map(_xml.written, _parts(_xml.read(text)))) if text else Counter() for text in (before, after))
    return frozenset(part for part, times in old.items() if new[part] == times)


def _parts(root: Element) -> Iterator[Element]:
    for child in _xml.children(root) if root.tag == "domain" else ():
        yield from _xml.children(child) if child.tag == "devices" else (child,)


def xml_facts(
    text: str, names: Mapping[str, str], crowded: frozenset[str], alike: frozenset[bytes] = frozenset()
) -> Iterator[Fact]:
    """What a file says. ``names`` are what interfaces are called instead of by their MACs; for the others see there."""
    yield from _comments(text)
    root = _xml.read(text)
    tag = str(root.tag)
    if tag == "filter":
        yield from _filter(root)
        return
    reader = _Reader(tag, names, crowded, alike)
    yield from _attributes(root, "", "")
    yield from _children(root, "", "", reader)


def _comments(text: str) -> Iterator[Fact]:
    for number, line in enumerate(text.splitlines(), 1):
        words = line.strip()
        if words.startswith("<!--"):
            yield Fact("comment", words.removeprefix("<!--").removesuffix("-->").strip(), number)


def _filter(root: Element) -> Iterator[Fact]:
    """An nwfilter: its rules by their priorities, each on one line as a person would say it."""
    yield from _attributes(root, "", "")
    for child in _xml.children(root):
        tag, line = str(child.tag), _xml.line_of(child)
        said = _xml.attributes(child)
        if tag == "rule":
            yield Fact(f"rule {said.pop('priority', '500')}", _said(child, said), line, ordered=True)
        elif tag == "filterref":
            parameters = " ".join(
                "{name}={value}".format_map(_xml.attributes(parameter)) for parameter in _xml.children(child)
            )
            yield Fact(f"filterref {said.get('filter', '')}", parameters or "included", line, ordered=True)
        else:
            yield Fact(tag, (child.text or "").strip(), line)


def _said(rule: Element, attributes: dict[str, str]) -> str:
    """``accept in tcp dstportstart=22``."""
    words = [attributes.pop("action", ""), attributes.pop("direction", "")]
    words += [f"{name}={value}" for name, value in attributes.items()]
    for match in _xml.children(rule):
        words += [str(match.tag), *(f"{name}={value}" for name, value in _xml.attributes(match).items())]
    return " ".join(filter(None, words))


def _attributes(element: Element, name: str, of: str) -> Iterator[Fact]:
    line = _xml.line_of(element)
    for attribute, value in _xml.attributes(element).items():
        yield Fact(f"{name} {attribute}" if name else attribute, value, line, element=of)


def _children(element: Element, way: str, of: str, reader: _Reader) -> Iterator[Fact]:
    for child in _xml.children(element):
        tag = str(child.tag)
        if not way and reader.alike and _xml.written(child) in reader.alike:
            continue
        if tag in _WHOLE.get(reader.root, ()):
            ordered = (reader.root, tag) in _ORDERED
            yield Fact(f"{way}{tag}", _whole(child), _xml.line_of(child), ordered, of)
        elif tag == "devices":
            yield from _children(child, way, of, reader)
        else:
            called = _called(child, reader)
            name = f"{way}{called}"
            yield from _element(child, name, of or (name if called != tag else ""), reader)


def _element(element: Element, name: str, of: str, reader: _Reader) -> Iterator[Fact]:
    """An element's text, its attributes and what is in it; one that has none of them is there, and that is all."""
    attributes, text = _xml.attributes(element), (element.text or "").strip()
    line, tag = _xml.line_of(element), str(element.tag)
    if tag == "parameter":
        yield Fact(name, attributes.get("value", ""), line, (reader.root, tag) in _ORDERED, of)
    elif text and set(attributes) <= {"unit"}:
        yield Fact(name, _amount(text, attributes.get("unit")), line, element=of)
    elif not (attributes or text or len(element)):
        yield Fact(name, "yes", line, element=of)
    else:
        if text:
            yield Fact(name, text, line, element=of)
        yield from _attributes(element, name, of)
        yield from _children(element, f"{name}: ", of, reader)


def _amount(number: str, unit: str | None) -> str:
    """A number with its unit, in the largest in which it is whole."""
    units = ("KiB", "MiB", "GiB", "TiB")
    if unit in units and number.isdigit():
        while int(number) and int(number) % 1024 == 0 and unit != units[-1]:
            number, unit = str(int(number) // 1024), units[units.index(unit) + 1]
    return f"{number} {unit}" if unit else number


def _called(element: Element, reader: _Reader) -> str:
    """An element among its siblings: ``interface eth0``, ``disk vda``; or by its tag, where it is the only one."""
    tag = str(element.tag)
    known = [value for way in _KNOWN_BY.get(tag, ()) if (value := _value(element, way)) is not None]
    if not known or (tag in _ALONE and tag not in reader.crowded):
        return tag
    chosen = known if tag in _BY_ALL else known[:1]
    return " ".join((tag, *(reader.names.get(value, value) for value in chosen)))


_ALONE = frozenset(("serial", "console", "graphics", "filterref", "ip", "hostdev"))
"""These need no name where there is one: libvirt's own words for them say nothing."""

_BY_ALL = frozenset(("controller", "console", "hostdev"))


def _value(element: Element, way: str) -> str | None:
    *steps, attribute = way.split("/")
    for step in steps:
        inner = next(_xml.children(element, step), None)
        if inner is None:
            return None
        element = inner
    return _xml.attributes(element).get(attribute.removeprefix("@"))


def _whole(element: Element) -> str:
    """An element as one value: its attributes and all that is in it, on a line."""
    attributes, text = _xml.attributes(element), (element.text or "").strip()
    if len(attributes) == 1 and not text and not len(element):
        return next(iter(attributes.values()))
    words = [f"{name}={value}" for name, value in attributes.items()]
    words += [text] if text else []
    words += (f"{child.tag} {_whole(child)}".removesuffix(" yes") for child in _xml.children(element))
    return " ".join(words) or "yes"
