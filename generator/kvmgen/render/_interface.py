"""A domain's NICs: ``<interface>``."""

from __future__ import annotations

from collections.abc import Mapping

from kvmgen.model.guest import FilterRef, GuestInterface
from kvmgen.model.network import VirtualNetwork
from kvmgen.model.pci import PciAddress
from kvmgen.render._bandwidth import bandwidth
from kvmgen.render._pci import address_element
from kvmgen.render._vlan import OPENVSWITCH, vlan
from kvmgen.render._xml import Element, el, when


def interface(nic: GuestInterface, networks: Mapping[str, VirtualNetwork], slots: Mapping[str, PciAddress]) -> Element:
    """A NIC on a virtual network or on a bridge of the host.

    MAC, model and PCI address are always written: what libvirt makes up for them may differ the next time. ``slots``
    are the addresses of all the guest's NICs, by name. On a network of Open vSwitch it is the network that says so.
    """
    return el(
        "interface",
        {"type": "network" if nic.network else "bridge"},
        el("mac", {"address": nic.mac}),
        _source(nic, networks),
        vlan(nic.vlan),
        when(nic.openvswitch, OPENVSWITCH),
        bandwidth(nic.bandwidth),
        when(nic.isolated or _in_isolated_portgroup(nic, networks), ISOLATED),
        el("target", {"dev": nic.target}) if nic.target else None,
        el("model", {"type": nic.model}),
        el("driver", {"queues": nic.queues}) if (nic.queues or 1) > 1 and nic.model == "virtio" else None,
        None if nic.filterref is None else _filterref(nic.filterref),
        when(not nic.link_up, LINK_DOWN),
        el("mtu", {"size": nic.mtu}) if nic.mtu else None,
        el("boot", {"order": nic.boot_order}) if nic.boot_order else None,
        _address(slots[nic.name], slots),
    )


ISOLATED = el("port", {"isolated": "yes"})
LINK_DOWN = el("link", {"state": "down"})


def _source(nic: GuestInterface, networks: Mapping[str, VirtualNetwork]) -> Element:
    if nic.network is None:
        return el("source", {"bridge": nic.bridge})
    return el("source", {"network": networks[nic.network].libvirt_name, "portgroup": nic.portgroup})


def _in_isolated_portgroup(nic: GuestInterface, networks: Mapping[str, VirtualNetwork]) -> bool:
    """Whether the NIC's portgroup, or the network's default one, isolates its ports: libvirt's portgroups can't."""
    if nic.network is None:
        return False
    portgroups = networks[nic.network].portgroups
    return any(
        group.isolated
        for group in portgroups
        if (group.default if nic.portgroup is None else group.name == nic.portgroup)
    )


def _filterref(reference: FilterRef) -> Element:
    """The filter with its parameters: several of one name make a list, in this order."""
    parameters = (
        el("parameter", {"name": name, "value": value}) for name, values in reference.parameters for value in values
    )
    return el("filterref", {"filter": reference.filter}, parameters)


def _address(address: PciAddress, slots: Mapping[str, PciAddress]) -> Element:
    """The PCI address; function 0 says so where other NICs of the guest are functions of the same slot."""
    bus, slot, function = address
    shared = function == 0 and any(other[:2] == (bus, slot) and other[2] for other in slots.values())
    return address_element(address, multifunction=shared)
