"""Two outputs for one small host, and what the host is: files below a root and a scripted libvirt."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from tests.applier.faults.virsh import text_of
from tests.applier.folder import entry_of, manifest_of, put
from tests.lab.domain import EMULATOR

SCRIPTS = "etc/sysconfig/network-scripts"
REMEMBERED = "var/lib/kvmgen"

NETWORK = """\
<network><name>{name}</name><uuid>{uuid}</uuid><bridge name='virbr-{name}' stp='on' delay='0'/>
<mac address='52:54:00:00:01:{number:02x}'/>
<ip address='10.0.{number}.1' netmask='255.255.255.0'><dhcp>{leases}</dhcp></ip></network>
"""
NETWORKS = ("lab", "gone", "fresh")
LEASE = "<host mac='52:54:00:00:00:{1:02x}' ip='10.0.{0}.{1}'/>"
FILTER = "<filter name='{name}' chain='root'><uuid>{uuid}</uuid>{rules}</filter>\n"
RULE = "<rule action='{}' direction='in' priority='{}'><tcp dstportstart='{}'/></rule>"
DOMAIN = """\
<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid><memory unit='KiB'>{memory}</memory>
<os><type arch='x86_64' machine="pc">hvm</type></os><devices><emulator>{emulator}</emulator>
<interface type='network'><mac address='52:54:00:00:00:0a'/><source network='lab'/><target dev='tap-{name}'/>
<model type='virtio'/><filterref filter='{filter}'/></interface></devices></domain>
"""

Files = Mapping[str, str]
"""A path in the host's folder -> its text."""


def _network(name: str, *leases: int) -> str:
    number = NETWORKS.index(name)
    text = "".join(LEASE.format(number, lease) for lease in leases)
    return NETWORK.format(name=name, uuid=_uuid(name), number=number, leases=text)


def _filter(name: str, *ports: int, includes: str = "") -> str:
    rules = "".join(RULE.format("accept", 500 + index, port) for index, port in enumerate(ports))
    return FILTER.format(name=name, uuid=_uuid(name), rules=rules + includes)


def _domain(name: str, memory: int, filter: str) -> str:
    words = {"name": name, "uuid": _uuid(name), "memory": memory << 10, "filter": filter}
    return DOMAIN.format(emulator=EMULATOR, **words)


def _uuid(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))


OLD: Files = {
    "etc/modules-load.d/kvmgen.conf": "br_netfilter\n",
    "etc/sysctl.d/90-kvmgen.conf": "net.ipv4.ip_forward = 0\n",
    f"{SCRIPTS}/ifcfg-gone": "DEVICE=gone\n",
    "libvirt/networks/lab.xml": _network("lab", 10, 11),
    "libvirt/networks/gone.xml": _network("gone", 10),
    "libvirt/nwfilters/plain.xml": _filter("plain", 22),
    "libvirt/nwfilters/gone.xml": _filter("gone", 23),
    "libvirt/domains/web.xml": _domain("web", 256, "plain"),
    "libvirt/domains/gone.xml": _domain("gone", 128, "plain"),
}

NEW: Files = {
    "etc/modules-load.d/kvmgen.conf": "br_netfilter\n",
    "etc/sysctl.d/90-kvmgen.conf": "net.ipv4.ip_forward = 1\n",
    f"{SCRIPTS}/ifcfg-fresh": "DEVICE=fresh\n",
    "etc/firewalld/zones/fresh.xml": "<zone/>\n",
    "libvirt/networks/lab.xml": _network("lab", 10, 12),
    "libvirt/networks/fresh.xml": _network("fresh", 10),
    "libvirt/nwfilters/plain.xml": _filter("plain", 22, 80),
    "libvirt/nwfilters/fresh.xml": _filter("fresh", 443, includes="<filterref filter='plain'/>"),
    "libvirt/domains/web.xml": _domain("web", 512, "fresh"),
    "libvirt/domains/fresh.xml": _domain("fresh", 128, "fresh"),
}
"""A file, a network, a filter and a domain each: changed, made and removed; the domain `web` runs meanwhile."""


def write_output(folder: Path, files: Files) -> Path:
    """Write a host's folder."""
    entries = []
    for path, text in files.items():
        file = put(folder / path, text.encode())
        entry = entry_of(path, text.encode())
        if path.startswith("libvirt/"):
            entry["defines"] = {"name": file.stem, "uuid": _uuid(file.stem)}
        if entry["kind"] in ("network", "domain"):
            entry["defines"]["autostart"] = file.stem != "web"
        entries.append(entry)
    put(folder / "manifest.json", json.dumps(manifest_of(entries)).encode())
    return folder


def look(root: Path, libvirt: Path) -> dict[str, object]:
    """What the host is: every file with its mode, every definition, what runs, what starts by itself."""
    found: dict[str, object] = {}
    for file in _files(root / "etc"):
        found[str(file.relative_to(root))] = (oct(file.stat().st_mode & 0o7777), file.read_bytes())
    for file in _files(libvirt):
        if file.suffix != ".new":
            found[f"libvirt: {file.relative_to(libvirt)}"] = _definition(file)
    return found


def _files(folder: Path) -> Iterator[Path]:
    yield from (file for file in sorted(folder.rglob("*")) if file.is_file())


def _definition(file: Path) -> str:
    """What is in effect is compared by its meaning: leases that were taken away and given again come last."""
    text = file.read_text()
    return text_of(_ordered(ElementTree.fromstring(text))) if file.suffix == ".live" else text


def _ordered(element: Element) -> Element:
    is_default = [child.tag == "link" and child.get("state") == "up" for child in element]
    children = sorted(
        (_ordered(child) for child, is_so in zip(element, is_default, strict=True) if not is_so), key=text_of
    )
    copy = Element(element.tag, element.attrib)
    copy.text = element.text
    copy.extend(children)
    return copy


def remembered(root: Path) -> dict[str, object]:
    """What the applier remembers, but when it did what."""
    folder = root / REMEMBERED
    found: dict[str, object] = {}
    for file in _files(folder):
        if file.name != "lock":
            data = json.loads(file.read_text()) if file.suffix == ".json" else {}
            found[str(file.relative_to(folder))] = {
                key: data[key] for key in data if key not in ("time", "unconfirmed")
            }
    return found
