# SPDX-License-Identifier: Apache-2.0
"""Door 1, AF_GRAFT: servers, clients and datagrams through a name."""

import os
import socket
import struct
from errno import (
    EADDRINUSE,
    EADDRNOTAVAIL,
    EDESTADDRREQ,
    EINVAL,
    ENOBUFS,
    ENOTCONN,
    EOPNOTSUPP,
    EPIPE,
    EPROTONOSUPPORT,
    ESOCKTNOSUPPORT,
)
from socket import SOCK_DGRAM, SOCK_STREAM

import pytest

from box import Box, endpoint_of, state
from conftest import need_sol_socket
from door1 import bind_name, getsockname_raw, inet
from expect import eventually, fails, receive
from graftnl import Graft
from netns import Namespace
from uapi import U
from world import HOST4, HOST6, PEER4, PEER6, World

LANS = pytest.mark.parametrize(("host", "peer"), [(HOST4, PEER4), (HOST6, PEER6)], ids=["v4", "v6"])


def test_the_family_number_is_published(world: World) -> None:
    info = world.writer.call(U.CMD_INFO_GET)[0]["info"]
    assert info["family"] == U.AF_GRAFT
    assert info["version"]


@pytest.mark.parametrize(("kind", "protocol"), [(SOCK_STREAM, 6), (SOCK_DGRAM, 17)])
def test_the_protocol_of_the_type_is_accepted(box: Box, kind: int, protocol: int) -> None:
    box.endpoint("ep")
    sock = box.door1(kind, protocol)
    bind_name(sock, "ep")
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL) == protocol


@pytest.mark.parametrize(
    ("kind", "protocol"), [(SOCK_STREAM, 17), (SOCK_DGRAM, 6), (SOCK_STREAM, 254), (SOCK_DGRAM, 58)]
)
def test_another_protocol_is_refused(box: Box, kind: int, protocol: int) -> None:
    with fails(EPROTONOSUPPORT):
        box.door1(kind, protocol)


@pytest.mark.parametrize("kind", [socket.SOCK_RAW, socket.SOCK_SEQPACKET, socket.SOCK_RDM])
def test_another_type_is_refused(box: Box, kind: int) -> None:
    with fails(ESOCKTNOSUPPORT):
        box.door1(kind)


@LANS
def test_server(box: Box, host: str, peer: str) -> None:
    box.endpoint("ep-http", host, 8080)
    server = box.bound("ep-http", SOCK_STREAM)
    server.listen(4)
    assert server.getsockname()[:2] == (host, 8080)
    client = box.client(box.world.peer, host, 8080)
    child, source = server.accept()
    box.keep(child)
    assert source[:2] == client.getsockname()[:2]
    client.sendall(b"to the container")
    assert receive(child) == b"to the container"
    child.sendall(b"to the peer")
    assert receive(client) == b"to the peer"
    assert child.getsockname()[:2] == (host, 8080)
    assert child.getpeername()[:2] == client.getsockname()[:2]
    assert endpoint_of(child) == "ep-http"
    client.close()
    assert receive(child) == b""


@LANS
def test_client_from_any_port(box: Box, host: str, peer: str) -> None:
    box.endpoint("ep-out", host)
    listener = box.listener(box.world.peer, peer)
    sock = box.bound("ep-out", SOCK_STREAM)
    port = sock.getsockname()[1]
    assert port
    sock.connect(listener.getsockname())
    child, source = listener.accept()
    box.keep(child)
    assert source[:2] == (host, port) == sock.getsockname()[:2]
    assert sock.getpeername()[:2] == listener.getsockname()[:2]
    sock.sendall(b"hello")
    assert receive(child) == b"hello"


@LANS
def test_datagrams(box: Box, host: str, peer: str) -> None:
    box.endpoint("ep-dns", host, 5353, "udp")
    server = box.bound("ep-dns", SOCK_DGRAM)
    client = box.datagram(box.world.peer, peer)
    client.sendto(b"question", (host, 5353))
    data, source = server.recvfrom(64)
    assert (data, source[:2]) == (b"question", client.getsockname()[:2])
    server.sendto(b"answer", source)
    data, source = client.recvfrom(64)
    assert (data, source[:2]) == (b"answer", (host, 5353))
    server.connect(client.getsockname())
    server.send(b"more")
    assert receive(client) == b"more"


def test_the_host_holds_the_port(box: Box) -> None:
    box.endpoint("ep")
    port = box.bound("ep", SOCK_STREAM).getsockname()[1]
    with box.world.host.open_socket(socket.AF_INET, SOCK_STREAM) as plain, fails(EADDRINUSE):
        plain.bind((HOST4, port))


def test_the_dump_shows_it(box: Box) -> None:
    box.endpoint("ep-http", HOST4, 8080)
    server = box.bound("ep-http", SOCK_STREAM)
    server.listen(1)
    (shown,) = box.sockets()
    assert shown["endpoint"] == "ep-http"
    assert (shown["family"], shown["type"], shown["protocol"]) == (socket.AF_INET, SOCK_STREAM, socket.IPPROTO_TCP)
    assert (shown["local_address"], shown["local_port"]) == (socket.inet_aton(HOST4), 8080)
    assert shown["inode"] == os.fstat(server.fileno()).st_ino
    assert shown["cookie"] == struct.unpack("=Q", server.getsockopt(socket.SOL_SOCKET, 57, 8))[0]
    assert (shown["uid"], shown["door"], shown["state"]) == (os.getuid(), 1, 10)
    assert shown["target_cookie"] == box.world.host.cookie
    box.close_sockets()
    assert box.sockets() == []


def test_a_range_gives_one_of_its_ports_until_all_are_taken(box: Box) -> None:
    box.endpoint("ep", HOST4, (7000, 7003))
    taken = {box.bound("ep", SOCK_STREAM).getsockname()[1] for _ in range(4)}
    assert taken == {7000, 7001, 7002, 7003}
    with fails(EADDRINUSE):
        box.bound("ep", SOCK_STREAM)


def test_port_taken_in_the_host(box: Box) -> None:
    holder = box.listener(box.world.host, HOST4, 8081)
    box.endpoint("ep", HOST4, 8081)
    box.endpoint("ep-free", HOST4, 8082)
    sock = box.door1(SOCK_STREAM)
    with fails(EADDRINUSE):
        bind_name(sock, "ep")
    assert state(sock) == U.STATE_UNDECIDED
    bind_name(sock, "ep-free")
    assert inet(sock).getsockname() == (HOST4, 8082)
    holder.close()
    assert box.bound("ep", SOCK_STREAM).getsockname() == (HOST4, 8081)


def test_address_that_the_host_lacks(box: Box) -> None:
    box.endpoint("ep", "10.99.0.1", 8080)
    with fails(EADDRNOTAVAIL):
        box.bound("ep", SOCK_STREAM)
    assert box.sockets() == []


def test_unknown_endpoint_then_a_known_one(box: Box) -> None:
    sock = box.door1(SOCK_STREAM)
    with fails(EADDRNOTAVAIL):
        bind_name(sock, "ep")
    assert state(sock) == U.STATE_UNDECIDED
    box.endpoint("ep", HOST4, 8080)
    bind_name(sock, "ep")
    assert (state(sock), endpoint_of(sock)) == (U.STATE_GRAFTED, "ep")


def test_another_boxs_endpoint_is_unknown(box: Box, other: Box) -> None:
    other.endpoint("ep")
    with fails(EADDRNOTAVAIL):
        box.bound("ep", SOCK_STREAM)


def test_a_protocol_that_the_endpoint_does_not_serve(box: Box) -> None:
    box.endpoint("ep-tcp", proto="tcp")
    box.endpoint("ep-udp", proto="udp")
    for name, kind in (("ep-udp", SOCK_STREAM), ("ep-tcp", SOCK_DGRAM)):
        with fails(EADDRNOTAVAIL):
            box.bound(name, kind)
    box.bound("ep-tcp", SOCK_STREAM)
    box.bound("ep-udp", SOCK_DGRAM)


def test_second_bind_changes_nothing(box: Box) -> None:
    box.endpoint("ep", HOST4, 8080)
    box.endpoint("ep-other", HOST4, 8081)
    sock = box.door1(SOCK_STREAM)
    bind_name(sock, "ep")
    copy = box.keep(sock.dup())
    for descriptor in (sock, copy):
        for name in ("ep", "ep-other"):
            with fails(EINVAL):
                bind_name(descriptor, name)
    with fails(EINVAL):
        inet(sock).bind((HOST4, 8081))
    assert inet(copy).getsockname() == (HOST4, 8080)
    assert len(box.sockets()) == 1
    box.listener(box.world.host, HOST4, 8081)


def test_a_target_namespace_that_is_gone(box: Box) -> None:
    target = Namespace.new("target")
    with target:
        writer = Graft()
    fields = {"name": "ep", "type": U.EP_IPV4, "address": socket.inet_aton("127.0.0.1"), "port_lo": 0, "port_hi": 0}
    other = Namespace.new("other box")
    writer.endpoint(other.fd, target_fd=target.fd, **fields)
    sock = box.keep(other.open_socket(U.AF_GRAFT, SOCK_STREAM))
    writer.close()
    target.close()
    kernel = box.keep(Graft())

    def cookie() -> int:
        answer = kernel.call(U.CMD_ENDPOINT_GET, netns_fd=other.fd, endpoint={"name": "ep"})
        return int(answer[0]["endpoint"]["target_cookie"])

    eventually(lambda: cookie() == 0, "the endpoint's target is shown as gone")
    with fails(EADDRNOTAVAIL):
        bind_name(sock, "ep")
    other.close()


def test_limit_of_the_table(box: Box) -> None:
    box.endpoint("ep")
    box.table(max_sockets=2)
    held = [box.door1(SOCK_STREAM) for _ in range(3)]
    bind_name(held[0], "ep")
    bind_name(held[1], "ep")
    with fails(ENOBUFS):
        bind_name(held[2], "ep")
    assert len(box.sockets()) == 2
    held[0].close()
    bind_name(held[2], "ep")


def test_limit_of_the_endpoint(box: Box) -> None:
    box.endpoint("ep", max_sockets=1)
    box.endpoint("ep-other")
    sock = box.bound("ep", SOCK_DGRAM)
    with fails(ENOBUFS):
        box.bound("ep", SOCK_DGRAM)
    box.bound("ep-other", SOCK_DGRAM)
    assert box.stats("ep")["denials"][U.REASON_MAX_SOCKETS] == 1
    assert box.stats("ep")["active"] == 1
    assert endpoint_of(sock) == "ep"


def test_limit_on_ephemeral_ports(box: Box) -> None:
    box.endpoint("ep-any")
    box.endpoint("ep-fixed", HOST4, 8080)
    box.table(max_ephemeral=1)
    box.bound("ep-any", SOCK_STREAM)
    with fails(ENOBUFS):
        box.bound("ep-any", SOCK_STREAM)
    box.bound("ep-fixed", SOCK_STREAM)
    assert box.stats("ep-any")["denials"][U.REASON_MAX_EPHEMERAL] == 1


def test_getsockname_before_and_after(box: Box) -> None:
    box.endpoint("ep", HOST4, 8080)
    sock = box.door1(SOCK_STREAM)
    before = getsockname_raw(sock)
    assert struct.unpack_from("=H", before)[0] == U.AF_GRAFT
    assert before[2:].strip(b"\0") == b""
    bind_name(sock, "ep")
    assert struct.unpack_from("=H", getsockname_raw(sock))[0] == socket.AF_INET
    assert inet(sock).getsockname() == (HOST4, 8080)
    with fails(ENOTCONN):
        inet(sock).getpeername()


def test_options_that_tell(box: Box) -> None:
    box.endpoint("ep-http")
    sock = box.door1(SOCK_DGRAM)
    assert state(sock) == U.STATE_UNDECIDED
    with fails(ENOTCONN):
        endpoint_of(sock)
    bind_name(sock, "ep-http")
    assert state(sock) == U.STATE_GRAFTED
    assert endpoint_of(sock) == "ep-http"
    tell = (socket.SO_DOMAIN, socket.SO_TYPE, socket.SO_PROTOCOL)
    assert [sock.getsockopt(socket.SOL_SOCKET, option) for option in tell] == [2, SOCK_DGRAM, 17]


def test_calls_on_a_socket_without_a_name(box: Box) -> None:
    for kind in (SOCK_STREAM, SOCK_DGRAM):
        sock = box.door1(kind)
        sock.setblocking(False)
        with fails(EINVAL, EDESTADDRREQ, EOPNOTSUPP):
            sock.listen(1)
        with fails(ENOTCONN, EDESTADDRREQ, EPIPE, EINVAL):
            sock.send(b"x")
        with fails(ENOTCONN):
            sock.recv(1)
        with fails(ENOTCONN):
            sock.shutdown(socket.SHUT_RDWR)
    assert box.sockets() == []


@pytest.mark.parametrize("kind", [SOCK_STREAM, SOCK_DGRAM], ids=["tcp", "udp"])
def test_reuseport_group(box: Box, kind: int) -> None:
    need_sol_socket(box.writer)
    box.endpoint("ep", HOST4, 8080)
    servers = []
    for _ in range(2):
        sock = box.door1(kind)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bind_name(sock, "ep")
        servers.append(box.keep(inet(sock)))
        if kind == SOCK_STREAM:
            servers[-1].listen(16)
    for _ in range(16):
        client = box.keep(box.world.peer.open_socket(socket.AF_INET, kind))
        client.connect((HOST4, 8080))
        client.send(b"x")
    served = []
    for server in servers:
        server.setblocking(False)
        served.append(0)
        try:
            while True:
                server.accept()[0].close() if kind == SOCK_STREAM else server.recv(1)
                served[-1] += 1
        except BlockingIOError:
            continue
    assert sum(served) == 16
    assert min(served) > 0


def test_counters(box: Box) -> None:
    box.endpoint("ep", HOST4, 8080)
    server = box.bound("ep", SOCK_STREAM)
    server.listen(4)
    children = []
    for _ in range(3):
        box.client(box.world.peer, HOST4, 8080)
        children.append(box.keep(server.accept()[0]))
    shown = box.stats("ep")
    assert (shown["binds"], shown["accepts"], shown["active"]) == (1, 3, 4)
    children[0].close()
    assert box.stats("ep")["active"] == 3
