"""TCP connection attempts, judged as a firewall's tester needs it."""

import errno
import select
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

from tests.lab.netns import Node, in_netns, open_socket

Connection = Literal["open", "refused", "timeout", "no route"]

PATIENCE = 0.4
# A firewall's rejection becomes one of these, by the ICMP code that it chose.
REJECTIONS = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.EACCES)
IPV4_HEADER, IPV6_HEADER, ICMP_HEADER = 20, 40, 8
UNREACHABLE_V4, UNREACHABLE_V6 = 3, 1


@dataclass(slots=True)
class _Attempt:
    """One connection that is being tried; ``ports`` are its own and the one that is asked for."""

    client: socket.socket
    errors: socket.socket
    outcome: Connection = "timeout"
    ports: bytes = b""
    is_over: bool = False

    def begin(self, node: Node, address: str, port: int) -> None:
        """Send the first segment."""
        self.errors.setblocking(False)
        self.client.setblocking(False)
        code = in_netns(node, lambda: self.client.connect_ex((address, port)))
        if code in (0, errno.EINPROGRESS):
            self.ports = struct.pack("!HH", self.client.getsockname()[1], port)
        else:
            self._end(_meaning(code))

    def look(self) -> None:
        """See what has come: the connection, a reset, or an ICMP rejection."""
        if select.select([], [self.client], [], 0)[1]:
            self._end(_meaning(self.client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)))
        elif any(_is_rejection(message, self.errors.family, self.ports) for message in _waiting(self.errors)):
            self._end("refused")

    def _end(self, outcome: Connection) -> None:
        self.outcome, self.is_over = outcome, True


def try_connect(node: Node, address: str, port: int, patience: float = PATIENCE) -> Connection:
    """Connect from a node: a reset and an ICMP rejection are both `refused`, silence is `timeout`."""
    return try_all([(node, address, port)], patience)[0]


def try_all(wanted: Sequence[tuple[Node, str, int]], patience: float = PATIENCE) -> list[Connection]:
    """Many connections at once, each from a node to an address and port; all are tried within one patience.

    The kernel forgets an ICMP rejection that comes back while `connect` still holds the socket, as it does between
    two namespaces of one machine, and learns of it only from the next try a second later. So the ICMP messages are
    read here as well.
    """
    with ExitStack() as stack:
        attempts = [_opened(stack, node, address) for node, address, _ in wanted]
        for attempt, (node, address, port) in zip(attempts, wanted, strict=True):
            attempt.begin(node, address, port)
        deadline = time.monotonic() + patience
        while (open_ones := [one for one in attempts if not one.is_over]) and time.monotonic() < deadline:
            remaining = max(deadline - time.monotonic(), 0)
            select.select([one.errors for one in open_ones], [one.client for one in open_ones], [], remaining)
            for attempt in open_ones:
                attempt.look()
        return [attempt.outcome for attempt in attempts]


def _opened(stack: ExitStack, node: Node, address: str) -> _Attempt:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    protocol = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
    return _Attempt(
        client=stack.enter_context(open_socket(node, family, socket.SOCK_STREAM)),
        errors=stack.enter_context(open_socket(node, family, socket.SOCK_RAW, protocol)),
    )


def _waiting(errors: socket.socket) -> Iterator[bytes]:
    while True:
        try:
            yield errors.recv(2048)
        except BlockingIOError:
            return


def _is_rejection(message: bytes, family: int, ports: bytes) -> bool:
    """Whether an ICMP message says "unreachable" about the connection with these ports."""
    if family == socket.AF_INET6:
        quoted = ICMP_HEADER + IPV6_HEADER
        return message[0] == UNREACHABLE_V6 and message[quoted : quoted + 4] == ports
    quoted = IPV4_HEADER + ICMP_HEADER + IPV4_HEADER
    return message[IPV4_HEADER] == UNREACHABLE_V4 and message[quoted : quoted + 4] == ports


def _meaning(code: int) -> Connection:
    if code == 0:
        return "open"
    if code in REJECTIONS:
        return "refused"
    if code == errno.ENETUNREACH:
        return "no route"
    if code == errno.ETIMEDOUT:
        return "timeout"
    raise OSError(code, "connect")
