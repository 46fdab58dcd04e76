# SPDX-License-Identifier: Apache-2.0
"""From runs to the table, the report and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench import limits
from bench.record import Counted
from demo.measures import GRAFT, MEASURES, NAT, PATHS, SLOWEST, Measure
from driver.table import table


@dataclass(frozen=True)
class Row:
    """A measure's medians, speeds relative to the host's, and the ratios of instructions; each by path."""

    measure: Measure
    medians: dict[str, float]
    speeds: dict[str, float]
    instructions: dict[str, float]

    def faults(self) -> list[str]:
        """Return a sentence for each limit that the graft breaks."""
        found = []
        if self.speeds[GRAFT] < SLOWEST:
            found.append(
                f"{self.measure.title}: grafted, it runs at {self.speeds[GRAFT]:.3f} of the host's speed,"
                f" below {SLOWEST}"
            )
        if self.instructions[GRAFT] > limits.DATA:
            found.append(
                f"{self.measure.title}: grafted, it takes {self.instructions[GRAFT]:.4f} times the host's"
                f" instructions, above {limits.DATA}"
            )
        return found


def rows(runs: Sequence[dict[str, Any]], figures: Sequence[Counted]) -> list[Row]:
    """Return a row per measure. A median over no runs raises statistics.StatisticsError."""
    counted = {(figure.operation, figure.path): figure.ratio for figure in figures}
    found = []
    for measure in MEASURES:
        medians = {path: median(measure.results(runs, path)) for path in PATHS}
        speeds = {path: median(measure.ratios(runs, path)) for path in PATHS}
        found.append(Row(measure, medians, speeds, {path: counted[measure.operation, path] for path in PATHS}))
    return found


def text(found: Sequence[Row]) -> str:
    """Return the table."""
    head = ("", "unit", "host", "NAT", "graft", "NAT/host", "graft/host", "NAT/host", "graft/host")
    lines = [
        (
            row.measure.title,
            row.measure.unit,
            *(f"{row.medians[path]:,.1f}" for path in PATHS),
            *(f"{row.speeds[path]:.3f}" for path in (NAT, GRAFT)),
            *(f"{row.instructions[path]:.4f}" for path in (NAT, GRAFT)),
        )
        for row in found
    ]
    drawn = table(head, lines).splitlines()
    times, instructions = drawn[0].index("NAT/host"), drawn[0].rindex("NAT/host")
    above = " " * times + "speed".ljust(instructions - times) + "instructions"
    return "\n".join([above, *drawn])


def as_json(found: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the rows as they stand in the report."""
    return [
        {
            "measure": row.measure.title,
            "unit": row.measure.unit,
            "medians": row.medians,
            "time_ratios": {path: round(ratio, 4) for path, ratio in row.speeds.items()},
            "instruction_ratios": {path: round(ratio, 5) for path, ratio in row.instructions.items()},
            "faults": row.faults(),
        }
        for row in found
    ]
