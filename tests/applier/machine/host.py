"""A host of files for a machine: what it had, what it is to get, and both folders on its disk."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.applier.folder import APPLIER, HOST, IFCFG, SYSCTL, entry_of, manifest_of, put
from tests.applier.machine.image import PYTHON, make_disk

OLD, NEW = "/var/lib/old", "/var/lib/new"
NETWORK = "libvirt/networks/lab.xml"
UUID = "4a6bb64e-9a8b-4b7e-9f4f-0a5b9c1d2e3f"
APPLY = f"kvmgen-apply apply {NEW} --host {HOST}"

Contents = Mapping[str, bytes]


def simple(word: str, forward: int) -> dict[str, bytes]:
    """A host's files that say one word."""
    return {SYSCTL: b"net.ipv4.ip_forward = %d\n" % forward, IFCFG: f'DEVICE=br0\nNAME="{word}"\n'.encode()}


def network(domain: str) -> bytes:
    """A virtual network."""
    return f"<network><name>lab</name><uuid>{UUID}</uuid><domain name='{domain}'/></network>".encode()


def offer(place: Path, contents: Contents) -> None:
    """Make a folder of the output."""
    entries = []
    for path, content in contents.items():
        more: dict[str, Any] = {"defines": {"name": "lab", "uuid": UUID, "autostart": False}} if path == NETWORK else {}
        entries.append(entry_of(path, content, **more))
        put(place / path, content)
    put(place / "manifest.json", json.dumps(manifest_of(entries)).encode())


def host_disk(place: Path, old: Contents, new: Contents) -> Path:
    """The disk of a host that has the old files, by an apply of its own, and the new ones in a folder."""
    root = place / "host"
    for folder, contents in ((OLD, old), (NEW, new)):
        offer(root / folder.lstrip("/"), contents)
    for name in ("sysconfig/network-scripts", "NetworkManager/system-connections"):
        (root / "etc" / name).mkdir(parents=True)
    files = {path: content for path, content in old.items() if path != NETWORK}
    offer(place / "folder", files)
    argv = [PYTHON, "-I", str(APPLIER), "--root", str(root), "apply", str(place / "folder"), "--host", HOST]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    return make_disk(place, root)
