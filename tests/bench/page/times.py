# SPDX-License-Identifier: Apache-2.0
"""The sections of what was measured in time."""

from __future__ import annotations

from collections.abc import Sequence

from bench.page.markup import Group, Html, element, folded, join, paragraph, table
from bench.page.paths import Paths
from bench.page.sections import TITLES, Measure
from bench.page.spread import Spread, between, decimals, number
from bench.record import Missing, Timed

NO_SERVER = "none was started for it"


def section_body(measures: Sequence[Measure], missing: Sequence[Missing]) -> Html:
    """Return the tables of a section, how each run was made, and what could not be run."""
    parts = [_table(measure) for measure in measures]
    if missing:
        parts.append(paragraph("Not run: ", join((f"{lack.path}: {lack.reason}" for lack in missing), " ")))
    parts.append(folded("Command lines and every run", *(_commands(measure) for measure in measures)))
    return join(parts)


def in_order(measure: Measure, paths: Paths) -> Measure:
    """Return the measure with its paths in the order that they have everywhere."""
    order = paths.ordered(timed.path for timed in measure.paths)
    return Measure(measure.key, sorted(measure.paths, key=lambda timed: order.index(timed.path)))


def title(section: str) -> str:
    """Return a section's heading."""
    return TITLES[section]


def _table(measure: Measure) -> Html:
    first = measure.first
    spreads = [Spread.of(timed.runs) for timed in measure.paths]
    places = decimals(spread.median for spread in spreads)
    rows = [_row(timed, measure.base, spread, places) for timed, spread in zip(measure.paths, spreads, strict=True)]
    better = "more is better" if first.more_is_better else "less is better"
    caption = join((element("strong", first.title), f": time, {first.unit}, {better}"))
    relative = f"speed relative to {measure.base}" if measure.base else "relative speed"
    head = ("path", f"median, {first.unit}", f"quartiles, {first.unit}", relative, "its quartiles", "rounds")
    return table(caption, "time", head, [Group("", rows)])


def _row(timed: Timed, base: str, spread: Spread, places: int) -> tuple[str, ...]:
    ratio = Spread.of(timed.ratios)
    return (
        timed.path,
        number(spread.median, places),
        between(spread, places),
        *(("1", "") if timed.path == base else (number(ratio.median, 3), between(ratio, 3))),
        str(spread.count),
    )


def _commands(measure: Measure) -> Html:
    parts: list[Html] = [element("h4", f"{measure.first.title}, {measure.first.unit}")]
    for timed in measure.paths:
        places = decimals(timed.runs)
        lines = (
            element("dt", "server"),
            element("dd", element("code", timed.server) if timed.server else NO_SERVER),
            element("dt", "client"),
            element("dd", element("code", timed.client)),
            element("dt", f"runs, {timed.unit}"),
            element("dd", ", ".join(number(run, places) for run in timed.runs)),
        )
        parts += [element("h5", timed.path), element("dl", *lines)]
    return join(parts)
