"""What a shell makes of a file that it sources."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SHELLS = (
    pytest.param(("bash", "--posix"), id="bash"),
    pytest.param(("dash",), id="dash", marks=pytest.mark.real),
)

ALWAYS_SET = {"PWD", "OLDPWD", "SHLVL", "_"}


def sourced(text: str, shell: tuple[str, ...], folder: Path) -> dict[str, str]:
    """The variables that a shell has after it sourced the text in an empty folder, where nothing may appear."""
    file = folder / "file"
    file.write_text(text)
    empty = folder / "empty"
    empty.mkdir(exist_ok=True)
    command = ("env", "-i", *shell, "-c", 'set -a; . "$0"; exec /usr/bin/env -0', str(file))
    done = subprocess.run(command, cwd=empty, capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    assert list(empty.iterdir()) == []
    pairs = (entry.split("=", 1) for entry in done.stdout.split("\0") if entry)
    return {name: value for name, value in pairs if name not in ALWAYS_SET}
