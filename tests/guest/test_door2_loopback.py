# SPDX-License-Identifier: Apache-2.0
"""Door 2: inside the container, its own addresses reach what it serves through an endpoint."""

import socket
from errno import EACCES, EADDRNOTAVAIL, ECONNABORTED, ECONNREFUSED, EINVAL, EOPNOTSUPP, EPIPE
from socket import SOCK_DGRAM, SOCK_STREAM

import pytest

from box import Box, endpoint_of, is_native, state
from expect import Sentinel, fails, receive
from kernelcalls import disconnect
from tables import egress, ingress
from uapi import U
from world import BOX4, BOX6, FORBIDDEN, HOST4, HOST6, PEER4, PEER6, World

_MSG_FASTOPEN = 0x20000000

PATHS = pytest.mark.parametrize(
    ("host", "own"),
    [(HOST4, "127.0.0.1"), (HOST4, BOX4), (HOST6, "::1"), (HOST6, BOX6)],
    ids=["lo4", "own4", "lo6", "own6"],
)


def serve(box: Box, kind: int, host: str, any_address: str = "") -> socket.socket:
    """A server of the container at port 8080, which is the host's port 80."""
    box.endpoint("ep-http", host, 80)
    box.rules(ingress("ep-http", port=8080))
    any_address = any_address or ("::" if ":" in host else "0.0.0.0")
    server = box.open_socket(socket.AF_INET6 if ":" in any_address else socket.AF_INET, kind)
    if kind == SOCK_STREAM:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((any_address, 8080))
    if kind == SOCK_STREAM:
        server.listen(4)
    return server


@PATHS
def test_tcp(box: Box, host: str, own: str) -> None:
    server = serve(box, SOCK_STREAM, host)
    client = box.tcp(own)
    client.connect((own, 8080))
    accepted, source = server.accept()
    box.keep(accepted)
    assert source[:2] == client.getsockname()[:2]
    client.sendall(b"health")
    assert receive(accepted) == b"health"
    accepted.sendall(b"fine")
    assert receive(client) == b"fine"


@PATHS
def test_udp(box: Box, host: str, own: str) -> None:
    server = serve(box, SOCK_DGRAM, host)
    connected, addressed = box.udp(own), box.udp(own)
    connected.connect((own, 8080))
    connected.send(b"one")
    data, source = server.recvfrom(64)
    assert data == b"one"
    server.sendto(b"answer one", source)
    assert receive(connected) == b"answer one"
    addressed.sendto(b"two", (own, 8080))
    data, source = server.recvfrom(64)
    assert data == b"two"
    server.sendto(b"answer two", source)
    assert receive(addressed) == b"answer two"


@pytest.mark.parametrize("own", ["127.0.0.1", "::1", "::ffff:127.0.0.1", BOX6])
def test_a_dual_stack_server_on_an_ipv4_endpoint(box: Box, own: str) -> None:
    server = serve(box, SOCK_STREAM, HOST4, "::")
    client = box.tcp(own)
    client.connect((own, 8080))
    accepted = box.keep(server.accept()[0])
    client.sendall(b"health")
    assert receive(accepted) == b"health"


def test_nonblocking(box: Box) -> None:
    server = serve(box, SOCK_STREAM, HOST4)
    client = box.tcp()
    client.setblocking(False)
    assert client.connect_ex(("127.0.0.1", 8080)) in (0, 115)
    accepted = box.keep(server.accept()[0])
    accepted.sendall(b"fine")
    assert receive(client) == b"fine"


def test_only_the_port_that_was_asked_for(box: Box) -> None:
    """The host's port is not the container's, nor is the host's loopback."""
    box.listener(box.world.host, "127.0.0.1", 81)
    serve(box, SOCK_STREAM, HOST4)
    for port in (80, 81, 8081):
        client = box.tcp()
        with fails(ECONNREFUSED):
            client.connect(("127.0.0.1", port))
        assert is_native(client)


def test_another_protocol_is_another_port(box: Box) -> None:
    serve(box, SOCK_DGRAM, HOST4)
    with fails(ECONNREFUSED):
        box.tcp().connect(("127.0.0.1", 8080))


def test_a_closed_server_is_not_reached(box: Box) -> None:
    server = serve(box, SOCK_STREAM, HOST4)
    server.close()
    plain = box.listener(box.ns, "127.0.0.1", 8080)
    client = box.tcp()
    client.connect(("127.0.0.1", 8080))
    assert is_native(client)
    box.keep(plain.accept()[0])


def test_another_boxs_server_is_not_reached(box: Box, other: Box) -> None:
    serve(other, SOCK_STREAM, HOST4)
    with fails(ECONNREFUSED):
        box.tcp().connect(("127.0.0.1", 8080))


def test_a_native_listener_beside_it_is_reached(box: Box) -> None:
    serve(box, SOCK_STREAM, HOST4)
    plain = box.listener(box.ns, "127.0.0.1", 9090)
    client = box.tcp()
    client.connect(("127.0.0.1", 9090))
    assert box.keep(plain.accept()[0]).getpeername() == client.getsockname()


def test_door1s_server_has_the_hosts_port(box: Box) -> None:
    box.endpoint("ep-http", HOST4, 8080)
    server = box.bound("ep-http", SOCK_STREAM)
    server.listen(1)
    client = box.tcp()
    client.connect(("127.0.0.1", 8080))
    box.keep(server.accept()[0]).sendall(b"fine")
    assert receive(client) == b"fine"


def test_the_host_address_by_an_egress_rule(box: Box) -> None:
    """The port that an endpoint holds is reachable by its true address too."""
    server = serve(box, SOCK_STREAM, HOST4)
    box.endpoint("ep-out")
    box.rules(ingress("ep-http", port=8080), egress("ep-out", HOST4))
    client = box.tcp()
    client.connect((HOST4, 80))
    assert endpoint_of(client) == "ep-out"
    box.keep(server.accept()[0]).sendall(b"fine")
    assert receive(client) == b"fine"


@pytest.mark.parametrize("kind", [SOCK_STREAM, SOCK_DGRAM], ids=["tcp", "udp"])
@pytest.mark.parametrize("asked", ["::ffff:0.0.0.0", "::ffff:127.0.0.1", "::"])
def test_a_daemon_of_the_hosts_loopback_is_not_reached(box: Box, kind: int, asked: str) -> None:
    """An IPv6-only server does not take IPv4's place, whatever it asked for: the host's 127.0.0.1 is another's."""
    daemon = box.keep(Sentinel(box.world.host, 8080, "127.0.0.1"))
    box.endpoint("ep", "::", 8080)
    box.rules(ingress("ep", port=8080))
    server = box.open_socket(socket.AF_INET6, kind)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        server.bind((asked, 8080))
        if kind == SOCK_STREAM:
            server.listen(4)
    except OSError as error:
        assert error.errno in {EINVAL, EADDRNOTAVAIL}
    for destination in ("127.0.0.1", BOX4, "::ffff:127.0.0.1"):
        client = box.open_socket(socket.AF_INET6 if ":" in destination else socket.AF_INET, kind)
        if kind == SOCK_STREAM:
            with fails(ECONNREFUSED):
                client.connect((destination, 8080))
        else:
            client.sendto(b"x", (destination, 8080))
        assert is_native(client)
    daemon.check(box.world.host, "127.0.0.1")


@PATHS
@pytest.mark.parametrize("kind", [SOCK_STREAM, SOCK_DGRAM], ids=["tcp", "udp"])
def test_a_client_of_its_own_server_reaches_nothing_else(
    box: Box, watched: World, kind: int, host: str, own: str
) -> None:
    """It stands in the host to reach that one port, and has no grant for more: neither out, nor to be reached."""
    server = serve(box, kind, host)
    peer = PEER6 if ":" in host else PEER4
    box.rules(ingress("ep-http", port=8080), egress("ep-http"))
    client = box.open_socket(server.family, kind)
    client.connect((own, 8080))
    elsewhere = [(one, FORBIDDEN) for one in (peer, host, own)] + [(own, 80), (host, 80)]
    for again in range(2):
        disconnect(client.fileno())
        for to in elsewhere:
            with fails(EACCES):
                client.connect(to)
            if kind == SOCK_DGRAM:
                with fails(EACCES):
                    client.sendto(b"x", to)
            else:
                with fails(EOPNOTSUPP):
                    client.sendto(b"x", _MSG_FASTOPEN | socket.MSG_NOSIGNAL, to)
        if kind == SOCK_STREAM and again:
            with fails(EACCES):
                client.listen(1)
        with fails(EINVAL):
            client.bind((own, 0))
        client.connect((own, 8080))
    if kind == SOCK_DGRAM:
        client.send(b"still")
        assert receive(server) == b"still"
    server.close()
    daemon = box.keep(Sentinel(box.world.host, 80, host))
    disconnect(client.fileno())
    with fails(EACCES):
        client.connect((own, 8080))
    daemon.check(box.world.host if host in {HOST4, HOST6} else box.world.peer, host)


@PATHS
@pytest.mark.parametrize("kind", [SOCK_STREAM, SOCK_DGRAM], ids=["tcp", "udp"])
def test_the_servers_end_ends_its_clients(box: Box, kind: int, host: str, own: str) -> None:
    """A client of its own server depends on the server's endpoint, and goes with it."""
    server = serve(box, kind, host)
    client = box.open_socket(server.family, kind)
    client.connect((own, 8080))
    assert [shown["endpoint"] for shown in box.sockets()] == ["ep-http"] * 2
    assert box.delete("ep-http", abort=True) == 2
    assert state(client) == U.STATE_REVOKED
    for attempt in (lambda: client.send(b"x"), lambda: client.connect((own, 8080))):
        with fails(EACCES, EPIPE, ECONNABORTED):
            attempt()
