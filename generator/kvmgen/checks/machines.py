"""Virtual machines that a host's QEMU can't be."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.diagnostics import Diagnostic, Origin, Rule
from kvmgen.model.guest import Guest
from kvmgen.model.host import Host
from kvmgen.model.site import Site

OTHER_CHIPSET = Rule(code="KV430", title="A machine type of the other chipset")
NO_MACHINE = Rule(code="KV431", title="A machine type that a host doesn't have")
NO_DEVICE = Rule(code="KV432", title="A device that a host's QEMU doesn't have")
NO_FIRMWARE = Rule(code="KV433", title="UEFI on a host that can't take the definition")

_CHOOSES_FIRMWARE = (5, 2)
"""The first libvirt that finds a firmware image by itself."""


def chipsets(site: Site) -> Iterator[Diagnostic]:
    """The chipset decides what the guest's definition looks like: PCI addresses, buses, controllers.

    Where it isn't given it follows from the home's platform, not from `machine`. With a machine type of the other
    chipset, libvirt refuses the definition.

    Bad::

        # guests/web01.yaml
        hosts: [kvm01]
        machine: pc-i440fx-rhel7.6.0

    Good::

        # guests/web01.yaml
        hosts: [kvm01]
        chipset: pc
        machine: pc-i440fx-rhel7.6.0

    Source: https://libvirt.org/pci-addresses.html.
    """
    for guest in site.guests.values():
        family = "q35" if "q35" in guest.machine else "pc"
        if guest.machine and family != guest.chipset:
            yield Diagnostic(
                rule=OTHER_CHIPSET,
                message=f"the machine type {guest.machine!r} of {guest.name} is of the chipset {family}, and the guest "
                f"is made for {guest.chipset}",
                hint=f"Write `chipset: {family}`, or another `machine`.",
                origin=guest.at("machine"),
            )


def machines(site: Site) -> Iterator[Diagnostic]:
    """Each release of QEMU knows the machine types up to its own, and forgets the oldest; no host knows every one.

    On a host without the guest's machine type the guest can neither be defined nor migrated to. A platform without a
    minor release means its oldest one.

    Bad::

        # hosts/kvm02.yaml
        platform: el8.6

        # guests/web01.yaml
        hosts: [kvm02]
        machine: pc-q35-rhel8.8.0

    Good::

        # hosts/kvm02.yaml
        platform: el8.8

        # guests/web01.yaml
        hosts: [kvm02]
        machine: pc-q35-rhel8.8.0

    Source: https://www.qemu.org/docs/master/system/i386/pc.html, and what `qemu-kvm -machine help` lists on each
    release; RHEL names its own types and has none of upstream's:
    https://gitlab.com/redhat/centos-stream/src/qemu-kvm.
    """
    for guest in site.guests.values():
        for name in guest.hosts:
            host = site.hosts[name]
            if guest.machine and not host.platform.knows_machine(guest.machine):
                yield Diagnostic(
                    rule=NO_MACHINE,
                    message=f"QEMU on {name} ({host.platform}) has no machine type {guest.machine!r}, which "
                    f"{guest.name} needs",
                    hint=_machine_hint(guest, host),
                    origin=_said_of(guest, "machine", name),
                    related=(_platform_of(host),),
                )


def _machine_hint(guest: Guest, host: Host) -> str:
    if host.name != guest.home:
        return f"Take {host.name} from its `hosts`, or choose a `machine` that they all have."
    oldest = host.platform.machine(guest.chipset)
    return f"Write `machine: {oldest}`, or name the platform's minor release." if oldest else "Choose another chipset."


def _said_of(guest: Guest, key: str, host: str) -> Origin:
    """What the home can't do is told where it was said; what another host can't, where that host is named."""
    return guest.at(key) if host == guest.home else guest.origin.at("hosts", guest.hosts.index(host))


def _platform_of(host: Host) -> tuple[Origin, str]:
    return host.origin.at("platform"), f"{host.name} runs {host.platform}"


def devices(site: Site) -> Iterator[Diagnostic]:
    """RHEL's QEMU is built with a part of its devices: SPICE and qxl ended with el8, some others came with el8.

    A guest with a device that isn't there can't be defined on that host, or doesn't start.

    Bad::

        # hosts/kvm02.yaml
        platform: el9.4

        # guests/web01.yaml
        hosts: [kvm02]
        graphics: spice

    Good::

        # hosts/kvm02.yaml
        platform: el9.4

        # guests/web01.yaml
        hosts: [kvm02]
        graphics: vnc

    Source: SPICE and qxl are gone from RHEL 9 (https://bugzilla.redhat.com/show_bug.cgi?id=2030592); e1000e came with
    QEMU 2.7 (https://wiki.qemu.org/ChangeLog/2.7), virtio-vga with 2.4 (https://wiki.qemu.org/ChangeLog/2.4).
    """
    for guest in site.guests.values():
        for device, what, origin in _doubtful_devices(guest):
            for name in guest.hosts:
                host = site.hosts[name]
                if not host.platform.has_device(device):
                    yield Diagnostic(
                        rule=NO_DEVICE,
                        message=f"QEMU on {name} ({host.platform}) has no {what}, which {guest.name} asks for",
                        hint=_INSTEAD[device],
                        origin=origin,
                        related=(_platform_of(host),),
                    )


_INSTEAD = {
    "spice": "Write `graphics: vnc`.",
    "qxl": "Write `video: virtio` or `video: vga`.",
    "virtio-vga": "Write `video: vga` or `video: cirrus`.",
    "e1000e": "Write `model: virtio`, or `model: e1000`.",
}


def _doubtful_devices(guest: Guest) -> Iterator[tuple[str, str, Origin]]:
    if guest.graphics is not None and guest.graphics.type == "spice":
        yield "spice", "SPICE", guest.at("graphics")
    if guest.video == "qxl":
        yield "qxl", "qxl video device", guest.at("video")
    if guest.video == "virtio":
        yield "virtio-vga", "virtio video device", guest.at("video")
    for nic in guest.interfaces:
        if nic.model == "e1000e":
            yield "e1000e", "NIC of model e1000e", nic.origin.at("model")


def firmware(site: Site) -> Iterator[Diagnostic]:
    """A guest's firmware is written as its home's libvirt reads it, and goes along when the guest moves.

    From 5.2 on libvirt finds the image by itself; an older one doesn't know the word and refuses the guest. el6 has no
    UEFI firmware at all.

    Bad::

        # hosts/kvm02.yaml
        platform: el7

        # guests/web01.yaml
        hosts: [kvm01, kvm02]
        firmware: efi

    Good::

        # hosts/kvm02.yaml
        platform: el8.6

        # guests/web01.yaml
        hosts: [kvm01, kvm02]
        firmware: efi

    Source: the firmware attribute at https://libvirt.org/formatdomain.html#bios-bootloader.
    """
    for guest in site.guests.values():
        if guest.firmware is None:
            continue
        for index, name in enumerate(guest.hosts[1:], 1):
            host = site.hosts[name]
            chosen = guest.firmware.loader is None
            if host.platform.major == 6 or (chosen and host.platform.libvirt < _CHOOSES_FIRMWARE):
                yield Diagnostic(
                    rule=NO_FIRMWARE,
                    message=f"{guest.name} has UEFI firmware in a form that libvirt on {name} ({host.platform}) "
                    "doesn't read",
                    hint=f"Take {name} from its `hosts`, or write `firmware: bios`.",
                    origin=guest.origin.at("hosts", index),
                    related=(_platform_of(host),),
                )
