# SPDX-License-Identifier: Apache-2.0
"""Door 2, IPPROTO_GRAFT: rules decide between grafted, native and refused; TCP."""

import socket
from errno import (
    EACCES,
    EADDRINUSE,
    ECONNREFUSED,
    EINVAL,
    ENETUNREACH,
    ENOTCONN,
    EPROTONOSUPPORT,
    ESOCKTNOSUPPORT,
)
from socket import AF_INET, AF_INET6, IPPROTO_IPV6, IPPROTO_TCP, IPV6_V6ONLY, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET

import pytest

import child as process
from box import Box, endpoint_of, is_native, state
from door1 import bind_name, inet
from expect import fails, receive
from tables import egress, ingress
from uapi import U
from world import BOX4, BOX6, FORBIDDEN, HOST4, HOST6, LAN4, LAN6, PEER4, PEER6, World

FAMILIES = pytest.mark.parametrize(("host", "peer"), [(HOST4, PEER4), (HOST6, PEER6)], ids=["v4", "v6"])
ANY: dict[int, str] = {AF_INET: "0.0.0.0", AF_INET6: "::"}


@pytest.mark.parametrize("family", [AF_INET, AF_INET6])
@pytest.mark.parametrize(("kind", "protocol"), [(SOCK_STREAM, 6), (SOCK_DGRAM, 17)])
def test_it_reads_as_the_program_expects(box: Box, family: int, kind: int, protocol: int) -> None:
    sock = box.open_socket(family, kind)
    tell = (socket.SO_DOMAIN, socket.SO_TYPE, socket.SO_PROTOCOL)
    assert [sock.getsockopt(SOL_SOCKET, option) for option in tell] == [family, kind, protocol]
    assert state(sock) == U.STATE_UNDECIDED
    assert sock.getsockname()[:2] == (ANY[family], 0)
    with fails(ENOTCONN):
        sock.getpeername()
    with fails(ENOTCONN):
        endpoint_of(sock)


def test_other_types_are_not_ours(box: Box) -> None:
    for family in (AF_INET, AF_INET6):
        with fails(ESOCKTNOSUPPORT, EPROTONOSUPPORT):
            box.open_socket(family, socket.SOCK_SEQPACKET)


@FAMILIES
def test_ingress(box: Box, host: str, peer: str) -> None:
    box.endpoint("ep-http", host, 80)
    box.rules(ingress("ep-http", port=8080))
    server = box.tcp(host)
    server.bind((ANY[server.family], 8080))
    assert (state(server), endpoint_of(server)) == (U.STATE_GRAFTED, "ep-http")
    server.listen(4)
    client = box.client(box.world.peer, host, 80)
    accepted, source = server.accept()
    box.keep(accepted)
    assert source[:2] == client.getsockname()[:2]
    assert accepted.getsockname()[:2] == server.getsockname()[:2] == (host, 80)
    accepted.sendall(b"hello")
    assert receive(client) == b"hello"
    assert (state(accepted), endpoint_of(accepted)) == (U.STATE_GRAFTED, "ep-http")


@FAMILIES
def test_egress(box: Box, host: str, peer: str) -> None:
    box.endpoint("ep-out", host)
    box.rules(egress("ep-out", LAN4), egress("ep-out", LAN6))
    listener = box.listener(box.world.peer, peer)
    sock = box.tcp(peer)
    sock.connect(listener.getsockname())
    accepted, source = listener.accept()
    box.keep(accepted)
    assert source[:2] == sock.getsockname()[:2]
    assert source[0] == host
    assert endpoint_of(sock) == "ep-out"
    accepted.sendall(b"hello")
    assert receive(sock) == b"hello"


@FAMILIES
def test_without_a_rule_it_is_native(box: Box, host: str, peer: str) -> None:
    own = BOX4 if host == HOST4 else BOX6
    box.endpoint("ep-out", host)
    box.rules(egress("ep-out", "10.10.0.0/24"), egress("ep-out", "fd00:10::/64"))
    server = box.tcp(own)
    server.setsockopt(SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    server.setsockopt(IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server.setsockopt(SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((own, 8080))
    assert state(server) == U.STATE_UNDECIDED
    server.listen(4)
    assert is_native(server)
    assert [server.getsockopt(SOL_SOCKET, option) for option in (socket.SO_KEEPALIVE, socket.SO_REUSEADDR)] == [1, 1]
    assert server.getsockopt(IPPROTO_TCP, socket.TCP_NODELAY)
    client = box.tcp(own)
    client.connect((own, 8080))
    assert is_native(client)
    accepted = box.keep(server.accept()[0])
    assert is_native(accepted)
    client.sendall(b"hello")
    assert receive(accepted) == b"hello"
    assert box.sockets() == []


def test_a_native_socket_has_the_containers_network_only(box: Box, watched: World) -> None:
    sock = box.tcp()
    with fails(ENETUNREACH):
        sock.connect((PEER4, FORBIDDEN))
    assert is_native(sock)


def test_listen_without_bind_is_native(box: Box) -> None:
    box.endpoint("ep")
    box.rules(ingress("ep"), egress("ep"))
    sock = box.tcp()
    sock.listen(1)
    assert is_native(sock)
    client = box.client(box.ns, "127.0.0.1", sock.getsockname()[1])
    assert box.keep(sock.accept()[0]).getpeername() == client.getsockname()


def test_port_taken(box: Box) -> None:
    box.listener(box.world.host, HOST4, 8081)
    box.endpoint("ep", HOST4, (8081, 8082))
    box.rules(ingress("ep"))
    sock = box.tcp()
    with fails(EADDRINUSE):
        sock.bind((BOX4, 8081))
    assert state(sock) == U.STATE_UNDECIDED
    sock.bind((BOX4, 8082))
    assert sock.getsockname() == (HOST4, 8082)


def test_second_bind(box: Box) -> None:
    box.endpoint("ep")
    box.rules(ingress("ep", port=8080))
    sock = box.tcp()
    sock.bind((BOX4, 8080))
    with fails(EINVAL):
        sock.bind((BOX4, 8080))
    native = box.tcp()
    native.bind((BOX4, 8081))
    with fails(EINVAL):
        native.bind((BOX4, 8080))
    assert len(box.sockets()) == 1


def test_port_zero(box: Box) -> None:
    box.endpoint("ep")
    box.rules(ingress("ep"))
    plain = box.tcp()
    plain.bind((BOX4, 0))
    assert state(plain) == U.STATE_UNDECIDED
    box.rules(ingress("ep", port=0))
    sock = box.tcp()
    sock.bind((BOX4, 0))
    assert endpoint_of(sock) == "ep"
    port = sock.getsockname()[1]
    assert port
    sock.listen(1)
    box.client(box.world.peer, HOST4, port)
    box.keep(sock.accept()[0])


@FAMILIES
def test_bound_first_then_grafted_by_its_destination(box: Box, host: str, peer: str) -> None:
    """The port stays; the container gets its own port back."""
    box.endpoint("ep-out", host)
    box.rules(egress("ep-out"))
    listener = box.listener(box.world.peer, peer)
    for wanted in (0, 41234):
        sock = box.tcp(peer)
        sock.bind((ANY[sock.family], wanted))
        assert state(sock) == U.STATE_UNDECIDED
        port = sock.getsockname()[1]
        sock.connect(listener.getsockname())
        accepted, source = listener.accept()
        box.keep(accepted)
        assert source[:2] == (host, port) == sock.getsockname()[:2]
        again = box.open_socket(sock.family, SOCK_STREAM, 0)
        again.bind((ANY[sock.family], port))


def test_a_fixed_port_is_the_source_port(box: Box) -> None:
    box.endpoint("ep-out", HOST4, 9999)
    box.rules(egress("ep-out"))
    listener = box.listener(box.world.peer, PEER4)
    sock = box.tcp()
    sock.connect(listener.getsockname())
    accepted, source = listener.accept()
    box.keep(accepted)
    assert source == (HOST4, 9999)


def test_a_failed_connect_can_be_tried_elsewhere(box: Box) -> None:
    box.endpoint("ep-out")
    box.rules(egress("ep-out"))
    listener = box.listener(box.world.peer, PEER4)
    sock = box.tcp()
    with fails(ECONNREFUSED):
        sock.connect((PEER4, 1))
    sock.connect(listener.getsockname())
    box.keep(listener.accept()[0])


def test_an_ipv6_program_on_an_ipv4_endpoint_sees_mapped_addresses(box: Box) -> None:
    box.endpoint("ep-http", HOST4, 8080)
    box.endpoint("ep-out", HOST4)
    box.rules(ingress("ep-http", port=8080), egress("ep-out", LAN4))
    server = box.tcp("::")
    server.bind(("::", 8080))
    server.listen(1)
    assert server.getsockname()[:2] == (f"::ffff:{HOST4}", 8080)
    client = box.client(box.world.peer, HOST4, 8080)
    accepted, source = server.accept()
    box.keep(accepted)
    assert source[:2] == (f"::ffff:{PEER4}", client.getsockname()[1])
    assert accepted.getsockopt(SOL_SOCKET, socket.SO_DOMAIN) == AF_INET6
    listener = box.listener(box.world.peer, PEER4)
    sock = box.tcp("::")
    sock.connect((f"::ffff:{PEER4}", listener.getsockname()[1]))
    box.keep(listener.accept()[0])
    assert sock.getsockname()[0] == f"::ffff:{HOST4}"
    assert sock.getpeername()[0] == f"::ffff:{PEER4}"


@pytest.mark.parametrize(
    ("family", "only", "endpoint"), [(AF_INET6, 1, HOST4), (AF_INET, 0, HOST6)], ids=["v6only", "v4"]
)
def test_a_family_that_the_endpoint_cannot_serve_stays_native(box: Box, family: int, only: int, endpoint: str) -> None:
    box.endpoint("ep", endpoint, 8080)
    box.rules(ingress("ep", port=8080))
    sock = box.open_socket(family, SOCK_STREAM)
    if only:
        sock.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
    sock.bind((ANY[family], 8080))
    sock.listen(1)
    assert is_native(sock)
    box.client(box.ns, "::1" if family == AF_INET6 else "127.0.0.1", 8080)
    box.keep(sock.accept()[0])


def test_reuseport_group_of_one_endpoint(box: Box) -> None:
    box.endpoint("ep-http", HOST4, 8080)
    box.rules(ingress("ep-http", port=8080))
    servers = [box.tcp() for _ in range(3)]
    for server in servers:
        server.setsockopt(SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind((BOX4, 8080))
        server.listen(16)
        server.setblocking(False)
    for _ in range(24):
        box.client(box.world.peer, HOST4, 8080)
    served = [0, 0, 0]
    for index, server in enumerate(servers):
        while True:
            try:
                box.keep(server.accept()[0])
            except BlockingIOError:
                break
            served[index] += 1
    assert sum(served) == 24
    assert sum(1 for count in served if count) > 1


def test_privileged_ports_need_no_capability(box: Box) -> None:
    box.endpoint("ep-http", HOST4, 80)
    box.rules(ingress("ep-http", port=80))

    def serve(door: int) -> object:
        process.keep_capabilities(set())
        with socket.socket(AF_INET, SOCK_STREAM) as plain, fails(EACCES):
            plain.bind((BOX4, 81))
        if door == 2:
            sock = socket.socket(AF_INET, SOCK_STREAM, U.IPPROTO_GRAFT)
            sock.bind((BOX4, 80))
        else:
            named = socket.socket(U.AF_GRAFT, SOCK_STREAM)
            bind_name(named, "ep-http")
            sock = inet(named)
        sock.listen(1)
        return sock.getsockname()

    with box.ns:
        for door in (1, 2):
            assert process.run(serve, door) == (HOST4, 80)
