# SPDX-License-Identifier: Apache-2.0
"""Who is at the other end of a connection."""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import socket
import struct
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Protocol

from graftd.api.denials import UnauthenticatedError

SO_PEERGROUPS = 59
SO_NETNS_COOKIE = 71

_UCRED = struct.Struct("iII")
_GID_BYTES = 4
_GETSOCKOPT_BYTES_MAX = 1024  # of Python's getsockopt()
_ABSTRACT = "unix-abstract:"


class SocketName(StrEnum):
    """By which of graftd's sockets a caller came."""

    ADMIN = "admin"
    READ_WRITE = "read-write"
    READ_ONLY = "read-only"
    TLS = "tls"


@dataclass(frozen=True, slots=True)
class Peer:
    """A caller, as it was when it connected.

    Of a unix socket: pid (0 if graftd's pid namespace has none for it), uid, gid and groups (supplementary) as graftd's
    own user namespace has them, so root of a container's user namespace is the user that it is mapped to;
    netns_cookie, of the network namespace in which the caller's socket was made. Of TLS: address and port, from the
    beginning; certificate_names, the client certificate's alternative names or, where it has none, its common name, as
    of each call. The others are None or empty.
    """

    socket_name: SocketName
    pid: int | None = None
    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] = ()
    netns_cookie: int | None = None
    certificate_names: tuple[str, ...] = ()
    address: IPv4Address | IPv6Address | None = None
    port: int = 0

    @property
    def subject(self) -> str:
        """Who it is, for a sentence."""
        if self.uid is not None:
            return f"uid {self.uid}"
        return f"certificate {', '.join(self.certificate_names)}" if self.certificate_names else f"{self.address}"

    @property
    def caller(self) -> str:
        """The same for every connection of one caller, until the next boot: what request ids belong to."""
        return self.subject if self.netns_cookie is None else f"{self.subject} netns {self.netns_cookie}"

    @classmethod
    def of_socket(cls, name: SocketName, sock: socket.socket) -> Peer:
        """Who connected to an accepted socket. Raises OSError where the kernel does not tell."""
        if name is SocketName.TLS:
            host, port = sock.getpeername()[:2]
            address = ip_address(host.partition("%")[0])
            return cls(socket_name=name, address=getattr(address, "ipv4_mapped", None) or address, port=port)
        pid, uid, gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        cookie = sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
        return cls(
            socket_name=name,
            pid=pid,
            uid=uid,
            gid=gid,
            groups=_groups(sock),
            netns_cookie=int.from_bytes(cookie, sys.byteorder),
        )


class Context(Protocol):
    """What is needed of a grpc.aio.ServicerContext."""

    def peer(self) -> str: ...

    def auth_context(self) -> Mapping[str, Iterable[bytes]]: ...


class Peers:
    """The peers of the connections that are open.

    A connection is handed on to grpcio from a socket with a name that no other has, which grpcio tells as its peer.
    Only this process can connect to grpcio's own socket, so a name stands for nobody else.
    """

    def __init__(self) -> None:
        self._peers: dict[str, Peer] = {}

    def add(self, peer: Peer) -> str:
        """The name, in the abstract namespace and without its NUL, to connect to grpcio from."""
        name = secrets.token_hex(16)
        self._peers[name] = peer
        return name

    def remove(self, name: str) -> None:
        self._peers.pop(name, None)

    def of(self, context: Context) -> Peer:
        """Whose call this is. To be asked as the call begins: a peer is forgotten with its connection.

        Raises UnauthenticatedError.
        """
        peer = self._peers.get(context.peer().removeprefix(_ABSTRACT))
        if peer is None:
            raise UnauthenticatedError("the caller's connection is closed: connect again")
        if peer.socket_name is not SocketName.TLS:
            return peer
        names = _certificate_names(context.auth_context())
        if not names:
            raise UnauthenticatedError(
                "nobody knows who the caller is: connect to one of graftd's unix sockets, "
                "or over TLS with a client certificate that has a name"
            )
        return replace(peer, certificate_names=names)


def _groups(sock: socket.socket) -> tuple[int, ...]:
    try:
        data = sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, _GETSOCKOPT_BYTES_MAX)
    except OSError as error:
        if error.errno != errno.ERANGE:
            raise
        data = _long_option(sock, SO_PEERGROUPS)
    return struct.unpack(f"{len(data) // _GID_BYTES}I", data)


def _long_option(sock: socket.socket, option: int) -> bytes:
    """An option that is longer than Python's getsockopt() reads; the kernel says how long."""
    libc = ctypes.CDLL(None, use_errno=True)
    size = ctypes.c_uint32(0)
    data = ctypes.create_string_buffer(0)
    while libc.getsockopt(sock.fileno(), socket.SOL_SOCKET, option, data, ctypes.byref(size)):
        number = ctypes.get_errno()
        if number != errno.ERANGE or size.value <= len(data):
            raise OSError(number, os.strerror(number))
        data = ctypes.create_string_buffer(size.value)
    return data.raw[: size.value]


def _certificate_names(auth: Mapping[str, Iterable[bytes]]) -> tuple[str, ...]:
    if [*auth.get("transport_security_type", ())] != [b"ssl"]:
        return ()
    names = auth.get("x509_subject_alternative_name") or auth.get("x509_common_name") or ()
    # A certificate without a common name has an empty one here.
    return tuple(name.decode("utf-8", "replace") for name in names if name)
