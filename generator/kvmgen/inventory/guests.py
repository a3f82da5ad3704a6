"""Lowering guests: domains with every default of the schema, the site and a profile resolved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kvmgen.diagnostics import Origin
from kvmgen.inventory.cloudinit import lower_cloud_init
from kvmgen.inventory.context import NOT_TOGETHER, SITE, Context, Data, Document, memory
from kvmgen.inventory.firewall_rules import NOT_ON_PLATFORM
from kvmgen.inventory.hosts import node_fields
from kvmgen.inventory.links import Links
from kvmgen.inventory.nics import Networks, lower_interface
from kvmgen.inventory.schema import defaults
from kvmgen.model.filter_trees import FilterTrees
from kvmgen.model.guest import Cpu, Disk, Firmware, Graphics, Guest, GuestInterface, Watchdog
from kvmgen.model.host import Ethernet, Host, Node
from kvmgen.value import record

_BUSES = {"vd": "virtio", "sd": "scsi", "hd": "ide", "fd": "fdc"}
_FIRMWARE_AUTOSELECT = (5, 2)
"""libvirt chooses UEFI images by itself since 5.2; before, the domain names the distribution's own."""
_EMULATOR = "/usr/libexec/qemu-kvm"


@record
class Surroundings:
    """What a guest is lowered against."""

    hosts: Mapping[str, Host]
    networks: Networks
    filters: FilterTrees
    defaults: Data
    profiles: Mapping[str, Data]


def lower_guest(context: Context, name: str, document: Document, around: Surroundings) -> Guest | None:
    """A guest, or nothing where none of its hosts exists."""
    origin = document.origin
    data = _filled_in(context, document, around)
    hosts = _hosts(context, data, origin, around.hosts)
    if not hosts:
        return None
    interfaces = tuple(
        lower_interface(context, name, key, said, origin.at("interfaces", key), hosts, around.networks, around.filters)
        for key, said in sorted(data.get("interfaces", {}).items())
    )
    _refuse_words_about_the_inside(context, document, data)
    most = memory(data["memory"])
    firmware = data["firmware"]
    chipset = data.get("chipset") or ("q35" if firmware != "bios" else hosts[0].platform.default_chipset)
    disks = [
        _disk(context, target, disk, origin.at("disks", target), chipset)
        for target, disk in sorted(data.get("disks", {}).items())
    ]
    cloud_init, drives = lower_cloud_init(context, name, data, origin, chipset, disks)
    return Guest(
        name=name,
        origin=origin,
        uuid=context.uuid(data, "guest", name),
        hosts=tuple(host.name for host in hosts),
        title=data.get("title"),
        description=data.get("description"),
        vcpus=data["vcpus"],
        memory=most,
        current_memory=_current_memory(context, data, most, origin),
        machine=data.get("machine") or _machine(context, chipset, hosts[0], origin),
        chipset=chipset,
        emulator=_EMULATOR,
        firmware=_firmware(context, firmware, chipset, hosts[0], origin),
        cpu=_cpu(context, data, origin),
        disks=drives,
        interfaces=interfaces,
        serial_console=data["console"],
        graphics=_graphics(context, data["graphics"], context.at(origin, "graphics")),
        video=data.get("video") or ("vga" if data["graphics"] != "none" else None),
        guest_agent=data["guest-agent"],
        rng=data["rng"],
        watchdog=_watchdog(data.get("watchdog")),
        autostart=data["autostart"],
        inside=_inside(context, name, data, origin, interfaces) if "platform" in data else None,
        cloud_init=cloud_init,
        inherits=_inherits(document.data, around),
        inherited=_inherited(document.data, around),
    )


def _inherits(data: Data, around: Surroundings) -> tuple[Origin, ...]:
    profile = (SITE.at("profiles", data["profile"]),) if "profile" in data else ()
    return (*profile, SITE.at("defaults", "guests")) if around.defaults else profile


def _inherited(data: Data, around: Surroundings) -> dict[str, Origin]:
    """Where each key that the guest's own file doesn't have was said; its profile's word stands over the defaults'."""
    profile = around.profiles.get(data.get("profile", ""), {})
    found = {key: SITE.at("defaults", "guests", key) for key in around.defaults if key not in data}
    return found | {key: SITE.at("profiles", data["profile"], key) for key in profile if key not in data}


def _filled_in(context: Context, document: Document, around: Surroundings) -> dict[str, Any]:
    """The guest's keys over its profile's, the site's defaults' and the schema's, key by key."""
    profile: Data = {}
    context.inherit(document, around.defaults, SITE.at("defaults", "guests"))
    if "profile" in document.data:
        name = document.data["profile"]
        if name in around.profiles:
            profile = around.profiles[name]
            context.inherit(document, profile, SITE.at("profiles", name))
        else:
            context.no_reference(document.origin.at("profile"), "profile", name, around.profiles)
    return {**defaults("guest"), **around.defaults, **profile, **document.data}


def _hosts(context: Context, data: Data, origin: Origin, hosts: Mapping[str, Host]) -> list[Host]:
    found = []
    for index, name in enumerate(data["hosts"]):
        if name in hosts:
            found.append(hosts[name])
        else:
            context.no_reference(origin.at("hosts", index), "host", name, hosts)
    return found


def _current_memory(context: Context, data: Data, most: int, origin: Origin) -> int:
    current = memory(data["current-memory"]) if "current-memory" in data else most
    if current > most:
        message = f"the guest starts with {data['current-memory']}, more than its memory of {data['memory']}"
        context.error(NOT_TOGETHER, context.at(origin, "current-memory"), message, "Lower it, or raise `memory`.")
    return current


def _machine(context: Context, chipset: str, home: Host, origin: Origin) -> str:
    machine = home.platform.machine(chipset)
    if machine is None:
        message = f"QEMU on {home.platform} has no machine type of the {chipset} family"
        other = "pc" if chipset == "q35" else "q35"
        context.error(NOT_ON_PLATFORM, context.at(origin, "chipset"), message, f"Write `chipset: {other}`.")
    return machine or ""


def _firmware(context: Context, word: str, chipset: str, home: Host, origin: Origin) -> Firmware | None:
    if word == "bios":
        return None
    place = context.at(origin, "firmware")
    if home.platform.major == 6:
        context.error(NOT_ON_PLATFORM, place, "el6 has no UEFI firmware for guests", "Write `firmware: bios`.")
    if chipset != "q35":
        context.error(NOT_TOGETHER, place, "UEFI firmware needs the q35 chipset", "Write `chipset: q35`.")
    secure = word == "efi-secure-boot"
    if home.platform.libvirt >= _FIRMWARE_AUTOSELECT:
        return Firmware(secure_boot=secure)
    template = "OVMF_VARS.secboot.fd" if secure else "OVMF_VARS.fd"
    return Firmware(
        secure_boot=secure,
        loader="/usr/share/OVMF/OVMF_CODE.secboot.fd",
        nvram_template=f"/usr/share/OVMF/{template}",
    )


def _cpu(context: Context, data: Data, origin: Origin) -> Cpu:
    said = data["cpu"]
    mode = said.get("mode", "host-model")
    place = context.at(origin, "cpu")
    if (mode == "custom") != ("model" in said):
        hint = "Write `mode: custom` with a `model`, or neither."
        context.error(NOT_TOGETHER, place, f"a CPU of mode {mode} and `model` don't go together", hint)
    topology = said.get("topology")
    if topology is None:
        return Cpu(mode=mode, model=said.get("model"))
    sockets, cores, threads = topology["sockets"], topology["cores"], topology["threads"]
    if sockets * cores * threads != data["vcpus"]:
        message = f"{sockets} sockets of {cores} cores of {threads} threads aren't {data['vcpus']} virtual CPUs"
        context.error(NOT_TOGETHER, place.at("topology"), message, "Make the product equal to `vcpus`.")
    return Cpu(mode=mode, model=said.get("model"), topology=(sockets, cores, threads))


def _disk(context: Context, target: str, data: Data, origin: Origin, chipset: str) -> Disk:
    default = defaults("guest", "disks")
    device = data.get("device", default["device"])
    sources = [key for key in ("file", "dev", "volume") if key in data]
    if len(sources) > 1:
        message = f"the disk names both {sources[0]!r} and {sources[1]!r}"
        context.error(NOT_TOGETHER, origin, message, "Name the one that holds its data.", on_key=True)
    if not sources and device in ("disk", "lun"):
        context.error(NOT_TOGETHER, origin, "the disk has no source", "Give `file`, `dev` or `volume`.", on_key=True)
    bus = data.get("bus") or _BUSES[target[:2]]
    if bus == "ide" and chipset == "q35":
        message = f"the disk {target!r} is on an IDE bus, which the q35 chipset doesn't have"
        context.error(
            NOT_TOGETHER, origin, message, "Write `bus: sata` and call it sda, or `chipset: pc`.", on_key=True
        )
    raw = device in ("cdrom", "floppy", "lun") or "dev" in data
    return Disk(
        target=target,
        origin=origin,
        bus=bus,
        device=device,
        file=data.get("file"),
        dev=data.get("dev"),
        volume=data.get("volume"),
        pool=data.get("pool", default["pool"]) if "volume" in data else None,
        format=data.get("format") or ("raw" if raw else "qcow2"),
        size=memory(data["size"]) if "size" in data else None,
        cache=data.get("cache"),
        io=data.get("io"),
        discard=data.get("discard"),
        serial=data.get("serial"),
        readonly=data.get("readonly", device == "cdrom"),
        shareable=data.get("shareable", default["shareable"]),
        boot_order=data.get("boot-order"),
    )


def _graphics(context: Context, said: str | Data, origin: Origin) -> Graphics | None:
    if said == "none":
        return None
    if isinstance(said, str):
        return Graphics(type=said, listen="127.0.0.1")
    if "listen" in said:
        context.address(said["listen"], origin.at("listen"))
    return Graphics(type=said["type"], listen=said.get("listen", "127.0.0.1"), keymap=said.get("keymap"))


def _watchdog(data: Data | None) -> Watchdog | None:
    if data is None:
        return None
    default = defaults("guest", "watchdog")
    return Watchdog(model=data.get("model", default["model"]), action=data.get("action", default["action"]))


def _refuse_words_about_the_inside(context: Context, document: Document, data: Data) -> None:
    """What is said of a guest's inside, of which nothing is made.

    Without a platform, what its own file says; beside a seed, which carries no such files, what it inherits as well.
    """
    origin, interfaces = document.origin, document.data.get("interfaces", {})
    if "cloud-init" in data:
        why = "and a seed carries no files for it"
        hint = "Say it by `user-data`, in words of cloud-init's such as `write_files`."
        places = [context.at(origin, key) for key in ("firewall", "sysctl") if data.get(key)]
    elif "platform" not in data:
        why, hint = "and nothing is made for it without a platform", "Say what runs in it, such as `platform: el8`."
        places = [origin.at(key) for key in ("dns", "firewall", "sysctl") if key in document.data]
    else:
        return
    places += (origin.at("interfaces", name, "zone") for name, said in sorted(interfaces.items()) if "zone" in said)
    for place in places:
        message = f"{place.pointer[-1]!r} speaks of the guest's inside, {why}"
        context.error(NOT_TOGETHER, place, message, hint, on_key=True)


def _inside(context: Context, name: str, data: Data, origin: Origin, interfaces: tuple[GuestInterface, ...]) -> Node:
    """The guest as a machine of its own: its NICs are its links."""
    ethernets = tuple(
        Ethernet(
            name=nic.name,
            origin=nic.origin,
            uuid=context.identity.uuid("guest", name, "link", nic.name),
            addressing=nic.addressing,
            mtu=nic.mtu,
            zone=data["interfaces"][nic.name].get("zone"),
            mac=nic.mac,
        )
        for nic in interfaces
    )
    return Node(**node_fields(context, name, data, origin, Links(ethernets=ethernets)))
