# SPDX-License-Identifier: Apache-2.0
"""The tests of the Go programs, with the race detector, in the root that has Go."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from lab.graftlab import host
from lab.graftlab.cache import Cache, default_root
from lab.graftlab.errors import LabError
from lab.graftlab.golang import Go
from lab.graftlab.tree import Tree

_CHECKOUT = Path(__file__).resolve().parents[2]
# A test that hangs ends by itself, and says where it hung. What a build says is no event.
_SCRIPT = """
cd clients/go
CGO_ENABLED=1 go test -race -json -count=1 -timeout 600s ./...
"""


def main() -> int:
    """Run the tests; the argument is where their events go, as 'go test -json' writes them."""
    with open(sys.argv[1], "w", encoding="utf-8") as report:

        def follow(line: str) -> None:
            event = _event(line)
            if event is None:
                print(line, flush=True)
            else:
                report.write(f"{line}\n")
                print(event.get("Output", ""), end="", flush=True)

        try:
            host.prepare()
            return Go(Cache(default_root()), Tree(_CHECKOUT)).run(_SCRIPT, log=follow).returncode
        except LabError as error:
            print(error.message, error.hint, sep="\n")
            return 1


def _event(line: str) -> dict[str, str] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "Action" in event else None


if __name__ == "__main__":
    sys.exit(main())
