# SPDX-License-Identifier: Apache-2.0
"""Door 1, AF_GRAFT: unix endpoints, which are abstract names of the target namespace."""

import array
import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from errno import (
    EACCES,
    EADDRINUSE,
    EADDRNOTAVAIL,
    EAGAIN,
    ECONNABORTED,
    ECONNREFUSED,
    ECONNRESET,
    EINVAL,
    ENODATA,
    ENOPROTOOPT,
    ENOTCONN,
    EOPNOTSUPP,
    EPERM,
    EPIPE,
    ESRCH,
)
from socket import SOCK_DGRAM, SOCK_STREAM

import pytest

import child as process
from box import Box, endpoint_of, state
from conftest import CANNOT
from door1 import bind_name, connect_name, sockaddr_gr
from expect import asleep, fails, receive
from grant import sendto_raw
from tables import allow, deny
from uapi import U

PATH = b"graft-tests-service"
ABSTRACT = b"\0" + PATH
USER, GROUP = 1001, 1002
_SO_PEERPIDFD = 77


def host_unix(box: Box, kind: int, address: bytes | None = None) -> socket.socket:
    """A plain unix socket of the host."""
    sock: socket.socket = box.keep(box.world.host.open_socket(socket.AF_UNIX, kind))
    if address is not None:
        sock.bind(address)
    return sock


def pair(box: Box) -> tuple[socket.socket, socket.socket]:
    """A connected stream: the host's end, the container's end."""
    box.endpoint("ep-unix", path=PATH)
    server = box.bound("ep-unix", SOCK_STREAM)
    server.listen(1)
    client = host_unix(box, SOCK_STREAM)
    client.connect(ABSTRACT)
    child, _ = server.accept()
    return client, box.keep(child)


def descriptors(sock: socket.socket) -> tuple[bytes, list[int], int]:
    """Receive a message with what descriptors came along."""
    data, ancillary, flags, _ = sock.recvmsg(64, socket.CMSG_SPACE(64))
    found = array.array("i")
    for level, kind, payload in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.frombytes(payload[: len(payload) // 4 * 4])
    return data, list(found), flags


def rights(descriptor: int) -> list[tuple[int, int, bytes]]:
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]).tobytes())]


def test_stream_server(box: Box) -> None:
    client, child = pair(box)
    client.sendall(b"ping")
    assert receive(child) == b"ping"
    child.sendall(b"pong")
    assert receive(client) == b"pong"
    assert client.getpeername() == ABSTRACT
    assert endpoint_of(child) == "ep-unix"


def test_only_the_target_namespace_sees_the_name(box: Box) -> None:
    box.endpoint("ep-unix", path=PATH)
    box.bound("ep-unix", SOCK_STREAM).listen(1)
    with box.ns.open_socket(socket.AF_UNIX, SOCK_STREAM) as inside, fails(ECONNREFUSED):
        inside.connect(ABSTRACT)
    with host_unix(box, SOCK_STREAM) as outside:
        outside.connect(ABSTRACT)


def test_stream_client(box: Box) -> None:
    box.endpoint("ep-unix", path=PATH)
    listener = host_unix(box, SOCK_STREAM, ABSTRACT)
    listener.listen(1)
    sock = box.door1(SOCK_STREAM)
    connect_name(sock, "ep-unix")
    child = box.keep(listener.accept()[0])
    sock.send(b"ping")
    assert receive(child) == b"ping"
    child.send(b"pong")
    assert receive(sock) == b"pong"
    assert endpoint_of(sock) == "ep-unix"


def test_datagrams(box: Box) -> None:
    box.endpoint("ep-unix", path=PATH)
    server = box.bound("ep-unix", SOCK_DGRAM)
    client = host_unix(box, SOCK_DGRAM)
    client.sendto(b"ping", ABSTRACT)
    assert receive(server) == b"ping"


def test_datagram_client(box: Box) -> None:
    box.endpoint("ep-unix", path=PATH)
    server = host_unix(box, SOCK_DGRAM, ABSTRACT)
    sock = box.door1(SOCK_DGRAM)
    connect_name(sock, "ep-unix")
    sock.send(b"ping")
    assert receive(server) == b"ping"


def test_datagrams_by_name(box: Box) -> None:
    """An addressed send names an endpoint, as connect does, and the ACL is asked about that one."""
    box.endpoint("ep-unix", path=PATH)
    box.endpoint("ep-own", path=PATH + b"-own")
    box.endpoint("ep-out")
    server = host_unix(box, SOCK_DGRAM, ABSTRACT)
    sock = box.bound("ep-own", SOCK_DGRAM)
    sendto_raw(sock, b"ping", sockaddr_gr("ep-unix"))
    assert server.recvfrom(16) == (b"ping", ABSTRACT + b"-own")
    for name in ("ep-missing", "ep-out"):
        with fails(EADDRNOTAVAIL):
            sendto_raw(sock, b"x", sockaddr_gr(name))
    box.acl(allow("ep-own"), allow("ep-unix", "listen"))
    with fails(EACCES):
        sendto_raw(sock, b"x", sockaddr_gr("ep-unix"))
    assert box.delete("ep-own", abort=True) == 1
    box.acl()
    with fails(EACCES, EPIPE):
        sendto_raw(sock, b"x", sockaddr_gr("ep-unix"))
    server.setblocking(False)
    with fails(EAGAIN):
        server.recv(1)


def test_nobody_listens(box: Box) -> None:
    box.endpoint("ep-unix", path=PATH)
    sock = box.door1(SOCK_STREAM)
    with fails(ECONNREFUSED):
        connect_name(sock, "ep-unix")
    listener = host_unix(box, SOCK_STREAM, ABSTRACT)
    listener.listen(1)
    connect_name(sock, "ep-unix")


def test_name_taken_in_the_target(box: Box) -> None:
    box.endpoint("ep-unix", path=PATH)
    host_unix(box, SOCK_STREAM, ABSTRACT)
    with fails(EADDRINUSE):
        bind_name(box.door1(SOCK_STREAM), "ep-unix")


def test_unknown_name(box: Box) -> None:
    sock = box.door1(SOCK_STREAM)
    with fails(EADDRNOTAVAIL):
        connect_name(sock, "ep-unix")


def test_other_unix_names_are_not_reached(box: Box) -> None:
    """A socket grafted to one name may not name another, as destination of connect or of a datagram."""
    box.endpoint("ep-dgram", path=PATH)
    box.endpoint("ep-stream", path=PATH + b"-stream")
    secret = host_unix(box, SOCK_DGRAM, b"\0graft-tests-secret")
    listener = host_unix(box, SOCK_STREAM, b"\0graft-tests-secret-stream")
    listener.listen(1)
    datagram, stream = box.bound("ep-dgram", SOCK_DGRAM), box.bound("ep-stream", SOCK_STREAM)
    with fails(EACCES):
        datagram.sendto(b"x", b"\0graft-tests-secret")
    with fails(EACCES):
        datagram.connect(b"\0graft-tests-secret")
    with fails(EACCES):
        stream.connect(b"\0graft-tests-secret-stream")
    for sock, call in ((secret, secret.recv), (listener, lambda _: listener.accept())):
        sock.setblocking(False)
        with fails(EAGAIN):
            call(1)


def test_acl_narrows_the_verb(box: Box) -> None:
    def serve() -> None:
        sock = box.door1(SOCK_STREAM)
        bind_name(sock, "ep-unix")
        sock.listen(1)

    box.endpoint("ep-unix", path=PATH)
    box.acl(allow("ep-unix", "connect"))
    with fails(EACCES):
        serve()
    with fails(ECONNREFUSED):
        host_unix(box, SOCK_STREAM).connect(ABSTRACT)
    box.close_sockets()
    host_unix(box, SOCK_STREAM, ABSTRACT).listen(1)
    connect_name(box.door1(SOCK_STREAM), "ep-unix")
    box.acl(allow("ep-unix", "listen"))
    with fails(EACCES):
        connect_name(box.door1(SOCK_STREAM), "ep-unix")


@pytest.mark.parametrize("what", ["a file", "a grafted socket", "itself"])
def test_no_descriptor_leaves_the_container(box: Box, what: str) -> None:
    client, child = pair(box)
    box.endpoint("ep-out")
    passed = {
        "a file": box.keep(os.fdopen(os.open("/dev/null", os.O_RDONLY))),
        "a grafted socket": box.bound("ep-out", SOCK_STREAM),
        "itself": child,
    }
    with fails(EOPNOTSUPP, EPERM, EACCES, EINVAL):
        child.sendmsg([b"with"], rights(passed[what].fileno()))
    child.send(b"without")
    assert descriptors(client)[:2] == (b"without", [])


def test_no_descriptor_enters_the_container(box: Box) -> None:
    client, child = pair(box)
    with open("/dev/null") as file:
        try:
            client.sendmsg([b"with"], rights(file.fileno()))
        except OSError:
            client.send(b"with")
    data, found, _ = descriptors(child)
    for descriptor in found:
        os.close(descriptor)
    assert found == []
    assert data in (b"with", b"")


@pytest.mark.parametrize("kind", [SOCK_STREAM, SOCK_DGRAM], ids=["stream", "dgram"])
def test_no_descriptor_enters_while_credentials_are_refused(box: Box, kind: int) -> None:
    """The room for credentials is no room for descriptors, when the wish for them goes while a receive waits."""
    box.endpoint("ep-unix", path=PATH)
    server = box.bound("ep-unix", kind)
    client = host_unix(box, kind)
    if kind == SOCK_STREAM:
        server.listen(1)
    client.connect(ABSTRACT)
    child = box.keep(server.accept()[0]) if kind == SOCK_STREAM else server
    got: list[tuple[bytes, list[int], int]] = []
    child.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    waiter = threading.Thread(target=lambda: got.append(descriptors(child)))
    waiter.start()
    asleep(waiter)
    with contextlib.suppress(OSError):
        child.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
    with open("/dev/null") as file:
        try:
            client.sendmsg([b"with"], rights(file.fileno()))
        except OSError:
            client.send(b"without")
    waiter.join(20)
    data, found, _ = got.pop()
    for descriptor in found:
        os.close(descriptor)
    assert found == []
    assert data in {b"with", b"without"}


def credentials(sock: socket.socket) -> tuple[int, int, int]:
    """SO_PEERCRED: pid, uid, gid."""
    pid, uid, gid = struct.unpack("=iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid, gid


def knows_pidfd() -> bool:
    """Whether the kernel has SO_PEERPIDFD."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        try:
            os.close(ours.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD))
        except OSError as error:
            assert error.errno == ENOPROTOOPT
            return False
    return True


@pytest.fixture(params=["client", "server"])
def met(box: Box, request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """The container's end of a stream and the host's, which is a process of an ordinary user's that waits."""
    connects = request.param == "client"
    box.endpoint("ep-unix", path=PATH)
    plain = host_unix(box, SOCK_STREAM, ABSTRACT if connects else None)
    ours, theirs = (box.keep(one) for one in socket.socketpair())

    def user() -> None:
        process.become(USER, GROUP)
        if connects:
            plain.listen(1)
        else:
            plain.connect(ABSTRACT)
        theirs.send(b"x")
        theirs.recv(1)

    if not connects:
        server = box.bound("ep-unix", SOCK_STREAM)
        server.listen(1)
    child = process.Child(user)
    assert receive(ours) == b"x"
    if connects:
        sock = box.door1(SOCK_STREAM)
        connect_name(sock, "ep-unix")
        yield sock, box.keep(plain.accept()[0])
    else:
        yield box.keep(server.accept()[0]), plain
    ours.send(b"y")
    child.result()


def test_the_hosts_process_has_no_number_in_the_container(met: tuple[socket.socket, socket.socket]) -> None:
    """The container sees who it is, the host sees all of the container's."""
    sock, plain = met
    assert credentials(plain) == (os.getpid(), 0, 0)
    assert credentials(sock) == (0, USER, GROUP)


def test_no_descriptor_of_the_hosts_process(met: tuple[socket.socket, socket.socket]) -> None:
    """With one, and the same uid, the container could send it signals."""
    if not knows_pidfd():
        pytest.skip(f"{CANNOT}give a descriptor of a peer's process")
    sock, plain = met
    os.close(plain.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD))
    with fails(ENODATA, ESRCH):
        os.close(sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD))


def reached(box: Box, name: str, path: bytes, kind: int) -> socket.socket:
    """A unix endpoint, and who serves its name in the host."""
    box.endpoint(name, path=path)
    server = host_unix(box, kind, b"\0" + path)
    if kind == SOCK_STREAM:
        server.listen(1)
    return server


def useless(sock: socket.socket) -> None:
    """An aborted socket neither sends nor receives, and has no way back to what it reached."""
    sock.setblocking(False)
    attempts: list[Callable[[], object]] = [
        lambda: sock.send(b"x"),
        lambda: connect_name(sock, "ep-b"),
        lambda: sock.send(b"x"),
    ]
    for attempt in attempts:
        with fails(EACCES, EPIPE, ECONNABORTED, ENOTCONN):
            attempt()
    assert state(sock) == U.STATE_REVOKED
    for _ in range(2):
        try:
            assert sock.recv(16) == b""
        except OSError as error:
            assert error.errno in {ECONNABORTED, EACCES}


def silent(server: socket.socket) -> None:
    """Nothing has arrived, or comes after the end."""
    server.setblocking(False)
    try:
        assert server.recv(16) == b""
    except OSError as error:
        assert error.errno in {EAGAIN, ECONNRESET}


@pytest.mark.parametrize("kind", [SOCK_STREAM, SOCK_DGRAM], ids=["stream", "dgram"])
def test_a_narrower_acl_aborts_a_client(box: Box, kind: int) -> None:
    server = reached(box, "ep-b", PATH, kind)
    sock = box.door1(kind)
    connect_name(sock, "ep-b")
    far = box.keep(server.accept()[0]) if kind == SOCK_STREAM else server
    sock.send(b"allowed")
    assert receive(far) == b"allowed"
    if kind == SOCK_STREAM:
        far.send(b"too late")
    assert box.acl(allow("ep-b"), abort=True) == 0
    assert state(sock) == U.STATE_GRAFTED
    assert box.acl(deny("ep-b", "connect"), abort=True) == 1
    useless(sock)
    silent(far)


def test_a_narrower_acl_leaves_unix_servers_and_their_children_be(box: Box) -> None:
    client, child = pair(box)
    assert box.acl(allow("ep-unix", "listen"), deny("ep-unix", "connect"), abort=True) == 0
    client.send(b"untouched")
    assert receive(child) == b"untouched"
    assert box.acl(deny("ep-unix", "listen"), abort=True) == 2
    useless(child)


@pytest.mark.parametrize("how", ["deletion", "denial"])
@pytest.mark.parametrize("kind", [SOCK_STREAM, SOCK_DGRAM], ids=["stream", "dgram"])
def test_who_is_bound_to_one_endpoint_and_connected_to_another(box: Box, kind: int, how: str) -> None:
    """It depends on both."""
    box.endpoint("ep-a", path=PATH + b"-own")
    server = reached(box, "ep-b", PATH, kind)
    sock, bystander = box.door1(kind), box.door1(kind)
    bind_name(sock, "ep-a")
    connect_name(sock, "ep-b")
    far = box.keep(server.accept()[0]) if kind == SOCK_STREAM else server
    box.endpoint("ep-c", path=PATH + b"-unrelated")
    bind_name(bystander, "ep-c")
    assert endpoint_of(sock) == "ep-a"
    if how == "deletion":
        assert box.delete("ep-b", abort=True) == 1
    else:
        assert box.acl(deny("ep-b", "connect"), abort=True) == 1
    useless(sock)
    silent(far)
    assert state(bystander) == U.STATE_GRAFTED


def test_who_is_connected_to_another_endpoint_goes_with_its_own_too(box: Box) -> None:
    box.endpoint("ep-a", path=PATH + b"-own")
    server = reached(box, "ep-b", PATH, SOCK_DGRAM)
    sock = box.bound("ep-a", SOCK_DGRAM)
    connect_name(sock, "ep-b")
    assert box.delete("ep-a", abort=True) == 1
    useless(sock)
    silent(server)


@pytest.mark.parametrize("bound", [False, True], ids=["unbound", "bound"])
def test_a_datagram_socket_depends_on_whom_it_connected_to_last(box: Box, bound: bool) -> None:
    """And on the endpoint that it was grafted by: that of its own name, or the first that it connected to."""
    before, server = (reached(box, name, PATH + name.encode(), SOCK_DGRAM) for name in ("ep-b", "ep-c"))
    box.endpoint("ep-a", path=PATH)
    sock = box.door1(SOCK_DGRAM)
    if bound:
        bind_name(sock, "ep-a")
    connect_name(sock, "ep-b")
    sock.send(b"first")
    assert receive(before) == b"first"
    connect_name(sock, "ep-c")
    if bound:
        assert box.delete("ep-b", abort=True) == 0
    sock.send(b"second")
    assert receive(server) == b"second"
    assert box.delete("ep-c" if bound else "ep-b", abort=True) == 1
    useless(sock)
    silent(before)
    silent(server)


@pytest.mark.parametrize("bound", [False, True], ids=["unbound", "bound"])
@pytest.mark.parametrize("how", ["deletion", "denial"])
def test_a_connect_that_waits_while_its_endpoint_goes(box: Box, how: str, bound: bool) -> None:
    """The listener's backlog is full when the connect begins; it has room only when the grant is gone."""
    box.endpoint("ep-a", path=PATH + b"-own")
    server = reached(box, "ep-b", PATH, SOCK_STREAM)
    server.listen(0)
    host_unix(box, SOCK_STREAM).connect(ABSTRACT)
    sock = box.door1(SOCK_STREAM)
    if bound:
        bind_name(sock, "ep-a")
    ended: list[int] = []

    def connect() -> None:
        try:
            connect_name(sock, "ep-b")
            ended.append(0)
        except OSError as error:
            ended.append(error.errno or 0)

    waiter = threading.Thread(target=connect)
    waiter.start()
    asleep(waiter)
    if how == "deletion":
        box.delete("ep-b", abort=True)
    else:
        box.acl(deny("ep-b", "connect"), abort=True)
    box.keep(server.accept()[0])
    waiter.join(20)
    assert not waiter.is_alive(), "the connect still waits"
    sock.setblocking(False)
    with contextlib.suppress(OSError):
        sock.send(b"x")
    server.setblocking(False)
    try:
        far = box.keep(server.accept()[0])
    except BlockingIOError:
        assert ended[0]
        return
    with contextlib.suppress(OSError):
        far.send(b"x")
    silent(far)
    useless(sock)
