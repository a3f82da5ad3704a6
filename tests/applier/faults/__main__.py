"""Break every step of the applier in every way, against a scripted virsh, and print how many faults that were.

With ``--sample SEED`` a few of every kind are tried.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.applier.faults.cases import Way, Ways, tried
from tests.applier.faults.inject import Fault

OF_EACH_KIND = 1
"""How many of every way and kind a sample has."""


def sample(cases: list[tuple[Way, Fault]], seed: int) -> list[tuple[Way, Fault]]:
    """A few of every way and kind, the same for the same seed."""
    mixed = random.Random(seed).sample(cases, len(cases))
    seen: Counter[tuple[str, str, bool]] = Counter()
    chosen = []
    for way, fault in mixed:
        key = way.name, fault.kind, fault.lasts
        seen[key] += 1
        if seen[key] <= OF_EACH_KIND:
            chosen.append((way, fault))
    return chosen


def main() -> int:
    """Try the faults; 1 where one tore the host."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--sample", type=int, metavar="SEED")
    words.add_argument("--way", help="only ways whose name has this in it")
    seed, wanted = (getattr(words.parse_args(), name) for name in ("sample", "way"))
    with tempfile.TemporaryDirectory(prefix="kvmgen-faults-") as name:
        ways = tuple(way for way in Ways(Path(name)).all() if (wanted or "") in way.name)
        for way in ways:
            print(f"{way.name}: {len(way.steps)} steps", flush=True)
        count, wrong = tried(ways, lambda cases: cases if seed is None else sample(cases, seed), Path(name))
    print(*wrong, sep="\n=====\n")
    print(f"{count} faults tried, {len(wrong)} tore the host")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
