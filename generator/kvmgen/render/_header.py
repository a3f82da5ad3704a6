"""The line that opens every generated file."""

from __future__ import annotations

from kvmgen.diagnostics import OWN, Origin

MARK = "Made by kvmgen from"


def made_from(origin: Origin) -> str:
    """Say which file of the inventory a generated file comes from, and what to do instead of editing it."""
    if origin.is_kvmgens:
        return f"{MARK} its own {origin.file.removeprefix(OWN)}: part of kvmgen, the same on every host."
    return f"{MARK} inventory/{origin.file}: edit that and build again."


def hash_header(origin: Origin) -> str:
    """The header for formats whose comments start with ``#``."""
    return f"# {made_from(origin)}\n"
