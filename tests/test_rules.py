"""Every rule: its documentation, an inventory that breaks it, and a twin that doesn't.

``tests/cases/rules/CODE/bad`` and ``good`` are laid over ``tests/cases/base``, a small site without fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmgen.checks import CHECKS
from kvmgen.inventory import source
from kvmgen.rules import Documented, as_markdown, rules
from tests.expectations import CASES, assert_tells, copy, expected, without_expectations
from tests.regenerate import RULES_PAGE

BASE = CASES / "base"
RULES = CASES / "rules"
TWINS = [f"{code.name}/{twin}" for code in sorted(RULES.iterdir()) for twin in ("bad", "good")]
ABOUT_THE_OUTPUT = frozenset(("KV030", "KV031", "KV032", "KV033", "KV034", "KV035"))
"""Rules of which no inventory can be an example: tests/output has theirs."""


@pytest.mark.parametrize("name", TWINS)
def test_exactly_what_is_expected_is_told(name: str, tmp_path: Path) -> None:
    inventory = tmp_path / "inventory"
    copy(BASE, inventory)
    copy(RULES / name, inventory)
    wanted = list(expected(RULES / name))
    assert_tells(inventory, wanted)
    code, twin = name.split("/")
    assert (code in {found for found, _ in wanted}) == (twin == "bad")


def test_the_base_has_no_fault() -> None:
    assert_tells(BASE, ())


@pytest.mark.parametrize("code", sorted(rules()))
def test_every_rule_has_both(code: str) -> None:
    assert (RULES / code / "bad").is_dir() is (RULES / code / "good").is_dir() is (code not in ABOUT_THE_OUTPUT)


def test_rules_about_the_output_have_their_tests() -> None:
    dedicated = "".join(path.read_text() for path in (Path(__file__).parent / "output").glob("test_*.py"))
    assert all(code in dedicated for code in ABOUT_THE_OUTPUT)


@pytest.mark.parametrize("documented", rules().values(), ids=lambda documented: documented.rule.code)
def test_the_documentation_shows_the_example(documented: Documented) -> None:
    """Every line of what is shown stands, in this order, in that file of the twin."""
    if documented.rule.code in ABOUT_THE_OUTPUT:
        return
    for twin, shown in (("bad", documented.bad), ("good", documented.good)):
        for file, lines in _files(shown):
            path = RULES / documented.rule.code / twin / file
            text = iter(without_expectations(line).strip() for line in path.read_text(errors="replace").splitlines())
            assert [line for line in lines if line.strip() not in text] == [], file


def _files(shown: str) -> Iterator[tuple[str, list[str]]]:
    parts = re.split(r"^# (\S+\.yaml)$", shown, flags=re.MULTILINE)
    assert parts[0].strip() == "", "an example starts with the name of its file"
    assert len(parts) > 1
    for file, text in zip(parts[1::2], parts[2::2], strict=True):
        yield file, [line for line in text.splitlines() if line.strip()]


def test_codes_and_titles_are_unique() -> None:
    assert all(re.fullmatch(r"KV[0-7]\d\d", code) for code in rules())
    codes = [rule.code for rule, _ in CHECKS]
    assert sorted(set(codes)) == sorted(codes), "one check a code"
    assert len({documented.rule.title for documented in rules().values()}) == len(rules())


def test_every_rule_is_in_a_table() -> None:
    """A rule that stands in none would be told, but not explained."""
    package = Path(source.__file__).parents[1]
    used = [code for path in package.rglob("*.py") for code in re.findall(r'code="(KV\d{3})"', path.read_text())]
    assert sorted(used) == sorted(rules())


@pytest.mark.parametrize("documented", rules().values(), ids=lambda documented: documented.rule.code)
def test_every_rule_names_its_source(documented: Documented) -> None:
    assert documented.uri.startswith("https://")


def test_the_page_about_the_rules_is_the_generated_one() -> None:
    assert RULES_PAGE.read_text() == as_markdown(rules().values())
