# SPDX-License-Identifier: Apache-2.0
"""A machine whose control groups and /proc are played, and two namespaces, real ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from graftd.kernel.finder import Finder
from unit.finder_machine import Contained, Machine, no_descriptor_left


@pytest.fixture(autouse=True)
def _no_descriptor_is_left() -> Iterator[None]:
    with no_descriptor_left():
        yield


@pytest.fixture
def web() -> Iterator[Contained]:
    with Contained() as made:
        yield made


@pytest.fixture
def other() -> Iterator[Contained]:
    with Contained() as made:
        yield made


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with Machine(tmp_path) as made:
        yield made


@pytest.fixture
def finder(machine: Machine) -> Finder:
    return Finder(machine.roots)
