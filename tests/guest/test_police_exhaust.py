# SPDX-License-Identifier: Apache-2.0
"""Tried from inside the container: taking all of the host's ports, sockets and memory."""

import os
import signal
import socket
import struct
import time
from errno import EADDRINUSE, EADDRNOTAVAIL, ENOBUFS
from socket import SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET

import pytest

from box import Box, state
from expect import eventually, fails
from kernelcalls import disconnect
from tables import egress, ingress
from uapi import U
from world import HOST4, HOST6, LAN4, PEER4

LIMIT = 24
_TIME_WAIT, _FIN_WAIT2 = "06", "05"


@pytest.fixture
def granted(box: Box) -> Box:
    box.endpoint("ep-out")
    box.endpoint("ep-6", HOST6)
    box.rules(egress("ep-out"), ingress("ep-out", port=0))
    box.table(max_ephemeral=LIMIT)
    return box


def ephemeral(box: Box) -> int:
    return int(box.writer.call(U.CMD_TABLE_GET, netns_fd=box.ns.fd)[0]["table"]["ephemeral"])


@pytest.mark.parametrize("how", ["bind", "connect", "send", "listen", "door1", "bound then connect"])
def test_ports(granted: Box, how: str) -> None:
    """Whatever takes a port of the kernel's choice is counted, and stops at the limit; the host goes on."""
    listener = granted.listener(granted.world.peer, PEER4)
    listener.listen(2 * LIMIT)
    server = granted.datagram(granted.world.peer, PEER4)

    def take() -> None:
        if how == "door1":
            granted.bound("ep-out", SOCK_DGRAM)
            return
        sock = granted.udp() if how == "send" else granted.tcp()
        if how == "bind":
            sock.bind(("0.0.0.0", 0))
        elif how == "connect":
            sock.connect(listener.getsockname())
        elif how == "send":
            sock.sendto(b"x", server.getsockname())
        elif how == "listen":
            sock.listen(1)
        else:
            granted.rules(egress("ep-out"))
            sock.bind(("0.0.0.0", 0))
            sock.connect(listener.getsockname())

    for _ in range(LIMIT):
        take()
    assert ephemeral(granted) == LIMIT
    for _ in range(3):
        with fails(ENOBUFS):
            take()
    assert ephemeral(granted) == LIMIT
    with granted.world.host.open_socket(socket.AF_INET, SOCK_STREAM) as plain:
        plain.bind((HOST4, 0))
    granted.close_sockets()
    assert ephemeral(granted) == 0
    assert granted.stats("ep-out")["denials"][U.REASON_MAX_EPHEMERAL] == 3


def test_families_and_protocols_share_the_limit(granted: Box) -> None:
    granted.rules(ingress("ep-out", "0.0.0.0/0", 0), ingress("ep-6", "::/0", 0))
    for number in range(LIMIT):
        address = "0.0.0.0" if number & 1 else "::"
        sock = granted.tcp(address) if number & 2 else granted.udp(address)
        sock.bind((address, 0))
    with fails(ENOBUFS):
        granted.udp("::").bind(("::", 0))


def test_closed_and_refused_sockets_give_back(granted: Box) -> None:
    """Many more attempts than the limit allows at once."""
    for number in range(3 * LIMIT):
        sock = granted.tcp()
        with fails(111):
            sock.connect((PEER4, 1))
        if number % 2:
            sock.close()
        else:
            granted.close_sockets()
    granted.close_sockets()
    assert ephemeral(granted) == 0


def test_reconnecting_takes_one_port_at_a_time(granted: Box) -> None:
    granted.table(max_ephemeral=1)
    listener = granted.listener(granted.world.peer, PEER4)
    sock = granted.tcp()
    for _ in range(5):
        sock.connect(listener.getsockname())
        listener.accept()[0].close()
        disconnect(sock.fileno())
    assert ephemeral(granted) == 1


def test_undecided_and_native_sockets_are_not_counted(granted: Box) -> None:
    granted.rules(egress("ep-out", LAN4))
    granted.table(max_sockets=1)
    for _ in range(10):
        sock = granted.udp()
        sock.bind(("127.0.0.1", 0))
    assert state(sock) == U.STATE_UNDECIDED
    assert granted.sockets() == []
    granted.bound("ep-out", SOCK_DGRAM)
    with fails(ENOBUFS):
        granted.bound("ep-out", SOCK_DGRAM)


def test_accepted_connections_count(granted: Box) -> None:
    """A connection that a listener was let in for is never refused, but leaves no room for more."""
    granted.endpoint("ep-http", HOST4, 8080)
    granted.table(max_sockets=3)
    server = granted.bound("ep-http", SOCK_STREAM)
    server.listen(16)
    clients = [granted.client(granted.world.peer, HOST4, 8080) for _ in range(4)]
    children = [granted.keep(server.accept()[0]) for _ in range(4)]
    assert len(granted.sockets()) == 5
    with fails(ENOBUFS):
        granted.bound("ep-out", SOCK_DGRAM)
    for client in clients:
        client.close()
    for child in children[:3]:
        child.close()
    granted.bound("ep-out", SOCK_DGRAM)


def test_a_range_ends_where_it_says(granted: Box) -> None:
    granted.endpoint("ep-range", HOST4, (7100, 7103))
    granted.rules(ingress("ep-range"))
    for port in range(7100, 7104):
        granted.tcp().bind(("0.0.0.0", port))
    for port in (7099, 7104):
        with fails(EADDRNOTAVAIL):
            granted.tcp().bind(("0.0.0.0", port))
    with fails(EADDRINUSE):
        granted.tcp().bind(("0.0.0.0", 7100))


def last_port(box: Box, door: str) -> socket.socket:
    """A stream that the limit leaves one port for, connected to ``box.world.peer``'s listener at port 80."""
    if door == "door1":
        sock = box.bound("ep-out", SOCK_STREAM)
    elif door == "bind":
        sock = box.tcp()
        sock.bind(("0.0.0.0", 0))
    else:
        sock = box.tcp()
    sock.connect((PEER4, 80))
    return sock


@pytest.fixture
def listener(granted: Box) -> socket.socket:
    granted.table(max_ephemeral=1)
    return granted.listener(granted.world.peer, PEER4, 80)


def connections(box: Box, port: int) -> list[str]:
    """The states of the host's connections at a local port."""
    with box.world.host, open("/proc/thread-self/net/tcp") as table:
        lines = [line.split() for line in table.readlines()[1:]]
    return [line[3] for line in lines if int(line[1].rpartition(":")[2], 16) == port]


def forgotten(box: Box, port: int) -> None:
    eventually(lambda: not connections(box, port), "the host has forgotten the connection")


LAST = pytest.mark.parametrize("door", ["door1", "bind", "connect"])
ENDS = pytest.mark.parametrize("end", [_TIME_WAIT, _FIN_WAIT2], ids=["time wait", "the peer stays"])


def outlived(box: Box, listener: socket.socket, door: str, end: str) -> int:
    """Close a connection of the box's first, so that the host alone still has it: its port."""
    sock = last_port(box, door)
    port = int(sock.getsockname()[1])
    child = box.keep(listener.accept()[0])
    box.close_sockets(listener, child)
    assert child.recv(1) == b""
    if end == _TIME_WAIT:
        child.close()
    eventually(lambda: connections(box, port) == [end], "the connection is the host's alone")
    return port


@ENDS
@pytest.mark.parametrize("door", ["door1", "bind"])
def test_a_port_that_outlives_its_socket(granted: Box, listener: socket.socket, door: str, end: str) -> None:
    """A port that was bound is nobody else's for so long: it counts, or a container takes them all one by one."""
    port = outlived(granted, listener, door, end)
    for _ in range(2):
        with fails(ENOBUFS):
            last_port(granted, door)
    assert connections(granted, port) == [end]
    assert granted.stats("ep-out")["denials"][U.REASON_MAX_EPHEMERAL] == 2


@ENDS
def test_a_port_that_a_connect_chose_is_others_as_well(granted: Box, listener: socket.socket, end: str) -> None:
    """The kernel gives it to whoever connects elsewhere, so only the living count: clients come and go by hundreds."""
    for _ in range(3):
        outlived(granted, listener, "connect", end)
        assert ephemeral(granted) == 0


if "GRAFT_STRESS_CYCLES" in os.environ:  # it takes a minute

    def test_a_port_comes_back_in_a_minute(granted: Box, listener: socket.socket) -> None:
        signal.alarm(120)
        outlived(granted, listener, "door1", _TIME_WAIT)
        with fails(ENOBUFS):
            last_port(granted, "door1")
        time.sleep(61)
        last_port(granted, "door1")


@LAST
def test_a_port_that_goes_with_its_socket(granted: Box, listener: socket.socket, door: str) -> None:
    """A connection that was reset leaves nothing, and its port is free at once."""
    for _ in range(5):
        sock = last_port(granted, door)
        child = listener.accept()[0]
        sock.setsockopt(SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))
        granted.close_sockets(listener)
        child.close()
        assert ephemeral(granted) == 0


@pytest.mark.parametrize("door", ["door1", "door2"])
def test_a_port_that_was_only_bound(granted: Box, door: str) -> None:
    granted.table(max_ephemeral=1)
    for _ in range(5):
        if door == "door1":
            granted.bound("ep-out", SOCK_STREAM)
        else:
            granted.tcp().bind(("0.0.0.0", 0))
        assert ephemeral(granted) == 1
        granted.close_sockets()
        assert ephemeral(granted) == 0


@LAST
def test_a_port_whose_peer_closed_first(granted: Box, listener: socket.socket, door: str) -> None:
    """The peer keeps what is left of the connection; the host's port is free as soon as that has answered."""
    for _ in range(3):
        sock = last_port(granted, door)
        port = sock.getsockname()[1]
        listener.accept()[0].close()
        assert sock.recv(1) == b""
        granted.close_sockets(listener)
        forgotten(granted, port)
        eventually(lambda: ephemeral(granted) == 0, "the port is given back")


def test_a_port_that_is_kept_by_a_connection_that_was_given_up(granted: Box, listener: socket.socket) -> None:
    """A socket that both ends have closed is disconnected, and the host still waits for its port."""
    sock = last_port(granted, "door1")
    port = sock.getsockname()[1]
    child = listener.accept()[0]
    sock.shutdown(socket.SHUT_WR)
    assert child.recv(1) == b""
    child.close()
    eventually(lambda: connections(granted, port) == [_TIME_WAIT], "the connection is the host's alone")
    disconnect(sock.fileno())
    granted.close_sockets(listener)
    with fails(ENOBUFS):
        last_port(granted, "door1")


def serve(box: Box, door: str) -> socket.socket:
    """A listener at a port that the kernel chooses."""
    if door == "door1":
        server = box.bound("ep-out", SOCK_STREAM)
    else:
        server = box.tcp()
        server.bind(("0.0.0.0", 0))
    server.listen(1)
    return server


SERVERS = pytest.mark.parametrize("door", ["door1", "door2"])


@SERVERS
@pytest.mark.parametrize("first", ["listener", "connection"])
def test_a_port_that_a_servers_connection_lingers_at(granted: Box, door: str, first: str) -> None:
    """It counts once the listener and its connection are closed, whichever went first."""
    granted.table(max_ephemeral=2)
    server = serve(granted, door)
    client = granted.client(granted.world.peer, *server.getsockname())
    child = granted.keep(server.accept()[0])
    granted.close_sockets(client, child if first == "listener" else server)
    granted.close_sockets(client)
    assert client.recv(1) == b""
    assert ephemeral(granted) == 1
    serve(granted, door)
    with fails(ENOBUFS):
        serve(granted, door)


@SERVERS
def test_a_port_that_outlives_its_listener(granted: Box, door: str) -> None:
    """An accepted connection keeps the listener's port, and goes on counting for it."""
    granted.table(max_ephemeral=1)
    for _ in range(3):
        server = serve(granted, door)
        client = granted.client(granted.world.peer, *server.getsockname())
        child = granted.keep(server.accept()[0])
        granted.close_sockets(client, child)
        for _ in range(2):
            with fails(ENOBUFS):
                serve(granted, door)
        child.setsockopt(SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))
        granted.close_sockets()
        assert ephemeral(granted) == 0
