"""A host of the laboratory with a real libvirtd and a running guest, on which the applier is broken.

The applier runs in a child of this process that enters the host's namespaces: it changes the host's own files, sets its
kernel, and runs the real virsh. What the host is, is asked of libvirt, of the kernel, and of its files.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.applier.faults.cases import CHANGING, Look, Machine, Way
from tests.applier.faults.inject import DAEMON_FAULTS, ERRORS, REAL_POPEN, Fault, Place, Run, Step, run
from tests.applier.faults.site import NEW, OLD, REMEMBERED, Files, write_output
from tests.applier.folder import HOST, applier_module
from tests.applier.run import VOLATILE, pinned
from tests.lab.domain import START_TIMEOUT
from tests.lab.host import ENVIRONMENT, LabHost

FOLDERS = ("etc/modules-load.d", "etc/sysctl.d", "etc/udev/rules.d")
SETTING = "net.ipv4.ip_default_ttl"
GUEST, TAP = "web", "tap-web"
PATIENT, IMPATIENT = "30", "3"  # seconds, as the applier is told; with a libvirtd that stands still all are waited for
PROGRAMS = ("virsh", "ip", "sh", "udevadm")
"""The programs that the host has beside systemd's own."""

ONCE, FOR_GOOD = (*ERRORS, "kill", "signal", "clock"), (*ERRORS, "unreadable")
FILE_FAULTS = (*((kind, False) for kind in ONCE), *((kind, True) for kind in FOR_GOOD))
QUESTION_FAULTS = ("kill", "fail", "hang", "lie", "gone", "restart")
COMMAND_FAULTS = ("kill", "signal", "clock", "fail", "fails after", "hang", "hangs after", "lie", *DAEMON_FAULTS)

CHANGED: Files = {
    "etc/sysctl.d/90-kvmgen.conf": f"{SETTING} = 63\n",
    **{path: NEW[path] for path in NEW if re.search("lab|plain", path)},
    "libvirt/domains/web.xml": OLD["libvirt/domains/web.xml"].replace(">262144<", ">524288<"),
}
LASTING: Files = {
    "etc/sysctl.d/90-kvmgen.conf": f"{SETTING} = 64\n",
    **{path: OLD[path] for path in OLD if re.search("lab|plain|web", path)},
}
"""What stays: a setting, a network and a filter, and the guest that has them."""

GONE: Files = {"etc/modules-load.d/kvmgen.conf": "bridge\n", **{path: OLD[path] for path in OLD if "/gone.xml" in path}}
FRESH: Files = {
    "etc/udev/rules.d/90-fresh.rules": "# nothing\n",
    **{path: NEW[path] for path in NEW if path.endswith("/fresh.xml") and path.startswith("libvirt/")},
}
ALL_NEW: Files = {**CHANGED, **FRESH, "libvirt/domains/web.xml": NEW["libvirt/domains/web.xml"]}

LISTS = {
    "network/{}.xml": ("net-list --all --persistent --name", "net-dumpxml --inactive {}"),
    "network/{}.live": ("net-list --name", "net-dumpxml {}"),
    "network/{}.autostart": ("net-list --all --autostart --name", ""),
    "nwfilter/{}.xml": ("nwfilter-list", "nwfilter-dumpxml {}"),
    "domain/{}.xml": ("list --all --persistent --name", "dumpxml --inactive {}"),
    "domain/{}.live": ("list --name", "dumpxml {}"),
    "domain/{}.autostart": ("list --all --autostart --name", ""),
}
"""What of libvirt is looked at: the names of each kind, and how one is told."""

KERNEL = f"""\
echo "== kernel: {SETTING}"; sysctl -n {SETTING}
echo "== kernel: rules"; iptables-save -t filter | grep ^-A
echo "== guest: process"; pid=$(cat /run/libvirt/qemu/{GUEST}.pid); echo $pid; test -d /proc/$pid || echo ended
echo "== guest: tap"; readlink /sys/class/net/{TAP}/brport/bridge
"""
_LIBC = ctypes.CDLL(None, use_errno=True)


class Bench:
    """The host, and what was last made of it."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Know of nothing: a worker has the bench of its parent, and another host."""
        self.lab = LabHost(HOST)
        self.start: Start | None = None
        self.state = "at work"  # libvirtd's: or gone, or stopped
        self.process = ""
        self.built_in: set[str] = set()
        self.scratch = Path()

    def __enter__(self) -> Self:
        self.clear()
        self.scratch = Path(tempfile.mkdtemp(prefix="kvmgen-bench-"))
        self.lab.start()
        self.lab.start_libvirtd()
        links = "".join(f"ln -s $(command -v {name}) /run/lab/bin/; " for name in PROGRAMS)
        self.lab.run("sh", "-c", f"mkdir /run/lab/bin /etc/udev/rules.d -p; {links}")
        self.built_in = {row.split()[-1] for row in self.virsh("nwfilter-list").split("\n") if row.strip()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lab.stop()
        shutil.rmtree(self.scratch)

    @property
    def root(self) -> Path:
        return self.lab.file("/")

    def virsh(self, *commands: str) -> str:
        return self.lab.virsh("; ".join(commands), timeout=START_TIMEOUT).stdout

    # -- libvirtd ------------------------------------------------------------------------------------------------------

    def serve(self, request: str) -> None:
        """Do to libvirtd what a fault asks for."""
        self.state = "stopped" if request == "stop" else "gone"
        self._signal("STOP" if request == "stop" else "KILL")
        if request != "stop":
            self.lab.stop_daemon("libvirtd")
        if request == "restart":
            self.revive()

    def revive(self) -> None:
        """Have libvirtd there, and at work."""
        if self.state == "gone":
            self.lab.start_libvirtd()
        elif self.state == "stopped":
            self.lab.resume_daemon("libvirtd")
        self.state = "at work"

    def _signal(self, name: str) -> None:
        self.lab.run("sh", "-c", f'kill -{name} "$(cat /run/lab/libvirtd.pid)"', check=False)

    # -- what the host is ----------------------------------------------------------------------------------------------

    def look(self) -> Look:
        """Files with their modes, libvirt's definitions, the kernel's setting and rules, the guest and its tap."""
        self.revive()
        found: Look = {}
        for folder in FOLDERS:
            for file in sorted((self.root / folder).iterdir()):
                if file.is_file() and not file.is_symlink():
                    found[f"{folder}/{file.name}"] = (oct(file.stat().st_mode & 0o7777), file.read_bytes())
        lists = _parts(self.virsh(*(line for key, (names, _) in LISTS.items() for line in (_echo(key), names))))
        dumps: list[str] = []
        for key, text in lists.items():
            for name in (line.split()[-1] for line in text.splitlines() if line.strip()):
                if not (key.startswith("nwfilter") and name in self.built_in):  # whose UUIDs are of each install
                    dumps += (_echo(f"libvirt: {key.format(name)}"), LISTS[key][1].format(name) or "echo yes")
        found.update((key, _lasting(text)) for key, text in _parts(self.virsh(*dumps)).items())
        found.update(_parts(self.lab.run("sh", "-c", KERNEL, check=False).stdout))
        found["kernel: rules"] = _in_order(str(found["kernel: rules"]))
        found["guest: process"] = "runs on" if found["guest: process"] == self.process else found["guest: process"]
        return found

    # -- making it what it was -----------------------------------------------------------------------------------------

    def reset(self, start: Start) -> None:
        """Have the host be what a way begins with: put back what a fault left, or make it anew."""
        if self.start is not start or not self._is_back(start):
            self._make(start)

    def _is_back(self, start: Start) -> bool:
        machine = RealMachine(self.scratch, start.applier, self, start)
        if machine.generation > start.generation:
            machine.run("rollback", str(start.generation))
        shutil.rmtree(self.root / REMEMBERED)
        shutil.copytree(self.scratch / "remembered", self.root / REMEMBERED)
        return self.look() == start.host

    def _make(self, start: Start) -> None:
        self.process = ""
        self._wipe()
        machine = RealMachine(self.scratch, start.applier, self, start)
        for number, output in enumerate(start.outputs):
            machine.expect("apply", output, "--host", HOST)
            if number == 0:
                self.virsh(f"start {GUEST} --paused")
        self.process = str(self.look()["guest: process"])
        start.host, start.generation, self.start = self.look(), machine.generation, start
        shutil.rmtree(self.scratch / "remembered", ignore_errors=True)
        shutil.copytree(self.root / REMEMBERED, self.scratch / "remembered")

    def _wipe(self) -> None:
        self.revive()
        for kind, stop, undefine in (("", "destroy", "undefine"), ("net-", "net-destroy", "net-undefine")):
            for which, command in (("", stop), ("--all", undefine)):
                for name in self.virsh(f"{kind}list --name {which}").split():
                    self.virsh(f"{command} {name}")
        for path in sorted({*OLD, *NEW}):
            if "nwfilters" in path:
                self.lab.virsh("nwfilter-undefine", Path(path).stem, check=False)
        for path in {*LASTING, *GONE, *FRESH}:
            if path.startswith("etc/"):
                (self.root / path).unlink(missing_ok=True)
        shutil.rmtree(self.root / REMEMBERED, ignore_errors=True)


def _echo(name: str) -> str:
    """A command of virsh that heads what follows; it doesn't end lines by itself."""
    return f"echo '\n== {name}\n'"


def _parts(text: str) -> dict[str, str]:
    """What stands below each line `== name`."""
    return {name: part.strip() for name, part in re.findall(r"^== (.*)\n((?:(?!== ).*\n?)*)", text, re.MULTILINE)}


def _in_order(rules: str) -> str:
    """Rules in their order, but those of networks: libvirt makes them anew in any."""
    return "\n".join(sorted(rules.splitlines(), key=lambda rule: rule if rule.startswith("-A LIBVIRT_") else ""))


def _lasting(text: str) -> str:
    """A definition without what libvirt gives out anew each time."""
    return re.sub(r"^(<domain .*) id='\d+'", r"\1", VOLATILE.sub("", text))


@dataclass(eq=False)
class Start:
    """What a way begins with: outputs that are applied one after the other, and what the host is then."""

    applier: Any
    outputs: tuple[str, ...]
    host: Look = field(default_factory=dict)
    generation: int = 0


@dataclass(slots=True)
class RealMachine(Machine):
    """The host of the laboratory."""

    bench: Bench
    start: Start
    seed: int = 1

    @property
    def root(self) -> Path:
        return self.bench.root

    def run(self, *words: str, faults: tuple[Fault, ...] = ()) -> Run:
        self.bench.revive()
        roots = (*(f"/{folder}/" for folder in FOLDERS), f"/{REMEMBERED}/")
        process = self.bench.lab.pid
        place = Place(roots, _answer, is_real=True, enter=lambda: _enter(process), serve=self.bench.serve)
        timeout = IMPATIENT if any(fault.kind == "stop" for fault in faults) else PATIENT
        return run(self.applier, place, ["--timeout", timeout, *words], faults, self.folder)

    def look(self) -> Look:
        return self.bench.look()

    def copy(self, folder: Path) -> RealMachine:
        folder.mkdir(parents=True)
        self.bench.reset(self.start)
        return RealMachine(folder, self.applier, self.bench, self.start, self.seed)

    def faults_of(self, step: Step, number: int) -> Iterator[Fault]:
        """All that can go wrong with a command that changes something, and of the rest one after the other.

        The seed says which first. What goes wrong with files and with questions is tried whole against the scripted
        virsh: it is the same here.
        """
        turn = number + self.seed
        if not step.is_command:
            kind, lasts = FILE_FAULTS[turn % len(FILE_FAULTS)]
            yield Fault(kind, number, lasts)
        elif step.name == "virsh" and step.what.split()[0] in CHANGING:
            yield from (Fault(kind, number, lasts=kind in ("gone", "stop")) for kind in COMMAND_FAULTS)
        else:
            no_lie = "list" in step.what  # for that there is nothing of a kind is an answer as good as any
            kinds = tuple(kind for kind in QUESTION_FAULTS if not (kind == "lie" and no_lie))
            kind = kinds[turn % len(kinds)]
            yield Fault(kind, number, lasts=kind == "gone")


def _enter(process: int) -> None:
    """Have this process go on as a child inside a host's namespaces, and end as that one does."""
    spaces = [os.open(f"/proc/{process}/ns/{name}", os.O_RDONLY) for name in ("ipc", "uts", "net", "pid", "mnt")]
    for space in spaces:
        if _LIBC.setns(space, 0) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        os.close(space)
    os.chdir("/")
    child = os.fork()
    if child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code < 0:
            os.kill(os.getpid(), -code)
        os._exit(code)
    os.environ.clear()
    os.environ.update(ENVIRONMENT, PATH="/run/lab/bin")


def _answer(argv: list[str], given: str) -> tuple[int, str, str]:
    """Run a program to its end, unseen by the applier."""
    pipe = subprocess.PIPE
    process = REAL_POPEN(argv, stdin=pipe, stdout=pipe, stderr=pipe)
    out, err = process.communicate(given.encode(), START_TIMEOUT)
    return process.returncode, out.decode(), err.decode()


UNDONE = "apply of all that fails"


class RealWays:
    """The ways that are tried on a real host."""

    def __init__(self, folder: Path, bench: Bench, seed: int) -> None:
        self.folder = folder
        self.bench = bench
        self.seed = seed
        self.applier = applier_module()
        self.starts: dict[tuple[str, ...], Start] = {}

    def all(self, wanted: str = "") -> Iterator[Way]:
        """Every way with this in its name: each verb by itself, which is many short ones; back; all at once, undone."""
        lasting, changed = self.output("lasting", LASTING), self.output("changed", CHANGED)
        more, less = self.output("more", {**LASTING, **FRESH}), self.output("less", {**LASTING, **GONE})
        for name, applied, outputs in (
            ("apply that makes", more, (lasting,)),
            ("apply that changes", changed, (lasting,)),
            ("apply that removes", lasting, (less,)),
            ("rollback", None, (lasting, changed)),
        ):
            if wanted in name:
                yield self.way(name, applied, *outputs)
        if wanted in UNDONE:
            yield self.undoing(self.output("all", ALL_NEW), less)

    def way(self, name: str, applied: str | None, *outputs: str, first: tuple[Fault, ...] = ()) -> Way:
        scratch = self.folder / name.replace(" ", "-")
        scratch.mkdir(exist_ok=True)
        start = self.starts.setdefault(outputs, Start(self.applier, outputs))
        machine = RealMachine(scratch / "machine", self.applier, self.bench, start, self.seed)
        words = ("rollback",) if applied is None else ("apply", applied, "--host", HOST)
        return Way(name, machine, words, first=first)

    def undoing(self, applied: str, *outputs: str) -> Way:
        """An apply of everything at once that fails at its end, so that there is everything to undo."""
        steps = self.way("apply of all", applied, *outputs).steps
        is_last = [step.name == "open" and "/generations/" in step.what for step in steps]
        return self.way(UNDONE, applied, *outputs, first=(Fault("EIO", is_last.index(True) + 1),))

    def output(self, name: str, files: Mapping[str, str]) -> str:
        texts = {path: pinned(text) for path, text in files.items()}
        return str(write_output(self.folder / "outputs" / name, texts))
