"""A host whose power is cut while many files of it change, and what must be true of it afterwards."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.applier.folder import HOST
from tests.applier.machine.host import NEW, OLD, host_disk
from tests.applier.machine.machine import Machine
from tests.applier.machine.replay import Recording, count, look

FOLDER = "etc/sysconfig/network-scripts"
MOMENTS = (0.2, 1.0)
"""Of an apply, as parts of the time that it takes."""

ENABLE = "systemctl enable --quiet kvmgen-apply-boot.service"


def many(word: str, first: int, last: int) -> dict[str, bytes]:
    """Many files that say one word, in many blocks."""
    text = f'NAME="{word}"\n' * 300
    return {f"{FOLDER}/ifcfg-p{number:02}": f"DEVICE=p{number:02}\n{text}".encode() for number in range(first, last)}


FILES = {1: many("old", 0, 30), 2: many("new", 10, 40)}
"""By generation; some go, some change, some come."""

BY_NAME = {number: {Path(path).name: text.decode() for path, text in files.items()} for number, files in FILES.items()}


def torn(found: Mapping[str, Any]) -> str | None:
    """What is wrong with a host that was looked at; ``None`` where it is whole."""
    for name, text in found["before"].items():
        if not name.startswith(".kvmgen-") and text not in (BY_NAME[1].get(name), BY_NAME[2].get(name)):
            return f"{name} was neither the old nor the new one before the next run"
    if found["code"] != 0 or found["left"]:
        return f"the next run ended with {found['code']} and left {found['left']}: {found['said']}"
    if found["after"] != BY_NAME[found["generation"]]:
        return f"it says generation {found['generation']}, and has other files"
    return None


def recorded(parts: Path, place: Path) -> Recording:
    """An apply, with every write to the disk."""
    disk = host_disk(place, FILES[1], FILES[2])
    before, log = place / "before.img", place / "log"
    shutil.copy(disk, before)
    with Machine(parts, disk, log) as machine:
        machine.wait_until_up()
        machine.expect(0, "sync")
        first = count(log)
        machine.expect(0, f"kvmgen-apply apply {NEW} --host {HOST} && sync")
        last = count(log)
    return Recording(before, log, first, last)


def replayed(recording: Recording, place: Path, number: int, seed: int) -> Iterator[tuple[int | None, str | None]]:
    """Cut a recorded apply off so many times: the generation that the host is at then, and what is wrong with it."""
    image = place / "cut.img"
    for content in recording.cuts(number, seed):
        image.write_bytes(content)
        found = look(image)
        yield found["generation"], torn(found)


def cut_off(parts: Path, place: Path, number: int, seed: int) -> Iterator[tuple[int, str | None]]:
    """Cut a machine off while it applies, and start it again, so many times."""
    disk, chance = host_disk(place, FILES[1], FILES[2]), random.Random(seed)
    with Machine(parts, disk) as machine:
        machine.wait_until_up()
        machine.expect(0, ENABLE)
        start = time.monotonic()
        machine.expect(0, _apply(2))
        lasts = time.monotonic() - start
        _cut_off_while_it_applies(machine, 1, lasts * chance.uniform(*MOMENTS))
    for left in reversed(range(number)):
        with Machine(parts, disk) as machine:
            machine.wait_until_up()
            has, wrong = _looked_at(machine)
            if left:
                _cut_off_while_it_applies(machine, 1 if has == 2 else 2, lasts * chance.uniform(*MOMENTS))
        yield has, wrong


def _cut_off_while_it_applies(machine: Machine, generation: int, after: float) -> None:
    machine.send(_apply(generation))
    time.sleep(after)
    machine.cut_off()


def _apply(generation: int) -> str:
    return f"kvmgen-apply apply {OLD if generation == 1 else NEW} --host {HOST}"


def _looked_at(machine: Machine) -> tuple[int, str | None]:
    """Which of the two the host is, after what runs at its start."""
    names = machine.expect(0, f"cd /{FOLDER} && ls -A").split()
    words = set(machine.expect(0, f"cd /{FOLDER} && grep -h ^NAME= *").split())
    for number, word in ((1, "old"), (2, "new")):
        if words == {f'NAME="{word}"'} and names == sorted(BY_NAME[number]):
            machine.expect(0, "test ! -e /var/lib/kvmgen/journal.json")
            machine.expect(0, "! systemctl is-failed --quiet 'kvmgen-apply*'")
            return number, None
    return 0, f"it has the files {names}, which say {words}"
