# SPDX-License-Identifier: Apache-2.0
"""Tried from inside the container, where no ACL stands in the way: what is the target's own, or no one host's at all.

It is the police alone that holds here: by the type of the route, until a rule of the ACL says local.
"""

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from errno import EACCES, ENETUNREACH
from socket import AF_INET, AF_INET6, SO_BROADCAST, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET
from typing import Any

import pytest

from box import Box
from commands import run
from events import Events
from expect import Sentinel, fails
from grant import LOCAL4, LOCAL6, destination
from netlink import REPLACE
from tables import allow, egress, ingress
from uapi import U
from world import FORBIDDEN, HOST4, HOST6, PEER4, PEER6, World, set_sysctl

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


DOORS = pytest.mark.parametrize("door", [1, 2], ids=["door1", "door2"])
EVERY_WAY = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


def all_denied(box: Box, events: Events, way: Way, door: int, addresses: tuple[str, ...]) -> None:
    """Every act towards these addresses ends with EACCES, because they are local."""
    for kind, acts in ACTS.items():
        for act in acts:
            for sock in sockets(box, way, door, kind):
                sock.setsockopt(SOL_SOCKET, SO_BROADCAST, 1)
                sock.setblocking(False)
                for count, address in enumerate(addresses, 1):
                    with fails(EACCES):
                        act(sock, destination(address, FORBIDDEN))
                    denials = [one for one in events.all_of(sock) if one["kind"] == U.EVENT_DENIED]
                    assert len(denials) == count, (act, address)
                    assert denials[-1]["reason"] == U.REASON_LOCAL, (act, address)
                sock.close()


@pytest.mark.parametrize("acl", ["no ACL", "everything"])
@DOORS
@EVERY_WAY
def test_the_targets_own(box: Box, events: Events, way: Way, door: int, acl: str) -> None:
    """EACCES, and the reason is that it is local; with or without an ACL, however it is tried."""
    box.endpoint("ep", way.door1 if door == 1 else way.door2)
    box.rules(egress("ep"), ingress("ep", port=SERVER))
    if acl == "everything":
        box.acl(allow())
    all_denied(box, events, way, door, way.local)


@DOORS
@EVERY_WAY
@pytest.mark.parametrize("more", [{"mark": 0x1234}, {"device": "lan"}, {"mark": 7, "device": "lan"}], ids=str)
def test_with_a_mark_or_a_device(box: Box, events: Events, way: Way, door: int, more: dict[str, Any]) -> None:
    """The look-up with what the endpoint gives its packets finds no less.

    But for the anycast address of another device's IPv6 network: by this one, there is no way to it at all.
    """
    box.endpoint("ep", way.door1 if door == 1 else way.door2, **more)
    box.rules(egress("ep"), ingress("ep", port=SERVER))
    other = {"fd00:20::"} if "device" in more else set()
    all_denied(box, events, way, door, tuple(one for one in way.local if one not in other))
    for address in other.intersection(way.local):
        for sock in sockets(box, way, door, SOCK_DGRAM):
            with fails(ENETUNREACH):
                sock.connect(destination(address, FORBIDDEN))


@DOORS
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


@pytest.fixture(scope="module")
def routed_world(world: World) -> Iterator[World]:
    """A host that routes by mark: 77 is another world, where more is the host's own."""
    del world  # which waits at its end for every namespace to go, this one's as well
    made = World()
    for version, private in (("-4", "10.77.0.0/16"), ("-6", "fd00:77::/64")):
        for words in (
            ("rule", "add", "fwmark", "77", "table", "100", "priority", "10"),
            ("route", "add", "local", private, "dev", "lo", "table", "100"),
            # Marked otherwise, the host's own addresses are the neighbour's.
            ("rule", "add", "fwmark", "78", "table", "101", "priority", "0"),
            ("route", "add", "default", "via", PEER4 if version == "-4" else PEER6, "table", "101"),
            ("rule", "add", "table", "local", "priority", "20"),
            ("rule", "delete", "table", "local", "priority", "0"),
        ):
            run(made.host, "ip", version, *words)
    run(made.host, "ip", "route", "add", "broadcast", "10.78.0.1", "dev", "lan", "table", "100")
    yield made
    made.close()


@pytest.fixture
def routed(routed_world: World) -> Iterator[Box]:
    """A container of that host."""
    made = Box(routed_world)
    yield made
    made.close()


@pytest.fixture
def hears(routed: Box) -> Iterator[Events]:
    """The events of that host's tables; nothing arrives there."""
    listening = Events(routed, "event")
    watch = Sentinel(routed.world.host, FORBIDDEN)
    routed.rules(egress("ep"), ingress("ep", port=SERVER))
    yield listening
    listening.kernel.close()
    try:
        watch.check(routed.world.peer, HOST4)
    finally:
        watch.close()


@DOORS
@EVERY_WAY
def test_what_a_mark_makes_the_targets_own(routed: Box, hears: Events, way: Way, door: int) -> None:
    """Only packets with that mark reach it, and those of the endpoint have it."""
    address = way.door1 if door == 1 else way.door2
    own = ("fd00:77::1",) if way is WAYS["v6"] else ("10.77.0.1", "10.78.0.1")
    mapped = tuple(f"::ffff:{one}" for one in own) if way is WAYS["mapped"] else own
    routed.endpoint("ep", address, mark=77)
    all_denied(routed, hears, way, door, mapped)
    routed.endpoint("ep", address, flags=REPLACE)
    for one in mapped:
        for sock in sockets(routed, way, door, SOCK_DGRAM):
            with fails(ENETUNREACH):
                sock.connect(destination(one, FORBIDDEN))


@DOORS
@EVERY_WAY
def test_an_own_address_that_a_rule_hides(routed: Box, hears: Events, way: Way, door: int) -> None:
    """Packets with that mark would leave for the neighbour, who sends them back: it is no less the host's own."""
    routed.endpoint("ep", way.door1 if door == 1 else way.door2, mark=78)
    all_denied(routed, hears, way, door, way.local[:2])
