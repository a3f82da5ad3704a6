"""Where a file of the output comes from."""

from __future__ import annotations

import os
import re
from pathlib import Path

from kvmgen.artifact import Artifact
from kvmgen.diagnostics import Origin, Position
from kvmgen.inventory.sources import Sources
from kvmgen.model.platform import Platform
from kvmgen.model.site import Site, views
from kvmgen.output.manifest import NAME as MANIFEST
from kvmgen.render import render

_REASONS = (
    (
        r"etc/sysconfig/network(-scripts/.+)?",
        "links are initscripts' on {platform}; from el9 on they are NetworkManager's profiles",
    ),
    (
        r"etc/NetworkManager/system-connections/.+",
        "links are NetworkManager's profiles on {platform}, without network-scripts; up to el8 they are ifcfg files",
    ),
    (
        r"etc/sysconfig/ip6?tables",
        "{platform} has no firewalld: its packet filter is what iptables-restore reads",
    ),
    (
        r"etc/firewalld/direct\.xml",
        "up to el8 a bridge isolates by firewalld's direct rules, in table mangle where no accept of libvirt's comes "
        "first; ARP passes. They know a group's taps by what the names start with. From el9 on direct rules are "
        "deprecated, and nftables isolates",
    ),
    (
        r"etc/firewalld/firewalld\.conf",
        "{platform}'s firewalld {firewalld} takes its reverse path filter for IPv6 from its one file of settings, "
        "whose other settings here are the distribution's",
    ),
    (
        r"etc/firewalld/(zones|policies)/.+",
        "{platform}'s packet filter is firewalld {firewalld}; what a zone or a policy says holds for both IP versions",
    ),
    (
        r"etc/nftables/.+|etc/systemd/system/.+/kvmgen-nftables\.conf",
        "on {platform} a table of nftables' bridge family isolates: it stops every frame, ARP as well, without "
        "br_netfilter, and neither firewalld nor libvirt flushes it; up to el8 direct rules do. On a network without "
        "groups libvirt isolates the ports itself, and the table stops only what the host would route back",
    ),
)
"""Why the host's platform gets this form of what the inventory means, by the file's path."""


def reason_of(path: str, platform: Platform) -> str | None:
    """Why a file is this and no other on a platform; ``None`` where every platform gets the same."""
    reason = next((reason for pattern, reason in _REASONS if re.fullmatch(pattern, path)), None)
    version = ".".join(map(str, platform.firewalld or ()))
    return None if reason is None else reason.format(platform=platform, firewalld=version)


def origins_of(path: Path, output: Path, site: Site, sources: Sources) -> list[str] | None:
    """The places of the inventory that made a file, as ``FILE:LINE:COLUMN  what``; ``None`` for a file that isn't made.

    ``path`` is given as it is seen from here, or relative to the output's folder. Where the platform decided on the
    file's form, a last line says why.
    """
    for way in (os.path.relpath(path, output), str(path)):
        host, _, rest = way.partition(os.sep)
        for view in views(site):
            if view.host.name == host:
                return _of_file(rest, render(view), sources, view.host.platform)
    return None


def as_data(path: Path, lines: list[str]) -> dict[str, object]:
    """What `origins_of` tells, as JSON has it."""
    why = [line.removeprefix(_WHY) for line in lines if line.startswith(_WHY)]
    return {"path": str(path), "from": [line for line in lines if not line.startswith(_WHY)], "why": why}


_WHY = "why: "


def _of_file(path: str, artifacts: list[Artifact], sources: Sources, platform: Platform) -> list[str] | None:
    chosen = [artifact for artifact in artifacts if path in (artifact.path, MANIFEST)]
    if not chosen:
        return None
    origins = dict.fromkeys(_told(origin) for artifact in chosen for origin in artifact.sources)
    lines = []
    for origin in origins:
        if origin.is_kvmgens:
            lines.append(f"{origin.file}  part of kvmgen")
            continue
        position = sources.position_of(origin, of_key=True) or Position(1, 1)
        what = ".".join(map(str, origin.pointer))
        lines.append(f"{sources.root}/{origin.file}:{position.line}:{position.column}  {what}".rstrip())
    reason = reason_of(path, platform)
    return lines if reason is None else [*lines, f"{_WHY}{reason}"]


def _told(origin: Origin) -> Origin:
    """kvmgen's own files as a whole: nobody looks for a line in them."""
    return Origin(origin.file) if origin.is_kvmgens else origin
