# SPDX-License-Identifier: Apache-2.0
"""Tried from inside the container: keeping a socket across the loss of its grant, by acting in that moment."""

import os
import signal
import threading
from errno import EACCES, EAGAIN
from socket import MSG_FASTOPEN, SOCK_STREAM

import pytest

from box import Box
from conftest import no_sockets
from expect import fails
from fault import LockedSock
from netns import Namespace
from programs import counts, run
from tables import deny
from world import PEER4

LOOPS = int(os.environ.get("GRAFT_RACE_LOOPS", "150"))
# As many as it takes where it is rare that the two meet; a debug kernel, which looks for other things, is too slow.
RARE = 2500 if not os.path.exists("/proc/lockdep_stats") else LOOPS
PATIENCE = max(80, LOOPS // 10)


@pytest.mark.parametrize(
    "act",
    [
        "bind-name",
        "bind",
        "bind-datagram",
        "connect",
        "connect-datagram",
        "sendto",
        "bound-then-connect",
        "bound-then-fastopen",
        "bound-then-sendto",
        "bound-then-listen",
        "accept",
    ],
)
def test_a_socket_made_meanwhile(act: str) -> None:
    """Once an endpoint is deleted with its sockets, none of them, however young, can do anything."""
    ended = act_while("deletion", act)
    assert ended.pop("grafted") > 0
    assert ended == {"alive": 0, "attached": 0, "sends": 0, "receives": 0}


@pytest.mark.parametrize("act", ["bind-name", "bind", "connect", "bound-then-listen", "accept"])
def test_a_socket_of_a_name_that_is_gone(act: str) -> None:
    """The same where the endpoint was deleted without them, and they are aborted by its name."""
    ended = act_while("name", act)
    assert ended.pop("grafted") > 0
    assert ended == {"alive": 0, "attached": 0, "sends": 0, "receives": 0}


@pytest.mark.parametrize("act", ["connect", "connect-datagram", "bound-then-connect", "bound-then-fastopen"])
def test_a_connection_made_meanwhile(act: str) -> None:
    """Once the ACL denies every connect, and what is connected is aborted, nothing is connected."""
    ended = act_while("denial", act)
    assert ended.pop("grafted") > 0
    # one that is not connected has lost nothing
    del ended["alive"]
    assert ended == {"attached": 0, "sends": 0, "receives": 0}


@pytest.mark.parametrize("act", ["bind-datagram", "bound-then-listen", "disconnected-then-listen", "accept"])
def test_a_server_made_meanwhile(act: str) -> None:
    """Once the ACL denies every listen, nothing listens, whatever grafted it, and no server receives."""
    # a listen is over so soon that it is met in the middle but once in some hundred loops
    ended = act_while("listen-denial", act, max(LOOPS, RARE) if act == "disconnected-then-listen" else LOOPS)
    assert ended.pop("grafted") > 0
    # one that does not listen has lost nothing
    del ended["alive"]
    assert ended == {"attached": 0, "sends": 0, "receives": 0}


@pytest.mark.parametrize("act", ["connect", "fast open"])
def test_a_call_that_waits_while_its_leave_goes(box: Box, act: str) -> None:
    """What the ACL allowed when the call began, and denies when it comes to act, does not leave the host."""
    box.endpoint("ep")
    listener = box.listener(box.world.peer, PEER4)
    sock = box.bound("ep", SOCK_STREAM)
    ended: list[int] = []

    def call() -> None:
        try:
            if act == "connect":
                sock.connect(listener.getsockname())
            else:
                sock.sendto(b"x", MSG_FASTOPEN, listener.getsockname())
        except OSError as error:
            ended.append(error.errno or 0)

    with LockedSock(sock):
        thread = threading.Thread(target=call)
        thread.start()
        # it ends, or waits for what is held
        thread.join(0.5)
        assert thread.is_alive(), "the sock was not locked"
        assert box.acl(deny("ep", "connect"), abort=True) == 0
    thread.join(20)
    assert ended == [EACCES]
    listener.setblocking(False)
    with fails(EAGAIN):
        listener.accept()


def act_while(loss: str, act: str, loops: int = LOOPS) -> dict[str, int]:
    """Run the program; return its counts."""
    signal.alarm(PATIENCE + 10)
    here = Namespace.initial()
    try:
        _, printed = run(here, "abort", loss, act, loops, patience=PATIENCE)
    finally:
        here.close()
    no_sockets()
    return counts(printed)
