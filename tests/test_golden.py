"""Whole inventories against the very files that they must make.

`tests.regenerate` makes those anew; a person reads them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmgen import pipeline
from tests.regenerate import GOLDEN
from tests.sites import tree

NAMES = sorted(path.name for path in GOLDEN.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_golden(name: str, tmp_path: Path) -> None:
    result = pipeline.build(GOLDEN / name / "inventory", tmp_path)
    assert result.diagnostics == []
    made, golden = tree(tmp_path), tree(GOLDEN / name / "output")
    assert made.keys() == golden.keys()
    for path, content in made.items():
        assert content == golden[path], path
