# SPDX-License-Identifier: Apache-2.0
"""A blocking netlink socket."""

import errno
import socket
from collections.abc import Iterable, Iterator, Sequence

from graftd.errors import KernelError
from graftd.kernel._extack import sentence_for
from graftd.kernel._genl import Family, family_of, family_request
from graftd.kernel._messages import FAMILY_NAME
from graftd.kernel._requests import Request
from graftd.kernel._wire import Exchange, Frame, Reply, frames

NETLINK_GENERIC = 16
SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP = 1
NETLINK_CAP_ACK = 10
NETLINK_EXT_ACK = 11
NETLINK_GET_STRICT_CHK = 12

# Each acknowledgement takes about 1 KiB of the receive buffer, whose default is 208 KiB; the
# kernel answers a batch whole before it lets anything be read.
_BATCH = 100
_RECEIVE_BYTES = 256 * 1024
# The kernel answers while it is being sent to, so an answer that is not there is lost.
_ANSWER_SECONDS = 20.0  # and fewer than the service's watchdog waits


class Transport:
    """Speaks from the namespace that the calling thread is in as it is made."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_GENERIC)
        self._sequence = 0
        self._family: Family | None = None
        try:
            self._socket.bind((0, 0))
            for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK):
                self._socket.setsockopt(SOL_NETLINK, option, 1)
        except OSError:
            self._socket.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def exchange(self, requests: Sequence[Request]) -> Iterator[Reply]:
        """Send all, in as few sends as the buffers allow, and yield the replies in order.

        A refused request does not keep the later ones from being carried out.
        """
        for start in range(0, len(requests), _BATCH):
            batch = requests[start : start + _BATCH]
            used = self.family()
            replies = self._exchange(batch)
            # So it answers a number that no family has: the module was unloaded since, and maybe loaded again.
            if all(reply.error is not None and reply.error.errno == errno.ENOENT for reply in replies):
                self._family = None
                if self.family().id != used.id:
                    replies = self._exchange(batch)
            yield from replies

    def _exchange(self, batch: Sequence[Request]) -> list[Reply]:
        exchange = Exchange(batch, self.family().id, self._numbers(len(batch)))
        self._send(exchange.data)
        while not exchange.finished:
            exchange.feed(self._answer())
        return exchange.replies

    def join(self, groups: Iterable[str]) -> None:
        for group in groups:
            self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, self.family().group(group))

    def receive(self) -> Iterator[Frame]:
        """The messages of one datagram, whoever they answer; waits for it."""
        self._socket.settimeout(None)
        return frames(self._receive())

    def family(self) -> Family:
        if self._family is None:
            sequence = self._numbers(1)
            self._send(family_request(sequence))
            answer = None
            while answer is None:
                answer = next((f for f in frames(self._answer()) if f.sequence == sequence), None)
            self._family = family_of(answer)
        return self._family

    def _numbers(self, count: int) -> int:
        """The first of `count` fresh sequence numbers; 0 is the notifications'."""
        first = self._sequence + 1
        self._sequence += count
        return first

    def _send(self, data: bytes) -> None:
        room = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        if len(data) + 4096 > room:
            self._grow_send_buffer(len(data) + 4096)
        self._socket.sendto(data, (0, 0))

    def _grow_send_buffer(self, size: int) -> None:
        so_sndbufforce = 32
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, so_sndbufforce, size)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)

    def _answer(self) -> bytes:
        self._socket.settimeout(_ANSWER_SECONDS)
        try:
            return self._receive()
        except TimeoutError:
            raise KernelError(
                errno.ETIMEDOUT,
                f"the kernel did not answer within {_ANSWER_SECONDS:g} seconds: see its log (dmesg)",
            ) from None
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            raise KernelError(errno.ENOBUFS, sentence_for(errno.ENOBUFS)) from None

    def _receive(self) -> bytes:
        data, _, flags, _ = self._socket.recvmsg(_RECEIVE_BYTES)
        if flags & socket.MSG_TRUNC:
            raise KernelError(
                errno.EMSGSIZE,
                f"an answer of the family {FAMILY_NAME} exceeds {_RECEIVE_BYTES} bytes: "
                "load the module of this version",
            )
        return data
