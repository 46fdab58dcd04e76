# SPDX-License-Identifier: Apache-2.0
"""make figures: instructions per operation, graft beside host, and whether they keep within their limits."""

from __future__ import annotations

import json
import sys

from bench.figures import Figure, as_json
from bench.measure import MeasureError, measure
from driver.lab import BUILD
from driver.table import table

_FOLDER = BUILD / "figures"


def print_figures(found: list[Figure]) -> None:
    """Print a table for each comparison."""
    for name in dict.fromkeys(figure.comparison for figure in found):
        rows = [
            (
                figure.operation,
                figure.path,
                f"{figure.instructions:,.0f}",
                f"{figure.ratio:.4f}",
                f"{figure.limit}" if figure.limit else "",
                "" if figure.passed else "too high",
            )
            for figure in found
            if figure.comparison == name
        ]
        print(f"\n{table(('operation', 'path', 'instructions', 'ratio', 'at most', ''), rows)}")


def main() -> int:
    """Measure, print, write build/figures/report.json; return 1 where a limit is broken."""
    try:
        found = measure("bench", _FOLDER, 1800.0)
    except MeasureError as error:
        print(f"figures: {error}")
        return 1
    print_figures(found)
    bound = [figure for figure in found if figure.limit]
    broken = [figure for figure in bound if not figure.passed]
    report = {"passed": not broken, "figures": as_json(found)}
    (_FOLDER / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    print()
    for figure in broken:
        print(f"figures: {figure.sentence()}")
    print(f"{len(bound) - len(broken)} passed, {len(broken)} failed")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
