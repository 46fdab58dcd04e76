# SPDX-License-Identifier: Apache-2.0
"""A disk of this process for QEMU, over a socket: the server's side of NBD, as much of it as QEMU asks for.

https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md says what goes over the wire.
"""

from __future__ import annotations

import errno
import socket
import struct
import threading
from typing import BinaryIO, Protocol

_GREETING = struct.pack(">8s8sH", b"NBDMAGIC", b"IHAVEOPT", 0b11)  # options are haggled over; no padding
_OPTION = struct.Struct(">8sII")
_OPTION_REPLY = struct.Struct(">QIII")
_OPTION_REPLY_MAGIC = 0x3E889045565A9
_OPTION_GO = 7
_ACK, _INFO, _UNSUPPORTED = 1, 3, (1 << 31) + 1
_EXPORT = struct.Struct(">HQH")
_CAN_FLUSH = 0b101

_REQUEST = struct.Struct(">IHHQQI")
_REPLY = struct.Struct(">IIQ")
_REQUEST_MAGIC, _REPLY_MAGIC = 0x25609513, 0x67446698
_READ, _WRITE, _DISCONNECT, _FLUSH = range(4)


class Disk(Protocol):
    """What is served. Offsets and lengths are in bytes."""

    size: int

    def holds(self, offset: int, length: int) -> bool: ...
    def read(self, offset: int, length: int) -> bytes: ...
    def write(self, offset: int, data: bytes) -> None: ...
    def flush(self) -> None: ...


class Server:
    """A thread that serves ``disk`` to whoever has the other end of ``connection``, until that is closed."""

    def __init__(self, disk: Disk, connection: socket.socket) -> None:
        self._disk = disk
        self._connection = connection
        self._thread = threading.Thread(target=self._serve, name="nbd", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until the other end is closed and all that it asked for is done."""
        self._thread.join()

    def _serve(self) -> None:
        with self._connection, self._connection.makefile("rb") as stream:
            try:
                self._agree(stream)
                while self._answer(stream):
                    pass
            except (EOFError, ConnectionError):
                return

    def _agree(self, stream: BinaryIO) -> None:
        """Tell what is served. What else a client offers is refused, and it goes on without."""
        self._connection.sendall(_GREETING)
        _take(stream, 4)  # the client's flags
        while True:
            _, option, length = _OPTION.unpack(_take(stream, _OPTION.size))
            _take(stream, length)
            if option == _OPTION_GO:
                self._reply_option(option, _INFO, _EXPORT.pack(0, self._disk.size, _CAN_FLUSH))
                self._reply_option(option, _ACK)
                return
            self._reply_option(option, _UNSUPPORTED)

    def _reply_option(self, option: int, kind: int, data: bytes = b"") -> None:
        self._connection.sendall(_OPTION_REPLY.pack(_OPTION_REPLY_MAGIC, option, kind, len(data)) + data)

    def _answer(self, stream: BinaryIO) -> bool:
        """Do one request; False for the last."""
        magic, _, kind, cookie, offset, length = _REQUEST.unpack(_take(stream, _REQUEST.size))
        if magic != _REQUEST_MAGIC or kind == _DISCONNECT:
            return False
        data = _take(stream, length) if kind == _WRITE else b""
        found, error = b"", 0
        try:
            found = self._do(kind, offset, length, data)
        except OSError as trouble:
            error = trouble.errno or errno.EIO
        self._connection.sendall(_REPLY.pack(_REPLY_MAGIC, error, cookie) + found)
        return True

    def _do(self, kind: int, offset: int, length: int, data: bytes) -> bytes:
        if kind == _FLUSH:
            self._disk.flush()
        elif kind not in {_READ, _WRITE} or not self._disk.holds(offset, length):
            raise OSError(errno.EINVAL, "no such sectors")
        elif kind == _WRITE:
            self._disk.write(offset, data)
        else:
            return self._disk.read(offset, length)
        return b""


def _take(stream: BinaryIO, length: int) -> bytes:
    """Return the next bytes. Raises EOFError where the other end is closed before them."""
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return data
