"""Where a file of the output comes from."""

from __future__ import annotations

import os
from pathlib import Path

from kvmgen.artifact import Artifact
from kvmgen.diagnostics import Origin, Position
from kvmgen.inventory.sources import Sources
from kvmgen.model.site import Site, views
from kvmgen.output.manifest import NAME as MANIFEST
from kvmgen.render import render


def origins_of(path: Path, output: Path, site: Site, sources: Sources) -> list[str] | None:
    """The places of the inventory that made a file, as ``FILE:LINE:COLUMN  what``; ``None`` for a file that isn't made.

    ``path`` is given as it is seen from here, or relative to the output's folder.
    """
    for way in (os.path.relpath(path, output), str(path)):
        host, _, rest = way.partition(os.sep)
        for view in views(site):
            if view.host.name == host:
                return _of_file(rest, render(view), sources)
    return None


def _of_file(path: str, artifacts: list[Artifact], sources: Sources) -> list[str] | None:
    chosen = [artifact for artifact in artifacts if path in (artifact.path, MANIFEST)]
    if not chosen:
        return None
    origins = dict.fromkeys(_told(origin) for artifact in chosen for origin in artifact.sources)
    lines = []
    for origin in origins:
        if origin.is_kvmgens:
            lines.append(f"{origin.file}  part of kvmgen")
            continue
        position = sources.position_of(origin, of_key=True) or Position(1, 1)
        what = ".".join(map(str, origin.pointer))
        lines.append(f"{sources.root}/{origin.file}:{position.line}:{position.column}  {what}".rstrip())
    return lines


def _told(origin: Origin) -> Origin:
    """kvmgen's own files as a whole: nobody looks for a line in them."""
    return Origin(origin.file) if origin.is_kvmgens else origin
