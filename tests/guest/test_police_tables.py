# SPDX-License-Identifier: Apache-2.0
"""Tried from inside the container: writing one's own table, reading another's, hearing what is not one's own."""

import os
import socket
from collections.abc import Callable, Iterator
from errno import EACCES, EBADF, EPERM
from typing import Any

import pytest

import child as process
import kernelcalls
from box import Box
from child import CAP_NET_ADMIN
from expect import fails
from graftnl import Graft
from netlink import CREATE, NlError
from netns import Namespace
from tables import allow, ingress
from uapi import U
from world import HOST4, World

FIELDS: dict[str, Any] = {
    "name": "own",
    "type": U.EP_IPV4,
    "address": socket.inet_aton(HOST4),
    "port_lo": 0,
    "port_hi": 0,
}


@pytest.fixture
def granted(box: Box) -> Box:
    box.endpoint("ep")
    box.rules(ingress("ep"))
    return box


@pytest.fixture
def inside(granted: Box) -> Iterator[Graft]:
    """A netlink socket of the container, opened by its root, who holds every capability."""
    with granted.ns:
        made = Graft()
    yield made
    made.close()


def writes(kernel: Graft, table: int | None, target: int) -> dict[str, Callable[[], object]]:
    """Every request that would change a table."""
    return {
        "endpoint": lambda: kernel.call(
            U.CMD_ENDPOINT_NEW, CREATE, netns_fd=table, endpoint=FIELDS | {"target_fd": target}
        ),
        "delete": lambda: kernel.call(U.CMD_ENDPOINT_DEL, netns_fd=table, endpoint={"name": "ep"}),
        "rules": lambda: kernel.call(U.CMD_RULES_SET, netns_fd=table, rule=[]),
        "acl": lambda: kernel.call(U.CMD_ACL_SET, netns_fd=table, acl=[allow()]),
        "table": lambda: kernel.call(U.CMD_TABLE_SET, netns_fd=table, table={"max_sockets": 9}),
        "abort": lambda: kernel.call(U.CMD_SOCKET_ABORT, netns_fd=table, socket={"endpoint": "ep"}),
    }


def reads(kernel: Graft, table: int | None) -> dict[str, Callable[[], object]]:
    """Every request that would read a table."""
    return {
        "endpoint": lambda: kernel.call(U.CMD_ENDPOINT_GET, netns_fd=table, endpoint={"name": "ep"}),
        "endpoints": lambda: kernel.dump(U.CMD_ENDPOINT_GET, netns_fd=table),
        "rules": lambda: kernel.dump(U.CMD_RULES_GET, netns_fd=table),
        "acl": lambda: kernel.dump(U.CMD_ACL_GET, netns_fd=table),
        "sockets": lambda: kernel.dump(U.CMD_SOCKET_GET, netns_fd=table),
        "table": lambda: kernel.call(U.CMD_TABLE_GET, netns_fd=table),
    }


def all_refused(requests: dict[str, Callable[[], object]], *codes: int) -> None:
    for name, request in requests.items():
        try:
            request()
        except NlError as refusal:
            assert refusal.errno in codes, name
            assert refusal.sentence, name
        else:
            pytest.fail(f"{name} was let through")


def untouched(box: Box) -> None:
    shown = box.writer.call(U.CMD_TABLE_GET, netns_fd=box.ns.fd)[0]["table"]
    assert (shown["endpoints"], shown["rules"], shown["acls"], shown["max_sockets"]) == (1, 1, 0, 65536)
    assert box.stats("ep")["name"] == "ep"


def test_its_own_table(granted: Box, inside: Graft) -> None:
    """Neither with itself as target nor with the host, whose descriptor proves nothing."""
    for table in (None, granted.ns.fd):
        for target in (granted.ns.fd, granted.world.host.fd):
            all_refused(writes(inside, table, target), EPERM)
    untouched(granted)


def test_an_empty_table_of_its_own(world: World, box: Box) -> None:
    with box.ns:
        inside = box.keep(Graft())
    all_refused(writes(inside, None, box.ns.fd), EPERM)
    assert box.writer.call(U.CMD_TABLE_GET, netns_fd=box.ns.fd)[0]["table"]["endpoints"] == 0


def test_another_containers_table(granted: Box, other: Box) -> None:
    with other.ns:
        stranger = other.keep(Graft())
    all_refused(writes(stranger, granted.ns.fd, other.ns.fd), EPERM)
    all_refused(reads(stranger, granted.ns.fd), EPERM)
    untouched(granted)


def test_a_table_that_another_namespace_wrote(granted: Box) -> None:
    with granted.world.peer:
        stranger = granted.keep(Graft())
    all_refused(writes(stranger, granted.ns.fd, granted.world.peer.fd), EPERM)
    untouched(granted)


def test_a_target_that_is_not_the_writers(granted: Box) -> None:
    """The host may not grant the peer's network."""
    with pytest.raises(NlError) as refusal:
        granted.writer.endpoint(granted.ns.fd, **(FIELDS | {"target_fd": granted.world.peer.fd}))
    assert refusal.value.errno == EPERM
    assert refusal.value.sentence
    untouched(granted)


def test_the_initial_namespace_may_write_any_table(granted: Box) -> None:
    initial = granted.keep(Graft())
    own = Namespace.initial()
    initial.endpoint(granted.ns.fd, **(FIELDS | {"target_fd": own.fd}))
    assert granted.stats("own")["target_cookie"] == own.cookie
    initial.call(U.CMD_ENDPOINT_DEL, netns_fd=granted.ns.fd, endpoint={"name": "own"})
    own.close()
    untouched(granted)


@pytest.mark.parametrize("where", ["host", "container"])
def test_without_the_capability(granted: Box, where: str) -> None:
    """In the host's namespace too: root there is not enough."""
    namespace = granted.world.host if where == "host" else granted.ns

    def act() -> None:
        process.keep_capabilities(set())
        kernel = Graft()
        for table in (None, granted.ns.fd):
            all_refused(writes(kernel, table, granted.world.host.fd), EPERM)
            all_refused(reads(kernel, table), EPERM)

    with namespace:
        process.run(act)
    untouched(granted)


def test_a_privileged_socket_in_an_unprivileged_hand(granted: Box) -> None:
    """The sender's capabilities count beside the opener's."""

    def act() -> None:
        process.keep_capabilities(set())
        all_refused(writes(granted.writer, granted.ns.fd, granted.world.host.fd), EPERM)
        all_refused(reads(granted.writer, granted.ns.fd), EPERM)

    process.run(act)
    untouched(granted)


@pytest.mark.parametrize("network", [False, True], ids=["unshare -Ur", "unshare -Urn"])
def test_root_of_a_user_namespace(granted: Box, network: bool) -> None:
    """It has the capability over its own namespace at most."""

    def act() -> None:
        process.unshare_user(network=network)
        kernel = Graft()
        own = os.open("/proc/self/ns/net", os.O_RDONLY)
        for table in (None, own, granted.ns.fd, granted.world.host.fd):
            all_refused(writes(kernel, table, own), EPERM)
            all_refused(writes(kernel, table, granted.world.host.fd), EPERM)
        all_refused(reads(kernel, granted.ns.fd), EPERM)
        all_refused(reads(kernel, granted.world.host.fd), EPERM)

    with granted.ns:
        process.run(act)
    untouched(granted)


def test_a_user_namespace_that_makes_two_networks(granted: Box) -> None:
    """It may not write the table of one from the other: a container's root is not who rules the container."""

    def act() -> int:
        process.unshare_user(network=True)
        outer = os.open("/proc/self/ns/net", os.O_RDONLY)
        kernel = Graft()
        kernelcalls.call("unshare", kernelcalls.CLONE_NEWNET)
        inner_fd = os.open("/proc/self/ns/net", os.O_RDONLY)
        for name, target in (("own", outer), ("host", granted.world.host.fd)):
            with fails(EPERM):
                kernel.endpoint(inner_fd, **(FIELDS | {"name": name, "target_fd": target}))
        return 0

    with granted.ns:
        assert process.run(act) == 0
    untouched(granted)


def test_net_admin_alone_inside_the_container(granted: Box, other: Box) -> None:
    """Not even a table that nobody has written yet: a namespace's descriptor makes nobody its ruler."""

    def act() -> None:
        process.keep_capabilities({CAP_NET_ADMIN})
        kernel = Graft()
        own = os.open("/proc/self/ns/net", os.O_RDONLY)
        for table in (None, own, other.ns.fd, granted.world.host.fd, initial.fd):
            all_refused(writes(kernel, table, granted.world.host.fd), EPERM)
            all_refused(writes(kernel, table, own), EPERM)
        for table in (other.ns.fd, granted.world.host.fd, initial.fd):
            all_refused(reads(kernel, table), EPERM)

    initial = granted.keep(Namespace.initial())

    with granted.ns:
        process.run(act)
    untouched(granted)


def test_a_descriptor_that_is_another_processs_means_nothing(granted: Box, inside: Graft) -> None:
    all_refused(writes(inside, 4000, granted.ns.fd), EBADF)
    untouched(granted)


def test_claiming_from_inside(granted: Box, inside: Graft) -> None:
    """A claim inside the container, if it is granted at all, is of the container's own writing."""
    try:
        inside.call(U.CMD_CLAIM, claimant="evil")
    except NlError as refusal:
        assert refusal.errno in {EPERM, EACCES}
    granted.endpoint("after")
    granted.delete("after")
    untouched(granted)


def test_groups_need_the_capability(granted: Box) -> None:
    def act() -> None:
        process.keep_capabilities(set())
        kernel = Graft()
        for group in ("table", "event"):
            with fails(EPERM):
                kernel.subscribe(group)

    with granted.world.host:
        process.run(act)
