# SPDX-License-Identifier: Apache-2.0
"""Two connected sockets made one: what either receives, the other sends.

Of each direction at most 128 KiB wait in memory: for a side that does not take, the other is not read. A stream that
ends in one direction ends in that direction alone.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from typing import cast

CHUNK_BYTES = 64 * 1024  # read at a time
WAITING_BYTES = 64 * 1024  # with more than these unsent nothing is read; a chunk may have come before
FREE_BYTES = 64 * 1024
LINGER_SECONDS = 30.0


async def splice(
    front: socket.socket, back: socket.socket, buffer: memoryview, may_go_on: Callable[[], bool] = lambda: True
) -> None:
    """Until both streams have ended or either socket fails. Both sockets are closed then, and if this is cancelled.

    When one is seen to be gone, or `back` to have ended, the other has 30 seconds to take what waits for it and to
    end. buffer: CHUNK_BYTES to read into, which all splices of a loop may share: it is empty again before the loop
    goes on. may_go_on: asked whenever `front` has sent FREE_BYTES since the last time; where it says no, it is closed.
    """
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    sides = _Side(buffer, gone, is_back=False), _Side(buffer, gone, is_back=True)
    sides[0].other, sides[1].other = sides[1], sides[0]
    sides[0].may_go_on = may_go_on
    try:
        for side, sock in zip(sides, (front, back), strict=True):
            await loop.connect_accepted_socket(partial(_identity, side), sock)
        for side in sides:
            side.begin()
        await gone.wait()
    finally:
        for side, sock in zip(sides, (front, back), strict=True):
            side.abort()
            sock.close()


def _identity(side: _Side) -> _Side:
    return side


class _Side(asyncio.BufferedProtocol):
    """gone: set when both sides are. is_back: when it has ended, the other is not waited for without end."""

    other: _Side
    transport: asyncio.Transport

    def __init__(self, buffer: memoryview, gone: asyncio.Event, *, is_back: bool) -> None:
        self._buffer = buffer
        self._gone = gone
        self._is_back = is_back
        self._deadline: asyncio.TimerHandle | None = None
        self._connected = False
        self._begun = False
        self._early = bytearray()
        self._free = FREE_BYTES
        self.may_go_on: Callable[[], bool] = lambda: True
        self.ended = False

    def begin(self) -> None:
        """The other side is there."""
        self._begun = True
        if self._early:
            self.other.transport.write(bytes(self._early))
            self._early.clear()
        if self.ended:
            self._pass_on_end()
        else:
            self.transport.resume_reading()

    def abort(self) -> None:
        if self._connected:
            self.transport.abort()

    def end_soon(self) -> None:
        if self._connected and self._deadline is None:
            self._deadline = asyncio.get_running_loop().call_later(LINGER_SECONDS, self.transport.abort)

    def finish(self) -> None:
        """Send what waits, and close."""
        self.end_soon()
        self.transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._connected = True
        self.transport.set_write_buffer_limits(high=WAITING_BYTES)
        # Until the other side is there. Python before 3.11.4 reads all the same, since it begins after this call.
        self.transport.pause_reading()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._free -= nbytes
        if self._free < 0:
            if not self.may_go_on():
                self.abort()
                return
            self._free = FREE_BYTES
        # A copy: from Python 3.12 on a transport keeps what it cannot send yet as it was given.
        data = bytes(self._buffer[:nbytes])
        if self._begun:
            self.other.transport.write(data)
        else:
            self._early += data

    def eof_received(self) -> bool:
        self.ended = True
        return self._pass_on_end() if self._begun else True

    def _pass_on_end(self) -> bool:
        """Whether the transport is to stay."""
        if self.other.ended:
            self.other.finish()
            return False
        self.other.transport.write_eof()
        if self._is_back:
            self.other.end_soon()
        return True

    def pause_writing(self) -> None:
        self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._connected = False
        if self._deadline is not None:
            self._deadline.cancel()
        if self.other._connected:  # noqa: SLF001 it is one of the same
            self.other.finish()
        else:
            self._gone.set()
