# SPDX-License-Identifier: Apache-2.0
"""A call that waits in the kernel with a sock's lock held, for the memory that it reads is not there yet."""

import ctypes
import mmap
import os
import socket
import struct
import threading
from typing import Self

import pytest

from conftest import CANNOT
from expect import asleep
from kernelcalls import call, syscall

_SYS_USERFAULTFD = 323
_API, _REGISTER, _COPY = 0xC018AA3F, 0xC020AA00, 0xC028AA03
_API_VERSION, _MISSING = 0xAA, 1


class LockedSock:
    """A thread that sets SO_LINGER, whose value begins in one page and ends in another that nobody gave content yet.

    The kernel reads the beginning, takes the sock's lock and reads the whole; there it stays to the end of the block.
    Where the option passes the module, it is the socket's decision lock that is held.
    """

    def __init__(self, sock: socket.socket) -> None:
        try:
            self._fault = syscall(_SYS_USERFAULTFD, os.O_CLOEXEC)
        except OSError:
            pytest.skip(f"{CANNOT}hand page faults to programs")
        self._memory = mmap.mmap(-1, 2 * mmap.PAGESIZE)
        self._memory[: mmap.PAGESIZE] = bytes(mmap.PAGESIZE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._page = start + mmap.PAGESIZE
        self._ioctl(_API, struct.pack("=3Q", _API_VERSION, 0, 0))
        self._ioctl(_REGISTER, struct.pack("=4Q", self._page, mmap.PAGESIZE, _MISSING, 0))
        value, descriptor = ctypes.c_void_p(self._page - 4), sock.fileno()
        self._thread = threading.Thread(
            target=lambda: call("setsockopt", descriptor, socket.SOL_SOCKET, socket.SO_LINGER, value, 8)
        )
        self._thread.start()
        # the fault is reported once the thread waits for it
        assert len(os.read(self._fault, 32)) == 32
        asleep(self._thread)

    def _ioctl(self, request: int, argument: bytes) -> None:
        call("ioctl", self._fault, ctypes.c_ulong(request), ctypes.create_string_buffer(argument))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Give the page its content: zeroes."""
        content = ctypes.create_string_buffer(mmap.PAGESIZE)
        self._ioctl(_COPY, struct.pack("=4Qq", self._page, ctypes.addressof(content), mmap.PAGESIZE, 0, 0))
        self._thread.join(20)
        assert not self._thread.is_alive(), "a call that waited for memory did not end"
        os.close(self._fault)
