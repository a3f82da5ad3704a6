"""What two versions of a file say otherwise, attribute by attribute."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from kvmgen.difference.fact import Fact
from kvmgen.value import value


@value
class Found:
    """An attribute whose value changed; ``old`` and ``new`` are the lines of the files that say it."""

    name: str
    before: str | None
    after: str | None
    old: tuple[int, ...] = ()
    new: tuple[int, ...] = ()


Facts = Sequence[Fact]
_COMPARED = 40
"""Up to how many values of one name are paired by how alike they are."""
_ALIKE = 0.5


def differing(before: Facts, after: Facts) -> Iterator[Found]:
    """The attributes that differ, in the order in which the files have them."""
    old, new = _by_name(before), _by_name(after)
    gone, come = _elements(before) - _elements(after), _elements(after) - _elements(before)
    told: set[str] = set()
    for name in _merged(list(new), list(old)):
        first = (new.get(name) or old[name])[0]
        if first.element in gone or first.element in come:
            if first.element not in told:
                told.add(first.element)
                yield _whole(first.element, before if first.element in gone else after, first.element in come)
            continue
        yield from _values(name, old.get(name, []), new.get(name, []))


def _by_name(facts: Iterable[Fact]) -> dict[str, list[Fact]]:
    found: dict[str, list[Fact]] = {}
    for fact in facts:
        found.setdefault(fact.name, []).append(fact)
    return found


def _elements(facts: Iterable[Fact]) -> set[str]:
    return {fact.element for fact in facts if fact.element}


def _merged(names: list[str], others: list[str]) -> list[str]:
    """All names, those of the second list where they stand among the first's."""
    known = set(names)
    position, found = -1, list(names)
    for name in others:
        if name in known:
            position = found.index(name)
        else:
            position += 1
            found.insert(position, name)
    return found


_DULL = re.compile(
    r": address (type|domain|bus|slot|function|controller|unit)$|parameter (CTRL_IP_LEARNING|IPV6_MASK)$"
)
"""What nobody looks for in something that comes or goes: its file tells."""


def _whole(element: str, facts: Facts, is_new: bool) -> Found:
    """Something that only one version has, on one line."""
    own = [fact for fact in facts if fact.element == element and not _DULL.search(fact.name)]
    words = (f"{fact.name[len(element) :].lstrip(': ')} {fact.value}".strip() for fact in own)
    lines = tuple(fact.line for fact in own)
    said = ", ".join(words)
    if is_new:
        return Found(name=element, before=None, after=said, new=lines)
    return Found(name=element, before=said, after=None, old=lines)


def _values(name: str, before: list[Fact], after: list[Fact]) -> Iterator[Found]:
    """What became of the values of one name."""
    if [fact.value for fact in before] == [fact.value for fact in after]:
        return
    removed, added = _without(before, after), _without(after, before)
    for old, new in _pairs(removed, added):
        yield Found(
            name=name,
            before=old.value if old else None,
            after=new.value if new else None,
            old=(old.line,) if old else (),
            new=(new.line,) if new else (),
        )
    if any(fact.ordered for fact in after):
        stayed = _without(before, removed), _without(after, added)
        yield from _reordered(name, *stayed)


def _reordered(name: str, before: list[Fact], after: list[Fact]) -> Iterator[Found]:
    """Values that stand in another order than before."""
    moved = [(old, new) for old, new in zip(before, after, strict=True) if old.value != new.value]
    if moved:
        yield Found(
            name=f"{name}: order",
            before=", ".join(old.value for old, _ in moved),
            after=", ".join(new.value for _, new in moved),
            old=tuple(old.line for old, _ in moved),
            new=tuple(new.line for _, new in moved),
        )


def _without(facts: list[Fact], others: list[Fact]) -> list[Fact]:
    """Those whose values the others don't have, or not as often."""
    left = Counter(fact.value for fact in others)
    found = []
    for fact in facts:
        if left[fact.value]:
            left[fact.value] -= 1
        else:
            found.append(fact)
    return found


def _pairs(removed: list[Fact], added: list[Fact]) -> Iterator[tuple[Fact | None, Fact | None]]:
    """Which value took which one's place, in the newer file's order; then those that are gone."""
    if len(removed) == len(added) == 1:
        yield removed[0], added[0]
        return
    partners = _partners(removed, added) if max(len(removed), len(added)) <= _COMPARED else {}
    for index, new in enumerate(added):
        yield (removed[partners[index]] if index in partners else None), new
    taken = set(partners.values())
    yield from ((old, None) for index, old in enumerate(removed) if index not in taken)


def _partners(removed: list[Fact], added: list[Fact]) -> dict[int, int]:
    """For new values the old one that is most like it, each once."""
    ratios = sorted(
        (-difflib.SequenceMatcher(None, old.value, new.value, autojunk=False).ratio(), one, other)
        for other, old in enumerate(removed)
        for one, new in enumerate(added)
    )
    found: dict[int, int] = {}
    for ratio, one, other in ratios:
        if -ratio >= _ALIKE and one not in found and other not in found.values():
            found[one] = other
    return found
