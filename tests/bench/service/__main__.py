# SPDX-License-Identifier: Apache-2.0
"""make bench-service: times and memory of graftd alone, beside what they are to keep within.

The figures are this machine's, now, so they are a report and no test; with --check a target that is not held is a
failure.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

from bench.service.targets import Figure, figures
from bench.service.trial import trial
from driver.table import table
from integration.process import ROOT

_FOLDER = ROOT / "build" / "bench"
_QUIET_LOAD = 2.0
_VERDICTS = {None: "", True: "held", False: "not held"}


def _wait_quiet(seconds: float) -> float:
    """Wait for others to be done, at most so long; the load of the last minute."""
    until = time.monotonic() + seconds
    while (load := os.getloadavg()[0]) >= _QUIET_LOAD and time.monotonic() < until:
        time.sleep(1)
    return load


def _print(found: list[Figure], loads: list[float]) -> None:
    rows = [
        (
            one.measure.text,
            f"{one.median:.3g}",
            f"{min(one.runs):.3g}",
            f"{max(one.runs):.3g}",
            one.measure.unit,
            f"{one.measure.most:g}" if one.measure.most else "",
            _VERDICTS[one.held],
        )
        for one in found
    ]
    print(table((f"medians of {len(loads)} runs", "median", "least", "most", "unit", "target", ""), rows))
    print(f"\nload before the runs: {', '.join(f'{load:.2f}' for load in loads)}; processors: {os.cpu_count()}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.service", description="Measure graftd alone, the kernel played.")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="runs whose medians are reported (5)")
    parser.add_argument(
        "--wait", type=float, default=20, metavar="SECONDS", help="at most, for a load below 2 before a run (20)"
    )
    parser.add_argument("--check", action="store_true", help="fail where a target is not held")
    options = parser.parse_args()
    _FOLDER.mkdir(parents=True, exist_ok=True)
    loads, runs = [], []
    for number in range(options.runs):
        loads.append(_wait_quiet(options.wait))
        print(f"bench-service: run {number + 1} of {options.runs}", file=sys.stderr)
        runs.append(trial(_FOLDER))
    found = figures(runs)
    _print(found, loads)
    missed = [one for one in found if one.held is False]
    report = {
        "processors": os.cpu_count(),
        "loads": loads,
        "held": not missed,
        "figures": [
            {
                "key": one.measure.key,
                "what": one.measure.text,
                "unit": one.measure.unit,
                "median": one.median,
                "runs": one.runs,
                "target": one.measure.most,
                "held": one.held,
            }
            for one in found
        ],
    }
    (_FOLDER / "service.json").write_text(json.dumps(report, indent=2) + "\n")
    return 1 if options.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
