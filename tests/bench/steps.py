"""Seconds of wall clock and of processor time that each step of validating takes: ``python steps.py INVENTORY``.

Printed as JSON; forked helpers count with their parent.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from kvmgen.checks import check
from kvmgen.inventory.lower import lower
from kvmgen.inventory.read import read

T = TypeVar("T")


def timed(step: Callable[[], T]) -> tuple[T, dict[str, float]]:
    """What a step gives, and what it took."""
    start, before = time.perf_counter(), _processor()
    result = step()
    return result, {"wall": time.perf_counter() - start, "cpu": _processor() - before}


def _processor() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main() -> None:
    """Time the steps once, in their order."""
    gc.disable()  # as the command does
    inventory = Path(sys.argv[1])
    documents, reading = timed(lambda: read(inventory))
    (site, _), lowering = timed(lambda: lower(documents))
    assert site is not None, "the benchmark's sites are valid"
    findings, checking = timed(lambda: list(check(site)))
    assert not [finding for finding in findings if finding.is_error], findings[:3]
    print(json.dumps({"read": reading, "lower": lowering, "check": checking}))


if __name__ == "__main__":
    main()
