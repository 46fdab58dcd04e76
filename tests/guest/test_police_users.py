# SPDX-License-Identifier: Apache-2.0
"""The ACL: who may do what through which endpoint. A descriptor that changes hands changes who asks."""

import os
import socket
from errno import EACCES
from socket import AF_INET, SOCK_DGRAM, SOCK_STREAM
from typing import Any

import pytest

import child as process
from box import Box, endpoint_of, state
from door1 import bind_name, inet
from expect import fails, receive
from grant import V4, V6, Family
from kernelcalls import disconnect
from netlink import CREATE, REPLACE
from netns import Namespace
from tables import allow, deny, egress, ingress
from uapi import U
from world import FAR_PEER4, FAR_PEER6, FORBIDDEN, HOST4, LAN4, PEER4, World

WEB, DNS, NOBODY = 1001, 1002, 65534
FAMILIES = pytest.mark.parametrize("family", [V4, V6], ids=["v4", "v6"])


@pytest.fixture
def granted(box: Box, watched: World) -> Box:
    box.endpoint("ep-out")
    box.endpoint("ep-http", HOST4, 8080)
    box.rules(ingress("ep-http", port=80), egress("ep-out"))
    return box


def connects(box: Box, uid: int, gid: int = 5000, groups: tuple[int, ...] = (), address: str = PEER4) -> bool:
    """Whether a user's connect through ``ep-out`` is let through."""
    listener = box.listener(box.world.peer, PEER4)
    port = listener.getsockname()[1] if address == PEER4 else FORBIDDEN

    def act() -> str:
        process.become(uid, gid, *groups)
        with socket.socket(AF_INET, SOCK_STREAM, U.IPPROTO_GRAFT) as sock:
            sock.connect((address, port))
            return endpoint_of(sock)

    with box.ns:
        try:
            return bool(process.run(act) == "ep-out")
        except OSError as error:
            assert error.errno == EACCES
            return False


def serves(box: Box, uid: int) -> bool:
    """Whether a user's listen through ``ep-http`` is let through."""

    def act() -> str:
        process.become(uid, 5000)
        with socket.socket(AF_INET, SOCK_STREAM, U.IPPROTO_GRAFT) as sock:
            sock.bind(("0.0.0.0", 80))
            sock.listen(1)
            return endpoint_of(sock)

    with box.ns:
        try:
            return bool(process.run(act) == "ep-http")
        except OSError as error:
            assert error.errno == EACCES
            return False


def test_one_user(granted: Box) -> None:
    granted.acl(allow("ep-out", "connect", uid_lo=WEB))
    assert connects(granted, WEB)
    assert not connects(granted, DNS)
    assert not connects(granted, 0)
    assert serves(granted, DNS)


def test_users_of_a_range(granted: Box) -> None:
    granted.acl(allow("ep-out", "connect", uid_lo=WEB, uid_hi=DNS))
    assert [connects(granted, uid) for uid in (WEB - 1, WEB, DNS, DNS + 1)] == [False, True, True, False]


def test_groups_and_supplementary_groups(granted: Box) -> None:
    granted.acl(allow("ep-out", "connect", gid_lo=2000))
    assert connects(granted, WEB, 2000)
    assert connects(granted, WEB, 5000, (2000,))
    assert not connects(granted, WEB, 5000, (2001,))


def test_the_first_rule_that_matches_decides(granted: Box) -> None:
    granted.acl(deny("ep-out", uid_lo=WEB), allow("ep-out"))
    assert not connects(granted, WEB)
    assert connects(granted, DNS)
    granted.acl(allow("ep-out", net=LAN4), deny("ep-out"))
    assert connects(granted, WEB)
    assert not connects(granted, WEB, address=FAR_PEER4)


def test_a_deny_alone_leaves_the_rest(granted: Box) -> None:
    granted.acl(deny("ep-out", "connect", FAR_PEER4))
    assert connects(granted, WEB)
    assert not connects(granted, WEB, address=FAR_PEER4)


def test_an_allow_for_every_endpoint_narrows_every_endpoint(granted: Box) -> None:
    granted.acl(allow(None, uid_lo=WEB))
    assert connects(granted, WEB)
    assert not connects(granted, DNS)
    assert not serves(granted, DNS)


def make_endpoint(box: Box, table: int) -> None:
    """``ep-out`` and its rule, in the table of the namespace of a descriptor."""
    fields = {"name": "ep-out", "type": U.EP_IPV4, "address": socket.inet_aton(HOST4), "port_lo": 0, "port_hi": 0}
    box.writer.endpoint(table, target_fd=box.world.host.fd, **fields)
    box.writer.call(U.CMD_RULES_SET, netns_fd=table, rule=[egress("ep-out")])


def test_ids_of_the_container(granted: Box) -> None:
    """A rule may speak of the ids that the container's own user namespace gives."""

    def act(own: bool) -> object:
        theirs.send(b"x")
        theirs.recv(1)
        with socket.socket(AF_INET, SOCK_STREAM, U.IPPROTO_GRAFT) as sock:
            return sock.connect_ex(listener.getsockname()), own

    def enter(own: bool) -> object:
        process.become(WEB, WEB)
        process.unshare_user(network=True)
        return act(own)

    listener = granted.listener(granted.world.peer, PEER4)
    for own, uid, due in ((True, 0, 0), (True, WEB, EACCES), (False, WEB, 0), (False, 0, EACCES)):
        ours, theirs = (granted.keep(one) for one in socket.socketpair())
        program = process.Child(enter, own)
        assert ours.recv(1) == b"x"
        table = os.open(f"/proc/{program.pid}/ns/net", os.O_RDONLY)
        make_endpoint(granted, table)
        rule = allow("ep-out", "connect", uid_lo=uid, own_ids=own)
        granted.writer.call(U.CMD_ACL_SET, netns_fd=table, acl=[rule])
        os.close(table)
        ours.send(b"y")
        assert program.result() == (due, own)


def test_a_destination_is_no_leave_to_listen(granted: Box) -> None:
    """A rule with an address or a port is about connecting, whatever verbs it names or leaves out."""
    for rule in (
        allow("ep-http", net=LAN4),
        allow("ep-http", port=80),
        allow("ep-http", net="0.0.0.0/0"),
        allow(None, net=LAN4),
    ):
        granted.acl(rule)
        assert not serves(granted, 0), rule
        with fails(EACCES):
            granted.udp().bind(("0.0.0.0", 80))
        granted.acl(rule, allow("ep-http", "listen"))
        assert serves(granted, 0), rule


def test_a_destination_is_no_bar_to_listening(granted: Box) -> None:
    for rule in (deny("ep-http", net=LAN4), deny("ep-http", port=80), deny(None, net="0.0.0.0/0")):
        granted.acl(rule)
        assert serves(granted, 0), rule
    granted.acl(deny("ep-http"))
    assert not serves(granted, 0)


@pytest.mark.parametrize("ids", ["uid", "gid"])
def test_ids_that_the_container_does_not_map(granted: Box, ids: str) -> None:
    """A rule of the container's own ids never means one who has none there, though such ids read as 65534."""

    def act() -> tuple[int, int]:
        process.become(WEB, WEB)
        process.unshare_user(network=True)
        theirs.send(b"x")
        theirs.recv(1)
        sock = socket.socket(AF_INET, SOCK_STREAM, U.IPPROTO_GRAFT)
        socket.send_fds(theirs, [b"x"], [sock.fileno()])
        theirs.recv(1)
        return 0, 0

    listener = granted.listener(granted.world.peer, PEER4)
    for low, high, due in ((65534, 65534, EACCES), (0, 0xFFFFFFFE, EACCES), (1, 70000, EACCES)):
        ours, theirs = (granted.keep(one) for one in socket.socketpair())
        program = process.Child(act)
        assert ours.recv(1) == b"x"
        table = os.open(f"/proc/{program.pid}/ns/net", os.O_RDONLY)
        make_endpoint(granted, table)
        rule = allow("ep-out", "connect", own_ids=True) | {f"{ids}_lo": low, f"{ids}_hi": high}
        granted.writer.call(U.CMD_ACL_SET, netns_fd=table, acl=[rule])
        os.close(table)
        ours.send(b"y")
        _, descriptors, _, _ = socket.recv_fds(ours, 16, 4)
        with socket.socket(AF_INET, SOCK_STREAM, fileno=descriptors[0]) as sock:
            assert sock.connect_ex(listener.getsockname()) == due, (low, high)
        ours.send(b"z")
        program.result()


def test_listening_through_a_client_endpoint(granted: Box) -> None:
    granted.acl(allow("ep-out", "connect"), allow("ep-http", "connect"))
    assert not serves(granted, 0)
    named = granted.door1(SOCK_STREAM)

    def listen() -> None:
        bind_name(named, "ep-http")
        named.listen(1)

    with fails(EACCES):
        listen()
    with fails(111), granted.world.peer.open_socket(AF_INET, SOCK_STREAM) as probe:
        probe.connect((HOST4, 8080))
    client = granted.tcp()
    listener = granted.listener(granted.world.peer, PEER4)
    client.connect(listener.getsockname())
    granted.keep(listener.accept()[0])
    disconnect(client.fileno())
    with fails(EACCES):
        client.listen(1)


@pytest.mark.parametrize("port", [8080, (8080, 8081), 0], ids=["fixed", "range", "any"])
@pytest.mark.parametrize("kind", [SOCK_STREAM, SOCK_DGRAM], ids=["tcp", "udp"])
@FAMILIES
def test_serving_through_a_client_endpoint(
    box: Box, watched: World, family: Family, kind: int, port: int | tuple[int, int]
) -> None:
    """Listening is what leave is needed for; for datagrams a bind to a port that others know is just that.

    An endpoint of any port is for clients: they may be bound, and have no port that anybody was told.
    """
    box.endpoint("ep", family.host, port)
    box.rules(ingress("ep", port=80), egress("ep"))
    box.acl(allow("ep", "connect"))
    sock = box.open_socket(family.family, kind)
    with fails(EACCES):
        sock.bind((family.any, 80))
    assert state(sock) == U.STATE_UNDECIDED
    named = box.door1(kind)
    if kind == SOCK_DGRAM and port:
        with fails(EACCES):
            bind_name(named, "ep")
        assert state(named) == U.STATE_UNDECIDED
    else:
        bind_name(named, "ep")
        if kind == SOCK_STREAM:
            with fails(EACCES):
                named.listen(1)
    assert box.stats("ep")["denials"][U.REASON_ACL] >= 2 - (kind == SOCK_DGRAM and not port)
    clients = [sock]
    if state(named) == U.STATE_GRAFTED:
        clients = [box.keep(inet(named)), sock]
    named.close()
    for client in clients:
        server = box.listener if kind == SOCK_STREAM else box.datagram
        client.connect(server(box.world.peer, family.peer).getsockname())
        assert endpoint_of(client) == "ep"
        if kind == SOCK_STREAM:
            disconnect(client.fileno())
            with fails(EACCES):
                client.listen(1)
        client.close()


def test_connecting_through_a_server_endpoint(granted: Box) -> None:
    granted.acl(allow("ep-http", "listen"))
    server = granted.door1(SOCK_STREAM)
    bind_name(server, "ep-http")
    sock = granted.keep(inet(server))
    with fails(EACCES):
        sock.connect((PEER4, FORBIDDEN))
    sock.listen(1)
    granted.client(granted.world.peer, HOST4, 8080)
    granted.keep(sock.accept()[0])


def grafting(box: Box, family: Family, door: int, kind: int) -> socket.socket:
    """A client of ``ep``, which is of any port: grafted through door 1, undecided through door 2."""
    box.endpoint("ep", family.host, flags=CREATE | REPLACE)
    box.rules(egress("ep"))
    return box.bound("ep", kind) if door == 1 else box.open_socket(family.family, kind)


DOORS = pytest.mark.parametrize("door", [1, 2], ids=["door1", "door2"])


@DOORS
@FAMILIES
def test_a_descriptor_passed_to_another_user(box: Box, family: Family, door: int) -> None:
    """Who connects or sends is asked about, not who made the socket."""
    listener = box.listener(box.world.peer, family.peer)
    server = box.datagram(box.world.peer, family.peer)
    box.acl(allow("ep", "connect", uid_lo=0))
    sock, datagram, again = (grafting(box, family, door, kind) for kind in (SOCK_STREAM, SOCK_DGRAM, SOCK_DGRAM))
    again.connect((family.peer, 9))

    def act() -> list[int]:
        process.become(WEB, 5000)
        ended = [one.connect_ex(listener.getsockname()) for one in (sock, datagram, again)]
        for one in (datagram, again):
            try:
                one.sendto(b"x", server.getsockname())
            except OSError as error:
                ended.append(error.errno or 0)
        return ended

    assert process.run(act) == [EACCES] * 5
    sock.connect(listener.getsockname())
    box.keep(listener.accept()[0])
    for one in (datagram, again):
        one.sendto(b"x", server.getsockname())
        assert receive(server) == b"x"


LOSSES = pytest.mark.parametrize("loss", ["the same ACL", "another endpoint"])


def lose_nothing(box: Box, loss: str, *acl: dict[str, Any]) -> int:
    """Abort what none of the box's sockets depends on; return how many were aborted."""
    if loss == "the same ACL":
        return box.acl(*acl, abort=True)
    box.endpoint("ep-unrelated")
    return box.delete("ep-unrelated", abort=True)


def accepted_by(box: Box, server: socket.socket, uid: int) -> socket.socket:
    """A connection that a worker of this user accepted, and passed on."""

    def act() -> None:
        process.become(uid, uid)
        child, _ = server.accept()
        socket.send_fds(theirs, [b"x"], [child.fileno()])

    ours, theirs = (box.keep(one) for one in socket.socketpair())
    process.run(act)
    _, (descriptor,), _, _ = socket.recv_fds(ours, 1, 1)
    made: socket.socket = box.keep(socket.socket(AF_INET, SOCK_STREAM, fileno=descriptor))
    return made


@LOSSES
@DOORS
def test_an_abort_leaves_what_another_user_accepts(granted: Box, door: int, loss: str) -> None:
    """Leave to listen is the listener's: an abort that takes none of it ends nothing that its workers accept."""
    rule = allow("ep-http", "listen", uid_lo=0, uid_hi=0)
    granted.acl(rule)
    server = granted.bound("ep-http", SOCK_STREAM) if door == 1 else granted.tcp()
    if door == 2:
        server.bind(("0.0.0.0", 80))
    server.listen(4)
    pairs = []
    for turn in range(3):
        client = granted.client(granted.world.peer, HOST4, 8080)
        if turn == 1:
            assert lose_nothing(granted, loss, rule) == 0
        pairs.append((client, accepted_by(granted, server, NOBODY)))
        for near, far in pairs:
            near.send(b"question")
            assert receive(far) == b"question"
            far.send(b"answer")
            assert receive(near) == b"answer"
    assert {state(child) for _, child in pairs} == {U.STATE_GRAFTED}
    assert granted.acl(deny("ep-http", "listen"), abort=True) == 1 + len(pairs)
    assert {state(sock) for sock in (server, *(child for _, child in pairs))} == {U.STATE_REVOKED}


@LOSSES
@pytest.mark.parametrize("kind", [SOCK_STREAM, SOCK_DGRAM], ids=["tcp", "udp"])
def test_an_abort_asks_about_who_connected(granted: Box, kind: int, loss: str) -> None:
    """Not about who opened the socket: a program that gave up root connects as the user that the ACL allows."""
    rule = allow("ep-out", "connect", uid_lo=WEB)
    granted.acl(rule)
    listen = granted.listener if kind == SOCK_STREAM else granted.datagram
    first, second = (listen(granted.world.peer, PEER4) for _ in range(2))
    sock = granted.open_socket(AF_INET, kind)

    def reach(server: socket.socket) -> None:
        """Connect as the user; a message arrives."""

        def act() -> None:
            process.become(WEB, 5000)
            sock.connect(server.getsockname())

        process.run(act)
        sock.send(b"connected")
        assert receive(granted.keep(server.accept()[0]) if kind == SOCK_STREAM else server) == b"connected"

    assert sock.connect_ex(first.getsockname()) == EACCES
    reach(first)
    assert lose_nothing(granted, loss, rule) == 0
    assert state(sock) == U.STATE_GRAFTED
    if kind == SOCK_STREAM:
        disconnect(sock.fileno())
    reach(second)
    assert granted.acl(deny("ep-out", "connect", uid_lo=WEB), abort=True) == 1
    assert state(sock) == U.STATE_REVOKED


@pytest.mark.parametrize("again", ["connect", "listen"])
def test_an_abort_asks_about_who_was_let_in_last(granted: Box, again: str) -> None:
    """A socket that changes hands is the last one's: what the first may no longer do is no reason to end it."""
    endpoint = "ep-out" if again == "connect" else "ep-http"
    both, last = allow(endpoint, again, uid_lo=0), allow(endpoint, again, uid_lo=WEB)
    granted.acl(both, last)
    sock = granted.tcp()
    if again == "connect":
        sock.connect(granted.listener(granted.world.peer, PEER4).getsockname())
        disconnect(sock.fileno())
    else:
        sock.bind(("0.0.0.0", 80))
    server = granted.listener(granted.world.peer, PEER4).getsockname()

    def act() -> None:
        process.become(WEB, 5000)
        if again == "connect":
            sock.connect(server)
        else:
            sock.listen(1)

    process.run(act)
    assert granted.acl(last, abort=True) == 0
    assert state(sock) == U.STATE_GRAFTED
    assert granted.acl(both, abort=True) == 1
    assert state(sock) == U.STATE_REVOKED


@DOORS
@FAMILIES
def test_a_descriptor_passed_to_another_namespace(
    box: Box, watched: World, stranger: Namespace, family: Family, door: int
) -> None:
    """The table of the namespace that made it rules, wherever the call comes from: a user namespace's, too."""
    far = FAR_PEER4 if family is V4 else FAR_PEER6
    box.acl(allow("ep", "connect", family.lan))
    listener = box.listener(box.world.peer, family.peer)
    server = box.datagram(box.world.peer, family.peer)

    def elsewhere() -> list[int]:
        """What is refused, then what is not."""
        ended = [one.connect_ex((far, FORBIDDEN)) for one in (sock, datagram)]
        try:
            datagram.sendto(b"x", (far, FORBIDDEN))
        except OSError as error:
            ended.append(error.errno or 0)
        datagram.sendto(b"x", server.getsockname())
        return [*ended, sock.connect_ex(listener.getsockname())]

    def in_a_strangers() -> list[int]:
        with stranger:
            return elsewhere()

    def in_one_of_its_own() -> list[int]:
        process.unshare_user(network=True)
        return elsewhere()

    for act in (in_a_strangers, in_one_of_its_own):
        sock, datagram = (grafting(box, family, door, kind) for kind in (SOCK_STREAM, SOCK_DGRAM))
        assert process.run(act) == [EACCES] * 3 + [0]
        assert endpoint_of(sock) == endpoint_of(datagram) == "ep"
        box.keep(listener.accept()[0]).send(b"x")
        assert receive(sock) == receive(server) == b"x"


def test_a_strangers_socket_used_inside(granted: Box, stranger: Namespace) -> None:
    """A socket that another namespace made gains nothing inside the container."""
    foreign = granted.keep(stranger.open_socket(AF_INET, SOCK_STREAM, U.IPPROTO_GRAFT))
    with granted.ns:
        assert foreign.connect_ex((PEER4, FORBIDDEN)) == 101
    foreign.close()


def test_frozen(granted: Box) -> None:
    listener = granted.listener(granted.world.peer, PEER4)
    before = granted.tcp()
    before.connect(listener.getsockname())
    granted.table(frozen=1)
    with fails(EACCES):
        granted.tcp().connect(listener.getsockname())
    with fails(EACCES):
        granted.bound("ep-http", SOCK_DGRAM)
    accepted = granted.keep(listener.accept()[0])
    accepted.send(b"still works")
    assert receive(before) == b"still works"
    granted.table(frozen=0)
    granted.tcp().connect(listener.getsockname())
