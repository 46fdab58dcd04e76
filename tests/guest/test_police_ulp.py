# SPDX-License-Identifier: Apache-2.0
"""Tried from inside the container: TCP_ULP on every kind of socket, then rmmod, then a host program's kTLS.

kTLS builds tables for the whole kernel out of the operations of whichever socket asks for it.
"""

import socket
from collections.abc import Iterator
from errno import ENOPROTOOPT, ENOTCONN

import pytest

import ktls
import module
from box import Box, endpoint_of, is_native
from conftest import CANNOT
from door1 import bind_name
from expect import eventually, fails, receive
from netns import Namespace
from tables import egress, ingress
from world import BOX4, HOST4, HOST6, PEER4, PEER6, World, lo_up

FAMILIES = pytest.mark.parametrize(("host", "peer"), [(HOST4, PEER4), (HOST6, PEER6)], ids=["v4", "v6"])


@pytest.fixture(autouse=True)
def _tls() -> None:
    if not module.load("tls"):
        pytest.skip(f"{CANNOT}load tls")


@pytest.fixture
def granted(box: Box) -> Box:
    for name, host in (("ep-4", HOST4), ("ep-6", HOST6)):
        box.endpoint(name, host)
    box.rules(egress("ep-4", "10.0.0.0/8"), egress("ep-6", "fd00::/16"), ingress("ep-4", port=80))
    return box


@pytest.fixture
def bystander() -> Iterator[Namespace]:
    """A namespace with a loopback that has nothing to do with any table."""
    made = Namespace.new("bystander")
    with made:
        lo_up()
    yield made
    made.close()


def plain_pair(namespace: Namespace, address: str) -> tuple[socket.socket, socket.socket]:
    """Two ends of a plain connection."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with namespace.open_socket(family, socket.SOCK_STREAM) as listener:
        listener.bind((address, 0))
        listener.listen(1)
        client = namespace.open_socket(family, socket.SOCK_STREAM)
        client.connect(listener.getsockname())
        return client, listener.accept()[0]


def host_uses_ktls(namespace: Namespace) -> None:
    """A host program's kTLS works, over both families."""
    for address in ("127.0.0.1", "::1"):
        one, other = plain_pair(namespace, address)
        ktls.talk(one, other)
        one.close()
        other.close()


def ask_of_everything(box: Box, host: str, peer: str) -> None:
    """TCP_ULP on undecided, bound, door 1's, grafted, listening and accepted sockets of the container."""
    listener = box.listener(box.world.peer, peer)
    undecided, grafted = box.tcp(peer), box.tcp(peer)
    grafted.connect(listener.getsockname())
    accepted = box.keep(listener.accept()[0])
    assert endpoint_of(grafted).startswith("ep-")
    bound = box.tcp(peer)
    bound.bind(("::" if ":" in peer else "0.0.0.0", 0))
    named = box.door1(socket.SOCK_STREAM)
    door1 = box.door1(socket.SOCK_STREAM)
    bind_name(door1, "ep-6" if ":" in host else "ep-4")
    for sock in (undecided, bound, grafted, named, door1):
        with fails(ENOPROTOOPT, ENOTCONN):
            ktls.ask(sock)
    with fails(ENOPROTOOPT):
        ktls.ask(grafted)
    with fails(ENOPROTOOPT):
        ktls.ask(undecided)
    grafted.send(b"plain")
    assert receive(accepted) == b"plain"


@FAMILIES
def test_no_socket_of_ours_has_it(granted: Box, host: str, peer: str) -> None:
    ask_of_everything(granted, host, peer)


def test_an_accepted_socket_has_it_not(granted: Box) -> None:
    granted.endpoint("ep-http", HOST4, 8080)
    granted.rules(ingress("ep-http", port=80))
    server = granted.tcp()
    server.bind((BOX4, 80))
    server.listen(1)
    client = granted.client(granted.world.peer, HOST4, 8080)
    child = granted.keep(server.accept()[0])
    with fails(ENOPROTOOPT):
        ktls.ask(child)
    child.send(b"plain")
    assert receive(client) == b"plain"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_native_socket_has_it(granted: Box, address: str) -> None:
    """Native means native: the kernel's own operations answer, and encrypt."""
    listener = granted.listener(granted.ns, address)
    client = granted.tcp(address)
    client.connect(listener.getsockname())
    assert is_native(client)
    ktls.talk(client, granted.keep(listener.accept()[0]))


@pytest.mark.parametrize("order", ["v4 first", "v6 first"])
def test_the_host_after_the_module_went(world: World, bystander: Namespace, order: str) -> None:
    """With nothing of the module left in memory, tables built from its operations would lead nowhere."""
    box = Box(world, "attacker")
    for name, host in (("ep-4", HOST4), ("ep-6", HOST6)):
        box.endpoint(name, host)
    box.rules(egress("ep-4", "10.0.0.0/8"), egress("ep-6", "fd00::/16"))
    pairs = [(HOST4, PEER4), (HOST6, PEER6)]
    for host, peer in pairs if order == "v4 first" else reversed(pairs):
        ask_of_everything(box, host, peer)
        box.close_sockets()
    native = box.tcp()
    listener = box.listener(box.ns, "127.0.0.1")
    native.connect(listener.getsockname())
    ktls.talk(native, box.keep(listener.accept()[0]))
    native_bound = box.tcp()
    native_bound.bind((BOX4, 0))
    native_bound.listen(1)
    box.close()
    world.writer.close()
    try:
        eventually(module.unload, "the module unloads")
        assert not module.is_loaded()
        host_uses_ktls(bystander)
    finally:
        assert module.load()
        world.reopen()
    host_uses_ktls(bystander)
