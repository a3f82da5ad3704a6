"""Work done by this very process in another network namespace.

A thread may enter a network namespace while the rest of the process stays where it is, and a socket keeps the
namespace in which it was opened. So a test can listen, connect and sniff in many namespaces at once, without a
helper process for each.
"""

import ctypes
import os
import socket
import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

CLONE_NEWNET = 0x40000000
CONTROL_TIMEOUT = 30.0

_libc = ctypes.CDLL(None, use_errno=True)
_Result = TypeVar("_Result")


class Node(Protocol):
    """Anything with a network namespace: a host, a guest, a machine outside."""

    @property
    def netns(self) -> int:
        """An open file descriptor of the network namespace."""
        ...


def in_netns(node: Node, work: Callable[[], _Result]) -> _Result:
    """Run `work` in the node's network namespace and hand back its result or its exception.

    The work gets a thread of its own which ends right after, so that no thread is ever left in a foreign namespace.
    """
    outcome: list[_Result] = []
    failure: list[BaseException] = []

    def enter_and_work() -> None:
        try:
            _enter(node.netns)
            outcome.append(work())
        except BaseException as error:
            failure.append(error)

    worker = threading.Thread(target=enter_and_work, daemon=True)
    worker.start()
    worker.join(CONTROL_TIMEOUT)
    if failure:
        raise failure[0]
    if not outcome:
        raise TimeoutError(f"work in a network namespace took longer than {CONTROL_TIMEOUT} s")
    return outcome[0]


def open_socket(node: Node, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """Open a socket that lives in the node's network namespace."""
    return in_netns(node, lambda: socket.socket(family, kind, protocol))


def _enter(netns: int) -> None:
    if _libc.setns(netns, CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"setns: {os.strerror(code)}")
