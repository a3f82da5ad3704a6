"""Nothing that isn't kvmgen's, whole and for this host, is used; and nothing is put where it doesn't belong.

Every refusal is told before anything changes.
"""

from __future__ import annotations

import copy
import gzip
import json
import os
import shutil
import socket
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from tests.applier.folder import (
    FILES,
    IFCFG,
    MODULES,
    PROJECT,
    SYSCTL,
    Image,
    applier_module,
    archive_of,
    entry_of,
    files_of,
    manifest_of,
    member,
    put,
)

kvmgen_apply = applier_module()

NETWORK = "libvirt/networks/lab.xml"
UUID = "c0ffee00-0000-5000-8000-000000000001"
NETWORK_XML = f"<!-- kvmgen --><network><name>lab</name><uuid>{UUID}</uuid></network>".encode()
LAB = {"name": "lab", "uuid": UUID, "autostart": True}


@pytest.fixture
def image(tmp_path: Path) -> Image:
    found = Image(tmp_path)
    found.offer()
    return found


def assert_refused(image: Image, says: str, *words: str, stdin: bytes = b"") -> None:
    """An apply and a plan are refused with 1, say why in one line, and change nothing."""
    before = image.state()
    for command in ("plan", "apply"):
        done = image.run(command, *(words or [str(image.folder)]), stdin=stdin)
        assert (done.returncode, done.stdout) == (1, ""), done.stderr
        assert says in done.stderr
        assert done.stderr.startswith("kvmgen-apply: ")
        assert done.stderr.count("\n") == 1
    assert image.state() == before


# -- the folder --------------------------------------------------------------------------------------------------------


def device(path: Path) -> None:
    os.mkfifo(path) if os.geteuid() else os.mknod(path, 0o020666, os.makedev(1, 5))  # /dev/zero


def listener(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def replaced(path: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    """A spoiler that puts something else in a file's place."""

    def spoil(folder: Path) -> None:
        (folder / path).unlink()
        make(folder / path)

    return spoil


def folder_behind_a_link(folder: Path) -> None:
    (folder / "etc").rename(folder.parent / "elsewhere")
    (folder / "etc").symlink_to(folder.parent / "elsewhere")


def huge(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(kvmgen_apply.LIMIT + 1)


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "another hash": (
        lambda folder: (folder / SYSCTL).write_bytes(b"net.ipv4.ip_forward = 0\n"),
        "isn't what the manif",
    ),
    "a file that is missing": (lambda folder: (folder / SYSCTL).unlink(), "90-kvmgen.conf is missing"),
    "a file more": (lambda folder: put(folder / "etc/x", b""), "doesn't name 'etc/x'"),
    "a strange name": (lambda folder: put(folder / "etc/ä\n\x1b\udcff", b""), r"doesn't name 'etc/\xe4\n\x1b\udcff'"),
    "a link": (replaced(SYSCTL, lambda path: path.symlink_to("/etc/hostname")), "no plain file"),
    "a link to nowhere": (replaced(SYSCTL, lambda path: path.symlink_to("nowhere")), "no plain file"),
    "a folder behind a link": (folder_behind_a_link, "is a link"),
    "a link beside": (lambda folder: (folder / "loop").symlink_to("."), "is a link"),
    "a pipe": (replaced(SYSCTL, os.mkfifo), "no plain file"),
    "a socket": (replaced(SYSCTL, listener), "no plain file"),
    "a device": (replaced(SYSCTL, device), "no plain file"),
    "a folder": (replaced(SYSCTL, os.mkdir), "90-kvmgen.conf is missing"),
    "a huge file": (replaced(SYSCTL, huge), "too large"),
    "no manifest": (lambda folder: (folder / "manifest.json").unlink(), "there is no manifest.json"),
    "a link as manifest": (replaced("manifest.json", lambda path: path.symlink_to("/dev/stdin")), "no plain file"),
    "a pipe as manifest": (replaced("manifest.json", os.mkfifo), "no plain file"),
    "an empty manifest": (replaced("manifest.json", lambda path: put(path, b"")), "can't be read"),
    "a binary manifest": (replaced("manifest.json", lambda path: put(path, b"\xff\xfe{")), "can't be read"),
    "a deep manifest": (replaced("manifest.json", lambda path: put(path, b"[" * 200_000)), "can't be read"),
    "a key twice": (replaced("manifest.json", lambda path: put(path, b'{"host": "a", "host": "b"}')), "stands twice"),
    "no folder": (shutil.rmtree, "No such file or directory"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_folder_is_refused(image: Image, name: str) -> None:
    spoil, says = SPOILT[name]
    spoil(image.folder)
    assert_refused(image, says)


def test_what_is_verified_is_what_is_put(image: Image) -> None:
    files = kvmgen_apply.files_in_folder(str(image.folder))
    shutil.rmtree(image.folder)
    assert kvmgen_apply.Folder(files).contents == dict(FILES)


# -- the manifest ------------------------------------------------------------------------------------------------------


def of_network(content: bytes = NETWORK_XML, path: str = NETWORK, **more: Any) -> tuple[dict[str, bytes], list[Any]]:
    """The files and entries of a folder with a network; `more` replaces what its entry says."""
    said = {"defines": LAB, **more}
    return {path: content}, [{**entry_of(path, content), **said}]


def spoilt_network(says: str, *arguments: Any, **more: Any) -> tuple[dict[str, bytes], list[Any], str]:
    return *of_network(*arguments, **more), says


def spoilt_file(says: str, path: str = SYSCTL, **more: Any) -> tuple[dict[str, bytes], list[Any], str]:
    return {path: b""}, [entry_of(path, b"", **more)], says


WRONG: dict[str, tuple[dict[str, bytes], list[Any], str]] = {
    "leads up": spoilt_file("manifest.files[0].path is 'etc/../../x'", "etc/../../x"),
    "absolute": ({}, [{**entry_of("etc/x", b""), "path": "/etc/x"}], "manifest.files[0].path is '/etc/x'"),
    "hidden": spoilt_file("manifest.files[0].path is 'etc/.x'", "etc/.x"),
    "ends in a newline": spoilt_file("manifest.files[0].path is", "etc/sysctl.d/a.conf\n"),
    "another place": spoilt_file("etc/shadow is no place for the kind sysctl", "etc/shadow", kind="sysctl"),
    "another kind": spoilt_file("is no place for the kind link", kind="link"),
    "a file as a network": spoilt_file("is no place for the kind network", kind="network", defines=LAB),
    "an unknown kind": ({}, [{**entry_of(SYSCTL, b""), "kind": "shell"}], "manifest.files[0].kind is 'shell'"),
    "set-user-ID": spoilt_file("manifest.files[0].mode is '04755'", mode="04755"),
    "a mode that is a number": spoilt_file("manifest.files[0].mode is 420", mode=0o644),
    "a hash in capitals": spoilt_file("manifest.files[0].sha256 is", sha256="A" * 64),
    "a needless object": spoilt_file("has a needless `defines`", defines=LAB),
    "a key more": spoilt_file("has 'owner', which this program doesn't know", owner="root"),
    "a key less": ({}, [{"path": SYSCTL, "kind": "sysctl", "mode": "0644"}], "manifest.files[0] has no sha256"),
    "a file twice": ({SYSCTL: b""}, [entry_of(SYSCTL, b"")] * 2, "stands in the manifest twice"),
    "no object": ({NETWORK: NETWORK_XML}, [entry_of(NETWORK, NETWORK_XML)], "has no `defines`"),
    "an empty object": spoilt_network("manifest.files[0].defines has no name", defines={}),
    "an option of virsh as a name": spoilt_network("defines.name is '--all'", defines={**LAB, "name": "--all"}),
    "an autostart that is a word": spoilt_network("autostart is 'no', no bool", defines={**LAB, "autostart": "no"}),
    "another name": spoilt_network("another object than the manifest", defines={**LAB, "name": "prod"}),
    "another UUID": spoilt_network("another object than the manifest", defines={**LAB, "uuid": UUID[:-1] + "2"}),
    "a domain as a network": spoilt_network("another object", NETWORK_XML.replace(b"network>", b"domain>")),
    "a network as a filter": spoilt_network("another object", path="libvirt/nwfilters/lab.xml"),
    "no XML": spoilt_network("is no XML", b"<network>"),
    "a DTD": spoilt_network("has a DTD", b'<!DOCTYPE x [<!ENTITY a "b">]>' + NETWORK_XML),
    "not UTF-8": spoilt_network("is no XML", b"\xff" + NETWORK_XML),
    "an object twice": (
        {NETWORK: NETWORK_XML, "libvirt/networks/b.xml": NETWORK_XML},
        [*of_network()[1], *of_network(path="libvirt/networks/b.xml")[1]],
        "network/lab stands in the manifest twice",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_entry_is_refused(image: Image, name: str) -> None:
    contents, entries, says = WRONG[name]
    image.offer()
    files = {**contents, "manifest.json": json.dumps(manifest_of([entry_of(MODULES, b"")], files=entries)).encode()}
    with pytest.raises(kvmgen_apply.Problem) as refused:
        kvmgen_apply.Folder(files)
    assert says in str(refused.value)
    assert_refused(image, says, "-", stdin=archive_of(files))


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"generator": "somebody"}, "isn't kvmgen's"),
        ({"format": 2}, "has format 2, and this program reads 1"),
        ({"format": True}, "manifest.format is True, no int"),
        ({"format": [[[["x" * 100_000]]]]}, "has format [[[["),
        ({"host": "kvm02"}, "the folder is for kvm02, and this is kvm01"),
        ({"host": "KVM 01"}, "manifest.host is 'KVM 01'"),
        ({"files": {}}, "manifest.files is no list"),
        ({"files": [1]}, "manifest.files[0] is no object"),
        ({"secret": 1}, "has 'secret', which this program doesn't know"),
    ],
)
def test_another_manifest_is_refused(image: Image, more: dict[str, Any], says: str) -> None:
    image.offer(**more)
    assert_refused(image, says)


def test_a_folder_for_another_host_is_refused_unless_this_one_is_said_to_be_it(image: Image) -> None:
    image.offer(host="nowhere")
    assert "--host says otherwise" in image.apply(code=1)
    image.apply("--host", "nowhere.example.org")


SCHEMAS: Mapping[str, Any] = {
    file.name: json.loads(file.read_text()) for file in (PROJECT / "schemas").glob("*.schema.json")
}
REGISTRY: Any = Registry().with_resources(
    (f"https://test/{name}", DRAFT202012.create_resource({**schema, "$id": f"https://test/{name}"}))
    for name, schema in SCHEMAS.items()
)
SCHEMA = Draft202012Validator({"$ref": "https://test/manifest.schema.json"}, registry=REGISTRY)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from([*FILES, "0644"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A manifest in which one place is something else, is gone, or has something beside it."""
    whole = [manifest_of([entry_of(path, content) for path, content in FILES.items()] + of_network()[1])]
    holder: Any = whole
    key: Any = 0
    while isinstance(holder[key], dict | list) and holder[key] and draw(st.integers(0, 4)):
        holder = holder[key]
        key = draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
    change = draw(st.sampled_from(["replace", "remove", "add"]))
    if change == "remove" and holder is not whole:
        del holder[key]
    elif change == "add" and isinstance(holder, dict):
        holder[draw(st.text(max_size=8) | st.sampled_from(["defines", "validate", "needs", "images"]))] = draw(VALUES)
    else:
        holder[key] = draw(VALUES)
    return copy.deepcopy(whole[0])


@settings(max_examples=400, deadline=None)
@given(mutated() | VALUES)
def test_whatever_the_manifest_holds_is_refused_or_good_by_its_schema(manifest: Any) -> None:
    contents = {**FILES, NETWORK: NETWORK_XML}
    try:
        kvmgen_apply.Folder({**contents, "manifest.json": json.dumps(manifest).encode()})
    except kvmgen_apply.Problem:
        return
    SCHEMA.validate(manifest)


@pytest.mark.parametrize("folder", sorted((PROJECT / "output").glob("*/")), ids=lambda folder: folder.name)
def test_what_kvmgen_builds_is_taken(folder: Path) -> None:
    assert kvmgen_apply.Folder(kvmgen_apply.files_in_folder(str(folder))).host == folder.name


# -- an archive --------------------------------------------------------------------------------------------------------

WHOLE = files_of(FILES)


def negative(data: bytes) -> bytes:
    """The same archive, but its first member has the size -512, in base 256."""
    field = (256**12 - 512).to_bytes(12, "big")
    header = bytearray(data[:512])
    header[124:136] = field
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data[512:]


ARCHIVES: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "stdin is no tar archive"),
    "rubbish": (lambda: b"#!/bin/sh\n" * 1000, "stdin is no tar archive"),
    "compressed": (lambda: gzip.compress(archive_of(WHOLE)), "stdin is no tar archive"),
    "cut off": (lambda: archive_of(WHOLE)[:700], "stdin is no tar archive"),
    "cut off between members": (lambda: archive_of(WHOLE)[:1024] + bytes(1024), "there is no manifest.json"),
    "a negative size": (lambda: negative(archive_of(WHOLE)), ""),  # as its Python reads it
    "a link": (lambda: archive_of(WHOLE, member("etc/x", type=tarfile.SYMTYPE, linkname="/")), "has 'etc/x', which is"),
    "a hard link": (lambda: archive_of(WHOLE, member("x", type=tarfile.LNKTYPE, linkname=SYSCTL)), "has 'x', which is"),
    "a device": (lambda: archive_of(WHOLE, member("x", type=tarfile.CHRTYPE)), "has 'x', which is no plain file"),
    "a pipe": (lambda: archive_of(WHOLE, member("x", type=tarfile.FIFOTYPE)), "has 'x', which is no plain file"),
    "a file twice": (lambda: archive_of(WHOLE, member(SYSCTL)), "no plain file or there twice"),
    "an absolute path": (lambda: archive_of(WHOLE, member("/etc/x")), "doesn't name '/etc/x'"),
    "a path that leads up": (lambda: archive_of(WHOLE, member("../x")), "doesn't name '../x'"),
    "a path that leads up and back": (lambda: archive_of(WHOLE, member("etc/../etc/x")), "doesn't name 'etc/../etc/x'"),
    "a bomb": (lambda: archive_of(WHOLE) + bytes(kvmgen_apply.LIMIT), "the archive is too large"),
    "a bomb that only says so": (
        lambda: archive_of(WHOLE)[:-10240] + member("x", size=1 << 40).tobuf(),
        "the archive says that it holds more than",
    ),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_spoilt_archive_is_refused(image: Image, name: str) -> None:
    make, says = ARCHIVES[name]
    assert_refused(image, says, "-", stdin=make())


def test_an_archive_is_applied_from_stdin(image: Image) -> None:
    image.expect(0, "apply", "-", stdin=archive_of(WHOLE, member("./etc", type=tarfile.DIRTYPE)))
    assert {path: image.read(path) for path in FILES} == dict(FILES)


# -- the host's side ---------------------------------------------------------------------------------------------------


def instead(path: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Something else where a file should go."""

    def prepare(root: Path) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        make(root / path)

    return prepare


def full_folder(path: Path) -> None:
    put(path / "inside", b"")


HOSTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a link": (instead(SYSCTL, lambda path: path.symlink_to("/etc/hostname")), "is there and no plain file"),
    "a link to nowhere": (instead(SYSCTL, lambda path: path.symlink_to("nowhere")), "is there and no plain file"),
    "a folder": (instead(SYSCTL, full_folder), "is there and no plain file"),
    "a pipe": (instead(SYSCTL, os.mkfifo), "is there and no plain file"),
    "a socket": (instead(SYSCTL, listener), "is there and no plain file"),
    "a device": (instead(SYSCTL, device), "is there and no plain file"),
    "a way out": (instead("etc/sysctl.d", lambda path: path.symlink_to("/tmp")), "leads out of"),
    "a relative way out": (instead("etc/sysctl.d", lambda path: path.symlink_to("../../..")), "leads out of"),
    "a way that is no folder": (instead("etc/sysctl.d", lambda path: put(path, b"")), "is there and no folder"),
}


@pytest.mark.parametrize("name", HOSTS)
def test_what_is_in_the_way_is_told_before_anything_changes(image: Image, name: str) -> None:
    prepare, says = HOSTS[name]
    prepare(image.root)
    assert_refused(image, says)


def test_a_link_that_stays_inside_is_followed(image: Image) -> None:
    (image.root / "etc/other").mkdir()
    (image.root / "etc/sysctl.d").symlink_to("other")
    image.apply()
    assert image.read("etc/other/90-kvmgen.conf") == FILES[SYSCTL]


@pytest.mark.real
@pytest.mark.parametrize("place", ["etc/sysctl.d", SYSCTL])
def test_what_is_read_only_is_told_before_anything_changes(image: Image, place: str) -> None:
    image.write(SYSCTL, FILES[SYSCTL])
    image.apply()
    image.offer({**FILES, SYSCTL: b"net.ipv4.ip_forward = 0\n", IFCFG: b"DEVICE=br0\n"})
    before = image.state()
    script = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    read_only = ["unshare", "--mount", "sh", "-c", script, str(image.root / place)]
    done = image.run("apply", str(image.folder), command=read_only)
    assert (done.returncode, image.state()) == (1, before), done.stderr
    assert "can't be written: it is read-only" in done.stderr


def test_folders_on_the_way_are_made_for_everybody(image: Image) -> None:
    image.apply()
    assert (image.root / "etc/sysctl.d").stat().st_mode & 0o777 == 0o755
    assert (image.root / "var/lib/kvmgen").stat().st_mode & 0o777 == 0o700
