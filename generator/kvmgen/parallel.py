"""Using every core for work that falls into many equal parts, where there is enough of it to pay for a process."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_work: tuple[Callable[[Any], Any], Sequence[Any]] | None = None
"""What forked processes find in the memory that they inherit, so that nothing large has to be sent to them."""


def mapped(function: Callable[[Item], Result], items: Sequence[Item], *, worth: int) -> Iterator[Result]:
    """``map``, in forked processes where there is more than one core; the order is kept.

    ``worth`` is how many items pay for a process. Only results are sent between processes, pickled.
    """
    workers = min(os.cpu_count() or 1, len(items) // worth + 1)
    if workers == 1 or "fork" not in multiprocessing.get_all_start_methods():
        yield from map(function, items)
        return
    global _work  # noqa: PLW0603 - the one way to hand something to a forked process without sending it
    _work = (function, items)
    try:
        with multiprocessing.get_context("fork").Pool(workers) as pool:
            yield from pool.imap(_one, range(len(items)), chunksize=max(1, len(items) // workers // 8))
    finally:
        _work = None


def _one(index: int) -> Any:
    assert _work is not None
    function, items = _work
    return function(items[index])
