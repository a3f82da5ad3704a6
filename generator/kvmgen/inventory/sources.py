"""The inventory's texts, for whoever asks where something stands."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from kvmgen.diagnostics import Diagnostic, Origin, Position
from kvmgen.inventory.source import Source, decode


@dataclass(slots=True)
class Sources:
    """The inventory's texts, read again for whoever asks for a position or a comment.

    ``root`` is how the inventory's folder is told; ``read_from`` is where it is, if that isn't the same.
    """

    root: Path
    read_from: Path | None = None
    _texts: dict[str, Source] = field(default_factory=dict)

    def source(self, file: str) -> Source:
        """One file's text; empty where it can't be read."""
        if file not in self._texts:
            self._texts[file] = _read_again(self.read_from or self.root, file)
        return self._texts[file]

    def has(self, file: str) -> bool:
        """Whether there is such a file."""
        return os.path.isfile(f"{self.read_from or self.root}/{file}")

    def position(self, diagnostic: Diagnostic) -> Position | None:
        """Where a diagnostic points to."""
        if diagnostic.position or diagnostic.origin is None:
            return diagnostic.position
        return self.position_of(diagnostic.origin, of_key=diagnostic.on_key)

    def position_of(self, origin: Origin, *, of_key: bool = False) -> Position | None:
        """Where an origin stands."""
        return self.source(origin.file).position(origin.pointer, of_key=of_key)


def _read_again(root: Path, file: str) -> Source:
    try:
        source = decode(file, (root / file).read_bytes())
    except OSError:
        return Source(file, "")
    return source if isinstance(source, Source) else Source(file, "")
