"""Cut a host's power while it applies, and print how often that was and how many hosts it tore.

``--cuts`` takes moments of a recorded apply and what its disk may hold then; ``--machines`` kills a running machine,
and starts it again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tests.applier.machine.cuts import cut_off, recorded, replayed
from tests.applier.machine.image import make_root
from tests.applier.machine.machine import make_initrd


def main() -> int:
    """Cut; 1 where a host was torn."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--cuts", type=int, default=1000)
    words.add_argument("--machines", type=int, default=20)
    words.add_argument("--seed", type=int, default=1)
    asked = words.parse_args()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="kvmgen-cuts-") as name:
        parts, first, second = (Path(name, part) for part in ("parts", "recorded", "machines"))
        for place in (parts, first, second):
            place.mkdir()
        make_root(parts)
        make_initrd(parts)
        recording = recorded(parts, first)
        print(f"{recording.last - recording.first} writes of an apply", flush=True)
        wrong += _told("cuts of a recorded apply", replayed(recording, first, asked.cuts, asked.seed))
        wrong += _told("cuts of a running machine", cut_off(parts, second, asked.machines, asked.seed))
    print(f"{asked.cuts + asked.machines} power cuts, {len(wrong)} tore the host", *wrong[:5], sep="\n")
    return 1 if wrong else 0


def _told(kind: str, tried: Iterable[tuple[int | None, str | None]]) -> list[str]:
    """Try cuts, and print at which generation they left the host; what they tore."""
    found, wrong = Counter[str](), []
    for generation, problem in tried:
        found[f"generation {generation}"] += 1
        wrong += [problem] if problem else []
    print(f"{kind} left {', '.join(f'{number} at {name}' for name, number in sorted(found.items()))}", flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
