# SPDX-License-Identifier: Apache-2.0
"""Tried from inside the container: a second thread races the first on the same socket."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import grant
from box import Box
from expect import Sentinel
from grant import V4, V6, Family
from netlink import REPLACE
from programs import counts, run
from tables import allow, egress, ingress
from world import FAR_PEER4, FAR_PEER6, FORBIDDEN

LOOPS = int(os.environ.get("GRAFT_RACE_LOOPS", "150"))
PATIENCE = max(80, LOOPS // 10)
FAMILIES = pytest.mark.parametrize("family", [V4, V6], ids=["v4", "v6"])


def race(box: Box, family: Family, first: str, second: str) -> dict[str, int]:
    """Race two acts; how they ended. TCP ends in a listener of the peer, UDP in a socket there.

    Allowed and forbidden have one port: an address that is read while it is written is then one of the two, and not a
    third that is lawful, too. A sentinel watches over the forbidden one.
    """
    far = FAR_PEER4 if family is V4 else FAR_PEER6
    listener = box.listener(box.world.peer, family.peer)
    port = listener.getsockname()[1]
    box.datagram(box.world.peer, family.peer, port)
    sentinel = box.keep(Sentinel(box.world.peer, port, far))
    with accepting(listener):
        arguments = first, second, LOOPS, f"{family.peer}/{port}", f"{far}/{port}", 8080
        _, printed = run(box.ns, "race", *arguments, patience=PATIENCE)
    sentinel.check(box.world.host, far)
    return counts(printed)


@contextmanager
def accepting(listener: socket.socket) -> Iterator[None]:
    """Connections are accepted and closed meanwhile: as many as there are, however short the queue."""

    def accept() -> None:
        while True:
            try:
                listener.accept()[0].close()
            except OSError:
                return

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture(autouse=True)
def _long_forms_take_longer(_patience: None) -> None:
    signal.alarm(PATIENCE + 10)


@pytest.fixture
def granted(box: Box) -> Box:
    grant.grant(box)
    for family, name in ((V4, "ep"), (V6, "ep6")):
        box.endpoint(name, family.host)
    box.rules(
        *(egress(name, f"{family.any}/0") for family, name in ((V4, "ep"), (V6, "ep6"))),
        *(ingress(name, f"{family.any}/0") for family, name in ((V4, "ep"), (V6, "ep6"))),
    )
    acls = []
    for family, name in ((V4, "ep"), (V6, "ep6")):
        acls += [allow(name, "listen"), allow(name, "connect", family.lan)]
    box.acl(*acls)
    return box


@FAMILIES
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("connect-allowed", "connect-forbidden"),
        ("connect-allowed", "disconnect-connect"),
        ("connect-allowed", "fastopen-forbidden"),
        ("connect-allowed", "fastopen-option"),
        ("connect-flipping", "flip"),
        ("bind", "connect-forbidden"),
        ("bind", "disconnect-connect"),
        ("bind", "fastopen-forbidden"),
        ("sendto-allowed", "sendto-forbidden"),
        ("sendto-allowed", "connect-forbidden"),
        ("sendto-flipping", "flip"),
        ("bind", "sendto-forbidden"),
    ],
)
def test_a_forbidden_destination(granted: Box, family: Family, first: str, second: str) -> None:
    """The sentinel at the forbidden address sees nothing, and no socket has such a peer."""
    ended = race(granted, family, first, second)
    assert ended["forbidden"] == 0
    assert ended["grafted"] > 0
    assert granted.sockets() == []


@pytest.mark.parametrize("second", ["mark", "device", "transparent", "repair", "source-route"])
@pytest.mark.parametrize("first", ["connect-allowed", "bind", "sendto-allowed"])
def test_state_that_slips_in(granted: Box, first: str, second: str) -> None:
    """An option set while the socket moves is either seen before, or refused after."""
    if (first, second) == ("sendto-allowed", "repair"):
        first = "disconnect-connect"
    ended = race(granted, V4, first, second)
    assert ended["tainted"] == 0
    assert sum(count for name, count in ended.items() if name.startswith("first.")) == LOOPS


@FAMILIES
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("bind", "bind"),
        ("connect-allowed", "connect-allowed"),
        ("connect-allowed", "bind"),
        ("bind", "listen"),
        ("connect-allowed", "listen"),
        ("connect-allowed", "shutdown"),
        ("connect-allowed", "look"),
        ("bind", "look"),
        ("sendto-allowed", "sendto-allowed"),
        ("connect-allowed", "ulp"),
        ("connect-allowed", "addrform"),
    ],
)
def test_two_at_once(granted: Box, family: Family, first: str, second: str) -> None:
    """Nothing breaks, nothing is grafted twice, nothing stays."""
    ended = race(granted, family, first, second)
    assert ended["forbidden"] == 0
    if (first, second) == ("bind", "bind"):
        assert ended.get("first.ok", 0) + ended.get("second.ok", 0) == LOOPS
    if second == "ulp":
        assert "second.ok" not in ended
    assert granted.sockets() == []
    shown = granted.stats("ep" if family is V4 else "ep6")
    assert shown["active"] == 0


@pytest.mark.parametrize("first", ["bind-name", "bind-name-datagram"])
@pytest.mark.parametrize(
    "second", ["bind-name", "receive", "poll", "options", "shutdown", "look", "mark", "device", "transparent", "listen"]
)
def test_two_at_once_through_door1(granted: Box, first: str, second: str) -> None:
    """A sock takes the placeholder's place under calls that are at work with it."""
    if (first, second) == ("bind-name-datagram", "listen"):
        second = "sendto-allowed"
    ended = race(granted, V4, first, second)
    assert (ended["forbidden"], ended["tainted"]) == (0, 0)
    if second == "bind-name":
        assert ended["first.ok"] + ended.get("second.ok", 0) == LOOPS
    elif second not in {"mark", "device", "transparent"}:
        assert ended["first.ok"] == ended["grafted"] == LOOPS
    assert granted.sockets() == []
    assert granted.stats("ep")["active"] == 0


@FAMILIES
def test_a_datagrams_device(granted: Box, family: Family) -> None:
    """A disconnect makes UDP forget its device. No datagram leaves by another one in that moment.

    The far LAN is where routing would send them, the endpoint's device is the near one.
    """
    far = FAR_PEER4 if family is V4 else FAR_PEER6
    name = "ep" if family is V4 else "ep6"
    granted.endpoint(name, family.any, flags=REPLACE, device="lan")
    granted.acl()
    sentinel = granted.keep(Sentinel(granted.world.peer, FORBIDDEN, far, "far"))
    where = f"{far}/{FORBIDDEN}"
    # Of loops of so many acts, a debug kernel gets through one in a second or two.
    loops = LOOPS // 10 if os.path.exists("/proc/lockdep_stats") else 2 * LOOPS
    _, printed = run(
        granted.ns, "race", "sendto-often", "disconnect-often", loops, where, where, 8080, patience=PATIENCE
    )
    sentinel.check(granted.world.host, far)
    assert counts(printed)["grafted"] > 0
