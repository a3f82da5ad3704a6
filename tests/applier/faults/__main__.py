"""Break every step of the applier in every way, against a scripted virsh, and print how many faults that were.

With ``--sample SEED`` a few of every kind are tried.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.applier.faults.cases import Way, Ways, tried
from tests.applier.faults.inject import Fault

OF_EACH_KIND = 6


def sample(cases: list[tuple[Way, Fault]], seed: int) -> list[tuple[Way, Fault]]:
    """A few of every kind, each on some way; the same for the same seed."""
    kinds: dict[tuple[str, bool], list[tuple[Way, Fault]]] = {}
    for way, fault in random.Random(seed).sample(cases, len(cases)):
        kinds.setdefault((fault.kind, fault.lasts), []).append((way, fault))
    return [case for found in kinds.values() for case in found[:OF_EACH_KIND]]


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
        cases = [(way, fault) for way in ways for fault in way.faults()]
        cases = cases if seed is None else sample(cases, seed)
        torn = tried(cases, Path(name))
    print(f"{len(cases)} faults tried, {torn} tore the host")
    return 1 if torn else 0


if __name__ == "__main__":
    sys.exit(main())
