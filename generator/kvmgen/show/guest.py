"""A guest with everything resolved."""

from __future__ import annotations

from typing import Any

from kvmgen.model.guest import Disk, Guest, GuestInterface
from kvmgen.model.pci import pci_slots
from kvmgen.model.site import Site
from kvmgen.show._words import addressing, amount, present, resolver, texts


def guest(site: Site, name: str) -> dict[str, Any]:
    """Its keys; the first of ``hosts`` is its home."""
    found = site.guests[name]
    inside = found.inside
    seed = found.cloud_init
    return present(
        {
            "hosts": list(found.hosts),
            "uuid": found.uuid,
            "platform": str(inside.platform) if inside is not None else None,
            "hostname": inside.hostname if inside is not None else seed.hostname if seed is not None else None,
            "title": found.title,
            "description": found.description,
            "vcpus": found.vcpus,
            "memory": amount(found.memory),
            "current-memory": amount(found.current_memory),
            "chipset": found.chipset,
            "machine": found.machine,
            "firmware": "bios" if found.firmware is None else "efi",
            "cpu": present({"mode": found.cpu.mode, "model": found.cpu.model}),
            "disks": {disk.target: _disk(disk) for disk in found.disks},
            "interfaces": {nic.name: _interface(site, found, nic) for nic in found.interfaces},
            "console": found.serial_console,
            "graphics": found.graphics.type if found.graphics is not None else "none",
            "video": found.video,
            "guest-agent": found.guest_agent,
            "rng": found.rng,
            "watchdog": present({"model": found.watchdog.model, "action": found.watchdog.action})
            if found.watchdog is not None
            else None,
            "autostart": found.autostart,
            "dns": resolver(inside.dns) if inside is not None else resolver(seed.dns) if seed is not None else None,
        }
    )


def _disk(disk: Disk) -> dict[str, Any]:
    return present(
        {
            "device": disk.device,
            "bus": disk.bus,
            "file": disk.file,
            "dev": disk.dev,
            "volume": disk.volume,
            "pool": disk.pool,
            "format": disk.format,
            "size": amount(disk.size),
        }
    )


def _interface(site: Site, found: Guest, nic: GuestInterface) -> dict[str, Any]:
    bus, slot, function = pci_slots(found)[nic.name]
    network = site.networks[found.home].get(nic.network or "")
    return present(
        {
            "network": nic.network,
            "libvirt-network": network.libvirt_name if network is not None else None,
            "bridge": network.bridge if network is not None else nic.bridge,
            "segment": nic.segment,
            "portgroup": nic.portgroup,
            "target": nic.target,
            "mac": nic.mac,
            "model": nic.model,
            "pci": f"{bus:02x}:{slot:02x}.{function}",
            **addressing(nic.addressing),
            "allowed-addresses": texts(nic.allowed),
            "mtu": nic.mtu,
            "link": "up" if nic.link_up else "down",
            "isolated": nic.isolated or None,
            "isolation-group": nic.isolation_group,
            "policies": list(nic.policies),
            "filter": _filter(nic),
        }
    )


def _filter(nic: GuestInterface) -> dict[str, Any] | str:
    if nic.filterref is None:
        return "none"
    parameters = {name: list(values) for name, values in nic.filterref.parameters}
    return present({"name": nic.filterref.filter, "parameters": {"MAC": [nic.mac], **parameters}})
