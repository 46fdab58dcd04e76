# SPDX-License-Identifier: Apache-2.0
"""What a run of the benchmarks found, as it stands in build/bench/report.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, is_dataclass
from math import inf
from pathlib import Path
from statistics import median
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

SCHEMA = 1


class ReportError(Exception):
    """A file is no report that this version reads; the text is a sentence."""


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

    ``ratio`` is the median over the rounds of the ratios, within a round, to the comparison's first path, whose rounds
    are ``bases``. ``limit`` is what it may be at most, None where the path is there to compare with.
    """

    comparison: str
    operation: str
    path: str
    ratio: float
    limit: float | None
    rounds: tuple[float, ...]
    bases: tuple[float, ...]

    @property
    def instructions(self) -> float:
        """Their median over the rounds."""
        return median(self.rounds)

    @property
    def passed(self) -> bool:
        """Tell whether the ratio is within its limit."""
        return self.limit is None or self.ratio <= self.limit

    def sentence(self) -> str:
        """Say how the ratio stands to its limit."""
        verb = "is within" if self.passed else "is above"
        return f"{self.operation} on {self.path}: {self.ratio:.4f} times the instructions {verb} {self.limit}"


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

    @property
    def median(self) -> float:
        """The median of the runs."""
        return median(self.runs)

    @property
    def ratio(self) -> float | None:
        """The median speed relative to the path that the others are held against; None for that path itself."""
        return median(self.ratios) if self.ratios else None


@dataclass(frozen=True)
class Point:
    """A curve's value at ``size``, the median of ``runs``."""

    size: int
    value: float
    runs: tuple[float, ...]


@dataclass(frozen=True)
class Curve:
    """How a cost grows with the size of something.

    ``kind`` is "counted" (instructions) or "timed" (seconds or milliseconds, by ``unit``). ``axis`` says what
    there are ``size`` of. ``limit`` is what the value at the largest size may be at most relative to that at ``base``,
    the smallest size where that is None.
    """

    key: str
    title: str
    axis: str
    path: str
    unit: str
    kind: str
    points: tuple[Point, ...]
    limit: float | None = None
    base: int | None = None

    @property
    def ends(self) -> tuple[Point, Point]:
        """The points that the growth is taken between: that at the base, and the largest.

        Raises ValueError where no point is at the base.
        """
        points = sorted(self.points, key=lambda point: point.size)
        base = points[0].size if self.base is None and points else self.base
        for first in points:
            if first.size == base:
                return first, points[-1]
        raise ValueError(f"the curve {self.key} on {self.path} has no point at {base}")

    @property
    def growth(self) -> float:
        """The value at the last of its ends relative to the first's."""
        first, last = self.ends
        return last.value / first.value if first.value else inf

    @property
    def passed(self) -> bool:
        """Tell whether it grows within its limit."""
        return self.limit is None or self.growth <= self.limit

    def sentence(self) -> str:
        """Say how the growth stands to the limit."""
        first, last = self.ends
        verb = "is within" if self.passed else "is above"
        sizes = f"from {first.size:,} to {last.size:,}"
        return f"{self.title}, {self.path}, {sizes}: it grows {self.growth:.4f} times, which {verb} {self.limit}"


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

    @property
    def limited(self) -> list[Counted | Curve]:
        """What has a limit."""
        every: list[Counted | Curve] = [*self.counted, *self.curves]
        return [one for one in every if one.limit is not None]

    def as_json(self) -> dict[str, Any]:
        """Return the report as json.dump takes it."""
        return {"schema": SCHEMA, **asdict(self)}


def load(path: Path) -> Report:
    """Return the report that ``path`` holds as Report.as_json() gives it.

    Raises ReportError where the file cannot be read, is of another schema or does not hold what this one says.
    """
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise ReportError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ReportError(f"{path} is no report: it is not JSON, {error}") from error
    schema = found.pop("schema", None) if isinstance(found, dict) else None
    if type(schema) is not int or schema != SCHEMA:
        said = "names no schema" if schema is None else f"is of schema {schema}"
        raise ReportError(f"{path} {said}; this version reads schema {SCHEMA}: measure again, or use its own version")
    try:
        report = _read(Report, found, "the report")
    except ValueError as error:
        raise ReportError(f"{path} is no report of schema {SCHEMA}: {error}") from error
    assert isinstance(report, Report)
    return report


def _read(kind: Any, found: Any, where: str) -> Any:
    """Return ``found``, which stands at ``where`` in a file, as a value of ``kind``; raise ValueError if it is none."""
    if is_dataclass(kind):
        return _read_fields(kind, found, where)
    arguments = get_args(kind)
    if get_origin(kind) is tuple and isinstance(found, list):
        return tuple(_read(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(found))
    if get_origin(kind) is dict and isinstance(found, dict):
        return {name: _read(arguments[1], item, f"{where}.{name}") for name, item in found.items()}
    if isinstance(kind, UnionType):
        return None if found is None else _read(arguments[0], found, where)
    if kind is float and type(found) is int:
        return float(found)
    if isinstance(kind, type) and type(found) is kind:
        return found
    raise ValueError(f"{where} has to be {_NAMES.get(get_origin(kind) or kind, 'an object')}")


def _read_fields(kind: Any, found: Any, where: str) -> Any:
    make: Callable[..., Any] = kind
    types = get_type_hints(kind)
    wanted = {field.name for field in fields(kind)}
    if not isinstance(found, dict):
        raise ValueError(f"{where} has to be an object")
    for name in sorted(wanted ^ set(found)):
        raise ValueError(f"{where} lacks {name!r}" if name in wanted else f"{where} has {name!r}, which means nothing")
    return make(**{name: _read(types[name], found[name], f"{where}.{name}") for name in wanted})


_NAMES = {
    bool: "true or false",
    dict: "an object",
    float: "a number",
    int: "a whole number",
    str: "text",
    tuple: "a list",
}
