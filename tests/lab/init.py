"""The first process of a laboratory host: make its namespaces private, then hold them open.

`host.py` runs this file by path under `unshare`, as process 1 of a new pid namespace. It lives exactly as long as
the pipe on its standard input: when the pipe closes, because the test is over or because pytest was killed, this
process ends and the kernel ends every other process of the namespace with it. Standard library only, no imports
from the project.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

OVERLAID = ("/etc", "/var")
LAB = Path("/run/lab")
CALM_SYSCTLS = {
    # Duplicate address detection would hold every new address back for a second or more.
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv6/conf/default/dad_transmits": "0",
    # Nothing in the laboratory configures the host itself by router advertisements.
    "net/ipv6/conf/default/accept_ra": "0",
}


def mount(*arguments: str) -> None:
    """Mount; a failure ends this process, and its message reaches the test."""
    subprocess.run(["mount", *arguments], check=True, timeout=10)


def overlay(folder: str) -> None:
    """Let the namespace see the machine's folder and write into memory instead."""
    layers = LAB / "overlay" / folder.strip("/").replace("/", "-")
    upper, work = layers / "upper", layers / "work"
    for layer in (upper, work):
        layer.mkdir(parents=True)
    # The merged folder takes the mode of its top layer, and daemons that run as nobody read in it.
    upper.chmod(0o755)
    mount("-t", "overlay", "lab", "-o", f"lowerdir={folder},upperdir={upper},workdir={work}", folder)


def private_files() -> None:
    """Give the host its own /run and writable copies of what daemons write to."""
    mount("-t", "tmpfs", "-o", "mode=755", "lab", "/run")
    for folder in ("lab", "lab/home", "dbus", "lock", "netns"):
        Path("/run", folder).mkdir()
    for folder in OVERLAID:
        overlay(folder)
    # The distribution's package brings a network of its own; a test defines what it wants.
    shutil.rmtree("/etc/libvirt/qemu/networks", ignore_errors=True)


def private_kernel_views(sys_mode: str) -> None:
    """Mount /sys and /proc of these namespaces, and keep the machine's own settings out of reach.

    The control groups go with the old /sys: libvirt then starts guests without them and leaves no group behind.
    Of /proc/sys only `net` stays writable, because only `net` belongs to the namespace.
    """
    subprocess.run(["umount", "--recursive", "--lazy", "/sys"], check=True, timeout=10)
    mount("-t", "sysfs", "-o", sys_mode, "sysfs", "/sys")
    mount("-t", "proc", "proc", "/proc")
    mount("--bind", "/proc/sys", "/proc/sys")
    mount("-o", "remount,bind,ro", "/proc/sys")
    mount("--bind", "/proc/sys/net", "/proc/sys/net")
    mount("-o", "remount,bind,rw", "/proc/sys/net")


def identity(name: str) -> None:
    """Name the host and make sure that no look-up leaves it."""
    socket.sethostname(name)
    Path("/etc/hosts").write_text(f"127.0.0.1 localhost {name}\n::1 localhost {name}\n")
    resolver = Path("/etc/resolv.conf")
    resolver.unlink(missing_ok=True)
    resolver.write_text("")


def calm_network() -> None:
    """Bring the loopback up and switch off what would only make tests wait."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=10)
    for key, value in CALM_SYSCTLS.items():
        Path("/proc/sys", key).write_text(value)


def main() -> None:
    """Prepare the namespaces, report this process's id as the machine sees it, and wait for the pipe to close."""
    name, sys_mode = sys.argv[1:]
    pid_on_the_machine = os.readlink("/proc/self")
    private_files()
    private_kernel_views(sys_mode)
    identity(name)
    calm_network()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print(f"ready {pid_on_the_machine}", flush=True)
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
