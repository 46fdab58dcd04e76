# SPDX-License-Identifier: Apache-2.0
"""What tools keep between runs lies below build/, where 'make clean' finds it; no example has a deadline."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

set_hypothesis_home_dir(Path(__file__).resolve().parents[2] / "build" / "cache" / "hypothesis")
# How long an example takes says more about the machine than about the code.
settings.register_profile("project", deadline=None)
settings.load_profile("project")


@pytest.fixture(autouse=True)
def _pipes() -> Iterator[None]:
    """A command line that is called in this process lets a broken pipe end it, and is not to leave that behind."""
    before = signal.getsignal(signal.SIGPIPE)
    yield
    signal.signal(signal.SIGPIPE, before)
