# SPDX-License-Identifier: Apache-2.0
"""Tried from inside the container, where no ACL stands in the way: what is the target's own, or no one host's at all.

It is the police alone that holds here: by the type of the route, until a rule of the ACL says local.
"""

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from errno import EACCES
from socket import AF_INET, AF_INET6, SO_BROADCAST, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET

import pytest

from box import Box
from events import Events
from expect import fails
from grant import LOCAL4, LOCAL6, destination
from tables import allow, egress, ingress
from uapi import U
from world import FORBIDDEN, HOST4, HOST6, World, set_sysctl

_MSG_FASTOPEN = 0x20000000
# The port of an ingress rule's server, inside and outside.
SERVER = 53


@dataclass(frozen=True)
class Way:
    """A family of sockets, the endpoint's address for either door, and what is out of reach."""

    family: int
    door1: str
    door2: str
    local: tuple[str, ...]


WAYS = {
    "v4": Way(AF_INET, HOST4, HOST4, LOCAL4),
    "v6": Way(AF_INET6, HOST6, HOST6, LOCAL6),
    "mapped": Way(AF_INET6, "::", "0.0.0.0", tuple(f"::ffff:{one}" for one in LOCAL4)),
}
Act = Callable[[socket.socket, tuple[object, ...]], object]


def connect(sock: socket.socket, to: tuple[object, ...]) -> None:
    sock.connect(to)


def send(sock: socket.socket, to: tuple[object, ...]) -> None:
    sock.sendto(b"x", to)


def fast_open(sock: socket.socket, to: tuple[object, ...]) -> None:
    sock.sendto(b"x", _MSG_FASTOPEN | socket.MSG_NOSIGNAL, to)


ACTS: dict[int, tuple[Act, ...]] = {SOCK_STREAM: (connect, fast_open), SOCK_DGRAM: (connect, send)}


@pytest.fixture
def events(box: Box, watched: World) -> Iterator[Events]:
    listening = Events(box, "event")
    for namespace in (box.ns, box.world.host):
        with namespace:
            set_sysctl("ipv4/tcp_fastopen", "1")
    yield listening
    listening.kernel.close()


def sockets(box: Box, way: Way, door: int, kind: int) -> Iterator[socket.socket]:
    """Sockets that would be grafted by their destination, and those that a server has."""
    if door == 1:
        yield box.bound("ep", kind)
        return
    yield box.open_socket(way.family, kind)
    sock = box.open_socket(way.family, kind)
    sock.bind(("::" if way.family == AF_INET6 else "0.0.0.0", SERVER))
    yield sock


@pytest.mark.parametrize("acl", ["no ACL", "everything"])
@pytest.mark.parametrize("door", [1, 2], ids=["door1", "door2"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_the_targets_own(box: Box, events: Events, way: Way, door: int, acl: str) -> None:
    """EACCES, and the reason is that it is local; with or without an ACL, however it is tried."""
    box.endpoint("ep", way.door1 if door == 1 else way.door2)
    box.rules(egress("ep"), ingress("ep", port=SERVER))
    if acl == "everything":
        box.acl(allow())
    for kind, acts in ACTS.items():
        for act in acts:
            for sock in sockets(box, way, door, kind):
                sock.setsockopt(SOL_SOCKET, SO_BROADCAST, 1)
                for count, address in enumerate(way.local, 1):
                    with fails(EACCES):
                        act(sock, destination(address, FORBIDDEN))
                    denials = [one for one in events.all_of(sock) if one["kind"] == U.EVENT_DENIED]
                    assert len(denials) == count, (act, address)
                    assert denials[-1]["reason"] == U.REASON_LOCAL, (act, address)
                sock.close()


@pytest.mark.parametrize("door", [1, 2], ids=["door1", "door2"])
def test_link_local_addresses_of_a_device(box: Box, events: Events, door: int) -> None:
    """With a scope they are reachable for the host's programs; the host's own, and the neighbours'."""
    box.endpoint("ep", "::")
    box.rules(egress("ep"), ingress("ep", port=SERVER))
    with box.world.host, open("/proc/thread-self/net/if_inet6") as table:
        fields = [line.split() for line in table]
    own = [(one[0], int(one[1], 16)) for one in fields if one[0].startswith("fe80")]
    assert own
    scoped = [(socket.inet_ntop(AF_INET6, bytes.fromhex(address)), index) for address, index in own]
    scoped += [("fe80::2", index) for _, index in own] + [("ff02::1", index) for _, index in own]
    for kind, acts in ACTS.items():
        for act in acts:
            for sock in sockets(box, WAYS["v6"], door, kind):
                for address, scope in scoped:
                    with fails(EACCES):
                        act(sock, destination(address, FORBIDDEN, scope))
                    assert events.denied(sock) == U.REASON_LOCAL
                sock.close()
