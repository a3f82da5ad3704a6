"""Real faults in the middle of an apply of the example on a real libvirtd, with guests running; and a few of all.

After each of them libvirt holds what it held before, or what was applied: to the letter, persistent and live.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.applier.folder import APPLIER, PROJECT
from tests.applier.run import HOST, LONG, Managed
from tests.lab.host import LabHost

pytestmark = pytest.mark.real

NAT, LAN = "es-nat01", "es-lan01"
ROLLED_BACK, STUCK = 4, 5
MIDDLE = 4
"""The command, of those that change something, that is broken."""

VIRSH = r"""#!/bin/sh
for word; do
    case $word in define | undefine | start | destroy | autostart | *-define | *-undefine | *-start | *-destroy | \
        *-autostart | net-update | update-device)
        echo "$word" >>/run/lab/commands
        [ "$(wc -l </run/lab/commands)" != %d ] || . /run/lab/fault
        break ;;
    esac
done
exec /usr/bin/virsh "$@"
"""
KILL_APPLIER = "kill -9 $PPID; exit 1\n"
KILL_LIBVIRTD = "kill -9 $(cat /run/lab/libvirtd.pid)\n"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Managed]:
    """A host to which the example is applied, with two guests running."""
    with LabHost(HOST) as lab:
        lab.start_libvirtd()
        lab.add_bridge("br0")
        managed = Managed(lab, tmp_path_factory.mktemp("managed"))
        managed.apply(managed.base)
        managed.start(NAT, LAN)
        lab.run("mkdir", "-p", "/run/lab/bin")
        lab.write("/run/lab/bin/virsh", VIRSH % MIDDLE, 0o755)
        yield managed


@pytest.fixture
def before(host: Managed) -> Iterator[dict[str, str]]:
    """What libvirt holds before; afterwards the guests' taps are where they were."""
    taps = host.taps()
    yield host.dumps()
    assert host.taps() == taps


@pytest.fixture(scope="module")
def changed(host: Managed) -> Path:
    """A folder that changes something of every kind, live and not, and makes and removes a guest."""
    host.edit("networks/default.yaml", "122.2-192.168.122.254", "122.50-192.168.122.254")
    host.edit("guests/es-nat01.yaml", "192.168.122.10/24", "192.168.122.11/24")
    host.edit("guests/es-lan01.yaml", "hosts: [kvm-es]", "hosts: [kvm-es]\nmemory: 2 GiB")
    host.drop("guests/es-routed01.yaml")
    return host.built()


def broken(host: Managed, folder: Path, fault: str) -> subprocess.Popen[str]:
    """An apply that meets a fault in its middle."""
    host.lab.run("rm", "-f", "/run/lab/commands")
    host.lab.write("/run/lab/fault", fault)
    argv = ("env", "PATH=/run/lab/bin:/usr/sbin:/usr/bin:/sbin:/bin", "python3", "-I", str(APPLIER))
    return host.lab.spawn(*argv, "apply", str(folder), timeout=LONG)


def end_of(host: Managed, process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code and what was told; the fault was met."""
    told = process.communicate(timeout=LONG)[0]
    assert len(host.lab.file("/run/lab/commands").read_text().splitlines()) >= MIDDLE
    return process.returncode, told


def test_libvirtd_is_killed(host: Managed, changed: Path, before: dict[str, str]) -> None:
    code, told = end_of(host, broken(host, changed, KILL_LIBVIRTD))
    assert (code, "the rollback failed" in told) == (STUCK, True), told
    assert "the rollback failed" in host.run(STUCK, "status")
    host.lab.start_libvirtd()
    assert "what was cut off is rolled back: the host is at generation" in host.run(0, "rollback")
    assert host.dumps() == before


def test_libvirtd_is_killed_and_the_applier_with_it(host: Managed, changed: Path, before: dict[str, str]) -> None:
    end_of(host, broken(host, changed, KILL_LIBVIRTD + KILL_APPLIER))
    host.lab.start_libvirtd()
    assert "what was cut off is rolled back: the host is at generation" in host.run(0, "status")
    assert host.dumps() == before


def test_libvirt_refuses_the_last_definition(host: Managed, changed: Path, before: dict[str, str]) -> None:
    manifest = json.loads((changed / "manifest.json").read_text())
    last = [entry for entry in manifest["files"] if entry["kind"] == "domain"][-1]
    file = changed / last["path"]
    good = file.read_text()
    file.write_text(re.sub("machine=[\"'][^\"']+", 'machine="no-such', good))
    told = host.run(ROLLED_BACK, "apply", str(with_hash(changed, last["path"])))
    file.write_text(good)
    with_hash(changed, last["path"])
    assert "Failed to define domain" in told
    assert "Everything is as it was before" in told
    assert host.dumps() == before


def with_hash(folder: Path, path: str) -> Path:
    """The folder with a manifest that has a file as it is now."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for entry in manifest["files"]:
        if entry["path"] == path:
            entry["sha256"] = hashlib.sha256((folder / path).read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_what_only_a_real_libvirtd_shows() -> None:
    """It dies at work, stands still, starts anew: a few of what `python -m tests.applier.faults --real` tries."""
    faults = "(kill|dies|stop|restart|hangs after) .*(net-update|nwfilter-define)"
    words = ("--real", "--way", "that changes", "--only", faults, "--sample", "1")
    argv = [sys.executable, "-m", "tests.applier.faults", *words]
    done = subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, timeout=LONG, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 faults tried on a real libvirtd, 0 tore the host" in done.stdout
