"""The example site's hosts, prediction against kernel: firewalld with nftables, and el9's own table of nftables'."""

from __future__ import annotations

import pytest

from tests.lab.agreement.comparison import Wish, compare_host
from tests.real.packets import INVENTORY

pytestmark = pytest.mark.real

SAMPLE = 400
"""Of each host's probes; the command asks them all, of all hosts."""


@pytest.mark.parametrize("host", ["kvm-el8", "kvm-el9"])
def test_kernel_and_prediction_agree(host: str) -> None:
    figures = compare_host(INVENTORY, host, Wish(sample=SAMPLE))
    assert figures.probes > 50
    assert not figures.disagreed, "\n".join(str(one) for one in figures.disagreed[:5])
    assert sum(figures.unknown.values()) <= figures.probes // 100, figures.unknown
