# SPDX-License-Identifier: Apache-2.0
"""Processes, told from later ones of the same id by the time at which they started."""

from __future__ import annotations

from pathlib import Path

from graftd.kernel.finder._files import Found, failure, open_file

TRIES = 5
_START = 22 - 3  # field 22 of proc(5)'s stat, counted from the one behind the name


def started(proc: Path, pid: int) -> int | None:
    """In clock ticks since boot; None where there is no such process. Raises as open_file."""
    try:
        text = Path(proc, str(pid), "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    except OSError as error:
        raise failure(f"process {pid}", error) from error
    # The name may hold spaces and parentheses of its own.
    return int(text.rpartition(b")")[2].split()[_START])


def open_process(proc: Path, pid: int, start_ticks: int) -> Found | None:
    """The namespace of a process, if it started then; start_ticks 0: whenever."""
    for _ in range(TRIES):
        before = started(proc, pid)
        if before is None or start_ticks not in (0, before):
            return None
        found = open_file(proc / str(pid) / "ns" / "net", f"the network namespace of process {pid}")
        if found is None:
            return None
        with found:
            if started(proc, pid) == before:
                return found.keep()
    return None
