"""The example site's hosts, prediction against kernel: el6's iptables, el7's firewalld with iptables."""

from __future__ import annotations

import pytest

from tests.lab.agreement.comparison import Wish, compare_host
from tests.real.packets import INVENTORY

pytestmark = pytest.mark.real

SAMPLE = 400
"""Of each host's probes; the command asks them all, of all hosts."""


@pytest.mark.parametrize("host", ["kvm-cn1", "kvm-cn2", "kvm-de", "kvm-es", "kvm-jp", "kvm-jp7", "kvm-ovirt"])
def test_kernel_and_prediction_agree(host: str) -> None:
    figures = compare_host(INVENTORY, host, Wish(sample=SAMPLE))
    assert figures.probes > 50
    assert not figures.disagreed, "\n".join(str(one) for one in figures.disagreed[:5])
    assert sum(figures.unknown.values()) <= figures.probes // 100, figures.unknown
