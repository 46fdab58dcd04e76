# SPDX-License-Identifier: Apache-2.0
"""The sections of how cost grows, and of kernel memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.page.markup import Group, Html, element, folded, join, table
from bench.page.paths import Paths
from bench.page.plots import Plot, Plotter
from bench.page.spread import NOTHING, Spread, between, decimals, number
from bench.record import Amount, Curve

COUNTED = "counted"
TIMED = "timed"
_KINDS = {COUNTED: "count", TIMED: "time"}


def of_kind(found: Iterable[Curve], kind: str) -> dict[str, list[Curve]]:
    """Return the curves of a kind by key, those without a point left out."""
    by_key: dict[str, list[Curve]] = {}
    for curve in found:
        if curve.kind == kind and curve.points:
            by_key.setdefault(curve.key, []).append(curve)
    return by_key


def curves(found: Sequence[Curve], paths: Paths, plotter: Plotter, file: str) -> tuple[Html, Plot]:
    """Return the table and the plot of the curves that share a key."""
    order = paths.ordered(curve.path for curve in found)
    found = sorted(found, key=lambda curve: order.index(curve.path))
    plot = plotter.curves(file, found)
    return join((_table(found), folded("Every run", _runs(found)))), plot


def amounts(found: Sequence[Amount]) -> Html:
    """Return the table of bytes per object."""
    rows = []
    for amount in found:
        spread = Spread.of(amount.runs)
        places = 1 if amount.value < 100 else 0
        rows.append((amount.title, number(amount.value, places), between(spread, places), str(spread.count)))
    caption = join((element("strong", "Kernel memory"), ": memory, bytes per object"))
    return table(caption, "memory", ("object", "bytes, median", "quartiles, bytes", "runs"), [Group("", rows)])


def _table(found: Sequence[Curve]) -> Html:
    first = found[0]
    kind = _KINDS[first.kind]
    places = decimals(point.value for curve in found for point in curve.points)
    groups = []
    for curve in found:
        points = sorted(curve.points, key=lambda point: point.size)
        spreads = [Spread.of(point.runs) for point in points]
        rows = [
            (f"{point.size:,}", number(point.value, places), between(spread, places), _relative(curve, point.value),
             str(spread.count))
            for point, spread in zip(points, spreads, strict=True)
        ]  # fmt: skip
        groups.append(Group(f"{curve.path}: {_verdict(curve)}", rows))
    caption = join((element("strong", first.title), f": {kind}, {first.unit}"))
    unit = first.unit
    relative = f"relative to {first.ends[0].size:,}"
    head = (first.axis, f"median, {unit}", f"quartiles, {unit}", relative, "runs")
    return table(caption, kind, head, groups, text=0)


def _relative(curve: Curve, value: float) -> str:
    first = curve.ends[0].value
    return number(value / first, 3) if first else NOTHING


def _verdict(curve: Curve) -> str:
    times = curve.growth
    first, last = curve.ends
    grown = f"{number(times, 3 if times < 100 else 0)} times from {first.size:,} to {last.size:,}"
    if curve.limit is None:
        return grown
    kept = "kept" if curve.passed else "broken"
    return f"{grown}; at most {curve.limit:g}: {kept}"


def _runs(found: Sequence[Curve]) -> Html:
    items = []
    for curve in found:
        places = decimals(run for point in curve.points for run in point.runs)
        for point in curve.points:
            items.append(element("dt", f"{curve.path}, {point.size:,} {curve.axis}"))
            items.append(element("dd", ", ".join(number(run, places) for run in point.runs)))
    return element("dl", *items)
