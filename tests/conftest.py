"""What every test finds."""

from __future__ import annotations

import os

pytest_plugins = ("tests.lab.fixtures", "tests.real.site")


def pytest_configure() -> None:
    """Let the laboratory's daemons read what is written for them, whatever the shell's umask: some run as nobody."""
    os.umask(0o022)
