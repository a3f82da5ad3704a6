"""Doing mutations, one after the other, and judging what kvmgen makes of each."""

from __future__ import annotations

import signal
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from kvmgen import pipeline
from kvmgen.model.site import views
from kvmgen.proof.expected import prove
from kvmgen.render import render
from kvmgen.report import for_people
from tests.fuzz.judge import injections, lost
from tests.fuzz.mutate import Texts, mutated
from tests.sites import EXAMPLE

SECONDS = 20
"""How long one mutation may take before it counts as a hang."""


@dataclass(slots=True)
class Tally:
    """What came of some mutations."""

    refused: int = 0
    compiled: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Add another's counts."""
        self.refused += other.refused
        self.compiled += other.compiled
        self.codes += other.codes
        self.failures += other.failures


class HangError(Exception):
    """A mutation took too long."""


def originals(inventory: Path = EXAMPLE) -> Texts:
    """The texts of an inventory."""
    return {str(path.relative_to(inventory)): path.read_bytes() for path in sorted(inventory.rglob("*.yaml"))}


def fuzz(seed: int, numbers: range) -> Tally:
    """Do some mutations, and judge what comes of each."""
    tally = Tally()
    texts = originals()
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        site = _Site(Path(folder), texts)
        signal.signal(signal.SIGALRM, _hang)
        for number in numbers:
            wanted = mutated(texts, Random(f"{seed}/{number}"))
            site.become(wanted)
            signal.alarm(SECONDS)
            try:
                tally.failures += (f"{number}: {problem}" for problem in _outcome(Path(folder), tally))
            except Exception:
                tally.failures.append(f"{number}: {traceback.format_exc()}")
            signal.alarm(0)
    return tally


def _hang(*_: object) -> None:
    raise HangError(f"no answer within {SECONDS} s")


class _Site:
    """An inventory's folder that becomes one mutation after the other, file by file."""

    def __init__(self, folder: Path, texts: Texts) -> None:
        self.folder = folder
        self.now: Texts = {}
        self.become(texts)

    def become(self, texts: Texts) -> None:
        for file in self.now.keys() - texts.keys():
            (self.folder / file).unlink()
        for file, text in texts.items():
            if self.now.get(file) != text:
                path = self.folder / file
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(text)
        self.now = dict(texts)


def _outcome(inventory: Path, tally: Tally) -> Iterator[str]:
    """What is wrong with kvmgen's answer."""
    result = pipeline.load(inventory)
    if result.site is not None and result.is_good:
        result.diagnostics += prove(result.site, result.sources)
    told = for_people(result.diagnostics, result.sources)
    if any(not (char.isprintable() or char == "\n") for char in told):
        yield "a message would be obeyed by a terminal"
    tally.codes.update(diagnostic.rule.code for diagnostic in result.diagnostics)
    if not result.is_good:
        tally.refused += 1
        return
    assert result.site is not None
    tally.compiled += 1
    for view in views(result.site):
        artifacts = render(view)
        for artifact in artifacts:
            yield from injections(artifact)
            yield from lost(artifact)
        if len({artifact.path for artifact in artifacts}) != len(artifacts):
            yield f"{view.host.name} has two files of one path"
