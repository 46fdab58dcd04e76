# SPDX-License-Identifier: Apache-2.0
"""python3 -m graftcli, and what is installed as graftcli"""

from __future__ import annotations

from typing import NoReturn

from graftcli.main import main
from graftd.ending import run


def entry() -> NoReturn:
    run("graftcli", main)


if __name__ == "__main__":
    entry()
