"""Using every core for work that falls into many equal parts, where there is enough of it to pay for a process."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def mapped(function: Callable[[Item], Result], items: Sequence[Item], *, worth: int) -> Iterator[Result]:
    """``map`` on every core, in the items' order; ``worth`` is how many items pay for a process.

    This process does the first part itself; a fork of it does each other one, with all that is in memory at hand, and
    sends only results back. (The standard library's pools would send the items too, and take five times as long to
    start.)
    """
    workers = min(os.cpu_count() or 1, len(items) // worth + 1) if hasattr(os, "fork") else 1
    size = -(-len(items) // workers)
    forks = [_Fork(function, items[start : start + size]) for start in range(size, len(items), size)] if size else []
    try:
        yield from map(function, items[:size])
        for fork in forks:
            yield from fork.results()
    finally:
        for fork in forks:
            fork.end()


class _Fork:
    """A child process that applies a function to its items and writes the pickled results to a pipe."""

    def __init__(self, function: Callable[[Item], Result], items: Sequence[Item]) -> None:
        self._reader, writer = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            _work(function, items, writer)
        os.close(writer)

    def results(self) -> Iterator[Result]:
        """The results, once the child has them; its exception is raised here."""
        with open(self._reader, "rb", closefd=False) as stream:
            try:
                outcome: list[Result] | BaseException = pickle.load(stream)  # noqa: S301 - from our own child
            except EOFError:
                outcome = ChildProcessError(f"process {self._pid}, a part of this one, has died")
        if isinstance(outcome, BaseException):
            raise outcome
        yield from outcome

    def end(self) -> None:
        """Leave no process and no pipe behind."""
        os.close(self._reader)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


def _work(function: Callable[[Item], Result], items: Sequence[Item], writer: int) -> None:
    """The child's whole life; it never returns into its parent's code."""
    try:
        with open(writer, "wb") as stream:
            try:
                outcome: list[Result] | BaseException = [function(item) for item in items]
            except BaseException as error:
                outcome = error
            pickle.dump(outcome, stream, pickle.HIGHEST_PROTOCOL)
    finally:
        os._exit(0)
