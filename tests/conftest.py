"""What every test finds."""

from __future__ import annotations

pytest_plugins = ("tests.lab.fixtures", "tests.real.site")
