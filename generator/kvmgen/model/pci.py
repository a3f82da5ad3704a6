"""PCI addresses of a guest's NICs: each follows from the NIC's own name, so that no NIC moves when another one goes.

libvirt gives devices without an address the first free slot, in order: take the first NIC away and the second slides
into its place, with another name inside the guest. Here an address depends on nothing but the chipset and the
interface's name, and what the name says is kept:

| name | pc | q35 | why |
|---|---|---|---|
| `ensS`, `enp0sS` | bus 0, slot S | by the hash | udev makes this name from that slot |
| `enpBs0` | by the hash | root port B | udev makes this name from that bus |
| `ethN` | slot 16 + N | root port 1 + N | the kernel counts eth devices in the order of their addresses |
| any other | slot 16 to 31 | root port 1 to 16 | a hash of the name |

Two names may share a hash. Nothing that depends on the other NICs could part them and still keep the promise, so
both get the same address, which libvirt refuses to define, and one of them must be pinned: `clashes` finds them.

On pc everything else (disks, controllers, balloon) is libvirt's own choice and starts at slot 3, out of the NICs' way.
On q35 every root port up to the highest one that a NIC needs is written out. They come first on bus 0, and firmware
counts buses in that order, so that `enp2s0` is bus 2 whatever else the guest has. libvirt adds ports of its own behind
them and may put other devices on those that are free between NICs: a disk may move, a NIC never. Only a bridge on a
free port would shift the buses behind it, so a guest that needs one gets it behind the NICs' ports.

Sources: https://libvirt.org/pci-addresses.html, systemd.net-naming-scheme(7).
"""

from __future__ import annotations

import re
from collections import defaultdict
from functools import lru_cache
from zlib import crc32

from kvmgen.model.guest import Guest

PciAddress = tuple[int, int, int]
"""Bus, slot and function."""

PLACES = 16
PC_FIRST_SLOT = 0x10
PC_FREE_SLOTS = range(3, 32)  # the host bridge, the PIIX3 and the first video card have 0, 1 and 2
Q35_FIRST_BUS = 1

_PC_NAME = re.compile(r"(?:ens|enp0s)([1-9][0-9]?)")
_Q35_NAME = re.compile(r"enp([1-9][0-9]?)s0")
_ETH_NAME = re.compile(r"eth(0|[1-9][0-9]?)")


def pci_slots(guest: Guest) -> dict[str, PciAddress]:
    """The address of every NIC by the interface's name: the pinned one, else the one that its name stands for."""
    return {nic.name: nic.pci or slot_of(nic.name, guest.chipset) for nic in guest.interfaces}


def clashes(guest: Guest) -> tuple[tuple[str, ...], ...]:
    """The interfaces that would share an address, in groups; each group needs pinned ones."""
    sharing: defaultdict[PciAddress, list[str]] = defaultdict(list)
    for name, address in pci_slots(guest).items():
        sharing[address].append(name)
    return tuple(tuple(names) for _, names in sorted(sharing.items()) if len(names) > 1)


@lru_cache(maxsize=4096)
def slot_of(name: str, chipset: str) -> PciAddress:
    """The address that a name stands for, on ``pc`` or ``q35``."""
    return _pc_slot(name) if chipset == "pc" else _q35_slot(name)


def _pc_slot(name: str) -> PciAddress:
    said = _PC_NAME.fullmatch(name)
    if said and int(said[1]) in PC_FREE_SLOTS:
        return 0, int(said[1]), 0
    return 0, PC_FIRST_SLOT + _place(name), 0


def _q35_slot(name: str) -> PciAddress:
    said = _Q35_NAME.fullmatch(name)
    if said and int(said[1]) <= PLACES:
        return int(said[1]), 0, 0
    return Q35_FIRST_BUS + _place(name), 0, 0


def _place(name: str) -> int:
    """A number below ``PLACES``."""
    counted = _ETH_NAME.fullmatch(name)
    if counted and int(counted[1]) < PLACES:
        return int(counted[1])
    return crc32(name.encode()) % PLACES
