"""From a site of which something is wrong to a small one of which the same is: piece by piece it is left out."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from tests.lab.agreement.comparison import Compared, ComparedSpecial, compare_host
from tests.lab.agreement.inventories import KEPT, Files, repaired, write
from tests.lab.agreement.random_sites import HOST

TRIES, SECONDS = 150, 600.0
"""What a site is worth; what is found by then is small enough."""

Pointer = tuple[str | int, ...]
Piece = tuple[str, Pointer]
"""A file, or a value in it."""

_WORDS = {
    "guests": ("filter", "policies", "anti-spoofing", "routes", "isolation-group"),
    "networks": ("isolation",),
    "policies": ("allow-in", "allow-out"),
    "filters": (),
}
_LISTS = {"filters": ("rules",), "policies": ("allow-in", "allow-out")}


def shrunk(
    files: Files, fails: Callable[[Files], bool], folder: Path, *, tries: int = TRIES, seconds: float = SECONDS
) -> Files:
    """The smallest inventory that is found of which ``fails`` is true, as it is of ``files``.

    It is asked at most so many times, and no more once the time is over. ``folder`` is where an inventory is repaired.
    """
    ends = time.monotonic() + seconds
    asked = 0
    found_any = True
    while found_any:
        found_any = False
        for path, pointer in list(_pieces(files)):
            smaller = _without(files, path, pointer)
            smaller = None if smaller is None else repaired(smaller, folder)
            if smaller is None or not _is_smaller(smaller, files):
                continue
            if asked == tries or time.monotonic() > ends:
                return files
            asked += 1
            if fails(smaller):
                files, found_any = smaller, True
    return files


def smallest(files: Files, wrong: Compared | ComparedSpecial) -> Files:
    """The smallest inventory of which prediction and kernel disagree in the same way."""
    with tempfile.TemporaryDirectory() as scratch:

        def is_the_same(smaller: Files) -> bool:
            folder = Path(scratch, "asked")
            write(smaller, folder)
            try:
                figures = compare_host(folder, HOST, wrong.wish)
            except AssertionError:  # it is too small for the laboratory
                return False
            return wrong.what in (one.what for one in figures.disagreed)

        # What only comes of all probes together can't be asked for piece by piece.
        return shrunk(files, is_the_same, Path(scratch, "repaired")) if is_the_same(files) else files


def _pieces(files: Files) -> Iterator[Piece]:
    """What may be left out: whole files first, and of a list its end, so that the places of the others stay."""
    own = [path for path in files if not path.startswith(KEPT)]
    for kind in ("networks", "guests", "policies", "filters"):
        yield from ((path, ()) for path in own if path.startswith(f"{kind}/"))
    for path in own:
        kind = path.partition("/")[0]
        for word in _LISTS.get(kind, ()):
            yield from ((path, (word, number)) for number in reversed(range(len(files[path].get(word, ())))))
        yield from ((path, (*place, word)) for place in _places(files[path]) for word in _WORDS[kind])
    for path in (path for path in files if path.startswith("hosts/")):
        for name in files[path].get("bridges", {}):
            yield from ((path, pointer) for pointer in (("bridges", name), ("bridges", name, "isolation")))


def _places(content: Files) -> Sequence[Pointer]:
    """Where the words of a file stand: in its interfaces, where it has any."""
    return [("interfaces", name) for name in content["interfaces"]] if "interfaces" in content else [()]


def _without(files: Files, path: str, pointer: Pointer) -> Files | None:
    """The inventory without a piece; ``None`` where it is gone already."""
    if path not in files:
        return None
    smaller = deepcopy(files)
    if not pointer:
        del smaller[path]
        return smaller
    within: Any = smaller[path]
    try:
        for key in pointer[:-1]:
            within = within[key]
        del within[pointer[-1]]
    except (KeyError, IndexError):
        return None
    return smaller


def _is_smaller(one: Files, other: Files) -> bool:
    return len(repr(one)) < len(repr(other))
