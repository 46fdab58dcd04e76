# SPDX-License-Identifier: Apache-2.0
"""The section of instructions per operation."""

from __future__ import annotations

from collections.abc import Sequence

from bench.page.markup import Group, Html, element, folded, join, table
from bench.page.paths import Paths
from bench.page.plots import Plot, Plotter
from bench.page.spread import Spread, between, number
from bench.plans import described
from bench.record import Counted


def comparisons(found: Sequence[Counted]) -> dict[str, list[Counted]]:
    """Return the figures of each comparison, in the report's order."""
    by_name: dict[str, list[Counted]] = {}
    for counted in found:
        by_name.setdefault(counted.comparison, []).append(counted)
    return by_name


def comparison(name: str, found: Sequence[Counted], paths: Paths, plotter: Plotter, file: str) -> tuple[Html, Plot]:
    """Return the table and the plot of a comparison."""
    base = found[0].path
    spreads = [_ratios(counted, found) for counted in found]
    plot = plotter.ratios(file, found, spreads)
    groups = []
    for operation in dict.fromkeys(counted.operation for counted in found):
        order = paths.ordered(counted.path for counted in found if counted.operation == operation)
        of = [(one, spread) for one, spread in zip(found, spreads, strict=True) if one.operation == operation]
        of.sort(key=lambda pair: order.index(pair[0].path))
        groups.append(Group(operation, [_row(counted, base, spread) for counted, spread in of]))
    caption = join(
        (element("strong", name), f": count, instructions of the whole guest per operation; ratios to {base}")
    )
    head = ("path", "limit kept", "instructions, median", "quartiles", "ratio", "its quartiles", "at most", "rounds")
    body = join(
        (
            element("h3", name),
            plot.html,
            table(caption, "count", head, groups, text=2),
            folded("Every round", _rounds(found)),
        )
    )
    return body, plot


def operations(found: Sequence[Counted]) -> Html:
    """Return what each operation is."""
    names = dict.fromkeys(one.operation for one in found)
    what = [join((element("dt", name), element("dd", described(name)))) for name in names]
    return element("details", element("summary", "What the operations are"), element("dl", *what, class_="paths"))


def _ratios(counted: Counted, found: Sequence[Counted]) -> Spread:
    """Return the spread of the ratios within rounds; of nothing where the rounds do not belong together."""
    for other in found:
        if (other.operation, other.path) == (counted.operation, found[0].path):
            if len(other.rounds) == len(counted.rounds) and all(other.rounds):
                return Spread.of([one / first for one, first in zip(counted.rounds, other.rounds, strict=True)])
            break
    return Spread.of(())


def _row(counted: Counted, base: str, ratio: Spread) -> tuple[Html | str, ...]:
    rounds = Spread.of(counted.rounds)
    kept: Html | str = ""
    most = ""
    if counted.limit is not None:
        most = f"{counted.limit:g}"
        kept = "kept" if counted.ratio <= counted.limit else element("strong", "broken", class_="broken")
    return (
        counted.path,
        kept,
        number(rounds.median, 0),
        between(rounds, 0),
        *(("1", "") if counted.path == base else (f"{counted.ratio:.4f}", between(ratio, 4))),
        most,
        str(rounds.count),
    )


def _rounds(found: Sequence[Counted]) -> Html:
    items = []
    for counted in found:
        items.append(element("dt", f"{counted.operation}, {counted.path}"))
        items.append(element("dd", ", ".join(number(one, 0) for one in counted.rounds)))
    return element("dl", *items)
