"""Inventories that are wrong on purpose: every line that is says so itself, and nothing else may be told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.expectations import CASES, assert_tells, copy, expected

ERRORS = CASES / "errors"


@pytest.mark.parametrize("name", sorted(path.name for path in ERRORS.iterdir()))
def test_exactly_what_is_expected_is_told(name: str, tmp_path: Path) -> None:
    copy(ERRORS / name, tmp_path / "inventory")
    assert_tells(tmp_path / "inventory", expected(ERRORS / name))
