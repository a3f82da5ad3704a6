"""An explanation for people and for programs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

from kvmgen.explain.lines import Explained, Line
from kvmgen.explain.places import Place
from kvmgen.render.facts.fact import Fact

_WIDTH = 110


def as_text(explained: Explained, shown: str) -> str:
    """The lines, each with the places that made it and the reasons; ``shown`` is how the file was named."""
    parts = ["\n".join(_told(line, shown)) for line in explained.lines]
    if explained.note:
        parts.append(f"note: {explained.note}")
    return "\n\n".join(parts)


def _told(line: Line, shown: str) -> Iterator[str]:
    yield f"{shown}:{line.number}: {line.text.strip()}"
    for place in line.places:
        yield f"  from {_where(place)}"
        if place.comment:
            yield _wrapped("why", place.comment)
    for fact in line.facts:
        yield _wrapped("why", fact.reason)
        yield _wrapped("   ", f"({_references(fact)})")


def _where(place: Place) -> str:
    told = f"{place}  {place.what}".rstrip().replace("\n", "\\n")  # a key of user data may have several lines
    if place.unsaid:
        default = f", whose default is {place.default}" if place.default else ""
        told += f"  (it doesn't say `{place.unsaid}`{default})"
    return told


def _references(fact: Fact) -> str:
    return ", ".join((fact.source, *fact.rules))


def _wrapped(word: str, text: str) -> str:
    lines = textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n".join(f"  {word if number == 0 else ' ' * len(word)}  {line}" for number, line in enumerate(lines))


def as_data(explained: Explained) -> dict[str, Any]:
    """The same as JSON has it."""
    return {
        "host": explained.host,
        "path": explained.path,
        "note": explained.note,
        "lines": [
            {
                "line": line.number,
                "text": line.text,
                "from": [_place(place) for place in line.places],
                "why": [
                    {"reason": fact.reason, "source": fact.source, "rules": list(fact.rules)} for fact in line.facts
                ],
            }
            for line in explained.lines
        ],
    }


def _place(place: Place) -> dict[str, Any]:
    """A place without what it hasn't got."""
    if not place.file:
        return {"what": str(place)}
    found = {
        "file": place.file,
        "line": place.line,
        "column": place.column,
        "what": place.what,
        "unsaid": place.unsaid,
        "default": place.default,
        "comment": place.comment,
    }
    return {key: said for key, said in found.items() if said}
