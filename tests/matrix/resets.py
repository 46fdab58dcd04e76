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
from pathlib import Path
from typing import IO

from driver.lab import EXIT_RESET, Guest, meaning
from matrix.counts import Counts, failure
from service import record

_GUEST = Guest(service=True, timeout=1200.0)
_BARE = Guest()
_LOOK_SECONDS = 0.05
# Of each boot, so many changes are acknowledged before its reset, and then so many seconds pass at most.
_CHANGES = (10, 120)
_MORE_SECONDS = 1.0

# A file that is synced, a file that is not, and one whose new content is on the disk, but in its cache.
_WRITE = """
cd /var/lib/graftd && head -c 262144 /dev/zero > cached && echo kept > synced && sync || exit
tr '\\0' 1 < cached > /tmp/ones && dd if=/tmp/ones of=cached bs=262144 oflag=direct conv=notrunc && echo lost > unsynced &&
	touch /mnt/share/written && sleep 600
"""
_LOOK = """
cd /var/lib/graftd && [ "$(cat synced)" = kept ] || exit
[ ! -s unsynced ] || exit
ones=$(tr -dc 1 < cached | wc -c)
[ "$ones" -gt 0 ] && [ "$ones" -lt 262144 ]
"""

def resets(times: int) -> Callable[[Path, IO[str]], Counts]:
    """Return a run of so many resets, after one that shows that a reset loses what it should."""

    def run(folder: Path, log: IO[str]) -> Counts:
        return _loses(folder / "loses", log) + _reset(folder / "resets", log, times)

    return run


def _loses(share: Path, log: IO[str]) -> Counts:
    """Reset a guest, and see that what it synced is there, and nothing else whole."""
    share.mkdir()
    state = share / "state"
    status = _run_until(_BARE, ["sh", "-c", _WRITE], share, log, state, (share / "written").exists)
    if status != EXIT_RESET:
        return failure(f"the guest that was to lose something was not reset: {meaning(status)}")
    if _BARE.run(["sh", "-c", _LOOK], share=share, log=log, state=state):
        return failure("a reset lost what was synced, or kept all that was not")
    return Counts(passed=1)


def _reset(share: Path, log: IO[str], times: int) -> Counts:
    """Reset a guest so many times; what each reset leaves is checked by the boot after it."""
    share.mkdir()
    seed = os.environ.get("GRAFT_SEED") or str(random.randrange(2**32))
    print(f"resets: GRAFT_SEED={seed}", file=log, flush=True)
    chance = random.Random(seed)
    for number in range(times):
        enough = record.acknowledged(share) + chance.randint(*_CHANGES)
        status = _run_until(
            _GUEST,
            _work(seed),
            share,
            log,
            share / "state",
            lambda enough=enough: record.acknowledged(share) >= enough,  # type: ignore[misc]
            chance.uniform(0.0, _MORE_SECONDS),
        )
        if status != EXIT_RESET:
            return Counts(passed=max(0, number - 1)) + failure(f"after {number} resets: {meaning(status)}")
    if status := _GUEST.run([*_work(seed), "last"], share=share, log=log, state=share / "state"):
        return Counts(passed=times - 1) + failure(f"after {times} resets: {meaning(status)}")
    return Counts(passed=times)


def _work(seed: str) -> list[str]:
    return ["python3", "-m", "service.resets", seed]


def _run_until(
    guest: Guest,
    command: list[str],
    share: Path,
    log: IO[str],
    state: Path,
    due: Callable[[], bool],
    more_seconds: float = 0.0,
) -> int:
    """Run ``command`` in a guest that is reset ``more_seconds`` after it is ``due``; return the lab's exit status."""

    def reset(lab: subprocess.Popen[bytes]) -> None:
        while not due():
            if lab.poll() is not None:
                return
            time.sleep(_LOOK_SECONDS)
        time.sleep(more_seconds)
        lab.send_signal(signal.SIGUSR1)

    return guest.run(command, share=share, log=log, state=state, meanwhile=reset)
