# SPDX-License-Identifier: Apache-2.0
"""The published values beside this run's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from bench.page.markup import Group, Html, element, join, table
from bench.page.published import PUBLISHED, Published
from bench.page.sections import Measure
from bench.page.spread import NOTHING
from bench.record import Counted, Timed

_TIMES_HEAD = ("statement", "the paper", "its authors' files", "our measure", "ours")
# The paper's latencies are means of all answers, and its devices were as they are.
_NOT_PUBLISHED = frozenset({"p99", "small", "mtu"})
_EXCHANGES = ("round-trip", "send", "serve", "receive")


def times(found: Mapping[str, Sequence[Measure]]) -> Html | None:
    """Return the table of published ratios and those of this run's times; None where there is none of ours."""
    rows = []
    for published in PUBLISHED:
        what = "latency" if published.longer else "speed"
        said = (
            f"{published.what}, {published.path} to {published.other}: {what}",
            published.paper or NOTHING,
            published.files,
        )
        for measure in found.get(published.section, ()):
            ratio = _ratio(published, measure)
            if ratio is not None:
                rows.append((*said, measure.first.title, f"{ratio:.2f}"))
                said = ("", "", "")
    if not rows:
        return None
    caption = join(
        (element("strong", "Published and measured"), ": time, ratios; ours are medians of ratios in a round")
    )
    return table(caption, "time", _TIMES_HEAD, [Group("", rows)], text=4)


def _ratio(published: Published, measure: Measure) -> float | None:
    """Return our ratio for a published one; None where the measure has none such."""
    words = measure.words()
    if (
        measure.first.more_is_better is published.longer
        or words & _NOT_PUBLISHED
        or published.udp is not ("udp" in words)
    ):
        return None
    by_path = {timed.path: timed for timed in measure.paths}
    if published.path not in by_path or published.other not in by_path:
        return None
    speeds = _speeds(by_path[published.path], by_path[published.other], measure.base)
    if not speeds or not all(speeds):
        return None
    return 1 / median(speeds) if published.longer else median(speeds)


def _speeds(path: Timed, other: Timed, base: str) -> list[float]:
    """Return the speed of ``path`` relative to ``other``, in each round."""
    if other.path == base:
        return list(path.ratios)
    if len(path.ratios) != len(other.ratios) or not all(other.ratios):
        return []
    return [one / two for one, two in zip(path.ratios, other.ratios, strict=True)]


def counts(found: Sequence[Counted]) -> Html | None:
    """Return the table of this run's ratios of instructions for what the paper timed; None where there is none."""
    chosen = [counted for counted in found if any(word in counted.operation for word in _EXCHANGES)]
    bases = {counted.comparison: counted.path for counted in reversed(found)}
    paths = list(dict.fromkeys(one.path for one in chosen if one.path != bases[one.comparison]))
    ratios = {(one.comparison, one.operation, one.path): f"{one.ratio:.4f}" for one in chosen}
    groups = []
    for name in dict.fromkeys(counted.comparison for counted in chosen):
        operations = dict.fromkeys(one.operation for one in chosen if one.comparison == name)
        rows = [(one, *(ratios.get((name, one, path), NOTHING) for path in paths)) for one in operations]
        groups.append(Group(f"{name}: relative to {bases[name]}", rows))
    if not paths:
        return None
    caption = join((element("strong", "The same by instructions"), ": count, ratios of instructions per operation"))
    return table(caption, "count", ("operation", *paths), groups)
