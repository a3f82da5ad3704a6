"""XML that a build wrote or a person did, with the lines that its elements stand on."""

from __future__ import annotations

from collections.abc import Iterator

from lxml import etree

Element = etree._Element
NotXmlError = etree.XMLSyntaxError
"""What `read` raises where the text isn't well-formed."""


def read(text: str) -> Element:
    """The root element. Nothing is fetched, and no entity is expanded."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True)
    return etree.fromstring(text.encode(), parser)


def line_of(element: Element) -> int:
    """The line that the element starts on, 0 where it isn't known."""
    line: object = element.sourceline
    return line if isinstance(line, int) else 0


def children(element: Element, tag: str | None = None) -> Iterator[Element]:
    """The elements in it, all or those of one name."""
    return element.iterchildren(tag if tag is not None else etree.Element)


def attributes(element: Element) -> dict[str, str]:
    """What the element's attributes say."""
    return {str(name): str(text) for name, text in element.attrib.items()}


def text_of(element: Element) -> str:
    """The element as it is written, on one line."""
    return " ".join(etree.tostring(element, encoding="unicode", with_tail=False).split())


def written(element: Element) -> bytes:
    """An element as its file has it, without what stands behind it."""
    return etree.tostring(element, with_tail=False)
