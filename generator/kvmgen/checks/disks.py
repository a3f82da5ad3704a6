"""Guests' disks and what they are read from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator

from kvmgen.checks._clash import clashes
from kvmgen.diagnostics import Diagnostic, Origin, Rule, Severity
from kvmgen.model.guest import Disk, Guest
from kvmgen.model.site import Site

WRONG_BUS = Rule(code="KV415", title="A drive that its bus can't have")
PLACE_TWICE = Rule(code="KV416", title="Two drives at one place of a bus")
CACHED_NATIVE = Rule(code="KV417", title="Native I/O through the host's cache")
SHARED_QCOW2 = Rule(code="KV418", title="A shared image in a format for one writer")
IMAGE_TWICE = Rule(code="KV419", title="An image that two writers would open")
SERIAL_TWICE = Rule(code="KV420", title="Two disks of a guest with one serial number", severity=Severity.WARNING)
BOOT_ORDER_TWICE = Rule(code="KV421", title="A place in the boot order given twice")

_ADDRESSED_BUSES = frozenset(("ide", "sata", "scsi"))
"""The buses on which libvirt makes a drive's address from its target name."""

_IDE_PLACES = 4
_Use = tuple[Guest, Disk]


def buses(site: Site) -> Iterator[Diagnostic]:
    """A drive that its bus can't carry is refused when the guest is defined.

    A cdrom needs a bus with media that can be ejected, a floppy the floppy controller and a name of its own; IDE has
    four places, and neither IDE nor SATA disks can be read-only; a `lun` hands SCSI commands to a real device.

    Bad::

        # guests/web01.yaml
        disks:
          vda: {volume: web01.qcow2}
          vdb: {device: cdrom, file: /srv/iso/rescue.iso}

    Good::

        # guests/web01.yaml
        disks:
          vda: {volume: web01.qcow2}
          sda: {device: cdrom, bus: sata, file: /srv/iso/rescue.iso}

    Source: https://libvirt.org/formatdomain.html#hard-drives-floppy-disks-cdroms and
    https://gitlab.com/libvirt/libvirt/-/blob/master/src/conf/domain_validate.c; tried with libvirt 9.0.
    """
    for guest in site.guests.values():
        for disk in guest.disks:
            if disk.bus == "virtio" and disk.device == "disk" and disk.target.startswith("vd"):
                continue  # nearly all of them
            why = _why_not(disk)
            if why:
                message = f"libvirt refuses the {disk.device} {disk.target!r} of {guest.name}: {why[0]}"
                yield Diagnostic(rule=WRONG_BUS, message=message, hint=why[1], origin=disk.origin, on_key=True)


def _why_not(disk: Disk) -> tuple[str, str] | None:
    """What is wrong with a drive, and what to do about it."""
    if disk.device == "floppy" or disk.bus == "fdc" or disk.target.startswith("fd"):
        return _floppy_why_not(disk)
    if disk.device == "cdrom" and disk.bus == "virtio":
        return "virtio has no media that can be ejected", "Write `bus: sata` or `bus: scsi`, and call it sda."
    if disk.device == "disk" and disk.readonly and disk.bus in ("ide", "sata"):
        return f"a disk on {disk.bus} can't be read-only", "Write `bus: virtio` or `bus: scsi`, or `device: cdrom`."
    if disk.bus == "ide" and disk.position >= _IDE_PLACES:
        return "IDE has four places, hda to hdd", "Write another target and bus, such as vdb."
    return _lun_why_not(disk) if disk.device == "lun" else None


def _floppy_why_not(disk: Disk) -> tuple[str, str] | None:
    """The floppy controller has floppies, and floppies have it; a cdrom alone may be called fda."""
    if disk.device != "floppy" and disk.bus == "fdc":
        return "only a floppy is on the bus fdc", "Write `device: floppy`, or another target such as vda."
    if disk.device == "floppy" and (disk.bus != "fdc" or not disk.target.startswith("fd")):
        return "a floppy is on the bus fdc, as fda or fdb", "Call it fda or fdb, and leave `bus` out."
    if disk.device in ("disk", "lun"):
        return "fda and fdb name floppies", "Write another target, such as vda."
    return None


def _lun_why_not(disk: Disk) -> tuple[str, str] | None:
    if disk.bus not in ("scsi", "virtio"):
        return f"{disk.bus} doesn't hand on SCSI commands", "Write `bus: scsi`, and call it sda."
    if disk.file is not None:
        return "its commands go to a device, and a file isn't one", "Give `dev`, or write `device: disk`."
    if disk.format != "raw":
        return f"a device is read as it is, not as {disk.format}", "Write `format: raw`, or leave it out."
    if disk.serial is not None and disk.bus == "scsi":
        return "its serial number is the device's own", "Leave `serial` out."
    return None


def places(site: Site) -> Iterator[Diagnostic]:
    """On IDE, SATA and SCSI a drive's place follows from the letters of its target: hda and sda both mean the first.

    Two drives at one place of one bus are refused when the guest is defined.

    Bad::

        # guests/web01.yaml
        disks:
          hda: {device: cdrom, bus: sata}
          sda: {volume: web01.qcow2, bus: sata}

    Good::

        # guests/web01.yaml
        disks:
          sda: {volume: web01.qcow2, bus: sata}
          sdb: {device: cdrom, bus: sata}

    Source: the target element at https://libvirt.org/formatdomain.html#hard-drives-floppy-disks-cdroms; libvirt 9.0
    says "Found duplicate drive address".
    """
    for guest in site.guests.values():
        first: dict[tuple[str, int], Disk] = {}
        for disk in guest.disks if len(guest.disks) > 1 else ():
            if disk.bus not in _ADDRESSED_BUSES:
                continue
            other = first.setdefault((disk.bus, disk.position), disk)
            if other is not disk:
                yield Diagnostic(
                    rule=PLACE_TWICE,
                    message=f"{disk.target!r} and {other.target!r} of {guest.name} are one place of the bus {disk.bus}",
                    hint="Let their last letters differ.",
                    origin=disk.origin,
                    on_key=True,
                    related=((other.origin, "the other drive"),),
                )


def native_io(site: Site) -> Iterator[Diagnostic]:
    """Linux' native asynchronous I/O goes around the host's page cache; with a cache mode that uses it, it can't.

    libvirt refuses the guest. QEMU's default mode is writeback, so that `io: native` alone doesn't do either.

    Bad::

        # guests/web01.yaml
        disks:
          vda: {volume: web01.qcow2, io: native}

    Good::

        # guests/web01.yaml
        disks:
          vda: {volume: web01.qcow2, io: native, cache: none}

    Source: the io attribute at https://libvirt.org/formatdomain.html#hard-drives-floppy-disks-cdroms and
    https://gitlab.com/libvirt/libvirt/-/blob/master/src/qemu/qemu_validate.c; tried with libvirt 9.0.
    """
    for guest in site.guests.values():
        for disk in guest.disks:
            if disk.io == "native" and disk.cache not in ("none", "directsync"):
                cache = f"the cache mode {disk.cache}" if disk.cache else "the default cache mode"
                yield Diagnostic(
                    rule=CACHED_NATIVE,
                    message=f"libvirt refuses native I/O with {cache} on the disk {disk.target!r} of {guest.name}",
                    hint="Write `cache: none` (or `directsync`), or `io: threads`.",
                    origin=disk.origin.at("io"),
                )


def shared_formats(site: Site) -> Iterator[Diagnostic]:
    """A qcow2 image has tables that one QEMU keeps in memory: a second writer ruins them.

    libvirt refuses to define a guest with a shareable disk in that format.

    Bad::

        # guests/web01.yaml
        disks:
          vdb: {volume: quorum.qcow2, shareable: true}

    Good::

        # guests/web01.yaml
        disks:
          vdb: {volume: quorum.raw, format: raw, shareable: true}

    Source: https://libvirt.org/formatdomain.html#hard-drives-floppy-disks-cdroms and
    https://gitlab.com/libvirt/libvirt/-/blob/master/src/qemu/qemu_validate.c; tried with libvirt 9.0.
    """
    for guest in site.guests.values():
        for disk in guest.disks:
            if disk.shareable and not disk.readonly and disk.format == "qcow2":
                message = f"libvirt refuses to share the disk {disk.target!r} of {guest.name}: it is a qcow2 image"
                hint = "Make the image raw and write `format: raw`, or leave `shareable` out."
                yield Diagnostic(rule=SHARED_QCOW2, message=message, hint=hint, origin=disk.origin.at("shareable"))


def images(site: Site) -> Iterator[Diagnostic]:
    """Two guests that write to one image ruin the file systems in it; so do a writer and a reader for the reader.

    QEMU locks images since 2.10, so that on el8 and later the second guest doesn't start; el6 and el7 start both.
    Guests that mean it, with a cluster's file system or a quorum disk, all say `shareable`; guests that all only read
    are fine. Told are guests that one host can carry, and a guest that names an image twice.

    Bad::

        # guests/web01.yaml
        disks:
          vda: {volume: web01.qcow2}

        # guests/web02.yaml
        disks:
          vda: {volume: web01.qcow2}

    Good::

        # guests/web01.yaml
        disks:
          vda: {volume: web01.qcow2}

        # guests/web02.yaml
        disks:
          vda: {volume: web02.qcow2}

    Source: disk image file locking in https://www.qemu.org/docs/master/system/qemu-block-drivers.html; the shareable
    element at https://libvirt.org/formatdomain.html#hard-drives-floppy-disks-cdroms.
    """
    for source, uses in _used_twice(site).items():
        for host in dict.fromkeys(host for guest, _ in uses for host in guest.hosts):
            yield from _unfriendly(source, [use for use in uses if host in use[0].hosts])


def _used_twice(site: Site) -> dict[str, list[_Use]]:
    """The images that several disks name, one of them for writing."""
    users: defaultdict[str, list[_Use]] = defaultdict(list)
    for guest in site.guests.values():
        for disk in guest.disks:
            source = f"{disk.pool}/{disk.volume}" if disk.volume else disk.file or disk.dev
            if source:
                users[source].append((guest, disk))
    return {
        source: uses
        for source, uses in users.items()
        if len(uses) > 1 and not all(disk.readonly or disk.device == "cdrom" for _, disk in uses)
    }


def _unfriendly(source: str, uses: list[_Use]) -> Iterator[Diagnostic]:
    """The uses that don't go together with an earlier one; the first of each kind stands for its kind."""
    kinds: dict[tuple[bool, bool], _Use] = {}
    for guest, disk in uses:
        reads = disk.readonly or disk.device == "cdrom"
        for (other_reads, other_shares), other in kinds.items():
            if not (reads and other_reads) and not (disk.shareable and other_shares):
                yield _both_open(source, (guest, disk), other)
                break
        kinds.setdefault((reads, disk.shareable), (guest, disk))


def _both_open(source: str, use: _Use, other: _Use) -> Diagnostic:
    guest, disk = use
    whose = f"{other[0].name} ({other[1].target})"
    return Diagnostic(
        rule=IMAGE_TWICE,
        message=f"{guest.name} ({disk.target}) and {whose} would both open {source!r}, and one of them writes",
        hint="Give each its own image; or let all of them be `readonly`, or all of them raw and `shareable`.",
        origin=_source_origin(disk),
        related=((_source_origin(other[1]), f"{whose} opens it too"),),
    )


def _source_origin(disk: Disk) -> Origin:
    return disk.origin.at("volume" if disk.volume else "file" if disk.file else "dev")


def serials(site: Site) -> Iterator[Diagnostic]:
    """udev names disks by their serial numbers: of two with one number, /dev/disk/by-id shows either.

    The guest's fstab or multipath then takes one disk for the other, or both for two ways to one.

    Bad::

        # guests/web01.yaml
        disks:
          vda: {volume: web01.qcow2, serial: WEB01}
          vdb: {volume: web01-data.qcow2, serial: WEB01}

    Good::

        # guests/web01.yaml
        disks:
          vda: {volume: web01.qcow2, serial: WEB01}
          vdb: {volume: web01-data.qcow2, serial: WEB01-DATA}

    Source: the serial element at https://libvirt.org/formatdomain.html#hard-drives-floppy-disks-cdroms.
    """
    for guest in site.guests.values():
        if len(guest.disks) > 1:
            hint = "Give every disk a number of its own, or leave them out."
            so = "the guest can't tell them apart by it"
            yield from clashes(_serials(guest), SERIAL_TWICE, "the serial number", so, hint)


def _serials(guest: Guest) -> Iterator[tuple[Hashable, Origin, str]]:
    for disk in guest.disks:
        if disk.serial is not None:
            yield disk.serial, disk.origin.at("serial"), f"{guest.name} ({disk.target})"


def boot_order(site: Site) -> Iterator[Diagnostic]:
    """Disks and NICs share one boot order, and libvirt refuses a guest with one place given twice.

    Bad::

        # guests/web01.yaml
        disks:
          vda: {volume: web01.qcow2, boot-order: 1}
        interfaces:
          eth0: {network: default, boot-order: 1}

    Good::

        # guests/web01.yaml
        disks:
          vda: {volume: web01.qcow2, boot-order: 1}
        interfaces:
          eth0: {network: default, boot-order: 2}

    Source: the boot element at https://libvirt.org/formatdomain.html#hard-drives-floppy-disks-cdroms; libvirt 9.0 says
    "boot order '1' used for more than one device".
    """
    hint = "Count the devices from 1, disks and NICs together."
    for guest in site.guests.values():
        so = "libvirt refuses the guest"
        yield from clashes(_boot_places(guest), BOOT_ORDER_TWICE, "the boot order", so, hint)


def _boot_places(guest: Guest) -> Iterator[tuple[Hashable, Origin, str]]:
    for disk in guest.disks:
        if disk.boot_order is not None:
            yield disk.boot_order, disk.origin.at("boot-order"), f"{guest.name} ({disk.target})"
    for nic in guest.interfaces:
        if nic.boot_order is not None:
            yield nic.boot_order, nic.origin.at("boot-order"), f"{guest.name} ({nic.name})"
