"""A random site, and the sites of which kernel and prediction once disagreed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.agreement.__main__ import REGRESSIONS
from tests.lab.agreement.comparison import Wish, compare_host
from tests.lab.agreement.conftest import agree
from tests.lab.agreement.random_sites import HOST, write_site

pytestmark = pytest.mark.real

SEED = 4
"""One of policies, a filter and isolation."""


def test_a_random_site(tmp_path: Path) -> None:
    inventory = tmp_path / "inventory"
    assert write_site(SEED, inventory)
    _agree(inventory)


@pytest.mark.parametrize("inventory", sorted(REGRESSIONS.iterdir()), ids=lambda folder: folder.name)
def test_what_once_disagreed(inventory: Path) -> None:
    _agree(inventory)


def test_a_seed_makes_one_site(tmp_path: Path) -> None:
    made = []
    for name in ("one", "other"):
        assert write_site(SEED, tmp_path / name)
        files = sorted(path for path in (tmp_path / name).rglob("*.yaml"))
        made.append([(path.relative_to(tmp_path / name), path.read_text()) for path in files])
    assert made[0] == made[1]


def _agree(inventory: Path) -> None:
    agree(compare_host(inventory, HOST, Wish()))
