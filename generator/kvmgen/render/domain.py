"""libvirt domains, in the order in which ``virsh dumpxml --inactive`` writes them.

Source: https://libvirt.org/formatdomain.html. Written out is everything whose default differs between versions of
libvirt or QEMU, or would change a running guest's hardware. Left to libvirt are the PCI addresses of everything but
NICs, further PCI controllers, IDE and SATA controllers, the PS/2 mouse and keyboard, and audio.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache, partial

from kvmgen.artifact import Artifact, Defines, Image, Kind, Lines
from kvmgen.diagnostics import Origin
from kvmgen.model.guest import Cpu, Firmware, Guest, seed_image
from kvmgen.model.network import VirtualNetwork
from kvmgen.model.platform import Platform
from kvmgen.model.site import HostView
from kvmgen.render._devices import devices
from kvmgen.render._xml import Element, document, el, when

CHOOSES_FIRMWARE = (5, 2)
"""The first libvirt that finds a firmware image by itself (``firmware='efi'``)."""

KNOWS_FIRMWARE_FEATURES = (7, 2)
"""The first libvirt that is told in ``<firmware>`` whether keys are to be enrolled."""

KNOWS_CPU_CHECK = (3, 2)
"""The first libvirt that knows ``<cpu check=...>``."""

EDK2 = "/usr/share/OVMF"
"""Where el7 and el8 keep the firmware; their only image for guests is built for secure boot, and so needs SMM."""


def render(view: HostView) -> Iterator[Artifact]:
    """One file for every guest that is at home on the host."""
    networks = view.site.networks.get(view.host.name, {})
    for guest in view.guests:
        text = domain_xml(guest, networks, view.host.platform)
        yield Artifact(
            path=f"libvirt/domains/{guest.name}.xml",
            text=text,
            kind=Kind.DOMAIN,
            sources=_sources(guest),
            lines=partial(_lines, guest, view, text),
            defines=Defines(
                name=guest.name,
                uuid=guest.uuid,
                autostart=guest.autostart,
                images=tuple(_images(guest)),
            ),
        )


def _lines(guest: Guest, view: HostView, text: str) -> Lines:
    from kvmgen.render.origins.domain import domain_places
    from kvmgen.render.origins.walk import xml_lines

    return xml_lines(text, domain_places(guest, view))


def _sources(guest: Guest) -> tuple[Origin, ...]:
    disks = (disk.origin for disk in guest.disks)
    nics = (nic.origin for nic in guest.interfaces)
    return (guest.origin, *disks, *nics, *guest.inherits)


def _images(guest: Guest) -> Iterator[Image]:
    """Paths, or ``POOL/VOLUME``, which starts without a slash: no empty drives, and not the seed, a file of our own."""
    for disk in guest.disks:
        source = f"{disk.pool}/{disk.volume}" if disk.volume else disk.file or disk.dev
        if source and source != seed_image(guest.name):
            yield Image(source=source, format=disk.format, size=disk.size)


def domain_xml(guest: Guest, networks: Mapping[str, VirtualNetwork], platform: Platform) -> str:
    """The definition of a guest on a host of this platform that carries these networks."""
    secure = guest.firmware is not None and _needs_smm(guest.firmware, platform)
    root = el(
        "domain",
        {"type": "kvm"},
        el("name", {}, guest.name),
        el("uuid", {}, guest.uuid),
        el("title", {}, guest.title) if guest.title else None,
        el("description", {}, guest.description) if guest.description else None,
        el("memory", {"unit": "KiB"}, str(guest.memory)),
        el("currentMemory", {"unit": "KiB"}, str(guest.current_memory)),
        el("vcpu", {"placement": "static"}, str(guest.vcpus)),
        _os(guest, platform),
        FEATURES_WITH_SMM if secure else FEATURES,
        _cpu(guest.cpu, platform),
        CLOCK,
        EVENTS,
        devices(guest, networks, platform),
    )
    return document(root, guest.origin)


FEATURES = el("features", {}, el("acpi"), el("apic"))
FEATURES_WITH_SMM = el("features", {}, el("acpi"), el("apic"), el("smm", {"state": "on"}))
CLOCK = el(
    "clock",
    {"offset": "utc"},
    el("timer", {"name": "rtc", "tickpolicy": "catchup"}),
    el("timer", {"name": "pit", "tickpolicy": "delay"}),
    el("timer", {"name": "hpet", "present": "no"}),
)
"""UTC, lost ticks of the RTC made up for, no HPET: what Linux guests under KVM have run best with since el6."""


def _os(guest: Guest, platform: Platform) -> Element:
    chosen = guest.firmware is not None and _is_chosen_by_libvirt(guest.firmware, platform)
    ordered = any(disk.boot_order for disk in guest.disks) or any(nic.boot_order for nic in guest.interfaces)
    return el(
        "os",
        {"firmware": "efi" if chosen else None},
        el("type", {"arch": "x86_64", "machine": guest.machine}, "hvm"),
        () if guest.firmware is None else _firmware(guest.firmware, platform),
        when(not ordered, BOOT_FROM_DISK),
    )


EVENTS = (el("on_poweroff", {}, "destroy"), el("on_reboot", {}, "restart"), el("on_crash", {}, "destroy"))
BOOT_FROM_DISK = el("boot", {"dev": "hd"})


def _is_chosen_by_libvirt(firmware: Firmware, platform: Platform) -> bool:
    return firmware.loader is None and platform.libvirt >= CHOOSES_FIRMWARE


def _needs_smm(firmware: Firmware, platform: Platform) -> bool:
    """Secure boot keeps its variables out of the guest's reach with system management mode."""
    return firmware.secure_boot or (firmware.loader is None and platform.libvirt < CHOOSES_FIRMWARE)


def _firmware(firmware: Firmware, platform: Platform) -> Iterator[Element]:
    secure = "yes" if _needs_smm(firmware, platform) else None
    if not _is_chosen_by_libvirt(firmware, platform):
        loader = firmware.loader or f"{EDK2}/OVMF_CODE.secboot.fd"
        yield el("loader", {"readonly": "yes", "secure": secure, "type": "pflash"}, loader)
        if template := _nvram_template(firmware):
            yield el("nvram", {"template": template})
    elif platform.libvirt >= KNOWS_FIRMWARE_FEATURES:
        yield el("firmware", {}, _firmware_features(firmware))
    elif secure:
        yield el("loader", {"secure": secure})


def _nvram_template(firmware: Firmware) -> str | None:
    if firmware.loader is not None:
        return firmware.nvram_template
    return firmware.nvram_template or f"{EDK2}/OVMF_VARS{'.secboot' if firmware.secure_boot else ''}.fd"


def _firmware_features(firmware: Firmware) -> Iterator[Element]:
    """Without enrolled keys nothing is refused: that is secure boot switched off, with any image."""
    yield el("feature", {"enabled": "yes" if firmware.secure_boot else "no", "name": "enrolled-keys"})
    if firmware.secure_boot:
        yield el("feature", {"enabled": "yes", "name": "secure-boot"})


@cache
def _cpu(cpu: Cpu, platform: Platform) -> Element:
    """``check`` is what libvirt chooses by itself; a named model is that model or no start at all."""
    check = "none" if cpu.mode == "host-passthrough" else "partial"
    return el(
        "cpu",
        {
            "mode": cpu.mode,
            "match": "exact" if cpu.mode == "custom" else None,
            "check": check if platform.libvirt >= KNOWS_CPU_CHECK else None,
        },
        el("model", {"fallback": "forbid"}, cpu.model) if cpu.mode == "custom" else None,
        None if cpu.topology is None else el("topology", dict(zip(TOPOLOGY, cpu.topology, strict=True))),
    )


TOPOLOGY = ("sockets", "cores", "threads")
