"""Small inventories for tests: written into a folder from a mapping of file names to texts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "inventory"

SITE = "name: test\ndomain: example.org\n"

SMALL: Mapping[str, str] = MappingProxyType(
    {
        "site.yaml": SITE,
        "hosts/kvm1.yaml": "platform: el7\nethernets: {em1: {}}\nbridges: {br0: {ports: [em1], segment: lan}}\n",
        "hosts/kvm2.yaml": "platform: el8\nethernets: {em1: {}}\nbridges: {br0: {ports: [em1], segment: lan}}\n",
        "networks/lab.yaml": (
            "hosts: {kvm1: {}, kvm2: {}}\nforward: nat\nbridge: {name: virbr7}\n"
            "addresses: [192.0.2.1/24]\ndhcp: {ranges: [192.0.2.100-192.0.2.200]}\n"
        ),
        "guests/web1.yaml": (
            "hosts: [kvm1, kvm2]\ndisks: {vda: {volume: web1.qcow2}}\n"
            "interfaces: {eth0: {network: lab, addresses: [192.0.2.10/24]}, eth1: {bridge: br0, dhcp4: true}}\n"
        ),
    }
)
"""Two hosts, a network on both, and a guest that either can carry."""


def write(folder: Path, files: Mapping[str, str]) -> Path:
    """Write an inventory, and return its folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def tree(folder: Path) -> dict[str, str | bytes]:
    """Everything below a folder: files as bytes, folders and symbolic links as what they are."""
    found: dict[str, str | bytes] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        else:
            found[name] = "folder" if path.is_dir() else path.read_bytes()
    return found
