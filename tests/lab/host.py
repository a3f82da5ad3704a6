"""A KVM host made of namespaces: its own network, files under /etc, /var and /run, processes and host name.

Everything that a host owns dies with process 1 of its pid namespace (`init.py`), and that process dies when the
pipe to it closes. So nothing is left behind even where pytest itself is killed.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

Backend = Literal["nftables", "iptables"]
Text = subprocess.CompletedProcess[str]

INIT = Path(__file__).with_name("init.py")
NAMESPACES = ("--net", "--mount", "--pid", "--uts", "--ipc")
START_TIMEOUT = 15.0
COMMAND_TIMEOUT = 30.0
POLL_INTERVAL = 0.02
GRACE = 5.0
# How a command ends that `timeout` killed: nsenter passes the signal on to itself.
KILLED = (-9, 128 + 9)
PRIVATE_FOLDERS = ("/etc/", "/var/", "/run/")
ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/run/lab/home",
    "LC_ALL": "C.UTF-8",
}
REAL_PARTS = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "timeout": "coreutils",
    "mount": "mount",
    "ip": "iproute2",
    "sysctl": "procps",
    "ping": "iputils-ping",
    "dbus-daemon": "dbus",
    "dbus-send": "dbus",
    "virsh": "libvirt-clients",
    "libvirtd": "libvirt-daemon",
    "dnsmasq": "dnsmasq-base",
    "ebtables": "ebtables",
    "iptables": "iptables",
    "nft": "nftables",
    "firewalld": "firewalld",
    "NetworkManager": "network-manager",
    "qemu-system-x86_64": "qemu-system-x86",
}
# A NIC without a profile gets none.
NETWORKMANAGER_CONF = """\
[main]
plugins=keyfile
dhcp=internal
no-auto-default=*
"""
LIBVIRTD_CONF = 'auth_unix_ro = "none"\nauth_unix_rw = "none"\n'
# Guests run as root and log to files: no log daemon, no chown of files that the machine owns.
QEMU_CONF = """\
user = "root"
group = "root"
dynamic_ownership = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
"""


class LabError(AssertionError):
    """The laboratory can't do what a test asked of it; the message says what is missing or what failed."""


def require_real_parts() -> None:
    """Refuse, in words, to run without root or without a real part; such a test must fail, not skip."""
    if os.geteuid() != 0:
        raise LabError("The laboratory makes namespaces and needs root: run these tests as root.")
    for part, package in REAL_PARTS.items():
        if shutil.which(part, path=ENVIRONMENT["PATH"]) is None:
            raise LabError(f"The laboratory needs {part}, which isn't installed: install the package {package}.")


class LabHost:
    """One KVM host; a context manager, empty until a daemon is started in it.

    `sys_read_only` mounts /sys read-only, as NetworkManager wants it in a namespace (libvirt's port isolation
    writes to /sys and fails then).
    """

    def __init__(self, name: str = "kvm01", *, sys_read_only: bool = False) -> None:
        self.name = name
        self.netns = -1
        self.pid = 0
        self._sys_mode = "ro" if sys_read_only else "rw"
        self._holder: subprocess.Popen[str] | None = None
        self._daemons: dict[str, subprocess.Popen[str]] = {}
        self._spawned: list[subprocess.Popen[str]] = []
        self._held: set[int] = set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Make the namespaces and start the message bus in them."""
        require_real_parts()
        command = ["unshare", *NAMESPACES, "--fork", "--kill-child", sys.executable, "-IS", str(INIT)]
        self._holder = subprocess.Popen(
            [*command, self.name, self._sys_mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        )
        try:
            self.pid = _pid_from(self._holder)
            self.netns = self.hold(Path(f"/proc/{self.pid}/ns/net"))
            self.start_daemon("dbus", "dbus-daemon", "--system", "--nofork", "--nopidfile")
            self.wait_for("dbus", self.file("/run/dbus/system_bus_socket").exists)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every process of the host; returns once the last of them is gone."""
        if self._holder is None:
            return
        holder, self._holder = self._holder, None
        if holder.stdin is not None:
            holder.stdin.close()
        _reap(holder)
        for process in (*self._daemons.values(), *self._spawned):
            _reap(process)
        self._daemons.clear()
        self._spawned.clear()
        for descriptor in tuple(self._held):
            self.release(descriptor)
        self.netns = -1

    @property
    def is_running(self) -> bool:
        """Whether the host has been started and not stopped."""
        return self._holder is not None

    def hold(self, namespace: Path) -> int:
        """Open a namespace, until `release` or until the host stops: an open one would outlive it."""
        descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
        self._held.add(descriptor)
        return descriptor

    def release(self, descriptor: int) -> None:
        """Close what `hold` opened; no word where the host's end closed it already."""
        if descriptor in self._held:
            self._held.remove(descriptor)
            os.close(descriptor)

    # -- commands and files ----------------------------------------------------------------------------------------

    def run(
        self,
        *argv: str,
        check: bool = True,
        input: str | None = None,
        timeout: float = COMMAND_TIMEOUT,
        netns: str | None = None,
    ) -> Text:
        """Run a command on the host, or in the host's named network namespace `netns`; with `check`, expect 0.

        A command that takes longer than `timeout` seconds is killed, with all that it started.
        """
        done = subprocess.run(
            self.command(*argv, netns=netns, timeout=timeout),
            input=input,
            timeout=timeout + GRACE,
            check=False,
            capture_output=True,
            text=True,
            env=ENVIRONMENT,
        )
        if done.returncode in KILLED:
            raise LabError(f"{' '.join(argv)}: no end after {timeout} s\n{self.log('libvirtd')}")
        if check and done.returncode != 0:
            raise LabError(f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}".rstrip())
        return done

    def spawn(self, *argv: str, timeout: float, netns: str | None = None) -> subprocess.Popen[str]:
        """Start a command in the background; its output is collected, the caller waits for it."""
        process = subprocess.Popen(
            self.command(*argv, netns=netns, timeout=timeout),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=ENVIRONMENT,
        )
        self._spawned.append(process)
        return process

    def command(self, *argv: str, netns: str | None = None, timeout: float | None = None) -> list[str]:
        """The full command line that runs `argv` on the host.

        The time limit is kept inside: a kill from outside would end nsenter alone, and orphan what it started.
        """
        if self._holder is None:
            raise LabError(f"the laboratory host {self.name} isn't running")
        network = "--net" if netns is None else f"--net={self.file(f'/run/netns/{netns}')}"
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--uts", "--ipc", network, "--"]
        limit = [] if timeout is None else ["timeout", "--signal=KILL", str(timeout)]
        return [*enter, *limit, *argv]

    def file(self, path: str) -> Path:
        """Where this process finds one of the host's files, for reading (absolute symlinks lead elsewhere)."""
        return Path(f"/proc/{self.pid}/root{path}")

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file on the host; only where the host has its own copy, never on the machine."""
        if not path.startswith(PRIVATE_FOLDERS) or ".." in path.split("/"):
            raise LabError(f"{path} isn't the host's own: write under {', '.join(PRIVATE_FOLDERS)}")
        self.run("install", "-D", f"--mode={mode:o}", "/dev/stdin", path, input=text)

    def log(self, daemon: str, lines: int = 20) -> str:
        """The last lines that a daemon printed."""
        log = self.file(f"/run/lab/{daemon}.log")
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""

    # -- daemons ---------------------------------------------------------------------------------------------------

    def start_daemon(self, name: str, *argv: str) -> None:
        """Start a daemon in the foreground of its own process; `log` has what it prints."""
        script = 'echo $$ >"/run/lab/$0.pid"; exec "$@" >"/run/lab/$0.log" 2>&1'
        self._daemons[name] = subprocess.Popen(
            self.command("sh", "-c", script, name, *argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            env=ENVIRONMENT,
        )

    def stop_daemon(self, name: str) -> None:
        """Ask a daemon to end and wait for it; no word where it doesn't run."""
        daemon = self._daemons.pop(name, None)
        if daemon is None:
            return
        if daemon.poll() is None:
            self.run("sh", "-c", 'kill "$(cat "/run/lab/$0.pid")"', name, check=False)
        _reap(daemon)

    def resume_daemon(self, name: str) -> None:
        """Have a daemon that SIGSTOP holds go on: nsenter stopped with it, and passes this on."""
        self._daemons[name].send_signal(signal.SIGCONT)

    def wait_for(self, daemon: str, ready: Callable[[], bool], timeout: float = START_TIMEOUT) -> None:
        """Poll until `ready` says so; fail with the daemon's last words where it never does."""
        deadline = time.monotonic() + timeout
        while not ready():
            if self._daemons[daemon].poll() is not None:
                raise LabError(f"{daemon} ended by itself\n{self.log(daemon)}")
            if time.monotonic() > deadline:
                raise LabError(f"{daemon} isn't ready after {timeout} s\n{self.log(daemon)}")
            time.sleep(POLL_INTERVAL)

    def start_libvirtd(self) -> None:
        """Start libvirtd and wait until it answers; one that already runs is restarted, and guests live on."""
        self.stop_daemon("libvirtd")
        self.write("/etc/libvirt/libvirtd.conf", LIBVIRTD_CONF)
        self.write("/etc/libvirt/qemu.conf", QEMU_CONF)
        self.start_daemon("libvirtd", "libvirtd")
        self.wait_for("libvirtd", self._libvirtd_answers)

    def _libvirtd_answers(self) -> bool:
        socket = self.file("/run/libvirt/libvirt-sock")
        return socket.exists() and self.virsh("list", check=False).returncode == 0

    def start_firewalld(self, system_config_dir: Path | None = None, backend: Backend = "nftables") -> str:
        """Start firewalld with the files of a folder that stands for /etc/firewalld; returns its `--state`.

        A firewalld that already runs is stopped first and its configuration goes. The state is `failed`, not an
        error, where firewalld refuses a file: that is for the test to judge.
        """
        self.stop_firewalld()
        self._install_firewalld_files(system_config_dir, backend)
        self.start_daemon("firewalld", "firewalld", "--nofork", "--nopid")
        self.wait_for("firewalld", self._firewalld_is_on_the_bus)
        state = self.run("firewall-cmd", "--state", check=False)
        return (state.stdout + state.stderr).strip()

    def stop_firewalld(self) -> None:
        """Stop firewalld, which takes its rules with it."""
        self.stop_daemon("firewalld")

    def _install_firewalld_files(self, system_config_dir: Path | None, backend: Backend) -> None:
        own = self.file("/etc/firewalld")
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir()
        if system_config_dir is not None:
            shutil.copytree(system_config_dir, own, dirs_exist_ok=True)
        conf = own / "firewalld.conf"
        kept = conf.read_text().splitlines() if conf.exists() else []
        kept = [line for line in kept if not line.startswith("FirewallBackend=")]
        conf.write_text("\n".join([*kept, f"FirewallBackend={backend}", ""]))

    def _firewalld_is_on_the_bus(self) -> bool:
        question = ["org.freedesktop.DBus.NameHasOwner", "string:org.fedoraproject.FirewallD1"]
        answer = self.run(
            "dbus-send", "--system", "--print-reply", "--dest=org.freedesktop.DBus", "/", *question, check=False
        )
        return "boolean true" in answer.stdout

    def start_networkmanager(self, conf: str = NETWORKMANAGER_CONF) -> None:
        """Start NetworkManager with the profiles that are there; one that already runs is restarted, and links stay.

        It does without udev where it finds /sys read-only as it starts; afterwards bridges can be set there again.
        """
        self.stop_daemon("NetworkManager")
        self.write("/etc/NetworkManager/NetworkManager.conf", conf)
        self.run("rm", "-rf", "/etc/NetworkManager/dispatcher.d", "/etc/NetworkManager/conf.d")
        self.run("mkdir", "-p", "/run/NetworkManager", "/var/lib/NetworkManager")
        self.run("mount", "-o", "remount,ro", "/sys")
        self.start_daemon("NetworkManager", "NetworkManager", "--debug")
        self.wait_for("NetworkManager", self._networkmanager_answers)
        self.run("mount", "-o", f"remount,{self._sys_mode}", "/sys")

    def _networkmanager_answers(self) -> bool:
        return self.run("nmcli", "--get-values", "RUNNING", "general", check=False).stdout.strip() == "running"

    # -- libvirt and links -----------------------------------------------------------------------------------------

    def virsh(self, *arguments: str, check: bool = True, timeout: float = COMMAND_TIMEOUT) -> Text:
        """Run virsh against the host's libvirtd."""
        return self.run("virsh", "--quiet", "--connect", "qemu:///system", *arguments, check=check, timeout=timeout)

    def virsh_with(self, command: str, xml: str, *arguments: str, check: bool = True) -> Text:
        """Run a virsh command whose first argument is a file, with the given XML in that file."""
        path = "/run/lab/virsh.xml"
        self.write(path, xml)
        return self.virsh(command, path, *arguments, check=check)

    def add_bridge(self, name: str, addresses: Sequence[str] = ()) -> None:
        """Make a bridge that forwards at once and has the addresses (`192.0.2.1/24`, `2001:db8::1/64`)."""
        link = ["link add name {0} type bridge stp_state 0 forward_delay 0", "link set {0} up"]
        assign = [f"address add {address} dev {{0}}" + " nodad" * (":" in address) for address in addresses]
        self.ip_batch([line.format(name) for line in (*link, *assign)])

    def ip_batch(self, lines: Sequence[str], netns: str | None = None) -> None:
        """Run several `ip` commands as one."""
        self.run("ip", "-batch", "-", input="".join(f"{line}\n" for line in lines), netns=netns)


def _pid_from(holder: subprocess.Popen[str]) -> int:
    """Read the id of the namespace's process 1 from what `init.py` prints, or raise with all that it printed."""
    assert holder.stdout is not None
    watchdog = threading.Timer(START_TIMEOUT, holder.kill)
    watchdog.start()
    printed: list[str] = []
    try:
        for line in holder.stdout:
            if line.startswith("ready "):
                return int(line.split()[1])
            printed.append(line)
    finally:
        watchdog.cancel()
    raise LabError("The namespaces of a laboratory host could not be made: " + "".join(printed).strip())


def _reap(process: subprocess.Popen[str]) -> None:
    """Wait for a process that was told to end; kill it where it doesn't."""
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=10)
    if process.stdout is not None:
        process.stdout.close()
