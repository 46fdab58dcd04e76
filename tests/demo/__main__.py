# SPDX-License-Identifier: Apache-2.0
"""make demo: host, NAT and graft side by side."""

from __future__ import annotations

import json
import sys
import time

from bench.counted import measure
from bench.errors import BenchError
from demo import verdict
from demo.errors import DemoError
from driver.lab import BUILD, Guest, meaning

_FOLDER = BUILD / "demo"
_TIMES = "times.json"
_SECONDS = 900.0


def main() -> int:
    """Run the demo; return 0 where everything held."""
    begun = time.monotonic()
    _FOLDER.mkdir(parents=True, exist_ok=True)
    for old in (_TIMES, "report.json"):
        (_FOLDER / old).unlink(missing_ok=True)
    try:
        faults = _demo()
    except (DemoError, BenchError) as error:
        faults = [str(error)]
    for fault in faults:
        print(f"demo: {fault}")
    print(f"demo: {'failed' if faults else 'passed'} after {time.monotonic() - begun:.0f} s")
    return 1 if faults else 0


def _demo() -> list[str]:
    command = ["python3", "-m", "demo.inside", f"/mnt/share/{_TIMES}"]
    status = Guest(timed=True, timeout=_SECONDS).run(command, share=_FOLDER)
    if status:
        raise DemoError(f"the programs were not timed: {meaning(status)}")
    times = json.loads((_FOLDER / _TIMES).read_text())
    print("\n=== The same exchanges again, counting instructions instead of time", flush=True)
    rows = verdict.rows(times["runs"], measure("demo", _FOLDER, _SECONDS))
    faults = [fault for row in rows for fault in row.faults()]
    print(f"\n{verdict.text(rows)}\n")
    print(
        "Medians of three interleaved rounds, or of more where they disagree. Speed: 1 is the host's, less is slower."
    )
    print("Instructions: of the whole machine, per operation, 1 is the host's.")
    report = {
        "passed": not faults,
        "kernel": times["kernel"],
        "grafted": times["proof"],
        "rows": verdict.as_json(rows),
        "faults": faults,
        "runs": times["runs"],
    }
    (_FOLDER / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    print("Written to build/demo/report.json.")
    return faults


if __name__ == "__main__":
    sys.exit(main())
