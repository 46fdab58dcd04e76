# SPDX-License-Identifier: Apache-2.0
"""What programs print becomes figures, figures become ratios within rounds, and what failed is said."""

import io
import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from bench.errors import BenchError
from bench.plans import GRAFT, HOST, NAT
from bench.record import Missing, Timed
from bench.timed import inside, paths, tools
from bench.timed.host import read
from bench.timed.inside import RunError, Timing
from bench.timed.paths import BRIDGE, LOOPBACK, OTHER_MACHINE, PASTA, End, Path
from bench.timed.plans import PLANS, Figure, Measure, Plan
from driver import servers, testbed
from driver.servers import Running, Server, ServerError

IPERF3_TCP = json.dumps(
    {
        "intervals": [],
        "end": {
            "sum_sent": {"seconds": 1.010533, "bytes": 63963136, "bits_per_second": 506371477.2},
            "sum_received": {"seconds": 1.002639, "bytes": 63307776, "bits_per_second": 505129172.1},
        },
    },
    indent="\t",
)
IPERF3_UDP = json.dumps(
    {
        "end": {
            "sum": {"seconds": 1.007052, "packets": 16480, "lost_packets": 866},
            "sum_sent": {"seconds": 1.00638, "packets": 16480, "lost_packets": 0},
            "sum_received": {
                "seconds": 1.007052,
                "bits_per_second": 7938386.4,
                "packets": 16480,
                "lost_packets": 866,
            },
        }
    }
)
SOCKPERF = """\
sockperf: Test ended
sockperf: [Valid Duration] RunTime=0.547 sec; SentMessages=2444; ReceivedMessages=2444
sockperf: \x1b[2;35m====> avg-latency=111.620 (std-dev=36.047)\x1b[0m
sockperf: ---> <MAX> observation = 3057.807
sockperf: ---> percentile 99.999 = 3057.807
sockperf: ---> percentile 99.000 =  251.162
sockperf: ---> percentile 90.000 =  181.734
sockperf: ---> percentile 50.000 =   96.778
sockperf: ---> percentile 25.000 =   90.100
"""
SOCKPERF_NONE = "sockperf: No valid observations found. Try tune parameters: --time/--mps/--reply-every\n"
WRK = """\
Running 1s test @ http://10.10.0.2:8001/
  1 threads and 10 connections
    Req/Sec     3.28k   184.98     3.51k    70.00%
  3278 requests in 1.01s, 486.58KB read
Requests/sec:   3248.42
Transfer/sec:    482.19KB
"""
REDIS = (
    "SET: rps=5378.9 (overall: 5316.6) avg_msec=2.252 (overall: 2.252)\r    \r"
    "SET: 5506.61 requests per second, p50=1.951 msec\n"
    "GET: rps=1932.8 (overall: 5093.8) avg_msec=2.263 (overall: 2.263)\r    \r"
    "GET: 4553.73 requests per second, p50=2.263 msec\n"
)


@pytest.mark.parametrize(
    ("reader", "output", "figures"),
    [
        (tools.read_bits, IPERF3_TCP, [505.1291721]),
        (tools.read_bits, "warning: this cpu has no rdtscp\n" + IPERF3_TCP, [505.1291721]),
        (tools.read_packets, IPERF3_UDP, [(16480 - 866) / 1.007052]),
        (tools.read_percentiles, SOCKPERF, [96.778, 251.162]),
        (tools.read_requests, WRK, [3248.42]),
        (tools.read_redis, REDIS, [5506.61, 4553.73]),
    ],
)
def test_figures_are_read(reader: Callable[[str], list[float]], output: str, figures: list[float]) -> None:
    assert reader(output) == pytest.approx(figures)


@pytest.mark.parametrize(
    ("reader", "output", "reason"),
    [
        (tools.read_bits, "", "no report"),
        (tools.read_bits, '{"end": {}, "error": "unable to connect"}', "no report"),
        (tools.read_bits, IPERF3_TCP.replace("505129172.1", "0"), "the figure is 0"),
        (tools.read_packets, IPERF3_UDP.replace("866", "16480"), "the figure is 0"),
        (tools.read_percentiles, SOCKPERF_NONE, "no line like 'percentile 50"),
        (tools.read_percentiles, SOCKPERF.replace("percentile 99.000", "percentile 98.000"), "percentile 99"),
        (tools.read_requests, WRK + "  Socket errors: connect 3, read 0, write 0, timeout 0\n", "connect 3"),
        (tools.read_requests, WRK + "  Non-2xx or 3xx responses: 12\n", "responses: 12"),
        (tools.read_requests, WRK.replace("3248.42", "0.00"), "the figure is 0"),
        (tools.read_redis, REDIS.replace("GET: 4553", "PING: 4553"), "GET"),
    ],
)
def test_what_is_no_figure_is_never_a_zero(reader: Callable[[str], list[float]], output: str, reason: str) -> None:
    with pytest.raises(tools.NoFigureError, match=reason):
        reader(output)


MORE = Figure("more", "More", "1/s")
LESS = Figure("less", "Less", "us", more_is_better=False)
BOTH = Measure(tools.latency("tcp"), serving=True, figures=(MORE, LESS))
PLAN = Plan((BOTH,), rounds=3, paths=(HOST, NAT, GRAFT))
RUNS = {HOST: [100.0, 200.0, 50.0], NAT: [50.0, 120.0, 20.0], GRAFT: [100.0, 202.0, 51.0]}


def lines(runs: dict[str, list[float]], keys: Sequence[str] = ("more", "less")) -> list[str]:
    return [
        json.dumps({"key": key, "path": path, "round": number, "result": result, "server": "s", "client": "c"})
        for number in (1, 2, 3)
        for path, results in runs.items()
        for key in keys
        for result in results[number - 1 : number]
    ]


def missing(path: str, reason: str) -> list[str]:
    return [json.dumps({"key": key, "path": path, "missing": reason}) for key in ("more", "less")]


def of(found: list[Timed], key: str, path: str) -> Timed:
    (one,) = [timed for timed in found if (timed.key, timed.path) == (key, path)]
    return one


def test_ratios_are_taken_within_rounds_and_more_than_1_is_faster() -> None:
    found, absent = read(PLAN, lines(RUNS))
    assert absent == []
    assert of(found, "more", HOST).ratios == of(found, "less", HOST).ratios == ()
    assert of(found, "more", NAT).runs == (50, 120, 20)
    assert of(found, "more", NAT).ratios == pytest.approx((0.5, 0.6, 0.4))
    assert of(found, "less", NAT).ratios == pytest.approx((2, 1 / 0.6, 2.5))
    assert of(found, "more", GRAFT).ratios == pytest.approx((1, 1.01, 1.02))
    assert (of(found, "less", NAT).unit, of(found, "less", NAT).more_is_better) == ("us", False)
    assert (of(found, "less", NAT).server, of(found, "less", NAT).client) == ("s", "c")


def test_two_containers_are_held_against_the_bridge() -> None:
    plan = Plan((Measure(BOTH.tool, serving=True, figures=(MORE,), pair=True),), rounds=3, paths=(HOST,))
    runs = {BRIDGE: [100.0, 100.0, 100.0], GRAFT: [120.0, 130.0, 140.0], LOOPBACK: [150.0, 150.0, 150.0]}
    found, _ = read(plan, lines(runs, ["more"]))
    assert of(found, "more", BRIDGE).ratios == ()
    assert of(found, "more", GRAFT).ratios == pytest.approx((1.2, 1.3, 1.4))


def test_a_path_that_failed_once_is_missing_as_a_whole() -> None:
    runs = {**RUNS, NAT: [50.0]}
    found, absent = read(PLAN, [*lines(runs), *missing(NAT, "its client failed")])
    assert absent == [Missing("more", NAT, "its client failed"), Missing("less", NAT, "its client failed")]
    assert {timed.path for timed in found} == {HOST, GRAFT}


def test_a_path_without_a_figure_or_a_reason_is_an_error() -> None:
    with pytest.raises(BenchError, match="neither a figure nor a reason for nat"):
        read(PLAN, lines({HOST: RUNS[HOST], GRAFT: RUNS[GRAFT]}))


def test_a_round_without_a_figure_is_an_error() -> None:
    with pytest.raises(BenchError, match=r"more, nat: there are rounds \[1, 2\]"):
        read(PLAN, lines({**RUNS, NAT: RUNS[NAT][:2]}))


def test_every_figure_has_a_key_of_its_own() -> None:
    keys = [figure.key for measure in PLANS["full"].measures for figure in measure.figures]
    assert len(keys) == len(set(keys))
    assert {figure.key for measure in PLANS["quick"].measures for figure in measure.figures} < set(keys)


def test_no_two_servers_share_a_port() -> None:
    every = [*paths.own(tools.PROGRAMS), *paths.between_containers()]
    ports = [path.port(first) for path in every for first in tools.PROGRAMS]
    assert len(ports) == len(set(ports))
    assert all(path.number < paths.PORTS for path in every)


class Programs:
    """Plays the programs: a run of a client takes the next of its path's answers, a status and an output."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answers: dict[str, list[tuple[int, str]]]) -> None:
        self.answers = answers
        self.served: list[str] = []
        self.silent: set[str] = set()
        monkeypatch.setattr(inside, "serving", self.serving)
        monkeypatch.setattr(subprocess, "run", self.run)

    @contextmanager
    def serving(self, server: Server) -> Iterator[Running]:
        if server.namespace in self.silent:
            raise ServerError(f"'{server.command[0]}' ended at once: no such device")
        self.served.append(server.namespace)
        log = io.StringIO()
        log.write("what the server said")
        yield Running(log)

    def run(self, words: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        status, output = self.answers[words[words.index("-i") + 1]].pop(0)
        return subprocess.CompletedProcess(words, status, output)


def path(name: str, number: int, *, ours: bool) -> Path:
    return Path(name, number, End(name, name, name), OTHER_MACHINE, ours=ours)


def timing(rounds: int, *, report: io.StringIO) -> Timing:
    made = Timing(Plan((BOTH,), rounds, (HOST, PASTA)), report)
    made._paths = [path(HOST, 0, ours=True), path(PASTA, 1, ours=False)]
    return made


def entries(report: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in report.getvalue().splitlines()]


def test_paths_take_turns_within_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    Programs(monkeypatch, {HOST: [(0, SOCKPERF)] * 2, PASTA: [(0, SOCKPERF)] * 2})
    report = io.StringIO()
    timing(2, report=report)._measure(BOTH, "1 of 1")
    turns = [(entry["round"], entry["path"], entry["key"], entry["result"]) for entry in entries(report)]
    assert turns == [
        (number, name, key, result)
        for number, order in ((1, (HOST, PASTA)), (2, (PASTA, HOST)))
        for name in order
        for key, result in (("more", 96.778), ("less", 251.162))
    ]
    assert entries(report)[2]["server"] == "sockperf server -p 6201 --tcp"
    assert entries(report)[2]["client"] == "sockperf ping-pong -i pasta -p 6201 -m 64 -t 1 --tcp"


def test_a_run_without_a_figure_is_made_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = Programs(monkeypatch, {HOST: [(0, SOCKPERF_NONE), (0, SOCKPERF)], PASTA: [(0, SOCKPERF)]})
    report = io.StringIO()
    timing(1, report=report)._measure(BOTH, "1 of 1")
    assert [entry["result"] for entry in entries(report)] == [96.778, 251.162] * 2
    assert programs.answers == {HOST: [], PASTA: []}


def test_two_runs_without_a_figure_are_an_error_that_shows_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    Programs(monkeypatch, {HOST: [(0, SOCKPERF_NONE)] * 2})
    with pytest.raises(RunError, match=r"(?s)gave no figure twice.*No valid observations.*what the server said"):
        timing(1, report=io.StringIO())._measure(BOTH, "1 of 1")


def test_a_failure_of_ours_ends_the_run_and_shows_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    Programs(monkeypatch, {HOST: [(3, "connection refused")]})
    with pytest.raises(RunError, match=r"(?s)failed with status 3.*connection refused.*what the server said"):
        timing(1, report=io.StringIO())._measure(BOTH, "1 of 1")


def test_a_peer_that_fails_in_a_round_is_missing_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {HOST: [(0, SOCKPERF)] * 3, PASTA: [(0, SOCKPERF), (1, "\x1b[2;35mout of\n luck\x1b[0m")]}
    programs = Programs(monkeypatch, answers)
    report = io.StringIO()
    timing(3, report=report)._measure(BOTH, "1 of 1")
    reasons = {entry["key"]: entry["missing"] for entry in entries(report) if "missing" in entry}
    assert reasons.keys() == {"more", "less"}
    assert "status 1" in reasons["more"]
    assert "out of luck Its server printed: what the server said" in reasons["more"]
    assert [entry["round"] for entry in entries(report) if entry.get("path") == HOST] == [1, 1, 2, 2, 3, 3]
    assert programs.answers[PASTA] == []
    found, absent = read(Plan((BOTH,), 3, (HOST, PASTA)), report.getvalue().splitlines())
    assert {timed.path for timed in found} == {HOST}
    assert {one.path for one in absent} == {PASTA}


def test_a_peer_whose_server_does_not_start_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = Programs(monkeypatch, {HOST: [(0, SOCKPERF)]})
    programs.silent = {PASTA}
    report = io.StringIO()
    timing(1, report=report)._measure(BOTH, "1 of 1")
    assert {entry.get("missing") for entry in entries(report) if entry["path"] == PASTA} == {
        "'sockperf' ended at once: no such device"
    }


def test_a_server_of_ours_that_does_not_start_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = Programs(monkeypatch, {})
    programs.silent = {HOST}
    with pytest.raises(ServerError, match="no such device"):
        timing(1, report=io.StringIO())._measure(BOTH, "1 of 1")


def test_a_peer_that_could_not_be_made_is_missing_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    Programs(monkeypatch, {HOST: [(0, SOCKPERF)]})
    report = io.StringIO()
    made = timing(1, report=report)
    made._paths = made._paths[:1]
    made._not_made = {PASTA: "there is no tun"}
    made._measure(BOTH, "1 of 1")
    assert [entry["missing"] for entry in entries(report) if entry["path"] == PASTA] == ["there is no tun"] * 2


def test_a_peer_without_datagrams_is_asked_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = Programs(monkeypatch, {HOST: [(0, SOCKPERF)]})
    report = io.StringIO()
    made = timing(1, report=report)
    made._paths[1] = Path(PASTA, 1, End(PASTA, PASTA, PASTA), OTHER_MACHINE, ours=False, no_datagrams="TCP alone")
    made._measure(Measure(tools.latency("udp"), serving=True, figures=(MORE, LESS)), "1 of 1")
    assert programs.served == [HOST]
    assert [entry["missing"] for entry in entries(report) if entry["path"] == PASTA] == ["TCP alone"] * 2


def test_a_reason_is_cut_in_its_middle() -> None:
    assert inside._short("first" + " word" * 1000 + " last").startswith("first word word")
    assert inside._short("first" + " word" * 1000 + " last").endswith("word last")
    assert len(inside._short("first" + " word" * 1000 + " last")) < 620


def server(*command: str) -> Server:
    return Server("there", command, "there", 5201, "tcp")


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Play the namespaces: commands run here, and 'ss' answers what the list holds."""
    answers: list[str] = []
    start = subprocess.Popen

    def here(words: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        assert words[:4] == ["ip", "netns", "exec", "there"]
        return start(words[4:], **options)

    monkeypatch.setattr(subprocess, "Popen", here)
    monkeypatch.setattr(testbed, "inside", lambda *words: answers.pop(0) if answers else "")
    return answers


def test_a_server_is_waited_for_and_ended(played: list[str]) -> None:
    played += ["", "LISTEN"]
    with servers.serving(server("sh", "-c", "echo 'it is on'; exec sleep 60")) as running:
        assert played == []
        until_printed(running, "it is on")


def until_printed(running: Running, text: str) -> None:
    for _ in range(1000):
        if running.printed() == text:
            return
    pytest.fail(f"it printed: {running.printed()}")


def test_a_server_that_ends_at_once_says_what_it_printed(played: list[str]) -> None:
    with (
        pytest.raises(ServerError, match=r"ended at once: the address is in use"),
        servers.serving(server("sh", "-c", "echo 'the address is in use' >&2; exit 1")),
    ):
        pytest.fail("it listens")


def test_a_server_that_never_listens_says_what_it_printed(played: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_START_SECONDS", 3.0)
    with (
        pytest.raises(ServerError, match=r"(?s)did not listen on tcp port 5201.*it printed: waiting"),
        servers.serving(server("sh", "-c", "echo waiting; exec sleep 60")),
    ):
        pytest.fail("it listens")
