"""Kernel settings of one machine, as its files leave them.

Sources: sysctl.d(5) (of several files the lexically last wins, /etc/sysctl.conf is read as 99-sysctl.conf); on el6
initscripts' ``apply_sysctl``, which reads sysctl.conf last; ip-sysctl in the kernel's documentation for defaults.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType

from kvmgen.reachability.step import Cause
from kvmgen.value import record

_DEFAULTS: Mapping[str, str] = MappingProxyType(
    {
        "net/bridge/bridge-nf-call-iptables": "0",
        "net/bridge/bridge-nf-call-ip6tables": "0",
        "net/bridge/bridge-nf-call-arptables": "0",
        "net/bridge/bridge-nf-filter-vlan-tagged": "0",
        "net/ipv4/ip_forward": "0",
        "net/ipv6/conf/all/forwarding": "0",
    }
)
"""What holds where no file says anything.

The kernel's bridge keys start as 1, but only once br_netfilter is loaded, which nothing does by itself from el7 on; el6
ships a sysctl.conf and el7 a 00-system.conf that say 0.
"""


@record
class Setting:
    """What a key holds, and the line that says so."""

    value: str
    cause: Cause

    @property
    def on(self) -> bool:
        """Whether it is anything but 0."""
        return self.value.strip() not in ("", "0")


class Settings:
    """The settings of one machine: ``root`` is where its files lie (empty for the host itself)."""

    def __init__(self, files: Mapping[str, str], root: str = "", major: int = 9) -> None:
        self._found: dict[str, Setting] = {}
        self._major = major
        for path in _in_order(files, root, major):
            for key, setting in _lines(path, files[path]):
                self._found[key] = setting

    def get(self, key: str) -> Setting | None:
        """What a key holds (dots or slashes between its parts); ``None`` where nobody says and no default is known."""
        wanted = normal(key)
        found = self._found.get(wanted)
        if found is None:
            found = next((setting for known, setting in self._globs() if fnmatchcase(wanted, known)), None)
        if found is None and wanted in _DEFAULTS:
            return Setting(_DEFAULTS[wanted], Cause(file="kernel", text=f"{key} = {_DEFAULTS[wanted]}"))
        return found

    def _globs(self) -> Iterator[tuple[str, Setting]]:
        return ((key, setting) for key, setting in reversed(self._found.items()) if "*" in key)

    def calls_iptables(self, version: int) -> Setting:
        """Whether bridged frames of an IP version pass the packet filter."""
        found = self.get(f"net.bridge.bridge-nf-call-ip{'6' if version == 6 else ''}tables")
        assert found is not None  # it has a default
        return found

    def reverse_path(self, interface: str) -> Setting:
        """How the source of IPv4 packets that come in by an interface is held against the routes back: see ip-sysctl.

        0 not at all, 1 (strict) by that very interface, 2 (loose) by any; of what is said for all interfaces and for
        this one the higher holds. The distributions are strict: el6 for what has no word of its own, el7 and el8 for
        all as well, and from el9 on for each interface.
        """
        keys = [f"net/ipv4/conf/{name}/rp_filter" for name in ("all", interface, "default")]
        every, own, default = map(self.get, keys)
        strict = Setting("1", Cause(file="kernel", text="rp_filter = 1"))
        if every is None:
            every = strict if self._major in (7, 8) else Setting("0", strict.cause)
        if own is None:
            own = strict if default is None or self._major >= 9 else default
        return max(own, every, key=lambda setting: setting.value)

    def forwards(self, version: int, interface: str = "all") -> Setting:
        """Whether packets that come in by an interface are routed."""
        found = self.get("net.ipv4.ip_forward" if version == 4 else "net.ipv6.conf.all.forwarding")
        assert found is not None  # it has a default
        # The key for all of IPv6 sets every interface's as it is written; one that is set besides wins.
        own = None if version == 4 else self.get(f"net/ipv6/conf/{interface}/forwarding")
        return own or found


def normal(key: str) -> str:
    """A key with slashes between its parts: whichever of ``.`` and ``/`` comes first separates them."""
    if "/" in key and "." not in key.partition("/")[0]:
        return key
    return key.translate(str.maketrans("./", "/."))


def _in_order(files: Mapping[str, str], root: str, major: int) -> list[str]:
    """The paths of settings files in the order in which they are read."""
    folder, whole = f"{root}etc/sysctl.d/", f"{root}etc/sysctl.conf"
    found = [path for path in files if path == whole or (path.startswith(folder) and path.endswith(".conf"))]
    if major == 6:
        return sorted(found, key=lambda path: (path == whole, path))
    return sorted(found, key=lambda path: "99-sysctl.conf" if path == whole else path.removeprefix(folder))


def _lines(path: str, text: str) -> Iterator[tuple[str, Setting]]:
    for number, line in enumerate(text.splitlines(), start=1):
        key, equals, value = line.strip().partition("=")
        if equals and not key.startswith(("#", ";")):
            cause = Cause(file=path, line=number, text=line.strip())
            yield normal(key.strip().removeprefix("-")), Setting(value.strip(), cause)
