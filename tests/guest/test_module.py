# SPDX-License-Identifier: Apache-2.0
"""The module's parameter, and its tracepoint."""

import socket
from collections.abc import Iterator
from errno import EACCES, EAFNOSUPPORT
from pathlib import Path
from socket import SOCK_STREAM

import pytest

import module
from box import Box, endpoint_of
from commands import run
from door1 import bind_raw, sockaddr_gr
from expect import eventually, fails
from netns import Namespace
from tables import egress
from uapi import U
from world import HOST4, PEER4, World

# AF_APPLETALK and AF_INET: one that the guest does not use, and one that it does.
_FREE, _BUSY = 5, 2
_TRACING = Path("/sys/kernel/tracing")


@pytest.fixture
def unloaded(world: World) -> Iterator[World]:
    """The module is away; afterwards it is back as it was."""
    world.writer.close()
    eventually(module.unload, "the module unloads")
    yield world
    if module.is_loaded():
        eventually(module.unload, "the module unloads")
    assert module.load()
    world.reopen()


def test_another_family_number(unloaded: World) -> None:
    assert module.load("graft", f"family={_FREE}")
    unloaded.reopen()
    assert unloaded.writer.call(U.CMD_INFO_GET)[0]["info"]["family"] == _FREE
    box = Box(unloaded, "another family")
    box.endpoint("ep", HOST4, 8080)
    sock = box.open_socket(_FREE, SOCK_STREAM, 0)
    with fails(EAFNOSUPPORT):
        bind_raw(sock, sockaddr_gr("ep", U.AF_GRAFT))
    bind_raw(sock, sockaddr_gr("ep", _FREE))
    assert endpoint_of(sock) == "ep"
    with fails(EAFNOSUPPORT):
        box.open_socket(U.AF_GRAFT, SOCK_STREAM, 0)
    box.close()
    unloaded.writer.close()


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (_BUSY, f"graft: address family {_BUSY} is in use; load with family=N"),
        (0, "graft: family=0 is no address family; choose one from 1 to "),
        (-1, "graft: family=-1 is no address family; choose one from 1 to "),
        (4000, "graft: family=4000 is no address family; choose one from 1 to "),
    ],
)
def test_a_number_that_cannot_be_had(unloaded: World, number: int, sentence: str) -> None:
    """The module is not loaded, nothing of it stays, and the kernel's log says what to do."""
    assert not module.load("graft", f"family={number}")
    here = Namespace.initial()
    assert sentence in run(here, "dmesg").splitlines()[-1]
    with fails(EAFNOSUPPORT):
        socket.socket(U.AF_GRAFT, SOCK_STREAM)
    here.close()


@pytest.fixture
def trace() -> Iterator[Path]:
    """The trace of decisions, empty."""
    if not (_TRACING / "trace").exists():
        here = Namespace.initial()
        run(here, "mount", "-t", "tracefs", "nodev", _TRACING)
        here.close()
    enable = _TRACING / "events/graft/graft_decision/enable"
    (_TRACING / "trace").write_text("")
    enable.write_text("1")
    yield _TRACING / "trace"
    enable.write_text("0")


def test_the_tracepoint_tells_every_decision_once(box: Box, trace: Path) -> None:
    box.endpoint("ep-out")
    box.rules(egress("ep-out", PEER4), egress("deny", "10.99.0.0/16"))
    listener = box.listener(box.world.peer, PEER4)
    box.tcp().connect(listener.getsockname())
    box.tcp().connect_ex(("127.0.0.1", 1))
    with fails(EACCES):
        box.tcp().connect(("10.99.0.1", 80))
    lines = [
        line.split("graft_decision: ", 1)[1] for line in trace.read_text().splitlines() if "graft_decision:" in line
    ]
    assert len(lines) == 3
    for line, word in zip(lines, ("grafted", "native", "denied"), strict=True):
        assert word in line
    assert "ep-out" in lines[0]
