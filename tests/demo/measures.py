# SPDX-License-Identifier: Apache-2.0
"""What the demo measures: programs, directions and paths, and the counted operation that each corresponds to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

HOST = "host"
NAT = "nat"
GRAFT = "graft"
PATHS = (HOST, NAT, GRAFT)
ROUNDS = 3
# Where the rounds of a measure disagree there are more, up to so many.
MOST_ROUNDS = 15
SLOWEST = 0.9  # of the host's speed
# A measure whose rounds spread further than this has more of them.
_STEADY = 0.04

# Ports of the servers of a path, by program.
IPERF3_PORTS = {HOST: 5201, NAT: 5202, GRAFT: 5203}
SOCKPERF_PORTS = {HOST: 6201, NAT: 6202, GRAFT: 6203}

_IPERF3_SECONDS = 2
_SOCKPERF_SECONDS = 1


@dataclass(frozen=True)
class Measure:
    """One row of the table.

    ``serving`` tells that the path's program serves and the peer is its client; otherwise it is the client and the
    peer serves. ``operation`` is its counterpart among the counted operations.
    """

    title: str
    program: str
    serving: bool
    operation: str
    protocol: str = "tcp"

    @property
    def unit(self) -> str:
        """The unit of a result."""
        return "Mbit/s" if self.program == "iperf3" else "us"

    @property
    def more_is_better(self) -> bool:
        """Tell whether a larger result is the faster one."""
        return self.program == "iperf3"

    def client(self, address: str, port: int) -> list[str]:
        """Return the command of the end that connects to ``address`` and ``port``."""
        if self.program == "iperf3":
            # The path's end sends when it serves and receives when it fetches: -R lets the server send.
            return ["iperf3", "-c", address, "-p", str(port), "-R", "-t", str(_IPERF3_SECONDS), "-i", "0", "-f", "m"]
        words = ["sockperf", "ping-pong", "-i", address, "-p", str(port), "-m", "64", "-t", str(_SOCKPERF_SECONDS)]
        return [*words, "--tcp"] if self.protocol == "tcp" else words

    def result(self, output: str) -> float | None:
        """Return the figure that the client printed, in the measure's unit; None where there is none but 0."""
        pattern = r"([\d.]+) Mbits/sec.*receiver" if self.program == "iperf3" else r"percentile 50\.000 = +([\d.]+)"
        found = re.search(pattern, output)
        return float(found[1]) or None if found else None

    def result_line(self, output: str) -> str:
        """Return the line of the client's output that holds the result."""
        word = "receiver" if self.program == "iperf3" else "percentile 50.000"
        return next(line for line in output.splitlines() if word in line)

    def ratio(self, result: float, host: float) -> float:
        """Return the speed relative to the host's, more than 1 being faster than the host."""
        return result / host if self.more_is_better else host / result

    def results(self, runs: Sequence[dict[str, Any]], path: str) -> list[float]:
        """Return the measure's results on one path, in the order of the rounds."""
        return [run["result"] for run in runs if run["measure"] == self.title and run["path"] == path]

    def ratios(self, runs: Sequence[dict[str, Any]], path: str) -> list[float]:
        """Return the speed relative to the host's in each round, whose paths met the machine in the same state."""
        return list(map(self.ratio, self.results(runs, path), self.results(runs, HOST)))

    def is_slow(self, ratios: Sequence[float]) -> bool:
        """Tell whether the rounds say that the path is too slow."""
        return median(ratios) < SLOWEST

    def spread(self, ratios: Sequence[float]) -> float:
        """Return how far half of the rounds lie from their median at most, relative to it."""
        middle = median(ratios)
        return median(abs(ratio / middle - 1) for ratio in ratios)


MEASURES = (
    Measure("iperf3, serving", "iperf3", serving=True, operation="tcp-serve"),
    Measure("iperf3, fetching", "iperf3", serving=False, operation="tcp-receive"),
    Measure("sockperf TCP, serving", "sockperf", serving=True, operation="tcp-round-trip-in"),
    Measure("sockperf TCP, fetching", "sockperf", serving=False, operation="tcp-round-trip-out"),
    Measure("sockperf UDP, serving", "sockperf", serving=True, operation="udp-round-trip-in", protocol="udp"),
    Measure("sockperf UDP, fetching", "sockperf", serving=False, operation="udp-round-trip-out", protocol="udp"),
)


def slow(runs: Sequence[dict[str, Any]]) -> list[Measure]:
    """Return the measures by which the graft is too slow."""
    return [measure for measure in MEASURES if measure.is_slow(measure.ratios(runs, GRAFT))]


def unsteady(runs: Sequence[dict[str, Any]]) -> list[Measure]:
    """Return the measures whose rounds disagree about the graft, those first that disagree the most."""
    spreads = {measure: measure.spread(measure.ratios(runs, GRAFT)) for measure in MEASURES}
    return sorted(
        (measure for measure in MEASURES if spreads[measure] > _STEADY), key=spreads.__getitem__, reverse=True
    )
