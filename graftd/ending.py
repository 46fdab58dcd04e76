# SPDX-License-Identifier: Apache-2.0
"""The end of a process that has used grpcio.

grpcio gives its last channel or server up in threads of its own, which go on after it was closed. In grpcio 1.51, which
Debian 12 and 13 have, such a thread uses a list of the library's (fork_poller_list in ev_epoll1_linux.cc) that exit(3)
destroys beside it: now and then, a process that had done all its work ended with SIGSEGV in place of its exit status.
So exit(3) is left out: nothing of graftd's or graftcli's waits for it.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn


def end(status: int) -> NoReturn:
    """End this process with an exit status; with 1 in place of 0 where what it said cannot be written out."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        status = status or 1
        print(f"{os.path.basename(sys.argv[0])}: standard output: {error.strerror}", file=sys.stderr)
    finally:
        os._exit(status)
