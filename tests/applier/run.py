"""The example host of every forward mode with its applier, on a real libvirtd: change the inventory, build, apply.

Of the folder only libvirt's objects are kept, so that what a kernel of the laboratory can't do doesn't come in between.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from subprocess import run
from typing import Any
from xml.etree.ElementTree import Element, fromstring

from kvmgen.pipeline import build
from tests.lab.domain import EMULATOR, START_TIMEOUT, as_testable
from tests.lab.host import LabHost
from tests.sites import EXAMPLE, ROOT

APPLIER = ROOT / "generator/applier/kvmgen_apply.py"
HOST = "kvm-es"
LIBVIRT = ("network", "nwfilter", "domain")
LONG = 120.0

DUMPS = {
    "network": ("net-list --all --name", "net-dumpxml --inactive"),
    "live network": ("net-list --name", "net-dumpxml"),
    "nwfilter": ("nwfilter-list", "nwfilter-dumpxml"),
    "domain": ("list --all --name", "dumpxml --inactive"),
    "live domain": ("list --name", "dumpxml"),
}
VOLATILE = re.compile(r" (connections|portid)='[^']*'")
"""What libvirt gives out anew each time that an interface is plugged in."""
BETWEEN = "== next =="


@dataclass(slots=True)
class Managed:
    """A running host, its inventory, and what is built from that."""

    lab: LabHost
    place: Path
    base: Path = Path()
    builds: int = field(default=0)

    def __post_init__(self) -> None:
        self.reset()
        self.base = self.built()

    @property
    def inventory(self) -> Path:
        return self.place / "inventory"

    # -- the inventory -------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """The example's inventory again."""
        shutil.rmtree(self.inventory, ignore_errors=True)
        shutil.copytree(EXAMPLE, self.inventory)

    def write(self, name: str, text: str) -> None:
        """Write a file of the inventory."""
        (self.inventory / name).write_text(text)

    def edit(self, name: str, old: str, new: str) -> None:
        """Change one place of a file of the inventory."""
        text = (self.inventory / name).read_text()
        assert text.count(old) == 1
        self.write(name, text.replace(old, new))

    def drop(self, name: str) -> None:
        """Take a file out of the inventory."""
        (self.inventory / name).unlink()

    def built(self) -> Path:
        """Build; the host's folder, with domains that start here."""
        self.builds += 1
        output = self.place / f"output{self.builds}"
        result = build(self.inventory, output, host=HOST)
        assert result.is_good, result.diagnostics
        _make_testable(output / HOST)
        return output / HOST

    # -- the applier ---------------------------------------------------------------------------------------------------

    def run(self, code: int, *words: str) -> str:
        """Run the applier on the host and hold it to an exit code; what it told."""
        done = self.lab.run("python3", "-I", str(APPLIER), *words, check=False, timeout=LONG)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def plan(self, folder: Path, *words: str, code: int = 3) -> list[dict[str, Any]]:
        """What would change."""
        done = self.lab.run(
            "python3", "-I", str(APPLIER), "--json", "plan", str(folder), *words, check=False, timeout=LONG
        )
        assert done.returncode == code, done.stdout + done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    def impacts(self, folder: Path, *words: str) -> dict[str, tuple[str, str, list[str]]]:
        """What would change, shortly: verb, impact and guests by the object's name."""
        return {row["name"]: (row["verb"], row["impact"], row["guests"]) for row in self.plan(folder, *words)}

    def apply(self, folder: Path, *words: str, code: int = 0) -> str:
        """Apply a folder; afterwards there is nothing left to do."""
        told = self.run(code, "apply", str(folder), *words)
        if code == 0:
            assert [row for row in self.plan(folder, code=0) if row["impact"] != "waits"] == []
        return told

    def status(self, code: int) -> dict[str, Any]:
        """What `status` tells."""
        done = self.lab.run("python3", "-I", str(APPLIER), "--json", "status", check=False, timeout=LONG)
        assert done.returncode == code, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    # -- the host ------------------------------------------------------------------------------------------------------

    def start(self, *guests: str) -> None:
        """Start guests whose processors never run."""
        for guest in guests:
            self.lab.virsh("start", guest, "--paused", timeout=START_TIMEOUT)

    def dumps(self) -> dict[str, str]:
        """Everything that libvirt holds, persistent and live, by kind and name."""
        lists = self._asked([names for names, _ in DUMPS.values()])
        commands = {}
        for (kind, (_, dump)), rows in zip(DUMPS.items(), lists, strict=True):
            for name in [row.split()[-1] for row in rows.splitlines() if row.strip()]:
                commands[f"{kind} {name}"] = f"{dump} {name}"
        texts = self._asked(list(commands.values()))
        return {known: VOLATILE.sub("", text) for known, text in zip(commands, texts, strict=True)}

    def _asked(self, commands: list[str]) -> list[str]:
        """What virsh answers to each, all asked in one session."""
        told = self.lab.virsh(f"; echo '{BETWEEN}'; ".join(commands)).stdout
        return told.split(BETWEEN)

    def network(self, name: str) -> Element:
        """A network as it runs."""
        return fromstring(self.lab.virsh("net-dumpxml", name).stdout)

    def guest(self, name: str, *options: str) -> Element:
        """A guest as it runs."""
        return fromstring(self.lab.virsh("dumpxml", name, *options).stdout)

    def taps(self) -> dict[str, tuple[str, str]]:
        """Where each running guest is plugged in: its tap and the tap's bridge, by its name."""
        found = {}
        for guest in self.lab.virsh("list", "--name").stdout.split():
            for target in self.guest(guest).iterfind("devices/interface/target"):
                tap = target.get("dev", "")
                bridge = self.lab.run("readlink", f"/sys/class/net/{tap}/brport/bridge", check=False).stdout
                found[guest] = (tap, bridge.strip().rpartition("/")[2])
        return found


def _make_testable(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    kept = [entry for entry in manifest["files"] if entry["kind"] in LIBVIRT]
    for entry in manifest["files"]:
        file = folder / entry["path"]
        if entry not in kept:
            file.unlink()
        elif entry["kind"] == "domain":
            file.write_text(pinned(as_testable(file.read_text())))
            entry["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    manifest["files"] = kept
    (folder / "manifest.json").write_text(json.dumps(manifest))


def pinned(domain_xml: str) -> str:
    """The domain with the machine's version: an alias would be no version that libvirt keeps."""
    return re.sub('machine="(pc|q35)"', lambda found: f'machine="{_machines()[found[1]]}"', domain_xml)


@cache
def _machines() -> dict[str, str]:
    printed = run([EMULATOR, "-machine", "help"], check=True, capture_output=True, text=True, timeout=30).stdout
    return dict(re.findall(r"^(pc|q35) .*\(alias of (\S+)\)", printed, re.MULTILINE))
