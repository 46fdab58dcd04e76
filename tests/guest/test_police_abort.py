# SPDX-License-Identifier: Apache-2.0
"""Tried from inside the container: keeping a socket across the deletion of its endpoint, by acting in that moment."""

import os
import signal

import pytest

from conftest import no_sockets
from netns import Namespace
from programs import counts, run

LOOPS = int(os.environ.get("GRAFT_RACE_LOOPS", "150"))
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
    signal.alarm(PATIENCE + 10)
    here = Namespace.initial()
    try:
        _, printed = run(here, "abort", act, LOOPS, patience=PATIENCE)
    finally:
        here.close()
    ended = counts(printed)
    assert ended.pop("grafted") > 0
    assert ended == {"alive": 0, "attached": 0, "sends": 0, "receives": 0}
    no_sockets()
