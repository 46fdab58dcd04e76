# SPDX-License-Identifier: Apache-2.0
"""What a run of the benchmarks found, as it stands in build/bench/report.json."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

SCHEMA = 1


@dataclass(frozen=True)
class Machine:
    """Where a run took place. ``changed`` tells that the tree was not the commit's."""

    processor: str
    processors: int
    system: str
    qemu: str
    accelerator: str
    kernel: str
    commit: str
    changed: bool


@dataclass(frozen=True)
class Counted:
    """Instructions of the whole guest per operation on one path; never a time.

    ``ratio`` is the median over the rounds of the ratios, within a round, to the comparison's first path. ``limit`` is
    what it may be at most, None where the path is there to compare with.
    """

    comparison: str
    operation: str
    path: str
    ratio: float
    limit: float | None
    rounds: tuple[float, ...]


@dataclass(frozen=True)
class Timed:
    """What a program printed that was run in real time, once a round, the paths taking turns.

    ``key`` names the measure; ``server`` and ``client`` are the command lines, ``server`` empty where nothing was
    started for it. ``ratios`` are speeds relative to the path host (or, between two containers, the path bridge) in
    the same round, more than 1 being faster, and empty for that path itself.
    """

    key: str
    title: str
    path: str
    unit: str
    more_is_better: bool
    server: str
    client: str
    runs: tuple[float, ...]
    ratios: tuple[float, ...]


@dataclass(frozen=True)
class Point:
    """A curve's value at ``size``, the median of ``runs``."""

    size: int
    value: float
    runs: tuple[float, ...]


@dataclass(frozen=True)
class Curve:
    """How a cost grows with the size of something.

    ``kind`` is "counted" (instructions), "bytes" or "timed" (seconds or milliseconds, by ``unit``). ``axis`` says what
    there are ``size`` of. ``limit`` is what the value at the largest size may be at most relative to the smallest.
    """

    key: str
    title: str
    axis: str
    path: str
    unit: str
    kind: str
    points: tuple[Point, ...]
    limit: float | None = None


@dataclass(frozen=True)
class Amount:
    """Bytes of kernel memory per object."""

    key: str
    title: str
    value: float
    runs: tuple[float, ...]


@dataclass(frozen=True)
class Missing:
    """What could not be run, and why, as a sentence."""

    key: str
    path: str
    reason: str


@dataclass(frozen=True)
class Report:
    """A whole run. ``commands`` says for each part how it was started."""

    command: str
    began: str
    seconds: float
    machine: Machine
    commands: dict[str, str]
    counted: tuple[Counted, ...]
    timed: tuple[Timed, ...]
    curves: tuple[Curve, ...]
    amounts: tuple[Amount, ...]
    missing: tuple[Missing, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the report as json.dump takes it."""
        return {"schema": SCHEMA, **asdict(self)}
