"""A host's manifest: what kvmgen put into the folder, and in which order it is applied."""

from __future__ import annotations

import json
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
    """The paths that a manifest says are kvmgen's; ``None`` where the text isn't a manifest of kvmgen."""
    try:
        content = json.loads(text)
        if content["generator"] != "kvmgen":
            return None
        return frozenset(str(entry["path"]) for entry in content["files"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
