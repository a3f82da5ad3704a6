"""The applier on networks whose guests are on devices of the host instead of a bridge."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.applier.run import HOST, Managed
from tests.lab.host import LabHost

pytestmark = pytest.mark.real

GUEST = "es-lan01"


def test_what_libvirt_counts_is_no_difference(tmp_path: Path) -> None:
    """Networks by macvtap, of virtual functions and on Open vSwitch: put once, and right from then on."""
    with LabHost(HOST) as lab:
        lab.start_libvirtd()
        lab.add_bridge("br0")
        lab.ip_batch(["link add em2 type veth peer name wire", "link set em2 up", "link set wire up"])
        host = Managed(lab, tmp_path)
        host.edit("hosts/kvm-es.yaml", "bridges:\n", "  em2: {}\n  em3: {}\nbridges:\n")
        host.edit("guests/es-lan01.yaml", "eth0: {network: es-lan", "eth0: {network: direct, anti-spoofing: none")
        host.write("networks/direct.yaml", "hosts: {kvm-es: {}}\nforward: private\ndevices: [em2]\n")
        host.write("networks/functions.yaml", "hosts: {kvm-es: {}}\nforward: hostdev\npf: em3\nautostart: false\n")
        folder = host.built()
        host.apply(folder)
        host.start(GUEST)
        network = host.network("direct")
        assert [found.get("connections") for found in network.iterfind("forward/interface")] == ["1"]
        assert host.plan(folder, code=0) == []
        status = host.status(0)
        assert (status["drift"], status["pending"]) == ([], [])
        host.edit("networks/direct.yaml", "private", "vepa")
        assert host.impacts(host.built())["direct"] == ("change", "network restart", [GUEST])
        lab.virsh("destroy", GUEST)
