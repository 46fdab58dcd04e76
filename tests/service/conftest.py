# SPDX-License-Identifier: Apache-2.0
"""What every test of the installed service shares: it begins and ends with a service that runs."""

from collections.abc import Iterator

import pytest

from service.patience import fail_skipped, patience
from service.units import SERVICE, SOCKETS, UNITS, journal, state, systemctl

_PATIENCE = 120


@pytest.fixture(autouse=True)
def _running() -> Iterator[None]:
    """A test finds the service running, and what it did to the units is put right after it."""
    assert state() == "active", journal()
    yield
    systemctl("reset-failed", *UNITS)
    systemctl("start", *SOCKETS, SERVICE)


@pytest.fixture(autouse=True)
def _patience(request: pytest.FixtureRequest) -> Iterator[None]:
    with patience(request.module, _PATIENCE):
        yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    outcome = yield
    fail_skipped(outcome.get_result())  # type: ignore[attr-defined]
