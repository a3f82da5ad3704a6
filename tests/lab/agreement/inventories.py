"""An inventory as data that a program can change: written, read, and rid of what kvmgen refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from kvmgen.pipeline import load

MOST_REPAIRS = 60
KEPT = ("site.yaml", "hosts/")
"""Files without which there is no site."""

Files = dict[str, Any]
"""Files' contents by their path in the inventory."""


def write(files: Files, folder: Path) -> None:
    """Make a folder this inventory, and nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content, indent=1) + "\n")


def read(folder: Path) -> Files:
    """An inventory that `write` wrote."""
    return {
        path.relative_to(folder).as_posix(): json.loads(path.read_text()) for path in sorted(folder.rglob("*.yaml"))
    }


def repaired(files: Files, folder: Path) -> Files | None:
    """Write an inventory without what kvmgen refuses of it; ``None`` where no guest is left, or no site.

    What names something that isn't there is refused as well, so that whatever is taken away leaves nothing behind.
    """
    files = deepcopy(files)
    for _ in range(MOST_REPAIRS):
        write(files, folder)
        result = load(folder)
        if result.is_good:
            return files if any(path.startswith("guests/") for path in files) else None
        guilty = [found.origin for found in result.diagnostics if found.is_error and found.origin is not None]
        gone = next((origin for origin in guilty if origin.file in files and not origin.file.startswith(KEPT)), None)
        if gone is None:
            return None
        _take_out(files, gone.file, gone.pointer)
    return None


def _take_out(files: Files, path: str, pointer: Sequence[str | int]) -> None:
    """Take away the smallest thing around a place that can be missed."""
    within = files[path]
    for depth, key in enumerate(pointer):
        if _can_be_missed(path.partition("/")[0], pointer[: depth + 1]):
            del within[key]
            return
        within = within[key]
    del files[path]


def _can_be_missed(kind: str, pointer: Sequence[str | int]) -> bool:
    """Whether a file of a kind is whole without the value there: a rule, a line of a policy, a word of an interface."""
    if kind in ("filters", "policies"):
        return len(pointer) == 2 and isinstance(pointer[1], int)
    if kind == "guests" and pointer[0] == "interfaces" and len(pointer) > 2:
        return pointer[2] in ("filter", "anti-spoofing", "routes", "isolation-group") or (
            pointer[2] == "policies" and len(pointer) == 4
        )
    return kind == "networks" and pointer == ("isolation",)
