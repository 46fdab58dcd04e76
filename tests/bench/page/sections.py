# SPDX-License-Identifier: Apache-2.0
"""Where a measure in time stands on the page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.page.published import CONTAINERS, LATENCY, THROUGHPUT, UDP
from bench.record import Timed

# In the paper's order, then what it did not measure.
TITLES = {
    THROUGHPUT: "TCP throughput",
    LATENCY: "TCP latency",
    CONTAINERS: "Two containers on one machine",
    UDP: "UDP latency and packets",
    "connections": "Connections",
    "http": "HTTP",
    "redis": "Redis",
    "other": "Other measures",
}
_TIMES = frozenset({"s", "ms", "us", "µs", "ns"})
# The first of these that a measure's key or title speaks of is its section.
_WORDS = (
    ("http", frozenset({"http", "https", "nginx", "wrk"})),
    ("redis", frozenset({"redis"})),
    (CONTAINERS, frozenset({"containers", "pair", "bridge"})),
    ("connections", frozenset({"connection", "connections", "connect", "crr"})),
    (UDP, frozenset({"udp"})),
)


@dataclass(frozen=True)
class Measure:
    """One measure on all its paths, in the report's order."""

    key: str
    paths: Sequence[Timed]

    @property
    def first(self) -> Timed:
        """What stands for all paths: title, unit and direction are the same."""
        return self.paths[0]

    @property
    def base(self) -> str:
        """The path that the ratios are relative to, the one without any; empty where it was not measured."""
        return next((timed.path for timed in self.paths if not timed.ratios), "")

    def words(self) -> set[str]:
        """Return the words of the measure's key and title, in small letters."""
        return _words(self.key) | _words(self.first.title)

    def section(self) -> str:
        """Return the key of the measure's section."""
        paths = {timed.path for timed in self.paths}
        if "host" not in paths and "bridge" in paths:
            return CONTAINERS
        # A key says more than a title, which names the programs as well.
        for words in (_words(self.key), _words(self.first.title)):
            for section, hints in _WORDS:
                if words & hints:
                    return section
        if self.first.unit in _TIMES:
            return LATENCY
        return THROUGHPUT if self.words() & {"tcp", "throughput"} else "other"


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", text.lower()))


def sections(found: Iterable[Timed]) -> dict[str, list[Measure]]:
    """Return the measures of each section that has any, in the page's order."""
    by_key: dict[str, list[Timed]] = {}
    for timed in found:
        by_key.setdefault(timed.key, []).append(timed)
    measures = [Measure(key, paths) for key, paths in by_key.items()]
    placed = {section: [measure for measure in measures if measure.section() == section] for section in TITLES}
    return {section: held for section, held in placed.items() if held}
