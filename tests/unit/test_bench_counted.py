# SPDX-License-Identifier: Apache-2.0
"""Ratios are taken within rounds, and a figure above its limit fails."""

import json

import pytest

from bench.counted import figures, joined
from bench.ends import PATHS
from bench.plans import (
    AF_GRAFT6,
    BRIDGE,
    GRAFT,
    GRAFTS,
    HOST,
    LOOPBACK,
    NAT,
    PLANS,
    PRELOADED,
    Comparison,
)
from demo import verdict
from demo.measures import MEASURES, unsteady

COMPARISON = Comparison("data", ("tcp-round-trip-in",), (HOST, GRAFT), 3)


def batches(rounds: dict[str, list[float]], operation: str = "tcp-round-trip-in") -> list[str]:
    return [
        json.dumps(
            {"comparison": "data", "operation": operation, "path": path, "round": number, "instructions": instructions}
        )
        for path, found in rounds.items()
        for number, instructions in enumerate(found, start=1)
    ]


def test_a_ratio_is_the_median_of_ratios_within_rounds() -> None:
    # Both drift alike, which medians of the figures themselves would hide behind 1.05.
    host, graft = figures([COMPARISON], batches({HOST: [100, 200, 300], GRAFT: [101, 202, 330]}))
    assert host.ratio == 1
    assert graft.ratio == pytest.approx(1.01)
    assert graft.instructions == 202


@pytest.mark.parametrize(("instructions", "passed"), [(1004.0, True), (1005.0, True), (1006.0, False)])
def test_a_ratio_above_its_limit_fails(instructions: float, passed: bool) -> None:
    _, graft = figures([COMPARISON], batches({HOST: [1000] * 3, GRAFT: [instructions] * 3}))
    assert graft.limit == 1.005
    assert graft.passed is passed


def test_a_missing_batch_is_an_error() -> None:
    with pytest.raises(ValueError, match="tcp-round-trip-in on graft was not measured in each of 3 rounds"):
        figures([COMPARISON], batches({HOST: [1, 1, 1], GRAFT: [1, 1]}))


def every_batch(plan: str) -> list[str]:
    """A batch of one instruction for each round of a plan."""
    return [
        json.dumps(
            {"comparison": comparison.name, "operation": operation, "path": path, "round": number, "instructions": 1}
        )
        for comparison in PLANS[plan]
        for operation in comparison.operations
        for path in comparison.paths
        for number in range(1, comparison.rounds + 1)
    ]


@pytest.mark.parametrize("plan", PLANS)
def test_every_grafted_path_has_a_limit_and_an_end(plan: str) -> None:
    bases = {comparison.name: comparison.paths[0] for comparison in PLANS[plan]}
    for one in figures(PLANS[plan], every_batch(plan)):
        to_compare_with = one.path in (HOST, NAT, BRIDGE, PRELOADED) or one.path == bases[one.comparison]
        assert (one.limit is None) == to_compare_with
        assert one.path in PATHS


def test_a_comparison_takes_anothers_batches() -> None:
    pair = Comparison("pair", ("tcp-send",), (BRIDGE, GRAFTS), 1, of="containers")
    lines = [
        json.dumps(
            {"comparison": "containers", "operation": "tcp-send", "path": path, "round": 1, "instructions": count}
        )
        for path, count in ((LOOPBACK, 100), (BRIDGE, 120), (GRAFTS, 101))
    ]
    _, grafts = figures([pair], lines)
    assert grafts.ratio == pytest.approx(101 / 120)
    assert grafts.limit == 1.0


def test_figures_counted_twice_are_joined() -> None:
    first, second = (
        figures([COMPARISON], batches({HOST: [100.0] * 3, GRAFT: grafted}))[1]
        for grafted in ([120.0, 101.0, 121.0], [101.0, 102.0, 103.0])
    )
    found = joined(first, second)
    assert found.ratio == pytest.approx(1.025)
    assert found.rounds == (120, 101, 121, 101, 102, 103)
    assert (found.limit, found.path) == (1.005, GRAFT)


def test_an_end_is_written_as_opcost_reads_it() -> None:
    near, far = PATHS[AF_GRAFT6]
    assert near.words("n") == "n,container,1,fd10::2,fd10::2,7003,ep-server-6,ep-client-6"
    assert far.words("f") == "f,peer,0,fd10::1,fd10::1,7900"
    assert PATHS[NAT][0].words("n") == "n,bridged,0,172.20.0.2,10.10.0.2,7002"


def demo_rows(speed: float, instructions: float) -> list[verdict.Row]:
    runs = [
        {"measure": measure.title, "path": path, "round": number, "result": result}
        for measure in MEASURES
        for path, share in (("host", 1.0), ("nat", 0.5), ("graft", speed))
        for number, result in enumerate([100.0 * share if measure.more_is_better else 100.0 / share] * 3)
    ]
    lines = [
        line
        for measure in MEASURES
        for line in batches({"host": [1000] * 5, "nat": [1300] * 5, "graft": [instructions] * 5}, measure.operation)
    ]
    return verdict.rows(runs, figures(PLANS["demo"], lines))


def test_the_demo_holds_a_graft_at_host_speed_for_good() -> None:
    rows = demo_rows(1.0, 1000)
    assert [row.faults() for row in rows] == [[]] * len(MEASURES)
    assert "0.500" in verdict.text(rows)
    assert "1.3000" in verdict.text(rows)


def test_the_demo_says_what_is_slow_and_what_is_dear() -> None:
    for row in demo_rows(0.89, 1006):
        assert [fault.split(": ", 1)[1] for fault in row.faults()] == [
            "grafted, it runs at 0.890 of the host's speed, below 0.9",
            "grafted, it takes 1.0060 times the host's instructions, above 1.005",
        ]


def test_the_clients_results_are_read() -> None:
    iperf3 = "[  5]   0.00-2.02   sec  46.2 MBytes   192 Mbits/sec                  receiver\n"
    sockperf = "sockperf: ---> percentile 50.000 =  554.529\n"
    by_program = {measure.program: measure for measure in MEASURES}
    assert by_program["iperf3"].result(iperf3) == 192
    assert by_program["sockperf"].result(sockperf) == 554.529
    assert by_program["sockperf"].result("sockperf: No valid observations found.\n") is None
    assert by_program["iperf3"].result(iperf3.replace("192", "0.0")) is None


def test_rounds_are_added_where_they_disagree_the_most_first() -> None:
    ratios = {
        MEASURES[0]: [1.0, 1.1, 0.9],
        MEASURES[1]: [0.5, 0.51, 0.49],
        MEASURES[2]: [1.0, 1.3, 0.8],
        MEASURES[3]: [1.0, 1.0, 1.0, 0.5, 2.0],
    }
    runs = [
        {"measure": measure.title, "path": path, "round": number, "result": 100 * (ratio if path == GRAFT else 1)}
        for measure in MEASURES
        for number, ratio in enumerate(ratios.get(measure, [1.0, 1.0, 1.0]), start=1)
        for path in (HOST, GRAFT)
    ]
    assert unsteady(runs) == [MEASURES[2], MEASURES[0]]
