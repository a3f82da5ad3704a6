"""The kernel's reverse path filter: who asks a host by another address than that of the link that leads to him."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmgen.reachability.place import OUTSIDE_ADDRESSES
from tests.lab.agreement.comparison import Wish, compare_host
from tests.lab.agreement.traffic import Service
from tests.sites import SITE, write

pytestmark = pytest.mark.real

FIRST, SECOND = "192.0.2.11", "198.18.1.11"
CONF = "net.ipv4.conf"


def site(platform: str, settings: str) -> dict[str, str]:
    """A host with a bridge in each of two subnets, and its default route by the first."""
    host = f"platform: {platform}\nethernets: {{em1: {{}}, em2: {{}}}}\nbridges:\n"
    host += f"  br0: {{ports: [em1], addresses: [{FIRST}/24], routes: [{{to: default, via: 192.0.2.254}}]}}\n"
    host += f"  br1: {{ports: [em2], addresses: [{SECOND}/24]}}\n"
    return {"site.yaml": SITE, "hosts/kvm1.yaml": f"{host}sysctl: {settings}\n"}


@pytest.mark.parametrize(
    ("platform", "settings", "second"),
    [
        ("el7", "{}", "blocked"),
        ("el9", f"{{{CONF}.default.rp_filter: 0}}", "blocked"),
        ("el8.6", f"{{{CONF}.all.rp_filter: 2}}", "delivered"),
        ("el7", f"{{{CONF}.all.rp_filter: 0}}", "blocked"),
        ("el6", f"{{{CONF}.default.rp_filter: 0}}", "delivered"),
    ],
)
def test_the_filter_stops_what_comes_by_another_way(platform: str, settings: str, second: str, tmp_path: Path) -> None:
    inventory = write(tmp_path / "inventory", site(platform, settings))
    figures = compare_host(inventory, "kvm1", Wish(service=Service("tcp", 22), between=("outside", "kvm1")))
    assert not figures.disagreed, "\n".join(map(str, figures.disagreed))
    assert not figures.unknown
    asked = [one for one in figures.asked if one.probe.source == OUTSIDE_ADDRESSES[4]]
    observed = {str(one.probe.address): one.observed for one in asked}
    assert observed == {FIRST: "delivered", SECOND: second}
