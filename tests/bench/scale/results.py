# SPDX-License-Identifier: Apache-2.0
"""From what a guest wrote to curves and amounts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from statistics import median

from bench.plans import HOST
from bench.record import Amount, Curve, Point
from bench.scale.plans import MEMORY_RUNS, Growth, Memory


def counted_curves(growths: Iterable[Growth], lines: Iterable[str]) -> list[Curve]:
    """Return a curve of each growth and path from ``lines``, those of inside.py.

    Raises ValueError where a round is missing.
    """
    found: dict[tuple[str, str, int], dict[int, float]] = {}
    for batch in map(json.loads, lines):
        key = (batch["curve"], batch["path"], batch["size"])
        found.setdefault(key, {})[batch["round"]] = batch["instructions"]
    return [_curve(growth, path, found) for growth in growths for path in growth.paths]


def _curve(growth: Growth, path: str, found: dict[tuple[str, str, int], dict[int, float]]) -> Curve:
    points = []
    for size in growth.sizes:
        rounds = found.get((growth.key, path, size), {})
        if set(rounds) != set(range(1, growth.rounds + 1)):
            raise ValueError(f"{growth.key} at {size:,} on {path} was not measured in each of {growth.rounds} rounds")
        points.append(point(size, [rounds[number] for number in sorted(rounds)]))
    limit = None if path == HOST else growth.limit
    return Curve(
        growth.key, growth.title, growth.axis, path, "instructions", "counted", tuple(points), limit, growth.base
    )


def point(size: int, runs: Iterable[float]) -> Point:
    """Return the point of ``runs`` at ``size``."""
    values = tuple(runs)
    return Point(size, median(values), values)


def amounts(memories: Iterable[Memory], lines: Iterable[str]) -> list[Amount]:
    """Return the amount of each memory from ``lines``. Raises ValueError where a run is missing."""
    found: dict[str, list[float]] = {}
    for line in map(json.loads, lines):
        found.setdefault(line["amount"], []).append(line["bytes"])
    read = []
    for memory in memories:
        runs = found.get(memory.key, [])
        if len(runs) != MEMORY_RUNS:
            raise ValueError(f"the memory of {memory.title} was measured {len(runs)} times instead of {MEMORY_RUNS}")
        read.append(Amount(memory.key, memory.title, median(runs), tuple(runs)))
    return read
