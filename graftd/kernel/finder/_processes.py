# SPDX-License-Identifier: Apache-2.0
"""Processes, told from later ones of the same id by the time at which they started."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from graftd.errors import NamespaceError
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
    """The namespace of a process, if it started then; start_ticks 0: whenever. Raises as open_file, and NamespaceError
    where the threads that it has left do not tell."""
    for _ in range(TRIES):
        before = started(proc, pid)
        if before is None or start_ticks not in (0, before):
            return None
        found = open_namespace(proc / str(pid), f"the network namespace of process {pid}")
        if found is None:
            return None
        with found:
            if started(proc, pid) == before:
                return found.keep()
    return None


def open_namespace(folder: Path, what: str) -> Found | None:
    """The namespace of the process that a folder of procfs is of, whichever that is. Raises as open_process."""
    found = open_file(folder / "ns" / "net", what)
    if found is not None:
        return found
    # The kernel shows none of a first thread that has ended, though others go on.
    others = _other_threads(folder, what)
    if not others:  # over, unless another thread took the first one's place by execve(2)
        return open_file(folder / "ns" / "net", what)
    return _common(folder, others, what)


def _other_threads(folder: Path, what: str) -> list[str]:
    try:
        return [thread for thread in os.listdir(folder / "task") if thread != folder.name]
    except (FileNotFoundError, ProcessLookupError):
        return []
    except OSError as error:
        raise failure(what, error) from error


def _common(folder: Path, threads: list[str], what: str) -> Found:
    """The one that these threads are in."""
    with contextlib.ExitStack() as stack:
        common: Found | None = None
        for thread in threads:
            found = open_file(folder / "task" / thread / "ns" / "net", what)
            if found is None:
                continue
            if common is None:
                common = stack.enter_context(found)
                continue
            with found:
                if found.inode != common.inode:
                    raise NamespaceError(
                        f"{what} cannot be told: its first thread has ended, and the others are in several"
                    )
        if common is None:
            raise NamespaceError(f"{what} cannot be told: its first thread has ended, and the others do so now")
        return common.keep()
