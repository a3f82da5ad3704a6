"""A laboratory host whose links NetworkManager has, and folders of profiles for it."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from kvmgen.pipeline import build
from tests.applier.folder import APPLIER, HOST, files_of, put
from tests.applier.test_host import KILLED
from tests.lab.host import LabHost
from tests.sites import SITE, write

DONE, FAILED, PENDING, ROLLED_BACK = 0, 1, 3, 4
PROFILES = "/etc/NetworkManager/system-connections"
SCRIPTS = "/etc/sysconfig/network-scripts"
TAP = "tap-web01"

Profile = Mapping[str, str]
STATIC = {"ipv4.method": "manual", "ipv6.method": "ignore"}
ENO1: Profile = {"type": "ethernet", **STATIC, "ipv4.address1": "192.0.2.11/24"}
ENO2: Profile = {"type": "ethernet", "master": "br0", "slave-type": "bridge"}
BR0: Profile = {
    "type": "bridge",
    "autoconnect-slaves": "1",
    "bridge.stp": "false",
    **STATIC,
    "ipv4.address1": "198.51.100.1/24",
}
OTHER_ADDRESS = {**BR0, "ipv4.address1": "198.51.100.2/24", "ipv4.dns": "198.51.100.8;", "ethernet.mtu": "1400"}
OTHER_MAC = {**BR0, "bridge.mac-address": "52:54:00:00:0B:01", "ipv4.address1": "198.51.100.3/24"}
BRIDGED = {"eno1": ENO1, "eno2": ENO2, "br0": BR0}


def uuid_of(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))


def keyfile(device: str, settings: Profile, name: str = "") -> str:
    """A profile for a device; keys without a section are the connection's."""
    sections: dict[str, list[str]] = {"connection": [f"id={name or device}", f"uuid={uuid_of(name or device)}"]}
    if device:
        sections["connection"].append(f"interface-name={device}")
    for key, value in settings.items():
        section, _, key_alone = key.rpartition(".")
        sections.setdefault(section or "connection", []).append(f"{key_alone}={value}")
    return "\n".join(f"[{section}]\n" + "\n".join(lines) + "\n" for section, lines in sections.items())


class Site:
    """A laboratory host with NetworkManager, and a folder for it."""

    def __init__(self, lab: LabHost, scratch: Path) -> None:
        self.lab = lab
        self.folder = scratch / "folder"
        self.environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}

    def offer(self, links: Mapping[str, Profile], others: Mapping[str, str] = MappingProxyType({})) -> None:
        """Make the folder anew by hand: these profiles, and other files by path."""
        shutil.rmtree(self.folder, ignore_errors=True)
        contents = {f"{PROFILES[1:]}/{name}.nmconnection": keyfile(name, links[name]) for name in links}
        contents.update(others)
        for path, content in files_of({path: text.encode() for path, text in contents.items()}).items():
            put(self.folder / path, content)

    def compile(self, host: str) -> None:
        """Make the folder anew from an inventory with this host."""
        inventory = self.folder.with_name("inventory")
        for place in (inventory, self.folder.with_name("output")):
            shutil.rmtree(place, ignore_errors=True)
        write(inventory, {"site.yaml": SITE, f"hosts/{HOST}.yaml": host})
        result = build(inventory, self.folder.with_name("output"))
        assert result.is_good, result.diagnostics
        self.folder = self.folder.with_name("output") / HOST

    def run(self, *words: str) -> tuple[int, str]:
        """Run the applier as the host's root; the exit code, and all that it said."""
        environment = [f"{name}={value}" for name, value in self.environment.items()]
        host = ["--host", HOST] if {"plan", "apply"} & set(words) else []
        argv = ["env", *environment, "python3", "-I", str(APPLIER), *words, *host]
        # The laboratory takes 137 for its own time limit.
        renamed = f'"$@"; code=$?; test $code != 137 || exit {KILLED}; exit $code'
        done = self.lab.run("sh", "-c", renamed, "sh", *argv, check=False, timeout=100)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout + done.stderr

    def apply(self, links: Mapping[str, Profile], *words: str, expect: int = DONE) -> str:
        self.offer(links)
        return self.apply_offered(*words, expect=expect)

    def apply_offered(self, *words: str, expect: int = DONE) -> str:
        code, said = self.run("apply", str(self.folder), *words)
        assert code == expect, said
        return said

    def disruptively(self, links: Mapping[str, Profile], *words: str, expect: int = DONE) -> str:
        """Apply, with all that is offered named."""
        return self.apply(links, *(word for name in links for word in ("--disruptive", name)), *words, expect=expect)

    def rollback(self, *words: str) -> None:
        code, said = self.run("rollback", *words)
        assert code == DONE, said

    def impacts(self, links: Mapping[str, Profile], *words: str) -> dict[str, tuple[str, str]]:
        """What an apply would do, by the file's name."""
        self.offer(links)
        code, said = self.run("plan", str(self.folder), "--json", *words)
        assert code == PENDING, said
        return {Path(row["name"]).stem: (row["verb"], row["impact"]) for row in json.loads(said)}

    def status(self) -> tuple[list[str], list[str]]:
        """What was changed by hand, and what waits."""
        code, said = self.run("--json", "status")
        report = json.JSONDecoder().raw_decode(said)[0]  # the log follows
        assert code == (PENDING if report["drift"] or report["pending"] else DONE)
        return report["drift"], report["pending"]

    # -- the host ------------------------------------------------------------------------------------------------------

    def nmcli(self, *words: str) -> list[str]:
        return self.lab.run("nmcli", "-t", *words).stdout.splitlines()

    def active(self) -> dict[str, str]:
        """The profile that each device runs by, but for what NetworkManager only looks on."""
        rows = [row.split(":") for row in self.nmcli("-f", "DEVICE,STATE,CON-UUID", "device")]
        return {device: found for device, state, found in rows if found and "externally" not in state}

    def addresses(self, link: str) -> list[str]:
        rows = self.lab.run("ip", "-o", "-4", "address", "show", "dev", link, check=False).stdout.splitlines()
        return [row.split()[3] for row in rows]

    def has_link(self, link: str) -> bool:
        return self.lab.run("test", "-d", f"/sys/class/net/{link}", check=False).returncode == 0

    def plug_in(self, bridge: str = "br0") -> None:
        """A guest's tap on a bridge, and libvirtd, which is asked whose it is."""
        self.lab.start_libvirtd()
        self.lab.run("ip", "tuntap", "add", TAP, "mode", "tap")
        self.lab.run("ip", "link", "set", TAP, "up", "master", bridge)
        self.lab.run("bridge", "link", "set", "dev", TAP, "isolated", "on", "priority", "7")

    def plugged(self) -> dict[str, Any]:
        """Where the tap is plugged in: the bridge, its isolation and its priority."""
        port = json.loads(self.lab.run("bridge", "-j", "-d", "link", "show", "dev", TAP).stdout)[0]
        return {key: port.get(key) for key in ("master", "isolated", "priority")}

    def reaches_outside(self) -> bool:
        return self.lab.run("ping", "-c1", "-W2", "198.51.100.99", check=False).returncode == 0

    def kernel(self) -> dict[str, Any]:
        """All that the kernel holds of links and addresses, but for what a new link has another of."""
        found = {}
        for link in json.loads(self.lab.run("ip", "-j", "address").stdout):
            inet = [(one["local"], one["prefixlen"]) for one in link["addr_info"] if one["scope"] != "link"]
            found[link["ifname"]] = (sorted(link["flags"]), link["mtu"], link.get("master"), inet)
        return found

    def profiles(self) -> dict[str, bytes]:
        folder = self.lab.file(PROFILES)
        return {path.name: path.read_bytes() for path in folder.iterdir()}
