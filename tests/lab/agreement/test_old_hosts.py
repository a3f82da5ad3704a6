"""The example site's hosts, prediction against kernel: el6's iptables, el7's firewalld with iptables."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.lab.agreement.comparison import Figures
from tests.lab.agreement.conftest import agree

pytestmark = pytest.mark.real

HOSTS = ("kvm-de", "kvm-es", "kvm-jp", "kvm-ovirt", "kvm-cn1", "kvm-cn2", "kvm-jp7")


@pytest.mark.parametrize("host", HOSTS)
def test_kernel_and_prediction_agree(figures_of: Callable[[str], Figures], host: str) -> None:
    agree(figures_of(host))
