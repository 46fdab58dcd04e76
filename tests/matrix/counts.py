# SPDX-License-Identifier: Apache-2.0
"""What a suite adds up to."""

from __future__ import annotations

import json
import re
from collections import defaultdict
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


def from_go(path: Path) -> Counts:
    """Return what 'go test -json' wrote into ``path``; of tests that have tests of their own, those count.

    Raises ValueError where that is no report, or of no test.
    """
    printed: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    ended: dict[tuple[str, str], str] = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            event = json.loads(line)
            name = (event.get("Package", ""), event.get("Test", ""))
            if event["Action"] == "output":
                printed[name].append(event["Output"])
            elif event["Action"] in {"pass", "fail", "skip"}:
                ended[name] = event["Action"]
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"there is no report of its tests: {error}") from error
    if not any(test for _, test in ended):
        raise ValueError("it ran no test")
    failed = [name for name, action in ended.items() if action == "fail"]
    total = Counts()
    for (package, test), action in ended.items():
        within = f"{test}/" if test else ""
        inner = [name for name in ended if name[0] == package and name[1] and name[1].startswith(within)]
        # A package ends as well. It counts where it fails and none of its tests did, and so does a test with others.
        if action == "fail":
            if not any(name in failed for name in inner if name[1] != test):
                total += failure(f"{package} {test}".rstrip())
        elif test and not inner:
            total += _go_case(f"{package} {test}", action, "".join(printed[package, test]))
    return total


def _go_case(name: str, action: str, printed: str) -> Counts:
    if action == "pass":
        return Counts(passed=1)
    if CANNOT in printed:
        return Counts(skipped=1)
    return failure(f"{name}: skipped, which is a failure here")


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
