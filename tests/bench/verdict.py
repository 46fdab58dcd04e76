# SPDX-License-Identifier: Apache-2.0
"""Which limits hold."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from bench.record import Curve, Point, Report


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
            first, last = ends(curve)
            what = f"{heading(curve)}, {curve.path}, from {first.size:,} to {last.size:,}"
            found.append(Limit(what, growth(curve), curve.limit))
    return found


def heading(curve: Curve) -> str:
    """Return a curve's title, with what it is drawn against."""
    return curve.title if curve.axis in curve.title else f"{curve.title} against {curve.axis}"


def ends(curve: Curve) -> tuple[Point, Point]:
    """Return the points that a curve's growth is taken between: that at its base, or the smallest; and the largest."""
    points = sorted(curve.points, key=lambda point: point.size)
    return next((point for point in points if point.size == curve.base), points[0]), points[-1]


def growth(curve: Curve) -> float:
    """Return a curve's value at the last of its ends relative to that at the first."""
    first, last = ends(curve)
    return last.value / first.value if first.value else inf
