# SPDX-License-Identifier: Apache-2.0
"""The end of a process that has used grpcio.

grpcio gives its last channel or server up in threads of its own, which go on after it was closed. In grpcio 1.51, which
Debian 12 and 13 have, such a thread uses a list of the library's (fork_poller_list in ev_epoll1_linux.cc) that exit(3)
destroys beside it: now and then, a process that had done all its work ended with SIGSEGV in place of its exit status.
So exit(3) is left out: nothing of graftd's or graftcli's waits for it.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable


def run(name: str, main: Callable[[], int]) -> NoReturn:
    """Run ``main`` and end this process with the exit status that it returns; with 1 where it raises, or where it is
    done and what it said cannot be written out. name: the program's, for the sentence then."""
    try:
        status = main()
    except Exception:  # noqa: BLE001 - told as Python tells what nobody catches
        sys.excepthook(*sys.exc_info())
        status = 1
    # Whoever waits for a pipe that nobody reads can be interrupted.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        if not status:
            print(f"{name}: standard output: {error.strerror}", file=sys.stderr)
            status = 1
    finally:
        os._exit(status)
