# SPDX-License-Identifier: Apache-2.0
"""A path that became dearer than it was recorded fails the gate, whichever limit it still keeps."""

from pathlib import Path

import pytest

from bench import gate, plans
from bench.errors import BenchError
from bench.gate import Recorded, faults
from bench.limits import limit
from bench.record import Counted

ROUND_TRIP, BIND = "tcp-round-trip-in", "tcp-bind"


def figure(operation: str, ratio: float, path: str = plans.GRAFT) -> Counted:
    limit = {ROUND_TRIP: 1.005, BIND: 1.15}[operation]
    return Counted("here", operation, path, ratio, limit if path == plans.GRAFT else None, (100.0,), (100.0,))


def recorded(operation: str, ratio: float) -> Recorded:
    return Recorded("6.12", {"here": {operation: {plans.GRAFT: ratio}}})


@pytest.mark.parametrize(
    ("operation", "was", "now"),
    [(ROUND_TRIP, 0.999, 1.003), (ROUND_TRIP, 1.001, 0.9), (BIND, 1.1, 1.13), (BIND, 1.1, 1.0)],
)
def test_what_is_within_its_tolerance_passes(operation: str, was: float, now: float) -> None:
    assert faults([figure(operation, now)], recorded(operation, was)) == []


@pytest.mark.parametrize(
    ("operation", "was", "now", "words"),
    [
        (ROUND_TRIP, 0.995, 1.001, "1.0010 is dearer than the recorded 0.9950 by more than 0.5%"),
        (BIND, 1.05, 1.09, "1.0900 is dearer than the recorded 1.0500 by more than 3.0%"),
        (ROUND_TRIP, 1.004, 1.0051, "1.0051 times the instructions is above 1.005"),
        (BIND, 1.149, 1.151, "1.1510 times the instructions is above 1.15"),
    ],
)
def test_what_became_dearer_is_named(operation: str, was: float, now: float, words: str) -> None:
    (sentence,) = faults([figure(operation, now)], recorded(operation, was))
    assert words in sentence
    assert operation in sentence
    assert plans.GRAFT in sentence


@pytest.mark.parametrize(("now", "fails"), [(1.029, False), (1.034, True)])
def test_a_large_table_may_cost_by_chance_more_than_it_did(now: float, fails: bool) -> None:
    one = Counted("here", BIND, plans.CROWDED, now, 1.05, (100.0,), (100.0,))
    assert bool(faults([one], Recorded("6.12", {"here": {BIND: {plans.CROWDED: 0.984}}}))) is fails


def test_what_is_not_recorded_fails() -> None:
    (sentence,) = faults([figure(BIND, 1.0)], recorded(ROUND_TRIP, 1.0))
    assert "no ratio is recorded" in sentence


def test_a_path_to_compare_with_is_not_held() -> None:
    assert faults([figure(BIND, 2.0, plans.NAT)], recorded(ROUND_TRIP, 1.0)) == []


def test_what_became_cheaper_is_told() -> None:
    (sentence,) = gate.cheaper([figure(BIND, 1.0)], recorded(BIND, 1.1))
    assert "fell from 1.1000 to 1.0000" in sentence
    assert gate.cheaper([figure(BIND, 1.08)], recorded(BIND, 1.1)) == []


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "recorded.json"
    gate.save("6.12", [figure(BIND, 1.12345), figure(BIND, 2.0, plans.NAT)], file)
    assert gate.load(file) == recorded(BIND, 1.1235)


@pytest.mark.parametrize("text", [None, "", "{}", "[]", '{"kernel": "6.12"}'])
def test_without_a_record_a_sentence_says_what_to_do(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "recorded.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(BenchError, match="python3 -m bench record"):
        gate.load(file)


def test_everything_in_the_gate_is_recorded() -> None:
    ratios = gate.load().ratios
    wanted = {
        (comparison.name, operation, path)
        for comparison in plans.PLANS["gate"]
        for operation in comparison.operations
        for path in comparison.paths
        if limit(operation, path, comparison.paths[0])
    }
    found = {(name, operation, path) for name, by in ratios.items() for operation, on in by.items() for path in on}
    assert found == wanted
