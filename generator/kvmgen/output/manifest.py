"""A host's manifest: what kvmgen put into the folder, and in which order it is applied."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from kvmgen.artifact import APPLY_ORDER, Artifact, Defines, Image

NAME = "manifest.json"
FORMAT = 1


def manifest(site: str, host: str, platform: str, artifacts: Sequence[Artifact]) -> str:
    """The manifest's text; the artifacts stand in the order in which they are applied."""
    head = {
        "generator": "kvmgen",
        "format": FORMAT,
        "site": site,
        "host": host,
        "platform": platform,
        "order": [str(kind) for kind in APPLY_ORDER],
    }
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    files = ",\n".join([f"  {json.dumps(_file(artifact))}" for artifact in artifacts])
    return "{\n" + ",\n".join([*lines, f' "files": [\n{files}\n ]']) + "\n}\n"


def _file(artifact: Artifact) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "path": artifact.path,
        "sha256": sha256(artifact.content).hexdigest(),
        "mode": f"{artifact.mode:04o}",
        "kind": str(artifact.kind),
    }
    if artifact.defines is not None:
        entry["defines"] = _defines(artifact.defines)
    return entry


def _defines(defines: Defines) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": defines.name, "uuid": defines.uuid}
    if defines.autostart is not None:
        entry["autostart"] = defines.autostart
    if defines.needs:
        entry["needs"] = list(defines.needs)
    if not defines.validate:
        entry["validate"] = False
    if defines.images:
        entry["images"] = [_image(image) for image in defines.images]
    return entry


def _image(image: Image) -> dict[str, Any]:
    entry: dict[str, Any] = {"source": image.source, "format": image.format}
    if image.size is not None:
        entry["size"] = image.size * 1024
    return entry


def owned_paths(text: str) -> frozenset[str] | None:
    """The paths that a manifest says are kvmgen's; ``None`` where the text isn't a manifest of kvmgen.

    One that git left with conflict markers says what either side's said: all of that is kvmgen's.
    """
    if _IN_CONFLICT.search(text):
        return _paths_of_both_sides(text)
    try:
        content = json.loads(text)
        if content["generator"] != "kvmgen":
            return None
        return frozenset(str(entry["path"]) for entry in content["files"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


_IN_CONFLICT = re.compile(r"^<<<<<<< .*^=======$.*^>>>>>>> ", re.MULTILINE | re.DOTALL)


def _paths_of_both_sides(text: str) -> frozenset[str] | None:
    """The paths in what a merge left: each file has a line of its own, so that a conflict never divides one."""
    if '\n "generator": "kvmgen",\n' not in text:
        return None
    return frozenset(filter(None, map(_path_in, text.splitlines())))


def _path_in(line: str) -> str | None:
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
        return str(json.loads(line.strip().removesuffix(","))["path"])
    return None


def with_files_of(ours: str, theirs: str) -> str:
    """Our manifest, which then also owns what theirs does: a build keeps of both what the inventory says."""
    more = sorted((owned_paths(theirs) or frozenset()) - (owned_paths(ours) or frozenset()))
    try:
        document = json.loads(ours)
        document["files"] += [{"path": path} for path in more]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ours
    return json.dumps(document, indent=1) + "\n" if more else ours
