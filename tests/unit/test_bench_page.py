# SPDX-License-Identifier: Apache-2.0
"""The benchmarks' page says what a report holds, all of it, and refers to nothing outside itself."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bench.page import __main__ as command
from bench.page import draw
from bench.page.markup import Html, element
from bench.page.paths import Paths
from bench.page.published import CONTAINERS, LATENCY, THROUGHPUT, UDP
from bench.page.sections import Measure, sections
from bench.page.spread import Spread, decimals, number
from bench.record import Amount, Counted, Curve, Machine, Missing, Point, Report, ReportError, Timed, load

MACHINE = Machine("A Processor", 2, "Debian 13", "10.0.8", "tcg", "6.12.1-amd64", "0123abcd", changed=False)
PNG = b"\x89PNG\r\n\x1a\n"


def timed(key: str, path: str, ratios: tuple[float, ...] = (), **changes: Any) -> Timed:
    made = Timed(key, f"Title of {key}", path, "Mbit/s", True, "", "client -x", (100.0, 101.0, 103.0), ratios)
    return replace(made, **changes)


def counted(path: str, ratio: float, limit: float | None = None) -> Counted:
    rounds = tuple(1000 * ratio * drift for drift in (1.0, 2.0, 3.0))
    return Counted("data", "tcp-round-trip-out", path, ratio, limit, rounds, rounds)


def curve(kind: str, unit: str, limit: float | None = None, last: float = 104.0) -> Curve:
    points = (Point(10, 100.0, (99.0, 100.0, 101.0)), Point(100_000, last, (last,)))
    return Curve(f"{kind}-bind", f"Bind, {kind}", "endpoints", "graft", unit, kind, points, limit)


REPORT = Report(
    command="make bench",
    began="2026-01-02T03:04:05Z",
    seconds=1234.0,
    machine=MACHINE,
    commands={"timed": "lab run -- timed"},
    counted=(counted("host", 1.0), counted("graft", 1.001, 1.005), counted("nat", 1.3)),
    timed=(
        timed("tcp-throughput", "host"),
        timed("tcp-throughput", "graft", (0.99, 1.0, 1.01)),
        timed("tcp-throughput", "nat", (0.44, 0.45, 0.46)),
        timed("tcp-latency-p50", "host", unit="us", more_is_better=False),
        timed("tcp-latency-p50", "nat", (0.8, 0.8, 0.8), unit="us", more_is_better=False),
    ),
    curves=(curve("counted", "instructions", 1.05), curve("timed", "ms")),
    amounts=(Amount("endpoint", "an endpoint", 640.0, (632.0, 640.0, 656.0)),),
    missing=(Missing("tcp-throughput", "pasta", "There is no pasta here."),),
)
NOTHING = replace(REPORT, counted=(), timed=(), curves=(), amounts=(), missing=())


class Reader(HTMLParser):
    """Reads a page: its elements in balance, its headings, its tables by kind, and what it refers to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.tables: list[tuple[str, str]] = []
        self.images: list[dict[str, str]] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag not in {"img", "meta"}:
            self.open.append(tag)
        if tag == "table":
            self.tables.append((found["data-kind"], ""))
        if tag == "img":
            self.images.append(found)
        self.ids += [found["id"]] if "id" in found else []
        self.references += [found[name] for name in ("src", "href", "srcset", "data", "action") if name in found]
        assert tag not in {"script", "link", "iframe", "object", "base"}
        assert not [name for name in found if name.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            assert "url(" not in data
            assert "@import" not in data
            return
        self.text += data
        if "h2" in self.open:
            self.headings.append(data)
        if "table" in self.open:
            kind, text = self.tables[-1]
            self.tables[-1] = (kind, f"{text} {data}")


def page(report: Report, folder: Path) -> Reader:
    return Reader(draw(report, folder)[0].read_text())


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path], Reader]:
    folder = tmp_path_factory.mktemp("page") / "new"
    written = draw(REPORT, folder)
    return folder, written, Reader(written[0].read_text())


def test_the_sections_stand_in_the_papers_order(drawn: tuple[Path, list[Path], Reader]) -> None:
    assert drawn[2].headings == [
        "1. TCP throughput",
        "2. TCP latency",
        "3. Instructions per operation",
        "4. How instructions grow",
        "5. How times grow",
        "6. Kernel memory",
        "7. Published, and measured here",
        "8. What this bench cannot reproduce",
        "9. What was not run",
        "10. How it was run",
    ]


def test_what_was_not_measured_has_no_section(tmp_path: Path) -> None:
    read = page(NOTHING, tmp_path)
    assert read.headings == ["1. What this bench cannot reproduce", "2. How it was run"]
    assert "No figure of this run has a limit." in read.text
    assert list(tmp_path.iterdir()) == [tmp_path / "index.html"]


def test_every_plot_is_a_png_file_and_stands_on_the_page(drawn: tuple[Path, list[Path], Reader]) -> None:
    folder, written, read = drawn
    assert written[0] == folder / "index.html"
    assert sorted(written) == sorted(folder.iterdir())
    assert [path.name for path in written[1:]] == [
        "01-tcp-throughput.png",
        "02-tcp-latency.png",
        "03-instructions-data.png",
        "04-counted-counted-bind.png",
        "05-timed-timed-bind.png",
    ]
    assert all(path.read_bytes().startswith(PNG) for path in written[1:])
    assert len(read.images) == len(written) - 1


def test_the_page_refers_to_nothing_outside(drawn: tuple[Path, list[Path], Reader]) -> None:
    _, _, read = drawn
    inside = [f"#{name}" for name in read.ids]
    assert [one for one in read.references if one.startswith("#")] == inside
    prefix = "data:image/svg+xml;base64,"
    others = [one for one in read.references if not one.startswith("#")]
    assert others
    for one in others:
        assert one.startswith(prefix)
        svg = base64.b64decode(one.removeprefix(prefix)).decode()
        assert not re.findall(r'(?:href|src)="(?!#)', svg)
        assert "currentColor" in svg
        assert "prefers-color-scheme:dark" in svg


def test_a_plot_says_in_words_what_it_shows(drawn: tuple[Path, list[Path], Reader]) -> None:
    alts = [image["alt"] for image in drawn[2].images]
    assert "Title of tcp-throughput in Mbit/s, medians: host 101, graft 101, nat 101" in alts[0]
    assert alts[0].startswith("Time")
    assert "tcp-round-trip-out on graft 1.0010 (at most 1.005)" in alts[2]
    assert alts[2].startswith("Instructions relative to host")


def test_counts_and_times_never_share_a_table_or_a_plot(drawn: tuple[Path, list[Path], Reader]) -> None:
    read = drawn[2]
    words = {"count": "instructions", "time": "time", "memory": "bytes"}
    assert {kind for kind, _ in read.tables} == {*words, "words"}
    for kind, text in read.tables:
        said = [other for other, word in words.items() if re.search(rf"\b{word}\b", text)]
        assert said == ([kind] if kind in words else []), text
    for image in read.images:
        assert image["alt"].count("nstructions") == 0 or not re.search(r"\b(Time|time|us|ms)\b", image["alt"])


def test_the_head_says_what_where_and_when(drawn: tuple[Path, list[Path], Reader]) -> None:
    text = drawn[2].text
    for word in (
        "A Processor",
        "2 processors",
        "Debian 13",
        "10.0.8",
        "tcg",
        "6.12.1-amd64",
        "0123abcd",
        "03:04:05",
        "21 minutes",
    ):
        assert word in text[: text.index("1. TCP throughput")], word
    assert "in no commit" not in text
    assert "All 2 limits hold. Limits are set on instructions; times have none. 1 measure could not be run." in text


def test_a_changed_tree_is_said(tmp_path: Path) -> None:
    assert (
        "0123abcd, with changes that are in no commit;"
        in page(replace(NOTHING, machine=replace(MACHINE, changed=True)), tmp_path).text
    )


def test_a_broken_limit_is_said_on_top(tmp_path: Path) -> None:
    broken = replace(
        REPORT,
        timed=(),
        counted=(counted("host", 1.0), counted("graft", 1.0051, 1.005)),
        curves=(curve("counted", "instructions", 1.05, last=106.0), curve("timed", "ms", 1.05)),
    )
    text = page(broken, tmp_path).text
    head = text[: text.index("1. Instructions per operation")]
    assert "2 of 3 limits are broken." in head
    assert "tcp-round-trip-out on graft: 1.0051 times the instructions is above 1.005" in head
    assert "Bind, counted, graft, from 10 to 100,000: it grows 1.0600 times, which is above 1.05" in head
    assert "hold" not in head[head.index("2 of 3") :].split("What the paths are")[0]


@pytest.mark.parametrize(("ratio", "holds"), [(1.0049, True), (1.005, True), (1.0050001, False)])
def test_a_limit_holds_up_to_its_value(ratio: float, holds: bool) -> None:
    (found,) = replace(NOTHING, counted=(counted("graft", ratio, 1.005),)).limited
    assert found.passed is holds


def test_a_curves_limit_is_relative_to_its_base() -> None:
    points = (Point(1, 50.0, (50.0,)), Point(10, 100.0, (100.0,)), Point(1000, 109.0, (109.0,)))
    rules = replace(curve("counted", "instructions", 1.1), points=points)
    assert [round(one.growth, 2) for one in (replace(rules, base=10), rules)] == [1.09, 2.18]


def test_a_path_looks_the_same_under_each_of_its_names() -> None:
    names = (
        "graft",
        "graft, IPv6",
        "graft, 100,000 endpoints",
        "two containers, graft",
        "af-graft",
        "odd",
        "two host programs",
    )
    paths = Paths(replace(NOTHING, timed=tuple(timed("key", name) for name in reversed(names))))
    looks = [paths.look(name) for name in names]
    assert len(set(looks[:4])) == 1
    assert len(set(looks[3:])) == 4
    assert paths.ordered(names)[0] == "two host programs"
    assert paths.ordered(names)[-1] == "odd"


def test_a_curve_from_nothing_to_something_breaks_its_limit() -> None:
    points = (Point(1, 0.0, (0.0,)), Point(10, 5.0, (5.0,)))
    (found,) = replace(NOTHING, curves=(replace(curve("timed", "ms", 2.0), points=points),)).limited
    assert not found.passed


def test_names_from_a_report_are_escaped(tmp_path: Path) -> None:
    evil = '<script>alert("&", $\\x$)</script>'
    report = Report(
        command=evil,
        began=evil,
        seconds=1.0,
        machine=Machine(evil, 1, evil, evil, evil, evil, evil, changed=True),
        commands={evil: evil},
        counted=(
            Counted(evil, evil, evil, 1.0, None, (1.0,), (1.0,)),
            Counted(evil, evil, evil + "2", 2.0, 1.0, (2.0,), (1.0,)),
        ),
        timed=(Timed(evil, evil, evil, evil, True, evil, evil, (1.0,), ()),),
        curves=(replace(curve("counted", evil), key=evil, title=evil, axis=evil, path=evil),),
        amounts=(Amount(evil, evil, 1.0, (1.0,)),),
        missing=(Missing(evil, evil, evil),),
    )
    written = draw(report, tmp_path)
    text = written[0].read_text()
    assert "<script" not in text
    assert text.count("&lt;script&gt;alert(") > 30
    assert evil in Reader(text).text
    # Nor does a name leave the folder.
    assert {path.parent for path in written} == {tmp_path}


def test_only_html_made_here_goes_in_unescaped() -> None:
    made = element("p", "a<b", Html("<br>"), class_='x"y', data_kind="&")
    assert made.text == '<p class="x&quot;y" data-kind="&amp;">a&lt;b<br></p>'


def test_the_published_values_stand_beside_ours(drawn: tuple[Path, list[Path], Reader]) -> None:
    (text,) = (text for _, text in drawn[2].tables if "Published and measured" in text)
    rows = " ".join(text.split())
    said = "TCP throughput, nat to host: speed less than half, at 40 Gbit/s 0.50 sending, 0.49 receiving"
    assert f"{said} Title of tcp-throughput 0.45" in rows
    assert (
        "TCP throughput, graft to nat: speed doubled 2.00 sending, 2.10 receiving Title of tcp-throughput 2.22" in rows
    )
    # 0.8 times the speed is 1.25 times the latency.
    assert "TCP latency, nat to host: latency 1.3 1.33 Title of tcp-latency-p50 1.25" in rows
    (text,) = (text for _, text in drawn[2].tables if "The same by instructions" in text)
    assert " ".join(text.split()).endswith("tcp-round-trip-out 1.0010 1.3000")


def test_ratios_are_spread_within_rounds(drawn: tuple[Path, list[Path], Reader]) -> None:
    # The rounds drift threefold, alike on both paths.
    (text,) = (text for kind, text in drawn[2].tables if kind == "count" and "limit kept" in text)
    assert "graft kept 2,002 1,501 to 2,502 1.0010 1.0010 to 1.0010 1.005 3" in " ".join(text.split())


def test_what_was_not_run_is_said_where_it_is_missed(drawn: tuple[Path, list[Path], Reader]) -> None:
    text = drawn[2].text
    first = text.index("Not run: pasta: There is no pasta here.")
    assert text.index("1. TCP throughput", text.index("10. How it was run")) < first
    (table,) = (table for _, table in drawn[2].tables if table.strip().startswith("Not run"))
    assert "tcp-throughput pasta There is no pasta here." in " ".join(table.split())


def test_command_lines_and_every_run_are_there(drawn: tuple[Path, list[Path], Reader]) -> None:
    text = drawn[2].text
    for words in (
        "client -x",
        "none was started for it",
        "100, 101, 103",
        "make bench",
        "lab run -- timed",
        "1,000, 2,000, 3,000",
    ):
        assert words in text, words


@pytest.mark.parametrize(("accelerator", "said"), [("tcg", True), ("tcg, thread=multi", True), ("kvm", False)])
def test_emulated_times_are_said_to_be_no_speeds(accelerator: str, said: bool, tmp_path: Path) -> None:
    text = page(replace(NOTHING, machine=replace(MACHINE, accelerator=accelerator)), tmp_path).text
    assert ("under emulation: they rank the paths" in text) is said
    assert "40 Gbit/s wire" in text


@pytest.mark.parametrize(
    ("key", "title", "unit", "paths", "section"),
    [
        ("tcp-throughput-out", "TCP throughput", "Mbit/s", ("host", "graft", "bridge"), THROUGHPUT),
        ("tcp-latency-p99", "TCP latency", "us", ("host",), LATENCY),
        ("tcp", "TCP throughput", "Mbit/s", ("bridge", "graft"), CONTAINERS),
        ("containers-udp", "UDP throughput", "Mbit/s", ("loopback",), CONTAINERS),
        ("udp-latency", "UDP latency", "us", ("host",), UDP),
        ("udp-packets", "UDP packets", "packets/s", ("host",), UDP),
        ("tcp-connections", "TCP connections", "connections/s", ("host",), "connections"),
        ("connections", "Connections with a request each (wrk, nginx)", "1/s", ("host",), "connections"),
        ("http", "HTTP requests over TCP", "requests/s", ("host",), "http"),
        ("redis-get", "redis GET", "requests/s", ("host",), "redis"),
        ("odd", "What nobody foresaw", "furlongs", ("host",), "other"),
    ],
)
def test_each_measure_has_its_section(key: str, title: str, unit: str, paths: tuple[str, ...], section: str) -> None:
    found = [timed(key, path, title=title, unit=unit) for path in paths]
    assert Measure(key, found).section() == section
    assert {name: [measure.key for measure in of] for name, of in sections(found).items()} == {section: [key]}


def test_spreads() -> None:
    assert Spread.of((4.0, 1.0, 2.0, 3.0, 5.0)) == Spread(2.0, 3.0, 4.0, 5)
    assert Spread.of((7.0,)) == Spread(7.0, 7.0, 7.0, 1)
    assert number(Spread.of(()).median, 2) == "-"
    assert [decimals((value, 5000.0)) for value in (5000.0, 250.0, 42.0, 4.2, 0.42, 0.00001)] == [0, 0, 1, 2, 3, 4]


def test_a_report_comes_back_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text(json.dumps(REPORT.as_json()))
    assert load(file) == REPORT


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"schema": 2}, "is of schema 2; this version reads schema 1: measure again, or use its own version"),
        ({"schema": True}, "is of schema True; this version reads schema 1"),
        ({"schema": None}, "names no schema; this version reads schema 1"),
        ({"seconds": "1"}, "is no report of schema 1: the report.seconds has to be a number"),
        ({"machine": 1}, "is no report of schema 1: the report.machine has to be an object"),
        ({"extra": 1}, "is no report of schema 1: the report has 'extra', which means nothing"),
        ({"timed": {}}, "is no report of schema 1: the report.timed has to be a list"),
        ({"timed": [{}]}, "is no report of schema 1: the report.timed[0] lacks 'client'"),
        ({"commands": {"a": 1}}, "is no report of schema 1: the report.commands.a has to be text"),
    ],
)
def test_another_schema_is_refused_by_a_sentence(change: dict[str, object], sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text(json.dumps({**REPORT.as_json(), **change}))
    with pytest.raises(ReportError, match=re.escape(f"{file} {sentence}")):
        load(file)


@pytest.mark.parametrize(
    ("held", "sentence"),
    [("{", "is no report: it is not JSON"), ("[]", "names no schema"), (None, "cannot be read: No such")],
)
def test_what_is_no_report_is_refused_by_a_sentence(
    held: str | None, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "report.json"
    if held is not None:
        file.write_text(held)
    assert command.main([str(file)]) == 1
    assert f"page: {file} {sentence}" in capsys.readouterr().err


def test_the_command_draws_a_report_beside_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "report.json"
    file.write_text(json.dumps(NOTHING.as_json()))
    assert command.main([str(file)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'index.html'}\n"
    assert command.main([]) == 2
