# SPDX-License-Identifier: Apache-2.0
"""Commands on the host that get time to tidy up where the driver is interrupted.

subprocess.run gives a command a quarter of a second; a lab has a guest to end.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO

_TIDY_SECONDS = 10.0
# A driver that is killed cannot end what it started, so the kernel does. A lab ends its guest on this signal.
_END_WITH_PARENT = ("setpriv", "--pdeathsig", "TERM")

# Guards what follows.
_lock = threading.Lock()
_running: set[subprocess.Popen[bytes]] = set()
_ending = False


class EndedError(Exception):
    """The command was ended, or never started, because the driver was interrupted."""


def call(
    words: Sequence[str],
    *,
    log: IO[str] | None = None,
    cwd: Path | None = None,
    meanwhile: Callable[[subprocess.Popen[bytes]], None] | None = None,
) -> int:
    """Run a command and return its exit status; ``log`` takes what it prints on either output.

    ``meanwhile`` is called with the running command, whose end it may await or not.

    Raises EndedError in a thread whose command end_all ended.
    """
    with _lock:
        if _ending:
            raise EndedError
        process = subprocess.Popen(
            [*_END_WITH_PARENT, *words],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT if log else None,
        )
        _running.add(process)
    try:
        if meanwhile:
            meanwhile(process)
        status = process.wait()
    except BaseException:
        _end([process])
        raise
    finally:
        with _lock:
            _running.discard(process)
            ending = _ending
    if ending:
        raise EndedError
    return status


def end_all() -> None:
    """End the commands of all threads, and start no more."""
    global _ending  # noqa: PLW0603 there is one driver in a process
    with _lock:
        _ending = True
        processes = list(_running)
    _end(processes)


def _end(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    found = list(processes)
    for process in found:
        process.terminate()
    until = time.monotonic() + _TIDY_SECONDS
    for process in found:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
