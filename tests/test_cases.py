"""Inventories that are wrong on purpose: every line that is says so itself, and nothing else may be told.

``tests/cases/errors/NAME`` is an inventory. A comment ``# expect: KV101`` stands on the line that must be told (a code
twice where it is told twice), ``# related: KV101`` on the line that a clash names as the other side. What has no room
for a comment stands in the case's ``expect.txt``: ``CODE FILE:LINE``, or ``CODE`` alone where there is no place.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmgen import pipeline
from kvmgen.checks import CHECKS
from kvmgen.diagnostics import Diagnostic, Rule
from kvmgen.inventory import context, firewall, read, schema, source
from kvmgen.inventory.read import Sources
from kvmgen.output import plan, tree

CASES = Path(__file__).parent / "cases" / "errors"
NAMES = sorted(path.name for path in CASES.iterdir())
EXPECT = "expect.txt"

RULES: tuple[Rule, ...] = (
    *source.RULES,
    *read.RULES,
    *schema.RULES,
    *context.RULES,
    *firewall.RULES,
    *pipeline.RULES,
    *plan.RULES,
    *tree.RULES,
    *dict.fromkeys(rule for rule, _ in CHECKS),
)
ABOUT_THE_OUTPUT = frozenset(("KV030", "KV031", "KV032", "KV033", "KV034"))
"""Rules of which no inventory can be an example: tests/output has theirs."""

Found = tuple[str, str]
"""A code (``related KV101`` for the other side) and ``FILE:LINE``."""


def _expected(case: Path) -> Iterator[Found]:
    for path in sorted(case.rglob("*")):
        if path.is_dir():
            continue
        text = path.read_bytes().decode(errors="replace")
        if path.name == EXPECT:
            yield from ((code, place) for code, _, place in (line.partition(" ") for line in text.splitlines()))
            continue
        for number, line in enumerate(text.split("\n"), 1):
            for word, codes in re.findall(r"# (expect|related): (KV\d{3}(?:, KV\d{3})*)", line):
                for code in codes.split(", "):
                    yield code if word == "expect" else f"related {code}", f"{path.relative_to(case)}:{number}"


def _told(diagnostics: list[Diagnostic], sources: Sources) -> Iterator[Found]:
    for diagnostic in diagnostics:
        position = sources.position(diagnostic)
        place = f"{diagnostic.origin.file}:{position.line if position else '-'}" if diagnostic.origin else ""
        yield diagnostic.rule.code, place
        for origin, _ in diagnostic.related:
            other = sources.position_of(origin)
            yield f"related {diagnostic.rule.code}", f"{origin.file}:{other.line if other else '-'}"


@pytest.mark.parametrize("name", NAMES)
def test_exactly_what_is_expected_is_told(name: str, tmp_path: Path) -> None:
    case = CASES / name
    inventory = tmp_path / "inventory"
    shutil.copytree(case, inventory, ignore=shutil.ignore_patterns(EXPECT))
    result = pipeline.validate(inventory)
    told, expected = Counter(_told(result.diagnostics, result.sources)), Counter(_expected(case))
    messages = "\n".join(sorted(f"{d.rule.code} {d.message}" for d in result.diagnostics))
    assert (told - expected, expected - told) == (Counter(), Counter()), messages
    assert all(diagnostic.hint for diagnostic in result.diagnostics)


def test_codes_are_unique_and_well_formed() -> None:
    codes = [rule.code for rule in RULES]
    assert sorted(set(codes)) == sorted(codes)
    assert all(re.fullmatch(r"KV[0-7]\d\d", code) for code in codes)
    assert len({rule.title for rule in RULES}) == len(RULES)


def test_every_rule_is_in_a_table() -> None:
    """The tables are what is documented: a rule that stands in none would be told, but not explained."""
    package = Path(source.__file__).parents[1]
    used = {code for path in package.rglob("*.py") for code in re.findall(r'code="(KV\d{3})"', path.read_text())}
    assert used == {rule.code for rule in RULES}


def test_every_rule_has_an_example() -> None:
    shown = {code for name in NAMES for code, _ in _expected(CASES / name)}
    assert {rule.code for rule in RULES} - shown == ABOUT_THE_OUTPUT
    dedicated = "".join(path.read_text() for path in (Path(__file__).parent / "output").glob("test_*.py"))
    assert all(code in dedicated for code in ABOUT_THE_OUTPUT)


def test_every_check_is_documented() -> None:
    """A check's docstring is the rule's documentation: it says why."""
    assert all(check.__doc__ and len(check.__doc__) > 40 for _, check in CHECKS)
