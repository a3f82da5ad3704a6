"""A fault of every kind against the scripted virsh, and what is no fault of a step: signals, clocks, a second run.

Every fault of every step is `python -m tests.applier.faults`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests.applier.faults.__main__ import sample
from tests.applier.faults.cases import Ways
from tests.applier.faults.judge import tried
from tests.applier.faults.site import NEW, SCRIPTS, look, write_output
from tests.applier.folder import FILES, HOST, PROJECT, Image, eventually, put

JOURNAL = "var/lib/kvmgen/journal.json"
STATE = "var/lib/kvmgen/state.json"
FRESH = f"{SCRIPTS}/ifcfg-fresh"
TEN_YEARS = 10 * 365 * 86400


@pytest.fixture
def image(tmp_path: Path) -> Image:
    found = Image(tmp_path)
    found.offer()
    return found


@pytest.mark.parametrize("words", [("--sample", "6"), ("--way", "confirm"), ("--only", ": kill ", "--sample", "200")])
def test_a_fault_of_every_kind_and_a_kill_at_every_step_leave_the_old_host_or_the_new(words: tuple[str, str]) -> None:
    argv = [sys.executable, "-m", "tests.applier.faults", *words]
    done = subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"(\d+) faults tried, 0 tore the host", done.stdout)
    assert found is not None
    assert int(found[1]) > 80, "every kind, once and for good; or every step"


def test_an_undo_that_stops_at_its_first_failure_is_noticed(tmp_path: Path) -> None:
    """One fault that an apply is undone for, and one in the undoing: the rest is undone all the same."""
    ways = Ways(tmp_path / "ways")
    ways.applier._failures = first_failure
    way = next(ways.undoings())
    cases = [(way, fault) for fault in way.faults() if fault.kind in ("EIO", "fail")]
    (tmp_path / "tried").mkdir()
    assert tried(sample(cases, 8, seed=1), tmp_path / "tried") > 2


def first_failure(steps: Iterable[Callable[[], object]]) -> list[str]:
    """An undo as it must not be."""
    for step in steps:
        try:
            step()
        except Exception as error:
            return [str(error)]
    return []


@pytest.fixture
def heard() -> Iterator[None]:
    """Signals as they are in a session: whoever runs these tests may have them ignored, and children inherit that."""
    ignored = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGHUP, signal.SIGTERM)}
    ignored[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in ignored.items():
        signal.signal(number, handler)


# -- signals -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("signals", ["TERM", "HUP", "INT", "TERM HUP INT TERM"])
def test_a_signal_rolls_back_and_others_do_not_stop_that(image: Image, signals: str) -> None:
    told = image.apply("--check-command", f"for signal in {signals}; do kill -$signal $PPID; done", code=4)
    assert "asked for an end. Everything is as it was before" in told
    assert not any((image.root / path).exists() for path in FILES)
    assert image.as_json(0, "status")["generation"] == 0


# -- two at once -------------------------------------------------------------------------------------------------------


@pytest.fixture
def slow(image: Image, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """An apply that is on its way until there is a file `go`."""
    wait = f"until test -e {tmp_path}/go; do sleep 0.05; done"
    argv = image.command("apply", str(image.folder), "--check-command", wait)
    process = subprocess.Popen(argv, env=image.environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    eventually((image.root / JOURNAL).exists)
    yield process
    put(tmp_path / "go", b"")
    process.wait(60)


def test_of_two_at_once_one_works_and_one_says_why_not(
    image: Image, slow: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    for words in (("apply", str(image.folder)), ("plan", str(image.folder)), ("rollback",), ("confirm",), ("status",)):
        assert "another kvmgen-apply is on its way: wait for its end" in image.expect(1, *words)
    put(tmp_path / "go", b"")
    assert slow.wait(60) == 0
    assert image.as_json(0, "status")["generation"] == 1


# -- a journal and a state that can't be read --------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [b"", b"{", b"null", b"[]", b"{}", b"\xff\xfe", b"[" * 100000])
def test_a_damaged_journal_stops_everything_and_the_way_out_works(image: Image, damage: bytes) -> None:
    image.apply()
    before = image.state()
    image.write(JOURNAL, damage, 0o600)
    for words in (("apply", str(image.folder)), ("plan", str(image.folder)), ("rollback",), ("confirm",), ("status",)):
        assert "journal.json is damaged, and with it what to go back to" in image.expect(1, *words)
    assert image.state() == before
    (image.root / JOURNAL).rename(image.root / "journal.moved")
    assert "Nothing to do" in image.apply()


def test_a_journal_that_was_half_written_is_no_journal(image: Image) -> None:
    image.apply()
    left = image.write("var/lib/kvmgen/.kvmgen-x.rpmsave", b'{"generation": 2, "be', 0o600)
    assert image.as_json(0, "status")["generation"] == 1
    assert not left.exists()


# -- clocks ------------------------------------------------------------------------------------------------------------


def with_clock(image: Image, seconds: int) -> None:
    """Run the applier from now on with a clock that was set."""
    setting = "import runpy, sys, time; real = time.time; time.time = lambda: real() + {0}; del sys.argv[0]; "
    setting += "gm = time.gmtime; time.gmtime = lambda *_: gm(time.time()); "
    setting += "runpy.run_path(sys.argv[0], run_name='__main__')"
    image.python = [sys.executable, "-I", "-c", setting.format(seconds)]


def test_a_clock_that_is_set_moves_no_deadline(image: Image) -> None:
    image.apply()
    wait_for_confirmation(image, time.clock_gettime(time.CLOCK_BOOTTIME) + 600)
    with_clock(image, TEN_YEARS)
    assert image.as_json(0, "status")["unconfirmed"] is True
    wait_for_confirmation(image, time.clock_gettime(time.CLOCK_BOOTTIME))
    with_clock(image, -TEN_YEARS)
    assert image.as_json(0, "status")["unconfirmed"] is False
    assert not any((image.root / path).exists() for path in FILES)
    assert [row["time"][:3] for row in image.as_json(0, "history")] == ["202", "201"]


def wait_for_confirmation(image: Image, deadline: float) -> None:
    """Have the last apply wait for its confirmation until then, with nobody that watches."""
    state = json.loads(image.read(STATE))
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    state["unconfirmed"] = {"deadline": deadline, "boot": boot, "unit": None}
    image.write(STATE, json.dumps(state).encode(), 0o600)


# -- a rollback that fails at first ------------------------------------------------------------------------------------


def test_what_nobody_confirms_goes_back_though_libvirt_is_out_of_order_at_first(image: Image, tmp_path: Path) -> None:
    """Files go back at once, and the rest as soon as libvirt answers again."""
    virsh = tmp_path / "bin/virsh"
    scripted = f'#!/bin/sh\nexec {sys.executable} -I {Path(__file__).with_name("virsh.py")} "$@"\n'
    put(virsh, scripted.encode(), 0o755)
    image.environment["PATH"] = f"{virsh.parent}:{os.environ['PATH']}"
    libvirt, output = tmp_path / "libvirt", write_output(tmp_path / "output", NEW)
    words = ("--connect", f"scripted:{libvirt}", "apply", str(output), "--host", HOST, "--confirm-within", "1")
    image.expect(0, *words)
    virsh.rename(f"{virsh}.away")
    put(virsh, b"#!/bin/sh\nexit 1\n", 0o755)
    eventually(lambda: not (image.root / FRESH).exists())
    assert (libvirt / "network/lab.xml").exists()
    Path(f"{virsh}.away").rename(virsh)
    eventually(lambda: look(image.root, libvirt) == {})
    eventually(lambda: not (image.root / JOURNAL).exists())
