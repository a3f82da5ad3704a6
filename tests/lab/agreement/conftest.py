"""The hosts of a test module, several of them at once: they wait for the kernel most of the time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.lab.agreement.comparison import Figures, Wish, compare_host
from tests.real.packets import INVENTORY

AT_ONCE = 3
SAMPLE = 400
"""Of each host's probes; the command asks them all, of all hosts."""


@pytest.fixture(scope="module")
def figures_of(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Figures]]:
    """What came of comparing one of the module's ``HOSTS``."""
    pool = ThreadPoolExecutor(AT_ONCE)
    found = {host: pool.submit(compare_host, INVENTORY, host, Wish(sample=SAMPLE)) for host in request.module.HOSTS}
    try:
        yield lambda host: found[host].result()
    finally:
        pool.shutdown(cancel_futures=True)


def agree(figures: Figures) -> None:
    """Hold that enough was asked, that nothing disagrees, and that nearly nothing is unknown."""
    assert figures.probes > 50
    assert not figures.disagreed, "\n".join(str(one) for one in figures.disagreed[:5])
    assert figures.unknown.total() <= figures.probes // 100, figures.unknown
