"""What an editor shows, from the language server that editors have: problems, completion and hover."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from kvmgen import starter
from kvmgen.inventory import schema
from kvmgen.inventory.read import FOLDERS, inventory_files
from tests.editor.client import Editor, editor
from tests.sites import EXAMPLE, ROOT

SETTINGS: dict[str, Any] = {
    "yaml": {"schemaStore": {"enable": False}, "validate": True, "hover": True, "completion": True},
}
FILES = {"site": "site.yaml"} | {kind: f"{folder}/new.yaml" for folder, kind in FOLDERS.items()}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("editor") / "our site"
    starter.write(folder, starter.files(folder, "ours"))
    return folder


@pytest.fixture(scope="module")
def opened(site: Path) -> Iterator[Editor]:
    with editor(site, SETTINGS) as started:
        yield started


def modeline(file: str) -> str:
    kind = next(kind for kind, path in FILES.items() if path.partition("/")[0] == file.partition("/")[0])
    return f"# yaml-language-server: $schema={'../' * (file.count('/') + 1)}schemas/{kind}.schema.json\n"


def test_a_new_site_has_no_problem(site: Path, opened: Editor) -> None:
    for path in sorted((site / "inventory").rglob("*.yaml")):
        assert opened.problems(path, path.read_text()) == [], path


def test_the_example_has_no_problem() -> None:
    with editor(ROOT, SETTINGS) as opened:
        for _, file in inventory_files(EXAMPLE)[::6]:
            assert opened.problems(EXAMPLE / file, (EXAMPLE / file).read_text()) == [], file


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_what_is_wrong_is_told_by_the_modeline_alone(file: str, site: Path, opened: Editor) -> None:
    path = site / "inventory" / file
    assert "Property memroy is not allowed." in opened.problems(path, f"{modeline(file)}memroy: 1\n")
    assert opened.problems(path, "memroy: 1\n") == [], "nothing else ties the file to a schema here"


@pytest.mark.parametrize("kind", schema.KINDS)
def test_every_key_is_offered_with_its_description(kind: str, site: Path, opened: Editor) -> None:
    """At the start of a line; a mapping and a list are offered with what belongs below them."""
    path = site / "inventory" / FILES[kind]
    first = modeline(FILES[kind])
    opened.problems(path, f"{first}\n")
    offered = opened.completions(path, 1, 0)
    keys = {name: describe(child) for name, child in schema.load(kind)["properties"].items()}
    assert {name: offered.get(name, "").startswith(said) for name, said in keys.items()} == dict.fromkeys(keys, True)


def describe(child: dict[str, Any]) -> str:
    """A property's own description, or its definition's."""
    description = child.get("description")
    if description is None:
        name = child["$ref"].rpartition("/")[2]
        description = schema.load("common")["$defs"][name]["description"]
    return str(description)


GUEST = """\
hosts: [kvm01]
interfaces:
  eth0:
    network: default
    model: virtio
    anti-spoofing: addresses
    queues:
"""


def test_values_are_offered(site: Path, opened: Editor) -> None:
    path = site / "inventory/guests/new.yaml"
    text = modeline("guests/new.yaml") + GUEST.replace("model: virtio", "model: ").replace(": addresses", ": ")
    opened.problems(path, text)
    assert opened.completions(path, 5, len("    model: ")).keys() == {"virtio", "e1000", "e1000e", "rtl8139"}
    spoofing = opened.completions(path, 6, len("    anti-spoofing: "))
    assert spoofing.keys() == {"addresses", "dhcp", "mac", "none"}
    assert all("from its own MAC" in said for said in spoofing.values())


def test_the_pointer_shows_what_a_key_means(site: Path, opened: Editor) -> None:
    """Title, description, the values that are allowed or an example: also of what stands in the common definitions."""
    path = site / "inventory/guests/new.yaml"
    opened.problems(path, modeline("guests/new.yaml") + GUEST)
    told = opened.hover(path, 6, 6)
    assert told.startswith("#### Anti-spoofing\n\nWhat the guest may send: ")
    assert "* `dhcp`" in told
    assert opened.hover(path, 1, 2).startswith("#### Hosts\n\nThe hosts that can carry the guest; ")
    host = site / "inventory/hosts/new.yaml"
    opened.problems(host, f"{modeline('hosts/new.yaml')}platform: el9\nmemory: 64 GiB\n")
    for line in (1, 2):
        told = opened.hover(host, line, 2)
        assert "Example:\n" in told, told


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A folder on this machine's loopback, as an intranet would serve it."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def told_without_modelines(site: Path, yaml: dict[str, Any]) -> set[str]:
    """The kinds of files of which a mistake is told, with these settings of the editor."""
    with editor(site, {"yaml": {**SETTINGS["yaml"], **yaml}}) as opened:
        problems = {kind: opened.problems(site / "inventory" / file, "memroy: 1\n") for kind, file in FILES.items()}
    return {kind for kind, found in problems.items() if "Property memroy is not allowed." in found}


def test_the_catalogue_ties_every_file(site: Path, tmp_path: Path) -> None:
    (tmp_path / "catalogue.json").write_text(starter.catalogue())
    with served(tmp_path) as address:
        store = {"enable": True, "url": f"{address}/catalogue.json"}
        assert told_without_modelines(site, {"schemaStore": store}) == FILES.keys()


def test_the_settings_of_a_new_site_tie_every_file(site: Path) -> None:
    schemas = json.loads((site / ".vscode/settings.json").read_text())["yaml.schemas"]
    assert told_without_modelines(site, {"schemas": schemas}) == FILES.keys()
