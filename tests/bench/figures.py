# SPDX-License-Identifier: Apache-2.0
"""From batches to ratios."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.limits import limit
from bench.plans import Comparison


@dataclass(frozen=True)
class Figure:
    """Instructions per operation on one path, and their ratio to those of the comparison's first path."""

    comparison: str
    operation: str
    path: str
    instructions: float
    ratio: float
    limit: float | None

    @property
    def passed(self) -> bool:
        """Tell whether the ratio is within its limit."""
        return self.limit is None or self.ratio <= self.limit

    def sentence(self) -> str:
        """Say how the ratio stands to its limit."""
        verb = "is within" if self.passed else "is above"
        return f"{self.operation} on {self.path}: {self.ratio:.4f} times the instructions {verb} {self.limit}"


def figures(comparisons: Iterable[Comparison], lines: Iterable[str]) -> list[Figure]:
    """Return the figures of the batches that opcost printed as ``lines``.

    A ratio is the median over the rounds of the ratios within a round, in which all paths met the same machine.
    Raises ValueError where a batch is missing.
    """
    batches: dict[tuple[str, str, str], dict[int, float]] = {}
    for batch in map(json.loads, lines):
        key = (batch["comparison"], batch["operation"], batch["path"])
        batches.setdefault(key, {})[batch["round"]] = batch["instructions"]
    found = []
    for comparison in comparisons:
        wanted = set(range(1, comparison.rounds + 1))
        measured = comparison.of or comparison.name
        for operation in comparison.operations:
            base = batches.get((measured, operation, comparison.paths[0]), {})
            for path in comparison.paths:
                rounds = batches.get((measured, operation, path), {})
                if set(rounds) != wanted or set(base) != wanted:
                    raise ValueError(f"{operation} on {path} was not measured in each of {comparison.rounds} rounds")
                ratio = median(rounds[number] / base[number] for number in wanted)
                bound = limit(operation, path, comparison.paths[0])
                figure = Figure(comparison.name, operation, path, median(rounds.values()), ratio, bound)
                found.append(figure)
    return found


def as_json(found: Sequence[Figure]) -> list[dict[str, Any]]:
    """Return the figures as they stand in a report."""
    return [
        {
            "comparison": figure.comparison,
            "operation": figure.operation,
            "path": figure.path,
            "instructions": round(figure.instructions, 1),
            "ratio": round(figure.ratio, 5),
            "limit": figure.limit,
            "passed": figure.passed,
        }
        for figure in found
    ]
