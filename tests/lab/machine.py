"""A machine with Debian's own kernel, for what the running kernel may lack: bonds and VLANs.

QEMU emulates it, so that it needs neither /dev/kvm nor a disk: the programs it runs are this machine's own, packed with
the kernel's modules into an initial RAM file system. `fetch-kernel` beside this file unpacks the kernel.
"""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile

from tests.lab.host import LabError

FETCH = Path(__file__).with_name("fetch-kernel")
MEMORY = "320M"
BOOT_TIMEOUT = 90.0
BEGIN, END = "-- begin --", "-- end --"

PROGRAMS = ("bash", "ip", "kmod", "mount", "unshare")
# In the order of their dependencies.
MODULES = (
    "net/llc/llc",
    "net/802/stp",
    "net/802/garp",
    "net/802/mrp",
    "net/8021q/8021q",
    "net/bridge/bridge",
    "net/tls/tls",
    "drivers/net/bonding/bonding",
    "drivers/net/dummy",
)
# A failure is told and the machine ends: process 1 that ends is a panic, and QEMU leaves instead of booting again.
INIT = f"""#!/bin/bash
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
for module in /modules/*.ko; do
    case $module in
        *bonding.ko) insmod $module max_bonds=0 ;;
        *) insmod $module ;;
    esac || echo "insmod $module failed"
done
echo '{BEGIN}'
bash /main
echo "exit $?"
echo '{END}'
"""


def run_in_machine(
    main: str, files: Mapping[str, str], *, programs: Sequence[str] = (), modules: Sequence[str] = ()
) -> str:
    """Boot, run a bash script with these files (path -> text) beside it, and return what it printed.

    ``programs`` and ``modules``, in the order of their dependencies, are what it needs beside the usual ones.
    """
    kernel, loaded = debian_kernel((*MODULES, *modules))
    packed = {"init": INIT.encode(), "main": main.encode(), **{path: text.encode() for path, text in files.items()}}
    packed |= {f"modules/{number:02}-{file.name}": file.read_bytes() for number, file in enumerate(loaded)}
    packed |= dict(packed_programs((*PROGRAMS, *programs)))
    with NamedTemporaryFile(suffix=".cpio") as image:
        image.write(cpio(packed))
        image.flush()
        printed = _boot(kernel, Path(image.name))
    found = re.search(rf"^{BEGIN}\n(.*)^exit (\d+)\n{END}$", printed, re.DOTALL | re.MULTILINE)
    if found is None:
        raise LabError(f"the machine didn't come as far as its script:\n{printed[-4000:]}")
    if found[2] != "0":
        raise LabError(f"the machine's script failed:\n{found[1]}")
    return found[1]


def debian_kernel(names: Iterable[str]) -> tuple[Path, list[Path]]:
    """Debian's kernel, and the files of some of its modules."""
    done = subprocess.run([FETCH], capture_output=True, text=True, check=False, timeout=120)
    if done.returncode != 0:
        raise LabError(f"Debian's kernel can't be had: {done.stderr}")
    folder = Path(done.stdout.strip())
    (image,) = folder.glob("boot/vmlinuz-*")
    (root,) = folder.glob("lib/modules/*/kernel")
    return image, [root / f"{name}.ko" for name in names]


def packed_programs(names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """The programs and the shared libraries that they need, each under its own path."""
    for name in names:
        found = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
        if found is None:
            raise LabError(f"the machine needs {name}, which isn't installed")
        yield f"bin/{name}", Path(found).read_bytes()
        if name == "kmod":
            yield "bin/insmod", Path(found).read_bytes()
        listed = subprocess.run(["ldd", found], capture_output=True, text=True, check=True, timeout=30).stdout
        for library in re.findall(r"(/\S+)", listed):
            yield library.lstrip("/"), Path(library).read_bytes()


def _boot(kernel: Path, image: Path) -> str:
    command = ["qemu-system-x86_64", "-machine", "q35,accel=tcg", "-cpu", "qemu64", "-m", MEMORY, "-no-reboot"]
    command += ["-display", "none", "-serial", "stdio", "-monitor", "none", "-net", "none", "-nodefaults"]
    command += ["-kernel", str(kernel), "-initrd", str(image), "-append", "console=ttyS0 quiet panic=-1 rdinit=/init"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=BOOT_TIMEOUT, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"the machine didn't end within {BOOT_TIMEOUT} s: {error.stdout!r}") from error
    return done.stdout.replace("\r\n", "\n") + done.stderr


# -- the initial RAM file system: cpio's "newc" format, as the kernel's initramfs documentation has it -----------------


def cpio(files: Mapping[str, bytes]) -> bytes:
    """An archive of files, all of them programs, with the folders that a kernel wants beside them."""
    folders = {str(parent) for path in files for parent in Path(path).parents} - {"."}
    entries = [_entry(path, stat.S_IFDIR | 0o755, b"") for path in sorted(folders | {"proc", "sys", "dev", "etc"})]
    entries.append(_entry("dev/console", stat.S_IFCHR | 0o600, b"", device=(5, 1)))
    entries.append(_entry("dev/null", stat.S_IFCHR | 0o666, b"", device=(1, 3)))
    entries += [_entry(path, stat.S_IFREG | 0o755, content) for path, content in files.items()]
    return b"".join([*entries, _entry("TRAILER!!!", 0, b"")])


def _entry(path: str, mode: int, content: bytes, device: tuple[int, int] = (0, 0)) -> bytes:
    name = path.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name), 0)
    header = b"070701" + "".join(f"{field:08X}" for field in fields).encode() + name
    return _padded(header) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
