# SPDX-License-Identifier: Apache-2.0
"""graftd's times against the size of its table, natively, the kernel played.

    python3 -m bench.scale.service FILE

Runs in the environment of make bench-service. FILE receives a JSON object a line: "measure", "size", "run", "value".
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from bench.scale.times import RUNS, SIZES
from bench.service.trial import create_many, graftd_in, list_all, restart, seconds, watch_delay
from graft.v1 import endpoint_pb2
from integration.api import Api

_CREATES = 200
_WARM = 20  # creates before those that count
_WATCHERS = 100
_NAMESPACE = "many"


def main() -> int:
    """Measure every size in turn, RUNS times."""
    report = Path(sys.argv[1])
    with report.open("w", encoding="utf-8") as file:
        for run in range(1, RUNS + 1):
            for size in SIZES:
                begun = time.monotonic()
                for measure, value in _measure(report.parent, size).items():
                    file.write(json.dumps({"measure": measure, "size": size, "run": run, "value": value}) + "\n")
                spent = time.monotonic() - begun
                print(f"scale: graftd with {size:,} endpoints, run {run} of {RUNS}: {spent:.1f} s", flush=True)
    return 0


def _measure(folder: Path, size: int) -> dict[str, float]:
    """Every measure once, in its unit; ``folder`` is on the disk that is measured."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        found = {"restart": restart(Path(place), size)["restart"]}
        with graftd_in(Path(place) / "service") as graftd:
            graftd.start({"GRAFTD_PLAYED_NAMESPACES": "1"})
            with Api(graftd.target) as api:
                api.register(_NAMESPACE, "ns0")
                create_many(api, _NAMESPACE, size)
                found["list"] = seconds(lambda: list_all(api, _NAMESPACE, size))
                found["create"] = 1000 * _create(api)
                found["watch"] = 1000 * watch_delay(graftd, api, _NAMESPACE, _WATCHERS)
            assert graftd.stop() == 0
    return found


def _create(api: Api) -> float:
    """The median of some Creates, in seconds. What is created is deleted, so that the table keeps its size."""
    request = endpoint_pb2.DeleteEndpointRequest(name=f"namespaces/{_NAMESPACE}/endpoints/one")
    took = []
    for _ in range(_WARM + _CREATES):
        took.append(seconds(lambda: api.create(_NAMESPACE, "one")))
        api.endpoints.DeleteEndpoint(request, timeout=30)
    return median(took[_WARM:])


if __name__ == "__main__":
    sys.exit(main())
