"""A small site and its output."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmgen import pipeline
from tests.output.changes import codes
from tests.sites import SMALL, write


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    return write(tmp_path / "inventory", SMALL)


@pytest.fixture
def output(tmp_path: Path, inventory: Path) -> Path:
    """The output of the small site, built."""
    folder = tmp_path / "output"
    assert codes(pipeline.build(inventory, folder)) == []
    return folder
