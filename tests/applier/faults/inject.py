"""Run the applier in a child of this process, count what it does to the host, and break some steps of that.

A step is a call of the system that changes something below the root, or a program. The applier itself knows nothing of
this: the functions that it calls are wrapped in the child. There the scripted virsh answers, or the real one is run.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from tests.applier.faults import virsh

ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EROFS": errno.EROFS}
ON_PATHS = ("chmod", "chown", "link", "mkdir", "rename", "replace", "rmdir", "symlink", "truncate", "unlink")
ON_DESCRIPTORS = ("fchmod", "fchown", "fsync", "fdatasync", "ftruncate", "setxattr")
TAKES_SPACE = ("link", "mkdir", "open", "rename", "replace", "symlink", "write")
DEADLY = ("kill", "power")
COMMAND_FAULTS = ("fail", "fails after", "hang", "hangs after", "lie")
DAEMON_FAULTS = ("gone", "dies", "restart", "stop")
"""libvirtd is killed before a command or while it works, is started anew, or stands still."""

PATIENCE = 0.3  # seconds that a command is waited for of which it is known that it hangs
CLOCK_JUMP = 10 * 365 * 86400
REAL_POPEN = subprocess.Popen
Wrapped = Callable[..., Any]
Answering = Callable[[list[str], str], tuple[int, str, str]]


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong at a step; a lasting one goes wrong ever after as well."""

    kind: str
    step: int
    lasts: bool = False

    def __str__(self) -> str:
        return f"{self.kind} {'from' if self.lasts else 'at'} step {self.step}"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a run."""

    name: str
    what: str

    @property
    def is_command(self) -> bool:
        return self.name in ("virsh", "program")


@dataclass(frozen=True, slots=True)
class Run:
    """How a run of the applier ended; `code` is negative where a signal ended it."""

    code: int
    steps: tuple[Step, ...]
    said: str


def _scripted(argv: list[str], given: str) -> tuple[int, str, str]:
    return virsh.main(argv[1:], given)


def _nothing(*_: object) -> None:
    """What there is to do before a scripted run, and for its daemons."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run takes place: what its steps change, who answers for virsh where the breaker does not let it run."""

    roots: tuple[str, ...]
    answer: Answering = _scripted
    is_real: bool = False  # whether programs are run, and each of them is a step
    enter: Callable[[], None] = _nothing  # in the child, before the run
    serve: Callable[[str], None] = _nothing  # in the parent: what becomes of libvirtd


def run(applier: Any, place: Place, arguments: list[str], faults: tuple[Fault, ...], scratch: Path) -> Run:
    """Run the applier in a child, with faults or none."""
    said, steps = scratch / "said", scratch / "steps"
    sys.stdout.flush()
    here, there = socket.socketpair()
    child = os.fork()
    if child == 0:
        here.close()
        _in_child(applier, place, arguments, faults, (said, steps, there))
    there.close()
    with here:
        while request := here.recv(64):
            place.serve(request.decode())
            here.send(b"done")
    status = os.waitpid(child, 0)[1]
    told = tuple(Step(*line.split("\t", 1)) for line in steps.read_text().splitlines())
    return Run(os.waitstatus_to_exitcode(status), told, said.read_text(errors="replace"))


def _in_child(
    applier: Any,
    place: Place,
    arguments: list[str],
    faults: tuple[Fault, ...],
    outputs: tuple[Path, Path, socket.socket],
) -> NoReturn:
    code = 70
    try:
        os.setsid()
        said = os.open(outputs[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        steps = os.open(outputs[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1)
        os.dup2(said, 2)
        sys.stdout = sys.stderr = io.TextIOWrapper(io.FileIO(said, "wb"), write_through=True)
        place.enter()
        applier.start_logging = lambda: applier.log.addHandler(applier.logging.StreamHandler())
        applier.RETRIES = ()
        Breaker(place, faults, steps, outputs[2]).wrap(applier)
        code = applier.main(arguments)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException as error:
        os.write(2, f"the harness: {error!r}\n".encode())
    finally:
        os._exit(code)


@dataclass(slots=True)
class Disk:
    """What a power cut takes away: what was not synced, neither a file's bytes nor its name."""

    synced: set[int] = field(default_factory=set)
    unsure: list[tuple[str, Callable[[], None]]] = field(default_factory=list)

    def before(self, name: str, arguments: tuple[Any, ...]) -> None:
        """Remember how to take back what a call is about to do."""
        if name in ("rename", "replace"):
            self._rename(os.fspath(arguments[0]), os.fspath(arguments[1]))
        elif name == "unlink":
            self._keep(os.fspath(arguments[0]))
        elif name == "mkdir":
            path = os.fspath(arguments[0])
            self.unsure.append((os.path.dirname(path), lambda: shutil.rmtree(path, ignore_errors=True)))
        elif name == "fsync":
            self._sync(arguments[0])

    def cut(self) -> None:
        """Lose what was not synced, the last first."""
        for _, lose in reversed(self.unsure):
            lose()

    def _keep(self, path: str) -> None:
        if not os.path.exists(path):
            self.unsure.append((os.path.dirname(path), lambda: Path(path).unlink(missing_ok=True)))
            return
        content, mode = Path(path).read_bytes(), os.stat(path).st_mode & 0o7777

        def put_back() -> None:
            Path(path).write_bytes(content)
            Path(path).chmod(mode)

        self.unsure.append((os.path.dirname(path), put_back))

    def _rename(self, source: str, target: str) -> None:
        if os.stat(source).st_ino not in self.synced:
            self.unsure.append(("", lambda: os.truncate(target, 0)))
        self._keep(target)

    def _sync(self, descriptor: int) -> None:
        folder = os.readlink(f"/proc/self/fd/{descriptor}")
        self.synced.add(os.fstat(descriptor).st_ino)
        self.unsure = [(place, lose) for place, lose in self.unsure if place != folder]


class Breaker:
    """Counts steps, and breaks those that faults name."""

    def __init__(self, place: Place, faults: tuple[Fault, ...], log: int, parent: socket.socket) -> None:
        self.place = place
        self.roots = place.roots
        self.faults = faults
        self.log = log
        self.parent = parent
        self.count = 0
        self.disk = Disk()
        self.is_unreadable = False

    def wrap(self, applier: Any) -> None:
        """Put this between the applier and the system; in a child process only."""
        for name in ON_PATHS:
            setattr(os, name, self._wrapped(name, getattr(os, name), lambda path, *_: os.path.abspath(path)))
        for name in ON_DESCRIPTORS:
            setattr(os, name, self._wrapped(name, getattr(os, name), lambda descriptor, *_: _path_of(descriptor)))
        is_new = lambda path, flags, *_: os.path.abspath(path) if flags & os.O_CREAT else ""  # noqa: E731
        os.open = self._read(self._wrapped("open", os.open, is_new))
        applier.open = self._read(open)
        breaker = self

        class Stream(io.FileIO):
            def write(self, data: Any) -> int:
                path = _path_of(self.fileno())
                fault = breaker.next_step("write", path) if path.startswith(breaker.roots) else None
                if fault in ERRORS:
                    super().write(bytes(data)[: len(data) // 2])
                    raise OSError(ERRORS[str(fault)], os.strerror(ERRORS[str(fault)]))
                return super().write(data)

        os.fdopen = lambda descriptor, mode="r", *_, **__: io.BufferedWriter(Stream(descriptor, mode))  # type: ignore[assignment]
        subprocess.Popen = _popen(self)  # type: ignore[assignment, misc]

    def _wrapped(self, name: str, call: Wrapped, path_of: Callable[..., str]) -> Wrapped:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            path = path_of(*arguments)
            if not f"{path}/".startswith(self.roots) or "dir_fd" in options:
                return call(*arguments, **options)
            fault = self.next_step(name, path)
            if fault in ERRORS:
                raise OSError(ERRORS[fault], os.strerror(ERRORS[fault]), path)
            self.disk.before(name, arguments)
            return call(*arguments, **options)

        return wrapped

    def _read(self, call: Wrapped) -> Wrapped:
        def read(path: Any, *arguments: Any, **options: Any) -> Any:
            if self.is_unreadable and not isinstance(path, int) and os.path.abspath(path).startswith(self.roots):
                raise OSError(errno.EIO, os.strerror(errno.EIO), path)
            return call(path, *arguments, **options)

        return read

    def next_step(self, name: str, what: str) -> str | None:
        """Count a step; the fault to break it with, unless that has ended this very process."""
        self.count += 1
        os.write(self.log, f"{name}\t{what}\n".encode())
        for fault in self.faults:
            if self.count == fault.step or (self.count > fault.step and fault.lasts):
                return self._happens(fault, name)
        return None

    def _happens(self, fault: Fault, name: str) -> str | None:
        if fault.kind == "power":
            self.roots = ("\0",)  # what the cut takes away is no step
            self.disk.cut()
        if fault.kind in DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
        if fault.kind in ("gone", "restart", "stop") and self.count == fault.step:
            self.ask(fault.kind)
        if fault.kind in ("gone", "restart", "stop", "signal", "clock"):
            _SILENT.get(fault.kind, _nothing)()
            return None
        if fault.kind == "unreadable":
            self.is_unreadable = True
            return "EIO"
        if fault.kind == "ENOSPC" and fault.lasts and name not in TAKES_SPACE:
            return None
        if fault.kind == "EROFS" and fault.lasts and name == "fsync":
            return None
        return fault.kind

    def ask(self, request: str) -> None:
        """Have the parent do something to libvirtd, and wait until that is done."""
        self.parent.send(request.encode())
        self.parent.recv(64)


def _set_clock() -> None:
    """Set the clock of this process: ten years on."""
    now, calendar = time.time, time.gmtime
    time.time = lambda: now() + CLOCK_JUMP
    time.gmtime = lambda seconds=None: calendar(now() + CLOCK_JUMP if seconds is None else seconds)


_SILENT = {"signal": lambda: os.kill(os.getpid(), signal.SIGTERM), "clock": _set_clock}
"""What happens beside a step, which goes on."""


def _path_of(descriptor: int | str) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}") if isinstance(descriptor, int) else os.path.abspath(descriptor)


class Answer:
    """A command that the breaker answers, as much of a process as the applier looks at."""

    def __init__(self, answer: Callable[[str], tuple[int, str, str]], fault: str | None) -> None:
        self.answer = answer
        self.fault = fault
        self.returncode = 0

    def communicate(self, given: bytes = b"", _timeout: float | None = None) -> tuple[bytes, bytes]:
        out = err = ""
        if self.fault not in ("fail", "lie"):
            self.returncode, out, err = self.answer(given.decode())
        if self.fault in ("fail", "fails after"):
            self.returncode, out, err = 1, "", "error: cannot recv data: Connection reset by peer\n"
        return out.encode(), err.encode()


class Hanging(subprocess.Popen[bytes]):
    """A command that gives no answer, before or after it did what it should."""

    def __init__(self, answer: Callable[[str], object], fault: str, **options: Any) -> None:
        super().__init__(("sleep", "60"), **options)
        self.answer = answer if fault == "hangs after" else None

    def communicate(self, given: bytes | None = None, timeout: float | None = None) -> tuple[bytes, bytes]:
        answer, self.answer = self.answer, None
        if answer and given is not None:
            answer(given.decode())
        return super().communicate(None, timeout and min(timeout, PATIENCE))


def _popen(breaker: Breaker) -> Callable[..., Any]:
    """A Popen that answers for virsh, or runs it, as it does any other program of a real host."""
    real, place = subprocess.Popen, breaker.place

    def popen(argv: list[bytes], **options: Any) -> Any:
        program, *words = (os.fsdecode(word) for word in argv)
        if program != "virsh" and not place.is_real:
            return real(argv, **options)
        name, shown = ("virsh", words[3:]) if program == "virsh" else ("program", [os.path.basename(program), *words])
        fault = breaker.next_step(name, " ".join(word for word in shown if "\n" not in word))
        answer = lambda given: place.answer([program, *words], given)  # noqa: E731
        if fault and fault.startswith("hang"):
            return Hanging(answer, fault, **options)
        if fault in COMMAND_FAULTS or not place.is_real:
            return Answer(answer, fault)
        process = real(argv, **options)
        if fault == "dies":
            breaker.ask("gone")
        return process

    return popen
