# SPDX-License-Identifier: Apache-2.0
"""Guests that are hard-reset under a workload from eight clients, which service/resets.py runs and checks.

A reset is the end of the guest's processors at once: its page cache is lost, and one half of what its disk was not
told to flush (lab/graftlab/statedisk.py). So a change that was acknowledged and not synced is missing afterwards.
What is not shown: a drive that says that it has flushed and has not.
GRAFT_SEED: the seed of an earlier run.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO

from driver.lab import EXIT_RESET, Guest, meaning
from matrix.counts import Counts, failure
from service import record

_GUEST = Guest(service=True, timeout=1200.0)
_BARE = Guest()
_LOOK_SECONDS = 0.05
# Of each boot, so many changes are acknowledged before its reset, and then so many seconds pass at most.
_CHANGES = (10, 60)
_MORE_SECONDS = 1.0

# A file that is synced, a file that is not, and one whose new content is on the disk, but in its cache.
_WRITE = """
cd /var/lib/graftd && head -c 262144 /dev/zero > cached && echo kept > synced && sync || exit
tr '\\0' 1 < cached > /tmp/ones && dd if=/tmp/ones of=cached bs=262144 oflag=direct conv=notrunc || exit
echo lost > unsynced && touch /mnt/share/written && sleep 600
"""
_LOOK = """
cd /var/lib/graftd && [ "$(cat synced)" = kept ] && [ ! -s unsynced ] || exit
ones=$(tr -dc 1 < cached | wc -c)
[ "$ones" -gt 0 ] && [ "$ones" -lt 262144 ]
"""


def resets(times: int) -> Callable[[Path, IO[str]], Counts]:
    """Return a run of so many resets, after one that shows that a reset loses what it should."""

    def run(folder: Path, log: IO[str]) -> Counts:
        return _lose(_Machine(folder / "lose", log)) + _reset(_Machine(folder / "reset", log), times)

    return run


class _Machine:
    """A machine over its boots: what stays from one to the next is its disk and its share."""

    def __init__(self, folder: Path, log: IO[str]) -> None:
        self.share = folder / "share"
        self.share.mkdir(parents=True)
        self.log = log
        self._state = folder / "state"

    def boot(
        self, guest: Guest, command: list[str], meanwhile: Callable[[subprocess.Popen[bytes]], None] | None = None
    ) -> int:
        """Run ``command`` in a guest; return the lab's exit status."""
        return guest.run(command, share=self.share, log=self.log, state=self._state, meanwhile=meanwhile)

    def boot_to_reset(
        self, guest: Guest, command: list[str], due: Callable[[], bool], more_seconds: float = 0.0
    ) -> int:
        """The same with a guest that is reset ``more_seconds`` after it is ``due``."""

        def reset(lab: subprocess.Popen[bytes]) -> None:
            while not due():
                if lab.poll() is not None:
                    return
                time.sleep(_LOOK_SECONDS)
            time.sleep(more_seconds)
            lab.send_signal(signal.SIGUSR1)

        return self.boot(guest, command, reset)


def _lose(machine: _Machine) -> Counts:
    """Reset a guest, and see that what it synced is there, and nothing else whole."""
    status = machine.boot_to_reset(_BARE, ["sh", "-c", _WRITE], (machine.share / "written").exists)
    if status != EXIT_RESET:
        return failure(f"the guest that was to lose something was not reset: {meaning(status)}")
    if status := machine.boot(_BARE, ["sh", "-c", _LOOK]):
        return failure(f"a reset lost what was synced, or kept all that was not: {meaning(status)}")
    return Counts(passed=1)


def _reset(machine: _Machine, times: int) -> Counts:
    """Reset a guest so many times; what each reset leaves is checked by the boot after it."""
    seed = os.environ.get("GRAFT_SEED") or str(random.randrange(2**32))
    print(f"resets: GRAFT_SEED={seed}", file=machine.log, flush=True)
    chance = random.Random(seed)
    work = ["python3", "-m", "service.resets", seed]
    for number in range(times):
        enough = record.acknowledged(machine.share) + chance.randint(*_CHANGES)
        due = partial(_has_acknowledged, machine.share, enough)
        status = machine.boot_to_reset(_GUEST, work, due, chance.uniform(0.0, _MORE_SECONDS))
        if status != EXIT_RESET:
            return _failed(number, status)
    if status := machine.boot(_GUEST, [*work, "last"]):
        return _failed(times, status)
    return Counts(passed=times)


def _has_acknowledged(share: Path, enough: int) -> bool:
    return record.acknowledged(share) >= enough


def _failed(number: int, status: int) -> Counts:
    """The boot after so many resets was no good, so the last of them is not known to have left all in order."""
    which = f"the boot after reset {number}" if number else "the first boot"
    return Counts(passed=max(0, number - 1)) + failure(f"{which} failed: {meaning(status)}")
