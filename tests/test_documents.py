"""The mistakes of the documents that the example site comes from, as they were written.

A case says on its lines which codes are told; ``told.txt`` is everything that its author reads, and must say what
would have happened on the host. `tests.regenerate` makes it anew; a person reads it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.expectations import TOLD, assert_tells, copy, expected
from tests.regenerate import DOCUMENTS, told_of


@pytest.mark.parametrize("name", sorted(path.name for path in DOCUMENTS.iterdir()))
def test_what_its_author_reads(name: str, tmp_path: Path) -> None:
    copy(DOCUMENTS / name, tmp_path / "inventory")
    assert_tells(tmp_path / "inventory", expected(DOCUMENTS / name))
    assert told_of(tmp_path / "inventory") == (DOCUMENTS / name / TOLD).read_text()
