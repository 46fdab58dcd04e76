# SPDX-License-Identifier: Apache-2.0
"""AF_GRAFT's addresses: Python's socket object makes, reads, polls and closes such a socket but cannot address it."""

import ctypes
import os
import socket
import struct

from kernelcalls import call
from uapi import U


def sockaddr_gr(name: str | bytes, family: int = U.AF_GRAFT) -> bytes:
    """struct sockaddr_gr as long as its name, which ends at addrlen."""
    return struct.pack("=H", family) + (name.encode() if isinstance(name, str) else name)


def bind_raw(sock: socket.socket, address: bytes, length: int | None = None) -> None:
    """bind() with these bytes, and with another addrlen than theirs where ``length`` is given."""
    call("bind", sock.fileno(), address, len(address) if length is None else length)


def connect_raw(sock: socket.socket, address: bytes, length: int | None = None) -> None:
    call("connect", sock.fileno(), address, len(address) if length is None else length)


def bind_name(sock: socket.socket, name: str | bytes) -> None:
    bind_raw(sock, sockaddr_gr(name))


def connect_name(sock: socket.socket, name: str | bytes) -> None:
    connect_raw(sock, sockaddr_gr(name))


def getsockname_raw(sock: socket.socket) -> bytes:
    """What getsockname() gives, unread."""
    buffer, length = ctypes.create_string_buffer(128), ctypes.c_uint(128)
    call("getsockname", sock.fileno(), buffer, ctypes.byref(length))
    return buffer.raw[: length.value]


def inet(sock: socket.socket) -> socket.socket:
    """The same socket (a duplicate descriptor) as Python's socket of the family that it now has."""
    family = struct.unpack_from("=H", getsockname_raw(sock))[0]
    return socket.socket(family, sock.type, fileno=os.dup(sock.fileno()))


def sockaddr_in(address: str, port: int, family: int = socket.AF_INET) -> bytes:
    return struct.pack("=H", family) + struct.pack("!H4s8x", port, socket.inet_pton(socket.AF_INET, address))


def sockaddr_in6(address: str, port: int, family: int = socket.AF_INET6, scope: int = 0) -> bytes:
    packed = struct.pack("!HI16s", port, 0, socket.inet_pton(socket.AF_INET6, address))
    return struct.pack("=H", family) + packed + struct.pack("=I", scope)
