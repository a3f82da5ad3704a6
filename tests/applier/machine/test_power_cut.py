"""Power cuts while many files change: afterwards a host has all of the old files or all of the new ones.

`python -m tests.applier.machine` tries more of them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.applier.machine.cuts import cut_off, recorded, replayed

pytestmark = pytest.mark.real

SEED = 20
CUTS, MACHINES = 15, 2


def test_a_machine_whose_power_is_cut_is_whole_once_it_runs_again(parts: Path, tmp_path: Path) -> None:
    found = list(cut_off(parts, tmp_path, MACHINES, SEED))
    assert [wrong for _, wrong in found if wrong] == []


def test_it_is_whole_whatever_the_disk_kept_of_its_last_writes(parts: Path, tmp_path: Path) -> None:
    recording = recorded(parts, tmp_path)
    assert recording.last - recording.first > CUTS
    found = list(replayed(recording, tmp_path, CUTS, SEED))
    assert [wrong for _, wrong in found if wrong] == []
