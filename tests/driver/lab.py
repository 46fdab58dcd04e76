# SPDX-License-Identifier: Apache-2.0
"""Running commands in guests of the lab, from the host."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from driver.process import call

CHECKOUT = Path(__file__).resolve().parents[2]
BUILD = CHECKOUT / "build"

_LAB = CHECKOUT / "tests" / "lab" / "lab"
EXIT_RESET = 123
_MEANINGS = {
    99: "the kernel reported a defect, shown above",
    EXIT_RESET: "the guest was reset",
    124: "it was not done in time",
    125: "the lab could not run it",
}


@dataclass(frozen=True)
class Guest:
    """A kind of guest, in the words of the lab's own options; ``timeout`` is in seconds.

    Only one with ``service`` has systemd and graftd. A guest that is ``timed`` has one processor, and goes before
    whatever else the machine does: with two, how the machine spreads them decides more than what runs on them.
    """

    suite: str = "trixie"
    kernel: str = "stock"
    icount: bool = False
    service: bool = False
    timed: bool = False
    timeout: float = 600.0

    def run(
        self,
        command: Sequence[str],
        *,
        share: Path,
        log: IO[str] | None = None,
        state: Path | None = None,
        machine: Path | None = None,
        meanwhile: Callable[[subprocess.Popen[bytes]], None] | None = None,
    ) -> int:
        """Run ``command`` in a new guest, with ``share`` at /mnt/share; return the lab's exit status.

        ``state`` is the disk of graftd's state, ``machine`` that of a machine without the tree. ``meanwhile`` is called
        with the running lab, and may reset the guest.

        The tree's tests/ and its root are on the command's Python path. What the guest and the lab print goes to
        ``log``, or is passed on where there is none.
        """
        share.mkdir(parents=True, exist_ok=True)
        words = ["nice", "-n", "-10"] if self.timed else []
        words += [str(_LAB), "run", "--suite", self.suite, "--kernel", self.kernel]
        words += ["--timeout", str(self.timeout), "--share", str(share)]
        words += ["--state", str(state)] if state else []
        words += ["--machine", str(machine)] if machine else []
        words += [] if self.service or machine else ["--bare"]
        words += ["--icount"] if self.icount else []
        words += ["--cpus", "1"] if self.timed else []
        words += ["--", "env", "PYTHONPATH=/usr/src/graft:/usr/src/graft/tests", *command]
        try:
            return call(words, log=log, meanwhile=meanwhile)
        except KeyboardInterrupt:
            # The lab has said so; a driver has nothing to add.
            sys.exit(128 + signal.SIGINT)


def meaning(status: int) -> str:
    """What a guest's exit status other than 0 says, as the end of a sentence."""
    return _MEANINGS.get(status, f"it exited with status {status}")
