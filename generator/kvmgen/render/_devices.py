"""The ``<devices>`` of a domain, but for its NICs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kvmgen.model.guest import Disk, Graphics, Guest, Watchdog
from kvmgen.model.network import VirtualNetwork
from kvmgen.model.pci import pci_slots
from kvmgen.model.platform import Platform
from kvmgen.render._interface import interface
from kvmgen.render._pci import address_element, root_ports
from kvmgen.render._xml import Element, el, when

NAMES_AGENT_SOCKETS = (1, 0, 6)
"""The first libvirt that finds a path for a channel's socket by itself."""

HAS_QEMU_XHCI = (2, 10)
"""The first QEMU with ``qemu-xhci``; before, a USB 3 controller is ``nec-xhci``."""

HAS_PCIE_TO_PCI_BRIDGE = (2, 12)
"""The first QEMU with ``pcie-pci-bridge``; libvirt puts the older bridge on bus 0, where it is in nobody's way."""

CHIPSET_SATA_PORTS = 6
"""What q35's own SATA controller has."""

DISKS_PER_SCSI_CONTROLLER = 7
"""libvirt puts ``sda`` to ``sdg`` on the first SCSI controller, the next seven on a second one."""


def devices(guest: Guest, networks: Mapping[str, VirtualNetwork], platform: Platform) -> Element:
    """Everything that the guest finds plugged in."""
    slots = pci_slots(guest)
    return el(
        "devices",
        {},
        el("emulator", {}, guest.emulator),
        map(_disk, guest.disks),
        _controllers(guest, platform),
        () if guest.chipset == "pc" else _pcie_controllers(guest, root_ports(slots), platform),
        (interface(nic, networks, slots) for nic in guest.interfaces),
        SERIAL_CONSOLE if guest.serial_console else (),
        _agent_channel(guest, platform) if guest.guest_agent else None,
        when(guest.graphics, TABLET),
        None if guest.graphics is None else _graphics(guest.graphics),
        el("video", {}, el("model", {"type": guest.video})) if guest.video else None,
        None if guest.watchdog is None else _watchdog(guest.watchdog),
        MEMBALLOON,
        when(guest.rng, RNG),
    )


SERIAL_CONSOLE = (
    el("serial", {"type": "pty"}, el("target", {"port": 0})),
    el("console", {"type": "pty"}, el("target", {"type": "serial", "port": 0})),
)
TABLET = el("input", {"type": "tablet", "bus": "usb"})
"""An absolute pointer, without which a mouse drifts away from the console's own."""

MEMBALLOON = el("memballoon", {"model": "virtio"})
RNG = el("rng", {"model": "virtio"}, el("backend", {"model": "random"}, "/dev/urandom"))


def _disk(disk: Disk) -> Element:
    kind = "volume" if disk.volume else "block" if disk.dev else "file"
    source = {"file": disk.file, "dev": disk.dev, "pool": disk.pool, "volume": disk.volume}
    return el(
        "disk",
        {"type": kind, "device": disk.device},
        el(
            "driver",
            {"name": "qemu", "type": disk.format, "cache": disk.cache, "io": disk.io, "discard": disk.discard},
        ),
        el("source", source) if disk.file or disk.dev or disk.volume else None,
        el("target", {"dev": disk.target, "bus": disk.bus}),
        when(disk.readonly or disk.device == "cdrom", READONLY),
        when(disk.shareable, SHAREABLE),
        el("serial", {}, disk.serial) if disk.serial else None,
        el("boot", {"order": disk.boot_order}) if disk.boot_order else None,
    )


READONLY = el("readonly")
SHAREABLE = el("shareable")


def _controllers(guest: Guest, platform: Platform) -> Iterator[Element]:
    yield el("controller", {"type": "usb", "index": 0, "model": _usb_model(guest.chipset, platform)})
    for index in scsi_controllers(guest.disks):
        yield el("controller", {"type": "scsi", "index": index, "model": "virtio-scsi"})
    if guest.guest_agent:
        yield VIRTIO_SERIAL


VIRTIO_SERIAL = el("controller", {"type": "virtio-serial", "index": 0})


def _usb_model(chipset: str, platform: Platform) -> str:
    """The chipset's own USB controller on pc, USB 3 on q35: what libvirt itself would choose."""
    if chipset == "pc":
        return "piix3-uhci"
    return "qemu-xhci" if platform.versions.qemu >= HAS_QEMU_XHCI else "nec-xhci"


def scsi_controllers(disks: tuple[Disk, ...]) -> range:
    """The indexes of the SCSI controllers up to the last one that a disk's target name asks for."""
    last = max((disk.position for disk in disks if disk.bus == "scsi"), default=-1)
    return range(last // DISKS_PER_SCSI_CONTROLLER + 1)


def _pcie_controllers(guest: Guest, nic_ports: range, platform: Platform) -> Iterator[Element]:
    """The NICs' root ports; behind them a bridge to conventional PCI where a device needs one."""
    for index in nic_ports:
        yield _root_port(index)
    if _has_conventional_device(guest) and platform.versions.qemu >= HAS_PCIE_TO_PCI_BRIDGE:
        port = len(nic_ports) + 1
        yield _root_port(port)
        yield el(
            "controller",
            {"type": "pci", "index": port + 1, "model": "pcie-to-pci-bridge"},
            address_element((port, 0, 0)),
        )


def _root_port(index: int) -> Element:
    return el("controller", {"type": "pci", "index": index, "model": "pcie-root-port"})


def _has_conventional_device(guest: Guest) -> bool:
    """Whether libvirt will want a conventional PCI slot: for the 6300ESB watchdog or for SATA beyond the chipset's."""
    if guest.watchdog is not None and guest.watchdog.model == "i6300esb":
        return True
    return any(disk.bus == "sata" and disk.position >= CHIPSET_SATA_PORTS for disk in guest.disks)


def _agent_channel(guest: Guest, platform: Platform) -> Element:
    """Where libvirt and the agent inside the guest meet. el6's libvirt wants to be told the socket's path."""
    if platform.libvirt >= NAMES_AGENT_SOCKETS:
        return el("channel", {"type": "unix"}, AGENT)
    path = f"/var/lib/libvirt/qemu/{guest.name}.agent"
    return el("channel", {"type": "unix"}, el("source", {"mode": "bind", "path": path}), AGENT)


AGENT = el("target", {"type": "virtio", "name": "org.qemu.guest_agent.0"})


def _graphics(graphics: Graphics) -> Element:
    return el(
        "graphics",
        {
            "type": graphics.type,
            "port": -1 if graphics.type == "vnc" else None,
            "autoport": "yes",
            "listen": graphics.listen,
            "keymap": graphics.keymap,
        },
        el("listen", {"type": "address", "address": graphics.listen}),
    )


def _watchdog(watchdog: Watchdog) -> Element:
    return el("watchdog", {"model": watchdog.model, "action": watchdog.action})
