# SPDX-License-Identifier: Apache-2.0
"""Two containers of one host talk by datagrams, each through its endpoint, and to nobody of the host's."""

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from errno import EACCES
from socket import IPPROTO_UDP, SOCK_DGRAM

import pytest

from box import Box
from door1 import bind_name
from expect import Sentinel, fails, receive
from grant import V4, V6, Family
from kernelcalls import disconnect
from tables import egress, ingress
from uapi import U
from world import HOST4

_PORT = 5300
_TIMES = 3
_RACES = 200
_UDP_CORK = 1


@dataclass
class Talk:
    """A server of the neighbour's, a client of the container's, and where that was last."""

    box: Box
    family: Family
    server: socket.socket
    client: socket.socket
    connected: bool
    place: tuple[str, int] = ("", 0)

    def ask(self) -> None:
        """Send a datagram of the client's."""
        if self.connected:
            self.client.send(b"ask")
        else:
            self.client.sendto(b"ask", (self.family.host, _PORT))

    def answer(self) -> None:
        """Send a datagram to the client's place."""
        self.server.sendto(b"answer", self.place)

    def exchange(self) -> None:
        """A question and its answer."""
        self.ask()
        data, place = self.server.recvfrom(100)
        self.place = place[:2]
        assert data == b"ask"
        self.answer()
        assert receive(self.client) == b"answer"


@pytest.fixture(params=["addressed", "connected", "door1"])
def way(request: pytest.FixtureRequest) -> str:
    """How the client names the server, and the door that it takes."""
    return str(request.param)


@pytest.fixture(params=[V4, V6], ids=["v4", "v6"])
def talk(request: pytest.FixtureRequest, way: str, box: Box, other: Box) -> Talk:
    """A conversation, a few exchanges old."""
    family: Family = request.param
    other.endpoint("server", family.host, port=_PORT)
    other.rules(ingress("server", port=_PORT))
    box.endpoint("client", family.host)
    box.rules(egress("client", f"{family.host}/{128 if family is V6 else 32}"))
    server = other.udp(family.host)
    server.bind((family.any, _PORT))
    server.settimeout(10)
    client = box.bound("client", SOCK_DGRAM) if way == "door1" else box.udp(family.host)
    if way == "connected":
        client.connect((family.host, _PORT))
    made = Talk(box, family, server, client, connected=way == "connected")
    for _ in range(_TIMES):
        made.exchange()
    return made


def test_they_talk(talk: Talk) -> None:
    """From the first answer on; the server sees the host's address and a port of the client's own."""
    assert talk.place == talk.client.getsockname()[:2]


def taken_over(talk: Talk, place: tuple[str, int], act: Callable[[], None]) -> None:
    """A program of the host's has that place now, and nothing of ``act`` arrives there."""
    address, port = place
    daemon = Sentinel(talk.box.world.host, port, address)
    try:
        for _ in range(_TIMES):
            with fails(EACCES):
                act()
        daemon.check(talk.box.world.peer, address)
    finally:
        daemon.tcp.close()
        daemon.udp.close()


def test_the_client_is_gone(talk: Talk) -> None:
    talk.box.close_sockets()
    taken_over(talk, talk.place, talk.answer)


def test_the_client_was_aborted(talk: Talk) -> None:
    assert talk.box.delete("client", abort=True) == 1
    taken_over(talk, talk.place, talk.answer)


def test_the_server_is_gone(talk: Talk) -> None:
    talk.server.close()
    taken_over(talk, (talk.family.host, _PORT), talk.ask)


def test_the_server_was_aborted(talk: Talk, other: Box) -> None:
    assert other.delete("server", abort=True) == 1
    taken_over(talk, (talk.family.host, _PORT), talk.ask)


@pytest.mark.parametrize("way", ["addressed", "connected"], indirect=True)
def test_the_client_gives_its_port_back(talk: Talk) -> None:
    """A disconnect does, and the next datagram has another port, which is answered."""
    if not talk.connected:
        talk.client.connect((talk.family.host, _PORT))
    old = talk.place
    disconnect(talk.client.fileno())
    assert talk.client.getsockname()[1] == 0
    taken_over(talk, old, talk.answer)
    if talk.connected:
        talk.client.connect((talk.family.host, _PORT))
    talk.exchange()
    assert talk.place == talk.client.getsockname()[:2]


def push(sock: socket.socket) -> None:
    """Let go what was corked, by the option and by a datagram that names nobody."""
    with fails(EACCES):
        sock.setsockopt(IPPROTO_UDP, _UDP_CORK, 0)
    with fails(EACCES):
        sock.send(b"more")


@pytest.mark.parametrize("way", ["addressed", "door1"], indirect=True)
@pytest.mark.parametrize("then", ["", "disconnected"])
def test_what_was_corked_for_the_server_is_nobody_elses(talk: Talk, then: str) -> None:
    """Addressed while the server was there, it waits; a disconnect does not drop it."""
    if then:
        talk.client.connect((talk.family.host, _PORT))
    talk.client.setsockopt(IPPROTO_UDP, _UDP_CORK, 1)
    talk.client.sendto(b"corked", (talk.family.host, _PORT))
    if then:
        disconnect(talk.client.fileno())
    talk.server.close()
    address, port = talk.family.host, _PORT
    daemon = Sentinel(talk.box.world.host, port, address)
    try:
        push(talk.client)
        daemon.check(talk.box.world.peer, address)
    finally:
        daemon.tcp.close()
        daemon.udp.close()


def test_what_was_corked_arrives(talk: Talk) -> None:
    talk.client.setsockopt(IPPROTO_UDP, _UDP_CORK, 1)
    for _ in range(2):
        talk.ask()
    talk.client.setsockopt(IPPROTO_UDP, _UDP_CORK, 0)
    assert receive(talk.server) == b"askask"


@pytest.mark.parametrize("talk", [V4], indirect=True, ids=["v4"])
@pytest.mark.parametrize("way", ["door1"], indirect=True)
def test_a_send_before_the_bind_is_done(talk: Talk) -> None:
    """Both enter the socket among those that hold a port; it is there once, and goes whole."""
    for _ in range(_RACES):
        sock = talk.box.ns.open_socket(U.AF_GRAFT, SOCK_DGRAM, 0)
        again = socket.socket(socket.AF_INET, SOCK_DGRAM, fileno=sock.detach())
        bound = threading.Event()

        def send_until_bound(to: socket.socket = again, over: threading.Event = bound) -> None:
            while not over.is_set():
                with contextlib.suppress(OSError):
                    to.sendto(b"ask", (talk.family.host, _PORT))

        thread = threading.Thread(target=send_until_bound)
        thread.start()
        bind_name(again, "client")
        place = again.getsockname()
        bound.set()
        thread.join()
        talk.server.sendto(b"x", place)
        again.close()
        with fails(EACCES):
            talk.server.sendto(b"x", place)


@pytest.mark.parametrize("talk", [V4], indirect=True, ids=["v4"])
@pytest.mark.parametrize("way", ["addressed"], indirect=True)
def test_a_server_bound_to_a_device_leaves_its_port_to_others(talk: Talk, other: Box) -> None:
    """A program of the host's may have that port of another device, so nobody reaches it but by that device."""
    other.endpoint("lan", HOST4, port=_PORT + 1, device="lan")
    other.rules(ingress("server", port=_PORT), ingress("lan", port=_PORT + 1))
    server = other.udp(HOST4)
    server.bind(("0.0.0.0", _PORT + 1))
    with fails(EACCES):
        talk.client.sendto(b"x", (HOST4, _PORT + 1))


def test_another_client_is_not_reached(talk: Talk) -> None:
    """One that asked nobody of this host may not be answered by anybody of this host."""
    stranger = talk.box.udp(talk.family.host)
    talk.box.rules(egress("client"))
    stranger.sendto(b"x", (talk.family.peer, 9))
    with fails(EACCES):
        talk.server.sendto(b"x", (talk.family.host, stranger.getsockname()[1]))


def test_a_program_of_the_host_is_not_reached(talk: Talk) -> None:
    daemon = Sentinel(talk.box.world.host, 4500, talk.family.host)
    try:
        for send in (talk.server.sendto, talk.client.sendto):
            with fails(EACCES):
                send(b"x", (talk.family.host, 4500))
        daemon.check(talk.box.world.peer, talk.family.host)
    finally:
        daemon.tcp.close()
        daemon.udp.close()
