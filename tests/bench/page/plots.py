# SPDX-License-Identifier: Apache-2.0
"""The plots: drawn by matplotlib, kept as PNG files and, for the page, as SVG that follows its light or dark."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from math import ceil, isfinite
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from bench.page.markup import Html, element
from bench.page.paths import Paths
from bench.page.sections import Measure
from bench.page.spread import Spread, alternatives, decimals, number
from bench.record import Counted, Curve
from driver.lab import BUILD

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import Formatter, Locator
    from matplotlib.typing import RcKeyType

# Whatever has this colour has that of the page's text in SVG, which knows no more of the page than light or dark.
_INK = "#20242a"
_SCHEMES = "<style>svg{color:#20242a}@media (prefers-color-scheme:dark){svg{color:#dfe3e8}}</style>"
_DOTS_PER_INCH = 160
_WIDTH = 8.6  # inches
_STYLE: dict[RcKeyType, Any] = {
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "font.size": 9.5,
    "grid.alpha": 0.16,
    "grid.color": _INK,
    "legend.frameon": False,
    "svg.hashsalt": "graftd",
    "text.color": _INK,
    "text.parse_math": False,  # a dollar in a name is one
    "xtick.color": _INK,
    "ytick.color": _INK,
}


@dataclass(frozen=True)
class Plot:
    """A plot, as it stands on the page, and its PNG file."""

    html: Html
    file: Path


@dataclass(frozen=True)
class Plotter:
    """Draws into ``folder``."""

    folder: Path
    paths: Paths

    def times(self, name: str, measures: Sequence[Measure]) -> Plot:
        """Draw the measures of a section in time, each on axes of its own: bars of medians, quartiles and every run."""
        columns = min(len(measures), 2)
        rows = ceil(len(measures) / columns)
        tallest = max(len(measure.paths) for measure in measures)

        def draw(figure: Figure) -> None:
            grid = figure.subplots(rows, columns, squeeze=False).flatten()
            for axes, measure in zip(grid, measures, strict=False):
                self._bars(axes, measure, 0.62 * len(measure.paths) / tallest)
            for axes in grid[len(measures) :]:
                axes.set_axis_off()

        alt = "Time, " + "; ".join(map(_told, measures)) + "."
        return self._plot(name, alt, rows * (0.34 * tallest + 1.0), draw)

    def ratios(self, name: str, found: Sequence[Counted], spreads: Sequence[Spread]) -> Plot:
        """Draw the ratios of instructions of a comparison by operation and path, with their limits."""
        base = found[0].path
        operations = list(dict.fromkeys(counted.operation for counted in found))
        # The first path is the line at 1.
        paths = self.paths.ordered(counted.path for counted in found if counted.path != base) or [base]
        reach = max([1.01, *(max(counted.ratio, counted.limit) for counted in found if counted.limit is not None)])
        if not any(counted.limit for counted in found):
            reach = max(counted.ratio for counted in found)
        least = min([1.0, *(spread.low for spread in spreads if isfinite(spread.low))])
        right, left = reach + (reach - 1) * 0.35, least - (reach - least) * 0.12

        def draw(figure: Figure) -> None:
            axes = figure.subplots()
            axes.axvline(1, color=_INK, linewidth=0.8, alpha=0.6)
            for counted, spread in zip(found, spreads, strict=True):
                if counted.path not in paths:
                    continue
                row = operations.index(counted.operation)
                self._ratio(axes, counted, spread, row + _dodge(paths.index(counted.path), len(paths)), right)
            for row in range(1, len(operations)):
                axes.axhline(row - 0.5, color=_INK, linewidth=0.6, alpha=0.16)
            axes.set_yticks(range(len(operations)), operations)
            axes.set_ylim(len(operations) - 0.5, -0.5)
            axes.set_xlim(left, right)
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="x")
            axes.set_xlabel(
                f"instructions relative to {base} (count; median and quartiles of "
                f"{alternatives((len(counted.rounds) for counted in found), 'round')}; | is the limit)"
            )
            axes.set_title(found[0].comparison)
            self._legend(axes, paths)

        told = "; ".join(
            f"{counted.operation} on {counted.path} {counted.ratio:.4f}{_limited(counted)}" for counted in found
        )
        return self._plot(name, f"Instructions relative to {base}: {told}.", _height(operations, paths), draw)

    def curves(self, name: str, curves: Sequence[Curve]) -> Plot:
        """Draw curves of one title, one a path, against the size on a logarithmic axis."""
        first = curves[0]
        what = {"counted": "count of instructions", "timed": "time"}.get(first.kind, "memory")

        def draw(figure: Figure) -> None:
            axes = figure.subplots()
            for curve in curves:
                self._curve(axes, curve)
            values = [point.value for curve in curves for point in curve.points]
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter(_without_words())
            axes.xaxis.set_major_formatter("{x:,.10g}")
            if min(values) > 0 and max(values) / min(values) > 30:
                axes.set_yscale("log")
                axes.yaxis.set_minor_formatter(_without_words())
            else:
                axes.set_ylim(0, max(values) * 1.18 or 1)
            axes.yaxis.set_major_formatter("{x:,.10g}")
            runs = alternatives((len(point.runs) for curve in curves for point in curve.points), "run")
            axes.set_ylabel(f"{first.unit} ({what})")
            limited = "; dashes are the limit" if any(curve.limit is not None for curve in curves) else ""
            axes.set_title(fill(first.title, 60))
            axes.set_xlabel(f"{first.axis}\n(median and quartiles of {runs}{limited})")
            axes.grid()
            if len(curves) > 1:
                axes.legend()

        told = "; ".join(
            f"{curve.path} " + ", ".join(f"{point.value:,.4g} at {point.size:,}" for point in curve.points)
            for curve in curves
        )
        return self._plot(name, f"{first.title}, {first.unit} ({what}): {told}.", 3.4, draw, 5.6)

    def _bars(self, axes: Axes, measure: Measure, height: float) -> None:
        spreads = [Spread.of(timed.runs) for timed in measure.paths]
        names = [timed.path for timed in measure.paths]
        places = decimals(spread.median for spread in spreads)
        longest = max([spread.high for spread in spreads if spread.count], default=1) or 1
        for row, (timed, spread) in enumerate(zip(measure.paths, spreads, strict=True)):
            axes.barh(row, spread.median, height=height, color=self.paths.look(timed.path).colour, alpha=0.9)
            axes.errorbar(
                spread.median, row, xerr=[[spread.below()], [spread.above()]], color=_INK, linewidth=1.2, capsize=3
            )
            axes.plot(timed.runs, [row + 0.36 * height] * len(timed.runs), ".", color=_INK, markersize=2.5, alpha=0.6)
            beside = (max([spread.high, *timed.runs]), row) if spread.count else (0, row)
            axes.annotate(number(spread.median, places), beside, (6, 0), textcoords="offset points", va="center")
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.45, -0.55)
        axes.set_xlim(0, longest * 1.3)
        axes.xaxis.set_major_locator(_few_ticks())
        axes.xaxis.set_major_formatter("{x:,.10g}")
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.set_title(fill(measure.first.title, 38))
        better = "more is better" if measure.first.more_is_better else "less is better"
        rounds = alternatives((len(timed.runs) for timed in measure.paths), "round")
        axes.set_xlabel(f"{measure.first.unit} (time; {better}; {rounds})")

    def _ratio(self, axes: Axes, counted: Counted, spread: Spread, row: float, right: float) -> None:
        look = self.paths.look(counted.path)
        if counted.limit is not None:
            axes.plot([counted.limit], [row], "|", color=_INK, markersize=9, markeredgewidth=1.4)
        if counted.ratio > right:
            # Off the scale that the limits need: at the edge, in words.
            axes.annotate(
                f"{counted.ratio:.3f} →", (right, row), (-2, 0), textcoords="offset points",
                ha="right", va="center", size=8.5, color=look.colour, weight="bold",
            )  # fmt: skip
            return
        error = [[spread.below()], [spread.above()]] if spread.count else None
        axes.errorbar(
            counted.ratio,
            row,
            xerr=error,
            fmt=look.marker,
            color=look.colour,
            markersize=5.5,
            linewidth=1.2,
            capsize=2.5,
        )

    def _curve(self, axes: Axes, curve: Curve) -> None:
        look = self.paths.look(curve.path)
        points = sorted(curve.points, key=lambda point: point.size)
        spreads = [Spread.of(point.runs) for point in points]
        values = [point.value for point in points]
        low = [max(value - spread.low, 0) if spread.count else 0 for value, spread in zip(values, spreads, strict=True)]
        high = [
            max(spread.high - value, 0) if spread.count else 0 for value, spread in zip(values, spreads, strict=True)
        ]
        if curve.limit is not None:
            axes.axhline(curve.ends[0].value * curve.limit, color=look.colour, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.errorbar(
            [point.size for point in points], values, yerr=[low, high], color=look.colour, marker=look.marker,
            markersize=5, linewidth=1.6, capsize=2.5, label=curve.path,
        )  # fmt: skip

    def _legend(self, axes: Axes, paths: Sequence[str]) -> None:
        from matplotlib.lines import Line2D

        looks = [self.paths.look(path) for path in paths]
        handles = [Line2D([], [], linestyle="", color=look.colour, marker=look.marker, label=path)
                   for look, path in zip(looks, paths, strict=True)]  # fmt: skip
        axes.legend(handles=handles, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(paths), borderpad=0)

    def _plot(self, name: str, alt: str, height: float, draw: Callable[[Figure], None], width: float = _WIDTH) -> Plot:
        # Where matplotlib keeps its list of fonts; without this, in the home folder.
        os.environ.setdefault("MPLCONFIGDIR", str(BUILD / "cache" / "matplotlib"))
        from matplotlib import rc_context
        from matplotlib.figure import Figure

        with rc_context(_STYLE):
            # Without pyplot a figure is Agg's, whatever the machine has.
            figure = Figure(figsize=(width, height))
            figure.set_layout_engine("constrained", h_pad=0.1)
            draw(figure)
            file = self.folder / f"{name}.png"
            figure.savefig(file, dpi=_DOTS_PER_INCH, facecolor="white", metadata={"Software": None})
            written = BytesIO()
            figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        image = element("img", src=_embedded(written.getvalue().decode()), alt=alt, width=f"{width * 96:.0f}")
        return Plot(element("figure", image), file)


def _embedded(svg: str) -> str:
    head, mark, rest = svg.replace(_INK, "currentColor").partition("<defs>")
    whole = f"{head}{_SCHEMES}{mark}{rest}"
    return "data:image/svg+xml;base64," + base64.b64encode(whole.encode()).decode()


def _few_ticks() -> Locator:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=5)


def _height(operations: Sequence[str], paths: Sequence[str]) -> float:
    return len(operations) * (0.17 * len(paths) + 0.16) + 1.1


def _without_words() -> Formatter:
    from matplotlib.ticker import NullFormatter

    return NullFormatter()


def _dodge(index: int, count: int) -> float:
    return (index - (count - 1) / 2) * 0.8 / count


def _told(measure: Measure) -> str:
    spreads = {timed.path: Spread.of(timed.runs) for timed in measure.paths}
    places = decimals(spread.median for spread in spreads.values())
    values = ", ".join(f"{path} {number(spread.median, places)}" for path, spread in spreads.items())
    return f"{measure.first.title} in {measure.first.unit}, medians: {values}"


def _limited(counted: Counted) -> str:
    return "" if counted.limit is None else f" (at most {counted.limit:g})"
