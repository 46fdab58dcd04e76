# SPDX-License-Identifier: Apache-2.0
"""A destination that was allowed once is remembered; nothing that takes the leave away is missed for it."""

import itertools
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from errno import EACCES
from socket import SOCK_DGRAM, SOL_SOCKET

import pytest

import child as process
import rtnl
from box import Box, state
from events import Events
from expect import eventually, fails, receive
from grant import V4, V6, Family
from tables import allow, deny, egress, ingress
from uapi import U
from world import PEER4, PEER6

WEB = 1001
_SO_MARK, _SO_BINDTODEVICE = 36, 25
# Addresses of the LAN that nobody has, each for one use.
_unused = itertools.count(100)


@dataclass
class Server:
    """A datagram socket that may answer ``client``, and just did, twice."""

    box: Box
    family: Family
    sock: socket.socket
    client: socket.socket
    events: Events

    @property
    def to(self) -> tuple[object, ...]:
        name: tuple[object, ...] = self.client.getsockname()
        return name

    def send(self, to: tuple[object, ...] | None = None) -> None:
        self.sock.sendto(b"x", to or self.to)

    def denied(self, reason: int, to: tuple[object, ...] | None = None) -> None:
        """The next send is refused, for this reason, and the one after it, too."""
        for _ in range(2):
            with fails(EACCES):
                self.send(to)
            assert self.events.denied(self.sock) == reason

    def answers(self) -> None:
        self.send()
        assert receive(self.client) == b"x"


@pytest.fixture(params=["v4-door1", "v4-door2", "v6-door1", "v6-door2"])
def server(box: Box, request: pytest.FixtureRequest) -> Iterator[Server]:
    version, door = request.param.split("-")
    family = V4 if version == "v4" else V6
    box.endpoint("ep", family.host, 5300)
    box.rules(ingress("ep", port=53))
    box.acl(allow("ep", "listen"), allow("ep", "connect", uid_lo=0))
    events = Events(box, "event")
    if door == "door1":
        sock = box.bound("ep", SOCK_DGRAM)
    else:
        sock = box.open_socket(family.family, SOCK_DGRAM)
        sock.bind((family.any, 53))
    client = box.datagram(box.world.peer, PEER4 if family is V4 else PEER6)
    made = Server(box, family, sock, client, events)
    made.answers()
    made.answers()
    yield made
    events.kernel.close()


def test_the_acl_denies_it_now(server: Server) -> None:
    server.box.acl(allow("ep", "listen"), deny("ep", "connect", server.family.lan), allow("ep", "connect"))
    server.denied(U.REASON_ACL)
    server.box.acl()
    server.answers()


def test_another_user_sends(server: Server) -> None:
    def act() -> int:
        process.become(WEB, WEB)
        try:
            server.send()
        except OSError as error:
            return error.errno or 0
        return 0

    assert process.run(act) == EACCES
    assert server.events.denied(server.sock) == U.REASON_ACL
    server.answers()


def test_the_host_has_got_that_address(server: Server) -> None:
    number = next(_unused)
    address = f"10.10.0.{number}" if server.family is V4 else f"fd00:10::{number}"
    to = (address, 9)
    server.send(to)
    server.send(to)
    with server.box.world.host:
        routes = rtnl.Routes()
        routes.address("lan", address, 32 if server.family is V4 else 128)
        routes.close()
        eventually(lambda: rtnl.is_local(address), "the address is the host's own")
    server.denied(U.REASON_LOCAL, to)
    server.answers()


def test_an_egress_rule_denies_it_now(server: Server) -> None:
    server.box.rules(ingress("ep", port=53), egress("deny", server.family.peer))
    server.denied(U.REASON_RULE)
    server.box.rules(ingress("ep", port=53))
    server.answers()


def test_the_grant_is_withdrawn(server: Server) -> None:
    assert server.box.delete("ep", abort=True) == 1
    assert state(server.sock) == U.STATE_REVOKED
    for _ in range(2):
        with fails(EACCES):
            server.send()


@pytest.mark.parametrize(("option", "value"), [(_SO_MARK, 77), (_SO_BINDTODEVICE, b"far\0")], ids=["mark", "device"])
def test_a_mark_or_a_device_was_set(server: Server, option: int, value: int | bytes) -> None:
    """Where the option does not pass the module, the next send shows it; elsewhere it is not set at all."""
    try:
        server.sock.setsockopt(SOL_SOCKET, option, value)
    except OSError:
        server.answers()
    else:
        server.denied(U.REASON_OPTION)
