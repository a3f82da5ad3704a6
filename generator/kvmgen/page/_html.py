"""HTML, built from texts that stay texts: what isn't `Markup` can't become any, and mypy holds that."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from typing import NewType

from kvmgen.report.printed import plain, plain_lines

Markup = NewType("Markup", str)

NOTHING = Markup("")
_WITHOUT_CONTENT = frozenset({"input", "meta"})


def text(said: str) -> Markup:
    """A text on one line, without anything that isn't printable."""
    return Markup(escape(plain(said)))


def lines(said: str) -> Markup:
    """A text whose lines stay lines."""
    return Markup(escape(plain_lines(said)))


def joined(parts: Iterable[Markup], between: str = "") -> Markup:
    """Parts one behind the other, with a text between them."""
    return Markup(escape(between).join(parts))


def tag(name: str, /, *inside: Markup, **attributes: str | bool) -> Markup:
    """An element; of an attribute's name, underscores become dashes, and one at its end goes (``class_``)."""
    said = "".join(_attribute(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    if name in _WITHOUT_CONTENT:
        return Markup(f"<{name}{said}>")
    return Markup(f"<{name}{said}>{joined(inside)}</{name}>")


def _attribute(key: str, value: str | bool) -> str:
    if isinstance(value, bool):
        return f" {key}" if value else ""
    return f' {key}="{escape(plain(value))}"'


def code(said: str) -> Markup:
    """A name, a value or a place."""
    return tag("code", text(said))


def prose(said: str) -> Markup:
    """A text in which what stands in backticks is code."""
    told, done = [], 0
    for found in _QUOTED.finditer(said):
        told += [_words(said[done : found.start()]), code(" ".join((found[1] or found[2]).split()))]
        done = found.end()
    return joined([*told, _words(said[done:])])


_QUOTED = re.compile(r"``(.+?)``|`(.+?)`", re.DOTALL)


def _words(said: str) -> Markup:
    return text(re.sub(r"\s+", " ", said))


def folded(summary: Markup, *inside: Markup, class_: str = "", opened: bool = False) -> Markup:
    """What is opened by whoever wants to see it."""
    return tag("details", tag("summary", summary), *inside, Markup("\n"), class_=class_ or False, open=opened)


def scrolling(label: str, *inside: Markup, class_: str = "wide") -> Markup:
    """What may be wider than the page: it scrolls by itself, also by the keyboard."""
    return tag("div", *inside, class_=class_, role="group", aria_label=label, tabindex="0")


def section(identity: str, title: str, *inside: Markup) -> Markup:
    """A part of the page that its navigation leads to."""
    heading = tag("h2", text(title), id=f"{identity}-title")
    return Markup(f"{tag('section', heading, *inside, id=identity, aria_labelledby=f'{identity}-title')}\n")
