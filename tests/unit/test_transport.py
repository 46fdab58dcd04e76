# SPDX-License-Identifier: Apache-2.0
"""The netlink socket, with a kernel that a test plays."""

import errno
import os
import struct
from collections import deque

import pytest

from graftd.errors import KernelError, ModuleNotLoadedError
from graftd.kernel import _requests, _transport
from graftd.kernel._genl import GENL_ID_CTRL
from graftd.kernel._pyroute2 import ctrlmsg
from graftd.kernel._transport import Transport
from graftd.kernel._wire import HEADER, NLMSG_ERROR, frames


class Kernel:
    """In a socket's place: acknowledges what is sent to the family's number, and nothing else."""

    def __init__(self, family: int | None) -> None:
        self.family = family
        self.failure: OSError | None = None
        self.found = 0  # 0, or the errno with which the family answers
        self._answers: deque[bytes] = deque()

    def sendto(self, data: bytes, _: object) -> None:
        for frame in frames(data):
            if frame.type != GENL_ID_CTRL:
                self._acknowledge(frame.sequence, self.found if frame.type == self.family else errno.ENOENT)
            elif self.family is None:
                self._acknowledge(frame.sequence, errno.ENOENT)
            else:
                self._answers.append(self._number(frame.sequence))

    def recvmsg(self, _: int) -> tuple[bytes, list[object], int, None]:
        if self.failure is not None:
            raise self.failure
        return self._answers.popleft(), [], 0, None

    def getsockopt(self, *_: int) -> int:
        return 2**20

    def settimeout(self, seconds: float | None) -> None:
        pass

    def close(self) -> None:
        pass

    def _acknowledge(self, sequence: int, number: int) -> None:
        payload = struct.pack("=i", -number) + HEADER.pack(HEADER.size, 0, 0, sequence, 0)
        self._answers.append(HEADER.pack(HEADER.size + len(payload), NLMSG_ERROR, 0, sequence, 0) + payload)

    def _number(self, sequence: int) -> bytes:
        message = ctrlmsg()
        message["attrs"] = [["CTRL_ATTR_FAMILY_ID", self.family]]
        message["header"] = {"type": GENL_ID_CTRL, "flags": 0, "sequence_number": sequence, "pid": 0}
        message.encode()
        return bytes(message.data)


def errors(kernel: Kernel, transport: Transport) -> list[int | None]:
    transport._socket.close()
    transport._socket = kernel  # type: ignore[assignment]
    replies = transport.exchange([_requests.unclaim(), _requests.unclaim()])
    return [reply.error.errno if reply.error else None for reply in replies]


def test_a_module_that_was_loaded_anew_is_found_again() -> None:
    transport = Transport()
    assert errors(Kernel(30), transport) == [None, None]
    assert errors(Kernel(31), transport) == [None, None]
    with pytest.raises(ModuleNotLoadedError, match="run modprobe graft"):
        errors(Kernel(None), transport)
    assert errors(Kernel(32), transport) == [None, None]


def test_what_the_module_does_not_find_is_its_answer() -> None:
    kernel = Kernel(30)
    kernel.found = errno.ENOENT
    assert errors(kernel, Transport()) == [errno.ENOENT, errno.ENOENT]


@pytest.mark.parametrize(
    ("failure", "number", "sentence"),
    [
        (TimeoutError(), errno.ETIMEDOUT, "the kernel did not answer within 20 seconds: see its log (dmesg)"),
        (
            OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS)),
            errno.ENOBUFS,
            "the kernel's answer did not fit the socket's buffer",
        ),
    ],
)
def test_an_answer_that_is_lost_is_a_sentence(failure: OSError, number: int, sentence: str) -> None:
    kernel = Kernel(30)
    kernel.failure = failure
    with pytest.raises(KernelError) as caught:
        errors(kernel, Transport())
    assert (caught.value.errno, caught.value.message) == (number, sentence)


def test_an_answer_is_waited_for_no_longer_than_it_can_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_transport, "_ANSWER_SECONDS", 0.05)
    transport = Transport()
    monkeypatch.setattr(transport, "_send", lambda data: None)
    with pytest.raises(KernelError, match=r"within 0\.05 seconds"):
        transport.family()
    transport.close()
