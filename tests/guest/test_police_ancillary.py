# SPDX-License-Identifier: Apache-2.0
"""Tried from inside the container: ancillary data that names another source, route or device."""

import socket
import struct
from errno import EACCES, EAGAIN, EINVAL
from socket import AF_INET, AF_INET6, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_UDP, SOCK_DGRAM, SOL_SOCKET

import pytest

import grant
from box import Box, endpoint_of
from expect import fails, receive
from grant import V4, V6, Family
from tables import allow, egress, ingress
from uapi import U
from world import FAR_HOST4, FAR_HOST6, FAR_PEER4, FAR_PEER6, HOST4, HOST6, PEER4, World

Ancillary = tuple[int, int, bytes]

LAN_DEVICE, FAR_DEVICE = 102, 103
IP_PKTINFO = 8


def pktinfo(device: int, source: str = "0.0.0.0", header: str = "0.0.0.0") -> Ancillary:
    body = struct.pack("=i", device) + socket.inet_aton(source) + socket.inet_aton(header)
    return IPPROTO_IP, IP_PKTINFO, body


def pktinfo6(device: int, source: str = "::", kind: int = socket.IPV6_PKTINFO) -> Ancillary:
    return IPPROTO_IPV6, kind, socket.inet_pton(AF_INET6, source) + struct.pack("=i", device)


def loose_route(via: str) -> bytes:
    """IP_OPTIONS of a loose source route."""
    return b"\x83\x07\x04" + socket.inet_aton(via) + b"\0"


def routing(via: str, kind: int = 2) -> bytes:
    """An IPv6 routing header."""
    return struct.pack("=BBBBI", 0, 2, kind, 1, 0) + socket.inet_pton(AF_INET6, via)


FORBIDDEN4: dict[str, Ancillary] = {
    "another device": pktinfo(FAR_DEVICE),
    "the right device": pktinfo(LAN_DEVICE),
    "the loopback device": pktinfo(1),
    "another address of the host": pktinfo(0, FAR_HOST4),
    "the loopback address": pktinfo(0, "127.0.0.1"),
    "an address of the peer": pktinfo(0, PEER4),
    "a broken packet info": (IPPROTO_IP, 8, b"\0\0\0\0"),
    "a source route": (IPPROTO_IP, 7, loose_route(FAR_PEER4)),
    "a record of the route": (IPPROTO_IP, 7, b"\x07\x0b\x04" + b"\0" * 9),
    "no option": (IPPROTO_IP, 7, b"\1\1\1\1"),
    "a mark": (SOL_SOCKET, 36, struct.pack("=I", 77)),
    "a priority": (SOL_SOCKET, 12, struct.pack("=I", 7)),
    "a protocol": (IPPROTO_IP, 52, struct.pack("=i", 1)),
    "a descriptor": (SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("=i", 0)),
    "credentials": (SOL_SOCKET, 2, struct.pack("=iii", 0, 0, 0)),
    "an unknown kind": (IPPROTO_IP, 200, b"\0" * 8),
    "an unknown level": (77, 1, b"\0" * 8),
}
FORBIDDEN6: dict[str, Ancillary] = {
    "another device": pktinfo6(FAR_DEVICE),
    "the right device": pktinfo6(LAN_DEVICE),
    "another address of the host": pktinfo6(0, FAR_HOST6),
    "the loopback address": pktinfo6(0, "::1"),
    "a link-local address": pktinfo6(LAN_DEVICE, "fe80::1"),
    "a mapped address": pktinfo6(0, f"::ffff:{FAR_HOST4}"),
    "another device, the old way": pktinfo6(FAR_DEVICE, kind=2),
    "a routing header": (IPPROTO_IPV6, socket.IPV6_RTHDR, routing(FAR_PEER6)),
    "a segment routing header": (IPPROTO_IPV6, socket.IPV6_RTHDR, routing(FAR_PEER6, 4)),
    "a routing header of type 0": (IPPROTO_IPV6, socket.IPV6_RTHDR, routing(FAR_PEER6, 0)),
    "a routing header, the old way": (IPPROTO_IPV6, 5, routing(FAR_PEER6)),
    "hop-by-hop options": (IPPROTO_IPV6, socket.IPV6_HOPOPTS, b"\0\0\1\4\0\0\0\0"),
    "destination options": (IPPROTO_IPV6, socket.IPV6_DSTOPTS, b"\0\0\1\4\0\0\0\0"),
    "a flow label": (IPPROTO_IPV6, 11, struct.pack("!I", 77)),
    "a mark": (SOL_SOCKET, 36, struct.pack("=I", 77)),
    "a packet info of IPv4": pktinfo(FAR_DEVICE),
    "a source route of IPv4": (IPPROTO_IP, 7, loose_route(FAR_PEER4)),
}
FORBIDDEN_TO: dict[int, dict[str, Ancillary]] = {AF_INET: FORBIDDEN4, AF_INET6: FORBIDDEN6}
FAMILIES = pytest.mark.parametrize("family", [V4, V6], ids=["v4", "v6"])


@pytest.fixture
def granted(box: Box, watched: World) -> Box:
    grant.grant(box)
    return box


def is_silent(sock: socket.socket) -> bool:
    sock.setblocking(False)
    with fails(EAGAIN):
        sock.recv(16)
    return True


@FAMILIES
@pytest.mark.parametrize("connected", [False, True], ids=["addressed", "connected"])
def test_on_a_grafted_server(granted: Box, family: Family, connected: bool) -> None:
    """The destination is lawful; what comes along is not."""
    client = granted.datagram(granted.world.peer, family.peer)
    sock = grant.server(granted, family)
    if connected:
        sock.connect(client.getsockname())
    for name, ancillary in FORBIDDEN_TO[family.family].items():
        try:
            sock.sendmsg([b"x"], [ancillary], 0, *([] if connected else [client.getsockname()]))
        except OSError as error:
            assert error.errno in {EACCES, EINVAL}, name
        else:
            pytest.fail(f"{name} was let through")
    assert is_silent(client)


@FAMILIES
def test_on_the_send_that_decides(granted: Box, family: Family) -> None:
    granted.endpoint("ep-query", family.host, proto="udp")
    granted.rules(egress("ep-query"))
    granted.acl(allow("ep-query", "connect", family.lan))
    client = granted.datagram(granted.world.peer, family.peer)
    for name, ancillary in FORBIDDEN_TO[family.family].items():
        sock = granted.open_socket(family.family, SOCK_DGRAM)
        try:
            sock.sendmsg([b"x"], [ancillary], 0, client.getsockname())
        except OSError as error:
            assert error.errno in {EACCES, EINVAL}, name
        else:
            pytest.fail(f"{name} was let through")
        sock.close()
    assert is_silent(client)


def test_on_a_dual_stack_server(granted: Box) -> None:
    granted.rules(ingress("ep-dns", port=53))
    client = granted.datagram(granted.world.peer, PEER4)
    sock = granted.udp("::")
    sock.bind(("::", 53))
    assert endpoint_of(sock) == "ep-dns"
    lawful = (f"::ffff:{PEER4}", client.getsockname()[1])
    for name, ancillary in (FORBIDDEN4 | FORBIDDEN6).items():
        try:
            sock.sendmsg([b"x"], [ancillary], 0, lawful)
        except OSError as error:
            assert error.errno in {EACCES, EINVAL}, name
        else:
            pytest.fail(f"{name} was let through")
    assert is_silent(client)


def test_on_a_stream(granted: Box) -> None:
    """TCP ignores most of it, and takes a mark from nobody who lacks the capability; the peer's view is what counts."""
    sock, accepted = grant.connected(granted, V4)
    for ancillary in FORBIDDEN4.values():
        try:
            sock.sendmsg([b"x"], [ancillary])
        except OSError:
            continue
        assert receive(accepted) == b"x"
    assert accepted.getpeername() == sock.getsockname()


@FAMILIES
def test_what_is_harmless_is_let_through(granted: Box, family: Family) -> None:
    client = granted.datagram(granted.world.peer, family.peer)
    sock = grant.server(granted, family)
    lawful: list[Ancillary] = [(IPPROTO_UDP, 103, struct.pack("=H", 1000))]
    if family is V4:
        lawful += [(IPPROTO_IP, socket.IP_TTL, struct.pack("=i", 9)), (IPPROTO_IP, socket.IP_TOS, b"\x10")]
        lawful += [pktinfo(0), pktinfo(0, HOST4), pktinfo(0, HOST4, PEER4)]
    else:
        lawful += [(IPPROTO_IPV6, socket.IPV6_HOPLIMIT, struct.pack("=i", 9))]
        lawful += [(IPPROTO_IPV6, socket.IPV6_TCLASS, struct.pack("=i", 16)), pktinfo6(0), pktinfo6(0, HOST6)]
    for ancillary in lawful:
        sock.sendmsg([b"lawful"], [ancillary], 0, client.getsockname())
        data, source = client.recvfrom(16)
        assert (data, source[:2]) == (b"lawful", (family.host, 5300))


@FAMILIES
def test_the_source_of_a_server_on_every_address(box: Box, family: Family) -> None:
    """It may answer from the address that it was asked at, as servers do, but not from the host's loopback."""
    far_host, far_peer = (FAR_HOST4, FAR_PEER4) if family is V4 else (FAR_HOST6, FAR_PEER6)
    info = pktinfo if family is V4 else pktinfo6
    box.endpoint("ep-dns", family.any, 5300, "udp")
    box.rules(ingress("ep-dns", port=53))
    sock = grant.server(box, family)
    client = box.datagram(box.world.peer, far_peer)
    sock.sendmsg([b"x"], [info(0, far_host)], 0, client.getsockname())
    assert client.recvfrom(16)[1][:2] == (far_host, 5300)
    loopback = "127.0.0.1" if family is V4 else "::1"
    for source in (loopback, far_peer, "10.99.9.9" if family is V4 else "fd00:99::9"):
        with fails(EACCES):
            sock.sendmsg([b"x"], [info(0, source)], 0, client.getsockname())
    with fails(EACCES):
        sock.sendmsg([b"x"], [info(FAR_DEVICE, far_host)], 0, client.getsockname())
    assert is_silent(client)


def test_packet_info_of_received_datagrams(granted: Box) -> None:
    """A server learns the address that it was asked at, and answers with it."""
    sock = granted.udp()
    sock.setsockopt(IPPROTO_IP, 8, 1)
    sock.bind(("0.0.0.0", 53))
    client = granted.datagram(granted.world.peer, PEER4)
    client.sendto(b"x", (HOST4, 5300))
    _, ancillary, _, source = sock.recvmsg(16, 64)
    ((level, kind, body),) = ancillary
    assert (level, kind, body[4:8]) == (IPPROTO_IP, 8, socket.inet_aton(HOST4))
    sock.sendmsg([b"answer"], [(level, kind, struct.pack("=i", 0) + body[4:8] + body[8:12])], 0, source)
    assert receive(client) == b"answer"


@FAMILIES
def test_malformed_ancillary_data(granted: Box, family: Family) -> None:
    """Python builds well-formed headers only, so these are bytes."""
    client = granted.datagram(granted.world.peer, family.peer)
    sock = grant.server(granted, family)
    for length in (0, 1, 15, 17, 4096, 0xFFFFFFFFFFFFFFFF):
        control = struct.pack("=Qii", length, family.family, 8) + b"\0" * 16
        with fails(EINVAL, EACCES):
            grant.sendmsg_raw(sock, b"x", client.getsockname(), control)
    assert is_silent(client)


def test_denials_are_counted(granted: Box) -> None:
    client = granted.datagram(granted.world.peer, PEER4)
    sock = grant.server(granted, V4)
    with fails(EACCES):
        sock.sendmsg([b"x"], [pktinfo(FAR_DEVICE)], 0, client.getsockname())
    assert granted.stats("ep-dns")["denials"][U.REASON_OPTION] == 1
