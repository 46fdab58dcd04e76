# SPDX-License-Identifier: Apache-2.0
"""Tried from inside the container: a datagram socket stays connected to what is no longer its to reach."""

import contextlib
import itertools
import os
import socket
from collections.abc import Callable
from errno import EACCES
from socket import IPPROTO_UDP, SOCK_DGRAM

import pytest

import rtnl
from box import Box, endpoint_of
from expect import Sentinel, eventually, fails, receive
from grant import V4, V6, Family
from netns import Namespace
from tables import egress, ingress
from world import HOST4, HOST6

_UDP_CORK = 1
SERVICE, OUTSIDE = 8080, 8081
# Addresses that nobody has, each for one use.
_unused = itertools.count(150)
FAMILIES = pytest.mark.parametrize("family", [V4, V6], ids=["v4", "v6"])


def send(sock: socket.socket) -> None:
    sock.send(b"x")


def sendmsg(sock: socket.socket) -> None:
    sock.sendmsg([b"x"])


def write(sock: socket.socket) -> None:
    os.write(sock.fileno(), b"x")


def sendfile(sock: socket.socket) -> None:
    with open(__file__, "rb") as file:
        os.sendfile(sock.fileno(), file.fileno(), 0, 1)


Way = Callable[[socket.socket], None]
WAYS: tuple[Way, ...] = (send, sendmsg, write, sendfile)


def loopback(family: Family) -> str:
    return "127.0.0.1" if family is V4 else "::1"


def give_address(namespace: Namespace, device: str, address: str) -> None:
    """Add an address to a device, and wait until the kernel has made it the namespace's own."""
    with namespace:
        routes = rtnl.Routes()
        routes.address(device, address, 128 if ":" in address else 32)
        routes.close()
        eventually(lambda: rtnl.is_local(address), "the address is the namespace's own")


def refused(sock: socket.socket) -> None:
    """Every send without an address fails, and goes on to fail."""
    for way in (*WAYS, *WAYS):
        with fails(EACCES):
            way(sock)


def sends(sock: socket.socket, to: socket.socket) -> None:
    """Every send without an address arrives."""
    for way in WAYS:
        way(sock)
        assert len(receive(to)) == 1


@pytest.fixture
def any_port(box: Box) -> Box:
    """A table that gives out any port for datagrams."""
    box.endpoint("ep4", HOST4, proto="udp")
    box.endpoint("ep6", HOST6, proto="udp")
    return box


def holder_and_client(box: Box, family: Family) -> tuple[socket.socket, socket.socket]:
    """A socket that holds a port of the host, and one that is connected to that."""
    name = "ep4" if family is V4 else "ep6"
    holder, sock = box.bound(name, SOCK_DGRAM), box.bound(name, SOCK_DGRAM)
    sock.connect(holder.getsockname())
    return holder, sock


@FAMILIES
def test_the_holder_of_the_port_is_gone(any_port: Box, family: Family) -> None:
    """The port is a program's of the host now."""
    holder, sock = holder_and_client(any_port, family)
    sends(sock, holder)
    address, port = holder.getsockname()[:2]
    any_port.close_sockets(sock)
    daemon = any_port.keep(Sentinel(any_port.world.host, port, address))
    refused(sock)
    daemon.check(any_port.world.peer, address)


@FAMILIES
def test_the_holder_went_while_data_was_corked(any_port: Box, family: Family) -> None:
    """What waits was let through for the holder, and is nobody else's."""
    holder, sock = holder_and_client(any_port, family)
    address, port = holder.getsockname()[:2]
    sock.setsockopt(IPPROTO_UDP, _UDP_CORK, 1)
    sock.send(b"corked")
    any_port.close_sockets(sock)
    daemon = any_port.keep(Sentinel(any_port.world.host, port, address))
    with contextlib.suppress(OSError):
        sock.setsockopt(IPPROTO_UDP, _UDP_CORK, 0)
    daemon.check(any_port.world.peer, address)


@FAMILIES
def test_nobody_has_the_port_yet(any_port: Box, family: Family) -> None:
    """Nothing is sent before there is a program, either."""
    _, sock = holder_and_client(any_port, family)
    any_port.close_sockets(sock)
    refused(sock)


@FAMILIES
def test_the_holder_of_the_port_lives(any_port: Box, family: Family) -> None:
    holder, sock = holder_and_client(any_port, family)
    sends(sock, holder)
    number = next(_unused)
    give_address(any_port.world.host, "lan", f"10.66.0.{number}" if family is V4 else f"fd00:66::{number}")
    sends(sock, holder)


@pytest.fixture(params=[V4, V6], ids=["v4", "v6"])
def looped(box: Box, request: pytest.FixtureRequest) -> tuple[Box, Family, socket.socket, socket.socket]:
    """A server of the container behind every address of the host, and a client that is looped to it."""
    family: Family = request.param
    box.endpoint("ep", family.any, OUTSIDE)
    box.rules(ingress("ep", port=SERVICE))
    server = box.open_socket(family.family, SOCK_DGRAM)
    server.bind((family.any, SERVICE))
    assert endpoint_of(server) == "ep"
    sock = box.open_socket(family.family, SOCK_DGRAM)
    sock.connect((loopback(family), SERVICE))
    assert endpoint_of(sock) == "ep"
    sends(sock, server)
    return box, family, server, sock


Looped = tuple[Box, Family, socket.socket, socket.socket]


@pytest.mark.parametrize("where", ["loopback", "every address"])
def test_the_server_of_the_own_namespace_is_gone(looped: Looped, where: str) -> None:
    """What was its place in the host's loopback is a daemon's now."""
    box, family, server, sock = looped
    server.close()
    address = loopback(family)
    daemon = box.keep(Sentinel(box.world.host, OUTSIDE, address if where == "loopback" else family.any))
    refused(sock)
    daemon.check(box.world.host, address)


def test_the_server_of_the_own_namespace_lives(looped: Looped) -> None:
    box, family, server, sock = looped
    number = next(_unused)
    give_address(box.world.host, "lan", f"10.66.0.{number}" if family is V4 else f"fd00:66::{number}")
    sends(sock, server)


@pytest.fixture
def routed(box: Box) -> Box:
    """A container that may go everywhere that is not the host's own."""
    box.endpoint("ep4", HOST4)
    box.endpoint("ep6", HOST6)
    box.rules(egress("ep4", "0.0.0.0/0"), egress("ep6", "::/0"))
    return box


def open_by(box: Box, family: Family, door: str) -> socket.socket:
    if door == "door1":
        return box.bound("ep4" if family is V4 else "ep6", SOCK_DGRAM)
    return box.open_socket(family.family, SOCK_DGRAM)


@FAMILIES
@pytest.mark.parametrize("door", ["door1", "door2"])
def test_the_peers_address_became_the_hosts(routed: Box, family: Family, door: str) -> None:
    """It was nobody's when the socket was connected to it."""
    number = next(_unused)
    address = f"10.10.0.{number}" if family is V4 else f"fd00:10::{number}"
    sock = open_by(routed, family, door)
    sock.connect((address, OUTSIDE))
    send(sock)
    give_address(routed.world.host, "far", address)
    daemon = routed.keep(Sentinel(routed.world.host, OUTSIDE, address))
    refused(sock)
    daemon.check(routed.world.host, address)


@FAMILIES
@pytest.mark.parametrize("door", ["door1", "door2"])
def test_the_host_got_another_address(routed: Box, family: Family, door: str) -> None:
    """A peer that is still granted is sent to all the same."""
    peer = routed.datagram(routed.world.peer, family.peer)
    sock = open_by(routed, family, door)
    sock.connect(peer.getsockname())
    sends(sock, peer)
    for device in ("lan", "far"):
        number = next(_unused)
        give_address(routed.world.host, device, f"10.66.0.{number}" if family is V4 else f"fd00:66::{number}")
        sends(sock, peer)
