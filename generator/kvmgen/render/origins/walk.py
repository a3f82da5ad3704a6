"""From a rendered text to the ways of its lines, and by a table of places to the origin of each line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from kvmgen.artifact import Lines
from kvmgen.diagnostics import OWN, Origin

Origins = tuple[Origin, ...]

Places = Mapping[str, Origins]
"""By the way to an element or key: ``devices/interface[2]/mac``, ``ipv4/address1``; the file as a whole is ``""``.

The second element of a name under one parent is ``NAME[2]``, the first just ``NAME``.
"""

CHOICE: Origins = (Origin(f"{OWN}choice"),)
"""What kvmgen decides by itself, whatever the inventory says."""


def hostname_origins(origin: Origin, said: Origin, name: str, hostname: str) -> Origins:
    """Where a machine's host name is from: its own word, or its file's name and the site's domain."""
    domain = (Origin("site.yaml", ("domain",)),) if hostname.startswith(f"{name}.") else ()
    return (said, origin, *domain)


_TAG = re.compile(r"\s*<(/?)([\w-]+)")
_CLOSED = re.compile(r"/>$|</[\w-]+>$")


def nth(name: str, index: int) -> str:
    """The step to one of several elements, counted from 0."""
    return name if index == 0 else f"{name}[{index + 1}]"


def xml_lines(text: str, places: Places) -> Lines:
    """The lines of an XML file of ours: a tag a line, comments before what they are about."""
    return _placed(_xml_ways(text.splitlines()), places)


def key_lines(text: str, places: Places) -> Lines:
    """The lines of a file of sections and keys, or of keys alone: ``KEY=value``, ``[SECTION]``."""
    return _placed(_key_ways(text.splitlines()), places)


def listed_lines(text: str, origins: Iterable[Origins], others: Origins = CHOICE) -> Lines:
    """The lines of a file that is a list: one origin for each line that is no comment; comments are before theirs."""
    remaining = iter(origins)
    found: dict[int, Origins] = {}
    open_: list[int] = []
    for number, line in enumerate(text.splitlines(), 1):
        open_.append(number)
        if line.strip() and not line.startswith("#"):
            found |= dict.fromkeys(open_, next(remaining, others))
            open_ = []
    return found | dict.fromkeys(open_, others)


def _placed(ways: Iterable[tuple[int, str | None]], places: Places) -> Lines:
    """Comments and blank lines (``None``) go with what follows; the opening header with the file."""
    found: dict[int, Origins] = {}
    open_: list[int] = []
    for number, way in ways:
        if way is None:
            open_.append(number)
            continue
        origins = _nearest(way, places)
        found |= dict.fromkeys(open_, origins if found else places[""])
        found[number] = origins
        open_ = []
    return found | dict.fromkeys(open_, places[""])


def _nearest(way: str, places: Places) -> Origins:
    while way not in places:
        way = way.rpartition("/")[0]
    return places[way]


def _xml_ways(lines: Iterable[str]) -> Iterator[tuple[int, str | None]]:
    way: list[str] = []
    seen: list[Counter[str]] = [Counter()]
    for number, line in enumerate(lines, 1):
        tag = _TAG.match(line)
        if tag is None:
            yield number, None
        elif tag[1]:
            yield number, "/".join(way[1:])
            way.pop()
            seen.pop()
        else:
            way.append(nth(tag[2], seen[-1][tag[2]]))
            seen[-1][tag[2]] += 1
            seen.append(Counter())
            yield number, "/".join(way[1:])
            if _CLOSED.search(line):
                way.pop()
                seen.pop()


def _key_ways(lines: Iterable[str]) -> Iterator[tuple[int, str | None]]:
    section = ""
    for number, line in enumerate(lines, 1):
        if line.startswith("["):
            section = line[1:].partition("]")[0]
            yield number, section
        elif line and not line.startswith("#"):
            key = line.partition("=")[0]
            yield number, f"{section}/{key}" if section else key
        else:
            yield number, None
