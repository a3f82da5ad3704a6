"""What a machine is made of, once for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.applier.machine.image import make_root
from tests.applier.machine.machine import make_initrd


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("parts")
    make_root(place)
    make_initrd(place)
    return place
