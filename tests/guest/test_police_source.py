# SPDX-License-Identifier: Apache-2.0
"""Tried from inside the container: choosing the address that the host's packets come from.

In its own namespace a container may bind whatever address it likes. None of it may come along to the host, where an
endpoint of every address and any port leaves the choice to routing.
"""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from socket import AF_INET, AF_INET6, IPPROTO_IP, IPPROTO_IPV6, SOCK_DGRAM, SOCK_STREAM

import pytest

from box import Box, endpoint_of
from expect import receive
from grant import destination
from kernelcalls import disconnect
from tables import egress
from world import BOX4, BOX6, FAR_HOST4, FAR_HOST6, HOST4, HOST6, PEER4, PEER6

_IP_FREEBIND, _IP_BIND_ADDRESS_NO_PORT, _IPV6_FREEBIND = 15, 24, 78


@dataclass(frozen=True)
class Route:
    """The program's family, the endpoint's wildcard, where it goes, and what the peer must see."""

    family: int
    wildcard: str
    to: str
    host: str
    foreign: tuple[str, ...]


FOREIGN4 = (FAR_HOST4, "127.0.0.1", BOX4, "10.10.0.77")
FOREIGN6 = (FAR_HOST6, "::1", BOX6, "fd00:10::77", "2001:db8::7")
ROUTES = {
    "v4": Route(AF_INET, "0.0.0.0", PEER4, HOST4, FOREIGN4),
    "v6": Route(AF_INET6, "::", PEER6, HOST6, FOREIGN6),
    "mapped": Route(AF_INET6, "0.0.0.0", f"::ffff:{PEER4}", HOST4, tuple(f"::ffff:{one}" for one in FOREIGN4)),
}
EVERY = pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)
Hide = Callable[[socket.socket, str], None]


def without_a_port(sock: socket.socket, address: str) -> None:
    """An address and no port, which the socket is to choose at connect."""
    sock.setsockopt(IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
    sock.bind((address, 0))


def disconnected(sock: socket.socket, address: str) -> None:
    """An address whose port went with a connect() to AF_UNSPEC."""
    sock.bind((address, 0))
    disconnect(sock.fileno())


def carrier(box: Box, route: Route, kind: int, hide: Hide, address: str) -> socket.socket:
    """An undecided socket that has ``address`` and no port."""
    sock = box.open_socket(route.family, kind)
    sock.setsockopt(IPPROTO_IP, _IP_FREEBIND, 1)
    if route.family == AF_INET6:
        sock.setsockopt(IPPROTO_IPV6, _IPV6_FREEBIND, 1)
    hide(sock, address)
    assert sock.getsockname()[:2] == (address, 0)
    return sock


@EVERY
@pytest.mark.parametrize("hide", [without_a_port, disconnected])
def test_a_datagram(box: Box, route: Route, hide: Hide) -> None:
    box.endpoint("ep", route.wildcard)
    box.rules(egress("ep"))
    server = box.datagram(box.world.peer, PEER6 if route.host == HOST6 else PEER4)
    for address in route.foreign:
        for connects in (False, True):
            sock = carrier(box, route, SOCK_DGRAM, hide, address)
            to = destination(route.to, server.getsockname()[1])
            if connects:
                sock.connect(to)
                sock.send(b"x")
            else:
                sock.sendto(b"x", to)
            assert endpoint_of(sock) == "ep"
            data, source = server.recvfrom(16)
            assert (data, source[:2]) == (b"x", (route.host, sock.getsockname()[1])), address
            server.sendto(b"answer", source)
            assert receive(sock) == b"answer"


@EVERY
def test_a_stream(box: Box, route: Route) -> None:
    """The container's own address is what an honest client binds, and it works."""
    box.endpoint("ep", route.wildcard)
    box.rules(egress("ep"))
    listener = box.listener(box.world.peer, PEER6 if route.host == HOST6 else PEER4)
    for address in route.foreign:
        sock = carrier(box, route, SOCK_STREAM, without_a_port, address)
        sock.connect(destination(route.to, listener.getsockname()[1]))
        assert endpoint_of(sock) == "ep"
        accepted, source = listener.accept()
        box.keep(accepted).send(b"x")
        assert source[0] == route.host, address
        assert receive(sock) == b"x"


@EVERY
def test_through_an_endpoint_of_one_address(box: Box, route: Route) -> None:
    box.endpoint("ep", route.host)
    box.rules(egress("ep"))
    server = box.datagram(box.world.peer, PEER6 if route.host == HOST6 else PEER4)
    for address in route.foreign:
        sock = carrier(box, route, SOCK_DGRAM, without_a_port, address)
        sock.sendto(b"x", destination(route.to, server.getsockname()[1]))
        assert server.recvfrom(16)[1][0] == route.host, address
