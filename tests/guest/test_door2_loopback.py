# SPDX-License-Identifier: Apache-2.0
"""Door 2: inside the container, its own addresses reach what it serves through an endpoint."""

import socket
from errno import EADDRNOTAVAIL, ECONNREFUSED, EINVAL
from socket import SOCK_DGRAM, SOCK_STREAM

import pytest

from box import Box, endpoint_of, is_native
from expect import Sentinel, fails, receive
from tables import egress, ingress
from world import BOX4, BOX6, HOST4, HOST6

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
