"""Folders that are missing or closed, links that lead in circles, full disks, and builds that meet each other."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sites import SMALL, tree, write
from tests.test_bad_input import LONGEST_LINE, wrong_files
from tests.test_cli import GENERATOR, run, started

ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(GENERATOR)}
KVMGEN = (sys.executable, "-m", "kvmgen")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small site and its output, in the current folder."""
    write(tmp_path / "inventory", SMALL)
    monkeypatch.chdir(tmp_path)
    assert run("build")[0] == 0
    return tmp_path


def refused(site: Path, *arguments: str | Path) -> str:
    """What a build says that must fail and change nothing."""
    before = tree(site / "output")
    code, out, err = run("build", *arguments)
    assert (code, out) == (1, ""), err
    assert_told(err)
    assert tree(site / "output") == before
    return err


def assert_told(err: str) -> None:
    """Errors with codes and hints, each on a line that people can read, and no trace of a bug."""
    assert "Traceback" not in err
    lines = err.splitlines()
    assert all(line.isprintable() and len(line) < LONGEST_LINE for line in lines)
    errors = [line for line in lines if "error KV" in line]
    assert errors
    assert len([line for line in lines if line.startswith("  hint: ")]) == len(errors)


# Names.

NAMES: dict[str, tuple[str, str]] = {
    "a command": ("guests/$(touch pwned).yaml", "KV006"),
    "an option": ("guests/--flush.yaml", "KV006"),
    "a line": ("guests/a\nb.yaml", "KV006"),
    "a colour": ("guests/\x1b[31m.yaml", "KV006"),
    "look-alike letters": ("guests/w\u0435b.yaml", "KV006"),
    "other digits": ("guests/web\u0661.yaml", "KV006"),
    "turned round": ("guests/a\u202eb.yaml", "KV006"),
    "quotes": ("guests/'\".yaml", "KV006"),
    "a variable": ("guests/$IP.yaml", "KV006"),
    "markup": ("guests/<x>&.yaml", "KV006"),
    "as long as a file system takes": (f"guests/{'x' * 250}.yaml", "KV006"),
    "no name": ("guests/ .yaml", "KV006"),
    "no UTF-8": ("guests/\udcff.yaml", "KV006"),
    "another case": ("guests/web2.YAML", "KV005"),
    "no UTF-8 at the top": ("\udcff", "KV005"),
    "a colour at the top": ("\x1b[31m.yaml", "KV005"),
}


@pytest.mark.parametrize(("name", "code"), NAMES.values(), ids=NAMES)
def test_a_strange_name_is_told(site: Path, name: str, code: str) -> None:
    (site / "inventory" / name).write_text("hosts: [kvm1]\n")
    assert f":1:1: error {code}: " in refused(site)


ARGUMENTS: dict[str, tuple[list[str], str]] = {
    "an inventory that is a file": (["-i", "inventory/site.yaml"], "KV007"),
    "an inventory that isn't there": (["-i", "nothing"], "KV007"),
    "an inventory that is a device": (["-i", "/dev/null"], "KV007"),
    "no inventory": (["-i", ""], "KV007"),
    "an inventory with a colour": (["-i", "\x1b[31m"], "KV007"),
    "an output that is a file": (["-o", "inventory/site.yaml"], "KV032"),
    "an output that is a device": (["-o", "/dev/full"], "KV032"),
    "an output within a file": (["-o", "inventory/site.yaml/x"], "KV032"),
    "the inventory as output": (["-o", "inventory"], "KV032"),
    "an output in the inventory": (["-o", "inventory/../inventory/hosts/x"], "KV032"),
    "an output in the kernel": (["-o", "/proc/kvmgen"], "KV032"),
    "a host's way up": (["--host", "../kvm1"], "KV034"),
    "a host's colour": (["--host", "\x1b[31m"], "KV034"),
    "no host": (["--host", ""], "KV034"),
}


@pytest.mark.parametrize(("arguments", "code"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_a_strange_argument_is_told(site: Path, arguments: list[str], code: str) -> None:
    assert f"error {code}: " in refused(site, *arguments)


# What is no file, or can't be read.


def _link(path: Path, target: Path | str) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


STRANGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a file that is itself": (lambda root: _link(root / "guests/web2.yaml", "web2.yaml"), "guests/web2.yaml:1:1"),
    "a file that leads nowhere": (lambda root: _link(root / "guests/web2.yaml", "nothing"), "guests/web2.yaml:1:1"),
    "a file from elsewhere": (lambda root: _link(root / "guests/web2.yaml", "/etc/passwd"), "guests/web2.yaml:1:1"),
    "a folder from elsewhere": (lambda root: _link(root / "filters", "/etc"), "filters:1:1"),
    "a file that never ends": (lambda root: _link(root / "guests/web2.yaml", "/dev/zero"), "guests/web2.yaml:1:1"),
    "a pipe": (lambda root: os.mkfifo(root / "guests/web2.yaml"), "guests/web2.yaml:1:1"),
    "a folder": (lambda root: (root / "guests/web2.yaml").mkdir(), "guests/web2.yaml:1:1"),
    "a folder that is itself": (lambda root: _link(root / "filters", "filters"), "filters:1:1"),
    "a folder that leads back": (lambda root: _link(root / "guests/all", "."), "guests/all:1:1"),
    "a folder that is a file": (lambda root: (root / "filters").write_text(""), "filters:1:1"),
    "a site that is itself": (lambda root: _link(root / "site.yaml", "site.yaml"), "error KV007"),
    "a site that is a folder": (lambda root: _link(root / "site.yaml", "guests"), "error KV007"),
    "an inventory that is itself": (lambda root: _link(root, "inventory"), "error KV007"),
}


@pytest.mark.parametrize(("make", "told"), STRANGE.values(), ids=STRANGE)
def test_what_is_no_file_is_told(site: Path, make: Callable[[Path], object], told: str) -> None:
    make(site / "inventory")
    assert told in refused(site)


def test_a_huge_file_is_not_read(site: Path) -> None:
    (site / "inventory/guests/web2.yaml").touch()
    os.truncate(site / "inventory/guests/web2.yaml", 100 * 1024**3)
    start = time.monotonic()
    _, _, err = run("build")
    assert wrong_files(err, Path("inventory")) == {"guests/web2.yaml"}
    assert "larger than 4 MiB" in err
    assert time.monotonic() - start < 5


def as_anybody(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command without the privilege of reading and writing whatever it likes."""
    drop = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    return subprocess.run(
        [*drop, *KVMGEN, *arguments], env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=60
    )


def test_what_may_not_be_read_is_told(site: Path) -> None:
    """Files and folders of the inventory, all in one run; then its site file, then itself."""
    inventory = site / "inventory"
    write(inventory, {"guests/web2.yaml": "hosts: [kvm1]\n", "filters/web.yaml": "rules: []\n"})
    closed = [inventory / "guests/web2.yaml", inventory / "filters"]
    before = tree(site / "output")
    for path in closed:
        path.chmod(0)
    done = as_anybody("build")
    assert (done.returncode, done.stdout) == (1, "")
    assert wrong_files(done.stderr, Path("inventory")) == {"guests/web2.yaml", "filters"}
    assert done.stderr.count("KV001") == len(closed)
    for path in (inventory / "site.yaml", inventory):
        path.chmod(0)
        done = as_anybody("build")
        assert (done.returncode, done.stdout) == (1, "")
        assert_told(done.stderr)
        assert "site.yaml" in done.stderr
        assert "Permission denied" in done.stderr
    assert tree(site / "output") == before
    inventory.chmod(0o755)


@pytest.mark.parametrize("mode", [0o000, 0o500], ids=["closed", "read-only"])
@pytest.mark.parametrize("place", ["output", "output/kvm1", "output/kvm1/libvirt/domains"])
def test_an_output_that_may_not_be_written_stays_whole(site: Path, place: str, mode: int) -> None:
    before = tree(site / "output")
    (site / "inventory/guests/web1.yaml").unlink()
    (site / place).chmod(mode)
    done = as_anybody("build")
    (site / place).chmod(0o755)
    assert (done.returncode, done.stdout) == (1, "")
    assert_told(done.stderr)
    assert set(re_codes(done.stderr)) == {"KV032"}
    assert "the output is as it was" in done.stderr
    assert tree(site / "output") == before


def re_codes(err: str) -> list[str]:
    return [line.partition("error ")[2][:5] for line in err.splitlines() if "error KV" in line]


# Disks and other builds.

FULL = """
mount -t tmpfs -o size=256k tmpfs "$1" && cp -a output "$1/output" && rm -r inventory/guests
printf 'firewall:\n  direct:\n' >> inventory/hosts/kvm1.yaml
rule='- {family: both, chain: FORWARD, priority: %g, rule: "-i br0 -p tcp --dport %g -j DROP"}'
seq 3000 | while read -r n; do printf "    $rule\n" "$n" "$n"; done >> inventory/hosts/kvm1.yaml
"""
READ_ONLY = """
mount -t tmpfs tmpfs "$1" && cp -a output "$1/output" && rm -r inventory/guests && mount -o remount,ro "$1"
"""


@pytest.mark.real
@pytest.mark.parametrize(
    ("prepare", "reason"), [(FULL, "No space left"), (READ_ONLY, "Read-only")], ids=["full", "read-only"]
)
def test_a_disk_that_takes_nothing(site: Path, prepare: str, reason: str) -> None:
    """The old output is there byte for byte, and nothing else: no stage, no half of a file."""
    (site / "disk").mkdir()
    build = '"$2" -m kvmgen build -o "$1/output"; echo "code $?"; diff -r output "$1/output" && ls -A "$1"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f"{prepare}\n{build}", "sh", "disk", sys.executable],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout == "code 1\noutput\n", done.stderr
    assert_told(done.stderr)
    assert reason in done.stderr
    assert "the output is as it was" in done.stderr


def test_builds_that_start_together(site: Path) -> None:
    """Each does all of it or says that another one does; what is there in the end is right."""
    shutil.rmtree(site / "output")
    command = [*KVMGEN, "build"]
    builds = [subprocess.Popen(command, env=ENVIRONMENT, stdout=-1, stderr=-1, text=True) for _ in range(4)]
    outcomes = [(build.communicate(timeout=60)[1], build.returncode) for build in builds]
    assert any(code == 0 for _, code in outcomes)
    for err, code in outcomes:
        assert re_codes(err) == ([] if code == 0 else ["KV033"]), err
    assert started("build", "--check", cwd=site).returncode == 0
    assert sorted(path.name for path in (site / "output").iterdir()) == ["kvm1", "kvm2"]
