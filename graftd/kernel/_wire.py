# SPDX-License-Identifier: Apache-2.0
"""Netlink's framing: requests into bytes, datagrams into replies. No socket is seen here, so any
transport can drive it.

An Exchange is a batch of requests that leave in one send: give its `data` to the kernel and every
datagram that comes back to `feed` until it is `finished`.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from graftd.errors import KernelError
from graftd.kernel import _extack
from graftd.kernel._decode import Nest
from graftd.kernel._messages import FAMILY_VERSION, Message
from graftd.kernel._requests import Request

HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLMSG_OVERRUN = 4
NLMSG_MIN_TYPE = 0x10
NLM_F_DUMP_INTR = 0x10


@dataclass(frozen=True, slots=True)
class Frame:
    """One netlink message: its header's fields and all its bytes, header included."""

    type: int
    flags: int
    sequence: int
    data: bytes


def frames(datagram: bytes) -> Iterator[Frame]:
    offset = 0
    while offset + HEADER.size <= len(datagram):
        length, kind, flags, sequence, _ = HEADER.unpack_from(datagram, offset)
        length = max(length, HEADER.size)
        yield Frame(kind, flags, sequence, datagram[offset : offset + length])
        offset += (length + 3) & ~3


def decode(frame: Frame) -> tuple[int, Nest]:
    """The command of a message of the family, and its attributes."""
    message = Message(frame.data)
    message.decode()
    return message["cmd"], Nest(message, "GRAFT_A_")


def encode(request: Request, family: int, sequence: int) -> bytes:
    message = Message()
    message["cmd"] = request.command
    message["version"] = FAMILY_VERSION
    message["attrs"] = [list(pair) for pair in request.pairs]
    message["header"] = {
        "type": family,
        "flags": request.flags,
        "sequence_number": sequence,
        "pid": 0,
    }
    message.encode()
    return bytes(message.data)


@dataclass(slots=True)
class Reply:
    """What came back for one request. interrupted: the table changed under a dump."""

    request: Request
    sent: bytes
    messages: list[Nest] = field(default_factory=list)
    error: KernelError | None = None
    interrupted: bool = False
    finished: bool = False

    def take(self, frame: Frame) -> None:
        self.interrupted |= bool(frame.flags & NLM_F_DUMP_INTR)
        if frame.type in (NLMSG_ERROR, NLMSG_DONE):
            self.error = _extack.error_of(frame.data, self.sent, done=frame.type == NLMSG_DONE)
            self.finished = True
        elif frame.type >= NLMSG_MIN_TYPE:
            self.messages.append(decode(frame)[1])


class Exchange:
    """Requests that leave together, numbered from first_sequence on."""

    def __init__(self, requests: Sequence[Request], family: int, first_sequence: int) -> None:
        self._first = first_sequence
        self.replies = [
            Reply(request, encode(request, family, first_sequence + index)) for index, request in enumerate(requests)
        ]
        self.data = b"".join(reply.sent for reply in self.replies)

    @property
    def finished(self) -> bool:
        return all(reply.finished for reply in self.replies)

    def feed(self, datagram: bytes) -> None:
        """Notifications and answers to others' requests pass by unseen."""
        for frame in frames(datagram):
            index = frame.sequence - self._first
            if 0 <= index < len(self.replies) and not self.replies[index].finished:
                self.replies[index].take(frame)
