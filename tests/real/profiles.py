"""NetworkManager's profiles as NetworkManager itself reads them, and the machines of this project that have some."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from configparser import RawConfigParser
from pathlib import Path

from kvmgen.artifact import Artifact
from kvmgen.model.ethtool import CHANNELS_SINCE
from kvmgen.model.host import Node
from kvmgen.model.site import HostView, views
from kvmgen.pipeline import load
from kvmgen.render import keyfile
from tests.lab.host import LabHost
from tests.regenerate import GOLDEN
from tests.sites import EXAMPLE

INVENTORIES = (GOLDEN / "el9" / "inventory", EXAMPLE)
Profile = dict[str, dict[str, str]]

OF_ITSELF = {("vlan", "flags"): "1"}
"""What NetworkManager adds to a profile: the kernel's default."""

NEEDLESS = {("ethernet", "auto-negotiate"): "false", ("bridge", "stp"): "true"}
"""What it leaves out when it writes, because it is the same without; for a reader it isn't."""

MODIFY = """
cd /run/profiles
for file in *.nmconnection; do nmcli --offline connection modify <"$file" >"$file.kept" 2>"$file.said" || true; done
"""


def hosts() -> dict[str, HostView]:
    """Every host that has profiles, by name."""
    found = (view for inventory in INVENTORIES for view in _views(inventory))
    return {view.host.name: view for view in found if not view.host.platform.uses_ifcfg}


def _views(inventory: Path) -> Iterator[HostView]:
    site = load(inventory).site
    assert site is not None
    return views(site)


def nodes() -> dict[str, Node]:
    """Those hosts, and the insides of guests."""
    found: dict[str, Node] = {name: view.host for name, view in hosts().items()}
    insides = (guest.inside for inventory in INVENTORIES for view in _views(inventory) for guest in view.guests)
    return found | {inside.name: inside for inside in insides if inside and not inside.platform.uses_ifcfg}


def profiles(node: Node) -> list[Artifact]:
    """A machine's key files."""
    return list(keyfile.files(node))


def parsed(text: str) -> Profile:
    """A key file by sections; a section or key that stands twice is refused."""
    reader = RawConfigParser(delimiters=("=",), comment_prefixes=("#",), interpolation=None)
    reader.read_string(text)
    return {section: dict(reader[section]) for section in reader.sections()}


def read_back(lab: LabHost, texts: Sequence[str]) -> list[tuple[str, str]]:
    """What NetworkManager's own library keeps of each key file, and what it says of one that it refuses."""
    lab.run("rm", "-rf", "/run/profiles")
    for number, text in enumerate(texts):
        path = lab.file(f"/run/profiles/{number:04}.nmconnection")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    lab.run("bash", "-c", MODIFY, timeout=120)
    names = [f"/run/profiles/{number:04}.nmconnection" for number in range(len(texts))]
    return [(lab.file(f"{name}.kept").read_text(), lab.file(f"{name}.said").read_text()) for name in names]


def not_kept(written: str, kept: str) -> list[str]:
    """The keys that NetworkManager lost, changed or added without being asked."""
    before, after = parsed(written), parsed(kept)
    wanted = {(section, key): value for section, keys in before.items() for key, value in keys.items()}
    found = {(section, key): value for section, keys in after.items() for key, value in keys.items()}
    lost = {place: value for place, value in wanted.items() if found.get(place, NEEDLESS.get(place)) != value}
    lost = {place: value for place, value in lost.items() if not _is_too_new(place[1])}
    added = {place: value for place, value in found.items() if place not in wanted and OF_ITSELF.get(place) != value}
    return [f"{place}: {value!r}, not {found.get(place)!r}" for place, value in lost.items()] + [
        f"{place}: {value!r} by itself" for place, value in added.items()
    ]


def _is_too_new(key: str) -> bool:
    """Whether the program that reads here, 1.42, is older than a key that newer platforms have."""
    return CHANNELS_SINCE > (1, 42) and bool(re.match("channels-", key))
