"""The disks of a machine that real systemd runs: Debian's own programs, and the few units that a boot needs.

The root is read-only. What a host writes, below /etc and /var, is on a second small disk, which is what a power cut
leaves and what is looked at afterwards.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.applier.folder import APPLIER, put
from tests.lab.host import LabError

PYTHON = "/usr/bin/python3"
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
INSTALLED = "/usr/local/sbin/kvmgen-apply"
UNITS = APPLIER.parent / "systemd"
OURS = tuple(sorted(unit.name for unit in UNITS.iterdir()))

PROGRAMS = (
    *("bash", "sh", "cat", "cp", "cut", "dirname", "echo", "false", "grep", "kill", "ls", "mkdir", "mv", "rm", "sed"),
    *("sleep", "sync", "test", "touch", "true", "uname", "env", "ip", "mount", "umount", "kmod", "git", "python3"),
    *("systemctl", "systemd-run", "journalctl", "systemd-analyze"),
)
SYSTEMD = ("systemd", "systemd-journald", "systemd-modules-load", "systemd-shutdown", "systemd-sysctl")
LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}
PLACES = ("dev", "disk", "etc", "home", "proc", "root", "run", "sys", "tmp", "var")
SYSTEMD_UNITS = (
    *("basic", "final", "local-fs", "local-fs-pre", "multi-user", "network", "network-online", "network-pre"),
    *("paths", "poweroff", "reboot", "shutdown", "slices", "sockets", "swap", "sysinit", "time-set", "time-sync"),
    *("timers", "umount"),
)
MORE_UNITS = (
    *("systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket"),
    *("systemd-modules-load.service", "systemd-sysctl.service", "systemd-poweroff.service", "systemd-reboot.service"),
)
SYSINIT = ("systemd-journald.service", "systemd-modules-load.service", "systemd-sysctl.service")
NOT_NEEDED = re.compile(r"config-.*|test|lib2to3|pydoc_data|idlelib|ensurepip|distutils|tkinter|turtledemo|unittest")

VIRSH = r"""#!/bin/bash
# Of libvirt as much as one network that doesn't run needs. Nobody may ask it anything before it is up.
if [[ ! -e /run/libvirtd ]]; then
    echo "$*" >>/run/asked-too-early
    echo "error: failed to connect to the hypervisor" >&2
    exit 1
fi
lab=/var/lib/lab.xml
case $4 in
    net-list) [[ ! -e $lab ]] || echo lab ;;
    net-dumpxml) cat $lab ;;
    net-info) printf '%s\n' 'Active: no' 'Autostart: no' ;;
    net-define) cat >$lab ;;
    net-undefine) rm $lab ;;
    list | help) ;;
    *) exit 1 ;;
esac
"""
LIBVIRTD_UNIT = """\
[Unit]
Description=A libvirt of files
After=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'sleep 1; touch /run/libvirtd'
[Install]
WantedBy=multi-user.target
"""
AGENT = '''\
"""Run what comes over a serial line, a line of JSON each, and answer with what became of it."""
import json, os, subprocess, tty
line = os.open("/dev/ttyS1", os.O_RDWR | os.O_NOCTTY)
tty.setraw(line)
with open(line, "rb", buffering=0) as asked, open(os.dup(line), "wb", buffering=0) as answers:
    answers.write(b"ready\\n")
    words = b""
    while True:
        words += asked.read(4096)
        if not words.endswith(b"\\n"):
            continue
        task, words = json.loads(words), b""
        done = subprocess.run(["bash", "-c", task["script"]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env=dict(os.environ, LC_ALL="C", HOME="/root"))
        told = {"code": done.returncode, "told": done.stdout.decode(errors="replace")}
        answer = json.dumps(told).encode() + b"\\n"
        while answer:
            answer = answer[answers.write(answer):]
'''
AGENT_UNIT = f"""\
[Unit]
Description=What the test asks of this machine
[Service]
ExecStart={PYTHON} -I /usr/lib/agent.py
Type=exec
KillMode=process
"""
NETWORK_UNIT = """\
[Unit]
Description=The host's network: what it finds when it starts is kept
Wants=network-pre.target
After=network-pre.target
Before=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/cp -r /etc/sysconfig/network-scripts /run/network
ExecStart=/bin/sh -c 'cat /proc/sys/net/ipv4/ip_forward >/run/forward'
[Install]
WantedBy=multi-user.target
"""


def make_root(place: Path) -> Path:
    """The read-only root's image, made at a place."""
    root, image = place / "root", place / "root.img"
    for name in PLACES:
        (root / name).mkdir(parents=True)
    for folder in ("usr/bin", "usr/sbin", "usr/lib64", "usr/lib/systemd/system"):
        (root / folder).mkdir(parents=True)
    for name, target in LINKS.items():
        (root / name).symlink_to(target)
    _copy_programs(root)
    _copy_units(root)
    put(root / "usr/lib/agent.py", AGENT.encode())
    put(root / "usr/bin/virsh", VIRSH.encode(), 0o755)
    put(root / INSTALLED.lstrip("/"), APPLIER.read_bytes(), 0o755)
    _format(image, 160, root)
    shutil.rmtree(root)
    return image


def make_disk(place: Path, folder: Path, megabytes: int = 24) -> Path:
    """The image of the second disk, which holds what is below a folder as well."""
    image = place / "disk.img"
    put(folder / "etc/passwd", b"root:x:0:0:root:/root:/bin/bash\n")
    put(folder / "etc/group", b"root:x:0:\n")
    put(folder / "etc/os-release", b"ID=lab\n")
    put(folder / "etc/hostname", b"kvm01\n")
    put(folder / "etc/machine-id", b"0123456789abcdef0123456789abcdef\n")
    put(folder / "etc/hosts", b"127.0.0.1 localhost kvm01\n")
    for name in ("systemd/system", "sysctl.d", "modules-load.d", "sysconfig/network-scripts"):
        (folder / "etc" / name).mkdir(parents=True, exist_ok=True)
    _format(image, megabytes, folder)
    return image


def _format(image: Path, megabytes: int, folder: Path) -> None:
    with image.open("wb") as stream:
        stream.truncate(megabytes << 20)
    ways = ["-q", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0"]
    subprocess.run(["mkfs.ext4", *ways, "-d", folder, image], check=True, capture_output=True, timeout=60)


def _copy_programs(root: Path) -> None:
    found = [_which(name) for name in PROGRAMS] + [Path("/lib/systemd", name) for name in SYSTEMD]
    found += sorted(path for path in Path("/usr/lib/git-core").glob("git") if not path.is_symlink())
    for program in found:
        _copy(program, root)
    for name in ("insmod", "modprobe"):
        (root / "usr/sbin" / name).symlink_to("../bin/kmod")
    (root / "usr/bin/git-upload-pack").symlink_to("git")
    library = Path(_said(PYTHON, "-Ic", "import os; print(os.path.dirname(os.__file__))"))
    shutil.copytree(library, root / str(library).lstrip("/"), ignore=_needless)
    natives = list((library / "lib-dynload").glob("*.so"))
    for shared in sorted(_libraries([*found, *natives])):
        _copy(shared, root)


def _needless(_: str, names: list[str]) -> list[str]:
    return [name for name in names if NOT_NEEDED.fullmatch(name)]


def _which(name: str) -> Path:
    found = shutil.which(name, path=PATH)
    if found is None:
        raise LabError(f"the machine needs {name}, which isn't installed")
    return Path(found)


def _said(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


def _libraries(programs: Iterable[Path]) -> set[Path]:
    listed = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False, timeout=60).stdout
    return {Path(path) for path in re.findall(r"^\s.*?(/\S+) \(0x", listed, re.MULTILINE)}


def _copy(path: Path, root: Path) -> None:
    """Copy a file to where its path leads, links on the way being the merged folders' own."""
    place = root / str(path.parent.resolve() / path.name).lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, place)


def _copy_units(root: Path) -> None:
    place = root / "usr/lib/systemd/system"
    for name in [*(f"{target}.target" for target in SYSTEMD_UNITS), *MORE_UNITS]:
        shutil.copy(Path("/lib/systemd/system", name), place)
    ours = {"agent": AGENT_UNIT, "network": NETWORK_UNIT, "libvirtd": LIBVIRTD_UNIT}
    for name, text in ((f"{name}.service", text) for name, text in ours.items()):
        put(place / name, text.encode())
        _enable(place, "multi-user.target", name)
    for name in SYSINIT:
        _enable(place, "sysinit.target", name)
    for unit in UNITS.iterdir():
        shutil.copy(unit, place)


def _enable(place: Path, target: str, name: str) -> None:
    wants = place / f"{target}.wants"
    wants.mkdir(exist_ok=True)
    (wants / name).symlink_to(f"../{name}")
