# SPDX-License-Identifier: Apache-2.0
"""Medians, quartiles, and how they are written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import floor, isfinite, log10, nan
from statistics import median, quantiles

NOTHING = "-"
_MOST_DECIMALS = 4


@dataclass(frozen=True)
class Spread:
    """The median and the quartiles of ``count`` values, in the values' unit; not numbers where there are none."""

    low: float
    median: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of ``values``."""
        if not values:
            return cls(nan, nan, nan, 0)
        if len(values) == 1:
            return cls(values[0], values[0], values[0], 1)
        low, _, high = quantiles(values, n=4, method="inclusive")
        return cls(low, median(values), high, len(values))

    def below(self) -> float:
        """Return how far the lower quartile is from the median."""
        return self.median - self.low

    def above(self) -> float:
        """Return how far the upper quartile is from the median."""
        return self.high - self.median


def decimals(values: Iterable[float]) -> int:
    """Return with how many decimals the values of a column show three digits each, at most four."""
    sizes = [abs(value) for value in values if value and isfinite(value)]
    return min(max(2 - floor(log10(min(sizes))), 0), _MOST_DECIMALS) if sizes else 0


def number(value: float, places: int) -> str:
    """Return a number with thousands apart and so many decimals."""
    return f"{value:,.{places}f}" if isfinite(value) else NOTHING


def between(spread: Spread, places: int) -> str:
    """Return the quartiles as a range."""
    return f"{number(spread.low, places)} to {number(spread.high, places)}" if spread.count else NOTHING


def counted(amount: int, one: str, many: str = "") -> str:
    """Return how many there are of something, as "1 round" or "3 rounds"."""
    return f"{amount:,} {one if amount == 1 else many or one + 's'}"


def alternatives(amounts: Iterable[int], one: str) -> str:
    """Return the different amounts of something, as "3 rounds" or "3 to 5 rounds"."""
    found = sorted(set(amounts))
    if len(found) < 2:
        return counted(found[0] if found else 0, one)
    return f"{found[0]:,} to {counted(found[-1], one)}"
