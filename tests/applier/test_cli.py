"""The command as people and programs meet it: exit codes, JSON, logs, and every Python and place that hosts have."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.applier.folder import APPLIER, FILES, HOST, SYSCTL, Image, applier_module, archive_of, files_of, put

kvmgen_apply = applier_module()

OLDER = ("3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14")


@pytest.fixture
def image(tmp_path: Path) -> Image:
    found = Image(tmp_path)
    found.offer()
    return found


def planted(place: Path, before: str, after: str) -> Path:
    """A copy of the applier with a part replaced."""
    text = APPLIER.read_text()
    assert text.count(before) == 1
    return put(place / "planted.py", text.replace(before, after).encode())


# -- exit codes --------------------------------------------------------------------------------------------------------


def test_done_failed_and_changes_pending(image: Image) -> None:
    image.expect(3, "plan", str(image.folder))
    image.apply()
    image.expect(0, "plan", str(image.folder))
    image.expect(1, "confirm")
    (image.folder / SYSCTL).unlink()
    image.expect(1, "plan", str(image.folder))


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["destroy"],
        ["plan"],
        ["apply", ".", "--confirm-within", "0"],
        ["apply", ".", "--confirm-within", "soon"],
        ["apply", ".", "--check-gate"],
        ["plan", ".", "--check-gateway"],
        ["--timeout", "-1", "status"],
        ["--root", "/nowhere/at/all", "status"],
        ["rollback", "7"],
        ["rollback", "-1"],
        ["rollback"],
    ],
)
def test_called_wrongly(image: Image, words: list[str]) -> None:
    done = image.run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr
    assert "Traceback" not in done.stderr
    assert not Path("/nowhere").exists()


def test_nothing_is_restarted_or_taken_over_under_a_name_that_nothing_has(image: Image) -> None:
    for word in ("--disruptive", "--adopt"):
        assert f"{word} br00: " in image.expect(2, "apply", str(image.folder), word, "br00")
    assert image.as_json(0, "status")["generation"] == 0


def test_failed_and_rolled_back(image: Image) -> None:
    assert "Everything is as it was before" in image.apply("--check-command", "false", code=4)


def test_a_rollback_that_fails_names_the_state_and_the_way_out(image: Image) -> None:
    there = image.root / SYSCTL
    told = image.apply("--check-command", f"rm {there}; mkdir -p {there}/x; false", code=5)
    assert str(there) in told
    assert "run `kvmgen-apply rollback`" in told
    image.expect(5, "rollback")
    image.expect(5, "apply", str(image.folder))
    (there / "x").rmdir()
    there.rmdir()
    image.expect(0, "rollback")
    assert not any((image.root / path).exists() for path in FILES)
    assert image.as_json(0, "status")["generation"] == 0


def test_a_bug_is_told_as_one_and_rolled_back(image: Image, tmp_path: Path) -> None:
    image.applier = planted(tmp_path, '"""Write what is wanted."""\n', '"""Write what is wanted."""\n        1 // 0\n')
    told = image.apply(code=6)
    assert "ZeroDivisionError" in told
    assert "this is a bug in kvmgen-apply" in told
    assert not any((image.root / path).exists() for path in FILES)
    image.applier = APPLIER
    image.apply()


def test_every_exit_code_has_its_test() -> None:
    assert (kvmgen_apply.DONE, kvmgen_apply.FAILED, kvmgen_apply.MISUSED, kvmgen_apply.PENDING) == (0, 1, 2, 3)
    assert (kvmgen_apply.ROLLED_BACK, kvmgen_apply.STUCK, kvmgen_apply.DEFECT) == (4, 5, 6)


# -- results -----------------------------------------------------------------------------------------------------------

CHANGE = {"verb", "kind", "name", "impact", "details"}


def keys(data: dict[str, Any]) -> set[str]:
    """A result's keys, `changes` with theirs."""
    for change in data.get("changes", []):
        assert set(change) >= CHANGE
    return set(data)


def test_json_has_its_shape_on_every_command(image: Image) -> None:
    plan = image.as_json(3, "plan", str(image.folder))
    assert [set(change) >= CHANGE for change in plan] == [True] * len(FILES)
    assert keys(image.as_json(0, "apply", str(image.folder))) >= {"generation", "changes", "pending"}
    assert keys(image.as_json(0, "apply", str(image.folder))) >= {"generation", "changes"}
    assert keys(image.as_json(0, "status")) >= {"generation", "host", "drift", "pending", "unconfirmed"}
    assert keys(image.as_json(0, "rollback")) >= {"generation", "changes"}
    assert keys(image.as_json(0, "rollback", "--unconfirmed")) >= {"generation", "changes"}
    assert [keys(row) >= {"generation", "time", "why"} for row in image.as_json(0, "history")] == [True, True]
    image.run("apply", str(image.folder), "--confirm-within", "1")
    assert keys(image.as_json(0, "confirm")) >= {"generation"}


def test_common_words_are_understood_before_and_after_the_command(image: Image) -> None:
    assert json.loads(image.run("status", "--json").stdout) == image.as_json(0, "status")


def test_a_failure_tells_programs_nothing_on_stdout(image: Image) -> None:
    image.offer(format=2)
    assert image.run("--json", "plan", str(image.folder)).stdout == ""


def test_an_apply_does_not_fail_because_nobody_listens(image: Image) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        image.command("apply", str(image.folder)), stdout=write, stderr=write, check=False, timeout=60
    )
    os.close(write)
    assert done.returncode == 0
    image.expect(0, "plan", str(image.folder))


@pytest.mark.parametrize("streams", [">&-", "2>&-", ">&- 2>&- <&-", ">/dev/full"])
def test_a_run_without_its_streams_is_a_run(image: Image, streams: str) -> None:
    done = image.run("apply", str(image.folder), command=["sh", "-c", f'exec "$@" {streams}', "sh"])
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert {path: image.read(path) for path in FILES} == dict(FILES)
    assert image.run("apply", "-", command=["sh", "-c", 'exec "$@" <&-', "sh"]).returncode == 1


# -- logs --------------------------------------------------------------------------------------------------------------


def test_every_change_and_every_failure_is_in_the_systems_log(image: Image, tmp_path: Path) -> None:
    place = tmp_path / "log"
    image.applier = planted(tmp_path, 'SYSTEM_LOG = "/dev/log"', f"SYSTEM_LOG = {str(place)!r}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as system_log:
        system_log.bind(str(place))
        system_log.settimeout(10)
        image.apply()
        lines = [system_log.recv(65536).decode() for _ in FILES]
        assert all(line.startswith("<30>kvmgen-apply[") for line in lines)
        assert [line.partition("]: ")[2].split()[0] for line in lines] == ["create"] * len(FILES)
        image.offer({**FILES, "etc/ä": b""})
        image.apply(code=1)
        assert system_log.recv(65536).startswith(b"<27>kvmgen-apply[")


def test_a_log_that_is_full_or_gone_stops_nothing(image: Image, tmp_path: Path) -> None:
    place = tmp_path / "log"
    image.applier = planted(tmp_path, 'SYSTEM_LOG = "/dev/log"', f"SYSTEM_LOG = {str(place)!r}")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as full,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one,
    ):
        full.bind(str(place))
        one.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                one.sendto(b"x", str(place))
        image.apply()
    image.expect(0, "rollback")


# -- where it runs -----------------------------------------------------------------------------------------------------


def interpreters() -> list[str]:
    """Every Python 3.6 and later that is found here, the running one among them."""
    roots = [Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"]
    found = {sys.executable: None}
    for version in OLDER:
        named = shutil.which(f"python{version}")
        kept = [str(path) for root in roots for path in sorted(root.glob(f"{version}.*/bin/python3"))]
        found.update(dict.fromkeys(kept[:1] or ([named] if named else [])))
    return list(found)


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
@pytest.mark.parametrize("python", interpreters())
def test_the_core_under_every_python(image: Image, python: str, locale: str) -> None:
    image.python = [python, "-I", "-S", "-W", "error::DeprecationWarning"]
    image.environment = {"PATH": "/usr/bin:/bin", "LC_ALL": locale, "HOME": "/proc"}
    text = "# Größe: 10 µm — ✓\n".encode()
    image.write(SYSCTL, text + b"\xff\n")
    assert f"--adopt {SYSCTL}" in image.apply(code=1)
    image.offer({**FILES, SYSCTL: text})
    told = image.expect(3, "plan", str(image.folder), "--adopt", SYSCTL)
    assert ("Größe" in told) or (r"Gr\xf6\xdfe" in told)
    files = files_of({**FILES, SYSCTL: text})
    image.expect(0, "apply", "-", "--adopt", SYSCTL, "--confirm-within", "60", stdin=archive_of(files))
    image.expect(0, "confirm")
    image.write(SYSCTL, text * 2)
    assert image.as_json(3, "status")["drift"] == [f"sysctl {SYSCTL}: its content was changed"]
    image.apply()
    assert image.read(SYSCTL) == text
    image.expect(0, "rollback", "0")
    assert image.read(SYSCTL) == text + b"\xff\n"
    assert [row["generation"] for row in image.as_json(0, "history")] == [1, 2, 3]
    image.expect(4, "apply", str(image.folder), "--adopt", SYSCTL, "--check-command", "echo 'zu groß: ✗' >&2; false")
    image.offer({**FILES, "etc/grö\udcffße": b""})
    image.apply(code=1)
    image.expect(1, "apply", str(image.folder / "nicht da: ä"))


def test_it_needs_nothing_newer_than_python_3_6() -> None:
    vermin = [str(Path(sys.executable).with_name("vermin")), "-t=3.6-", "--no-tips", "--violations", str(APPLIER)]
    done = subprocess.run(vermin, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout


def test_the_host_is_known_by_its_short_or_full_name(image: Image) -> None:
    image.expect(3, "plan", str(image.folder), "--host", f"{HOST}.example.org")
    image.expect(1, "plan", str(image.folder), "--host", f"{HOST}0")
