"""Which changed line of the inventory caused what: the nearest to what a file's line was made from."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from difflib import SequenceMatcher
from functools import cached_property

from kvmgen.artifact import Artifact, Lines
from kvmgen.diagnostics import Origin
from kvmgen.difference.attributes import Found
from kvmgen.difference.model import Place
from kvmgen.difference.sides import Side
from kvmgen.inventory.read import SITE_FILE
from kvmgen.model.site import Site
from kvmgen.value import record

_MANY = 4000
"""Beyond so many changed lines no line is looked for by its words alone."""


@record
class _Line:
    """A line of the inventory that only one side has."""

    file: str
    number: int
    text: str


class Causes:
    """The inventory's changed lines, on both sides."""

    def __init__(self, before: Side | None, after: Side | None, changed: Collection[str]) -> None:
        """``changed`` are the inventory's files that differ, as the inventory names them."""
        both = [side for side in (after, before) if side is not None]
        self._changed = changed
        self._known: dict[object, tuple[Place, ...]] = {}
        self._sides = tuple(_Changed(side, _other(side, before, after), changed) for side in both)

    def of(self, found: Found, old: Artifact | None, new: Artifact | None) -> tuple[Place, ...]:
        """What caused an attribute to change: the newer side's line, or the older one's that is gone.

        What changes alike in many files for which no more than a default has changed has one cause.
        """
        shared = frozenset(
            origin for one in (old, new) if one for origin in one.sources if origin.file in self._changed
        )
        by_default = shared and all(origin.file == SITE_FILE for origin in shared)
        path = "" if by_default else next(one.path for one in (new, old) if one)
        key = path, found.name, found.before, found.after, shared
        if key not in self._known:
            self._known[key] = self._of(found, old, new)
        return self._known[key]

    def _of(self, found: Found, old: Artifact | None, new: Artifact | None) -> tuple[Place, ...]:
        words = _Words(found.name, found.after, found.before)
        for side in self._sides:
            artifact, lines = (old, found.old) if side.side.before else (new, found.new)
            place = side.at_line(artifact, lines, words) if artifact is not None else None
            if place is not None:
                return (place,)
        return self._of_sources(words, ((old, new),)) or self._elsewhere(words)

    def of_object(self, name: str, pairs: Sequence[Pair]) -> tuple[Place, ...]:
        """What caused an object to come, to go or to change, where no attribute tells."""
        words = _Words(name, name, None)
        for old, new in pairs:
            for side in self._sides:
                artifact = old if side.side.before else new
                place = side.whole(artifact) if artifact is not None else None
                if place is not None:
                    return (place,)
        return self._of_sources(words, pairs) or self._elsewhere(words)

    def of_guest(self, name: str, key: str = "") -> tuple[Place, ...]:
        """What caused a guest to change, or a key of it."""
        return self._within(key, lambda site: guest.origin if (guest := site.guests.get(name)) else None)

    def of_host(self, name: str, key: str) -> tuple[Place, ...]:
        """What caused a key of a host to change, or of the site as a whole."""
        words = _Words(key, None, None)
        found = self._within(key, lambda site: host.origin if (host := site.hosts.get(name)) else None)
        return found or self._elsewhere(words)

    def _within(self, key: str, origin_of: Callable[[Site], Origin | None]) -> tuple[Place, ...]:
        """The changed line within an object, or a key of it."""
        for side in self._sides:
            origin = origin_of(side.side.site)
            if origin is not None:
                place = side.within(origin.at(key) if key else origin, _Words(key, None, None))
                if place is not None:
                    return (place,)
        return ()

    def _of_sources(self, words: _Words, pairs: Sequence[Pair]) -> tuple[Place, ...]:
        """The changed line, of those that a file was made from, that speaks of it; or else one close to them."""
        for find in (_Changed.speaking, _Changed.close):
            for old, new in pairs:
                for side in self._sides:
                    artifact = old if side.side.before else new
                    place = find(side, artifact, words) if artifact is not None else None
                    if place is not None:
                        return (place,)
        return ()

    def _elsewhere(self, words: _Words) -> tuple[Place, ...]:
        """A changed line anywhere that says the very value; or else what changed at all, where that is one file."""
        for side in self._sides:
            for line in side.worth_reading:
                if words.is_said_in(line.text):
                    return (side.place(line),)
        files = {line.file: side.place(line) for side in reversed(self._sides) for line in side.first_lines}
        return tuple(files.values()) if len(files) == 1 else ()


def _other(side: Side, before: Side | None, after: Side | None) -> Side | None:
    return before if side is after else after


@record
class _Words:
    """What is looked for in a line: the attribute's name, its values."""

    name: str
    after: str | None
    before: str | None

    def score(self, text: str) -> float:
        """How much a line seems to speak of it, 0 for not at all."""
        values = [value for value in (self.after, self.before) if value]
        whole = self.is_said_in(text)
        parts = [word for value in values for word in re.findall(r"[\w.:/-]{2,}", value)][:_MOST_WORDS]
        share = sum(word in text for word in parts) / len(parts) if parts else 0
        named = [word.lower() for word in re.findall(r"[A-Za-z]{3,}|[\w.-]+\d", self.name)]
        lower = text.lower()
        return 4 * whole + 2 * share + sum(word in lower for word in named)

    def is_said_in(self, text: str) -> bool:
        """Whether a line says one of the values, word for word."""
        values = (value for value in (self.after, self.before) if value and len(value) >= _TELLING)
        return any(re.search(rf"(?<![\w.]){re.escape(value)}(?![\w.])", text) for value in values)


_MOST_WORDS = 20
_TELLING = 3
"""Shorter values stand in many lines."""


class _Changed:
    """One side's changed lines."""

    def __init__(self, side: Side, other: Side | None, changed: Collection[str]) -> None:
        self.side = side
        self._other = other
        self._files = changed
        self._lines: dict[str, list[_Line]] = {}
        self._maps: dict[int, Lines] = {}

    def at_line(self, artifact: Artifact, lines: Sequence[int], words: _Words) -> Place | None:
        """A changed line within what made one of these lines of a file."""
        origins = dict.fromkeys(origin for line in lines for origin in self._origins_at(artifact, line))
        for origin in origins:
            place = self.within(origin, words)
            if place is not None:
                return place
        return None

    def _origins_at(self, artifact: Artifact, line: int) -> tuple[Origin, ...]:
        if artifact.lines is None:
            return ()
        made = self._maps.get(id(artifact))
        if made is None:
            made = self._maps[id(artifact)] = artifact.lines()
        first = max((one for one in made if one <= line), default=None)
        return () if first is None else made[first]

    def within(self, origin: Origin, words: _Words) -> Place | None:
        """The changed line within a value of the inventory that speaks most of it."""
        if origin.file not in self._files:
            return None
        first, last = self.side.sources.source(origin.file).extent(origin.pointer) or (1, 0)
        inside = [line for line in self._of_file(origin.file) if first <= line.number <= last]
        return self.place(max(inside, key=lambda line: words.score(line.text))) if inside else None

    def whole(self, artifact: Artifact) -> Place | None:
        """The first line of the file that an object comes from, where only one side has that."""
        file = artifact.sources[0].file if artifact.sources else ""
        if file not in self._files or (self._other is not None and self._other.sources.has(file)):
            return None
        lines = self._of_file(file)
        return self.place(lines[0]) if lines else None

    def speaking(self, artifact: Artifact, words: _Words) -> Place | None:
        """The changed line, in the inventory's files that a file was made from, that speaks most of it."""
        files = dict.fromkeys(origin.file for origin in artifact.sources)
        lines = [line for file in files for line in self._of_file(file)]
        best = max(lines, key=lambda line: words.score(line.text), default=None)
        return None if best is None or words.score(best.text) < _SPEAKS else self.place(best)

    def close(self, artifact: Artifact, words: _Words) -> Place | None:
        """A changed line within the very objects that a file was made from, a whole file's last."""
        for origin in sorted(dict.fromkeys(artifact.sources), key=lambda origin: -len(origin.pointer)):
            place = self.within(origin, words)
            if place is not None:
                return place
        return None

    @cached_property
    def worth_reading(self) -> list[_Line]:
        """All changed lines, where they aren't too many."""
        found: list[_Line] = []
        for file in sorted(self._files):
            found += self._of_file(file)
            if len(found) > _MANY:
                return []
        return found

    @cached_property
    def first_lines(self) -> list[_Line]:
        """The first changed line of some files."""
        return [lines[0] for file in sorted(self._files)[:_SOME] if (lines := self._of_file(file))]

    def place(self, line: _Line) -> Place:
        """The line as somebody can open it."""
        return Place(file=self.side.path(line.file), line=line.number, before=self.side.before)

    def _of_file(self, file: str) -> list[_Line]:
        if file not in self._files:
            return []
        if file not in self._lines:
            own = self.side.sources.source(file).text
            other = "" if self._other is None else self._other.sources.source(file).text
            self._lines[file] = list(_only_in(file, own, other))
        return self._lines[file]


_SOME = 50
_SPEAKS = 1
"""From when on a line seems to speak of something: it has its name, or half of its value."""

Pair = tuple[Artifact | None, Artifact | None]
"""A file's older and newer version."""


def _only_in(file: str, text: str, other: str) -> Iterator[_Line]:
    """The lines that another version of a file doesn't have, without comments and blank ones."""
    own, others = text.splitlines(), other.splitlines()
    matcher = SequenceMatcher(None, others, own, autojunk=False)
    for tag, _, _, first, last in matcher.get_opcodes():
        if tag != "equal":
            for number in range(first, last):
                words = own[number].strip()
                if words and not words.startswith("#"):
                    yield _Line(file, number + 1, own[number])
