# SPDX-License-Identifier: Apache-2.0
"""What every test of the installed service shares: it begins and ends with a service that runs."""

import signal
from collections.abc import Iterator
from typing import Any

import pytest

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
    """A test that hangs fails. A file of long tests says PATIENCE, in seconds."""
    seconds = getattr(request.module, "PATIENCE", _PATIENCE)

    def give_up(*_: Any) -> None:
        raise TimeoutError(f"the test did not end within {seconds} s\n{journal()}")

    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    yield
    signal.alarm(0)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A skip is a failure."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped: {report.longrepr}"
