"""Mutate the example inventory many times: ``python -m tests.fuzz [--mutations N] [--seed N] [--processes N]``.

Whatever is done to it, kvmgen must tell what is wrong with it, or compile it to files in which nothing of a value
became structure: no traceback, no hang, no injection. Each mutation follows from the seed and its number, which is told
with every failure: ``--only NUMBER`` does it again and shows what it did.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from random import Random

from tests.fuzz.mutate import mutated
from tests.fuzz.run import Tally, fuzz, originals

PORTION = 250
"""How many mutations a process does at a time."""


def main() -> int:
    """Do as the arguments say; 1 where anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Mutate the example inventory.")
    parser.add_argument("--mutations", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", type=int, help="do this mutation alone, and show what it changed")
    arguments = parser.parse_args()
    if arguments.only is not None:
        return _show(arguments.seed, arguments.only)
    started = time.monotonic()
    total = Tally()
    starts = range(0, arguments.mutations, PORTION)
    portions = [range(start, min(start + PORTION, arguments.mutations)) for start in starts]
    with ProcessPoolExecutor(arguments.processes, mp_context=get_context("spawn")) as pool:
        for number, part in enumerate(pool.map(fuzz, [arguments.seed] * len(portions), portions), 1):
            total.add(part)
            for failure in part.failures[:5]:
                print(failure, file=sys.stderr, flush=True)
            if sys.stderr.isatty():
                print(f"\r{number * PORTION} of {arguments.mutations}", end="", file=sys.stderr)
    print(
        f"{total.refused + total.compiled} mutations in {time.monotonic() - started:.0f} s: {total.refused} refused, "
        f"{total.compiled} compiled, {len(total.codes)} different codes told, {len(total.failures)} failures."
    )
    return bool(total.failures)


def _show(seed: int, number: int) -> int:
    texts = originals()
    wanted = mutated(texts, Random(f"{seed}/{number}"))
    with tempfile.TemporaryDirectory() as folder:
        for name, those in (("before", texts), ("after", wanted)):
            for file, text in those.items():
                path = Path(folder, name, file)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(text)
        subprocess.run(["diff", "-ru", "before", "after"], cwd=folder, check=False)
    tally = fuzz(seed, range(number, number + 1))
    print(*tally.failures, sep="\n")
    return bool(tally.failures)


if __name__ == "__main__":
    sys.exit(main())
