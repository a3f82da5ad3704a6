"""A machine that real systemd runs, emulated by QEMU: it is up in some seconds, and can be cut off from its power."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab.host import LabError
from tests.lab.machine import cpio, debian_kernel, packed_programs

MEMORY = "192M"
START_TIMEOUT = 180.0
COMMAND_TIMEOUT = 90.0
POLL_INTERVAL = 0.3
MODULES = (
    *("drivers/virtio/virtio_ring", "drivers/virtio/virtio", "drivers/virtio/virtio_pci_modern_dev"),
    *("drivers/virtio/virtio_pci_legacy_dev", "drivers/virtio/virtio_pci", "drivers/block/virtio_blk"),
)
INIT = """\
#!/bin/bash
export PATH=/bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
for module in /modules/*.ko; do insmod $module || echo "insmod $module failed"; done
mount -o ro,noatime /dev/vda /new
mount -o noatime /dev/vdb /new/disk
mount --bind /new/disk/etc /new/etc
mount --bind /new/disk/var /new/var
mount -t tmpfs tmp /new/tmp
umount /proc
exec switch_root /new /lib/systemd/systemd
"""
CMDLINE = "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check rdinit=/init systemd.unit=multi-user.target"


@dataclass(frozen=True)
class Answer:
    """What became of a command in a machine."""

    code: int
    told: str


def make_initrd(place: Path) -> None:
    """The kernel, and what it starts with: what mounts the disks and hands over to systemd."""
    kernel, modules = debian_kernel(MODULES)
    packed = {"init": INIT.encode(), "new/none": b""}
    packed |= {f"modules/{number:02}-{file.name}": file.read_bytes() for number, file in enumerate(modules)}
    packed |= dict(packed_programs(("bash", "kmod", "mount", "umount", "switch_root")))
    (place / "initrd").write_bytes(cpio(packed))
    (place / "kernel").symlink_to(kernel)


class Machine:
    """A running machine; ``disk`` is the image that it writes to, and in ``log`` every write to it is recorded."""

    def __init__(self, parts: Path, disk: Path, log: Path | None = None) -> None:
        self.disk = disk
        self.place = Path(disk.parent, f"{disk.stem}.run")
        self.place.mkdir(exist_ok=True)
        self.console = self.place / "console"
        self._agent_socket = self.place / "agent"
        self._agent: socket.socket | None = None
        self._process = subprocess.Popen(
            self._command(parts, log), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def _command(self, parts: Path, log: Path | None) -> list[str]:
        command = ["qemu-system-x86_64", "-machine", "q35,accel=tcg", "-cpu", "qemu64", "-m", MEMORY, "-no-reboot"]
        command += ["-nodefaults", "-display", "none", "-net", "none"]
        command += ["-chardev", f"file,id=console,path={self.console},append=on", "-serial", "chardev:console"]
        command += ["-chardev", f"socket,id=agent,path={self._agent_socket},server=on,wait=off"]
        root, disk = _image("root", parts / "root.img", read_only=True), _image("disk", self.disk)
        command += ["-serial", "chardev:agent", "-blockdev", json.dumps(root), "-device", "virtio-blk-pci,drive=root"]
        if log is not None:
            log.touch()
            disk = {"driver": "blklogwrites", "node-name": "disk", "file": disk | {"node-name": "plain"}}
            disk["log"] = _image("log", log)
        command += ["-blockdev", json.dumps(disk), "-device", "virtio-blk-pci,drive=disk,write-cache=on"]
        return [*command, "-kernel", str(parts / "kernel"), "-initrd", str(parts / "initrd"), "-append", CMDLINE]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut_off()

    # -- the machine ---------------------------------------------------------------------------------------------------

    def cut_off(self) -> None:
        """Take its power away."""
        if self._agent is not None:
            self._agent.close()
            self._agent = None
        self._process.kill()
        self._process.communicate(timeout=30)

    def wait_for_end(self) -> None:
        """Wait until it has switched itself off, or rebooted: it doesn't come back by itself."""
        self._process.wait(timeout=START_TIMEOUT)
        self.cut_off()

    # -- commands ------------------------------------------------------------------------------------------------------

    def wait_until_up(self) -> None:
        """Wait until it takes commands, and everything that starts with it has started."""
        agent = self._agent = socket.socket(socket.AF_UNIX)
        self._wait(lambda: _is_open(agent, self._agent_socket))
        agent.settimeout(START_TIMEOUT)
        if not self._line().endswith(b"ready\n"):
            raise LabError(self._failed("it doesn't take commands"))
        agent.settimeout(COMMAND_TIMEOUT)
        self.run("systemctl is-system-running --wait")

    def run(self, script: str) -> Answer:
        """Run a script to its end; it may outlive this only where it was sent into the background."""
        self.send(script)
        answer = json.loads(self._line())
        return Answer(answer["code"], answer["told"])

    def send(self, script: str) -> None:
        """Start a script, and don't wait for it."""
        assert self._agent is not None
        self._agent.sendall(json.dumps({"script": script}).encode() + b"\n")

    def expect(self, code: int, script: str) -> str:
        """Run a script and hold it to an exit code; what it told."""
        answer = self.run(script)
        if answer.code != code:
            raise LabError(f"{script}: exit {answer.code}\n{answer.told}")
        return answer.told

    def eventually(self, script: str) -> None:
        """Wait until a script succeeds."""
        self._wait(lambda: self.run(script).code == 0)

    def _line(self) -> bytes:
        assert self._agent is not None
        found = b""
        while not found.endswith(b"\n"):
            try:
                more = self._agent.recv(65536)
            except TimeoutError as error:
                raise LabError(self._failed("it gives no answer")) from error
            if not more:
                raise LabError(self._failed("it ended"))
            found += more
        return found

    def _wait(self, is_so: Callable[[], object]) -> None:
        deadline = time.monotonic() + COMMAND_TIMEOUT
        while not is_so():
            if self._process.poll() is not None:
                raise LabError(self._failed("it ended"))
            if time.monotonic() > deadline:
                raise LabError(self._failed("it never came so far"))
            time.sleep(POLL_INTERVAL)

    def _failed(self, what: str) -> str:
        self.cut_off()
        printed = self.console.read_text(errors="replace")[-3000:] if self.console.exists() else ""
        return f"the machine: {what}\n{printed}"


def _is_open(connection: socket.socket, place: Path) -> bool:
    with suppress(OSError):
        connection.connect(str(place))
        return True
    return False


def _image(name: str, file: Path, *, read_only: bool = False) -> dict[str, object]:
    """A raw image as QEMU is to be told of it."""
    below = {"driver": "file", "filename": str(file), "read-only": read_only}
    return {"driver": "raw", "node-name": name, "read-only": read_only, "file": below}
