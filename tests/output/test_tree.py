"""Writing the output: only what changed, only what is kvmgen's, and all of it or nothing."""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from kvmgen import pipeline
from kvmgen.inventory.schema import load
from kvmgen.output import tree as writing
from kvmgen.output.plan import stale
from tests.output.changes import codes, everything_changes, refuses, without_guest, without_host
from tests.sites import EXAMPLE, SMALL, tree

# What is written.


def test_a_second_build_changes_nothing(inventory: Path, output: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    result = pipeline.build(inventory, output)
    assert result.plan.is_empty
    assert result.plan.unchanged == len([name for name, what in tree(output).items() if what != "folder"])
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before


def test_only_what_changed_is_written(inventory: Path, output: Path) -> None:
    (inventory / "guests/web1.yaml").write_text(SMALL["guests/web1.yaml"] + "vcpus: 2\n")
    result = pipeline.build(inventory, output)
    assert result.plan.write == ["kvm1/libvirt/domains/web1.xml", "kvm1/manifest.json"]
    assert result.plan.remove == []


def test_check_writes_nothing(inventory: Path, output: Path, tmp_path: Path) -> None:
    everything_changes(inventory)
    before = tree(output)
    result = pipeline.build(inventory, output, write=False)
    assert result.plan.write
    assert result.plan.remove
    assert tree(output) == before
    assert pipeline.build(inventory, tmp_path / "elsewhere", write=False).plan.write
    assert not (tmp_path / "elsewhere").exists()


def test_what_is_stale_is_told_with_what_mends_it(inventory: Path, output: Path) -> None:
    """KV035; reports have it, and the pipeline's caller decides whether a stale output is wrong."""
    without_guest(inventory)
    told = stale(output, pipeline.build(inventory, output, write=False).plan, "kvmgen build")
    assert (told.rule.code, told.hint) == ("KV035", "Run `kvmgen build` and commit what it changes.")
    assert re.search(r": files \d+ to write and \d+ to remove, kvm1/\S+ first$", told.message)


def test_one_host_alone(inventory: Path, output: Path) -> None:
    before = tree(output)
    everything_changes(inventory)
    result = pipeline.build(inventory, output, host="kvm3")
    assert {path.partition("/")[0] for path in result.plan.write + result.plan.remove} == {"kvm3"}
    assert {name: what for name, what in tree(output).items() if not name.startswith("kvm3")} == before
    assert codes(pipeline.build(inventory, output, host="kvm9")) == ["KV034"]


def test_what_lost_its_source_is_removed(inventory: Path, output: Path) -> None:
    without_guest(inventory)
    assert set(pipeline.build(inventory, output).plan.remove) >= {"kvm1/libvirt/domains/web1.xml"}
    assert not (output / "kvm1/libvirt/domains").exists()  # nor is an empty folder left


def test_a_host_that_is_gone_leaves_nothing(inventory: Path, output: Path) -> None:
    without_host(inventory)
    assert codes(pipeline.build(inventory, output)) == []
    assert sorted(path.name for path in output.iterdir()) == ["kvm2"]


def test_an_edited_file_is_written_again(inventory: Path, output: Path) -> None:
    path = output / "kvm1/libvirt/domains/web1.xml"
    text = path.read_text()
    path.write_text("mine now")
    assert pipeline.build(inventory, output).plan.write == ["kvm1/libvirt/domains/web1.xml"]
    assert path.read_text() == text


# The manifest.


REGISTRY: Any = Registry().with_resources(
    [(f"https://test/{name}.schema.json", DRAFT202012.create_resource(load(name))) for name in ("common", "manifest")]
)


def test_manifests_are_valid_and_true(tmp_path: Path) -> None:
    """Every file of the folder, its hash and mode, in the order of application; checked on the whole example."""
    assert codes(pipeline.build(EXAMPLE, tmp_path)) == []
    validator = Draft202012Validator({"$ref": "https://test/manifest.schema.json"}, registry=REGISTRY)
    for host in tmp_path.iterdir():
        manifest = json.loads((host / "manifest.json").read_text())
        assert [error.message for error in validator.iter_errors(manifest)] == []
        assert manifest["host"] == host.name
        files = {entry["path"]: entry for entry in manifest["files"]}
        there = {name for name, what in tree(host).items() if what != "folder"}
        assert files.keys() | {"manifest.json"} == there
        for path, entry in files.items():
            assert entry["sha256"] == sha256((host / path).read_bytes()).hexdigest()
            secret = Path(path).name in ("iptables", "ip6tables")
            secret |= entry["kind"] == "seed" or "/seed/" in path or path.endswith(".nmconnection")
            assert entry["mode"] == ("0600" if secret else "0644"), path
        order = [manifest["order"].index(entry["kind"]) for entry in manifest["files"]]
        assert order == sorted(order)


def test_filters_stand_behind_what_they_need(tmp_path: Path) -> None:
    assert codes(pipeline.build(EXAMPLE, tmp_path)) == []
    for host in tmp_path.iterdir():
        entries = json.loads((host / "manifest.json").read_text())["files"]
        defined: set[str] = set()
        for entry in (entry["defines"] for entry in entries if entry["kind"] == "nwfilter"):
            own = {name for name in entry.get("needs", ()) if not (EXAMPLE / f"filters/{name}.yaml").exists()}
            assert {name for name in own if name.startswith("kvmgen-")} <= defined
            defined.add(entry["name"])


OURS = b'"generator": "kvmgen"'
BROKEN = {
    "lost": None,
    "in conflict": b"<<<<<<< HEAD\n{" + OURS,
    "deep": OURS + b"[" * 100_000,
    "not utf-8": OURS + b"\xff",
    "another format": b"{" + OURS + b', "files": {"a": 1}}',
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_without_its_manifest_a_file_is_known_by_its_mark(inventory: Path, output: Path, content: bytes | None) -> None:
    """A merge that left its marks in a manifest neither stops a build nor leaves files of a guest that is gone."""
    without_guest(inventory)
    manifest = output / "kvm1/manifest.json"
    manifest.unlink()
    if content is not None:
        manifest.write_bytes(content)
    foreign = output / "kvm1/notes.txt"
    foreign.write_text("mine")
    assert codes(pipeline.build(inventory, output)) == []
    assert not (output / "kvm1/libvirt/domains/web1.xml").exists()
    assert foreign.read_text() == "mine"


@pytest.mark.parametrize("text", ["", "[]", '{"generator": "terraform", "files": []}'])
def test_somebody_elses_manifest_is_refused(inventory: Path, output: Path, text: str) -> None:
    (output / "kvm1/manifest.json").write_text(text)
    refuses(inventory, output, ["KV030"])


@pytest.mark.parametrize(
    "path", ["../../victim", "/etc/passwd", "", ".", "a/../../../victim", "a\x00b", "\ud800", "etc"]
)
def test_a_manifest_leads_nowhere_else(inventory: Path, output: Path, tmp_path: Path, path: str) -> None:
    """Whatever a manifest claims to own, nothing but files of its own host's folder is removed."""
    (tmp_path / "victim").write_text("mine")
    (output / "kvm1/etc/mine").write_text("mine")
    manifest = output / "kvm1/manifest.json"
    content = json.loads(manifest.read_text())
    content["files"].append({"path": path})
    manifest.write_text(json.dumps(content))
    result = pipeline.build(inventory, output)
    assert codes(result) in ([], ["KV030"])
    assert (tmp_path / "victim").read_text() == "mine"
    assert (output / "kvm1/etc/mine").read_text() == "mine"


# What isn't kvmgen's.


def test_a_foreign_file_stays(inventory: Path, output: Path) -> None:
    (output / "README").write_text("mine")
    (output / "kvm1/libvirt/domains/notes.txt").write_text("mine")
    (output / "other").mkdir()
    (output / "other/file").write_text("mine")
    without_host(inventory)
    assert codes(pipeline.build(inventory, output)) == []
    assert {name for name, what in tree(output).items() if what == b"mine"} == {
        "README",
        "kvm1/libvirt/domains/notes.txt",
        "other/file",
    }
    assert not (output / "kvm1/manifest.json").exists()


def test_a_foreign_file_in_the_way_is_refused(inventory: Path, output: Path) -> None:
    path = output / "kvm2/libvirt/domains/web2.xml"
    path.parent.mkdir()
    path.write_text("mine")
    (inventory / "guests/web2.yaml").write_text("hosts: [kvm2]\n")
    result = refuses(inventory, output, ["KV030"])
    assert str(path) in result.diagnostics[0].message


def test_a_folder_in_the_way_of_a_file_is_refused(inventory: Path, output: Path) -> None:
    path = output / "kvm1/libvirt/domains/web1.xml"
    path.unlink()
    path.mkdir()
    (path / "mine").write_text("mine")
    refuses(inventory, output, ["KV030"])
    without_guest(inventory)
    refuses(inventory, output, ["KV030"])


def test_a_file_in_the_way_of_a_folder_is_refused(inventory: Path, output: Path) -> None:
    (inventory / "hosts/kvm3.yaml").write_text("platform: el7\n")
    (output / "kvm3").write_text("mine")
    refuses(inventory, output, ["KV030"])


def test_a_pipe_in_the_way_is_refused(inventory: Path, output: Path) -> None:
    path = output / "kvm1/libvirt/domains/web1.xml"
    path.unlink()
    os.mkfifo(path)
    assert codes(pipeline.build(inventory, output)) == ["KV030"]
    assert stat.S_ISFIFO(path.lstat().st_mode)


LINKS: dict[str, str] = {
    "the output": "",
    "a host's folder": "kvm1",
    "a folder": "kvm1/libvirt",
    "a folder further in": "kvm1/libvirt/domains",
    "a file": "kvm1/libvirt/domains/web1.xml",
    "the manifest": "kvm1/manifest.json",
}


@pytest.mark.parametrize("place", LINKS.values(), ids=LINKS)
@pytest.mark.parametrize("change", [lambda _: None, everything_changes, without_guest], ids=["none", "all", "less"])
def test_symbolic_links_are_never_followed(
    inventory: Path, output: Path, tmp_path: Path, place: str, change: Callable[[Path], None]
) -> None:
    """What they lead to stays as it is, whether the file is to be written, removed or left alone."""
    path, real = output / place, tmp_path / "real"
    path.rename(real)
    path.symlink_to(real)
    change(inventory)
    before = tree(tmp_path)
    result = pipeline.build(inventory, output)
    assert set(codes(result)) <= {"KV031"}
    if place not in ("kvm1", "kvm1/manifest.json") or change is not everything_changes:  # nobody's to remove
        assert codes(result) == ["KV031"]
        assert tree(tmp_path) == before
    assert path.is_symlink()


def test_a_link_in_place_of_the_stage(inventory: Path, output: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (output / writing._STAGE).symlink_to(tmp_path / "real")
    without_guest(inventory)
    assert codes(pipeline.build(inventory, output)) == []
    assert tree(tmp_path / "real") == {}
    assert not (output / writing._STAGE).is_symlink()


# One at a time, on as many cores as there are.


def test_two_builds_at_once(inventory: Path, output: Path) -> None:
    """The second one says so and changes nothing; the lock goes with the process that held it."""
    without_guest(inventory)
    descriptor = os.open(output, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        refuses(inventory, output, ["KV033"])
        assert pipeline.build(inventory, output, write=False).plan.remove  # looking is allowed
    finally:
        os.close(descriptor)
    assert codes(pipeline.build(inventory, output)) == []


def test_many_processes_write_the_same(inventory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "_HOSTS_A_PROCESS", 1)
    monkeypatch.setattr("kvmgen.inventory.read._FILES_A_PROCESS", 1)
    for count, name in ((1, "alone"), (3, "together")):
        monkeypatch.setattr("os.cpu_count", lambda count=count: count)
        assert codes(pipeline.build(EXAMPLE, tmp_path / name)) == []
    assert tree(tmp_path / "alone") == tree(tmp_path / "together")
    (tmp_path / "together/kvm-de/libvirt/domains/vml000010.xml").write_text("mine")
    (tmp_path / "together/kvm-de/manifest.json").write_text("mine")
    assert codes(pipeline.build(EXAMPLE, tmp_path / "together")) == ["KV030", "KV030"]
