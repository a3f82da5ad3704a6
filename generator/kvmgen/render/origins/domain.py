"""Where the lines of a domain come from: the guest, its profile, the networks and policies that it names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kvmgen.diagnostics import Origin
from kvmgen.model.guest import Disk, Guest
from kvmgen.model.pci import pci_slots
from kvmgen.model.site import HostView
from kvmgen.render._devices import CHIPSET_SATA_PORTS, scsi_controllers
from kvmgen.render._pci import root_ports
from kvmgen.render.origins.interface import interface_places
from kvmgen.render.origins.walk import CHOICE, Origins, nth

_SAID = {
    "uuid": ("uuid",),
    "title": ("title",),
    "description": ("description",),
    "memory": ("memory",),
    "currentMemory": ("current-memory", "memory"),
    "vcpu": ("vcpus",),
    "os": ("firmware",),
    "os/boot": ("disks", "interfaces"),
    "features/smm": ("firmware",),
    "cpu": ("cpu",),
    "devices/serial": ("console",),
    "devices/console": ("console",),
    "devices/channel": ("guest-agent",),
    "devices/input": ("graphics",),
    "devices/graphics": ("graphics",),
    "devices/video": ("video", "graphics"),
    "devices/watchdog": ("watchdog",),
    "devices/rng": ("rng",),
}
"""The guest's keys that decide an element, the one that says it outright first."""

_CHOSEN = ("features", "clock", "on_poweroff", "on_reboot", "on_crash", "devices/emulator", "devices/memballoon")

Place = tuple[str, Origins]


def domain_places(guest: Guest, view: HostView) -> dict[str, Origins]:
    """A domain's elements in the order of `kvmgen.render.domain`."""
    found: dict[str, Origins] = {"": (guest.origin,), **dict.fromkeys(_CHOSEN, CHOICE)}
    found |= {way: tuple(map(guest.at, keys)) for way, keys in _SAID.items()}
    platform = (view.host.origin.at("platform"), Origin("site.yaml", ("defaults", "hosts", "platform")))
    found["os/type"] = (guest.at("machine"), guest.at("chipset"), *platform)
    found |= {f"cpu/{part}": (guest.at("cpu").at(part),) for part in ("model", "topology")}
    for index, disk in enumerate(guest.disks):
        found |= _disk(nth("devices/disk", index), disk)
    found |= {nth("devices/controller", index): origins for index, origins in enumerate(_controllers(guest))}
    for index, nic in enumerate(guest.interfaces):
        found |= interface_places(nth("devices/interface", index), guest, nic, view)
    return {way: tuple(_inherited(guest, origin) for origin in origins) for way, origins in found.items()}


def _inherited(guest: Guest, origin: Origin) -> Origin:
    """A place in the guest's file, or where its profile or the site's defaults say this key."""
    if origin.file != guest.origin.file or not origin.pointer:
        return origin
    key, *rest = origin.pointer
    return guest.at(str(key)).at(*rest)


def _disk(way: str, disk: Disk) -> Iterable[Place]:
    origin = disk.origin
    yield way, (origin,)
    if origin.pointer[-1:] == ("cloud-init",):
        return
    source = "file" if disk.file else "dev" if disk.dev else "volume"
    keys = {
        "driver": ("format", "cache", "io", "discard"),
        "source": (source, *(("pool",) if disk.pool else ())),
        "target": ("bus",),
        "readonly": ("readonly", "device"),
        "shareable": ("shareable",),
        "serial": ("serial",),
        "boot": ("boot-order",),
    }
    for element, said in keys.items():
        yield f"{way}/{element}", (*map(origin.at, said), *((origin,) if element == "target" else ()))


def _controllers(guest: Guest) -> Iterator[Origins]:
    """The controllers in their order: USB, SCSI, the agent's, PCI."""
    yield (guest.at("chipset"),)
    scsi = tuple(disk.origin for disk in guest.disks if disk.bus == "scsi")
    yield from (scsi for _ in scsi_controllers(guest.disks))
    if guest.guest_agent:
        yield (guest.at("guest-agent"),)
    slots = pci_slots(guest)
    for bus in root_ports(slots):
        yield tuple(nic.origin for nic in guest.interfaces if slots[nic.name][0] == bus) or CHOICE
    sata = tuple(disk.origin for disk in guest.disks if disk.bus == "sata" and disk.position >= CHIPSET_SATA_PORTS)
    behind = sata or (guest.at("watchdog"),)
    yield from (behind, behind)
