"""libvirt's elements for PCI addresses; what a NIC's address is, `kvmgen.model.pci` says."""

from __future__ import annotations

from functools import lru_cache

from kvmgen.model.pci import PciAddress
from kvmgen.render._xml import Element, el


def root_ports(slots: dict[str, PciAddress]) -> range:
    """The indexes of the root ports that a q35 guest's NICs need, without gaps."""
    return range(1, max((bus for bus, _, _ in slots.values()), default=0) + 1)


@lru_cache(maxsize=1024)
def address_element(address: PciAddress, multifunction: bool = False) -> Element:
    """libvirt's ``<address>`` of a PCI device; ``multifunction`` where function 0 shares its slot with others."""
    bus, slot, function = address
    return el(
        "address",
        {
            "type": "pci",
            "domain": "0x0000",
            "bus": f"0x{bus:02x}",
            "slot": f"0x{slot:02x}",
            "function": f"0x{function:x}",
            "multifunction": "on" if multifunction else None,
        },
    )
