# SPDX-License-Identifier: Apache-2.0
"""A disk served over NBD: the words of the protocol, as its document has them."""

import errno
import socket
import struct
from collections.abc import Iterator

import pytest

from lab.graftlab.nbd import Server

SIZE = 1 << 20
READ, WRITE, DISCONNECT, FLUSH, TRIM = range(5)


class Memory:
    """A disk that keeps account."""

    size = SIZE

    def __init__(self) -> None:
        self.content = bytearray(SIZE)
        self.flushed = 0

    def holds(self, offset: int, length: int) -> bool:
        return offset + length <= SIZE

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self.content[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        if offset == 0:
            raise OSError(errno.ENOSPC, "full")
        self.content[offset : offset + len(data)] = data

    def flush(self) -> None:
        self.flushed += 1


class Client:
    """QEMU's side."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        end.settimeout(10)

    def take(self, length: int) -> bytes:
        data = self.end.recv(length, socket.MSG_WAITALL)
        assert len(data) == length
        return data

    def option(self, number: int, data: bytes = b"") -> tuple[int, bytes]:
        self.end.sendall(struct.pack(">8sII", b"IHAVEOPT", number, len(data)) + data)
        return self.answer(number)

    def answer(self, number: int) -> tuple[int, bytes]:
        magic, option, kind, length = struct.unpack(">QIII", self.take(20))
        assert (magic, option) == (0x0003E889045565A9, number)
        return kind, self.take(length)

    def begin(self) -> None:
        assert self.take(18) == b"NBDMAGICIHAVEOPT\0\3"
        self.end.sendall(struct.pack(">I", 3))

    def agree(self) -> None:
        self.begin()
        self.option(7, struct.pack(">IH", 0, 0))
        self.answer(7)

    def send(self, kind: int, offset: int, length: int, data: bytes = b"") -> None:
        self.end.sendall(struct.pack(">IHHQQI", 0x25609513, 0, kind, 7, offset, length) + data)

    def error(self) -> int:
        magic, error, cookie = struct.unpack(">IIQ", self.take(16))
        assert (magic, cookie) == (0x67446698, 7)
        return int(error)


@pytest.fixture
def disk() -> Memory:
    return Memory()


@pytest.fixture
def client(disk: Memory) -> Iterator[Client]:
    ours, theirs = socket.socketpair()
    server = Server(disk, ours)
    yield Client(theirs)
    theirs.close()
    server.wait()


def test_what_it_is_asked_beside_the_disk_it_refuses_and_then_tells_the_disk(client: Client) -> None:
    client.begin()
    assert client.option(8) == ((1 << 31) + 1, b"")
    assert client.option(7, struct.pack(">IH", 0, 0)) == (3, struct.pack(">HQH", 0, SIZE, 0b101))
    assert client.answer(7) == (1, b"")


def test_it_reads_writes_and_flushes_in_the_order_of_the_requests(client: Client, disk: Memory) -> None:
    client.agree()
    client.send(WRITE, 4096, 3, b"abc")
    client.send(READ, 4095, 5)
    client.send(FLUSH, 0, 0)
    assert client.error() == 0
    assert (client.error(), client.take(5)) == (0, b"\0abc\0")
    assert (client.error(), disk.flushed) == (0, 1)


@pytest.mark.parametrize(
    ("kind", "offset", "error"), [(READ, SIZE, errno.EINVAL), (TRIM, 0, errno.EINVAL), (WRITE, 0, errno.ENOSPC)]
)
def test_what_cannot_be_done_is_an_error_and_the_next_is_done(
    kind: int, offset: int, error: int, client: Client
) -> None:
    client.agree()
    client.send(kind, offset, 4, b"data" if kind == WRITE else b"")
    assert client.error() == error
    client.send(READ, 0, 1)
    assert (client.error(), client.take(1)) == (0, b"\0")


@pytest.mark.parametrize("words", [b"", struct.pack(">IHH", 0x25609513, 0, WRITE)])
def test_a_client_that_goes_ends_it(words: bytes, disk: Memory) -> None:
    ours, theirs = socket.socketpair()
    server = Server(disk, ours)
    client = Client(theirs)
    client.agree()
    theirs.sendall(words)
    theirs.close()
    server.wait()
    assert (disk.flushed, bytes(disk.content)) == (0, bytes(SIZE))


def test_a_client_that_takes_its_leave_ends_it(client: Client) -> None:
    client.agree()
    client.send(DISCONNECT, 0, 0)
    assert client.end.recv(1) == b""
