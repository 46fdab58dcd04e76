# SPDX-License-Identifier: Apache-2.0
"""graftd with a played kernel, as a process of its own: python3 -m integration.serve CONFIG [KERNEL].

KERNEL: the socket of `played.start`; without it the kernel is played in this process, and answers at once.
GRAFTD_KILL=NAME:N kills the process at the Nth time that it comes to the failpoint NAME; NAME alone at the first.
GRAFTD_NEWER_SCHEMA=1: the store has one migration more than it has.
GRAFTD_QUIET_SECONDS=S: how often a Watch says how far it is while nothing happens.
GRAFTD_PLAYED_NAMESPACES=N: namespaces of ip netns, ns0 and on, that the kernel of this process has.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

from graftd import log
from graftd.api import watch
from graftd.app import App, Machine
from graftd.config import Config
from graftd.ports import Kernel
from graftd.store import _schema
from integration.played import PlayedFinder, PlayedMap, Remote, Tables


def _failpoint() -> Callable[[str], None]:
    wanted, _, count = os.environ.get("GRAFTD_KILL", "").partition(":")
    left = int(count or 1)

    def reached(name: str) -> None:
        nonlocal left
        if name == wanted:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return reached


def main() -> None:
    watch._QUIET_SECONDS = float(os.environ.get("GRAFTD_QUIET_SECONDS", watch._QUIET_SECONDS))
    if os.environ.get("GRAFTD_NEWER_SCHEMA"):
        _schema.MIGRATIONS = (*_schema.MIGRATIONS, ("CREATE TABLE newer (id INTEGER PRIMARY KEY) STRICT",))
    config = Config.load(Path(sys.argv[1]))
    records = log.set_up(config.log.level, config.log.format)
    tables: Tables | Remote
    if len(sys.argv) > 2:
        tables = Remote(Path(sys.argv[2]))
    else:
        tables = Tables()
        for number in range(int(os.environ.get("GRAFTD_PLAYED_NAMESPACES", "1"))):
            tables.add_namespace(f"ns{number}")
    machine = Machine(cast(Kernel, tables), PlayedFinder(tables), PlayedMap(tables), failpoint=_failpoint())

    async def serve() -> None:
        await App(config, records, config_path=Path(sys.argv[1]), machine=machine).run()

    try:
        asyncio.run(serve())
    finally:
        records.close()


if __name__ == "__main__":
    main()
