"""ISO 9660 images with Rock Ridge and Joliet names, the same bytes at any time and place."""

from __future__ import annotations

import time
from collections.abc import Mapping
from io import BytesIO
from types import SimpleNamespace

from pycdlib import PyCdlib, dates, headervd, pycdlib, utils

LABEL = "cidata"
"""The volume name by which cloud-init finds its seed."""

_DATE = 315532800
"""The first day of 1980, in UTC: when every file of every image was made."""

_CLOCK = SimpleNamespace(
    time=lambda: _DATE, localtime=time.gmtime, gmtime=time.gmtime, strftime=time.strftime, strptime=time.strptime
)

for _module in (dates, headervd, pycdlib, utils):  # they read the clock and the time zone themselves
    setattr(_module, "time", _CLOCK)  # noqa: B010 - which their types don't foresee

_SYSTEM_AREA = 16 * 2048
"""What an image starts with, for whatever its system wants there."""


def image(mark: str, files: Mapping[str, str]) -> bytes:
    """An image of these files; the first line of its system area is ``mark``."""
    iso = PyCdlib()
    iso.new(interchange_level=3, sys_ident="LINUX", vol_ident=LABEL, joliet=3, rock_ridge="1.09")
    for name, text in files.items():
        content = text.encode()
        short = name.upper().replace("-", "_")
        iso.add_fp(
            BytesIO(content), len(content), f"/{short}.;1", rr_name=name, joliet_path=f"/{name}", file_mode=0o100444
        )
    written = BytesIO()
    iso.write_fp(written)
    iso.close()
    start = mark.encode()
    assert len(start) < _SYSTEM_AREA
    return start + written.getvalue()[len(start) :]
