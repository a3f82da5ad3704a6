"""Power cuts at any moment of a recorded run: what the disk may hold then, and whether the host on it is whole.

A disk keeps what was written before its last flush. Of what came after, a power cut leaves any part: each write is
there, isn't, or is there up to one of its blocks. The record is in the form of the kernel's dm-log-writes.
"""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.applier.folder import APPLIER
from tests.lab.host import LabError

MAGIC = 0x6A736677736872
SECTOR, BLOCK = 512, 4096
FLUSH, DISCARD = 1, 4
LOOK = Path(__file__).with_name("look.py")
ENTRY = struct.Struct("<QQQQ")
SUPER = struct.Struct("<QQQI")


@dataclass(frozen=True, slots=True)
class Write:
    """One write to the disk; ``is_flush`` where all before it are safe from then on."""

    place: int
    data: bytes
    is_flush: bool


def count(log: Path) -> int:
    """How many writes a record has, as of the disk's last flush."""
    with log.open("rb") as stream:
        magic, _, entries, sector = SUPER.unpack(stream.read(SUPER.size))
    if (magic, sector) != (MAGIC, SECTOR):
        raise LabError(f"{log} is no record of writes")
    return int(entries)


def writes_of(log: Path) -> Iterator[Write]:
    """The writes of a record, in order."""
    entries = count(log)
    with log.open("rb") as stream:
        stream.seek(SECTOR)
        for _ in range(entries):
            sector, sectors, flags, _ = ENTRY.unpack(stream.read(SECTOR)[: ENTRY.size])
            data = bytes(sectors * SECTOR) if flags & DISCARD else stream.read(sectors * SECTOR)
            yield Write(sector * SECTOR, data, bool(flags & FLUSH))


class Recording:
    """A recorded run: the disk before it, all writes, and the first and the last one of what matters."""

    def __init__(self, disk: Path, log: Path, first: int, last: int) -> None:
        self.disk = disk.read_bytes()
        self.writes = list(writes_of(log))
        self.first, self.last = first, last

    def cuts(self, number: int, seed: int) -> Iterator[bytes]:
        """The disk after power cuts, at moments that are spread over the run."""
        chance = random.Random(seed)
        moments = sorted(chance.randint(self.first, self.last) for _ in range(number))
        safe, done = bytearray(self.disk), 0
        for moment in moments:
            flushed = max((at for at in range(done, moment) if self.writes[at].is_flush), default=done)
            for write in self.writes[done:flushed]:
                safe[write.place : write.place + len(write.data)] = write.data
            done = flushed
            left = bytearray(safe)
            for write in self.writes[flushed:moment]:
                part = chance.randrange(len(write.data) // BLOCK + 1) * BLOCK
                data = chance.choice((write.data, b"", write.data[:part]))
                left[write.place : write.place + len(data)] = data
            yield bytes(left)


def look(image: Path) -> dict[str, Any]:
    """Mount a disk that was cut off, run the applier on it, and say what was there before and is afterwards."""
    mounted = image.with_suffix(".mounted")
    mounted.mkdir(exist_ok=True)
    argv = ["unshare", "--mount", sys.executable, "-I", str(LOOK), str(image), str(mounted), str(APPLIER)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise LabError(f"{image} can't be looked at: {done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
