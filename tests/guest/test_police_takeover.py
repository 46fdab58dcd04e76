# SPDX-License-Identifier: Apache-2.0
"""Other parts of the kernel that take TCP sockets over do not get a grafted one: its operations have to stay ours."""

import ctypes
import os
import socket
from collections.abc import Iterator
from errno import EBUSY

import pytest

from box import Box
from conftest import CANNOT
from expect import fails
from tables import egress, ingress
from world import HOST4, PEER4

_SYS_BPF = 321
_MAP_CREATE, _MAP_UPDATE_ELEM = 0, 2
_SOCKMAP = 15
_libc = ctypes.CDLL(None, use_errno=True)


def bpf(command: int, attributes: bytes) -> int:
    """The system call; raises OSError."""
    result: int = _libc.syscall(_SYS_BPF, command, attributes, len(attributes))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


class _Map:
    """A sockmap of one place."""

    def __init__(self) -> None:
        sizes = (_SOCKMAP, 4, 4, 1, 0)
        self.fd = bpf(_MAP_CREATE, b"".join(number.to_bytes(4, "little") for number in sizes))

    def put(self, sock: socket.socket) -> None:
        key, value = ctypes.c_uint32(0), ctypes.c_uint32(sock.fileno())
        pointers = (ctypes.addressof(key), ctypes.addressof(value), 0)
        start = self.fd.to_bytes(8, "little")
        bpf(_MAP_UPDATE_ELEM, start + b"".join(number.to_bytes(8, "little") for number in pointers))

    def close(self) -> None:
        os.close(self.fd)


@pytest.fixture
def sockmap() -> Iterator[_Map]:
    try:
        made = _Map()
    except OSError as error:
        pytest.skip(f"{CANNOT}make a sockmap: {error.strerror}")
    yield made
    made.close()


def test_a_sockmap_takes_a_native_socket(box: Box, sockmap: _Map) -> None:
    """What the others are held against."""
    server = box.listener(box.world.peer, PEER4)
    client = box.client(box.world.host, *server.getsockname())
    sockmap.put(client)


@pytest.mark.parametrize("door", [1, 2])
def test_a_sockmap_takes_no_grafted_one(box: Box, sockmap: _Map, door: int) -> None:
    """Neither a listener, nor what it accepted, nor a client."""
    box.endpoint("ep-in", HOST4, 8080)
    box.endpoint("ep", HOST4)
    box.rules(ingress("ep-in", port=80), egress("ep"))
    if door == 1:
        listener, client = (box.bound(name, socket.SOCK_STREAM) for name in ("ep-in", "ep"))
    else:
        listener, client = box.tcp(), box.tcp()
        listener.bind(("0.0.0.0", 80))
    listener.listen(1)
    caller = box.client(box.world.peer, HOST4, 8080)
    child = box.keep(listener.accept()[0])
    client.connect(box.listener(box.world.peer, PEER4).getsockname())
    for sock in (listener, child, client):
        with fails(EBUSY):
            sockmap.put(sock)
    caller.send(b"x")
    assert child.recv(1) == b"x"
