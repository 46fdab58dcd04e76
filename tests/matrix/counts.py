# SPDX-License-Identifier: Apache-2.0
"""What a suite adds up to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

# How a test says that it asked the kernel, and the kernel lacks what it tests. Any other skip counts as a failure:
# a test that silently stays out proves nothing.
CANNOT = "the kernel cannot: "

_CLOSING = re.compile(r"^(\d+) passed, (\d+) failed$")


@dataclass(frozen=True)
class Counts:
    """How many tests passed, failed, and could not be tried; and a sentence for each that failed."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: tuple[str, ...] = ()

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.passed + other.passed,
            self.failed + other.failed,
            self.skipped + other.skipped,
            self.failures + other.failures,
        )

    def __str__(self) -> str:
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"


def failure(sentence: str) -> Counts:
    """Return the counts of one failure."""
    return Counts(failed=1, failures=(sentence,))


def from_junit(path: Path) -> Counts:
    """Return what pytest wrote into ``path``. Raises ValueError where that is no report, or of no test."""
    try:
        cases = list(ET.parse(path).getroot().iter("testcase"))
    except (OSError, ET.ParseError) as error:
        raise ValueError(f"there is no report of its tests: {error}") from error
    if not cases:
        raise ValueError("it ran no test")
    return sum(map(_case, cases), Counts())


def durations(path: Path) -> list[tuple[str, float]]:
    """Return the tests in pytest's report and the seconds that each took; none where there is no whole report."""
    try:
        cases = ET.parse(path).getroot().iter("testcase")
    except (OSError, ET.ParseError):
        return []
    return [(case.get("name", ""), float(case.get("time", "0"))) for case in cases]


def from_closing_line(text: str) -> Counts:
    """Return what the last line of ``text`` counts. Raises ValueError where it counts nothing."""
    lines = text.rstrip().splitlines()
    found = _CLOSING.match(lines[-1]) if lines else None
    if not found:
        raise ValueError("it did not say how many passed")
    passed, failed = int(found[1]), int(found[2])
    return Counts(passed, failed, failures=tuple(f"{failed} failed; see its log" for _ in range(failed > 0)))


def _case(case: ET.Element) -> Counts:
    name = f"{case.get('classname', '').replace('.', '/')}::{case.get('name')}"
    for word in ("failure", "error"):
        found = case.find(word)
        if found is not None:
            return failure(f"{name}: {_first_line(found.get('message', ''))}")
    skipped = case.find("skipped")
    if skipped is None:
        return Counts(passed=1)
    message = skipped.get("message", "")
    if message.startswith(CANNOT):
        return Counts(skipped=1)
    return failure(f"{name}: skipped, which is a failure here: {_first_line(message)}")


def _first_line(text: str) -> str:
    return text.strip().split("\n")[0]
