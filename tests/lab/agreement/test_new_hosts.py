"""The example site's hosts, prediction against kernel: firewalld with nftables, and el9's own table of nftables'."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.lab.agreement.comparison import Figures
from tests.lab.agreement.conftest import agree

pytestmark = pytest.mark.real

HOSTS = ("kvm-el9", "kvm-el8")


@pytest.mark.parametrize("host", HOSTS)
def test_kernel_and_prediction_agree(figures_of: Callable[[str], Figures], host: str) -> None:
    agree(figures_of(host))
