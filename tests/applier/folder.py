"""A host's folder made by hand, with the right hashes, and an image of a host to apply it to."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

PROJECT = Path(__file__).parents[2]
APPLIER = PROJECT / "generator/applier/kvmgen_apply.py"
HOST = "kvm01"
ORDER = (
    *("modules", "sysctl", "udev", "link", "firewall", "unit"),
    *("network", "nwfilter", "seed", "domain", "guest-file"),
)

SYSCTL = "etc/sysctl.d/90-kvmgen.conf"
IFCFG = "etc/sysconfig/network-scripts/ifcfg-br0"
MODULES = "etc/modules-load.d/kvmgen-bridge.conf"
FILES: Mapping[str, bytes] = MappingProxyType(
    {
        MODULES: b"br_netfilter\n",
        SYSCTL: b"net.ipv4.ip_forward = 1\n",
        IFCFG: b"DEVICE=br0\nTYPE=Bridge\nONBOOT=yes\n",
    }
)
"""What most tests put."""

_KINDS = (
    ("etc/modules-load.d/", "modules"),
    ("etc/sysctl", "sysctl"),
    ("etc/udev/", "udev"),
    ("etc/sysconfig/ip", "firewall"),
    ("etc/firewalld/", "firewall"),
    ("etc/nftables/", "firewall"),
    ("etc/systemd/", "unit"),
    ("etc/", "link"),
    ("libvirt/networks/", "network"),
    ("libvirt/nwfilters/", "nwfilter"),
    ("libvirt/domains/", "domain"),
    ("guests/", "guest-file"),
    ("var/lib/libvirt/images/", "seed"),
)


def entry_of(path: str, content: bytes, **more: Any) -> dict[str, Any]:
    """The manifest's entry of a file; `more` replaces what it says."""
    kind = next(kind for start, kind in _KINDS if path.startswith(start))
    mode = "0600" if path.endswith(".nmconnection") else "0644"  # NetworkManager passes over any other
    return {"path": path, "sha256": hashlib.sha256(content).hexdigest(), "mode": mode, "kind": kind, **more}


def manifest_of(entries: Iterable[Mapping[str, Any]], **more: Any) -> dict[str, Any]:
    """A manifest; `more` replaces what it says."""
    said = {"generator": "kvmgen", "format": 1, "site": "test", "host": HOST, "platform": "el8", "order": list(ORDER)}
    ordered = sorted(entries, key=lambda entry: ORDER.index(entry["kind"]))
    return {**said, "files": [dict(entry) for entry in ordered], **more}


def files_of(contents: Mapping[str, bytes], **more: Any) -> dict[str, bytes]:
    """A folder's files with their manifest, by path."""
    manifest = manifest_of([entry_of(path, content) for path, content in contents.items()], **more)
    return {**contents, "manifest.json": json.dumps(manifest).encode()}


def archive_of(files: Mapping[str, bytes], *more: tarfile.TarInfo) -> bytes:
    """A tar archive of files, as `tar c -C FOLDER .` makes it, and more members behind them."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for path, content in files.items():
            archive.addfile(member(f"./{path}", size=len(content)), io.BytesIO(content))
        for one in more:
            archive.addfile(one, io.BytesIO(bytes(one.size)))
    return stream.getvalue()


def member(name: str, **values: Any) -> tarfile.TarInfo:
    """A member of an archive."""
    found = tarfile.TarInfo(name)
    for key, value in values.items():
        setattr(found, key, value)
    return found


def applier_module() -> Any:
    """The applier as a module, for what is no command."""
    spec = importlib.util.spec_from_file_location("kvmgen_apply", APPLIER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Image:
    """The root of a host that doesn't run, and a folder for it."""

    def __init__(self, place: Path) -> None:
        self.root = place / "root"
        self.folder = place / "folder"
        (self.root / "etc").mkdir(parents=True)
        self.folder.mkdir()
        self.python = [sys.executable, "-I"]
        self.applier = APPLIER
        self.environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}

    def offer(self, contents: Mapping[str, bytes] = FILES, **more: Any) -> None:
        """Make the folder anew with these files."""
        for path in sorted(self.folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        for name, content in files_of(contents, **more).items():
            put(self.folder / name, content)

    def command(self, *words: str) -> list[str]:
        """The command line of a run."""
        asks = [word for word in ("plan", "apply") if word in words]
        host = ["--host", HOST] if asks and "--host" not in words else []
        return [*self.python, str(self.applier), "--root", str(self.root), *words, *host]

    def run(self, *words: str, stdin: bytes = b"", command: Iterable[str] = ()) -> subprocess.CompletedProcess[str]:
        """Run the applier; its exit code and what it told."""
        argv = [*command, *self.command(*words)]
        done = subprocess.run(argv, input=stdin, capture_output=True, check=False, timeout=60, env=self.environment)
        told = (text.decode("utf-8", "surrogateescape") for text in (done.stdout, done.stderr))
        return subprocess.CompletedProcess(argv, done.returncode, *told)

    def expect(self, code: int, *words: str, stdin: bytes = b"") -> str:
        """Run the applier and hold it to an exit code; what it told."""
        done = self.run(*words, stdin=stdin)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr or code == 6
        return done.stdout + done.stderr

    def apply(self, *words: str, code: int = 0) -> str:
        """Apply the folder; what it told."""
        return self.expect(code, "apply", str(self.folder), *words)

    def as_json(self, code: int, *words: str) -> Any:
        """Run the applier with --json; what it told as data."""
        done = self.run("--json", *words)
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)

    def read(self, path: str) -> bytes:
        """A file of the host."""
        return (self.root / path).read_bytes()

    def write(self, path: str, content: bytes, mode: int = 0o644) -> Path:
        """Write a file of the host as somebody else would."""
        return put(self.root / path, content, mode)

    def state(self) -> dict[str, Any]:
        """Everything on the host but what the applier remembers: kind, mode, owner and content by path."""
        remembered = self.root / "var"
        found = {}
        for place, folders, names in os.walk(self.root):
            for path in (Path(place, name) for name in (*folders, *names)):
                if path != remembered and remembered not in path.parents:
                    found[str(path.relative_to(self.root))] = _state_of(path)
        return found


def eventually(is_so: Callable[[], object]) -> None:
    """Wait for something that takes its time."""
    for _ in range(600):
        if is_so():
            return
        time.sleep(0.05)
    raise AssertionError("it never happened")


def put(path: Path, content: bytes, mode: int = 0o644) -> Path:
    """Write a file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    return path


def _state_of(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    content: object = None
    if stat.S_ISREG(status.st_mode):
        content = path.read_bytes()
    elif stat.S_ISLNK(status.st_mode):
        content = os.readlink(path)
    return status.st_mode, status.st_uid, status.st_gid, content
