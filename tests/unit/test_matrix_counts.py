# SPDX-License-Identifier: Apache-2.0
"""What a suite's report adds up to: a failure is never lost, and a test that stays out is one."""

import json
from pathlib import Path

import pytest

from matrix.counts import Counts, durations, from_closing_line, from_go, from_junit

PASSED = '<testcase classname="test_a" name="test_one"/>'
FAILED = '<testcase classname="test_a" name="test_two"><failure message="assert 1 == 2&#10;more"/></testcase>'
BROKEN = '<testcase classname="test_a" name="test_three"><error message="no world"/></testcase>'
CANNOT = '<testcase classname="test_a" name="test_four"><skipped message="the kernel cannot: io_uring"/></testcase>'
SKIPPED = '<testcase classname="test_a" name="test_five"><skipped message="not today"/></testcase>'


def report(folder: Path, *cases: str) -> Path:
    path = folder / "junit.xml"
    path.write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    return path


def test_each_outcome_is_counted(tmp_path: Path) -> None:
    counts = from_junit(report(tmp_path, PASSED, PASSED, FAILED, BROKEN, CANNOT))
    assert str(counts) == "2 passed, 2 failed, 1 skipped"
    assert counts.failures == ("test_a::test_two: assert 1 == 2", "test_a::test_three: no world")


def test_a_skip_without_a_reason_of_the_kernels_is_a_failure(tmp_path: Path) -> None:
    counts = from_junit(report(tmp_path, PASSED, SKIPPED))
    assert (counts.passed, counts.failed, counts.skipped) == (1, 1, 0)
    assert counts.failures == ("test_a::test_five: skipped, which is a failure here: not today",)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "there is no report of its tests"),
        ("<testsuites><testsuite/></testsuites>", "it ran no test"),
        ("<testsuites><testcase", "there is no report of its tests"),
    ],
)
def test_a_report_without_tests_counts_nothing(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "junit.xml"
    path.write_text(text)
    with pytest.raises(ValueError, match=sentence):
        from_junit(path)


def test_a_closing_line_is_read() -> None:
    assert from_closing_line("check: sparse: passed\n11 passed, 0 failed\n") == Counts(passed=11)
    assert from_closing_line("bench: too much\n9 passed, 3 failed\n").failed == 3


@pytest.mark.parametrize("text", ["", "Traceback (most recent call last):\n", "3 passed, 0 failed\nthen it broke\n"])
def test_an_output_that_closes_otherwise_counts_nothing(text: str) -> None:
    with pytest.raises(ValueError, match="did not say how many passed"):
        from_closing_line(text)


def test_counts_without_skips_close_in_the_plain_form() -> None:
    assert str(Counts(passed=3) + Counts(passed=1, failed=1)) == "4 passed, 1 failed"


def test_durations_are_those_of_a_whole_report(tmp_path: Path) -> None:
    path = report(tmp_path, '<testcase classname="test_a" name="test_one" time="2.5"/>')
    assert durations(path) == [("test_one", 2.5)]
    path.write_text(path.read_text()[:40])
    assert durations(path) == []
    assert durations(tmp_path / "none") == []


def go_report(folder: Path, *events: str) -> Path:
    """'ACTION PACKAGE TEST', or 'output PACKAGE TEST=TEXT'."""
    lines = []
    for event in events:
        action, package, test = (*event.partition("=")[0].split(), "", "")[:3]
        fields = {"Action": action, "Package": package, "Test": test, "Output": event.partition("=")[2]}
        lines.append(json.dumps({name: value for name, value in fields.items() if value}))
    path = folder / "go.json"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_tests_of_go_are_counted_and_tests_of_tests_in_their_place(tmp_path: Path) -> None:
    report = go_report(
        tmp_path, "start a", "run a T", "pass a T/one", "pass a T/two", "pass a T", "pass a Tail", "pass a", "skip b"
    )
    assert from_go(report) == Counts(passed=3)


def test_a_failure_of_go_is_counted_once_wherever_it_is(tmp_path: Path) -> None:
    report = go_report(
        tmp_path,
        *("fail a T/one", "pass a T/two", "fail a T", "fail a"),
        *("pass b T/one", "fail b T", "fail b"),
        *("pass c T", "fail c"),
        "fail d",
    )
    counts = from_go(report)
    assert counts.failures == ("a T/one", "b T", "c", "d")
    assert (counts.passed, counts.failed) == (3, 4)


def test_a_skip_of_go_is_a_failure_unless_the_kernel_cannot(tmp_path: Path) -> None:
    skipped = ("output a T=a.go:1: the kernel cannot: fly", "skip a T", "output a U=later", "skip a U", "pass a")
    counts = from_go(go_report(tmp_path, *skipped))
    assert (counts.passed, counts.failed, counts.skipped) == (0, 1, 1)
    assert counts.failures == ("a U: skipped, which is a failure here",)


@pytest.mark.parametrize(
    ("events", "sentence"),
    [(("start a", "fail a"), "it ran no test"), ((), "it ran no test"), ((" a",), "no report of its tests")],
)
def test_a_report_of_go_without_tests_counts_nothing(tmp_path: Path, events: list[str], sentence: str) -> None:
    path = go_report(tmp_path, *(event for event in events if event.strip() != "a"))
    if " a" in events:
        path.write_text("FAIL\n")
    with pytest.raises(ValueError, match=sentence):
        from_go(path)
