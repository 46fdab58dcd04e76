# SPDX-License-Identifier: Apache-2.0
"""Options and flags of a socket before and after it is grafted, through both doors."""

import contextlib
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable
from errno import EAGAIN, EINPROGRESS, EINVAL, ENOPROTOOPT
from socket import IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET

import pytest

from box import Box
from door1 import bind_name, inet
from expect import eventually, fails, readable
from fault import LockedSock
from kernelcalls import call
from tables import ingress
from world import HOST4, HOST6, PEER4

Opener = Callable[[Box, int], socket.socket]
Binder = Callable[[Box, socket.socket], socket.socket]


def _bind_door1(box: Box, sock: socket.socket) -> socket.socket:
    bind_name(sock, "ep")
    return box.keep(inet(sock))  # type: ignore[no-any-return]


def _bind_door2(box: Box, sock: socket.socket) -> socket.socket:
    box.rules(ingress("ep"), ingress("ep", port=0))
    sock.bind(("0.0.0.0", 0))
    return sock


DOORS = pytest.mark.parametrize(
    ("opened", "bound"),
    [(Box.door1, _bind_door1), (lambda box, kind: box.open_socket(socket.AF_INET, kind), _bind_door2)],
    ids=["door1", "door2"],
)
LINGER = struct.pack("=ii", 1, 7)
TIMEOUT = struct.pack("=qq", 3, 500000)

STREAM_OPTIONS = [
    (SOL_SOCKET, socket.SO_REUSEADDR, 1),
    (SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (SOL_SOCKET, socket.SO_OOBINLINE, 1),
    (SOL_SOCKET, socket.SO_LINGER, LINGER),
    (SOL_SOCKET, socket.SO_RCVTIMEO, TIMEOUT),
    (SOL_SOCKET, socket.SO_SNDTIMEO, TIMEOUT),
    (SOL_SOCKET, socket.SO_RCVLOWAT, 5),
    (IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (IPPROTO_TCP, socket.TCP_KEEPIDLE, 77),
    (IPPROTO_TCP, socket.TCP_KEEPINTVL, 7),
    (IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
    (IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 12345),
    (IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1),
    (IPPROTO_TCP, 25, 16384),  # TCP_NOTSENT_LOWAT
    (IPPROTO_IP, socket.IP_TOS, 0x10),
    (IPPROTO_IP, socket.IP_TTL, 33),
]
DATAGRAM_OPTIONS = [
    (SOL_SOCKET, socket.SO_BROADCAST, 1),
    (SOL_SOCKET, 29, 1),  # SO_TIMESTAMP
    (IPPROTO_IP, socket.IP_TOS, 0x10),
    (IPPROTO_IP, 12, 1),  # IP_RECVTTL
    (IPPROTO_IP, 10, 2),  # IP_MTU_DISCOVER
    (IPPROTO_IP, 11, 1),  # IP_RECVERR
]


def read(sock: socket.socket, level: int, option: int, like: int | bytes) -> int | bytes:
    if isinstance(like, bytes):
        return sock.getsockopt(level, option, len(like))
    return sock.getsockopt(level, option)


def options_of(kind: int) -> list[tuple[int, int, int | bytes]]:
    return STREAM_OPTIONS if kind == SOCK_STREAM else DATAGRAM_OPTIONS  # type: ignore[return-value]


@DOORS
@pytest.mark.parametrize("kind", [SOCK_STREAM, SOCK_DGRAM], ids=["tcp", "udp"])
def test_options_set_before_come_along(box: Box, opened: Opener, bound: Binder, kind: int) -> None:
    box.endpoint("ep")
    sock = opened(box, kind)
    for level, option, value in options_of(kind):
        sock.setsockopt(level, option, value)
    due = {(level, option): read(sock, level, option, value) for level, option, value in options_of(kind)}
    grafted = bound(box, sock)
    found = {(level, option): read(grafted, level, option, value) for level, option, value in options_of(kind)}
    assert found == due
    assert found[IPPROTO_IP, socket.IP_TOS] == 0x10


@DOORS
@pytest.mark.parametrize("kind", [SOCK_STREAM, SOCK_DGRAM], ids=["tcp", "udp"])
def test_options_set_after(box: Box, opened: Opener, bound: Binder, kind: int) -> None:
    box.endpoint("ep")
    grafted = bound(box, opened(box, kind))
    for level, option, value in options_of(kind):
        before = read(grafted, level, option, value)
        grafted.setsockopt(level, option, value)
        after = read(grafted, level, option, value)
        assert after != before or after == value, (level, option)


@DOORS
def test_buffer_sizes_that_were_set_come_along(box: Box, opened: Opener, bound: Binder) -> None:
    box.endpoint("ep")
    plain = box.open_socket(socket.AF_INET, SOCK_STREAM, 0)
    sock = opened(box, SOCK_STREAM)
    for one in (plain, sock):
        one.setsockopt(SOL_SOCKET, socket.SO_SNDBUF, 30000)
        one.setsockopt(SOL_SOCKET, socket.SO_RCVBUF, 40000)
    grafted = bound(box, sock)
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        assert grafted.getsockopt(SOL_SOCKET, option) == plain.getsockopt(SOL_SOCKET, option)


@DOORS
def test_what_was_never_set_is_the_targets(box: Box, opened: Opener, bound: Binder) -> None:
    """Congestion control and buffer sizes that the program left alone are those of the target namespace."""
    box.endpoint("ep")
    with box.world.host, open("/proc/sys/net/ipv4/tcp_congestion_control", "w") as setting:
        setting.write("reno")
    with box.world.host, open("/proc/sys/net/ipv4/tcp_rmem") as setting:
        before = setting.read()
    with box.world.host, open("/proc/sys/net/ipv4/tcp_rmem", "w") as setting:
        setting.write("4096 77824 6291456")
    with box.ns, open("/proc/sys/net/ipv4/tcp_congestion_control", "w") as setting:
        setting.write("cubic")
    try:
        grafted = bound(box, opened(box, SOCK_STREAM))
        assert grafted.getsockopt(IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0") == b"reno"
        assert grafted.getsockopt(SOL_SOCKET, socket.SO_RCVBUF) == 77824
    finally:
        with box.world.host, open("/proc/sys/net/ipv4/tcp_rmem", "w") as setting:
            setting.write(before)


@DOORS
def test_nonblocking_comes_along(box: Box, opened: Opener, bound: Binder) -> None:
    box.endpoint("ep")
    listener = box.listener(box.world.peer, PEER4)
    sock = opened(box, SOCK_STREAM)
    sock.setblocking(False)
    grafted = bound(box, sock)
    assert fcntl.fcntl(grafted.fileno(), fcntl.F_GETFL) & os.O_NONBLOCK
    with fails(EINPROGRESS):
        grafted.connect(listener.getsockname())
    child = box.keep(listener.accept()[0])
    eventually(lambda: grafted.getsockopt(SOL_SOCKET, socket.SO_ERROR) == 0 and grafted.getpeername(), "connected")
    with fails(EAGAIN):
        grafted.recv(1)
    child.send(b"x")
    assert readable(grafted)


@DOORS
def test_nonblocking_accept(box: Box, opened: Opener, bound: Binder) -> None:
    box.endpoint("ep")
    sock = opened(box, SOCK_STREAM)
    sock.setblocking(False)
    grafted = bound(box, sock)
    grafted.listen(1)
    with fails(EAGAIN):
        grafted.accept()


@DOORS
def test_a_receive_timeout_is_kept(box: Box, opened: Opener, bound: Binder) -> None:
    box.endpoint("ep")
    sock = opened(box, SOCK_DGRAM)
    sock.setsockopt(SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("=qq", 0, 50000))
    with fails(EAGAIN):
        bound(box, sock).recv(1)


@DOORS
def test_linger_zero_resets(box: Box, opened: Opener, bound: Binder) -> None:
    box.endpoint("ep")
    listener = box.listener(box.world.peer, PEER4)
    sock = opened(box, SOCK_STREAM)
    sock.setsockopt(SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))
    grafted = bound(box, sock)
    grafted.connect(listener.getsockname())
    child = box.keep(listener.accept()[0])
    box.close_sockets(child)
    with pytest.raises(ConnectionResetError):
        child.recv(1)


def test_accepted_sockets_have_the_listeners_options(box: Box) -> None:
    box.endpoint("ep", HOST4, 8080)
    server = box.door1(SOCK_STREAM)
    server.setsockopt(IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server.setsockopt(SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    bind_name(server, "ep")
    server.listen(1)
    box.client(box.world.peer, HOST4, 8080)
    child = box.keep(inet(server).accept()[0])
    assert child.getsockopt(IPPROTO_TCP, socket.TCP_NODELAY)
    assert child.getsockopt(SOL_SOCKET, socket.SO_KEEPALIVE)


@DOORS
def test_bad_option_requests(box: Box, opened: Opener, bound: Binder) -> None:
    box.endpoint("ep")
    grafted = bound(box, opened(box, SOCK_STREAM))
    with fails(ENOPROTOOPT):
        grafted.setsockopt(IPPROTO_TCP, 9999, 1)
    with fails(ENOPROTOOPT):
        grafted.getsockopt(SOL_SOCKET, 9999)
    with fails(EINVAL):
        grafted.setsockopt(IPPROTO_TCP, socket.TCP_NODELAY, b"")


def test_ipv6_options(box: Box) -> None:
    box.endpoint("ep", HOST6)
    box.rules(ingress("ep"), ingress("ep", port=0))
    sock = box.udp("::")
    wanted = [(socket.IPV6_UNICAST_HOPS, 33), (socket.IPV6_TCLASS, 0x10), (socket.IPV6_RECVTCLASS, 1), (26, 1)]
    for option, value in wanted:
        sock.setsockopt(IPPROTO_IPV6, option, value)
    sock.bind(("::", 0))
    assert [(option, sock.getsockopt(IPPROTO_IPV6, option)) for option, _ in wanted] == wanted


def test_an_option_that_waits_while_the_socket_is_bound(box: Box) -> None:
    """A call that waits for the lock of AF_GRAFT's first sock takes that for no TCP socket when it comes on."""
    box.endpoint("ep")
    sock = box.door1(SOCK_STREAM)
    ended: list[str] = []

    def begin(name: str, act: Callable[[], object]) -> threading.Thread:
        def run() -> None:
            with contextlib.suppress(OSError):
                act()
            ended.append(name)

        thread = threading.Thread(target=run)
        thread.start()
        # it ends, or waits for what is held
        thread.join(0.5)
        return thread

    with LockedSock(sock):
        # Python's own setsockopt would stop every thread
        value, options = struct.pack("=i", 1 << 28), (sock.fileno(), SOL_SOCKET, socket.SO_RCVLOWAT)
        setter = begin("set", lambda: call("setsockopt", *options, value, len(value)))
        assert not ended, "the sock was not locked"
        binder = begin("bind", lambda: bind_name(sock, "ep"))
    for thread in (setter, binder):
        thread.join(20)
        assert not thread.is_alive(), "a call still waits"
    bound = box.keep(inet(sock))
    listener = box.listener(box.world.peer, PEER4)
    bound.connect(listener.getsockname())
    far = box.keep(listener.accept()[0])
    for near, other in ((bound, far), (far, bound)):
        near.send(b"works")
        assert other.recv(5) == b"works"
