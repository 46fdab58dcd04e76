# SPDX-License-Identifier: Apache-2.0
"""make man: writes the pages into the folder that the command line names."""

from __future__ import annotations

import sys
from pathlib import Path

from graft_man.pages import pages


def main() -> int:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
