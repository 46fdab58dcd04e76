# SPDX-License-Identifier: Apache-2.0
"""The whole page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.page import beside, caveats, counts, growth, published, times
from bench.page.markup import Html, bullets, element, join, paragraph
from bench.page.paths import Paths
from bench.page.plots import Plot, Plotter
from bench.page.sections import Measure, sections
from bench.page.spread import counted
from bench.record import Missing, Report

_FEW_ROUNDS = 4
_STYLE = Path(__file__).with_name("style.css")
_TITLE = "graftd: benchmarks"


@dataclass
class _Body:
    """The sections so far, numbered, and the plots in them."""

    plotter: Plotter
    sections: list[tuple[str, str, Html]] = field(default_factory=list)
    plots: list[Path] = field(default_factory=list)

    def name(self, words: str) -> str:
        """Return a plot's name: its section's number, then ``words`` as a file's name has them."""
        plain = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in words.lower())
        return f"{len(self.sections) + 1:02}-" + "-".join(filter(None, plain.split("-")))

    def taken(self, plot: Plot) -> Html:
        """Keep a plot's file and return what stands on the page."""
        self.plots.append(plot.file)
        return plot.html

    def add(self, key: str, title: str, *parts: Html) -> None:
        """Add a section."""
        number = len(self.sections) + 1
        heading = element("h2", f"{number}. {title}")
        self.sections.append((key, f"{number}. {title}", element("section", heading, *parts, id=key)))


def document(report: Report, folder: Path) -> tuple[str, list[Path]]:
    """Return the page as HTML, and the plots that were written into ``folder`` for it."""
    paths = Paths(report)
    body = _Body(Plotter(folder, paths))
    placed = {
        section: [times.in_order(measure, paths) for measure in measures]
        for section, measures in sections(report.timed).items()
    }
    _times(body, report, placed)
    _counts(body, report, paths)
    _growth(body, report, paths)
    _published(body, report, placed)
    body.add("not-reproduced", "What this bench cannot reproduce", caveats.not_reproduced(report.machine))
    if report.missing:
        body.add("missing", "What was not run", caveats.missing(report.missing))
    body.add("how", "How it was run", caveats.how(report))
    links = bullets(element("a", title, href=f"#{key}") for key, title, _ in body.sections)
    contents = element("nav", links, aria_label="Contents")
    whole = element(
        "body",
        element("header", element("h1", _TITLE), *_head(report, paths)),
        contents,
        element("main", *(html for _, _, html in body.sections)),
    )
    return "<!doctype html>\n" + element("html", _meta(), whole, lang="en").text + "\n", body.plots


def _meta() -> Html:
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", _TITLE),
        # Ours, and without a character that HTML would read.
        element("style", Html(_STYLE.read_text())),
    )


def _head(report: Report, paths: Paths) -> list[Html]:
    machine = report.machine
    named = ", ".join(name for name, _ in paths.described())
    kinds = [
        kind
        for kind, found in (
            ("instructions per operation", report.counted),
            ("times", report.timed),
            ("growth with size", report.curves),
            ("bytes of kernel memory", report.amounts),
        )
        if found
    ]
    changed = ", with changes that are in no commit" if machine.changed else ""
    sentences = paragraph(
        "What a container's sockets cost when they are grafted onto the host's network stack, beside other ways out of "
        f"a container: {_listed(kinds)}, on the paths {named}. ",
        f"Measured in guests with kernel {machine.kernel} under QEMU {machine.qemu}, accelerator "
        f"{machine.accelerator}, on {machine.processor} with {counted(machine.processors, 'processor')} "
        f"({machine.system}). ",
        "The tree was commit ",
        element("code", machine.commit),
        f"{changed}; the run began {report.began} and took {caveats.duration(report.seconds)}. ",
        "A figure is either a count of instructions, whose ratios are the ones to quote, or a time; no table and no "
        "plot holds both. A ratio is the median of the rounds' own ratios, not the quotient of two medians.",
        " Three short rounds of times do not even rank paths that lie close." if _is_short(report) else "",
    )
    what = [join((element("dt", name), element("dd", text))) for name, text in paths.described()]
    key = element("details", element("summary", "What the paths are"), element("dl", *what, class_="paths"), open="")
    return [sentences, _verdict(report), key] if what else [sentences, _verdict(report)]


def _is_short(report: Report) -> bool:
    return any(len(one.runs) < _FEW_ROUNDS for one in report.timed)


def _verdict(report: Report) -> Html:
    found = report.limited
    broken = [one for one in found if not one.passed]
    lacking = f" {counted(len(report.missing), 'measure')} could not be run." if report.missing else ""
    if broken:
        said = f"{len(broken)} of {counted(len(found), 'limit')} {'is' if len(broken) == 1 else 'are'} broken."
        listed = bullets(one.sentence() for one in broken)
        return element("div", paragraph(element("strong", said), lacking), listed, class_="verdict broken")
    said = f"All {counted(len(found), 'limit')} hold." if len(found) > 1 else "The one limit holds."
    lacking = f" Limits are set on instructions; times have none.{lacking}"
    if not found:
        return element("div", paragraph("No figure of this run has a limit.", lacking), class_="verdict")
    return element("div", paragraph(element("strong", said), lacking), class_="verdict kept")


def _times(body: _Body, report: Report, placed: dict[str, list[Measure]]) -> None:
    for section, measures in placed.items():
        title = times.title(section)
        plot = body.taken(body.plotter.times(body.name(title), measures))
        keys = {measure.key for measure in measures}
        lacks: Sequence[Missing] = [lack for lack in report.missing if lack.key in keys]
        body.add(
            section,
            title,
            element("p", caveats.of_times(report.machine), class_="kind"),
            plot,
            times.section_body(measures, lacks),
        )


def _counts(body: _Body, report: Report, paths: Paths) -> None:
    parts = []
    for name, found in counts.comparisons(report.counted).items():
        html, plot = counts.comparison(name, found, paths, body.plotter, body.name(f"instructions {name}"))
        body.taken(plot)
        parts.append(html)
    if parts:
        said = "Counts, no times: all instructions that the guest retired, kernel and programs, for one operation."
        parts.append(counts.operations(report.counted))
        body.add("instructions", "Instructions per operation", element("p", said, class_="kind"), *parts)


def _growth(body: _Body, report: Report, paths: Paths) -> None:
    for kind, key, title, said in (
        (growth.COUNTED, "growth", "How instructions grow", "Counts, no times: instructions of the whole guest."),
        (growth.TIMED, "growth-times", "How times grow", caveats.of_times(report.machine)),
    ):
        parts = _curves(body, report, paths, kind)
        if parts:
            body.add(key, title, element("p", said, class_="kind"), *parts)
    if report.amounts:
        body.add("memory", "Kernel memory", growth.amounts(report.amounts))


def _curves(body: _Body, report: Report, paths: Paths, kind: str) -> list[Html]:
    plots, tables = [], []
    for key, found in growth.of_kind(report.curves, kind).items():
        html, plot = growth.curves(found, paths, body.plotter, body.name(f"{kind} {key}"))
        plots.append(body.taken(plot))
        tables.append(html)
    return [element("div", *plots, class_="side-by-side"), *tables] if plots else []


def _published(body: _Body, report: Report, placed: dict[str, list[Measure]]) -> None:
    tables = [made for made in (beside.times(placed), beside.counts(report.counted)) if made]
    if tables:
        sources = bullets((f"The paper: {published.PAPER}", f"Its authors' files: {published.FILES}."))
        body.add("published", "Published, and measured here", sources, *tables)


def _listed(items: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(items[:-1]), *items[-1:])))
