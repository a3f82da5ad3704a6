"""Inventories that say themselves what must be told of them.

A comment ``# expect: KV101`` stands on the line that must be told (a code twice where it is told twice),
``# related: KV101`` on the line that a clash names as the other side. What has no room for a comment stands in the
case's ``expect.txt``: ``CODE FILE:LINE``, or ``CODE`` alone where there is no place. What a case takes away from the
inventory that it is laid over stands in its ``without.txt``, a file a line.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from kvmgen import pipeline
from kvmgen.diagnostics import Diagnostic
from kvmgen.inventory.sources import Sources

CASES = Path(__file__).parent / "cases"
EXPECT = "expect.txt"
TOLD = "told.txt"
WITHOUT = "without.txt"
_COMMENT = re.compile(r"# (expect|related): (KV\d{3}(?:, KV\d{3})*)")

Found = tuple[str, str]
"""A code (``related KV101`` for the other side) and ``FILE:LINE``."""


def expected(case: Path) -> Iterator[Found]:
    """What a case says must be told."""
    for path in sorted(path for path in case.rglob("*") if path.is_file()):
        text = path.read_bytes().decode(errors="replace")
        if path.name == EXPECT:
            yield from ((code, place) for code, _, place in (line.partition(" ") for line in text.splitlines()))
            continue
        for number, line in enumerate(text.split("\n"), 1):
            for word, codes in _COMMENT.findall(line):
                for code in codes.split(", "):
                    yield code if word == "expect" else f"related {code}", f"{path.relative_to(case)}:{number}"


def without_expectations(line: str) -> str:
    """A line of a case as its author would have written it."""
    return _COMMENT.sub("", line).rstrip()


def told(diagnostics: Iterable[Diagnostic], sources: Sources) -> Iterator[Found]:
    """What was told."""
    for diagnostic in diagnostics:
        position = sources.position(diagnostic)
        place = f"{diagnostic.origin.file}:{position.line if position else '-'}" if diagnostic.origin else ""
        yield diagnostic.rule.code, place
        for origin, _ in diagnostic.related:
            other = sources.position_of(origin)
            yield f"related {diagnostic.rule.code}", f"{origin.file}:{other.line if other else '-'}"


def copy(case: Path, inventory: Path) -> None:
    """Lay a case's files over an inventory, and take away what the case is without."""
    shutil.copytree(case, inventory, ignore=shutil.ignore_patterns(EXPECT, TOLD, WITHOUT), dirs_exist_ok=True)
    if (case / WITHOUT).exists():
        for name in (case / WITHOUT).read_text().split():
            (inventory / name).unlink()


def assert_tells(inventory: Path, wanted: Iterable[Found]) -> None:
    """Hold that validating tells exactly what is wanted, each with a hint."""
    result = pipeline.validate(inventory)
    found, expectation = Counter(told(result.diagnostics, result.sources)), Counter(wanted)
    messages = "\n".join(sorted(f"{d.rule.code} {d.message}" for d in result.diagnostics))
    assert (found - expectation, expectation - found) == (Counter(), Counter()), messages
    assert all(diagnostic.hint for diagnostic in result.diagnostics)
