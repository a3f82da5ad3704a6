"""One TCP connection attempt, judged as a firewall's tester needs it."""

import errno
import select
import socket
import struct
import time
from typing import Literal

from tests.lab.netns import Node, in_netns, open_socket

Connection = Literal["open", "refused", "timeout", "no route"]

PATIENCE = 0.4
# A firewall's rejection becomes one of these, by the ICMP code that it chose.
REJECTIONS = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.EACCES)
IPV4_HEADER, IPV6_HEADER, ICMP_HEADER = 20, 40, 8
UNREACHABLE_V4, UNREACHABLE_V6 = 3, 1


def try_connect(node: Node, address: str, port: int, patience: float = PATIENCE) -> Connection:
    """Connect from a node: a reset and an ICMP rejection are both `refused`, silence is `timeout`.

    The kernel forgets an ICMP rejection that comes back while `connect` still holds the socket, as it does between
    two namespaces of one machine, and learns of it only from the next try a second later. So the ICMP messages are
    read here as well.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    protocol = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
    with (
        open_socket(node, family, socket.SOCK_RAW, protocol) as errors,
        open_socket(node, family, socket.SOCK_STREAM) as client,
    ):
        errors.setblocking(False)
        client.setblocking(False)
        code = in_netns(node, lambda: client.connect_ex((address, port)))
        if code not in (0, errno.EINPROGRESS):
            return _meaning(code)
        return _wait_for_outcome(client, errors, port, patience)


def _wait_for_outcome(client: socket.socket, errors: socket.socket, port: int, patience: float) -> Connection:
    ports = struct.pack("!HH", client.getsockname()[1], port)
    deadline = time.monotonic() + patience
    while (remaining := deadline - time.monotonic()) > 0:
        readable, writable, _ = select.select([errors], [client], [], remaining)
        if writable:
            return _meaning(client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        if readable and _is_rejection(errors.recv(2048), errors.family == socket.AF_INET6, ports):
            return "refused"
    return "timeout"


def _is_rejection(message: bytes, ipv6: bool, ports: bytes) -> bool:
    """Whether an ICMP message says "unreachable" about the connection with these ports."""
    if ipv6:
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
