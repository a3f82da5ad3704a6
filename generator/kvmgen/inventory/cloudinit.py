"""Lowering a guest's `cloud-init`: what its seed says, and the drive that the seed is in."""

from __future__ import annotations

from collections.abc import Sequence

from kvmgen.diagnostics import Origin
from kvmgen.inventory.context import NOT_TOGETHER, Context, Data
from kvmgen.inventory.firewall_rules import NOT_ON_PLATFORM
from kvmgen.inventory.schema import defaults
from kvmgen.model.guest import CloudInit, Disk, seed_image
from kvmgen.model.platform import Platform

_DRIVES = {"pc": ("hdd", "ide"), "q35": ("sdf", "sata")}
"""The last place of the controller that the chipset has in any case: the seed moves no other device."""

_OF_THE_GUEST = {"hostname": "`hostname`", "fqdn": "`hostname`", "network": "its `interfaces`"}
"""What cloud-config could say otherwise than the guest does, and where the guest says it."""


def lower_cloud_init(
    context: Context, name: str, data: Data, origin: Origin, chipset: str, disks: Sequence[Disk]
) -> tuple[CloudInit | None, tuple[Disk, ...]]:
    """The seed and the guest's drives with the one that it is in; nothing new without `cloud-init`."""
    if "cloud-init" not in data:
        return None, tuple(disks)
    said, place = data["cloud-init"], context.at(origin, "cloud-init")
    _refuse_old_platform(context, data, place)
    for key in sorted(_OF_THE_GUEST.keys() & said.get("user-data", {}).keys()):
        message = f"user-data says {key!r}, which the seed takes from the guest: two words for one thing"
        hint = f"Leave it out; the guest says it by {_OF_THE_GUEST[key]}."
        context.error(NOT_TOGETHER, place.at("user-data", key), message, hint, on_key=True)
    target, bus = _DRIVES[chipset]
    seed = Disk(
        target=target, origin=place, bus=bus, device="cdrom", file=seed_image(name), format="raw", readonly=True
    )
    cloud_init = CloudInit(
        origin=place,
        hostname=context.full_name(name, data),
        dns=context.dns(data.get("dns"), context.at(origin, "dns")),
        user_data=said.get("user-data", {}),
        instance=said.get("instance", defaults("guest", "cloud-init")["instance"]),
    )
    return cloud_init, (*_beside(context, seed, disks), seed)


def _refuse_old_platform(context: Context, data: Data, place: Origin) -> None:
    if "platform" in data and not Platform.parse(data["platform"]).reads_network_config:
        message = f"cloud-init on {data['platform']} reads no network-config version 2: the guest would have no address"
        hint = "el7 is the first that does; leave `cloud-init` out for the files of the guest's inside."
        context.error(NOT_ON_PLATFORM, place, message, hint, on_key=True)


def _beside(context: Context, seed: Disk, disks: Sequence[Disk]) -> tuple[Disk, ...]:
    """The drives that leave the seed its place."""
    kept = []
    for disk in disks:
        if disk.target == seed.target or (disk.bus, disk.position) == (seed.bus, seed.position):
            message = f"{disk.target!r} is the place of the guest's seed, a cdrom on {seed.bus} called {seed.target!r}"
            hint = "Give this drive another target, such as vdb."
            context.error(NOT_TOGETHER, disk.origin, message, hint, on_key=True)
        else:
            kept.append(disk)
    return tuple(kept)
