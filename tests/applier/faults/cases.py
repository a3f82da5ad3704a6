"""Every way through the applier, and every fault of every step of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.applier.faults import virsh
from tests.applier.faults.inject import COMMAND_FAULTS, DEADLY, ERRORS, Fault, Place, Run, Step, run
from tests.applier.faults.site import NEW, OLD, REMEMBERED, look, remembered, write_output
from tests.applier.folder import HOST, applier_module

DONE, FAILED, PENDING, ROLLED_BACK, STUCK = 0, 1, 3, 4, 5
TIMEOUT = "1"  # seconds; the applier takes whole ones
CHANGING = (
    *("define", "undefine", "start", "destroy", "autostart", "update-device", "nwfilter-define", "nwfilter-undefine"),
    *("net-define", "net-undefine", "net-start", "net-destroy", "net-autostart", "net-update"),
)
"""The commands of virsh that change something."""

LASTING = (*ERRORS, "fail", "hang", "signal", "unreadable")
"""What may also go wrong ever after: a full disk, a broken one, a libvirt that is gone or hangs."""

OF_NO_QUESTION = ("power", "fails after", "hangs after")
"""What makes no difference where nothing is changed."""

OF_RECOVERIES = {("kill", False), ("EIO", False), ("ENOSPC", True), ("fail", False), ("fail", True)}
"""What is tried as a second fault, in the run after a kill: kinds, and whether they last."""

OF_UNDOING = {("kill", False), ("EIO", False), ("fail", False), ("lie", False), ("hang", False)}
"""What is tried as a second fault, while an apply that failed is undone."""

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

    @property
    def is_confirmed(self) -> bool:
        return "unconfirmed" not in json.loads((self.root / REMEMBERED / "state.json").read_text())

    def run(self, *words: str, faults: tuple[Fault, ...] = ()) -> Run:
        first = ["--root", str(self.root), "--connect", f"{virsh.SCHEME}{self.libvirt}", "--timeout", TIMEOUT]
        return run(self.applier, Place((f"{self.root}/",)), [*first, *words], faults, self.folder)

    def expect(self, *words: str, code: int = DONE, faults: tuple[Fault, ...] = ()) -> Run:
        done = self.run(*words, faults=faults)
        if done.code != code:
            raise TornError(f"{' '.join(words)} ended with {done.code}: {done.said}")
        return done

    def virsh(self, *words: str) -> None:
        assert virsh.main(["--connect", f"{virsh.SCHEME}{self.libvirt}", *words], "")[0] == 0

    def look(self) -> Look:
        return look(self.root, self.libvirt)

    def faults_of(self, step: Step, number: int) -> Iterator[Fault]:
        return faults_of(step, number)

    def copy(self, folder: Path) -> Machine:
        shutil.copytree(self.folder, folder)
        return Machine(folder, self.applier)


@dataclass(frozen=True, slots=True)
class Clean:
    """A way without a fault: the host before it, its steps, the host and its generation after it."""

    old: Look
    steps: tuple[Step, ...]
    new: Look
    generation: int


@dataclass
class Way:
    """One way through the applier: a host to begin with, and the words that it is called with."""

    name: str
    start: Machine
    words: tuple[str, ...]
    is_one_way: bool = False  # whether only the new host may be the end of it
    first: tuple[Fault, ...] = ()  # what goes wrong before any other fault, so that it is undone

    @cached_property
    def clean(self) -> Clean:
        """The way without a fault."""
        machine = self.start.copy(self.start.folder.with_name("clean"))
        old = machine.look()
        done = machine.expect(*self.words, code=ROLLED_BACK if self.first else DONE, faults=self.first)
        found = Clean(old, done.steps, machine.look(), machine.generation)
        shutil.rmtree(machine.folder)
        return found

    @property
    def old(self) -> Look:
        return self.clean.old

    @property
    def steps(self) -> tuple[Step, ...]:
        return self.clean.steps

    @property
    def new(self) -> Look:
        return self.clean.new

    def faults(self) -> Iterator[Fault]:
        """Every fault of every step."""
        kinds = OF_UNDOING if self.first else OF_RECOVERIES if self.name.startswith("recovery") else None
        for number, step in enumerate(self.steps, 1):
            for fault in self.start.faults_of(step, number):
                if (kinds is None or (fault.kind, fault.lasts) in kinds) and all(number > it.step for it in self.first):
                    yield fault


def faults_of(step: Step, number: int) -> Iterator[Fault]:
    """What can go wrong with a step. That there is nothing of a kind is an answer as good as any: no list lies."""
    is_question = step.is_command and step.what.split()[0] not in CHANGING
    kinds = COMMAND_FAULTS if step.is_command else (*ERRORS, "unreadable")
    for kind in (*DEADLY, "signal", *kinds):
        if kind not in (OF_NO_QUESTION if is_question else ()) and not (kind == "lie" and "list" in step.what):
            yield Fault(kind, number, lasts=kind == "unreadable")
        if kind in LASTING and kind != "unreadable" and not (is_question and kind == "signal"):
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
        asked = (self.first(), self.change(), self.rollback(), self.expiry(), self.confirmation())
        return (*asked, *self.recoveries(), *self.undoings())

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

    def undoings(self) -> Iterator[Way]:
        """Applies that fail and are undone: at the end of all, and in the middle of libvirt's objects."""
        yield self._undoing("at its end", lambda step: step.name == "open" and "/generations/" in step.what)
        yield self._undoing("in its middle", lambda step: step.is_command and step.what.startswith("update-device"))

    def _undoing(self, when: str, is_it: Callable[[Step], bool]) -> Way:
        way = self.change()
        number = next(number for number, step in enumerate(way.steps, 1) if is_it(step))
        fault = Fault("fail" if way.steps[number - 1].is_command else "EIO", number)
        machine = way.start.copy(self.folder / f"undoing {when}".replace(" ", "-") / "machine")
        return Way(f"apply that fails {when}", machine, way.words, first=(fault,))

    def _recovery(self, way: Way, step: int) -> Way:
        name = f"recovery of {way.name} from step {step}"
        machine = way.start.copy(self.folder / name.replace(" ", "-") / "machine")
        machine.run(*way.words, faults=(Fault("kill", step),))
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
