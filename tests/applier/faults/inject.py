"""Run the applier in a child of this process, count what it does to the host, and break one step of that.

A step is a call of the system that changes something below the root, or a command of virsh. The applier itself knows
nothing of this: the functions that it calls are wrapped in the child, and the scripted virsh answers there.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import signal
import subprocess
import sys
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
Wrapped = Callable[..., Any]


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
        return self.name == "virsh"


@dataclass(frozen=True, slots=True)
class Run:
    """How a run of the applier ended; `code` is negative where a signal ended it."""

    code: int
    steps: tuple[Step, ...]
    said: str


def run(applier: Any, root: Path, arguments: list[str], fault: Fault | None, scratch: Path) -> Run:
    """Run the applier in a child, with a fault or none."""
    said, steps = scratch / "said", scratch / "steps"
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _in_child(applier, root, arguments, fault, (said, steps))
    status = os.waitpid(child, 0)[1]
    told = tuple(Step(*line.split("\t", 1)) for line in steps.read_text().splitlines())
    return Run(os.waitstatus_to_exitcode(status), told, said.read_text(errors="replace"))


def _in_child(
    applier: Any, root: Path, arguments: list[str], fault: Fault | None, outputs: tuple[Path, Path]
) -> NoReturn:
    code = 70
    try:
        os.setsid()
        said = os.open(outputs[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1)
        os.dup2(said, 2)
        sys.stdout = sys.stderr = io.TextIOWrapper(io.FileIO(said, "wb"), write_through=True)
        applier.start_logging = lambda: applier.log.addHandler(applier.logging.StreamHandler())
        applier.RETRIES = ()
        Breaker(root, fault, os.open(outputs[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)).wrap()
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
    """Counts steps, and breaks the one that a fault names."""

    def __init__(self, root: Path, fault: Fault | None, log: int) -> None:
        self.root = f"{root}/"
        self.fault = fault
        self.log = log
        self.count = 0
        self.disk = Disk()

    def wrap(self) -> None:
        """Put this between the applier and the system; in a child process only."""
        for name in ON_PATHS:
            setattr(os, name, self._wrapped(name, getattr(os, name), lambda path, *_: os.path.abspath(path)))
        for name in ON_DESCRIPTORS:
            setattr(os, name, self._wrapped(name, getattr(os, name), lambda descriptor, *_: _path_of(descriptor)))
        is_new = lambda path, flags, *_: os.path.abspath(path) if flags & os.O_CREAT else ""  # noqa: E731
        os.open = self._wrapped("open", os.open, is_new)
        breaker = self

        class Stream(io.FileIO):
            def write(self, data: Any) -> int:
                path = _path_of(self.fileno())
                fault = breaker.next_step("write", path) if path.startswith(breaker.root) else None
                if fault in ERRORS:
                    super().write(bytes(data)[: len(data) // 2])
                    raise OSError(ERRORS[str(fault)], os.strerror(ERRORS[str(fault)]))
                return super().write(data)

        os.fdopen = lambda descriptor, mode="r", *_, **__: io.BufferedWriter(Stream(descriptor, mode))  # type: ignore[assignment]
        subprocess.Popen = _popen(self)  # type: ignore[assignment, misc]

    def _wrapped(self, name: str, call: Wrapped, path_of: Callable[..., str]) -> Wrapped:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            path = path_of(*arguments)
            if not f"{path}/".startswith(self.root) or "dir_fd" in options:
                return call(*arguments, **options)
            fault = self.next_step(name, path)
            if fault in ERRORS:
                raise OSError(ERRORS[fault], os.strerror(ERRORS[fault]), path)
            self.disk.before(name, arguments)
            return call(*arguments, **options)

        return wrapped

    def next_step(self, name: str, what: str) -> str | None:
        """Count a step; the fault to break it with, unless that has ended this very process."""
        self.count += 1
        os.write(self.log, f"{name}\t{what}\n".encode())
        fault = self.fault
        if fault is None or self.count < fault.step or (self.count > fault.step and not fault.lasts):
            return None
        if fault.kind == "power":
            self.root = "\0"  # what the cut takes away is no step
            self.disk.cut()
        if fault.kind in DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
        if fault.kind == "signal":
            os.kill(os.getpid(), signal.SIGTERM)
            return None
        if fault.kind == "ENOSPC" and fault.lasts and name not in TAKES_SPACE:
            return None
        if fault.kind == "EROFS" and fault.lasts and name == "fsync":
            return None
        return fault.kind


def _path_of(descriptor: int | str) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}") if isinstance(descriptor, int) else os.path.abspath(descriptor)


class Answer:
    """A command of virsh that the breaker answers, as much of a process as the applier looks at."""

    def __init__(self, words: list[str], fault: str | None) -> None:
        self.words = words
        self.fault = fault
        self.returncode = 0

    def communicate(self, given: bytes = b"", _timeout: float | None = None) -> tuple[bytes, bytes]:
        out = err = ""
        if self.fault not in ("fail", "lie"):
            self.returncode, out, err = virsh.main(self.words, given.decode())
        if self.fault in ("fail", "fails after"):
            self.returncode, out, err = 1, "", "error: cannot recv data: Connection reset by peer\n"
        return out.encode(), err.encode()


class Hanging(subprocess.Popen[bytes]):
    """A command of virsh that gives no answer, before or after it did what it should."""

    def __init__(self, words: list[str], fault: str, **options: Any) -> None:
        super().__init__(("sleep", "60"), **options)
        self.words = words if fault == "hangs after" else None

    def communicate(self, given: bytes | None = None, timeout: float | None = None) -> tuple[bytes, bytes]:
        words, self.words = self.words, None
        if words and given is not None:
            virsh.main(words, given.decode())
        return super().communicate(None, timeout)


def _popen(breaker: Breaker) -> Callable[..., Any]:
    """A Popen that answers for virsh."""
    real = subprocess.Popen

    def popen(argv: list[bytes], **options: Any) -> Any:
        program, *words = (os.fsdecode(word) for word in argv)
        if program != "virsh":
            return real(argv, **options)
        fault = breaker.next_step("virsh", " ".join(word for word in words[3:] if "\n" not in word))
        return Hanging(words, fault, **options) if fault and fault.startswith("hang") else Answer(words, fault)

    return popen
