# SPDX-License-Identifier: Apache-2.0
"""Tried from inside the container: reaching a destination outside of the grant."""

import socket
from errno import EACCES, EADDRNOTAVAIL, EAGAIN, EISCONN, ENETUNREACH, ENOPROTOOPT, EOPNOTSUPP
from socket import AF_INET, AF_INET6, IPPROTO_TCP, SOCK_DGRAM, SOCK_STREAM

import pytest

import grant
from box import Box, endpoint_of, is_native, state
from door1 import bind_name, inet, sockaddr_in, sockaddr_in6
from expect import fails, receive
from grant import V4, V6, Family, destination
from kernelcalls import disconnect
from tables import allow, egress, ingress
from uapi import U
from world import FAR_PEER4, FORBIDDEN, PEER4, World, set_sysctl

FAMILIES = pytest.mark.parametrize("family", [V4, V6], ids=["v4", "v6"])
_TCP_FASTOPEN_CONNECT = 30
_MSG_FASTOPEN = 0x20000000


@pytest.fixture
def granted(box: Box, watched: World) -> Box:
    grant.grant(box)
    return box


def refusals(address: str) -> tuple[int, ...]:
    """EACCES; but an IPv4 destination is none for an IPv6 endpoint."""
    return (EACCES, EADDRNOTAVAIL, ENETUNREACH) if address.startswith("::ffff:") else (EACCES,)


def raw(address: str, port: int = FORBIDDEN, family: int | None = None) -> bytes:
    if ":" in address:
        return sockaddr_in6(address, port, AF_INET6 if family is None else family)
    return sockaddr_in(address, port, AF_INET if family is None else family)


@FAMILIES
def test_connect(granted: Box, family: Family) -> None:
    for address in family.outside:
        with fails(*refusals(address)):
            grant.client(granted, family).connect(destination(address, FORBIDDEN))
    assert granted.sockets() == []
    sock, _ = grant.connected(granted, family)
    assert endpoint_of(sock) == family.out


@FAMILIES
def test_connect_through_door1(granted: Box, family: Family) -> None:
    sock = granted.bound(family.out, SOCK_STREAM)
    for address in family.outside:
        with fails(*refusals(address)):
            sock.connect(destination(address, FORBIDDEN))


@FAMILIES
def test_reconnect_after_unspec(granted: Box, family: Family) -> None:
    sock, _ = grant.connected(granted, family)
    disconnect(sock.fileno())
    for address in family.outside:
        with fails(*refusals(address)):
            sock.connect(destination(address, FORBIDDEN))
        disconnect(sock.fileno())
    listener = granted.listener(granted.world.peer, family.peer)
    sock.connect(listener.getsockname())
    assert listener.accept()[1][0] == family.host


@FAMILIES
def test_unspec_before_the_decision(granted: Box, family: Family) -> None:
    sock = grant.client(granted, family)
    disconnect(sock.fileno())
    with fails(EACCES):
        sock.connect(destination(family.outside[0], FORBIDDEN))
    disconnect(sock.fileno())
    assert state(sock) == U.STATE_UNDECIDED


@FAMILIES
@pytest.mark.parametrize("when", ["undecided", "bound", "disconnected", "door1"])
def test_fast_open(granted: Box, family: Family, when: str) -> None:
    def attacker() -> socket.socket:
        if when == "door1":
            return granted.bound(family.out, SOCK_STREAM)
        if when == "disconnected":
            sock, _ = grant.connected(granted, family)
            disconnect(sock.fileno())
            return sock
        sock = grant.client(granted, family)
        if when == "bound":
            sock.bind((family.any, 0))
        return sock

    for namespace in (granted.ns, granted.world.host):
        with namespace:
            set_sysctl("ipv4/tcp_fastopen", "1")
    sock = attacker()
    for address in family.outside:
        with fails(EOPNOTSUPP, *refusals(address)):
            sock.sendto(b"data in the SYN", _MSG_FASTOPEN | socket.MSG_NOSIGNAL, destination(address, FORBIDDEN))
    sock = attacker()
    with fails(EACCES, EOPNOTSUPP, ENOPROTOOPT):
        sock.setsockopt(IPPROTO_TCP, _TCP_FASTOPEN_CONNECT, 1)
        sock.connect(destination(family.outside[0], FORBIDDEN))
        sock.send(b"data in the SYN")


@FAMILIES
def test_fast_open_without_an_address(granted: Box, family: Family) -> None:
    """A send that names nobody goes nowhere, whatever the socket was connected to before."""
    sock, _ = grant.connected(granted, family)
    disconnect(sock.fileno())
    with pytest.raises(OSError):
        sock.send(b"x", _MSG_FASTOPEN | socket.MSG_NOSIGNAL)


@FAMILIES
def test_a_stream_that_names_a_destination(granted: Box, family: Family) -> None:
    """The address of a send on a connected stream is ignored, as everywhere."""
    sock, accepted = grant.connected(granted, family)
    for call in (sock.sendto, lambda data, to: sock.sendmsg([data], [], 0, to)):
        try:
            call(b"x", destination(family.outside[0], FORBIDDEN))
        except OSError as error:
            assert error.errno == EISCONN
        else:
            assert receive(accepted) == b"x"


@FAMILIES
def test_sendto(granted: Box, family: Family) -> None:
    sock = grant.server(granted, family)
    for address in family.outside:
        with fails(*refusals(address)):
            sock.sendto(b"x", destination(address, FORBIDDEN))
        with fails(*refusals(address)):
            sock.sendmsg([b"x"], [], 0, destination(address, FORBIDDEN))
    client = granted.datagram(granted.world.peer, family.peer)
    sock.sendto(b"lawful", client.getsockname())
    assert receive(client) == b"lawful"


@FAMILIES
def test_datagram_connect(granted: Box, family: Family) -> None:
    sock = grant.server(granted, family)
    for address in family.outside:
        with fails(*refusals(address)):
            sock.connect(destination(address, FORBIDDEN))
    client = granted.datagram(granted.world.peer, family.peer)
    sock.connect(client.getsockname())
    sock.send(b"lawful")
    assert receive(client) == b"lawful"
    for address in family.outside:
        with fails(*refusals(address)):
            sock.sendto(b"x", destination(address, FORBIDDEN))
    disconnect(sock.fileno())
    with fails(EACCES):
        sock.sendto(b"x", destination(family.outside[0], FORBIDDEN))


@FAMILIES
def test_sendmmsg(granted: Box, family: Family) -> None:
    """The lawful ones before the first unlawful one go; nothing after it."""
    sock = grant.server(granted, family)
    client = granted.datagram(granted.world.peer, family.peer)
    lawful = raw(family.peer, client.getsockname()[1])
    for address in family.outside:
        assert grant.sendmmsg(sock, (lawful, b"one"), (raw(address), b"two"), (lawful, b"three")) == 1
        assert receive(client) == b"one"
    with fails(EACCES):
        grant.sendmmsg(sock, (raw(family.outside[0]), b"two"), (lawful, b"three"))
    client.setblocking(False)
    with fails(EAGAIN):
        client.recv(16)


@FAMILIES
def test_sendmmsg_decides(granted: Box, family: Family) -> None:
    granted.endpoint("ep-query", family.host, proto="udp")
    granted.rules(egress("ep-query", family.lan), egress("ep-query", family.outside[0]))
    granted.acl(allow("ep-query", "connect", family.lan))
    client = granted.datagram(granted.world.peer, family.peer)
    lawful = raw(family.peer, client.getsockname()[1])
    sock = granted.open_socket(family.family, SOCK_DGRAM)
    assert grant.sendmmsg(sock, (lawful, b"one"), (raw(family.outside[0]), b"two")) == 1
    assert endpoint_of(sock) == "ep-query"
    assert receive(client) == b"one"


@FAMILIES
@pytest.mark.parametrize("door", [1, 2], ids=["door1", "door2"])
def test_an_accepted_child_goes_elsewhere(granted: Box, family: Family, door: int) -> None:
    granted.endpoint("ep-http", family.host, 8080)
    granted.rules(ingress("ep-http", port=80))
    granted.acl(allow("ep-http", "listen"))
    if door == 1:
        listener = granted.bound("ep-http", SOCK_STREAM)
    else:
        listener = granted.open_socket(family.family, SOCK_STREAM)
        listener.bind((family.any, 80))
    listener.listen(1)
    granted.client(granted.world.peer, family.host, 8080)
    child = granted.keep(listener.accept()[0])
    for address in (*family.outside, family.peer):
        disconnect(child.fileno())
        with fails(*refusals(address)):
            child.connect(destination(address, FORBIDDEN))
    with fails(EACCES, EOPNOTSUPP):
        child.sendto(b"x", _MSG_FASTOPEN | socket.MSG_NOSIGNAL, destination(family.outside[0], FORBIDDEN))
    listener.shutdown(socket.SHUT_RDWR)
    disconnect(listener.fileno())
    with fails(EACCES):
        listener.connect(destination(family.outside[0], FORBIDDEN))


@FAMILIES
def test_the_ports_of_the_acl(granted: Box, family: Family) -> None:
    listener = granted.listener(granted.world.peer, family.peer, 5000)
    granted.acl(allow(family.out, "connect", family.lan, (5000, 5001)))
    with fails(EACCES):
        grant.client(granted, family).connect((family.peer, FORBIDDEN))
    sock = grant.client(granted, family)
    sock.connect((family.peer, 5000))
    granted.keep(listener.accept()[0])


@FAMILIES
def test_the_own_address_where_the_acl_says_local(box: Box, family: Family) -> None:
    box.endpoint("ep", family.host)
    box.rules(egress("ep"))
    daemon = box.listener(box.world.host, family.host)
    with fails(EACCES):
        grant.client(box, family).connect(daemon.getsockname())
    box.acl(allow("ep", "connect", family.host, local=True), allow("ep", "connect"))
    grant.client(box, family).connect(daemon.getsockname())
    box.keep(daemon.accept()[0])
    hidden = box.listener(box.world.host, "::1" if family is V6 else "127.0.0.1")
    with fails(EACCES):
        grant.client(box, family).connect(hidden.getsockname())


@FAMILIES
def test_a_port_that_an_endpoint_holds(box: Box, other: Box, family: Family) -> None:
    """The host's own address is reachable where a grafted server of any container listens, not beside it."""
    other.endpoint("ep-http", family.host, 8080)
    server = other.bound("ep-http", SOCK_STREAM)
    # What it accepts has this, too: the last packets of a connection may be under way when the port is taken again.
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.listen(1)
    beside = box.listener(box.world.host, family.host, 8081)
    box.endpoint("ep", family.host)
    box.rules(egress("ep"))
    grant.client(box, family).connect((family.host, 8080))
    box.keep(server.accept()[0])
    with fails(EACCES):
        grant.client(box, family).connect(beside.getsockname())
    box.close_sockets()
    other.close_sockets()
    box.listener(box.world.host, family.host, 8080)
    with fails(EACCES):
        grant.client(box, family).connect((family.host, 8080))


def test_a_native_socket_cannot_turn(granted: Box) -> None:
    """Once native, the host is out of reach for good."""
    granted.rules()
    sock = granted.tcp()
    with fails(ENETUNREACH):
        sock.connect((FAR_PEER4, FORBIDDEN))
    assert is_native(sock)
    granted.rules(egress("ep-out"))
    with fails(ENETUNREACH):
        sock.connect((PEER4, FORBIDDEN))


def test_door1_datagrams(granted: Box) -> None:
    sock = granted.door1(SOCK_DGRAM)
    bind_name(sock, "ep-dns")
    grafted = granted.keep(inet(sock))
    for address in V4.outside:
        with fails(EACCES):
            grafted.sendto(b"x", destination(address, FORBIDDEN))
