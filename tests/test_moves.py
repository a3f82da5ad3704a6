"""A host moves to a newer platform by one changed word: nothing old stays, and every link is written anew."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from kvmgen.pipeline import build
from tests.sites import EXAMPLE

LINKS = {"ifcfg": r"etc/sysconfig/network-scripts/ifcfg-(.+)", "keyfile": r".*/system-connections/(.+)\.nmconnection"}


def platform(host: Path) -> str:
    found = re.search(r"^platform: (el\S+)", host.read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


MOVING = [host.stem for host in sorted(EXAMPLE.glob("hosts/*.yaml")) if platform(host).startswith(("el7", "el8"))]


def links(paths: set[str], kind: str) -> set[str]:
    return {found[1] for path in paths if (found := re.fullmatch(LINKS[kind], path))}


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    return built(EXAMPLE, tmp_path_factory.mktemp("before"))


def built(inventory: Path, output: Path) -> dict[str, set[str]]:
    result = build(inventory, output)
    assert result.diagnostics == []
    manifests = {place.parent.name: json.loads(place.read_text()) for place in output.glob("*/manifest.json")}
    return {host: {file["path"] for file in manifest["files"]} for host, manifest in manifests.items()}


def without_direct_rules(host: str) -> str:
    """A host without what kept the networks of an older libvirt apart; on the newer platforms it is an error."""
    return re.sub(r"(?m)^firewall:\n  direct:\n(?: {4}.*\n)+", "", host)


@pytest.mark.parametrize("to", ["el9", "el10"])
@pytest.mark.parametrize("host", MOVING)
def test_one_word_moves_a_host(host: str, to: str, before: dict[str, set[str]], tmp_path: Path) -> None:
    inventory = tmp_path / "inventory"
    shutil.copytree(EXAMPLE, inventory)
    file = inventory / f"hosts/{host}.yaml"
    file.write_text(re.sub(r"(?m)^platform: .*", f"platform: {to}", without_direct_rules(file.read_text())))
    after = built(inventory, tmp_path / "output")
    assert links(after[host], "keyfile") == links(before[host], "ifcfg") != set()
    assert not [path for path in after[host] if "network-scripts" in path or path.endswith("direct.xml")]
    assert {path for path in after[host] if path.startswith("libvirt/")} == {
        path for path in before[host] if path.startswith("libvirt/")
    }
    assert {name: files for name, files in after.items() if name != host} == {
        name: files for name, files in before.items() if name != host
    }
