# SPDX-License-Identifier: Apache-2.0
"""Tried from inside the container: state that takes more than one option to prepare, and data that waits.

As in test_police_state.py, the tests' root stands for the root of a container's own user namespace.
"""

import socket
import struct
from collections.abc import Callable
from errno import EACCES, EAGAIN, EOPNOTSUPP
from socket import AF_INET, AF_INET6, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, IPPROTO_UDP, SOCK_DGRAM, SOCK_STREAM

import pytest

import module
import rtnl
from box import Box, endpoint_of, state
from conftest import CANNOT
from events import Events
from expect import eventually, fails, receive
from grant import V4, V6, Family
from tables import allow, egress, ingress
from uapi import U
from world import FAR_PEER4, FORBIDDEN, PEER4, World

_IP_XFRM_POLICY, _IPV6_XFRM_POLICY = 17, 35
_IPV6_JOIN_ANYCAST, _IPV6_FLOWLABEL_MGR = 27, 32
_UDP_CORK, _UDP_ENCAP, _UDP_GRO = 1, 100, 104
_ESP_IN_UDP = 2
_ANYCAST = "fd00:30:1::7"


def need(name: str) -> None:
    """Load a module of the kernel's own, or skip."""
    if not module.load(name):
        pytest.skip(f"{CANNOT}load {name}")


def xfrm_policy(sock: socket.socket) -> None:
    need("xfrm_user")
    selector = struct.pack("=40sH14s", b"", sock.family, b"")
    policy = selector + struct.pack("=96sIIBBBB4s", b"", 0, 0, 1, 0, 0, 0, b"")
    if sock.family == AF_INET:
        sock.setsockopt(IPPROTO_IP, _IP_XFRM_POLICY, policy)
    else:
        sock.setsockopt(IPPROTO_IPV6, _IPV6_XFRM_POLICY, policy)


def flow_label(sock: socket.socket) -> None:
    """Create a label for packets to the peer, and hold it."""
    request = socket.inet_pton(AF_INET6, V6.peer) + struct.pack("!I", 0) + struct.pack("=BBHHHI", 0, 1, 1, 0, 0, 0)
    sock.setsockopt(IPPROTO_IPV6, _IPV6_FLOWLABEL_MGR, request)


def anycast(sock: socket.socket) -> None:
    membership = socket.inet_pton(AF_INET6, _ANYCAST) + struct.pack("=i", 1)
    sock.setsockopt(IPPROTO_IPV6, _IPV6_JOIN_ANYCAST, membership)


def congestion_control(sock: socket.socket) -> None:
    """One that only the privileged may choose."""
    need("tcp_dctcp")
    sock.setsockopt(IPPROTO_TCP, socket.TCP_CONGESTION, b"dctcp")


def encapsulation_taken_back(sock: socket.socket) -> None:
    """What xfrm had put into the socket stays there."""
    sock.setsockopt(IPPROTO_UDP, _UDP_GRO, 1)
    sock.setsockopt(IPPROTO_UDP, _UDP_ENCAP, _ESP_IN_UDP)
    sock.setsockopt(IPPROTO_UDP, _UDP_ENCAP, 0)


Prepare = Callable[[socket.socket], None]
CASES = [
    (V4, SOCK_STREAM, xfrm_policy),
    (V4, SOCK_DGRAM, xfrm_policy),
    (V6, SOCK_STREAM, xfrm_policy),
    (V6, SOCK_DGRAM, xfrm_policy),
    (V6, SOCK_STREAM, flow_label),
    (V6, SOCK_DGRAM, flow_label),
    (V6, SOCK_DGRAM, anycast),
    (V4, SOCK_STREAM, congestion_control),
    (V6, SOCK_STREAM, congestion_control),
    (V4, SOCK_DGRAM, encapsulation_taken_back),
    (V6, SOCK_DGRAM, encapsulation_taken_back),
]


@pytest.fixture
def granted(box: Box, watched: World) -> Box:
    for name, family in (("ep4", V4), ("ep6", V6)):
        box.endpoint(name, family.host)
    box.rules(ingress("ep4", "0.0.0.0/0"), ingress("ep6", "::/0"), egress("ep4", "0.0.0.0/0"), egress("ep6", "::/0"))
    with box.ns:
        routes = rtnl.Routes()
        routes.address("lo", "fd00:30:1::1", 64)
        routes.close()
        eventually(lambda: rtnl.is_local("fd00:30:1::1"), "the address is the box's own")
    return box


@pytest.mark.parametrize(("family", "kind", "prepare"), CASES)
def test_it_keeps_a_socket_from_being_grafted(granted: Box, family: Family, kind: int, prepare: Prepare) -> None:
    """With EOPNOTSUPP and a sentence, and the socket is none of the host's."""
    sock = granted.open_socket(family.family, kind)
    prepare(sock)
    events = Events(granted, "event")
    with fails(EOPNOTSUPP):
        sock.connect((family.peer, FORBIDDEN))
    with fails(EOPNOTSUPP):
        sock.bind((family.any, 8080))
    if kind == SOCK_DGRAM:
        with fails(EOPNOTSUPP):
            sock.sendto(b"x", (family.peer, FORBIDDEN))
    assert events.denied(sock) == U.REASON_STATE
    assert events.all_of(sock)[-1]["detail"]
    events.kernel.close()
    assert state(sock) == U.STATE_UNDECIDED
    assert granted.sockets() == []


# Who may choose that congestion control on the host is up to the host: the tests' root may.
LATER = [case for case in CASES if case[2] is not congestion_control]


@pytest.mark.parametrize(("family", "kind", "prepare"), LATER)
def test_it_cannot_be_set_afterwards(granted: Box, family: Family, kind: int, prepare: Prepare) -> None:
    sock = granted.open_socket(family.family, kind)
    sock.bind((family.any, 8080))
    assert state(sock) == U.STATE_GRAFTED
    with pytest.raises(OSError):
        prepare(sock)


def test_an_ordinary_congestion_control_comes_along(granted: Box) -> None:
    sock = granted.tcp()
    sock.setsockopt(IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
    listener = granted.listener(granted.world.peer, PEER4)
    sock.connect(listener.getsockname())
    assert endpoint_of(sock) == "ep4"
    assert sock.getsockopt(IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0") == b"reno"


def test_corked_data_goes_where_it_was_allowed(granted: Box) -> None:
    """What waits in a cork was let through for its destination; no other one is given it, and a revoked one nothing."""
    granted.acl(allow("ep4", "listen"), allow("ep4", "connect", V4.lan))
    client = granted.datagram(granted.world.peer, PEER4)
    sock = granted.udp()
    sock.setsockopt(IPPROTO_UDP, _UDP_CORK, 1)
    sock.sendto(b"one ", client.getsockname())
    assert endpoint_of(sock) == "ep4"
    with fails(EACCES):
        sock.sendto(b"two ", (FAR_PEER4, FORBIDDEN))
    sock.send(b"three")
    client.setblocking(False)
    with fails(EAGAIN):
        client.recv(16)
    sock.setsockopt(IPPROTO_UDP, _UDP_CORK, 0)
    assert receive(client) == b"one three"
    sock.setsockopt(IPPROTO_UDP, _UDP_CORK, 1)
    sock.sendto(b"too late", client.getsockname())
    assert granted.delete("ep4", abort=True) == 1
    with fails(EACCES):
        sock.setsockopt(IPPROTO_UDP, _UDP_CORK, 0)
    sock.close()
    with fails(EAGAIN):
        client.recv(16)
