# SPDX-License-Identifier: Apache-2.0
"""What ends while something else lives: namespaces under sockets, grants under sockets, the module under both."""

import os
import socket
import threading
import time
from collections.abc import Callable
from errno import (
    EACCES,
    EADDRNOTAVAIL,
    EAFNOSUPPORT,
    EAGAIN,
    ECONNABORTED,
    ECONNREFUSED,
    ENOENT,
    EPROTONOSUPPORT,
    ESOCKTNOSUPPORT,
)
from socket import AF_INET, SOCK_DGRAM, SOCK_STREAM

import pytest

import module
from box import Box, endpoint_of, state
from door1 import bind_name, inet
from expect import asleep, eventually, fails, readable, receive
from graftnl import Graft
from netlink import REPLACE
from netns import Namespace, assert_gone
from tables import allow, deny, egress, ingress
from uapi import U
from world import HOST4, LAN4, PEER4, World, lo_up

TIME_WAITS = 500


def granted(box: Box) -> Box:
    box.endpoint("ep-http", HOST4, 8080)
    box.endpoint("ep-dns", HOST4, 5300)
    box.endpoint("ep-out")
    box.rules(ingress("ep-http", port=80), ingress("ep-dns", port=53), egress("ep-out", LAN4))
    return box


def conversation(box: Box) -> tuple[socket.socket, socket.socket]:
    """A grafted client and its peer's end."""
    listener = box.listener(box.world.peer, PEER4)
    sock = box.tcp()
    sock.connect(listener.getsockname())
    return sock, box.keep(listener.accept()[0])


def test_the_container_goes_first(world: World) -> None:
    """Its sockets, held by who got their descriptors, go on working: they live in the host."""
    box = granted(Box(world, "short-lived"))
    sock, accepted = conversation(box)
    server = box.udp()
    server.bind(("0.0.0.0", 53))
    undecided = box.tcp()
    box.ns.close()
    sock.send(b"still here")
    assert receive(accepted) == b"still here"
    client = box.datagram(world.peer, PEER4)
    client.sendto(b"question", (HOST4, 5300))
    data, source = server.recvfrom(16)
    assert data == b"question"
    try:
        server.sendto(b"answer", source)
    except OSError as error:
        assert error.errno in {EACCES, EADDRNOTAVAIL}
    else:
        assert receive(client) == b"answer"
    undecided.close()
    box.close_sockets()


def test_the_target_goes_first(world: World) -> None:
    target, container = Namespace.new("short-lived target"), Namespace.new("container")
    with target:
        lo_up()
        writer = Graft()
    fields = {"name": "ep", "type": U.EP_IPV4, "address": socket.inet_aton("127.0.0.1"), "port_lo": 0, "port_hi": 0}
    writer.endpoint(container.fd, target_fd=target.fd, **fields)
    held = container.open_socket(U.AF_GRAFT, SOCK_STREAM)
    bind_name(held, "ep")
    grafted = inet(held)
    grafted.listen(1)
    writer.close()
    target.close()
    late = container.open_socket(U.AF_GRAFT, SOCK_STREAM)
    bind_name(late, "ep")
    grafted.close()
    held.close()
    late.close()
    again = container.open_socket(U.AF_GRAFT, SOCK_STREAM)

    def gone() -> bool:
        try:
            bind_name(again, "ep")
        except OSError as error:
            assert error.errno == EADDRNOTAVAIL
            return True
        raise AssertionError("bound in a namespace that nothing holds")

    assert_gone(keep=frozenset({container.id, world.host.id, world.peer.id}))
    assert gone()
    again.close()
    container.close()


@pytest.mark.parametrize("order", ["sockets first", "namespaces first", "in between"])
def test_many_namespaces(world: World, order: str) -> None:
    """A dozen containers with sockets of every kind, let go in every order."""
    boxes = [granted(Box(world, f"one of many {number}")) for number in range(12)]
    for number, box in enumerate(boxes):
        box.rules(egress("ep-out", LAN4))
        conversation(box)
        box.udp().sendto(b"x", (PEER4, 9))
        box.tcp().bind(("127.0.0.1", 0))
        box.bound("ep-out", SOCK_STREAM).listen(1)
        box.door1(SOCK_STREAM)
        if order == "namespaces first":
            box.ns.close()
        elif order == "in between" and number:
            boxes[number - 1].ns.close()
    for box in boxes:
        box.close()
    assert_gone(keep=frozenset({world.host.id, world.peer.id}))


def test_the_writer_goes_first(world: World) -> None:
    """Tables outlive who wrote them."""
    box = Box(world, "box")
    with world.host:
        writer = Graft()
    fields = {"name": "ep", "type": U.EP_IPV4, "address": socket.inet_aton(HOST4), "port_lo": 0, "port_hi": 0}
    writer.endpoint(box.ns.fd, target_fd=world.host.fd, **fields)
    writer.close()
    assert endpoint_of(box.bound("ep", SOCK_STREAM)) == "ep"
    box.close()


def blocked(call: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """A thread inside a call that does not return, and what it is going to end with."""
    ended: list[object] = []

    def run() -> None:
        try:
            ended.append(call())
        except OSError as error:
            ended.append(error.errno)

    thread = threading.Thread(target=run)
    thread.start()
    asleep(thread)
    return thread, ended


def mute(sock: socket.socket, peer: socket.socket | None = None) -> None:
    """A socket that was aborted neither sends nor receives, whatever is tried."""
    sock.setblocking(False)
    attempts: list[Callable[[], object]] = [
        lambda: sock.send(b"x"),
        lambda: sock.sendto(b"x", (PEER4, 9)),
        lambda: sock.connect((PEER4, 9)),
        lambda: sock.send(b"x"),
        lambda: sock.listen(1),
        lambda: sock.bind(("0.0.0.0", 0)),
    ]
    for attempt in attempts:
        try:
            attempt()
        except OSError:
            continue
        pytest.fail("an aborted socket still does something")
    for _ in range(3):
        try:
            assert sock.recv(16) == b""
        except OSError:
            continue
    if peer is not None:
        peer.setblocking(False)
        try:
            assert peer.recv(16) == b""
        except OSError as error:
            assert isinstance(error, ConnectionResetError)


def test_abort_of_a_connection(box: Box) -> None:
    granted(box)
    sock, accepted = conversation(box)
    thread, ended = blocked(lambda: sock.recv(16))
    assert box.delete("ep-out", abort=True) == 1
    thread.join(20)
    assert not thread.is_alive(), "a blocked recv was not woken"
    assert ended[0] in {b"", ECONNABORTED}
    eventually(lambda: readable(accepted, 0.05), "the peer is told")
    assert state(sock) == U.STATE_REVOKED
    mute(sock, accepted)


def test_abort_of_a_listener(box: Box) -> None:
    granted(box)
    server = box.tcp()
    server.bind(("0.0.0.0", 80))
    server.listen(4)
    thread, ended = blocked(server.accept)
    box.delete("ep-http", abort=True)
    thread.join(20)
    assert not thread.is_alive(), "a blocked accept was not woken"
    assert isinstance(ended[0], int)
    with fails(ECONNREFUSED):
        box.client(box.world.peer, HOST4, 8080)
    mute(server)
    box.listener(box.world.host, HOST4, 8080)


def test_abort_of_accepted_sockets(box: Box) -> None:
    granted(box)
    server = box.tcp()
    server.bind(("0.0.0.0", 80))
    server.listen(4)
    client = box.client(box.world.peer, HOST4, 8080)
    child = box.keep(server.accept()[0])
    assert box.delete("ep-http", abort=True) == 2
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    mute(child)


@pytest.mark.parametrize("connected", [False, True], ids=["bound", "connected"])
def test_abort_of_datagrams(box: Box, connected: bool) -> None:
    granted(box)
    server = box.udp()
    server.bind(("0.0.0.0", 53))
    client = box.datagram(box.world.peer, PEER4)
    if connected:
        server.connect(client.getsockname())
    thread, ended = blocked(lambda: server.recv(16))
    assert box.delete("ep-dns", abort=True) == 1
    thread.join(20)
    assert not thread.is_alive(), "a blocked recv was not woken"
    assert ended[0] in {b"", ECONNABORTED}
    client.connect((HOST4, 5300))
    client.send(b"x")
    with pytest.raises(ConnectionRefusedError):
        receive(client)
    mute(server)
    box.datagram(box.world.host, HOST4, 5300)


@pytest.mark.parametrize("door", [1, 2])
def test_what_waits_at_an_abort_is_not_received(box: Box, door: int) -> None:
    granted(box)
    client = box.datagram(box.world.peer, PEER4)
    if door == 1:
        server = box.bound("ep-dns", SOCK_DGRAM)
    else:
        server = box.udp()
        server.bind(("0.0.0.0", 53))
    for data in (b"one", b"two", b"three"):
        client.sendto(data, (HOST4, 5300))
    assert receive(server) == b"one"
    assert box.delete("ep-dns", abort=True) == 1
    server.setblocking(False)
    for flags in (0, socket.MSG_PEEK, socket.MSG_ERRQUEUE, 0):
        try:
            assert server.recv(16, flags) == b""
        except OSError as error:
            assert error.errno in {ECONNABORTED, EACCES, EAGAIN}


def test_what_a_connection_has_received_at_an_abort(box: Box) -> None:
    """It may not be read either: the grant to receive is gone."""
    granted(box)
    sock, accepted = conversation(box)
    accepted.send(b"too late")
    assert readable(sock)
    assert box.delete("ep-out", abort=True) == 1
    mute(sock, accepted)


def test_abort_of_what_is_only_bound(box: Box) -> None:
    granted(box)
    sock = box.tcp()
    sock.bind(("0.0.0.0", 80))
    assert box.delete("ep-http", abort=True) == 1
    mute(sock)
    box.listener(box.world.host, HOST4, 8080)


def test_abort_of_a_unix_socket(box: Box) -> None:
    box.endpoint("ep-unix", path=b"graft-tests-abort")
    server = box.bound("ep-unix", SOCK_STREAM)
    server.listen(1)
    client = box.keep(box.world.host.open_socket(socket.AF_UNIX, SOCK_STREAM))
    client.connect(b"\0graft-tests-abort")
    child = box.keep(server.accept()[0])
    assert box.delete("ep-unix", abort=True) == 2
    assert receive(client) == b""
    child.setblocking(False)
    with fails(32, ECONNABORTED, EACCES):
        child.send(b"x")
    with box.world.host.open_socket(socket.AF_UNIX, SOCK_STREAM) as late, fails(ECONNREFUSED):
        late.connect(b"\0graft-tests-abort")


def test_abort_by_cookie_and_by_endpoint(box: Box) -> None:
    granted(box)
    first, _ = conversation(box)
    second, accepted = conversation(box)
    cookie = int.from_bytes(first.getsockopt(socket.SOL_SOCKET, 57, 8), "little")
    answer = box.writer.call(U.CMD_SOCKET_ABORT, netns_fd=box.ns.fd, socket={"cookie": cookie})
    assert answer[0]["aborted"] == 1
    mute(first)
    second.send(b"untouched")
    assert receive(accepted) == b"untouched"
    answer = box.writer.call(U.CMD_SOCKET_ABORT, netns_fd=box.ns.fd, socket={"endpoint": "ep-out"})
    assert answer[0]["aborted"] == 1
    mute(second)
    listener = box.listener(box.world.peer, PEER4)
    box.tcp().connect(listener.getsockname())


def test_deletion_without_abort_lets_live_sockets_be(box: Box) -> None:
    granted(box)
    sock, accepted = conversation(box)
    assert box.delete("ep-out") == 0
    sock.send(b"untouched")
    assert receive(accepted) == b"untouched"
    with fails(EADDRNOTAVAIL):
        box.tcp().connect((PEER4, 9))
    assert [shown["endpoint"] for shown in box.sockets()] == ["ep-out"]


def test_a_name_that_was_taken_again_aborts_the_sockets_of_before(box: Box, other: Box) -> None:
    """Deleted without abort, an endpoint leaves its sockets; they go with the one that bears its name next."""
    granted(box)
    granted(other)
    before, accepted = conversation(box)
    elsewhere, told = conversation(other)
    server = box.tcp()
    server.bind(("0.0.0.0", 80))
    server.listen(4)
    assert box.delete("ep-out") == 0
    assert box.delete("ep-http") == 0
    before.send(b"untouched")
    assert receive(accepted) == b"untouched"
    box.endpoint("ep-out")
    after, late = conversation(box)
    assert box.delete("ep-out", abort=True) == 2
    for sock, peer in ((before, accepted), (after, late)):
        assert state(sock) == U.STATE_REVOKED
        mute(sock, peer)
    box.endpoint("ep-http", HOST4, 8081)
    assert box.delete("ep-http", abort=True) == 1
    mute(server)
    elsewhere.send(b"untouched")
    assert receive(told) == b"untouched"


def abort_endpoint(box: Box, name: str) -> int:
    """SOCKET_ABORT by an endpoint's name; return how many sockets that aborted."""
    answer = box.writer.call(U.CMD_SOCKET_ABORT, netns_fd=box.ns.fd, socket={"endpoint": name})
    return int(answer[0]["aborted"])


def test_abort_by_the_name_of_an_endpoint_that_is_gone(box: Box) -> None:
    """Its sockets still bear the name; one that nothing bears is an error, one of the table alone is not."""
    granted(box)
    first, accepted = conversation(box)
    server = box.udp()
    server.bind(("0.0.0.0", 53))
    with fails(ENOENT):
        abort_endpoint(box, "ep-missing")
    assert abort_endpoint(box, "ep-http") == 0
    assert box.delete("ep-out") == 0
    assert abort_endpoint(box, "ep-out") == 1
    assert state(first) == U.STATE_REVOKED
    mute(first, accepted)
    first.close()
    with fails(ENOENT):
        abort_endpoint(box, "ep-out")
    assert state(server) == U.STATE_GRAFTED
    assert abort_endpoint(box, "ep-dns") == 1
    mute(server)


def test_a_narrower_acl_aborts_what_it_excludes(box: Box) -> None:
    granted(box)
    kept, accepted = conversation(box)
    port = kept.getpeername()[1]
    lost, _ = conversation(box)
    assert box.acl(allow("ep-out", "connect", PEER4, port), allow("ep-http"), abort=True) == 1
    mute(lost)
    kept.send(b"untouched")
    assert receive(accepted) == b"untouched"


def test_a_narrower_acl_aborts_a_client_of_door1(box: Box) -> None:
    """Without an ACL a name is bound for both verbs, so what it was bound for says nothing of what it does."""
    granted(box)
    listener = box.listener(box.world.peer, PEER4)
    sock = box.bound("ep-out", SOCK_STREAM)
    sock.connect(listener.getsockname())
    accepted = box.keep(listener.accept()[0])
    assert box.acl(allow("ep-out", "listen"), allow("ep-out", "connect", "10.99.0.0/16"), abort=True) == 1
    mute(sock, accepted)


def test_a_narrower_acl_aborts_a_client_that_was_bound_by_a_rule(box: Box) -> None:
    granted(box)
    listener = box.listener(box.world.peer, PEER4)
    sock = box.tcp()
    sock.bind(("0.0.0.0", 80))
    sock.connect(listener.getsockname())
    accepted = box.keep(listener.accept()[0])
    assert box.acl(allow("ep-http", "listen"), deny("ep-http", "connect"), abort=True) == 1
    mute(sock, accepted)


@pytest.mark.parametrize("door", [1, 2])
def test_a_narrower_acl_leaves_servers_and_their_children_be(box: Box, door: int) -> None:
    """Whom a server accepted it did not connect to."""
    granted(box)
    if door == 1:
        server = box.bound("ep-http", SOCK_STREAM)
    else:
        server = box.tcp()
        server.bind(("0.0.0.0", 80))
    server.listen(4)
    client = box.client(box.world.peer, HOST4, 8080)
    child = box.keep(server.accept()[0])
    assert box.acl(allow("ep-http", "listen"), deny("ep-http", "connect"), abort=True) == 0
    client.send(b"untouched")
    assert receive(child) == b"untouched"
    box.client(box.world.peer, HOST4, 8080)
    box.keep(server.accept()[0])


def test_a_narrower_acl_without_abort(box: Box) -> None:
    granted(box)
    sock, accepted = conversation(box)
    assert box.acl(allow("ep-out", "connect", "10.99.0.0/16")) == 0
    sock.send(b"untouched")
    assert receive(accepted) == b"untouched"
    with fails(EACCES):
        box.tcp().connect((PEER4, 9))


def test_a_replaced_endpoint_keeps_its_sockets(box: Box) -> None:
    granted(box)
    sock, accepted = conversation(box)
    box.endpoint("ep-out", HOST4, (7000, 7010), flags=REPLACE)
    sock.send(b"untouched")
    assert receive(accepted) == b"untouched"
    late, _ = conversation(box)
    assert 7000 <= late.getsockname()[1] <= 7010


def unloaded(world: World) -> None:
    """Unload the module, see that it is gone for programs, and load it again."""
    world.writer.close()
    try:
        eventually(module.unload, "the module unloads")
        assert not module.is_loaded()
        for family, protocol in ((U.AF_GRAFT, 0), (AF_INET, U.IPPROTO_GRAFT)):
            with fails(EAFNOSUPPORT, EPROTONOSUPPORT, ESOCKTNOSUPPORT):
                socket.socket(family, SOCK_STREAM, protocol)
    finally:
        if not module.is_loaded():
            assert module.load()
        world.reopen()


@pytest.mark.parametrize(
    "what", ["undecided", "door1", "grafted", "listening", "accepted", "datagram", "unix", "door1 unbound"]
)
def test_the_module_stays_while_it_is_in_use(box: Box, what: str) -> None:
    granted(box)
    box.endpoint("ep-unix", path=b"graft-tests-in-use")
    kept: list[socket.socket] = []
    if what == "undecided":
        kept.append(box.udp())
    elif what == "door1 unbound":
        kept.append(box.door1(SOCK_STREAM))
    elif what == "door1":
        kept.append(box.bound("ep-out", SOCK_STREAM))
    elif what == "grafted":
        kept.append(conversation(box)[0])
    elif what == "datagram":
        kept.append(box.bound("ep-dns", SOCK_DGRAM))
    elif what == "unix":
        kept.append(box.bound("ep-unix", SOCK_DGRAM))
    else:
        server = box.bound("ep-http", SOCK_STREAM)
        server.listen(1)
        if what == "accepted":
            box.client(box.world.peer, HOST4, 8080)
            kept.append(box.keep(server.accept()[0]))
        else:
            kept.append(server)
    box.close_sockets(*kept)
    assert module.references() > 0
    assert not module.unload()
    assert module.is_loaded()
    box.close_sockets()


def test_a_native_socket_does_not_hold_the_module(world: World) -> None:
    """Decided as native, a socket is the kernel's own; the module may go and the connection stays."""
    box = granted(Box(world, "native"))
    listener = box.tcp()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    client = box.tcp()
    client.connect(listener.getsockname())
    accepted = box.keep(listener.accept()[0])
    datagram = box.udp()
    datagram.connect(("127.0.0.1", 9))
    unloaded(world)
    client.send(b"still here")
    assert receive(accepted) == b"still here"
    box.close()


def test_it_unloads_with_connections_in_time_wait(world: World) -> None:
    """The container closes first, so that it is the grafted side that lingers, in the host."""
    box = granted(Box(world, "time-wait"))
    listener = box.listener(world.peer, PEER4)
    listener.listen(TIME_WAITS)
    for _ in range(TIME_WAITS):
        with box.ns.open_socket(AF_INET, SOCK_STREAM, U.IPPROTO_GRAFT) as sock:
            sock.connect(listener.getsockname())
            accepted, _ = listener.accept()
        accepted.close()
    with world.host, open("/proc/thread-self/net/sockstat") as stat:
        (line,) = (line.split() for line in stat if line.startswith("TCP:"))
    assert int(line[line.index("tw") + 1]) >= TIME_WAITS
    box.close()
    unloaded(world)
    with world.host, open("/proc/thread-self/net/sockstat") as stat:
        (line,) = (line.split() for line in stat if line.startswith("TCP:"))
    assert int(line[line.index("tw") + 1]) >= TIME_WAITS


def test_tables_go_with_the_module(world: World) -> None:
    box = granted(Box(world, "forgotten"))
    unloaded(world)
    assert box.world.writer.dump(U.CMD_ENDPOINT_GET, netns_fd=box.ns.fd) == []
    box.close()


def test_loading_and_unloading_again_and_again(world: World) -> None:
    began = time.monotonic()
    for _ in range(5):
        unloaded(world)
    assert time.monotonic() - began < 60
    assert os.path.exists("/sys/module/graft")
