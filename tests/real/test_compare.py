"""The comparison must be able to fail."""

from __future__ import annotations

import pytest

from tests.real.compare import differences

MEANT = """
<domain type='kvm'>
  <name>web01</name>
  <devices>
    <disk type='file'><source file='/a'/><target dev='vda' bus='virtio'/></disk>
    <disk type='file'><source file='/b'/><target dev='vdb' bus='virtio'/><readonly/></disk>
    <interface type='bridge'>
      <mac address='52:54:00:00:00:01'/>
      <filterref filter='clean-traffic'>
        <parameter name='IP' value='10.0.0.1'/>
        <parameter name='IP' value='10.0.0.2'/>
      </filterref>
    </interface>
  </devices>
</domain>
"""


def test_the_same() -> None:
    """Nothing to say."""
    assert differences(MEANT, MEANT) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("type='kvm'", "type='qemu'", "/domain/@type is 'qemu', not 'kvm'"),
        (" bus='virtio'/></disk>", "/></disk>", "/domain/devices/disk[vda]/target/@bus is missing, not 'virtio'"),
        ("<readonly/>", "", "/domain/devices/disk[vdb]/readonly is missing"),
        (">web01<", "><", "/domain/name is '', not 'web01'"),
        ("dev='vda'", "dev='vdc'", "/domain/devices/disk[vda] is missing"),
        ("00:01'", "00:02'", "/domain/devices/interface[52:54:00:00:00:01] is missing"),
        (
            "<parameter name='IP' value='10.0.0.2'/>",
            "",
            "/domain/devices/interface[52:54:00:00:00:01]/filterref[clean-traffic]/parameter[IP #2] is missing",
        ),
        (
            "value='10.0.0.1'",
            "value='10.0.0.3'",
            "/domain/devices/interface[52:54:00:00:00:01]/filterref[clean-traffic]/parameter[IP]/@value"
            " is '10.0.0.3', not '10.0.0.1'",
        ),
    ],
)
def test_a_loss_is_told(old: str, new: str, said: str) -> None:
    """Each loss by itself, with its place, and nothing else."""
    assert MEANT.count(old) >= 1
    assert differences(MEANT, MEANT.replace(old, new, 1)) == [said]


def test_additions_and_order_are_libvirts_own() -> None:
    """An added device, an added attribute, disks the other way round."""
    first, second = "<disk type='file'><source file='/a'/>", "<disk type='file'><source file='/b'/>"
    dumped = MEANT.replace("vda", "swap").replace("vdb", "vda").replace("swap", "vdb")
    dumped = dumped.replace(first, "<first/>").replace(second, first).replace("<first/>", second)
    dumped = dumped.replace("<readonly/>", "").replace(
        "dev='vdb' bus='virtio'/>", "dev='vdb' bus='virtio'/><readonly/>"
    )
    dumped = dumped.replace("</devices>", "<memballoon/></devices>").replace("type='kvm'", "type='kvm' id='7'")
    assert differences(MEANT, dumped) == []
    assert differences(dumped, MEANT) == ["/domain/@id is missing, not '7'", "/domain/devices/memballoon is missing"]


def test_another_document() -> None:
    """A network is no domain."""
    assert differences("<network/>", "<domain/>") == ["/network is /domain"]
