# SPDX-License-Identifier: Apache-2.0
"""Which of graftd's times are measured, and their curves."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from bench.record import Curve
from bench.scale.plans import ENDPOINTS
from bench.scale.results import point

SIZES = (100, 1_000, 10_000, 30_000)
RUNS = 3
_PATH = "graftd"


@dataclass(frozen=True)
class Time:
    """A time of graftd's; ``key`` is its name in what bench.scale.service writes."""

    key: str
    title: str
    unit: str


TIMES = (
    Time("create", "one Create, durable: median of 200", "ms"),
    Time("list", "List of all, in pages of 5,000", "s"),
    Time("watch", "from a Create to the last of 100 watchers", "ms"),
    Time("restart", "restart to ready, the kernel equal", "s"),
)


def timed_curves(lines: Iterable[str]) -> list[Curve]:
    """Return a curve of each of TIMES from ``lines``, those of bench.scale.service.

    Raises ValueError where a run is missing.
    """
    found: dict[tuple[str, int], list[float]] = {}
    for line in map(json.loads, lines):
        found.setdefault((line["measure"], line["size"]), []).append(line["value"])
    curves = []
    for one in TIMES:
        for size in SIZES:
            if len(found.get((one.key, size), ())) != RUNS:
                raise ValueError(f"graftd's {one.key} with {size:,} endpoints was not measured {RUNS} times")
        points = tuple(point(size, found[one.key, size]) for size in SIZES)
        curves.append(Curve(f"graftd-{one.key}", one.title, ENDPOINTS, _PATH, one.unit, "timed", points))
    return curves
