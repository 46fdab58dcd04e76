# SPDX-License-Identifier: Apache-2.0
"""python3 -m bench.page FILE: draw a report again, beside its file."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.page import draw
from bench.record import ReportError, load


def main(words: list[str]) -> int:
    """Draw the report; return 1 where it cannot be read or drawn, 2 where the command line is none."""
    if len(words) != 1:
        print("page: which report? python3 -m bench.page FILE", file=sys.stderr)
        return 2
    file = Path(words[0])
    try:
        written = draw(load(file), file.parent)
    except ReportError as error:
        print(f"page: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"page: the page cannot be written: {error}", file=sys.stderr)
        return 1
    for path in written:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
