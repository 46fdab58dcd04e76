# SPDX-License-Identifier: Apache-2.0
"""io_uring on sockets of door 2: the same decisions, the same police."""

import socket

import pytest

from box import Box
from conftest import CANNOT
from expect import receive
from programs import finish, run, start
from tables import allow, egress, ingress
from world import FAR_PEER4, FAR_PEER6, FORBIDDEN, HOST4, HOST6, LAN4, LAN6, PEER4, PEER6, World

FAMILIES = pytest.mark.parametrize(
    ("host", "peer", "far"), [(HOST4, PEER4, FAR_PEER4), (HOST6, PEER6, FAR_PEER6)], ids=["v4", "v6"]
)


def prepare(box: Box, host: str) -> None:
    box.endpoint("ep-serve", host, 8080)
    box.endpoint("ep-out", host)
    net = LAN6 if ":" in host else LAN4
    box.rules(ingress("ep-serve", port=8080), egress("ep-out"))
    box.acl(allow("ep-out", "connect", net), allow("ep-serve", "listen"), allow("ep-serve", "connect", net))


def uring(box: Box, act: str, address: str, port: int) -> str:
    status, printed = run(box.ns, "uring", act, address, port)
    if status == 77:
        pytest.skip(f"{CANNOT}do io_uring's {act}")
    return printed


@FAMILIES
def test_connect_send_receive(box: Box, host: str, peer: str, far: str) -> None:
    prepare(box, host)
    listener = box.listener(box.world.peer, peer)
    program = start(box.ns, "uring", "connect", peer, listener.getsockname()[1])
    accepted, source = listener.accept()
    box.keep(accepted)
    assert source[0] == host
    assert receive(accepted) == b"through the ring"
    accepted.send(b"and back")
    assert finish(program) == (0, "ok and back")


@FAMILIES
def test_poll_armed_before_the_connect(box: Box, host: str, peer: str, far: str) -> None:
    prepare(box, host)
    listener = box.listener(box.world.peer, peer)
    program = start(box.ns, "uring", "poll", peer, listener.getsockname()[1])
    accepted = box.keep(listener.accept()[0])
    assert receive(accepted) == b"x"
    accepted.send(b"y")
    assert finish(program) == (0, "ok readable")


@FAMILIES
def test_receive_that_waits_since_before_the_first_send(box: Box, host: str, peer: str, far: str) -> None:
    prepare(box, host)
    server = box.datagram(box.world.peer, peer)
    program = start(box.ns, "uring", "receive", peer, server.getsockname()[1])
    data, source = server.recvfrom(64)
    assert (data, source[0]) == (b"question", host)
    server.sendto(b"answer", source)
    assert finish(program) == (0, "ok answer")


@FAMILIES
def test_accept(box: Box, host: str, peer: str, far: str) -> None:
    prepare(box, host)
    program = start(box.ns, "uring", "accept", peer, 8080)
    assert program.stdout
    assert program.stdout.readline() == "listening\n"
    client = box.client(box.world.peer, host, 8080)
    client.send(b"echo")
    assert receive(client) == b"echo"
    client.close()
    assert finish(program) == (0, "ok echo")


@FAMILIES
@pytest.mark.parametrize("act", ["connect", "sendmsg", "send-zc", "fastopen", "socket"])
def test_forbidden(box: Box, watched: World, act: str, host: str, peer: str, far: str) -> None:
    prepare(box, host)
    for address in (far, host, "::1" if ":" in host else "127.0.0.1", "::" if ":" in host else "0.0.0.0"):
        due = ("EACCES", "EOPNOTSUPP") if act == "fastopen" else ("EACCES",)
        assert uring(box, act, address, FORBIDDEN) in due, address


@FAMILIES
@pytest.mark.parametrize("act", ["sendmsg", "send-zc"])
def test_granted_datagrams(box: Box, act: str, host: str, peer: str, far: str) -> None:
    prepare(box, host)
    server = box.datagram(box.world.peer, peer)
    assert uring(box, act, peer, server.getsockname()[1]).startswith("ok")
    data, source = server.recvfrom(16)
    assert (data, source[0]) == (b"x", host)


def test_the_rings_own_socket(box: Box) -> None:
    prepare(box, HOST4)
    listener = box.listener(box.world.peer, PEER4)
    assert uring(box, "socket", PEER4, listener.getsockname()[1]) == "ok ep-out"


def test_the_rings_own_bind(box: Box) -> None:
    prepare(box, HOST4)
    assert uring(box, "bind", PEER4, 8080) == "ok ep-serve"


def test_the_rings_own_setsockopt_is_policed(box: Box) -> None:
    prepare(box, HOST4)
    listener = box.listener(box.world.peer, PEER4)
    assert uring(box, "mark", PEER4, listener.getsockname()[1]) == "ENOPROTOOPT"
    accepted = box.keep(listener.accept()[0])
    assert accepted.getpeername()[0] == HOST4
    assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
