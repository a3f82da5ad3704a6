"""Break every step of the applier in every way, and print how many faults that were.

Against a scripted virsh, or with ``--real`` on a host of the laboratory with a real libvirtd and a running guest. With
``--sample N`` only N faults of every kind are tried, which ``--seed`` chooses; ``--only`` takes those whose name a
regular expression is found in: ``apply that changes: kill at step 40 (virsh net-update lab ...)``.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.applier.faults.cases import Way, Ways
from tests.applier.faults.judge import Cases, named, tried
from tests.applier.faults.real_host import Bench, RealWays


def sample(cases: Cases, count: int, seed: int) -> Cases:
    """A few of every kind, alone and as a second one; the same for the same seed, and in the order of all."""
    kinds: dict[tuple[str, bool, bool], list[int]] = {}
    for index in random.Random(seed).sample(range(len(cases)), len(cases)):
        way, fault = cases[index]
        kinds.setdefault((fault.kind, fault.lasts, bool(way.first)), []).append(index)
    return [cases[index] for index in sorted(index for found in kinds.values() for index in found[:count])]


def chosen(ways: Iterable[Way], words: argparse.Namespace) -> Cases:
    """The faults to try."""
    cases = [(way, fault) for way in ways for fault in way.faults()]
    cases = [(way, fault) for way, fault in cases if re.search(words.only, named(way, fault, way.steps))]
    return cases if words.sample is None else sample(cases, words.sample, words.seed)


def scripted(folder: Path, words: argparse.Namespace) -> tuple[int, int]:
    """Try faults against a scripted virsh; how many, and how many tore the host."""
    cases = chosen(told(Ways(folder).all(), words.way), words)
    return len(cases), tried(cases, folder)


def real(folder: Path, words: argparse.Namespace) -> tuple[int, int]:
    """Try faults on real libvirtds, one a worker; how many, and how many tore the host."""
    bench = Bench()
    with bench:
        cases = chosen(told(RealWays(folder, bench, words.seed).all(words.way), words.way), words)
    return len(cases), tried(cases, folder, min(words.workers, len(cases)), lambda: bench)


def told(ways: Iterable[Way], name: str) -> Iterator[Way]:
    """Ways that have this in their name, each told of."""
    for way in ways:
        if name in way.name:
            print(f"{way.name}: {len(way.steps)} steps", flush=True)
            yield way


def main() -> int:
    """Try the faults; 1 where one tore the host."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", action="store_true", help="on a real libvirtd (root, in namespaces)")
    parser.add_argument("--sample", type=int, metavar="N", help="only N faults of every kind")
    parser.add_argument("--seed", type=int, default=1, help="which ones (default: 1)")
    parser.add_argument("--way", default="", metavar="TEXT", help="only ways whose name has this in it")
    parser.add_argument("--only", default="", metavar="REGEX", help="only faults whose name has this in it")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="libvirtds at a time, with --real")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kvmgen-faults-") as name:
        count, torn = (real if words.real else scripted)(Path(name), words)
    print(f"{count} faults tried{' on a real libvirtd' * words.real}, {torn} tore the host")
    return 1 if torn else 0


if __name__ == "__main__":
    sys.exit(main())
