# SPDX-License-Identifier: Apache-2.0
"""Tried from inside the container: sharing a port with a daemon of the host, or with another container.

Sharing goes by uid, and the uid is the same on both sides.
"""

import socket
from errno import EACCES, EADDRINUSE, EAGAIN, ENOPROTOOPT, EOPNOTSUPP
from socket import SO_REUSEADDR, SO_REUSEPORT, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET

import pytest

from box import Box
from conftest import need_sol_socket
from door1 import bind_name, inet
from expect import fails
from netns import Namespace
from tables import ingress
from world import HOST4, HOST6, family_of

PORT = 8080
KINDS = pytest.mark.parametrize("kind", [SOCK_STREAM, SOCK_DGRAM], ids=["tcp", "udp"])
ADDRESSES = pytest.mark.parametrize("address", [HOST4, HOST6], ids=["v4", "v6"])
DOORS = pytest.mark.parametrize("door", [1, 2], ids=["door1", "door2"])
REFUSED = (EADDRINUSE, EACCES, EOPNOTSUPP)


def attack(box: Box, door: int, kind: int, address: str, option: int) -> socket.socket:
    """A socket of the container that would share the port of ``address``."""
    box.endpoint("ep", address, PORT, flags=0x500)
    box.rules(ingress("ep", port=PORT))
    if door == 1:
        need_sol_socket(box.writer)
        named = box.door1(kind)
        named.setsockopt(SOL_SOCKET, option, 1)
        bind_name(named, "ep")
        sock: socket.socket = box.keep(inet(named))
    else:
        sock = box.open_socket(family_of(address), kind)
        sock.setsockopt(SOL_SOCKET, option, 1)
        sock.bind(("::" if ":" in address else "0.0.0.0", PORT))
    if kind == SOCK_STREAM:
        sock.listen(16)
    return sock


def daemon(box: Box, kind: int, address: str, option: int | None) -> socket.socket:
    """A daemon of the host; with an option, it shares its port with whom it trusts."""
    sock: socket.socket = box.keep(box.world.host.open_socket(family_of(address), kind))
    if option is not None:
        sock.setsockopt(SOL_SOCKET, option, 1)
    sock.bind((address, PORT))
    if kind == SOCK_STREAM:
        sock.listen(64)
    sock.setblocking(False)
    return sock


def traffic(box: Box, peer: Namespace, kind: int, address: str, count: int = 16) -> None:
    """Clients of the peer, from ``count`` ports."""
    for _ in range(count):
        sock = box.keep(peer.open_socket(family_of(address), kind))
        sock.connect((address, PORT))
        sock.send(b"x")


def received(sock: socket.socket, kind: int) -> int:
    """How many clients a server sees."""
    seen = 0
    while True:
        try:
            sock.accept()[0].close() if kind == SOCK_STREAM else sock.recv(1)
        except BlockingIOError:
            return seen
        seen += 1


@DOORS
@KINDS
@ADDRESSES
@pytest.mark.parametrize("wildcard", [False, True], ids=["address", "wildcard"])
def test_joining_a_daemon_of_the_host(box: Box, door: int, kind: int, address: str, wildcard: bool) -> None:
    bound = ("::" if ":" in address else "0.0.0.0") if wildcard else address
    server = daemon(box, kind, bound, SO_REUSEPORT)
    with fails(*REFUSED):
        attack(box, door, kind, address, SO_REUSEPORT)
    traffic(box, box.world.peer, kind, address)
    assert received(server, kind) == 16


@DOORS
@ADDRESSES
def test_taking_a_daemons_datagrams_by_reuseaddr(box: Box, door: int, address: str) -> None:
    """UDP gives what arrives to the last who bound."""
    server = daemon(box, SOCK_DGRAM, address, SO_REUSEADDR)
    with fails(*REFUSED):
        attack(box, door, SOCK_DGRAM, address, SO_REUSEADDR)
    traffic(box, box.world.peer, SOCK_DGRAM, address)
    assert received(server, SOCK_DGRAM) == 16


@DOORS
@KINDS
@ADDRESSES
def test_waiting_for_a_daemon_that_does_not_share(box: Box, door: int, kind: int, address: str) -> None:
    attack(box, door, kind, address, SO_REUSEPORT)
    with fails(EADDRINUSE):
        daemon(box, kind, address, None)


@KINDS
def test_a_daemon_that_shares_joins_a_container(box: Box, kind: int) -> None:
    """The limit that SECURITY.md states: a daemon of the same uid that asks for it joins a group begun by a container.

    Its bind passes nothing of the module's, and the kernel goes by uid alone.
    """
    server = attack(box, 2, kind, HOST4, SO_REUSEPORT)
    server.setblocking(False)
    second = daemon(box, kind, HOST4, SO_REUSEPORT)
    traffic(box, box.world.peer, kind, HOST4)
    assert received(server, kind) + received(second, kind) == 16


@DOORS
@ADDRESSES
def test_waiting_for_a_daemon_with_reuseaddr(box: Box, door: int, address: str) -> None:
    attack(box, door, SOCK_DGRAM, address, SO_REUSEADDR)
    with fails(EADDRINUSE):
        daemon(box, SOCK_DGRAM, address, SO_REUSEADDR)


@DOORS
@ADDRESSES
def test_sharing_by_reuseaddr_is_the_containers_own(box: Box, other: Box, door: int, address: str) -> None:
    """As iperf3's server does: it connects its socket and binds another beside it. Nobody else gets in."""
    first = attack(box, door, SOCK_DGRAM, address, SO_REUSEADDR)
    client = box.keep(box.world.peer.open_socket(family_of(address), SOCK_DGRAM))
    client.connect((address, PORT))
    client.send(b"hello")
    data, sender = first.recvfrom(16)
    first.connect(sender)
    second = attack(box, door, SOCK_DGRAM, address, SO_REUSEADDR)
    client.send(b"more")
    assert (data, first.recv(16)) == (b"hello", b"more")
    traffic(box, box.world.peer, SOCK_DGRAM, address, 1)
    assert second.recv(16) == b"x"
    with fails(EADDRINUSE):
        daemon(box, SOCK_DGRAM, address, SO_REUSEADDR)
    with fails(*REFUSED):
        attack(other, door, SOCK_DGRAM, address, SO_REUSEADDR)
    first.close()
    with fails(EADDRINUSE):
        daemon(box, SOCK_DGRAM, address, SO_REUSEADDR)


@DOORS
@pytest.mark.parametrize(
    ("kind", "option"), [(SOCK_STREAM, SO_REUSEPORT), (SOCK_DGRAM, SO_REUSEPORT), (SOCK_DGRAM, SO_REUSEADDR)]
)
def test_turning_sharing_on_after_the_bind(box: Box, door: int, kind: int, option: int) -> None:
    """A container that seems to hold a port for itself cannot open it to a daemon later."""
    need_sol_socket(box.writer)
    box.endpoint("ep", HOST4, PORT)
    box.rules(ingress("ep", port=PORT))
    if door == 1:
        sock = box.bound("ep", kind)
    else:
        sock = box.open_socket(socket.AF_INET, kind)
        sock.bind(("0.0.0.0", PORT))
    with fails(ENOPROTOOPT):
        sock.setsockopt(SOL_SOCKET, option, 1)
    with fails(EADDRINUSE):
        daemon(box, kind, HOST4, option)


@DOORS
@KINDS
@ADDRESSES
def test_joining_another_container(box: Box, other: Box, door: int, kind: int, address: str) -> None:
    server = attack(other, door, kind, address, SO_REUSEPORT)
    server.setblocking(False)
    with fails(*REFUSED):
        attack(box, door, kind, address, SO_REUSEPORT)
    traffic(box, box.world.peer, kind, address)
    assert received(server, kind) == 16


@KINDS
def test_joining_another_endpoint_of_the_same_container(box: Box, kind: int) -> None:
    """Two endpoints at one address and port are two grants."""
    need_sol_socket(box.writer)
    server = attack(box, 2, kind, HOST4, SO_REUSEPORT)
    server.setblocking(False)
    box.endpoint("ep-twin", HOST4, PORT)
    twin = box.door1(kind)
    twin.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1)
    with fails(*REFUSED):
        bind_name(twin, "ep-twin")
    traffic(box, box.world.peer, kind, HOST4)
    assert received(server, kind) == 16


@KINDS
def test_the_port_is_free_again_afterwards(box: Box, kind: int) -> None:
    """A refused attempt holds nothing."""
    server = daemon(box, kind, HOST4, SO_REUSEPORT)
    with fails(*REFUSED):
        attack(box, 2, kind, HOST4, SO_REUSEPORT)
    second = daemon(box, kind, HOST4, SO_REUSEPORT)
    server.close()
    second.close()
    attack(box, 2, kind, HOST4, SO_REUSEPORT).setblocking(False)
    assert box.stats("ep")["active"] == 1


def test_a_restarted_server_may_bind_again(box: Box) -> None:
    """What SO_REUSEADDR is for: connections of the last run linger in TIME_WAIT."""
    server = attack(box, 2, SOCK_STREAM, HOST4, SO_REUSEADDR)
    client = box.client(box.world.peer, HOST4, PORT)
    accepted, _ = server.accept()
    accepted.close()
    assert client.recv(1) == b""
    client.close()
    server.close()
    again = attack(box, 2, SOCK_STREAM, HOST4, SO_REUSEADDR)
    again.setblocking(False)
    with fails(EAGAIN):
        again.accept()
