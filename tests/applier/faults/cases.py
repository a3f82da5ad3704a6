"""Every step of every way through the applier, broken in every way; and what must be true afterwards."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.applier.faults import virsh
from tests.applier.faults.inject import COMMAND_FAULTS, DEADLY, ERRORS, Fault, Run, Step, run
from tests.applier.faults.site import NEW, OLD, REMEMBERED, look, remembered, write_output
from tests.applier.folder import HOST, applier_module

DONE, FAILED, PENDING, ROLLED_BACK, STUCK = 0, 1, 3, 4, 5
TIMEOUT = "1"  # seconds; the applier takes whole ones
CHANGING = (
    *("define", "undefine", "start", "destroy", "autostart", "update-device", "nwfilter-define", "nwfilter-undefine"),
    *("net-define", "net-undefine", "net-start", "net-destroy", "net-autostart", "net-update"),
)
"""The commands of virsh that change something."""

LASTING = (*ERRORS, "fail", "hang", "signal")
"""What may also go wrong ever after: a full disk, a broken one, a libvirt that is gone or hangs."""

OF_NO_QUESTION = ("power", "fails after", "hangs after")
"""What makes no difference where nothing is changed."""

LIVE_CHANGES = ("net-update", "update-device")
"""Where a libvirt that doesn't do what it says leaves something to be done, which is told."""

OF_RECOVERIES = {("kill", False), ("EIO", False), ("ENOSPC", True), ("fail", False), ("fail", True)}
"""What is tried as a second fault, in the run after a kill: kinds, and whether they last."""

Look = dict[str, object]


class TornError(AssertionError):
    """The host is neither the old nor the new one, or the applier says otherwise than it is."""


@dataclass(slots=True)
class Machine:
    """A host in a folder, on which the applier is run."""

    folder: Path
    applier: Any

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def libvirt(self) -> Path:
        return self.folder / "libvirt"

    @property
    def generation(self) -> int:
        state = remembered(self.root).get("state.json", {"generation": 0})
        assert isinstance(state, dict)
        return int(state["generation"])

    def run(self, *words: str, fault: Fault | None = None) -> Run:
        first = ["--root", str(self.root), "--connect", f"{virsh.SCHEME}{self.libvirt}", "--timeout", TIMEOUT]
        return run(self.applier, self.root, [*first, *words], fault, self.folder)

    def expect(self, *words: str, codes: tuple[int, ...] = (DONE,)) -> Run:
        done = self.run(*words)
        if done.code not in codes:
            raise TornError(f"{' '.join(words)} ended with {done.code}: {done.said}")
        return done

    def virsh(self, *words: str) -> None:
        assert virsh.main(["--connect", f"{virsh.SCHEME}{self.libvirt}", *words], "")[0] == 0

    def look(self) -> Look:
        return look(self.root, self.libvirt)

    def copy(self, folder: Path) -> Machine:
        shutil.copytree(self.folder, folder)
        return Machine(folder, self.applier)


@dataclass
class Way:
    """One way through the applier: a host to begin with, and the words that it is called with."""

    name: str
    start: Machine
    words: tuple[str, ...]
    is_one_way: bool = False  # whether only the new host may be the end of it

    @cached_property
    def old(self) -> Look:
        return self.start.look()

    @cached_property
    def clean(self) -> tuple[Run, Look, int]:
        """The way without a fault: how it ended, the host and its generation after it."""
        machine = self.start.copy(self.start.folder.with_name("clean"))
        done = machine.expect(*self.words)
        found = done, machine.look(), machine.generation
        shutil.rmtree(machine.folder)
        return found

    @property
    def steps(self) -> tuple[Step, ...]:
        return self.clean[0].steps

    @property
    def new(self) -> Look:
        return self.clean[1]

    def faults(self) -> Iterator[Fault]:
        """Every fault of every step."""
        for number, step in enumerate(self.steps, 1):
            for fault in faults_of(step, number):
                if not self.name.startswith("recovery") or (fault.kind, fault.lasts) in OF_RECOVERIES:
                    yield fault


def faults_of(step: Step, number: int) -> Iterator[Fault]:
    """What can go wrong with a step. That there is nothing of a kind is an answer as good as any: no list lies."""
    is_question = step.is_command and step.what.split()[0] not in CHANGING
    kinds = COMMAND_FAULTS if step.is_command else tuple(ERRORS)
    for kind in (*DEADLY, "signal", *kinds):
        if kind not in (OF_NO_QUESTION if is_question else ()) and not (kind == "lie" and "list" in step.what):
            yield Fault(kind, number)
        if kind in LASTING and not (is_question and kind == "signal"):
            yield Fault(kind, number, lasts=True)


class Ways:
    """All ways, each with its host made ready once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.applier = applier_module()
        self.before = str(write_output(folder / "before", OLD))
        self.after = str(write_output(folder / "after", NEW))

    def all(self) -> tuple[Way, ...]:
        """Every way."""
        return (self.first(), self.change(), self.rollback(), self.expiry(), self.confirmation(), *self.recoveries())

    def first(self) -> Way:
        """The first apply of all."""
        machine = self._machine("first")
        return Way("first apply", machine, self._apply(self.before))

    def change(self) -> Way:
        """An apply that changes, makes and removes one of everything, with a guest running."""
        return Way("apply", self._applied("change", self.before), self._apply(self.after))

    def rollback(self) -> Way:
        """A rollback that somebody asks for."""
        return Way("rollback", self._applied("rollback", self.before, self.after), ("rollback",))

    def expiry(self) -> Way:
        """The rollback of what nobody confirmed in time."""
        return Way("expiry", self._unconfirmed("expiry"), ("rollback", "--unconfirmed"), is_one_way=True)

    def confirmation(self) -> Way:
        """A confirmation that comes in time."""
        return Way("confirm", self._unconfirmed("confirm", deadline=float(1 << 40)), ("confirm",))

    def recoveries(self) -> Iterator[Way]:
        """The start after a kill: early, in the middle, between the last writes; after a kill in the way back too."""
        apply, expiry = self.change(), self.expiry()
        last = len(apply.steps)
        ends = [number for number, step in enumerate(apply.steps, 1) if step.name == "rename"][-2:]
        for step in (last // 3, last // 2, *ends):
            yield self._recovery(apply, step)
        yield self._recovery(expiry, len(expiry.steps) // 2)

    def _recovery(self, way: Way, step: int) -> Way:
        name = f"recovery of {way.name} from step {step}"
        machine = way.start.copy(self.folder / name.replace(" ", "-") / "machine")
        machine.run(*way.words, fault=Fault("kill", step))
        return Way(name, machine, ("status",), is_one_way=True)

    def _apply(self, output: str) -> tuple[str, ...]:
        return ("apply", output, "--host", HOST)

    def _machine(self, name: str) -> Machine:
        machine = Machine(self.folder / name / "machine", self.applier)
        shutil.rmtree(machine.folder, ignore_errors=True)
        (machine.root / "etc/sysctl.d").mkdir(parents=True)
        (machine.root / "etc/sysctl.d/00-system.conf").write_text("# somebody's own\n")
        (machine.root / "var/lib").mkdir(parents=True)
        return machine

    def _applied(self, name: str, *outputs: str) -> Machine:
        machine = self._machine(name)
        for output in outputs:
            machine.expect(*self._apply(output))
            if output is outputs[0]:
                machine.virsh("start", "web")
        return machine

    def _unconfirmed(self, name: str, deadline: float = 0.0) -> Machine:
        machine = self._applied(name, self.before, self.after)
        file = machine.root / REMEMBERED / "state.json"
        state = json.loads(file.read_text())
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        file.write_text(json.dumps(dict(state, unconfirmed={"deadline": deadline, "boot": boot, "unit": None})))
        return machine


def judge(way: Way, fault: Fault, folder: Path) -> None:
    """Break a way with a fault, and hold the host to be whole after it and after the next run."""
    shutil.rmtree(folder, ignore_errors=True)
    machine = way.start.copy(folder)
    done = machine.run(*way.words, fault=fault)
    story = [f"{way.name}: {fault} ({_named(done, fault)}) ended with {done.code}", done.said]
    try:
        _judge_end(way, machine, done, fault)
        after = machine.run("status")
        story += [f"the next run ended with {after.code}", after.said]
        if not is_told_as_pending(done, fault):
            _judge_next(way, machine, after)
        _judge_memory(machine)
        if way.name == "apply" and (fault.lasts or fault.kind in DEADLY):
            machine.expect(*way.words)
            _hold(machine.look() == way.new, "applying again doesn't make it the new one")
    except TornError as torn:
        raise TornError("\n".join([str(torn), *story])) from None


def _named(done: Run, fault: Fault) -> str:
    step = done.steps[fault.step - 1] if len(done.steps) >= fault.step else Step("?", "?")
    return f"{step.name} {step.what}"


def _judge_end(way: Way, machine: Machine, done: Run, fault: Fault) -> None:
    """The exit code tells what the host is, before anything else is run."""
    host = machine.look()
    if is_told_as_pending(done, fault):
        return
    if done.code == DONE:
        _hold(host == way.new, "it says done, and the host isn't the new one" + _difference(host, way.new))
    elif done.code == FAILED and (way.is_one_way or fault.kind == "signal"):
        _hold(way.is_one_way or host in (way.old, way.new), "a signal tore it" + _difference(host, way.old))
    elif done.code in (FAILED, ROLLED_BACK):
        _hold(host == way.old, "it says that all is as before, and it isn't" + _difference(host, way.old))
    elif done.code < 0:
        _hold(fault.kind in DEADLY, f"it was ended by signal {-done.code}")
    else:
        is_status_misled = way.words[0] == "status" and done.code == PENDING and fault.kind == "lie"
        _hold(done.code == STUCK or is_status_misled, f"exit code {done.code} says nothing of the host")


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
    is_new = generation == way.clean[2]
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


def tried(cases: list[tuple[Way, Fault]], folder: Path) -> int:
    """Try faults in some processes, and print those that tore the host; how many did."""
    workers = 4 * (os.cpu_count() or 1)  # for most of the time is spent on commands that hang
    children = [_start(cases[number::workers], folder / f"worker{number}") for number in range(workers)]
    for child, _ in children:
        assert os.waitpid(child, 0)[1] == 0, "a worker failed"
    return sum(int(report.read_text()) for _, report in children)


def _start(cases: list[tuple[Way, Fault]], folder: Path) -> tuple[int, Path]:
    folder.mkdir()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            (folder / "torn").write_text(str(sum(_tears(way, fault, folder / "machine") for way, fault in cases)))
            code = 0
        finally:
            os._exit(code)
    return child, folder / "torn"


def _tears(way: Way, fault: Fault, folder: Path) -> bool:
    try:
        judge(way, fault, folder)
    except TornError as torn:
        print(torn, end="\n=====\n", flush=True)
        return True
    return False
