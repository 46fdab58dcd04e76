# SPDX-License-Identifier: Apache-2.0
"""Kernel TLS of a plain program: both ends of a connection encrypt with a fixed key. See linux/tls.h."""

import socket
import struct

_TCP_ULP, _SOL_TLS, _TX, _RX = 31, 282, 1, 2
_TLS_1_2, _AES_GCM_128 = 0x0303, 51
_KEY = struct.pack("=HH8s16s4s8s", _TLS_1_2, _AES_GCM_128, b"\1" * 8, b"\2" * 16, b"\3" * 4, b"\0" * 8)


def ask(sock: socket.socket) -> None:
    """TCP_ULP "tls"."""
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_ULP, b"tls")


def key(sock: socket.socket) -> None:
    """Encrypt and decrypt from now on."""
    sock.setsockopt(_SOL_TLS, _TX, _KEY)
    sock.setsockopt(_SOL_TLS, _RX, _KEY)


def talk(one: socket.socket, other: socket.socket) -> None:
    """Records both ways, by send, and by splice's relative sendfile."""
    for sock in (one, other):
        ask(sock)
        key(sock)
    one.sendall(b"there")
    assert other.recv(64) == b"there"
    other.sendall(b"and back")
    assert one.recv(64) == b"and back"
