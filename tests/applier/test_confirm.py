"""What nobody confirms goes back by itself, whatever became of the run, its session and the host."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.applier.folder import APPLIER, FILES, HOST, IFCFG, SYSCTL, Image, applier_module, eventually, put
from tests.lab.host import LabHost

LONG = "600"


class Armed(Image):
    """An image whose waiting rollbacks are known, and ended with the test."""

    def waiting(self) -> list[int]:
        """The processes that wait to roll this image back."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (folder / "cmdline").read_bytes().split(b"\0")
                if b"--unconfirmed" in words and str(self.root).encode() in words:
                    found.append(int(folder.name))
        return found

    def end_waiting(self) -> None:
        """End them, as a power cut would."""
        for process in self.waiting():
            os.kill(process, signal.SIGKILL)
        eventually(lambda: not self.waiting())

    def remembered(self, **changes: Any) -> dict[str, Any]:
        """What the state says of the confirmation, with changes."""
        path = self.root / "var/lib/kvmgen/state.json"
        state: dict[str, Any] = json.loads(path.read_text())
        state["unconfirmed"].update(changes)
        path.write_text(json.dumps(state))
        unconfirmed: dict[str, Any] = state["unconfirmed"]
        return unconfirmed

    def has_all(self) -> bool:
        """Whether the folder's files are there."""
        return all((self.root / path).exists() for path in FILES)

    def has_none(self) -> bool:
        """Whether none of them is."""
        return not any((self.root / path).exists() for path in FILES)


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Armed]:
    found = Armed(tmp_path)
    found.offer()
    yield found
    found.end_waiting()


def test_what_is_confirmed_stays(image: Armed) -> None:
    assert "Run `kvmgen-apply confirm` within 2 s" in image.apply("--confirm-within", "2")
    assert image.as_json(0, "status")["unconfirmed"] is True
    assert image.as_json(0, "confirm") == {"generation": 1}
    eventually(lambda: not image.waiting())
    assert image.as_json(0, "status") == {**image.as_json(0, "status"), "generation": 1, "unconfirmed": False}
    assert image.has_all()


def test_what_nobody_confirms_goes_back(image: Armed) -> None:
    image.write(SYSCTL, b"mine\n", 0o600)
    image.apply("--adopt", SYSCTL, "--confirm-within", "1")
    eventually(lambda: not image.waiting())
    assert (image.read(SYSCTL), (image.root / IFCFG).exists()) == (b"mine\n", False)
    assert "nothing waits to be confirmed" in image.expect(1, "confirm")
    assert [row["why"] for row in image.as_json(0, "history")] == ["apply", "nobody confirmed"]


def test_it_goes_back_though_the_run_was_killed_with_its_session(image: Armed) -> None:
    killed(image, "--check-command", "kill -9 -$PPID")
    assert image.has_all()
    eventually(lambda: not image.waiting())
    assert image.has_none()
    assert not (image.root / "var/lib/kvmgen/journal.json").exists()


def test_it_waits_before_the_first_change(image: Armed, tmp_path: Path) -> None:
    image.applier = planted(tmp_path, '"""Write what is wanted."""\n', "        os.killpg(0, signal.SIGKILL)\n")
    killed(image)
    assert image.waiting()
    assert (image.root / "var/lib/kvmgen/journal.json").exists()
    eventually(lambda: not image.waiting())
    assert not (image.root / "var/lib/kvmgen/journal.json").exists()


def killed(image: Armed, *words: str) -> None:
    """An apply that is killed with all of its session."""
    argv = image.command("apply", str(image.folder), "--confirm-within", "2", *words)
    process = subprocess.Popen(argv, start_new_session=True, env=image.environment)
    assert process.wait(60) == -signal.SIGKILL


def planted(place: Path, after: str, line: str) -> Path:
    """A copy of the applier with a line more."""
    text = APPLIER.read_text()
    assert text.count(after) == 1
    return put(place / "planted.py", text.replace(after, after + line).encode())


def test_it_goes_back_though_another_run_holds_the_lock_when_it_is_due(image: Armed) -> None:
    image.apply("--confirm-within", "1")
    with (image.root / "var/lib/kvmgen/lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        eventually(lambda: time.clock_gettime(time.CLOCK_BOOTTIME) > image.remembered()["deadline"])
        assert image.has_all()
    eventually(image.has_none)


def test_it_goes_back_at_the_next_start_where_the_host_was_started_anew(image: Armed) -> None:
    image.apply("--confirm-within", LONG)
    image.end_waiting()
    image.remembered(boot="another")
    assert "it is rolled back" in image.expect(0, "status")
    assert image.has_none()


def test_a_confirmation_that_comes_too_late_is_told(image: Armed) -> None:
    image.apply("--confirm-within", LONG)
    image.end_waiting()
    image.remembered(deadline=0)
    told = image.expect(1, "confirm")
    assert "nobody confirmed generation 1 in time" in told
    assert "nothing waits to be confirmed" in told
    assert image.has_none()


def test_what_waits_to_be_confirmed_is_not_changed(image: Armed) -> None:
    image.apply("--confirm-within", LONG)
    image.offer({SYSCTL: b"\n"})
    assert "run `kvmgen-apply confirm` to keep it, or `kvmgen-apply rollback`" in image.apply(code=1)
    assert image.has_all()
    image.expect(0, "rollback")
    assert image.has_none()
    image.apply()


def test_an_earlier_wait_ends_nothing_that_came_later(image: Armed) -> None:
    image.apply("--confirm-within", "2")
    image.expect(0, "rollback")
    image.apply("--confirm-within", LONG)
    eventually(lambda: len(image.waiting()) == 1)
    assert image.has_all()


# -- health ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["exit 3", "sleep 60", f"test ! -e {SYSCTL}"])
def test_what_makes_the_host_unwell_is_rolled_back(image: Armed, command: str) -> None:
    check = f"cd {shlex.quote(str(image.root))}; {command}"
    assert "as it was before" in image.expect(4, "--timeout", "2", "apply", str(image.folder), "--check-command", check)
    assert image.has_none()
    assert image.as_json(0, "status")["generation"] == 0
    image.apply("--check-command", f"test -e {shlex.quote(str(image.root / SYSCTL))}")


@pytest.mark.real
def test_a_gateway_that_does_not_answer_is_rolled_back(image: Armed, lab_host: LabHost) -> None:
    def apply(code: int) -> str:
        words = image.command("apply", str(image.folder), "--check-gateway")
        done = lab_host.run(*words, check=False)
        assert done.returncode == code, done.stderr
        return done.stderr

    assert "there is no default gateway" in apply(4)
    lab_host.run("ip", "netns", "add", "gw")
    lab_host.ip_batch(
        ["link add v0 type veth peer name v1 netns gw", "link set v0 up", "address add 192.0.2.2/24 dev v0"]
    )
    lab_host.ip_batch(["link set v1 up", "address add 192.0.2.1/24 dev v1"], netns="gw")
    lab_host.ip_batch(["route add default via 192.0.2.1"])
    apply(0)
    lab_host.ip_batch(["address del 192.0.2.1/24 dev v1"], netns="gw")
    image.offer({SYSCTL: FILES[SYSCTL]})
    assert "the gateway 192.0.2.1 doesn't answer" in apply(4)
    assert image.has_all()
    lab_host.ip_batch(["address add 192.0.2.1/24 dev v1", "address add 2001:db8::1/64 dev v1 nodad"], netns="gw")
    lab_host.ip_batch(["address add 2001:db8::2/64 dev v0 nodad", "route add ::/0 via 2001:db8::1"])
    apply(0)
    lab_host.ip_batch(["address del 2001:db8::1/64 dev v1"], netns="gw")
    image.offer(FILES)
    assert "the gateway 2001:db8::1 doesn't answer" in apply(4)


def test_a_default_route_that_is_lost_is_noticed() -> None:
    applier = applier_module()
    routes = {"-4": "default via 192.0.2.1 dev br0", "-6": "default via fe80::1 dev br0 proto ra"}
    asked = []

    class Machine:
        def has(self, program: str) -> bool:
            return program == "ping"

        def run(self, argv: tuple[str, ...], check: bool) -> tuple[int, str]:
            assert not check
            asked.append(argv[-1])
            return 0, routes.get(argv[2], "")

    healthy = applier.health(Machine(), True, None)
    healthy()
    assert asked[-2:] == ["192.0.2.1", "fe80::1%br0"]
    del routes["-6"]
    with pytest.raises(applier.Problem, match="no default gateway for IPv6 any more"):
        healthy()


def test_no_program_outlives_a_run_that_was_killed(image: Armed) -> None:
    check = f"exec sleep {LONG} {LONG}"
    process = subprocess.Popen(image.command("apply", str(image.folder), "--check-command", check))

    def sleeping() -> list[Path]:
        return [place for place in Path("/proc").glob("[0-9]*") if _words(place) == ["sleep", LONG, LONG]]

    eventually(sleeping)
    process.kill()
    process.wait()
    eventually(lambda: not sleeping())


def _words(process: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return (process / "cmdline").read_text().split("\0")[:-1]
    return []


# -- systemd -----------------------------------------------------------------------------------------------------------

SYSTEMD_RUN = """#!/bin/sh
echo "$@" >>/run/lab/asked
[ ! -e /run/lab/broken ] || { echo "Failed to connect to bus" >&2; exit 1; }
"""
SYSTEMCTL = '#!/bin/sh\necho "systemctl $@" >>/run/lab/asked\n'


@pytest.mark.real
def test_where_systemd_runs_the_rollback_is_a_service(image: Armed, lab_host: LabHost) -> None:
    lab_host.file("/run/systemd/system").mkdir(parents=True)
    lab_host.file("/run/lab/bin").mkdir(parents=True)
    put(lab_host.file("/run/lab/bin/systemd-run"), SYSTEMD_RUN.encode(), 0o755)
    put(lab_host.file("/run/lab/bin/systemctl"), SYSTEMCTL.encode(), 0o755)
    image.offer({IFCFG: FILES[IFCFG]})
    there = lab_host.file(f"/{IFCFG}")

    def run(code: int, *words: str) -> str:
        argv = [sys.executable, "-I", str(APPLIER), *words]
        done = lab_host.run("env", "PATH=/run/lab/bin:/usr/sbin:/usr/bin:/sbin:/bin", *argv, check=False)
        assert done.returncode == code, done.stderr
        return done.stderr

    apply = ("apply", str(image.folder), "--host", HOST, "--confirm-within")
    lab_host.write("/run/lab/broken", "")
    assert "Failed to connect to bus" in run(1, *apply, LONG)
    assert not there.exists()
    assert not lab_host.file("/var/lib/kvmgen/journal.json").exists()
    lab_host.file("/run/lab/broken").unlink()

    run(0, *apply, LONG)
    run(0, "confirm")
    run(0, "rollback")
    run(0, *apply, "1")
    _, first, stopped, second = lab_host.file("/run/lab/asked").read_text().splitlines()
    unit, kill_mode, *argv = first.split()
    assert stopped == f"systemctl stop {unit.removeprefix('--unit=')}"
    assert (kill_mode, argv[:3]) == ("--property=KillMode=process", [sys.executable, "-I", str(APPLIER)])
    assert there.exists()
    lab_host.run(*second.split()[2:])
    assert not there.exists()
