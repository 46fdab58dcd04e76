# SPDX-License-Identifier: Apache-2.0
"""Cycles of socket, bind, connect and close on two CPUs while tables and namespaces come and go."""

import os
import re
import signal

import pytest

from conftest import no_sockets
from netns import Namespace
from programs import run

CYCLES = int(os.environ.get("GRAFT_STRESS_CYCLES", "20000"))
# What the slowest guest needs, with room: an emulated debug kernel does some 200 cycles a second.
PATIENCE = 120 + CYCLES // 100
FIGURES = re.compile(
    r", (\d+) of them of IPv6 to their end: (\d+) calls worked, (\d+) were refused; (\d+) changes of the table, (\d+)"
)


def test_cycles_while_everything_changes(capsys: pytest.CaptureFixture[str]) -> None:
    signal.alarm(PATIENCE + 60)
    here = Namespace.initial()
    try:
        _, printed = run(here, "stress", CYCLES, patience=PATIENCE)
    finally:
        here.close()
    with capsys.disabled():
        print(f"\n{printed}")
    assert printed.startswith(f"stress: {CYCLES} cycles in ")
    of_ipv6, worked, refused, changes, namespaces = map(int, FIGURES.findall(printed)[0])
    # Half of the endpoints are there all the time, so at least that many calls have nothing to fail by.
    assert worked >= CYCLES // 2
    assert worked > refused
    assert of_ipv6 >= CYCLES // 4
    assert min(changes, namespaces) > 0
    no_sockets()
