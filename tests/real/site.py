"""The example site as the tests meet it: compiled once a session from `inventory/`, never read from `output/`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kvmgen.artifact import Kind
from kvmgen.model.host import Node
from kvmgen.model.site import HostView, views
from kvmgen.pipeline import build

PROJECT = Path(__file__).parents[2]
INVENTORY = PROJECT / "inventory"
COMMITTED = PROJECT / "output"

HOSTS = tuple(sorted(file.stem for file in (INVENTORY / "hosts").glob("*.yaml")))
"""The names of the hosts: what tests are parametrised by."""

GUESTS_FOLDER = "guests"


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFile:
    """One file of a host's folder, as its manifest has it; the last four are the libvirt object's."""

    path: str
    text: str
    kind: Kind
    name: str
    uuid: str
    autostart: bool
    validate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What has files under /etc: a host, or the inside of a guest. `folder` holds its `etc`."""

    name: str
    node: Node
    folder: Path

    def texts(self, below: str) -> dict[str, str]:
        """The files below a folder such as `etc/sysctl.d`, or the one file of this name: path -> text, by path."""
        root = self.folder / below
        found = [root] if root.is_file() else [file for file in root.rglob("*") if file.is_file()]
        return {str(file.relative_to(self.folder)): file.read_text() for file in sorted(found)}


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteHost:
    """One host of the compiled site, with its view of the model."""

    view: HostView
    folder: Path
    files: tuple[SiteFile, ...]

    def of_kind(self, kind: Kind) -> list[SiteFile]:
        """The files of a kind, in the order in which they are applied."""
        return [file for file in self.files if file.kind is kind]

    def machines(self) -> Iterator[Machine]:
        """The host and those of its guests that have files of their own."""
        yield Machine(name=self.view.host.name, node=self.view.host, folder=self.folder)
        for guest in self.view.guests:
            folder = self.folder / GUESTS_FOLDER / guest.name
            if (folder / "etc").is_dir():
                assert guest.inside is not None
                yield Machine(name=guest.name, node=guest.inside, folder=folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledSite:
    """A fresh build of the example site."""

    folder: Path
    hosts: dict[str, SiteHost]


@pytest.fixture(scope="session")
def compiled_site(tmp_path_factory: pytest.TempPathFactory) -> CompiledSite:
    """The example site, compiled."""
    folder = tmp_path_factory.mktemp("site")
    result = build(INVENTORY, folder)
    assert result.is_good, result.diagnostics
    assert result.site is not None
    hosts = {view.host.name: _site_host(view, folder / view.host.name) for view in views(result.site)}
    assert tuple(hosts) == HOSTS
    return CompiledSite(folder=folder, hosts=hosts)


def _site_host(view: HostView, folder: Path) -> SiteHost:
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    files = tuple(_site_file(folder, entry) for entry in manifest["files"])
    order = [Kind(kind) for kind in manifest["order"]]
    assert [file.kind for file in files] == sorted((file.kind for file in files), key=order.index)
    return SiteHost(view=view, folder=folder, files=files)


def _site_file(folder: Path, entry: dict[str, Any]) -> SiteFile:
    defines = entry.get("defines", {})
    return SiteFile(
        path=entry["path"],
        text=(folder / entry["path"]).read_bytes().decode(errors="replace"),
        kind=Kind(entry["kind"]),
        name=defines.get("name", ""),
        uuid=defines.get("uuid", ""),
        autostart=defines.get("autostart", False),
        validate=defines.get("validate", True),
    )
