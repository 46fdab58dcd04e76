# SPDX-License-Identifier: Apache-2.0
"""Which limits hold."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from bench.record import Curve, Report


@dataclass(frozen=True)
class Limit:
    """What a ratio of ``what`` is, and what it may be at most."""

    what: str
    ratio: float
    most: float

    @property
    def holds(self) -> bool:
        """Tell whether the limit holds."""
        return self.ratio <= self.most

    def sentence(self) -> str:
        """Say how the ratio stands to the limit."""
        return f"{self.what}: {self.ratio:.4f} where at most {self.most:g} is allowed"


def limits(report: Report) -> list[Limit]:
    """Return all limits of a report."""
    found = [
        Limit(f"instructions of {counted.operation} on {counted.path}, relative", counted.ratio, counted.limit)
        for counted in report.counted
        if counted.limit is not None
    ]
    for curve in report.curves:
        if curve.limit is not None and curve.points:
            sizes = [point.size for point in curve.points]
            what = f"{curve.title} on {curve.path}, {max(sizes):,} against {min(sizes):,} {curve.axis}"
            found.append(Limit(what, growth(curve), curve.limit))
    return found


def growth(curve: Curve) -> float:
    """Return a curve's value at its largest size relative to that at its smallest."""
    first = min(curve.points, key=lambda point: point.size).value
    last = max(curve.points, key=lambda point: point.size).value
    return last / first if first else inf
