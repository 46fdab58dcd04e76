# SPDX-License-Identifier: Apache-2.0
"""Tried from inside the container: addresses in the guise of another family."""

import socket
from errno import EACCES, EADDRNOTAVAIL, EAFNOSUPPORT, ECONNREFUSED, EINVAL, ENETUNREACH, ENOPROTOOPT, EOPNOTSUPP
from socket import AF_INET, AF_INET6, AF_UNSPEC, IPPROTO_IPV6

import pytest

import grant
from box import Box, endpoint_of, state
from door1 import connect_raw, sockaddr_in, sockaddr_in6
from expect import fails, receive
from grant import V4, V6, Family, destination
from kernelcalls import disconnect
from tables import allow, egress, ingress
from uapi import U
from world import FAR_PEER4, FAR_PEER6, FORBIDDEN, HOST4, HOST6, PEER4, PEER6, World

FAMILIES = pytest.mark.parametrize("family", [V4, V6], ids=["v4", "v6"])
_TCP_FASTOPEN_CONNECT = 30
_MSG_FASTOPEN = 0x20000000


@pytest.fixture
def granted(box: Box, watched: World) -> Box:
    grant.grant(box)
    return box


def raw(address: str, port: int = FORBIDDEN, family: int | None = None) -> bytes:
    if ":" in address:
        return sockaddr_in6(address, port, AF_INET6 if family is None else family)
    return sockaddr_in(address, port, AF_INET if family is None else family)


def test_mapped_addresses_on_a_dual_stack_server(granted: Box) -> None:
    """An AF_INET6 program on an ipv4 endpoint."""
    granted.rules(ingress("ep-dns", port=53), egress("ep-out"))
    sock = granted.udp("::")
    sock.bind(("::", 53))
    assert endpoint_of(sock) == "ep-dns"
    for address in V4.outside:
        with fails(EACCES):
            sock.sendto(b"x", destination(f"::ffff:{address}", FORBIDDEN))
        with fails(EACCES):
            grant.sendto_raw(sock, b"x", sockaddr_in(address, FORBIDDEN))
        with fails(EACCES):
            sock.connect(destination(f"::ffff:{address}", FORBIDDEN))
    for address in V6.outside[:10]:
        with fails(EACCES, ENETUNREACH, EAFNOSUPPORT, EINVAL):
            sock.sendto(b"x", destination(address, FORBIDDEN))
    client = granted.datagram(granted.world.peer, PEER4)
    sock.sendto(b"lawful", destination(f"::ffff:{PEER4}", client.getsockname()[1]))
    assert receive(client) == b"lawful"


def test_mapped_addresses_on_a_dual_stack_client(granted: Box) -> None:
    for address in V4.outside:
        sock = granted.tcp("::")
        with fails(EACCES):
            sock.connect(destination(f"::ffff:{address}", FORBIDDEN))
    listener = granted.listener(granted.world.peer, PEER4)
    sock = granted.tcp("::")
    sock.connect(destination(f"::ffff:{PEER4}", listener.getsockname()[1]))
    assert listener.accept()[1][0] == HOST4
    disconnect(sock.fileno())
    for address in (*(f"::ffff:{address}" for address in V4.outside), *V6.outside[:10]):
        with fails(EACCES, EADDRNOTAVAIL, ENETUNREACH):
            sock.connect(destination(address, FORBIDDEN))
        disconnect(sock.fileno())


@pytest.mark.parametrize("address", V4.outside)
def test_unspec_as_a_family_of_datagrams(granted: Box, address: str) -> None:
    """sendto() takes AF_UNSPEC as AF_INET."""
    sock = grant.server(granted, V4)
    with fails(EACCES):
        grant.sendto_raw(sock, b"x", sockaddr_in(address, FORBIDDEN, AF_UNSPEC))
    client = granted.datagram(granted.world.peer, PEER4)
    grant.sendto_raw(sock, b"lawful", sockaddr_in(PEER4, client.getsockname()[1], AF_UNSPEC))
    assert receive(client) == b"lawful"


def test_unspec_as_a_family_decides_too(granted: Box) -> None:
    granted.endpoint("ep-query", HOST4, proto="udp")
    granted.rules(egress("ep-query"))
    granted.acl(allow("ep-query", "connect", V4.lan))
    sock = granted.udp()
    with fails(EACCES):
        grant.sendto_raw(sock, b"x", sockaddr_in(FAR_PEER4, FORBIDDEN, AF_UNSPEC))
    client = granted.datagram(granted.world.peer, PEER4)
    grant.sendto_raw(sock, b"lawful", sockaddr_in(PEER4, client.getsockname()[1], AF_UNSPEC))
    assert receive(client) == b"lawful"
    assert endpoint_of(sock) == "ep-query"


def test_unspec_as_a_family_of_ipv6_datagrams(granted: Box) -> None:
    """Where AF_UNSPEC means "no address", it means the connected peer, and without one nobody."""
    sock = grant.server(granted, V6)
    with pytest.raises(OSError):
        grant.sendto_raw(sock, b"x", sockaddr_in6(FAR_PEER6, FORBIDDEN, AF_UNSPEC))
    client = granted.datagram(granted.world.peer, V6.peer)
    sock.connect(client.getsockname())
    grant.sendto_raw(sock, b"to the peer", sockaddr_in6(FAR_PEER6, FORBIDDEN, AF_UNSPEC))
    assert receive(client) == b"to the peer"


@pytest.mark.parametrize("address", V4.outside)
def test_inet_addresses_on_ipv6_datagram_sockets(granted: Box, address: str) -> None:
    sock = grant.server(granted, V6)
    with fails(EACCES, ENETUNREACH, EAFNOSUPPORT):
        grant.sendto_raw(sock, b"x", sockaddr_in(address, FORBIDDEN))
    with fails(EACCES, ENETUNREACH, EAFNOSUPPORT):
        connect_raw(sock, sockaddr_in(address, FORBIDDEN))


@FAMILIES
def test_addresses_of_another_family_at_connect(granted: Box, family: Family) -> None:
    other = V6 if family is V4 else V4
    sock = grant.client(granted, family)
    for when in ("undecided", "grafted"):
        for address in (*other.outside, other.peer):
            with fails(EAFNOSUPPORT, EINVAL, EACCES):
                connect_raw(sock, raw(address))
        if when == "undecided":
            sock, _ = grant.connected(granted, family)
            disconnect(sock.fileno())


@FAMILIES
def test_short_addresses(granted: Box, family: Family) -> None:
    whole = raw(family.outside[0])
    sock, datagram = grant.client(granted, family), grant.server(granted, family)
    for length in range(1, 16 if family is V4 else 24):
        with fails(EINVAL):
            connect_raw(sock, whole[:length])
        with fails(EINVAL, EAFNOSUPPORT):
            grant.sendto_raw(datagram, b"x", whole[:length])
    assert state(sock) == U.STATE_UNDECIDED


def test_link_local_of_the_right_device(granted: Box) -> None:
    """With the peer's very address and the host's device as scope, or by the container's."""
    with granted.world.peer, open("/proc/thread-self/net/if_inet6") as table:
        line = next(line.split() for line in table if line.startswith("fe80") and line.split()[5] == "lan")
    address = socket.inet_ntop(AF_INET6, bytes.fromhex(line[0]))
    for scope in (102, 103, 1, 0):
        with fails(EACCES):
            grant.client(granted, V6).connect(destination(address, FORBIDDEN, scope))
        with fails(EACCES):
            grant.server(granted, V6).sendto(b"x", destination(address, FORBIDDEN, scope))
        granted.close_sockets()


def test_addrform(granted: Box) -> None:
    """It would replace the operations of a socket whose peer is a mapped address."""
    listener = granted.listener(granted.world.peer, PEER4)
    undecided, grafted = granted.tcp("::"), granted.tcp("::")
    grafted.connect(destination(f"::ffff:{PEER4}", listener.getsockname()[1]))
    for sock in (undecided, grafted):
        with fails(ENOPROTOOPT, EOPNOTSUPP):
            sock.setsockopt(IPPROTO_IPV6, 1, AF_INET)
    assert endpoint_of(grafted) == "ep-out"
    disconnect(grafted.fileno())
    with fails(EACCES):
        grafted.connect(destination(f"::ffff:{FAR_PEER4}", FORBIDDEN))


def test_addrform_of_datagrams(granted: Box) -> None:
    granted.rules(ingress("ep-dns", port=53))
    client = granted.datagram(granted.world.peer, PEER4)
    sock = granted.udp("::")
    sock.bind(("::", 53))
    sock.connect(destination(f"::ffff:{PEER4}", client.getsockname()[1]))
    with fails(ENOPROTOOPT, EOPNOTSUPP):
        sock.setsockopt(IPPROTO_IPV6, 1, AF_INET)
    with fails(EACCES):
        sock.sendto(b"x", destination(f"::ffff:{FAR_PEER4}", FORBIDDEN))


def test_ipv4_packed_into_a_struct_of_ipv6(granted: Box) -> None:
    """6to4, NAT64 and deprecated IPv4-compatible forms are other addresses, not granted ones."""
    for address in ("::10.10.0.2", "64:ff9b::10.10.0.2", "2002:a0a:2::1", "::ffff:0:10.10.0.2"):
        with fails(EACCES):
            grant.client(granted, V6).connect(destination(address, FORBIDDEN))
    assert granted.sockets() == []


@pytest.mark.parametrize("way", ["unbound", "bound", "disconnected"])
def test_ipv4s_every_address_is_not_ipv6s(box: Box, way: str) -> None:
    """An AF_INET6 socket through an endpoint of 0.0.0.0 hears IPv4 alone, whatever made the stack choose its port."""
    box.endpoint("ep", "0.0.0.0")
    box.rules(egress("ep"))
    friend = box.datagram(box.world.peer, PEER4)
    stranger = box.datagram(box.world.peer, PEER6)
    to = destination(f"::ffff:{PEER4}", friend.getsockname()[1])
    sock = box.udp("::")
    if way == "bound":
        sock.bind(("::", 5353))
    elif way == "disconnected":
        sock.connect(to)
        disconnect(sock.fileno())
    sock.sendto(b"question", to)
    assert endpoint_of(sock) == "ep"
    question, source = friend.recvfrom(64)
    assert (question, source[0]) == (b"question", HOST4)
    stranger.sendto(b"over IPv6", (HOST6, source[1]))
    friend.sendto(b"answer", source)
    assert receive(sock) == b"answer"
    assert sock.getsockname()[0].startswith("::ffff:")


def test_ipv4s_every_address_lets_an_ipv6_stream_connect(box: Box) -> None:
    box.endpoint("ep", "0.0.0.0")
    box.rules(egress("ep"))
    listener = box.listener(box.world.peer, PEER4)
    sock = box.tcp("::")
    sock.connect(destination(f"::ffff:{PEER4}", listener.getsockname()[1]))
    assert endpoint_of(sock) == "ep"
    child = box.keep(listener.accept()[0])
    child.sendall(b"fine")
    assert receive(sock) == b"fine"
    assert sock.getsockname()[:2] == (f"::ffff:{HOST4}", child.getpeername()[1])


def test_ipv4s_every_address_does_not_listen_on_ipv6(box: Box) -> None:
    """The stack chooses the port once more, at the listen after a connection."""
    box.endpoint("ep", "0.0.0.0")
    box.rules(egress("ep"))
    listener = box.listener(box.world.peer, PEER4)
    sock = box.tcp("::")
    sock.connect(destination(f"::ffff:{PEER4}", listener.getsockname()[1]))
    disconnect(sock.fileno())
    sock.listen(1)
    port = sock.getsockname()[1]
    with fails(ECONNREFUSED):
        box.client(box.world.peer, HOST6, port)
    box.client(box.world.peer, HOST4, port)
    assert sock.getsockname()[0].startswith("::ffff:")
