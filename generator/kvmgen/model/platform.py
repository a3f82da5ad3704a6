"""What a platform can do: one table of versions, and questions answered from it.

The versions are those of the distribution's own packages (CentOS, RHEL, Rocky and Alma ship the same). A platform
without a minor means its oldest supported minor, so that what is built for ``el8`` works on every el8.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from kvmgen.value import record

Version = tuple[int, ...]


@record
class Versions:
    """The versions of the programs that read what kvmgen writes."""

    libvirt: Version
    networkmanager: Version | None
    firewalld: Version | None
    qemu: Version


_BY_MINOR: Mapping[tuple[int, int], Versions] = MappingProxyType(
    {
        (6, 10): Versions((0, 10, 2), None, None, (0, 12, 1)),
        (7, 6): Versions((4, 5, 0), (1, 12, 0), (0, 5, 3), (1, 5, 3)),
        (7, 7): Versions((4, 5, 0), (1, 18, 0), (0, 6, 3), (1, 5, 3)),
        (8, 0): Versions((4, 5, 0), (1, 14, 0), (0, 6, 3), (2, 12, 0)),
        (8, 3): Versions((6, 0, 0), (1, 26, 0), (0, 8, 2), (4, 2, 0)),
        (8, 5): Versions((6, 0, 0), (1, 32, 10), (0, 9, 3), (4, 2, 0)),
        (8, 6): Versions((8, 0, 0), (1, 36, 0), (0, 9, 3), (6, 2, 0)),
        (9, 0): Versions((8, 0, 0), (1, 36, 0), (1, 0, 0), (6, 2, 0)),
        (9, 2): Versions((9, 0, 0), (1, 42, 2), (1, 2, 1), (7, 2, 0)),
        (9, 4): Versions((10, 0, 0), (1, 46, 0), (1, 3, 4), (8, 2, 0)),
        (9, 6): Versions((10, 10, 0), (1, 52, 0), (1, 3, 4), (9, 1, 0)),
        (9, 8): Versions((11, 10, 0), (1, 52, 0), (1, 3, 4), (9, 1, 0)),
        (10, 0): Versions((10, 10, 0), (1, 52, 0), (2, 3, 0), (9, 1, 0)),
        (10, 1): Versions((11, 5, 0), (1, 52, 0), (2, 3, 0), (10, 0, 0)),
        (10, 2): Versions((11, 10, 0), (1, 52, 0), (2, 3, 0), (10, 0, 0)),
    }
)
"""Of el9.8, el10.1 and el10.2 libvirt's versions are known, and el10.1's QEMU; the others are at least those."""

_MACHINES: Mapping[int, Mapping[str, str]] = MappingProxyType(
    {
        6: {"pc": "rhel6.6.0"},
        7: {"pc": "pc-i440fx-rhel7.0.0", "q35": "pc-q35-rhel7.0.0"},
        8: {"pc": "pc-i440fx-rhel7.6.0", "q35": "pc-q35-rhel7.6.0"},
        9: {"pc": "pc-i440fx-rhel7.6.0", "q35": "pc-q35-rhel9.0.0"},
        10: {"q35": "pc-q35-rhel10.0.0"},
    }
)

_KNOWN_MACHINES: Mapping[int, Mapping[str, tuple[Version, Version | None]]] = MappingProxyType(
    {
        6: {"pc": ((5, 0), (6, 6))},
        7: {"pc": ((6, 0), (7, 0)), "q35": ((7, 0), (7, 0))},
        8: {"pc": ((6, 0), (7, 6)), "q35": ((7, 0), None)},
        9: {"pc": ((7, 6), (7, 6)), "q35": ((7, 6), None)},
        10: {"q35": ((7, 6), None)},
    }
)
"""The oldest and the newest release whose machine types QEMU has; without a newest one, up to the host's own release.

What isn't known for sure is believed to be there. el7's own QEMU stayed at 7.0, and i440fx ended with 7.6.
"""

_MACHINE = re.compile(r"(?:pc-(?:i440fx|q35)-)?rhel([0-9]+)\.([0-9]+)\.[0-9]+")

_DEVICES: Mapping[str, tuple[Version, int]] = MappingProxyType(
    {
        "e1000e": ((2, 7), 99),
        "virtio-vga": ((2, 4), 99),
        "qxl": ((0,), 9),
        "spice": ((0,), 9),
    }
)
"""The first QEMU that has a device, and the first major release of the platform that has been built without it."""


@cache
def _knows_machine(major: int, minor: int, machine: str) -> bool:
    named = _MACHINE.fullmatch(machine)
    known = _KNOWN_MACHINES[major].get("q35" if "q35" in machine else "pc")
    if named is None or known is None:
        return False
    oldest, newest = known
    return oldest <= (int(named[1]), int(named[2])) <= (newest or (major, minor))


@cache
def _versions(major: int, minor: int | None) -> Versions:
    rows = [row for known, row in _BY_MINOR if known == major]
    row = rows[0] if minor is None else max((row for row in rows if row <= minor), default=rows[0])
    return _BY_MINOR[major, row]


def with_libvirt(since: Version) -> list[str]:
    """The oldest minor of each major release that has this libvirt or a newer one, as the inventory names it."""
    oldest: dict[int, str] = {}
    for (major, minor), versions in _BY_MINOR.items():
        if versions.libvirt >= since:
            oldest.setdefault(major, f"el{major}.{minor}")
    return list(oldest.values())


@dataclass(frozen=True, slots=True)
class Platform:
    """A release of the EL family: ``el7``, or ``el9.4`` where the minor matters."""

    major: int
    minor: int | None = None

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read ``el8`` or ``el8.6``; the schema has checked the form."""
        major, _, minor = text.removeprefix("el").partition(".")
        return cls(int(major), int(minor) if minor else None)

    def __str__(self) -> str:
        return f"el{self.major}" + ("" if self.minor is None else f".{self.minor}")

    @property
    def versions(self) -> Versions:
        """The versions of the newest table row that is not newer than this platform."""
        return _versions(self.major, self.minor)

    @property
    def libvirt(self) -> Version:
        """The version of libvirt."""
        return self.versions.libvirt

    @property
    def firewalld(self) -> Version | None:
        """The version of firewalld; ``None`` on el6, which has iptables files instead."""
        return self.versions.firewalld

    @property
    def has_direct_rules(self) -> bool:
        """Whether iptables rules are written word for word: firewalld 1.0 calls its direct rules deprecated."""
        return self.major <= 8

    @property
    def isolates_by_nftables(self) -> bool:
        """Whether a table of nftables' bridge family keeps guests apart, rather than iptables' chains."""
        return not self.has_direct_rules

    @property
    def isolates_ports(self) -> bool:
        """Whether libvirt isolates the ports of a bridge (since 6.1)."""
        return self.libvirt >= (6, 1)

    @property
    def reads_network_config(self) -> bool:
        """Whether a guest's cloud-init reads network-config version 2: el6's 0.7.5 doesn't, and 17.1 was the first."""
        return self.major >= 7

    @property
    def sorts_routes_of_seeds(self) -> bool:
        """Whether a guest's cloud-init gives NetworkManager routes of both IP versions.

        Up to 23.3, which el9 had before its minor 4, IPv6 routes land in the profile's IPv4 section, and are lost.
        """
        return self.major != 9 or (self.minor or 0) >= 4

    @property
    def uses_ifcfg(self) -> bool:
        """Whether the host's links are described by ifcfg files (el6 to el8)."""
        return self.major <= 8

    @property
    def default_chipset(self) -> str:
        """``pc`` or ``q35``: what a new guest gets here."""
        return "pc" if self.major <= 7 else "q35"

    def machine(self, chipset: str) -> str | None:
        """The oldest versioned machine type of this major release: a guest keeps it over minor updates."""
        return _MACHINES[self.major].get(chipset)

    def knows_machine(self, machine: str) -> bool:
        """Whether QEMU here has a machine type; RHEL's has none of the names that other distributions use."""
        oldest_minor = min(minor for major, minor in _BY_MINOR if major == self.major)
        return _knows_machine(self.major, oldest_minor if self.minor is None else self.minor, machine)

    def has_device(self, device: str) -> bool:
        """Whether QEMU here has a device, as far as that is in doubt anywhere."""
        since, gone = _DEVICES[device]
        return self.versions.qemu >= since and self.major < gone
