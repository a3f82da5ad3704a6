"""What must be true of the host after a fault and after the next run; and the trying of many faults."""

from __future__ import annotations

import os
import re
import shutil
import sys
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from tests.applier.faults.cases import DONE, FAILED, PENDING, ROLLED_BACK, STUCK, Look, Machine, TornError, Way
from tests.applier.faults.inject import DEADLY, Fault, Run, Step
from tests.applier.faults.site import remembered

Cases = list[tuple[Way, Fault]]
Setting = Callable[[], AbstractContextManager[object]]
PROGRESS = 50  # faults between two lines that say how far it is
WORKERS = 4 * (os.cpu_count() or 1)
"""For most of the time is spent on commands that hang."""

LIVE_CHANGES = ("net-update", "update-device")
"""Where a libvirt that doesn't do what it says leaves something to be done, which is told."""

KEEPS = {"domain/web": {"nwfilter/fresh"}}
"""What can't be undone either where something can't: a filter that a running guest still has."""

OF_ALL = "kernel: rules"
"""What follows from others."""


def judge(way: Way, fault: Fault, folder: Path) -> None:
    """Break a way with a fault, and hold the host to be whole after it and after the next run."""
    shutil.rmtree(folder, ignore_errors=True)
    machine = way.start.copy(folder)
    done = machine.run(*way.words, faults=(*way.first, fault))
    story = [f"{named(way, fault, done.steps)} ended with {done.code}", done.said]
    try:
        _judge_end(way, machine, done, fault)
        after = machine.run("status")
        story += [f"the next run ended with {after.code}", after.said]
        if not is_told_as_pending(done, fault):
            _judge_next(way, machine, after)
        _judge_memory(machine)
        if way.name.startswith("apply") and not way.first and (fault.lasts or fault.kind in DEADLY):
            machine.expect(*way.words)
            _hold(machine.look() == way.new, "applying again doesn't make it the new one")
    except TornError as torn:
        raise TornError("\n".join([str(torn), *story])) from None


def named(way: Way, fault: Fault, steps: tuple[Step, ...]) -> str:
    """A fault's name: where it was, and what it broke."""
    step = steps[fault.step - 1] if len(steps) >= fault.step else Step("?", "?")
    return f"{way.name}: {fault} ({step.name} {step.what})"


def _judge_end(way: Way, machine: Machine, done: Run, fault: Fault) -> None:
    """The exit code tells what the host is, before anything else is run."""
    host = machine.look()
    if is_told_as_pending(done, fault):
        return
    if way.words[0] == "confirm" and done.code in (DONE, FAILED):
        _hold(machine.is_confirmed == (done.code == DONE), "it doesn't say whether it is confirmed")
    if done.code == DONE:
        _hold(host == way.new, "it says done, and the host isn't the new one" + _difference(host, way.new))
    elif done.code == FAILED and (way.is_one_way or fault.kind == "signal"):
        _hold(way.is_one_way or host in (way.old, way.new), "a signal tore it" + _difference(host, way.old))
    elif done.code in (FAILED, ROLLED_BACK):
        _hold(host == way.old, "it says that all is as before, and it isn't" + _difference(host, way.old))
    elif done.code < 0:
        _hold(fault.kind in DEADLY, f"it was ended by signal {-done.code}")
    else:
        if way.first and done.code == STUCK:
            _judge_undoing(way, host, done, fault)
        is_status_misled = way.words[0] == "status" and done.code == PENDING and fault.kind == "lie"
        _hold(done.code == STUCK or is_status_misled, f"exit code {done.code} says nothing of the host")


def _judge_undoing(way: Way, host: Look, done: Run, fault: Fault) -> None:
    """One thing couldn't be undone: all else is, and the message names the way out.

    After a hang libvirt isn't asked again, so that only files count.
    """
    names = {name for name in {*host, *way.old} - {OF_ALL} if host.get(name) != way.old.get(name)}
    objects = {name.removeprefix("libvirt: ").rpartition(".")[0] for name in names if name.startswith("libvirt: ")}
    others = {name for name in names if not name.startswith("libvirt: ")} | (objects if fault.kind != "hang" else set())
    is_one = len(others) < 2 or any(others == {name, *kept} for name, kept in KEEPS.items())
    _hold(is_one, f"more than one thing isn't undone: {sorted(others)}")
    _hold("run `kvmgen-apply rollback`" in done.said or not names, "it doesn't tell the way out")


def is_told_as_pending(done: Run, fault: Fault) -> bool:
    """Whether libvirt lied about what runs, and the apply says that it waits for a restart."""
    step = done.steps[fault.step - 1] if len(done.steps) >= fault.step else Step("", "")
    is_lie = fault.kind == "lie" and step.what.startswith(LIVE_CHANGES)
    return (
        is_lie and done.code == DONE and re.search("^pending: .* needs a restart", done.said, re.MULTILINE) is not None
    )


def _judge_next(way: Way, machine: Machine, after: Run) -> None:
    """The next run without a fault leaves the old host or the new one, and says which."""
    host = machine.look()
    _hold(after.code in (DONE, PENDING), "the next run doesn't say that all is well")
    _hold("by hand" not in after.said, "what the applier did looks as if somebody had done it by hand")
    generation = machine.generation
    _hold(f"Generation {generation}." in after.said, "the next run doesn't say which generation it is")
    is_new = generation == way.clean.generation
    wanted = way.new if is_new else way.old
    _hold(host == wanted, f"the host is neither: generation {generation}" + _difference(host, wanted))
    _hold(is_new or not way.is_one_way, "what nobody confirmed is still there")


def _judge_memory(machine: Machine) -> None:
    """Every generation has its record, and nothing is left on its way: no journal, no half a file."""
    found = remembered(machine.root)
    names = {f"generations/{number}.json" for number in range(1, machine.generation + 1)}
    odd = sorted((set(found) - {"state.json"}) ^ names)
    _hold(not odd, f"left behind, or lost: {odd}")


def _hold(is_so: bool, words: str) -> None:
    if not is_so:
        raise TornError(words)


def _difference(host: Look, wanted: Look) -> str:
    names = [name for name in sorted({*host, *wanted}) if host.get(name) != wanted.get(name)]
    return "".join(f"\n  {name}: {host.get(name)!r}, not {wanted.get(name)!r}" for name in names)


def tried(cases: Cases, folder: Path, workers: int = WORKERS, setting: Setting = nullcontext) -> int:
    """Try faults in some processes, each in a setting of its own, and print those that tore the host; how many did."""
    children = [_start(cases[number::workers], folder / f"worker{number}", setting) for number in range(workers)]
    for child, _ in children:
        assert os.waitpid(child, 0)[1] == 0, "a worker failed"
    return sum(int(report.read_text()) for _, report in children)


def _start(cases: Cases, folder: Path, setting: Setting) -> tuple[int, Path]:
    folder.mkdir()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with setting():
                (folder / "torn").write_text(str(_torn(cases, folder)))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    return child, folder / "torn"


def _torn(cases: Cases, folder: Path) -> int:
    torn = 0
    for number, (way, fault) in enumerate(cases, 1):
        torn += _tears(way, fault, folder / "machine")
        if number % PROGRESS == 0:
            print(f"{folder.name}: {number} of {len(cases)}, {torn} torn", flush=True)
    return torn


def _tears(way: Way, fault: Fault, folder: Path) -> bool:
    try:
        judge(way, fault, folder)
    except TornError as torn:
        print(torn, end="\n=====\n", flush=True)
        return True
    return False
