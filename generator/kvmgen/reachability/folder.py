"""The files of one host, as a build makes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field

from kvmgen.model.platform import Platform
from kvmgen.value import value


@value
class Folder:
    """A host's folder: what lies at each path (``etc/sysconfig/iptables``), as text; ``platform`` is the host's.

    ``guest_platforms`` are those of the guests whose inside is among the files (``guests/NAME/...``).
    """

    name: str
    platform: Platform
    files: Mapping[str, str]
    guest_platforms: Mapping[str, Platform] = field(default_factory=dict)

    def under(self, prefix: str) -> Iterator[tuple[str, str]]:
        """The paths that start so, in order, and their texts."""
        return ((path, self.files[path]) for path in sorted(self.files) if path.startswith(prefix))

    def root(self, inside: str | None = None) -> str:
        """Where the files lie of the host itself (empty), or of the inside of one of its guests."""
        return "" if inside is None else f"guests/{inside}/"
