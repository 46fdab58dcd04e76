# SPDX-License-Identifier: Apache-2.0
"""make completion: writes the scripts below the folder that the command line names."""

from __future__ import annotations

import sys
from pathlib import Path

from graft_completion.scripts import scripts


def main() -> int:
    for place, text in scripts().items():
        path = Path(sys.argv[1], place)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
