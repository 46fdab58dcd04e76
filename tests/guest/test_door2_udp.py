# SPDX-License-Identifier: Apache-2.0
"""Door 2, IPPROTO_GRAFT: datagrams."""

import os
import select
import socket
from errno import EACCES, EADDRINUSE, EAGAIN, EDESTADDRREQ, ENETUNREACH, ENOTCONN
from socket import AF_INET, AF_INET6, SOCK_DGRAM, SOL_SOCKET

import pytest

from box import Box, endpoint_of, is_native, state
from expect import fails, receive
from tables import allow, egress, ingress
from uapi import U
from world import BOX4, FAR_PEER4, FAR_PEER6, FORBIDDEN, HOST4, HOST6, LAN4, LAN6, PEER4, PEER6, World

FAMILIES = pytest.mark.parametrize(("host", "peer"), [(HOST4, PEER4), (HOST6, PEER6)], ids=["v4", "v6"])
_SO_ZEROCOPY, _MSG_ZEROCOPY = 60, 0x4000000
ANY: dict[int, str] = {AF_INET: "0.0.0.0", AF_INET6: "::"}


@FAMILIES
def test_server(box: Box, host: str, peer: str) -> None:
    box.endpoint("ep-dns", host, 5300, "udp")
    box.rules(ingress("ep-dns", port=53))
    server = box.udp(host)
    server.bind((ANY[server.family], 53))
    assert endpoint_of(server) == "ep-dns"
    client = box.datagram(box.world.peer, peer)
    client.sendto(b"question", (host, 5300))
    data, source = server.recvfrom(64)
    assert (data, source[:2]) == (b"question", client.getsockname()[:2])
    server.sendto(b"answer", source)
    data, source = client.recvfrom(64)
    assert (data, source[:2]) == (b"answer", (host, 5300))


@FAMILIES
def test_the_first_sendto_decides(box: Box, host: str, peer: str) -> None:
    box.endpoint("ep-out", host)
    box.rules(egress("ep-out", LAN4), egress("ep-out", LAN6))
    server = box.datagram(box.world.peer, peer)
    sock = box.udp(peer)
    sock.sendto(b"first", server.getsockname())
    assert endpoint_of(sock) == "ep-out"
    data, source = server.recvfrom(64)
    assert (data, source[:2]) == (b"first", sock.getsockname()[:2])
    assert source[0] == host
    server.sendto(b"back", source)
    assert receive(sock) == b"back"
    sock.sendmsg([b"sec", b"ond"], [], 0, server.getsockname())
    assert receive(server) == b"second"
    assert len(box.sockets()) == 1


@FAMILIES
def test_connect_decides(box: Box, host: str, peer: str) -> None:
    box.endpoint("ep-out", host)
    box.rules(egress("ep-out", LAN4), egress("ep-out", LAN6))
    server = box.datagram(box.world.peer, peer)
    sock = box.udp(peer)
    sock.connect(server.getsockname())
    assert endpoint_of(sock) == "ep-out"
    sock.send(b"first")
    assert receive(server) == b"first"
    assert sock.getpeername()[:2] == server.getsockname()[:2]
    assert sock.getsockname()[0] == host
    other = box.datagram(box.world.peer, peer)
    other.sendto(b"stray", sock.getsockname())
    server.sendto(b"back", sock.getsockname())
    assert receive(sock) == b"back"


@FAMILIES
def test_native_stays_native(box: Box, host: str, peer: str) -> None:
    own = "127.0.0.1" if host == HOST4 else "::1"
    box.endpoint("ep-out", host)
    box.rules(egress("ep-out", LAN4), egress("ep-out", LAN6))
    server = box.udp(own)
    server.bind((own, 5000))
    assert state(server) == U.STATE_UNDECIDED
    sock = box.udp(own)
    sock.setsockopt(SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.sendto(b"hello", (own, 5000))
    assert is_native(sock)
    assert sock.getsockopt(SOL_SOCKET, socket.SO_BROADCAST) == 1
    data, source = server.recvfrom(64)
    assert data == b"hello"
    server.sendto(b"back", source)
    assert is_native(server)
    assert receive(sock) == b"back"
    with fails(ENETUNREACH):
        sock.sendto(b"x", (FAR_PEER4 if own == "127.0.0.1" else FAR_PEER6, FORBIDDEN))


@FAMILIES
def test_bound_first_then_grafted_keeping_its_port(box: Box, host: str, peer: str) -> None:
    """As QUIC and resolvers do. The container gets its own port back."""
    box.endpoint("ep-out", host)
    box.rules(egress("ep-out"))
    server = box.datagram(box.world.peer, peer)
    for wanted in (0, 41234):
        sock = box.udp(peer)
        sock.bind((ANY[sock.family], wanted))
        assert state(sock) == U.STATE_UNDECIDED
        port = sock.getsockname()[1]
        sock.sendto(b"hello", server.getsockname())
        data, source = server.recvfrom(64)
        assert (data, source[:2]) == (b"hello", (host, port))
        again = box.open_socket(sock.family, SOCK_DGRAM, 0)
        again.bind((ANY[sock.family], port))


def test_what_waits_on_a_natively_bound_socket_is_not_the_hosts(box: Box) -> None:
    """A datagram that came through the container's loopback before the graft is still the container's to read."""
    box.endpoint("ep-out")
    box.rules(egress("ep-out", LAN4))
    server = box.datagram(box.world.peer, PEER4)
    sock = box.udp()
    sock.bind(("0.0.0.0", 0))
    box.datagram(box.ns, "127.0.0.1").sendto(b"before", ("127.0.0.1", sock.getsockname()[1]))
    sock.sendto(b"x", server.getsockname())
    assert endpoint_of(sock) == "ep-out"
    assert receive(server) == b"x"
    assert receive(sock) == b"before"


def test_an_ipv6_program_on_an_ipv4_endpoint(box: Box) -> None:
    box.endpoint("ep-dns", HOST4, 5300)
    box.endpoint("ep-out", HOST4)
    box.rules(ingress("ep-dns", port=53), egress("ep-out", LAN4))
    server = box.udp("::")
    server.bind(("::", 53))
    client = box.datagram(box.world.peer, PEER4)
    client.sendto(b"question", (HOST4, 5300))
    _data, source = server.recvfrom(64)
    assert source[:2] == (f"::ffff:{PEER4}", client.getsockname()[1])
    server.sendto(b"answer", source)
    assert client.recvfrom(64) == (b"answer", (HOST4, 5300))
    assert server.getsockname()[:2] == (f"::ffff:{HOST4}", 5300)
    sock = box.udp("::")
    sock.sendto(b"x", (f"::ffff:{PEER4}", client.getsockname()[1]))
    assert receive(client) == b"x"
    assert sock.getsockname()[0] == f"::ffff:{HOST4}"


@FAMILIES
def test_a_grafted_socket_stays_grafted(box: Box, watched: World, host: str, peer: str) -> None:
    far = FAR_PEER4 if host == HOST4 else FAR_PEER6
    box.endpoint("ep-out", host)
    box.rules(egress("ep-out", LAN4), egress("ep-out", LAN6))
    server = box.datagram(box.world.peer, peer)
    sock = box.udp(peer)
    sock.sendto(b"first", server.getsockname())
    with fails(EACCES):
        sock.sendto(b"x", (far, FORBIDDEN))
    with fails(EACCES):
        sock.connect((far, FORBIDDEN))
    sock.sendto(b"again", server.getsockname())
    assert [receive(server), receive(server)] == [b"first", b"again"]


def test_a_server_may_answer_anyone_that_no_rule_excludes(box: Box) -> None:
    box.endpoint("ep-dns", "0.0.0.0", 5300)
    box.rules(ingress("ep-dns", port=53), egress("deny", PEER4))
    server = box.udp()
    server.bind((BOX4, 53))
    far = box.datagram(box.world.peer, FAR_PEER4)
    near = box.datagram(box.world.peer, PEER4)
    server.sendto(b"far", far.getsockname())
    assert receive(far) == b"far"
    with fails(EACCES):
        server.sendto(b"near", near.getsockname())
    near.setblocking(False)
    with fails(EAGAIN):
        near.recv(64)


def test_a_servers_acl_narrows_whom_it_answers(box: Box, watched: World) -> None:
    box.endpoint("ep-dns", "0.0.0.0", 5300)
    box.rules(ingress("ep-dns", port=53))
    box.acl(allow("ep-dns", "listen"), allow("ep-dns", "connect", LAN4))
    server = box.udp()
    server.bind((BOX4, 53))
    near = box.datagram(box.world.peer, PEER4)
    server.sendto(b"near", near.getsockname())
    assert receive(near) == b"near"
    with fails(EACCES):
        server.sendto(b"far", (FAR_PEER4, FORBIDDEN))
    with fails(EACCES):
        server.connect((FAR_PEER4, FORBIDDEN))


def test_send_without_a_destination(box: Box) -> None:
    box.endpoint("ep-out")
    box.rules(egress("ep-out"))
    sock = box.udp()
    with fails(EDESTADDRREQ, ENOTCONN):
        sock.send(b"x")
    assert state(sock) == U.STATE_UNDECIDED
    sock.setblocking(False)
    with fails(EAGAIN):
        sock.recv(1)
    assert state(sock) == U.STATE_UNDECIDED


def test_port_taken(box: Box) -> None:
    box.datagram(box.world.host, HOST4, 5300)
    box.endpoint("ep-dns", HOST4, 5300)
    box.rules(ingress("ep-dns", port=53))
    sock = box.udp()
    with fails(EADDRINUSE):
        sock.bind((BOX4, 53))
    assert state(sock) == U.STATE_UNDECIDED


def test_reuseport_group_of_one_endpoint(box: Box) -> None:
    box.endpoint("ep-dns", HOST4, 5300)
    box.rules(ingress("ep-dns", port=53))
    servers = [box.udp() for _ in range(2)]
    for server in servers:
        server.setsockopt(SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind((BOX4, 53))
        server.setblocking(False)
    for _ in range(24):
        box.datagram(box.world.peer, PEER4).sendto(b"x", (HOST4, 5300))
    served = [0, 0]
    for index, server in enumerate(servers):
        while True:
            try:
                server.recv(1)
            except BlockingIOError:
                break
            served[index] += 1
    assert sum(served) == 24
    assert min(served) > 0


def test_an_error_from_the_network_is_seen(box: Box) -> None:
    box.endpoint("ep-out")
    box.rules(egress("ep-out"))
    sock = box.udp()
    sock.connect((PEER4, 1))
    sock.send(b"nobody is there")
    with pytest.raises(ConnectionRefusedError):
        receive(sock)


def test_a_file_as_a_datagram(box: Box) -> None:
    """sendfile ends with a call of its own, which sends what was put off; not on a socket that was revoked."""
    box.endpoint("ep-out")
    box.rules(egress("ep-out"))
    server = box.datagram(box.world.peer, PEER4)
    sock = box.udp()
    sock.connect(server.getsockname())
    with open(__file__, "rb") as file:
        assert os.sendfile(sock.fileno(), file.fileno(), 0, 512) == 512
        file.seek(0)
        assert receive(server) == file.read(512)
        assert box.delete("ep-out", abort=True) == 1
        with pytest.raises(OSError):
            os.sendfile(sock.fileno(), file.fileno(), 0, 512)
    assert sock.getsockname()[1] == 0
    server.setblocking(False)
    with fails(EAGAIN):
        server.recv(16)


def test_a_datagram_without_a_copy(box: Box) -> None:
    box.endpoint("ep-out")
    box.rules(egress("ep-out"))
    server = box.datagram(box.world.peer, PEER4)
    sock = box.udp()
    sock.setsockopt(SOL_SOCKET, _SO_ZEROCOPY, 1)
    sock.connect(server.getsockname())
    sock.send(b"z" * 1200, _MSG_ZEROCOPY)
    assert receive(server) == b"z" * 1200
    poll = select.poll()
    poll.register(sock, 0)
    assert poll.poll(10000)
    assert sock.recvmsg(1, 128, socket.MSG_ERRQUEUE)[2] & socket.MSG_ERRQUEUE
