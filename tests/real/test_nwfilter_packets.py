"""What reachability says that a filter does to a frame is what a real kernel does. More of it by hand:

``python -m tests.lab.random_filters --filters 500 --seed 1``. What that found wrong stands in tests/cases/filters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings

from tests.lab.filter_packets import Ground
from tests.lab.filter_packets import ground as open_ground
from tests.lab.host import LabHost
from tests.lab.random_filters import bound, disagreements, trees

pytestmark = pytest.mark.real

CASES = Path(__file__).parents[1] / "cases" / "filters"
ADDRESSES: Mapping[str, Sequence[str]] = {"IP": ["192.0.2.11"], "CTRL_IP_LEARNING": ["none"]}


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with LabHost() as host:
        host.start_libvirtd()
        with open_ground(host, seed=1) as started:
            yield started


@pytest.mark.parametrize("case", sorted(path.stem for path in CASES.glob("*.yaml")))
def test_what_was_believed_wrongly(ground: Ground, case: str) -> None:
    assert bound(ground, yaml.safe_load((CASES / f"{case}.yaml").read_text())) == []


def test_clean_traffic(ground: Ground) -> None:
    assert disagreements(ground, {}, "clean-traffic", ADDRESSES) == []


@settings(
    max_examples=4,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)
@given(documents=trees(most=14, limits=False))
def test_random_filters(ground: Ground, documents: dict[str, dict[str, Any]]) -> None:
    assert bound(ground, documents) == [], yaml.safe_dump(documents, sort_keys=False)
