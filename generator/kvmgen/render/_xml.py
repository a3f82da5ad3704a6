"""XML as libvirt and firewalld read it: elements as nested calls, written out with two spaces a level.

Written as text from the start because a large site has ten thousand domains: a tree of tuples first takes half as long
again, lxml's several times. An element that is the same every time can stand as a constant and costs nothing more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from kvmgen.diagnostics import Origin
from kvmgen.render._header import made_from

Attributes = Mapping[str, str | int | None]


class Element(str):
    """An element, written out as it would stand at the left margin. Line breaks in it are only those between tags."""

    __slots__ = ()


Content = Element | str | Iterable[Element] | None
"""What an element holds: elements, or a single text. ``None`` is not there, so that a table can hold conditions."""

NO_ATTRIBUTES: Attributes = {}


def el(tag: str, attributes: Attributes = NO_ATTRIBUTES, *children: Content) -> Element:
    """An element. Attributes that are ``None`` are left out."""
    opening = tag
    for name, value in attributes.items():
        if value is not None:
            opening += f" {name}='{escape(value) if isinstance(value, str) and _needs_escape(value) else value}'"
    if not children:
        return Element(f"<{opening}/>")
    inner: list[str] = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, Element):
            inner.append(child)
        elif isinstance(child, str):
            return Element(f"<{opening}>{escape(child)}</{tag}>")
        else:
            inner += child
    if not inner:
        return Element(f"<{opening}/>")
    indented = "\n".join(inner).replace("\n", "\n  ")
    return Element(f"<{opening}>\n  {indented}\n</{tag}>")


def when(condition: object, element: Element) -> Element | None:
    """The element where the condition holds, else nothing."""
    return element if condition else None


def yes_no(value: bool | None) -> str | None:
    """libvirt's spelling of a truth value; ``None`` stays ``None``."""
    return None if value is None else "yes" if value else "no"


def document(root: Element, origin: Origin, declaration: bool = False) -> str:
    """The text of a file: a header that names its source, then the tree."""
    first = '<?xml version="1.0" encoding="utf-8"?>\n' if declaration else ""
    # A comment may hold no two dashes in a row.
    header = re.sub("-(?=-)", "- ", made_from(origin))
    return f"{first}<!-- {header} -->\n{root}\n"


_needs_escape = re.compile("[&<>'\n\t\r]").search


def escape(text: str) -> str:
    """Text that is safe as content and within single-quoted attributes."""
    if not _needs_escape(text):
        return text
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("'", "&apos;")
    return text.replace("\n", "&#10;").replace("\t", "&#9;").replace("\r", "&#13;")
