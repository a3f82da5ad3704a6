"""NetworkManager with its ifcfg-rh plugin, as a reader of files."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from kvmgen.artifact import Artifact
from tests.lab.host import LabHost

HERE = Path(__file__).parent
BUILD = HERE / "build-networkmanager"
BUILD_TIMEOUT = 3600
FOLDERS = ("/etc/sysconfig/network-scripts", "/etc/NetworkManager/system-connections")
CONF = """\
[main]
plugins=ifcfg-rh,keyfile
dhcp=internal
no-auto-default=*
"""
HANDS_OFF = "\n[keyfile]\nunmanaged-devices=*\n"
"""Without this, bonds, VLANs and bridges are made as soon as their profiles are read."""
BUS_POLICY = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><policy user="root"><allow own="com.redhat.ifcfgrh1"/></policy></busconfig>
"""
COMPLAINT = re.compile(r"<(?:warn|error)> +\[[0-9.]+\] (.*)")
STRANGER = "stranger"
"""A NIC that no file knows."""

Properties = dict[str, str]


@dataclass(frozen=True, slots=True)
class Understood:
    """What NetworkManager made of files: its profiles by the link's name, and what it complained about."""

    profiles: Mapping[str, Properties]
    complaints: tuple[str, ...]


def build(jobs: int) -> Path:
    """The folder with NetworkManager and the plugin; built where it isn't there yet."""
    done = subprocess.run([BUILD, str(jobs)], check=True, stdout=subprocess.PIPE, text=True, timeout=BUILD_TIMEOUT)
    return Path(done.stdout.strip())


class Reader:
    """A host with that NetworkManager; a context manager."""

    def __init__(self, built: Path) -> None:
        self._built = built
        self._host = LabHost("reader", sys_read_only=True)

    def __enter__(self) -> Self:
        self._host.start()
        self._host.run("mount", "--bind", str(self._built / "NetworkManager"), "/usr/sbin/NetworkManager")
        self._host.write("/etc/dbus-1/system.d/ifcfg-rh.conf", BUS_POLICY)
        bus = ("--dest=org.freedesktop.DBus", "/", "org.freedesktop.DBus.ReloadConfig")
        self._host.run("dbus-send", "--system", "--print-reply", *bus)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._host.stop()

    def read(self, files: Iterable[Artifact]) -> Understood:
        """Read files without acting on them."""
        self._start(files, CONF + HANDS_OFF)
        listed = self._host.run("nmcli", "--get-values", "UUID", "connection").stdout.split()
        shown = self._host.run("nmcli", "--terse", "--escape", "no", "connection", "show", *listed).stdout
        found = [_properties(profile) for profile in shown.split("\n\n")] if listed else []
        profiles = {profile["connection.interface-name"]: profile for profile in found}
        assert len(profiles) == len(found) == len(listed), "a link has two profiles"
        return Understood(profiles, self._complaints())

    def states(self, files: Iterable[Artifact], links: Iterable[str]) -> dict[str, str]:
        """The state of every link, and of a NIC that no file knows, where the files are heeded.

        The links are stand-ins of the right names.
        """
        self._host.stop_daemon("NetworkManager")
        names = [*links, STRANGER]
        numbered = enumerate(names)
        self._host.ip_batch([f"link add name {name} type veth peer name peer{number}" for number, name in numbered])
        self._start(files, CONF)
        said = self._host.run("nmcli", "--terse", "--fields", "DEVICE,STATE", "device").stdout
        states = dict(line.split(":", 1) for line in said.splitlines())
        self._host.stop_daemon("NetworkManager")
        self._host.ip_batch([f"link delete {name}" for name in names])
        return {name: states[name] for name in names}

    def _start(self, files: Iterable[Artifact], conf: str) -> None:
        self._host.stop_daemon("NetworkManager")
        self._host.run("rm", "-rf", *FOLDERS)
        for file in files:
            self._host.write(f"/{file.path}", file.text, file.mode)
        self._host.start_networkmanager(conf)

    def _complaints(self) -> tuple[str, ...]:
        log = self._host.file("/run/lab/NetworkManager.log").read_text()
        return tuple(match[1] for match in COMPLAINT.finditer(log))


def _properties(profile: str) -> Properties:
    """A profile as nmcli prints it, without what it says of a device."""
    pairs = (line.split(":", 1) for line in profile.splitlines())
    return {key: value for key, value in pairs if not key[0].isupper()}
