"""What a renderer returns: one file of a host's folder, as text or bytes, with what it defines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from enum import StrEnum

from kvmgen.diagnostics import Origin
from kvmgen.value import value

Lines = Mapping[int, tuple[Origin, ...]]
"""The places of the inventory that made the lines from a given one on, the most telling place first."""


class Kind(StrEnum):
    """What a file is to the host, in the order in which the kinds are applied."""

    MODULES = "modules"
    SYSCTL = "sysctl"
    UDEV = "udev"
    LINK = "link"
    FIREWALL = "firewall"
    UNIT = "unit"
    NETWORK = "network"
    NWFILTER = "nwfilter"
    SEED = "seed"
    DOMAIN = "domain"
    GUEST_FILE = "guest-file"


APPLY_ORDER = tuple(Kind)


@value
class Image:
    """A disk that must be there before a domain can start: a path, or POOL/VOLUME; ``size`` is in KiB, if known."""

    source: str
    format: str
    size: int | None = None


@value
class Defines:
    """The libvirt object that a file defines.

    ``needs`` names the objects of the same kind that must exist before (an nwfilter's references); ``images`` are a
    domain's disks. ``validate`` is whether libvirt's own schema knows all of it (``virsh ... --validate``).
    """

    name: str
    uuid: str
    autostart: bool | None = None
    needs: tuple[str, ...] = ()
    images: tuple[Image, ...] = ()
    validate: bool = True


@value
class Artifact:
    """One generated file.

    ``path`` is relative to the host's folder: ``etc/...`` and ``var/...`` are copied to ``/`` on the host,
    ``libvirt/...`` is defined through virsh, ``guests/NAME/...`` belongs inside a guest. ``sources`` are the places of
    the inventory it was made from, the most telling first; ``lines`` tells, when it is asked for, which places made the
    lines from a given one on (`origins_at`). ``binary`` makes the bytes of a file that isn't text, when
    they are asked for; its ``text`` is empty.
    """

    path: str
    text: str
    kind: Kind
    sources: tuple[Origin, ...]
    mode: int = 0o644
    defines: Defines | None = None
    binary: Callable[[], bytes] | None = None
    lines: Callable[[], Lines] | None = field(default=None, compare=False)

    @property
    def content(self) -> bytes:
        """The file's bytes."""
        return self.text.encode() if self.binary is None else self.binary()

    def origins_at(self, line: int) -> tuple[Origin, ...]:
        """The places that made a line, the most telling first; where nothing closer is known, the file's first."""
        lines = {} if self.lines is None else self.lines()
        before = max((first for first in lines if first <= line), default=None)
        return self.sources[:1] if before is None else lines[before]
