# SPDX-License-Identifier: Apache-2.0
"""What the tests of containers share: what is around the host, images, and that nothing stays behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from containers import docker, podman
from containers.annotations import POLICY
from containers.left import assert_nothing_is_left
from containers.loaded import Images
from containers.network import Peer
from service.patience import fail_skipped, patience
from service.units import SERVICE, SOCKETS, UNITS, journal, state, systemctl

_PATIENCE = 600
_CONFIGURATION = Path("/etc/graftd/graftd.toml")


@pytest.fixture(scope="session", autouse=True)
def _door() -> None:
    """The BPF door is loaded; on a kernel that cannot have it the unit's conditions say so, and this does nothing."""
    systemctl("start", "graft-transparent.service")


@pytest.fixture(scope="session")
def peer() -> Iterator[Peer]:
    made = Peer()
    yield made
    made.close()


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    podman.begin()
    yield Images(tmp_path_factory.mktemp("images"))
    podman.end()


@pytest.fixture(scope="session")
def dockerd() -> Iterator[None]:
    docker.begin()
    yield
    docker.end()


@pytest.fixture(scope="session", autouse=True)
def _policy() -> Iterator[None]:
    """What annotations may ask for."""
    before = _CONFIGURATION.read_text()
    _CONFIGURATION.write_text(f"{before}\n{POLICY}")
    systemctl("reload", SERVICE)
    yield
    _CONFIGURATION.write_text(before)


@pytest.fixture(autouse=True)
def _nothing_stays_behind() -> Iterator[None]:
    """A test finds the service running, and leaves nothing in it, in the kernel, or in the door's map."""
    assert state() == "active", journal()
    yield
    systemctl("reset-failed", *UNITS)
    systemctl("start", *SOCKETS, SERVICE)
    assert_nothing_is_left()


@pytest.fixture(autouse=True)
def _patience(request: pytest.FixtureRequest) -> Iterator[None]:
    with patience(request.module, _PATIENCE):
        yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    outcome = yield
    fail_skipped(outcome.get_result())  # type: ignore[attr-defined]
