# SPDX-License-Identifier: Apache-2.0
"""From what guests and graftd's trials wrote to curves and amounts, and what of it breaks a limit."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import pytest

from bench.errors import BenchError
from bench.plans import AF_GRAFT, GRAFT, HOST
from bench.record import Curve
from bench.scale import measure, plans, run, times
from bench.scale.memory import kernel_bytes
from bench.scale.plans import ENDPOINTS, GROWTHS, MEMORIES, MEMORY_RUNS, RULES, Growth
from bench.scale.results import amounts, counted_curves, point
from bench.scale.times import TIMES, timed_curves
from driver.lab import CHECKOUT, Guest

_GROWTH = Growth(ENDPOINTS, "tcp-bind", (10, 100_000), (HOST, GRAFT), 3, 1.05)
_MOST_PATHS = 8  # of opcost
_SPREAD = {1: 0.5, 3: 9.0}  # of the rounds


def batches(growth: Growth, cost: Callable[[str, int], float] = lambda _path, _size: 1000.0) -> list[str]:
    """What inside.py writes of a growth whose operation costs that much, but for two rounds."""
    return [
        json.dumps(
            {
                "curve": growth.key,
                "path": path,
                "size": size,
                "round": number,
                "instructions": cost(path, size) * _SPREAD.get(number, 1),
            }
        )
        for path in growth.paths
        for size in growth.sizes
        for number in range(1, growth.rounds + 1)
    ]


def memory_lines() -> list[str]:
    return [
        json.dumps({"amount": memory.key, "run": number, "bytes": 256.0 + number})
        for number in range(1, MEMORY_RUNS + 1)
        for memory in MEMORIES
    ]


def time_lines() -> list[str]:
    return [
        json.dumps({"measure": one.key, "size": size, "run": number, "value": size / 1000 + number})
        for number in range(1, times.RUNS + 1)
        for size in times.SIZES
        for one in TIMES
    ]


def curve(values: dict[int, float], limit: float | None = None, base: int | None = None) -> Curve:
    points = tuple(point(size, [value]) for size, value in values.items())
    return Curve("k", "t", "a", GRAFT, "instructions", "counted", points, limit, base)


def test_a_point_is_the_median_of_its_rounds() -> None:
    host, graft = counted_curves([_GROWTH], batches(_GROWTH, lambda path, size: size + 50 * (path == GRAFT)))
    assert [(one.size, one.value) for one in host.points] == [(10, 10), (100_000, 100_000)]
    assert [(one.size, one.value) for one in graft.points] == [(10, 60), (100_000, 100_050)]
    assert graft.points[0].runs == (30, 60, 540)


def test_only_what_is_grafted_has_the_limit() -> None:
    host, graft = counted_curves([_GROWTH], batches(_GROWTH, lambda _path, size: 1000 if size == 10 else 1051))
    assert (host.limit, host.passed) == (None, True)
    assert (graft.limit, graft.passed) == (1.05, False)


@pytest.mark.parametrize(("last", "passed"), [(1049.0, True), (1050.0, True), (1051.0, False)])
def test_a_curve_that_grows_above_its_limit_fails(last: float, passed: bool) -> None:
    found = curve({10: 1000, 100: 3000, 1000: last}, 1.05)
    assert found.passed is passed
    verb = "is within" if passed else "is above"
    assert found.sentence() == f"t, graft, from 10 to 1,000: it grows {last / 1000:.4f} times, which {verb} 1.05"


def test_growth_is_relative_to_the_base() -> None:
    values = {1: 500.0, 10: 1000.0, 10_000: 1100.0}
    assert curve(values).growth == pytest.approx(2.2)
    assert curve(values, base=10).growth == pytest.approx(1.1)
    with pytest.raises(ValueError, match="the curve k on graft has no point at 7"):
        curve(values, base=7).growth  # noqa: B018 (it raises)


def test_a_missing_round_is_an_error() -> None:
    with pytest.raises(ValueError, match="tcp-bind at 100,000 on graft was not measured in each of 3 rounds"):
        counted_curves([_GROWTH], batches(_GROWTH)[:-1])


def test_what_must_be_flat_is_held_to_it() -> None:
    by_key = {(growth.key, path): growth for growth in GROWTHS["tables"] for path in growth.paths}
    for path in (GRAFT, AF_GRAFT):
        bind = by_key["endpoints-tcp-bind", path]
        assert (bind.limit, bind.base or min(bind.sizes), max(bind.sizes)) == (1.05, 10, 100_000)
    connect = by_key["rules-tcp-connect", GRAFT]
    assert (connect.axis, connect.limit, connect.base, max(connect.sizes)) == (RULES, 1.10, 10, 10_000)


@pytest.mark.parametrize("growth", [growth for group in GROWTHS.values() for growth in group])
def test_a_growth_can_be_measured(growth: Growth) -> None:
    assert growth.base is None or growth.base in growth.sizes
    assert list(growth.sizes) == sorted(set(growth.sizes))
    assert len(growth.sizes) <= _MOST_PATHS
    assert growth.title
    assert [found.key for found in counted_curves([growth], batches(growth))] == [growth.key] * len(growth.paths)


def test_no_two_curves_of_a_run_have_one_name() -> None:
    whole = [growth.key for plan in ("tables", "namespaces", "sockets") for growth in GROWTHS[plan]]
    assert len(whole) == len(set(whole))


def test_an_amount_is_the_median_of_its_runs() -> None:
    found = amounts(MEMORIES, memory_lines())
    assert [one.key for one in found] == [one.key for one in MEMORIES]
    assert {one.value for one in found} == {256 + median(range(1, MEMORY_RUNS + 1))}
    with pytest.raises(ValueError, match=f"measured {MEMORY_RUNS - 1} times instead of {MEMORY_RUNS}"):
        amounts(MEMORIES, memory_lines()[:-1])


def test_times_of_graftd_are_curves() -> None:
    found = {one.key: one for one in timed_curves(time_lines())}
    assert list(found) == [f"graftd-{one.key}" for one in TIMES]
    assert found["graftd-list"].unit == "s"
    assert [(one.size, one.value) for one in found["graftd-create"].points] == [
        (size, size / 1000 + 2) for size in times.SIZES
    ]
    with pytest.raises(ValueError, match="restart with 30,000 endpoints was not measured 3 times"):
        timed_curves(time_lines()[:-1])


_SLABINFO = """slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> : slabdata <active>
TCP                 10     26   2304   13    8 : tunables    0    0    0 : slabdata      2      2      0
kmalloc-64         100    128     64   64    1 : tunables    0    0    0 : slabdata      2      2      0
"""
_MEMINFO = "MemTotal: 2000 kB\nSlab: 1072 kB\nVmallocUsed: 100 kB\nPercpu: 10 kB\nHugePages_Total: 0\n"


def test_objects_count_with_their_share_of_a_slab() -> None:
    large = 1072 - 2 * 32 - 2 * 4
    assert kernel_bytes(_SLABINFO, _MEMINFO) == 10 * 32768 / 13 + 100 * 64 + 1024 * (large + 100 + 10)


# The whole, with guests and graftd played


class Played:
    """Guests that write what they are to, and graftd's trials likewise."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, without: str = "") -> None:
        self.plans: list[str] = []
        self._without = without
        monkeypatch.setattr(Guest, "run", self._guest)
        monkeypatch.setattr(run, "_service", self._service)

    def _guest(self, command: Sequence[str], *, share: Path) -> int:
        plan, file = command[-2:]
        self.plans.append(plan)
        if plan == self._without:
            return 124
        lines = memory_lines() if plan == plans.MEMORY else []
        for growth in GROWTHS.get(plan, ()):
            lines += batches(growth)
        (share / Path(file).name).write_text("\n".join(lines))
        return 0

    def _service(self, _folder: Path) -> tuple[list[str], str]:
        self.plans.append("service")
        if self._without == "service":
            raise ValueError(".venv/bin/python is missing, which 'make prepare' makes")
        return time_lines(), "python -m bench.scale.service FILE"


def test_a_run_measures_everything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    played = Played(monkeypatch)
    curves, memory, missing, commands = measure(tmp_path / "scale", quick=False)
    assert played.plans == ["tables", "namespaces", "sockets", plans.MEMORY, "service"]
    assert {one.kind for one in curves} == {"counted", "timed"}
    assert all(one.passed for one in curves)
    assert len(memory) == len(MEMORIES)
    assert not missing
    assert len(commands) == len(played.plans)


def test_the_quick_run_measures_the_limits_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    played = Played(monkeypatch)
    curves, memory, missing, _ = measure(tmp_path, quick=True)
    assert played.plans == ["quick"]
    assert [(one.key, one.limit) for one in curves] == [("endpoints-tcp-bind", 1.05), ("rules-tcp-connect", 1.10)]
    assert not memory
    assert not missing


def test_a_guest_that_fails_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Played(monkeypatch, without="sockets")
    with pytest.raises(BenchError, match="plan sockets was not measured: it was not done in time"):
        measure(tmp_path, quick=False)


def test_figures_of_an_earlier_run_do_not_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Played(monkeypatch)
    measure(tmp_path, quick=True)
    Played(monkeypatch, without="quick")
    with pytest.raises(BenchError):
        measure(tmp_path, quick=True)
    assert not list(tmp_path.iterdir())


def test_graftd_that_cannot_be_timed_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Played(monkeypatch, without="service")
    curves, _, missing, commands = measure(tmp_path, quick=False)
    assert {one.kind for one in curves} == {"counted"}
    assert [one.reason for one in missing] == [".venv/bin/python is missing, which 'make prepare' makes."]
    assert "scale, graftd" not in commands


def test_a_checkout_without_its_environment_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(run, "_PYTHON", CHECKOUT)
    monkeypatch.setattr(run, "_STUBS", CHECKOUT / "build" / "nothing")
    with pytest.raises(ValueError, match="build/nothing is missing, which 'make prepare' makes"):
        run._service(tmp_path)
