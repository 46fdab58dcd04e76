# SPDX-License-Identifier: Apache-2.0
"""Which refusals have a record of their own."""

from __future__ import annotations

import pytest

from graftd import refusals
from graftd.refusals import Refusals


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def admitted(found: Refusals, caller: str, tries: int) -> int:
    return sum(found.admit(caller) for _ in range(tries))


def test_each_caller_has_a_burst_and_then_a_rate(clock: Clock) -> None:
    found = Refusals(clock)
    assert admitted(found, "uid 1000", refusals.BURST + 50) == refusals.BURST
    assert admitted(found, "uid 1001", 1) == 1, "one caller's refusals take another's room"
    clock.now += 10
    assert admitted(found, "uid 1000", 100) == 10 * refusals.PER_SECOND
    clock.now += 1e6
    assert admitted(found, "uid 1000", 2 * refusals.BURST) == refusals.BURST, "a bucket holds more than a burst"


def test_all_callers_together_have_a_limit(clock: Clock) -> None:
    """A user may have thousands of uids."""
    found = Refusals(clock)
    callers = 10 * refusals.CALLERS_MAX
    assert sum(found.admit(f"uid {number}") for number in range(callers)) == refusals.ALL_BURST
    left_out = found.take_left_out()
    assert sum(left_out.values()) == callers - refusals.ALL_BURST
    assert len(left_out) <= refusals.CALLERS_MAX + 1
    assert left_out[refusals.OTHERS] == max(left_out.values())


def test_callers_are_forgotten_when_their_buckets_are_full(clock: Clock) -> None:
    found = Refusals(clock)
    admitted(found, "uid 0", 2 * refusals.BURST)
    for number in range(1, refusals.CALLERS_MAX):
        found.admit(f"uid {number}")
    clock.now += refusals.ALL_BURST / refusals.ALL_PER_SECOND
    found.take_left_out()
    assert admitted(found, "somebody new", refusals.BURST) == refusals.BURST
    assert refusals.OTHERS not in found.take_left_out()
    rest = refusals.PER_SECOND * refusals.ALL_BURST / refusals.ALL_PER_SECOND
    assert admitted(found, "uid 0", refusals.BURST) == rest < refusals.BURST, "who is over the limit was forgotten"


def test_what_is_left_out_is_told_once(clock: Clock) -> None:
    found = Refusals(clock)
    admitted(found, "uid 1", refusals.BURST + 2)
    admitted(found, "uid 2", refusals.BURST + 3)
    assert list(found.take_left_out().items()) == [("uid 2", 3), ("uid 1", 2)]
    assert found.take_left_out() == {}
