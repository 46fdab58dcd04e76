# SPDX-License-Identifier: Apache-2.0
"""The initial namespace names another as an endpoint's target: who may, what flows there, and what of that namespace's
end."""

import os
import socket
from collections.abc import Callable, Iterator
from errno import EACCES, EADDRNOTAVAIL, EBADF, ECONNREFUSED, EINVAL, ENOENT, EPERM
from socket import AF_UNIX, SOCK_DGRAM, SOCK_STREAM
from typing import Any

import pytest

import child as process
import kernelcalls
import module
from box import Box, endpoint_of
from child import CAP_NET_ADMIN
from expect import eventually, fails, receive
from graftnl import Graft
from netlink import CREATE, REPLACE, NlError
from netns import Namespace, assert_gone
from tables import egress, ingress
from uapi import U
from world import HOST4, LAN4, PEER4, World, lo_up

FIELDS: dict[str, Any] = {
    "name": "ep",
    "type": U.EP_IPV4,
    "address": socket.inet_aton("127.0.0.1"),
    "port_lo": 0,
    "port_hi": 0,
}


class FarBox(Box):
    """A container whose table the initial namespace writes, while its endpoints' target is the world's host."""

    def __init__(self, world: World, name: str = "far box") -> None:
        super().__init__(world, name)
        self.initial = Graft()

    @property
    def writer(self) -> Graft:
        return self.initial

    def aim(self, target: int, flags: int = CREATE, name: str = "ep") -> None:
        """An endpoint at a namespace's loopback."""
        self.initial.endpoint(self.ns.fd, flags, **(FIELDS | {"name": name, "target_fd": target}))

    def close(self) -> None:
        super().close()
        self.initial.close()


@pytest.fixture
def box(world: World) -> Iterator[FarBox]:
    made = FarBox(world)
    yield made
    made.close()


@pytest.fixture
def initial() -> Iterator[Namespace]:
    found = Namespace.initial()
    yield found
    found.close()


def refusal(request: Callable[[], object]) -> NlError:
    with pytest.raises(NlError) as caught:
        request()
    assert caught.value.errno == EPERM, caught.value
    return caught.value


def empty(box: Box) -> bool:
    """Nothing stands in the table, and it is nobody's."""
    shown = box.writer.call(U.CMD_TABLE_GET, netns_fd=box.ns.fd)[0]["table"]
    return (shown["endpoints"], shown["owner_cookie"]) == (0, 0)


# What flows.


def test_the_table_is_the_initial_namespaces_and_the_target_another(box: FarBox, initial: Namespace) -> None:
    box.endpoint("ep", HOST4, 8080)
    assert box.stats("ep")["target_cookie"] == box.world.host.cookie
    shown = box.writer.call(U.CMD_TABLE_GET, netns_fd=box.ns.fd)[0]["table"]
    assert shown["owner_cookie"] == initial.cookie


@pytest.mark.parametrize("door", [1, 2])
def test_a_server_has_the_targets_address(box: FarBox, door: int) -> None:
    box.endpoint("ep-http", HOST4, 8080)
    box.rules(ingress("ep-http", port=80))
    if door == 1:
        server = box.bound("ep-http", SOCK_STREAM)
    else:
        server = box.tcp()
        server.bind(("0.0.0.0", 80))
    server.listen(1)
    client = box.client(box.world.peer, HOST4, 8080)
    accepted, source = server.accept()
    box.keep(accepted)
    assert source == client.getsockname()
    client.send(b"request")
    assert receive(accepted) == b"request"
    accepted.send(b"answer")
    assert receive(client) == b"answer"
    (listening, child) = sorted(box.sockets(), key=lambda shown: shown["state"], reverse=True)
    assert {listening["target_cookie"], child["target_cookie"]} == {box.world.host.cookie}


@pytest.mark.parametrize("kind", [SOCK_STREAM, SOCK_DGRAM], ids=["tcp", "udp"])
def test_a_client_comes_from_the_targets_address(box: FarBox, kind: int) -> None:
    box.endpoint("ep-out")
    box.rules(egress("ep-out", LAN4))
    if kind == SOCK_STREAM:
        listener = box.listener(box.world.peer, PEER4)
        sock = box.tcp()
        sock.connect(listener.getsockname())
        accepted, source = listener.accept()
        box.keep(accepted)
        sock.send(b"data")
        assert receive(accepted) == b"data"
    else:
        peer = box.datagram(box.world.peer, PEER4)
        sock = box.udp()
        sock.sendto(b"data", peer.getsockname())
        data, source = peer.recvfrom(16)
        assert data == b"data"
    assert source == (HOST4, sock.getsockname()[1])
    assert endpoint_of(sock) == "ep-out"


def test_the_targets_own_addresses_are_policed_there(box: FarBox) -> None:
    """It is the target whose addresses count, and its sockets that nothing may reach."""
    box.endpoint("ep-out")
    box.rules(egress("ep-out"))
    listener = box.listener(box.world.host, "0.0.0.0")
    for address in ("127.0.0.1", HOST4):
        with fails(EACCES):
            box.tcp().connect((address, listener.getsockname()[1]))
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_an_abort_finds_sockets_in_the_target(box: FarBox) -> None:
    box.endpoint("ep-http", HOST4, 8080)
    box.bound("ep-http", SOCK_STREAM).listen(1)
    assert box.delete("ep-http", abort=True) == 1
    with fails(ECONNREFUSED):
        box.client(box.world.peer, HOST4, 8080)


def test_an_endpoint_moves_from_target_to_target(box: FarBox, initial: Namespace) -> None:
    for target in (box.world.host, initial, box.world.peer, box.world.host):
        box.aim(target.fd, CREATE | REPLACE)
        assert box.stats("ep")["target_cookie"] == target.cookie


def test_the_owner_hears_and_the_target_does_not(box: FarBox) -> None:
    with box.world.host:
        there = box.keep(Graft())
    here = box.keep(Graft())
    for listener in (there, here):
        listener.subscribe("table")
    box.endpoint("ep")
    (heard,) = here.notices()
    assert heard[0] == U.CMD_ENDPOINT_NTF
    assert heard[1]["endpoint"]["target_cookie"] == box.world.host.cookie
    assert there.notices() == []


# Who may.


@pytest.mark.parametrize("where", ["host", "peer"])
def test_from_elsewhere_the_target_is_the_sockets_namespace(box: FarBox, where: str) -> None:
    """Root of the machine, and still: who is elsewhere has no business in a third namespace, nor in the first."""
    writer, third = {"host": ("host", "peer"), "peer": ("peer", "host")}[where]
    with getattr(box.world, writer):
        elsewhere = box.keep(Graft())
    first = box.keep(Namespace.initial())
    for target in (getattr(box.world, third), first):
        refused = refusal(
            lambda target=target: elsewhere.endpoint(box.ns.fd, **(FIELDS | {"target_fd": target.fd}))  # type: ignore[misc]
        )
        assert refused.sentence.endswith("ask from there, or from the initial namespace")
    assert empty(box)


def test_not_the_tables_own_namespace(box: FarBox) -> None:
    refused = refusal(lambda: box.aim(box.ns.fd))
    assert refused.sentence == "the target is the table's own namespace: name another, or let a rule say native"
    assert empty(box)


def test_what_is_no_namespace(box: FarBox) -> None:
    with fails(EBADF):
        box.aim(4000)
    with open("/proc/self/ns/uts") as other, fails(EINVAL):
        box.aim(other.fileno())
    assert empty(box)


def test_without_the_capability(box: FarBox) -> None:
    """In the initial namespace, as root, with every namespace's descriptor at hand."""

    def act() -> None:
        process.keep_capabilities(set())
        kernel = Graft()
        refusal(lambda: kernel.endpoint(box.ns.fd, **(FIELDS | {"target_fd": box.world.host.fd})))

    process.run(act)
    assert empty(box)


def test_a_privileged_socket_in_an_unprivileged_hand(box: FarBox) -> None:
    def act() -> None:
        process.keep_capabilities(set())
        refusal(lambda: box.aim(box.world.host.fd))

    process.run(act)
    assert empty(box)


def test_an_unprivileged_socket_in_a_privileged_hand(box: FarBox) -> None:
    """The opener's capabilities count beside the sender's: a program with more must not be talked into lending them."""
    mine, theirs = socket.socketpair(AF_UNIX, SOCK_STREAM)

    def act() -> None:
        process.keep_capabilities(set())
        kernel = Graft()
        socket.send_fds(theirs, [b"x"], [kernel.sock.fileno()])

    process.run(act)
    _, (descriptor,), _, _ = socket.recv_fds(mine, 1, 1)
    mine.close()
    theirs.close()
    kernel = box.keep(Graft())
    kernel.sock.close()
    kernel.sock = socket.socket(fileno=descriptor)
    refusal(lambda: kernel.endpoint(box.ns.fd, **(FIELDS | {"target_fd": box.world.host.fd})))
    assert empty(box)


def test_root_of_a_user_namespace_in_the_initial_network(box: FarBox) -> None:
    """`unshare -Ur`: every capability, but over nothing that is asked about; then over a target of its own."""

    def act() -> None:
        process.unshare_user()
        kernel = Graft()
        refusal(lambda: kernel.endpoint(box.ns.fd, **(FIELDS | {"target_fd": box.world.host.fd})))
        kernelcalls.call("unshare", kernelcalls.CLONE_NEWNET)
        own = os.open("/proc/self/ns/net", os.O_RDONLY)
        refusal(lambda: kernel.endpoint(box.ns.fd, **(FIELDS | {"target_fd": own})))
        refusal(lambda: kernel.endpoint(own, **(FIELDS | {"target_fd": box.world.host.fd})))

    process.run(act)
    assert empty(box)


def test_inside_the_container_a_descriptor_is_no_right(box: FarBox, stranger: Namespace) -> None:
    """With CAP_NET_ADMIN over everything, as a container without a user namespace has it, and all descriptors."""
    box.endpoint("ep-out")
    first = box.keep(Namespace.initial())

    def act() -> None:
        process.keep_capabilities({CAP_NET_ADMIN})
        kernel = Graft()
        for table in (None, box.ns.fd, stranger.fd):
            for target in (first.fd, box.world.host.fd, box.world.peer.fd, stranger.fd):
                refusal(
                    lambda table=table, target=target: kernel.call(  # type: ignore[misc]
                        U.CMD_ENDPOINT_NEW, CREATE, netns_fd=table, endpoint=FIELDS | {"target_fd": target}
                    )
                )

    with box.ns:
        process.run(act)
    assert box.writer.call(U.CMD_TABLE_GET, netns_fd=box.ns.fd)[0]["table"]["endpoints"] == 1


# The target's end.


def short_lived() -> Namespace:
    made = Namespace.new("short-lived target")
    with made:
        lo_up()
    return made


def others(box: Box) -> frozenset[int]:
    return frozenset({box.ns.id, box.world.host.id, box.world.peer.id})


def test_the_target_goes_and_another_takes_its_place(box: FarBox) -> None:
    first = short_lived()
    box.aim(first.fd)
    cookie = first.cookie
    assert box.stats("ep")["target_cookie"] == cookie
    first.close()
    assert_gone(keep=others(box))
    eventually(lambda: box.stats("ep")["target_cookie"] == 0, "the endpoint has lost its target")
    with fails(EADDRNOTAVAIL):
        box.bound("ep", SOCK_STREAM)
    second = short_lived()
    box.aim(second.fd, REPLACE)
    assert box.stats("ep")["target_cookie"] == second.cookie != cookie
    box.bound("ep", SOCK_STREAM).listen(1)
    assert [shown["target_cookie"] for shown in box.sockets()] == [second.cookie]
    box.close_sockets()
    second.close()
    assert_gone(keep=others(box))


def test_a_live_socket_keeps_the_target_and_an_endpoint_does_not(box: FarBox) -> None:
    target = short_lived()
    box.aim(target.fd)
    box.aim(target.fd, name="ep-idle")
    server = box.bound("ep", SOCK_STREAM)
    server.listen(1)
    client = box.client(target, *server.getsockname())
    target.close()
    client.send(b"still here")
    assert receive(box.keep(server.accept()[0])) == b"still here"
    assert box.stats("ep-idle")["target_cookie"] == box.stats("ep")["target_cookie"] != 0
    box.close_sockets()
    assert_gone(keep=others(box))
    eventually(lambda: box.stats("ep")["target_cookie"] == 0, "the endpoint has lost its target")
    assert box.stats("ep-idle")["target_cookie"] == 0
    assert box.delete("ep") == 0


def test_the_table_goes_before_the_target(world: World) -> None:
    target = short_lived()
    box = FarBox(world)
    box.aim(target.fd)
    box.close()
    assert_gone(keep=frozenset({target.id, world.host.id, world.peer.id}))
    target.close()
    assert_gone(keep=frozenset({world.host.id, world.peer.id}))


@pytest.mark.parametrize("order", ["targets first", "tables first", "in between"])
def test_rings_of_namespaces(world: World, order: str) -> None:
    """Each is the target of the one before it, all written from the initial namespace; let go in every order."""
    boxes = [FarBox(world, f"one of a ring {number}") for number in range(12)]
    for box, target in zip(boxes, boxes[1:] + boxes[:1], strict=True):
        for name in ("ep", "ep-moved", "ep-gone"):
            box.aim(target.ns.fd, name=name)
        box.aim(world.host.fd, REPLACE, name="ep-moved")
        box.delete("ep-gone")
        box.bound("ep", SOCK_DGRAM)
    for box in {"targets first": boxes[::-1], "tables first": boxes, "in between": boxes[::2] + boxes[1::2]}[order]:
        box.close()
    assert_gone(keep=frozenset({world.host.id, world.peer.id}))


def test_the_module_goes_before_the_target(world: World) -> None:
    target = short_lived()
    box = FarBox(world)
    box.aim(target.fd)
    try:
        eventually(module.unload, "the module is unloaded")
        target.close()
        assert_gone(keep=others(box))
    finally:
        if not module.is_loaded():
            assert module.load()
        world.reopen()
    again = box.keep(Graft())
    with fails(ENOENT):
        again.call(U.CMD_ENDPOINT_GET, netns_fd=box.ns.fd, endpoint={"name": "ep"})
    box.close()
