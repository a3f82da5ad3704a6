"""The prober: send any frame from one interface and see what of it arrives on another.

Both ends are AF_PACKET sockets, below every packet filter of the guests themselves: what does not arrive was stopped
by the host. A probe that arrives is over at once, one that does not takes `WAIT` seconds.
"""

import select
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Literal, Self

from tests.lab.frames import ETH_VLAN, Ends, is_answer, is_rejection
from tests.lab.guest import LabGuest
from tests.lab.netns import Node, in_netns, open_socket

Verdict = Literal["reply", "one-way", "reject", "drop"]

WAIT = 0.2
LONGEST_FRAME = 65536
RECEIVE_BUFFER = 4 << 20
ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING = 1, 8, 23
PACKET_MR_PROMISC = 1
VLAN_VALID = 0x10
AUXDATA = struct.Struct("=IIIHHHH")


class Wire:
    """One interface, open for sending and for listening; a context manager.

    It listens from the moment it is opened, promiscuously and without its own frames.
    """

    def __init__(self, node: Node, interface: str = "eth0") -> None:
        self._socket = open_socket(node, socket.AF_PACKET, socket.SOCK_RAW)
        try:
            index = in_netns(node, lambda: socket.if_nametoindex(interface))
            self._listen_on(interface, index)
        except BaseException:
            self._socket.close()
            raise

    def _listen_on(self, interface: str, index: int) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self._socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self._socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self._socket.setsockopt(
            SOL_PACKET, PACKET_ADD_MEMBERSHIP, struct.pack("iHH8s", index, PACKET_MR_PROMISC, 0, b"")
        )
        self._socket.bind((interface, ETH_P_ALL))
        self._socket.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()

    def fileno(self) -> int:
        """The socket, for `select`."""
        return self._socket.fileno()

    def send(self, frame: bytes) -> None:
        """Send a frame as it is."""
        self._socket.send(frame)

    def waiting(self) -> Iterator[bytes]:
        """The frames that have arrived and nobody has read, without waiting for more."""
        while True:
            try:
                frame, auxiliary, _, _ = self._socket.recvmsg(LONGEST_FRAME, socket.CMSG_SPACE(AUXDATA.size))
            except BlockingIOError:
                return
            yield _with_vlan_tag(frame, auxiliary)

    def drain(self) -> None:
        """Forget what has arrived so far."""
        for _ in self.waiting():
            pass

    def listen(self, wait: float = WAIT) -> list[bytes]:
        """Everything that arrives until the wait is over."""
        heard: list[bytes] = []
        _listen_until(lambda: heard.extend(self.waiting()), lambda: False, [self], wait)
        return heard

    def hears(self, wanted: Callable[[bytes], bool], wait: float = WAIT) -> bytes | None:
        """The first frame that is wanted; None where none comes in time."""
        heard: list[bytes] = []
        _listen_until(lambda: heard.extend(filter(wanted, self.waiting())), lambda: bool(heard), [self], wait)
        return heard[0] if heard else None


class Probe:
    """Two open wires, from a sender to a receiver; a context manager."""

    def __init__(
        self, sender: Node, receiver: Node, *, sender_interface: str = "eth0", receiver_interface: str = "eth0"
    ) -> None:
        self.sender = Wire(sender, sender_interface)
        try:
            self.receiver = Wire(receiver, receiver_interface)
        except BaseException:
            self.sender.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sender.close()
        self.receiver.close()

    def arrives(self, frame: bytes, wait: float = WAIT, *, token: bytes = b"") -> bool:
        """Whether the frame gets through unchanged; with a token, whether a frame that contains the token does.

        A router changes a frame and a bridge doesn't: give a token from the payload where one stands between.
        """
        self.receiver.drain()
        self.sender.send(frame)
        return self.receiver.hears(lambda heard: token in heard if token else heard == frame, wait) is not None

    def arrivals(self, frames: Sequence[bytes], wait: float = WAIT) -> list[bool]:
        """Which of many different frames get through, all of them within one wait."""
        if len(set(frames)) != len(frames):
            raise ValueError("the frames of one round must differ from each other")
        self.receiver.drain()
        missing = set(frames)
        for frame in frames:
            self.sender.send(frame)
        _listen_until(
            lambda: missing.difference_update(self.receiver.waiting()), lambda: not missing, [self.receiver], wait
        )
        return [frame not in missing for frame in frames]

    def verdict(self, frame: bytes, wait: float = WAIT) -> Verdict:
        """What becomes of a frame whose receiver would answer it.

        `reply`: it arrives and the answer comes back; `one-way`: it arrives and nothing comes back; `reject`: it
        doesn't arrive and the sender is told; `drop`: nothing at all.
        """
        self.receiver.drain()
        self.sender.drain()
        self.sender.send(frame)
        arrived: list[bytes] = []
        answers: list[bytes] = []

        def collect() -> None:
            arrived.extend(heard for heard in self.receiver.waiting() if heard == frame)
            answers.extend(_answers(frame, self.sender.waiting()))

        _listen_until(collect, lambda: bool(answers), [self.receiver, self.sender], wait)
        collect()
        if arrived:
            return "reply" if answers else "one-way"
        return "reject" if answers else "drop"


def between(sender: LabGuest, receiver: LabGuest, version: Literal[4, 6] = 4) -> Ends:
    """The honest ends of a frame from one guest to another."""
    source, target = (sender.ipv4, receiver.ipv4) if version == 4 else (sender.ipv6, receiver.ipv6)
    return Ends(source_mac=sender.mac, target_mac=receiver.mac, source_ip=source, target_ip=target)


def _answers(sent: bytes, heard: Iterable[bytes]) -> Iterator[bytes]:
    return (frame for frame in heard if is_answer(sent, frame) or is_rejection(sent, frame))


def _listen_until(collect: Callable[[], None], enough: Callable[[], bool], wires: Sequence[Wire], wait: float) -> None:
    """Collect whenever a wire has something, until it is enough or the wait is over."""
    deadline = time.monotonic() + wait
    while not enough():
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return
        select.select(wires, [], [], remaining)
        collect()


def _with_vlan_tag(frame: bytes, auxiliary: Sequence[tuple[int, int, bytes]]) -> bytes:
    """Put the VLAN tag back that the kernel takes out of a frame on its way in."""
    for level, kind, data in auxiliary:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA) and len(data) >= AUXDATA.size:
            status, _, _, _, _, vlan, protocol = AUXDATA.unpack_from(data)
            if status & VLAN_VALID:
                return frame[:12] + struct.pack("!HH", protocol or ETH_VLAN, vlan) + frame[12:]
    return frame
