# SPDX-License-Identifier: Apache-2.0
"""What every test on a machine with the installed service is held to."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest

from service.units import journal


@contextmanager
def patience(module: ModuleType, default: int) -> Iterator[None]:
    """A test that hangs fails. A file of long tests says PATIENCE, in seconds."""
    seconds = getattr(module, "PATIENCE", default)

    def give_up(*_: Any) -> None:
        raise TimeoutError(f"the test did not end within {seconds} s\n{journal()}")

    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    yield
    signal.alarm(0)


def fail_skipped(report: pytest.TestReport) -> None:
    """A skip is a failure."""
    if report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped: {report.longrepr}"
