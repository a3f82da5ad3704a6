"""A guest: its domain, and what is inside it where its platform is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from kvmgen.diagnostics import Origin
from kvmgen.model.host import Addressing, Node
from kvmgen.model.values import Bandwidths, Dns, Mac, Network, Uuid, VlanTags
from kvmgen.value import value


@value
class Disk:
    """A disk, cdrom or floppy under its target name.

    Exactly one of ``file``, ``dev`` and ``volume`` (with ``pool``) is set, or none for an empty cdrom or floppy.
    ``size`` is what the image must hold, in KiB.
    """

    target: str
    origin: Origin
    bus: str
    device: str = "disk"  # disk, cdrom, floppy or lun
    file: str | None = None
    dev: str | None = None
    volume: str | None = None
    pool: str | None = None
    format: str = "qcow2"
    size: int | None = None
    cache: str | None = None
    io: str | None = None
    discard: str | None = None
    serial: str | None = None
    readonly: bool = False
    shareable: bool = False
    boot_order: int | None = None

    @property
    def position(self) -> int:
        """Its place on the bus as its target name says it: 0 for ``sda``, 25 for ``sdz``, 26 for ``sdaa``."""
        number = 0
        for letter in self.target[2:]:
            number = number * 26 + ord(letter) - ord("a") + 1
        return number - 1


@value
class FilterRef:
    """A reference to an nwfilter with its parameters, sorted by name; a list has several values.

    Where the inventory names the filter itself, ``origin`` is where, and ``said`` are the parameters that it gives.
    """

    filter: str
    parameters: tuple[tuple[str, tuple[str, ...]], ...] = ()
    origin: Origin | None = None
    said: frozenset[str] = frozenset()


@value
class GuestInterface:
    """A NIC. Exactly one of ``network`` (the inventory's name) and ``bridge`` is set.

    With ``openvswitch`` the bridge, as its home has it, is one of Open vSwitch. ``name`` is the name inside the guest.
    ``pci`` is a pinned (bus, slot, function); `kvmgen.model.pci` derives the others. ``allowed`` are segments beyond
    the guest's own addresses that it may use as a source. In an ``isolation_group`` the ``target`` is derived from it.
    ``policies`` are sorted; ``filterref`` is what they were compiled to.
    """

    name: str
    origin: Origin
    mac: Mac
    model: str
    addressing: Addressing
    network: str | None = None
    bridge: str | None = None
    segment: str | None = None
    portgroup: str | None = None
    target: str | None = None
    filterref: FilterRef | None = None
    allowed: tuple[Network, ...] = ()
    queues: int | None = None
    link_up: bool = True
    mtu: int | None = None
    openvswitch: bool = False
    vlan: VlanTags | None = None
    isolated: bool = False
    isolation_group: str | None = None
    policies: tuple[str, ...] = ()
    boot_order: int | None = None
    bandwidth: Bandwidths | None = None
    pci: tuple[int, int, int] | None = None


@value
class Cpu:
    """A guest's CPU: ``mode`` is host-model, host-passthrough or custom (then ``model`` names it).

    ``topology`` is (sockets, cores, threads).
    """

    mode: str
    model: str | None = None
    topology: tuple[int, int, int] | None = None


@value
class Firmware:
    """UEFI firmware: the image and its variables' template, or ``None`` to let libvirt choose them."""

    secure_boot: bool
    loader: str | None = None
    nvram_template: str | None = None


@value
class Graphics:
    """A graphical console: ``type`` is vnc or spice; the port is libvirt's choice."""

    type: str
    listen: str
    keymap: str | None = None


@value
class Watchdog:
    """A watchdog device and what libvirt does when it fires."""

    model: str
    action: str


@value
class CloudInit:
    """What cloud-init in the guest's image is told by the NoCloud seed in one of its drives.

    ``user_data`` is cloud-config as the inventory says it. ``instance`` is raised to have all of it done again.
    """

    origin: Origin
    hostname: str
    dns: Dns = Dns()
    user_data: Mapping[str, object] = field(default_factory=dict, hash=False)
    instance: int = 1


def seed_image(guest: str) -> str:
    """The path of a guest's seed on every host that can carry it."""
    return f"/var/lib/libvirt/images/kvmgen-{guest}-seed.iso"


@value
class Guest:
    """A guest. ``hosts`` are those that can carry it, its home first. Memory is in KiB.

    ``machine`` is a versioned machine type of the home's platform. ``inside`` is the guest as a node of its own: its
    link, sysctl and packet filter files; ``None`` where its platform isn't given. With ``cloud_init``, one of the
    ``disks`` is the seed's drive, and no files are written for the inside.
    """

    name: str
    origin: Origin
    uuid: Uuid
    hosts: tuple[str, ...]
    title: str | None
    description: str | None
    vcpus: int
    memory: int
    current_memory: int
    machine: str
    chipset: str  # pc or q35
    emulator: str
    firmware: Firmware | None
    cpu: Cpu
    disks: tuple[Disk, ...]
    interfaces: tuple[GuestInterface, ...]
    serial_console: bool
    graphics: Graphics | None
    video: str | None
    guest_agent: bool
    rng: bool
    watchdog: Watchdog | None
    autostart: bool
    inside: Node | None
    cloud_init: CloudInit | None = None
    inherits: tuple[Origin, ...] = ()  # the profile and the defaults that fill it in
    inherited: Mapping[str, Origin] = field(default_factory=dict, hash=False)  # where they say which of its keys

    @property
    def home(self) -> str:
        """The host whose folder holds the guest's domain."""
        return self.hosts[0]

    def at(self, key: str) -> Origin:
        """Where something was said: in its own file, or in what fills it in."""
        return self.inherited.get(key) or self.origin.at(key)
