# SPDX-License-Identifier: Apache-2.0
"""What every test file shares: the world, a box for each test, and the proof that nothing is left behind."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

import module
from box import Box
from expect import eventually
from graftnl import Graft
from netns import Namespace, assert_gone
from transparent import FOLDER, Map, furnished, kernel_can, loader, unloaded
from uapi import U
from world import FAR_PEER4, HOST4, PEER4, World, sentinels

_PATIENCE = 90
CANNOT = "the kernel cannot: "
# What a kernel of the lab cannot, by the beginning of its release; any other skip is a test that did not run.
_LACKING = {
    "6.1.": (
        "show options of SOL_SOCKET to the module",
        "give a descriptor of a peer's process",
        "do io_uring's bind",
        "do io_uring's mark",
        "serve the BPF door",
    ),
}


def need_sol_socket(kernel: Graft) -> None:
    """Skip where options of SOL_SOCKET do not pass the module, as on 6.1."""
    if not kernel.call(U.CMD_INFO_GET)[0]["info"].get("sol_socket"):
        pytest.skip(f"{CANNOT}show options of SOL_SOCKET to the module")


def no_sockets() -> None:
    """No grafted socket lives in any table."""
    kernel = Graft()
    try:
        eventually(lambda: not kernel.dump(U.CMD_SOCKET_GET), "every grafted socket is gone", 20)
    finally:
        kernel.close()


@pytest.fixture(scope="session", autouse=True)
def _nothing_left() -> Iterator[None]:
    references = module.references()
    yield
    no_sockets()
    assert_gone()
    eventually(lambda: module.references() == references, f"the module's use count is back at {references}")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()
    no_sockets()
    assert_gone()


@pytest.fixture
def box(world: World) -> Iterator[Box]:
    made = Box(world)
    yield made
    made.close()


@pytest.fixture
def other(world: World) -> Iterator[Box]:
    """A second container."""
    made = Box(world, "other")
    yield made
    made.close()


@pytest.fixture
def stranger() -> Iterator[Namespace]:
    """A namespace that has no table and is in nobody's."""
    made = Namespace.new("stranger")
    yield made
    made.close()


@pytest.fixture
def watched(world: World) -> Iterator[World]:
    """The world with sentinels at FORBIDDEN: the test fails if anything reached them."""
    host, peer = sentinels(world)
    yield world
    try:
        host.check(world.peer, HOST4)
        peer.check(world.host, PEER4)
        peer.check(world.host, FAR_PEER4)
    finally:
        host.close()
        peer.close()


@pytest.fixture(scope="module")
def able_kernel() -> Iterator[None]:
    """A kernel that can serve the BPF door; afterwards nothing of the door is left."""
    if not kernel_can():
        pytest.skip(f"{CANNOT}serve the BPF door")
    yield
    loader("unload")
    eventually(unloaded, "nothing of the door is left")


@pytest.fixture
def door(able_kernel: None) -> None:
    """The BPF door serves."""
    if not FOLDER.exists():
        loader("load")


@pytest.fixture
def namespaces(door: None) -> Iterator[Map]:
    """The BPF door's map, empty before and after."""
    made = Map()
    yield made
    for cookie in made.added:
        with suppress(FileNotFoundError):
            made.remove(cookie)
    made.close()


@pytest.fixture
def inside(box: Box, namespaces: Map) -> Box:
    """A box in the BPF door's map, which serves PORT and reaches everything."""
    namespaces.add(box.ns.cookie)
    return furnished(box)


@pytest.fixture(autouse=True)
def _patience() -> Iterator[None]:
    """A test that hangs fails."""

    def give_up(*_: Any) -> None:
        raise TimeoutError(f"the test did not end within {_PATIENCE} s")

    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(_PATIENCE)
    yield
    signal.alarm(0)


def _may_lack(what: str) -> bool:
    release = os.uname().release
    return any(release.startswith(begin) and what in lacking for begin, lacking in _LACKING.items())


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A skip is a failure, but for what the kernel is known to be unable to."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not _may_lack(reason.partition(CANNOT)[2]):
            report.outcome = "failed"
            report.longrepr = f"skipped without leave: {reason}"
