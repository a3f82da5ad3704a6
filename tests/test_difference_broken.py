"""An older revision that checks find wrong: it is compared all the same, so that what mends it gets a report."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from kvmgen import pipeline
from kvmgen.checks import CHECKS
from kvmgen.difference.reading import Compared, Read
from kvmgen.difference.whole import difference
from kvmgen.page.assembled import in_mermaid
from kvmgen.pipeline import Result
from kvmgen.report.difference_json import as_json
from tests.expectations import CASES, copy
from tests.sites import tree, write
from tests.test_cli import run
from tests.test_difference import SITE, commit, edit, site

__all__ = ["site"]

BASE = CASES / "base"


@cache
def _base() -> Result:
    return pipeline.load(BASE)


def _side(result: Result, before: bool) -> Read:
    return Read("older" if before else "newer", "inventory", result, before)


@pytest.mark.parametrize("code", sorted(rule.code for rule, _ in CHECKS if rule.severity == "error"))
def test_what_only_checks_find_hinders_no_comparison(code: str, tmp_path: Path) -> None:
    """Or else the rule says that it guards; whoever writes a new one finds out here."""
    copy(BASE, tmp_path)
    copy(CASES / "rules" / code / "bad", tmp_path)
    broken = pipeline.load(tmp_path)
    before, after = _side(broken, before=True), _side(_base(), before=False)
    assert before.is_good == (broken.is_whole and not any(one.rule.guards for one in before.errors))
    assert broken.is_good == (not before.errors)
    if before.is_good:
        old, new = tree(tmp_path), tree(BASE)
        changed = frozenset(str(path) for path in {*old, *new} if old.get(path) != new.get(path))
        compared = Compared(before, after, changed)
        found = difference(compared)
        in_mermaid(compared, found)
        assert as_json(found)


def test_a_rule_that_guards_is_one_without_which_nothing_can_be_told() -> None:
    assert [rule.code for rule, _ in CHECKS if rule.guards] == ["KV522"]


def test_what_mends_an_error_is_compared(site: Path) -> None:
    guest = site / "inventory/guests/db1.yaml"
    write(site / "inventory", {"guests/db1.yaml": SITE["guests/db1.yaml"].replace("100.10/24", "100.3/24")})
    commit(site)
    assert run("validate")[0] == 1
    guest.write_text(SITE["guests/db1.yaml"])
    code, out, err = run("diff")
    assert (code, err) == (0, "")
    assert ") breaks KV" in out
    assert "error): it is compared all the same.\n" in out
    assert '"198.51.100.3/24"' in out
    code, out, err = run("reach", "--diff", "HEAD")
    assert (code, err) == (0, "")
    assert "Opens" in out or "Otherwise" in out or "Every packet" in out


def test_the_newer_side_has_to_be_right(site: Path) -> None:
    edit(site, "guests/db1.yaml", "100.10/24", "100.3/24")
    code, out, err = run("diff")
    assert (code, out) == (1, "")
    assert "error KV" in err


def test_what_a_guarding_rule_finds_is_refused(site: Path) -> None:
    edit(site, "filters/few.yaml", "dstportstart: 22", "dstportstart: 22, dstportend: 21")
    commit(site)
    edit(site, "filters/few.yaml", "dstportend: 21", "dstportend: 23")
    code, out, err = run("diff")
    assert (code, out) == (1, "")
    assert "error KV522" in err
    assert "doesn't build with this kvmgen" in err
