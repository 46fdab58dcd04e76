# SPDX-License-Identifier: Apache-2.0
"""The grant that an attacker inside the container holds, and what lies outside of it.

``ep-out`` and ``ep-out6`` connect by TCP to the LAN; ``ep-dns`` and ``ep-dns6`` are UDP servers at port 5300 (53
inside) that answer the LAN. The rules give every destination to them, so it is the ACL and the police that hold.
"""

import ctypes
import socket
from dataclasses import dataclass

from box import Box
from door1 import sockaddr_in, sockaddr_in6
from kernelcalls import call
from tables import allow, egress, ingress
from world import FAR_HOST4, FAR_HOST6, FAR_PEER4, FAR_PEER6, HOST4, HOST6, LAN4, LAN6, PEER4, PEER6


@dataclass(frozen=True)
class Family:
    """One address family's half of the grant."""

    family: int
    host: str
    peer: str
    lan: str
    any: str
    out: str
    dns: str
    outside: tuple[str, ...]


V4 = Family(
    socket.AF_INET,
    HOST4,
    PEER4,
    LAN4,
    "0.0.0.0",
    "ep-out",
    "ep-dns",
    (
        FAR_PEER4,
        FAR_HOST4,
        HOST4,
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "10.10.0.255",
        "255.255.255.255",
        "169.254.7.7",
        "224.0.0.1",
        "239.1.2.3",
        "8.8.8.8",
    ),
)
V6 = Family(
    socket.AF_INET6,
    HOST6,
    PEER6,
    LAN6,
    "::",
    "ep-out6",
    "ep-dns6",
    (
        FAR_PEER6,
        FAR_HOST6,
        HOST6,
        "::1",
        "::",
        "fd00:10::",
        "fe80::1",
        "ff02::1",
        "ff05::1:3",
        "2001:db8::1",
        *(f"::ffff:{address}" for address in V4.outside),
    ),
)


# What lies outside of the grant but is neither the target's own nor special: the ACL alone keeps it out of reach.
REMOTE = {FAR_PEER4, "8.8.8.8", FAR_PEER6, "2001:db8::1"}
LOCAL4 = (*(one for one in V4.outside if one not in REMOTE), "10.20.0.255", "127.255.255.255")
LOCAL6 = (*(one for one in V6.outside if one not in REMOTE and not one.startswith("::ffff:")), "fd00:20::", "ff0e::7")


def grant(box: Box) -> None:
    """Write the grant into a box's table."""
    box.endpoint(V4.out, HOST4, proto="tcp")
    box.endpoint(V6.out, HOST6, proto="tcp")
    box.endpoint(V4.dns, HOST4, 5300, "udp")
    box.endpoint(V6.dns, HOST6, 5300, "udp")
    rules, acls = [], []
    for family in (V4, V6):
        every = f"{family.any}/0"
        rules += [egress(family.out, every, proto="tcp"), ingress(family.dns, every, 53, "udp")]
        acls += [allow(family.out, "connect", family.lan)]
        acls += [allow(family.dns, "listen"), allow(family.dns, "connect", family.lan)]
    box.rules(*rules)
    box.acl(*acls)


def destination(address: str, port: int, scope: int = 0) -> tuple[object, ...]:
    """An address as Python's socket module takes it."""
    return (address, port, 0, scope) if ":" in address else (address, port)


def client(box: Box, family: Family) -> socket.socket:
    """A TCP socket through door 2, undecided."""
    return box.open_socket(family.family, socket.SOCK_STREAM)


def server(box: Box, family: Family) -> socket.socket:
    """The UDP server, grafted."""
    sock = box.open_socket(family.family, socket.SOCK_DGRAM)
    sock.bind((family.any, 53))
    return sock


def connected(box: Box, family: Family) -> tuple[socket.socket, socket.socket]:
    """A TCP socket grafted by a lawful connect, and its peer's end."""
    listener = box.listener(box.world.peer, family.peer)
    sock = client(box, family)
    sock.connect(listener.getsockname())
    return sock, box.keep(listener.accept()[0])


class _Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_char_p), ("length", ctypes.c_size_t)]


class _Msghdr(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("namelen", ctypes.c_uint),
        ("iov", ctypes.POINTER(_Iovec)),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_char_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class _Mmsghdr(ctypes.Structure):
    _fields_ = [("header", _Msghdr), ("length", ctypes.c_uint)]


def sendmmsg(sock: socket.socket, *messages: tuple[bytes, bytes]) -> int:
    """sendmmsg() of datagrams, each with its address as bytes; how many went."""
    array = (_Mmsghdr * len(messages))()
    for slot, (address, data) in zip(array, messages, strict=True):
        slot.header.name, slot.header.namelen = address, len(address)
        slot.header.iov, slot.header.iovlen = ctypes.pointer(_Iovec(data, len(data))), 1
    return call("sendmmsg", sock.fileno(), array, len(messages), 0)


def sendto_raw(sock: socket.socket, data: bytes, address: bytes, flags: int = 0) -> int:
    """sendto() with an address as bytes."""
    return call("sendto", sock.fileno(), data, len(data), flags, address, len(address))


def sendmsg_raw(sock: socket.socket, data: bytes, address: tuple[object, ...], control: bytes) -> int:
    """sendmsg() with control data as bytes, however malformed."""
    packed = sockaddr_in6(*address[:2]) if ":" in str(address[0]) else sockaddr_in(*address[:2])  # type: ignore[arg-type]
    header = _Msghdr(packed, len(packed), ctypes.pointer(_Iovec(data, len(data))), 1, control, len(control), 0)
    return call("sendmsg", sock.fileno(), ctypes.byref(header), 0)
