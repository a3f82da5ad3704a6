"""PCI addresses of NICs: nothing about a NIC depends on its neighbours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from kvmgen.model.guest import Guest, Watchdog
from kvmgen.model.pci import PC_FREE_SLOTS, PciAddress, clashes, pci_slots, slot_of
from kvmgen.model.values import Mac
from kvmgen.render._pci import root_ports
from kvmgen.render.domain import domain_xml
from tests.render.builders import EL9, disk, guest, nic

NAMES = st.from_regex(r"(eth|ens|enp0s|enp1s|eno|lan)[0-9]{0,3}|enp[0-9]{1,2}s0", fullmatch=True)
CHIPSETS = st.sampled_from(["pc", "q35"])


def with_nics(chipset: str, *names: str) -> Guest:
    """A guest with these interfaces."""
    nics = (nic(name, mac=Mac(f"52:54:00:00:00:{number:02x}")) for number, name in enumerate(names))
    return guest(chipset=chipset, interfaces=tuple(nics))


@pytest.mark.parametrize(
    ("name", "chipset", "address"),
    [
        ("eth0", "pc", (0, 0x10, 0)),
        ("eth15", "pc", (0, 0x1F, 0)),
        ("ens3", "pc", (0, 3, 0)),
        ("enp0s31", "pc", (0, 31, 0)),
        ("eth0", "q35", (1, 0, 0)),
        ("eth15", "q35", (16, 0, 0)),
        ("enp1s0", "q35", (1, 0, 0)),
        ("enp16s0", "q35", (16, 0, 0)),
    ],
)
def test_what_a_name_says_is_kept(name: str, chipset: str, address: PciAddress) -> None:
    """The kernel and udev would give the NIC that very name, or that place in the order."""
    assert slot_of(name, chipset) == address


@pytest.mark.parametrize("name", ["ens2", "ens32", "enp0s1", "ens03", "eth16", "eth00", "lan", "größe", "enp1s0"])
def test_other_names_keep_clear_of_the_chipset(name: str) -> None:
    """Slots 0 to 2 are the chipset's and the video card's."""
    bus, slot, function = slot_of(name, "pc")
    assert (bus, function) == (0, 0)
    assert slot in PC_FREE_SLOTS


@given(st.lists(NAMES, unique=True, min_size=1, max_size=8), CHIPSETS, st.data())
def test_a_nic_stays_when_another_goes(names: list[str], chipset: str, data: st.DataObject) -> None:
    """Order means nothing either."""
    before = pci_slots(with_nics(chipset, *names))
    left = data.draw(st.permutations(names))[1:]
    after = pci_slots(with_nics(chipset, *left))
    assert after == {name: before[name] for name in left}


@given(st.lists(NAMES, unique=True, max_size=8))
def test_the_ports_before_a_nics_own_never_go(names: list[str]) -> None:
    """A q35 guest's bus numbers are counted over root ports: those up to the last NIC's are there without a gap."""
    slots = pci_slots(with_nics("q35", *names))
    assert all(set(range(1, bus + 1)) <= set(root_ports(slots)) for bus, _, _ in slots.values())


def test_a_bridge_stands_behind_the_nics_ports() -> None:
    """On a free port between NICs, where libvirt would put it, it would shift every bus behind it."""
    living = guest(interfaces=(nic("enp3s0"),), watchdog=Watchdog(model="i6300esb", action="reset"))
    root = etree.fromstring(domain_xml(living, {}, EL9))
    models = [(one.get("index"), one.get("model")) for one in root.iterfind("devices/controller[@type='pci']")]
    ports = [(str(index), "pcie-root-port") for index in (1, 2, 3, 4)]
    assert models == [*ports, ("5", "pcie-to-pci-bridge")]


def test_disks_move_no_nic() -> None:
    """Only the libvirt's own devices make room."""
    living = guest(interfaces=(nic("eth1"),))
    crowded = guest(interfaces=(nic("eth1"),), disks=tuple(disk(f"vd{letter}") for letter in "abcdefgh"))
    assert pci_slots(living) == pci_slots(crowded)


def test_clashes_are_found() -> None:
    """A pinned address counts as well."""
    pinned = guest(chipset="pc", interfaces=(nic("eth0"), nic("lan", pci=(0, 16, 0)), nic("eth1")))
    assert clashes(pinned) == (("eth0", "lan"),)
    assert clashes(with_nics("q35", "eth0", "eth1", "eth2")) == ()


def test_functions_of_one_slot() -> None:
    """Function 0 must say that there are more, or QEMU refuses the second."""
    nics = (nic("a", pci=(0, 9, 0)), nic("b", mac=Mac("52:54:00:00:00:02"), pci=(0, 9, 1)))
    root = etree.fromstring(domain_xml(guest(chipset="pc", interfaces=nics), {}, EL9))
    assert [one.get("multifunction") for one in root.iterfind("devices/interface/address")] == ["on", None]
