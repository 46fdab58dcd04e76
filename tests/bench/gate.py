# SPDX-License-Identifier: Apache-2.0
"""The ratios that were recorded, and whether a grafted path has become dearer since.

recorded.json is written by 'python3 -m bench record'; what it was recorded on stands in it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import plans
from bench.errors import BenchError
from bench.record import Counted

FILE = Path(__file__).with_name("recorded.json")
# How far two runs of the same code may lie apart: on the data path, and where sockets are set up and closed.
_DATA = 0.005
_SET_UP = 0.03
# A large table adds nothing, so what is recorded of it is chance, and its limit is what holds it.
_CROWD = 0.05


@dataclass(frozen=True)
class Recorded:
    """Ratios by comparison, operation and path, and the kernel that they were recorded on."""

    kernel: str
    ratios: dict[str, dict[str, dict[str, float]]]


def load(file: Path = FILE) -> Recorded:
    """Return what is recorded. Raises BenchError where there is nothing to read."""
    try:
        found = json.loads(file.read_text())
        return Recorded(found["kernel"], found["ratios"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchError(f"{file.name} holds no recorded ratios ({error}); run 'python3 -m bench record'") from error


def save(kernel: str, found: Sequence[Counted], file: Path = FILE) -> None:
    """Record the ratios of ``found`` that have a limit."""
    ratios: dict[str, dict[str, dict[str, float]]] = {}
    for one in found:
        if one.limit:
            ratios.setdefault(one.comparison, {}).setdefault(one.operation, {})[one.path] = round(one.ratio, 4)
    text = json.dumps({"written_by": "python3 -m bench record", "kernel": kernel, "ratios": ratios}, indent=2)
    file.write_text(text + "\n")


def tolerance(one: Counted) -> float:
    """Return how much dearer than recorded a figure may be, relative to that."""
    if one.path in plans.CROWDS:
        return _CROWD
    return _SET_UP if one.operation in plans.SET_UP else _DATA


def faults(found: Sequence[Counted], recorded: Recorded) -> list[str]:
    """Return a sentence for each ratio that is above its limit, above what was recorded, or not recorded."""
    return [sentence for one in found for sentence in faults_of(one, recorded)]


def faults_of(one: Counted, recorded: Recorded) -> list[str]:
    """Return the same of one figure, which has no fault where it has no limit."""
    what = f"{one.operation} on {one.path} ({one.comparison})"
    if not one.limit:
        return []
    if not one.passed:
        return [one.sentence()]
    was = recorded.ratios.get(one.comparison, {}).get(one.operation, {}).get(one.path)
    if was is None:
        return [f"{what}: no ratio is recorded; run 'python3 -m bench record' and commit what it writes"]
    most = was * (1 + tolerance(one))
    if one.ratio > most:
        return [f"{what}: {one.ratio:.4f} is dearer than the recorded {was:.4f} by more than {tolerance(one):.1%}"]
    return []


def cheaper(found: Sequence[Counted], recorded: Recorded) -> list[str]:
    """Return a sentence for each ratio that has fallen by more than its tolerance: it is worth to be recorded."""
    sentences = []
    for one in found:
        was = recorded.ratios.get(one.comparison, {}).get(one.operation, {}).get(one.path)
        if one.limit and was and one.ratio < was * (1 - tolerance(one)):
            sentences.append(f"{one.operation} on {one.path} fell from {was:.4f} to {one.ratio:.4f}: record it")
    return sentences
