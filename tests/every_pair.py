"""Whether the matrix says of every pair what is answered when that pair is asked alone: ``python -m tests.every_pair``.

Tried are the example site and crowds (`tests.crowds`) of one seed after another, until the time is up.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from kvmgen import pipeline
from kvmgen.model.site import Site
from kvmgen.proof import rendered
from kvmgen.proof.services import named_services
from kvmgen.reachability.answer import Answer, Outcome, Question, Service, reach
from kvmgen.reachability.classes import End, ends
from kvmgen.reachability.matrix import Cell, matrix
from tests.crowds import crowd

INVENTORY = Path(__file__).parents[1] / "inventory"


def disagreements(site: Site, services: Sequence[Service] = (), most: int | None = None) -> Iterator[str | None]:
    """One for each question; ``None`` where both say the same. Of more than ``most`` pairs a sample is asked."""
    made = rendered(site)
    services = services or named_services(site)
    known = ends(made.consumers)
    found = matrix(made.consumers, services, known=known)
    number = {member.name: number for number, group in enumerate(found.classes) for member in group.members}
    cells = {(one.source, one.target, one.same_host, str(one.service), one.version): one for one in found.cells}
    alone = rendered(site).consumers
    for one, other in _pairs(list(known.known.values()), most):
        together = one.host == other.host != ""
        for service in services:
            for version in sorted(one.versions & other.versions & set(service.versions)):
                cell = cells[number[one.name], number[other.name], together, str(service), version]
                question = Question(source=one.name, target=other.name, service=service, version=version)
                yield _difference(cell, reach(alone, question))


def _pairs(known: Sequence[End], most: int | None) -> list[tuple[End, End]]:
    pairs = [(one, other) for one in known for other in known if one.owner != other.owner]
    return pairs if most is None or len(pairs) <= most else random.Random(1).sample(pairs, most)


def _difference(cell: Cell, alone: Answer) -> str | None:
    if cell.answer.outcome is alone.outcome and _line(cell.answer) == _line(alone):
        return None
    return f"{alone.question}: {alone.outcome} {_line(alone)}, in the matrix {cell.answer.outcome} {_line(cell.answer)}"


def _line(answer: Answer) -> tuple[str, int] | None:
    """The line that decides; a guest's own file is called otherwise for each."""
    if answer.cause is None or answer.outcome is Outcome.UNKNOWN or answer.cause.file.startswith("libvirt/domains/"):
        return None
    return answer.cause.file, answer.cause.line


def main() -> None:
    """Ask until the time is up, and tell the count."""
    parser = argparse.ArgumentParser(prog="python -m tests.every_pair", description=__doc__)
    parser.add_argument("--seconds", type=int, default=120, help="how long crowds are tried (default: 120)")
    parser.add_argument("--seed", type=int, default=0, help="the first one's")
    words = parser.parse_args()
    start, seed, asked = time.monotonic(), words.seed, 0
    site = pipeline.load(INVENTORY).site
    while site is not None and time.monotonic() - start < words.seconds:
        for wrong in disagreements(site):
            asked += 1
            if wrong is not None:
                raise SystemExit(f"the crowd before seed {seed}: {wrong}")
        with tempfile.TemporaryDirectory() as folder:
            site = crowd(seed, Path(folder))
        seed += 1
    print(f"{asked} questions about pairs of {seed - words.seed + 1} sites: the matrix answers all of them alike")


if __name__ == "__main__":
    main()
