# SPDX-License-Identifier: Apache-2.0
"""Waiting for a socket, before and after it is grafted, and the ways of moving data through it, over both doors."""

import fcntl
import os
import select
import signal
import socket
import struct
import termios
import threading
from collections.abc import Callable
from errno import ECONNREFUSED, EINPROGRESS, ENOTCONN, EPIPE
from socket import AF_INET, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET

import pytest

import child as process
from box import Box, endpoint_of
from conftest import need_sol_socket
from door1 import bind_name, inet
from expect import asleep, eventually, fails, readable, receive
from netns import Namespace
from tables import egress, ingress
from uapi import U
from world import HOST4, LAN4, PEER4

_SIOCOUTQ, _SIOCATMARK = 0x5411, 0x8905
_SO_ZEROCOPY, _MSG_ZEROCOPY, _ORIGIN_ZEROCOPY = 60, 0x4000000, 5
_UDP_SEGMENT = 103

# How a socket is made, and how it is grafted: to serve port 8080 of the host, or to talk to ``peer``.
Make = Callable[[Box, int], socket.socket]
Graft = Callable[[Box, socket.socket], socket.socket]


def prepare(box: Box) -> None:
    """Endpoints and rules for both doors."""
    box.endpoint("ep-serve", HOST4, 8080)
    box.endpoint("ep-out")
    box.rules(ingress("ep-serve", port=8080), egress("ep-out", LAN4))


def _serve1(box: Box, sock: socket.socket) -> socket.socket:
    bind_name(sock, "ep-serve")
    return inet(sock)


def _serve2(box: Box, sock: socket.socket) -> socket.socket:
    sock.bind(("0.0.0.0", 8080))
    return sock.dup()


def _out1(box: Box, sock: socket.socket) -> socket.socket:
    bind_name(sock, "ep-out")
    return inet(sock)


def _out2(box: Box, sock: socket.socket) -> socket.socket:
    return sock.dup()


def _make2(box: Box, kind: int) -> socket.socket:
    return box.open_socket(AF_INET, kind)


SERVERS = pytest.mark.parametrize(("make", "graft"), [(Box.door1, _serve1), (_make2, _serve2)], ids=["door1", "door2"])
CLIENTS = pytest.mark.parametrize(("make", "graft"), [(Box.door1, _out1), (_make2, _out2)], ids=["door1", "door2"])


def connected(box: Box, make: Make = _make2, graft: Graft = _out2) -> tuple[socket.socket, socket.socket]:
    """A grafted TCP socket and its peer's end."""
    prepare(box)
    listener = box.listener(box.world.peer, PEER4)
    sock = box.keep(graft(box, make(box, SOCK_STREAM)))
    sock.connect(listener.getsockname())
    return sock, box.keep(listener.accept()[0])


@SERVERS
@pytest.mark.parametrize("edge", [0, select.EPOLLET], ids=["level", "edge"])
def test_epoll_of_a_listener_registered_before_the_bind(box: Box, make: Make, graft: Graft, edge: int) -> None:
    prepare(box)
    sock = make(box, SOCK_STREAM)
    with select.epoll() as events:
        events.register(sock, select.EPOLLIN | edge)
        events.poll(0)
        server = box.keep(graft(box, sock))
        server.listen(4)
        box.client(box.world.peer, HOST4, 8080)
        eventually(lambda: any(mask & select.EPOLLIN for _, mask in events.poll(0.05)), "EPOLLIN of a connection")
        box.keep(server.accept()[0])
        events.poll(0)
        assert not [mask for _, mask in events.poll(0) if mask & select.EPOLLIN]
        box.client(box.world.peer, HOST4, 8080)
        eventually(lambda: any(mask & select.EPOLLIN for _, mask in events.poll(0.05)), "EPOLLIN of another")


@CLIENTS
@pytest.mark.parametrize("edge", [0, select.EPOLLET], ids=["level", "edge"])
def test_epoll_of_a_client_registered_before_the_connect(box: Box, make: Make, graft: Graft, edge: int) -> None:
    prepare(box)
    listener = box.listener(box.world.peer, PEER4)
    sock = make(box, SOCK_STREAM)
    sock.setblocking(False)
    with select.epoll() as events:
        events.register(sock, select.EPOLLIN | select.EPOLLOUT | edge)
        events.poll(0)
        client = box.keep(graft(box, sock))
        with fails(EINPROGRESS):
            client.connect(listener.getsockname())
        eventually(lambda: any(mask == select.EPOLLOUT for _, mask in events.poll(0.05)), "EPOLLOUT alone")
        assert client.getsockopt(SOL_SOCKET, socket.SO_ERROR) == 0
        accepted = box.keep(listener.accept()[0])
        accepted.send(b"x")
        eventually(lambda: any(mask & select.EPOLLIN for _, mask in events.poll(0.05)), "EPOLLIN of data")
        assert client.recv(1) == b"x"
        accepted.close()
        eventually(lambda: any(mask & select.EPOLLIN for _, mask in events.poll(0.05)), "EPOLLIN of the end")
        assert client.recv(1) == b""


@SERVERS
@pytest.mark.parametrize("edge", [0, select.EPOLLET], ids=["level", "edge"])
def test_epoll_of_datagrams_registered_before_the_bind(box: Box, make: Make, graft: Graft, edge: int) -> None:
    prepare(box)
    sock = make(box, SOCK_DGRAM)
    with select.epoll() as events:
        events.register(sock, select.EPOLLIN | edge)
        assert events.poll(0) == []
        server = box.keep(graft(box, sock))
        box.datagram(box.world.peer, PEER4).sendto(b"x", (HOST4, 8080))
        assert [mask & select.EPOLLIN for _, mask in events.poll(10)] == [select.EPOLLIN]
        assert server.recv(1) == b"x"
        assert events.poll(0) == []


@pytest.mark.parametrize(
    ("make", "graft", "how"),
    [
        (_make2, _serve2, "recv"),
        (_make2, _serve2, "select"),
        (_make2, _serve2, "poll"),
        # A receive on a socket that has no name yet does not wait.
        (Box.door1, _serve1, "select"),
        (Box.door1, _serve1, "poll"),
    ],
)
def test_a_blocked_call_wakes_after_the_graft(box: Box, make: Make, graft: Graft, how: str) -> None:
    """A thread waits in the kernel, on a socket without a host, for what comes after it was grafted."""
    prepare(box)
    sock = make(box, SOCK_DGRAM)
    got: list[object] = []
    ready = threading.Event()

    def wait() -> None:
        ready.set()
        if how == "recv":
            got.append(sock.recv(16))
        elif how == "select":
            got.append(select.select([sock], [], [], 20)[0])
        else:
            poll = select.poll()
            poll.register(sock, select.POLLIN)
            got.append(poll.poll(20000))

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert ready.wait(10)
    asleep(waiter)
    server = box.keep(graft(box, sock))
    box.datagram(box.world.peer, PEER4).sendto(b"awake", (HOST4, 8080))
    waiter.join(20)
    assert not waiter.is_alive(), "the call that began before the graft never woke"
    assert got
    assert got[0]
    if how == "recv":
        assert got == [b"awake"]
    else:
        assert server.recv(16) == b"awake"


def test_a_blocked_receive_wakes_after_the_first_send(box: Box) -> None:
    prepare(box)
    server = box.datagram(box.world.peer, PEER4)
    sock = box.udp()
    got: list[bytes] = []
    waiter = threading.Thread(target=lambda: got.append(sock.recv(16)))
    waiter.start()
    asleep(waiter)
    sock.sendto(b"question", server.getsockname())
    server.sendto(b"answer", server.recvfrom(16)[1])
    waiter.join(20)
    assert got == [b"answer"]


@CLIENTS
def test_nonblocking_connect(box: Box, make: Make, graft: Graft) -> None:
    prepare(box)
    listener = box.listener(box.world.peer, PEER4)
    sock = make(box, SOCK_STREAM)
    client = box.keep(graft(box, sock))
    client.setblocking(False)
    with fails(EINPROGRESS):
        client.connect(listener.getsockname())
    assert select.select([], [client], [], 10)[1]
    assert client.getsockopt(SOL_SOCKET, socket.SO_ERROR) == 0
    box.keep(listener.accept()[0]).send(b"x")
    assert receive(client) == b"x"


def test_a_refused_nonblocking_connect_tells_so(box: Box) -> None:
    prepare(box)
    sock = box.tcp()
    sock.setblocking(False)
    with fails(EINPROGRESS):
        sock.connect((PEER4, 1))
    assert select.select([], [sock], [], 10)[1]
    assert sock.getsockopt(SOL_SOCKET, socket.SO_ERROR) == ECONNREFUSED
    assert endpoint_of(sock) == "ep-out"


@CLIENTS
@pytest.mark.parametrize("when", ["before", "after"])
def test_sigio(box: Box, make: Make, graft: Graft, when: str) -> None:
    prepare(box)
    listener = box.listener(box.world.peer, PEER4)
    sock = make(box, SOCK_STREAM)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO])

    def register(one: socket.socket) -> None:
        fcntl.fcntl(one, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(one, fcntl.F_SETFL, fcntl.fcntl(one, fcntl.F_GETFL) | os.O_ASYNC)

    try:
        if when == "before":
            register(sock)
        client = box.keep(graft(box, sock))
        client.connect(listener.getsockname())
        if when == "after":
            register(client)
        accepted = box.keep(listener.accept()[0])
        while signal.sigtimedwait([signal.SIGIO], 0):
            pass
        accepted.send(b"x")
        assert signal.sigtimedwait([signal.SIGIO], 10) is not None
        assert client.recv(1) == b"x"
        sock.close()
        client.close()
    finally:
        while signal.sigtimedwait([signal.SIGIO], 0):
            pass
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGIO])


@CLIENTS
def test_a_megabyte_each_way(box: Box, make: Make, graft: Graft) -> None:
    sock, accepted = connected(box, make, graft)
    data = os.urandom(1 << 20)
    for source, sink in ((sock, accepted), (accepted, sock)):
        sender = threading.Thread(target=source.sendall, args=(data,))
        sender.start()
        got = bytearray()
        while len(got) < len(data):
            got += receive(sink, 1 << 18)
        sender.join()
        assert got == data


@CLIENTS
def test_splice(box: Box, make: Make, graft: Graft) -> None:
    sock, accepted = connected(box, make, graft)
    out, into = os.pipe()
    try:
        accepted.sendall(b"spliced both ways")
        assert readable(sock)
        moved = os.splice(sock.fileno(), into, 64)
        assert moved == 17
        assert os.splice(out, sock.fileno(), moved) == moved
        assert receive(accepted) == b"spliced both ways"
    finally:
        os.close(out)
        os.close(into)


@CLIENTS
def test_sendfile(box: Box, make: Make, graft: Graft) -> None:
    sock, accepted = connected(box, make, graft)
    with open(__file__, "rb") as file:
        whole = file.read()
        assert os.sendfile(sock.fileno(), file.fileno(), 0, 8192) == 8192
    got = b""
    while len(got) < 8192:
        got += receive(accepted, 8192)
    assert got == whole[:8192]


@CLIENTS
@pytest.mark.parametrize("when", ["before", "after"])
def test_zerocopy(box: Box, make: Make, graft: Graft, when: str) -> None:
    prepare(box)
    listener = box.listener(box.world.peer, PEER4)
    made = make(box, SOCK_STREAM)
    if when == "before":
        if made.family == U.AF_GRAFT:
            need_sol_socket(box.writer)
        made.setsockopt(SOL_SOCKET, _SO_ZEROCOPY, 1)
    sock = box.keep(graft(box, made))
    if when == "after":
        sock.setsockopt(SOL_SOCKET, _SO_ZEROCOPY, 1)
    sock.connect(listener.getsockname())
    accepted = box.keep(listener.accept()[0])
    data = b"z" * 32768
    assert sock.send(data, _MSG_ZEROCOPY) == len(data)
    got = b""
    while len(got) < len(data):
        got += receive(accepted, 65536)
    assert got == data
    poll = select.poll()
    poll.register(sock, 0)
    assert [mask & select.POLLERR for _, mask in poll.poll(10000)] == [select.POLLERR]
    _, ancillary, flags, _ = sock.recvmsg(1, 128, socket.MSG_ERRQUEUE)
    assert flags & socket.MSG_ERRQUEUE
    code, origin, _, _, _, low, high = struct.unpack_from("=IBBBBII", ancillary[0][2])
    assert (code, origin, low, high) == (0, _ORIGIN_ZEROCOPY, 0, 0)


def test_dup_fork_and_exec(box: Box) -> None:
    sock, accepted = connected(box)
    copy = sock.dup()
    copy.send(b"dup")
    assert receive(accepted) == b"dup"
    copy.close()
    process.run(lambda: sock.send(b"fork"))
    assert receive(accepted) == b"fork"
    actions = [(os.POSIX_SPAWN_DUP2, sock.fileno(), 1)]
    program = os.posix_spawn("/bin/echo", ["echo", "-n", "exec"], {}, file_actions=actions)
    assert receive(accepted) == b"exec"
    assert os.waitpid(program, 0)[1] == 0
    assert endpoint_of(sock) == "ep-out"


def test_an_undecided_socket_is_grafted_by_a_child(box: Box) -> None:
    prepare(box)
    listener = box.listener(box.world.peer, PEER4)
    sock = box.tcp()
    process.run(lambda: sock.connect(listener.getsockname()))
    box.keep(listener.accept()[0]).send(b"x")
    assert endpoint_of(sock) == "ep-out"
    assert receive(sock) == b"x"


def test_a_descriptor_passed_to_another_namespace(box: Box, stranger: Namespace) -> None:
    sock, accepted = connected(box)
    ours, theirs = (box.keep(one) for one in socket.socketpair(socket.AF_UNIX, SOCK_DGRAM))

    def use() -> str:
        with stranger:
            _, descriptors, _, _ = socket.recv_fds(theirs, 16, 4)
            with socket.socket(AF_INET, SOCK_STREAM, fileno=descriptors[0]) as passed:
                passed.send(b"from afar")
                receive(passed)
                return endpoint_of(passed)

    user = process.Child(use)
    socket.send_fds(ours, [b"x"], [sock.fileno()])
    assert receive(accepted) == b"from afar"
    accepted.send(b"y")
    assert user.result() == "ep-out"


def test_shutdown(box: Box) -> None:
    sock, accepted = connected(box)
    sock.shutdown(socket.SHUT_WR)
    assert receive(accepted) == b""
    with fails(EPIPE):
        sock.send(b"x")
    accepted.send(b"still open")
    assert receive(sock) == b"still open"
    sock.shutdown(socket.SHUT_RD)
    assert sock.recv(1) == b""
    accepted.close()
    eventually(lambda: sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == b"\7", "TCP_CLOSE")
    with fails(ENOTCONN):
        sock.shutdown(socket.SHUT_RDWR)


def test_counting_ioctls(box: Box) -> None:
    sock, accepted = connected(box)
    accepted.send(b"12345")
    assert readable(sock)
    answer = bytearray(4)
    fcntl.ioctl(sock, termios.FIONREAD, answer)
    assert struct.unpack("=i", answer)[0] == 5
    fcntl.ioctl(sock, _SIOCOUTQ, answer)
    assert struct.unpack("=i", answer)[0] == 0
    sock.recv(5)
    accepted.send(b"!", socket.MSG_OOB)
    poll = select.poll()
    poll.register(sock, select.POLLPRI)
    assert poll.poll(10000)
    fcntl.ioctl(sock, _SIOCATMARK, answer)
    assert struct.unpack("=i", answer)[0] == 1
    assert sock.recv(1, socket.MSG_OOB) == b"!"


def test_counting_ioctls_of_datagrams(box: Box) -> None:
    prepare(box)
    sock = box.udp()
    sock.bind(("0.0.0.0", 8080))
    box.datagram(box.world.peer, PEER4).sendto(b"1234567", (HOST4, 8080))
    assert readable(sock)
    answer = bytearray(4)
    fcntl.ioctl(sock, termios.FIONREAD, answer)
    assert struct.unpack("=i", answer)[0] == 7


def test_flags_of_receive(box: Box) -> None:
    sock, accepted = connected(box)
    accepted.send(b"peeked")
    assert receive(sock, 0) == b""
    assert sock.recv(64, socket.MSG_PEEK) == b"peeked"
    assert sock.recv(64, socket.MSG_DONTWAIT) == b"peeked"
    sender = threading.Thread(target=lambda: [accepted.send(b"wait"), accepted.send(b"all!")])
    sender.start()
    assert sock.recv(8, socket.MSG_WAITALL) == b"waitall!"
    sender.join()
    server = box.udp()
    server.bind(("0.0.0.0", 8080))
    box.datagram(box.world.peer, PEER4).sendto(b"truncated", (HOST4, 8080))
    assert readable(server)
    data, _, flags, _ = server.recvmsg(4)
    assert (data, flags & socket.MSG_TRUNC) == (b"trun", socket.MSG_TRUNC)


def test_segmentation_offload_of_datagrams(box: Box) -> None:
    prepare(box)
    server = box.datagram(box.world.peer, PEER4)
    sock = box.udp()
    ancillary = [(socket.IPPROTO_UDP, _UDP_SEGMENT, struct.pack("=H", 4))]
    sock.sendmsg([b"onlytwos"], ancillary, 0, server.getsockname())
    assert [receive(server), receive(server)] == [b"only", b"twos"]
