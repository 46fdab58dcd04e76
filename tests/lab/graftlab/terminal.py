# SPDX-License-Identifier: Apache-2.0
"""The user's terminal joined to a guest's: every byte passes, none is interpreted on the way."""

from __future__ import annotations

import os
import select
import socket
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from .errors import LabError


class Terminal:
    """A pair of connected ends: QEMU inherits one, the user's keyboard and screen feed the other."""

    def __init__(self) -> None:
        if not sys.stdin.isatty():
            raise LabError("'lab shell' needs a terminal", "Use 'lab run -- COMMAND' in a script.")
        self._end, self.guest_end = socket.socketpair()
        self._stop_read, self._stop_write = os.pipe()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.close()
        self.guest_end.close()
        os.close(self._stop_read)
        os.close(self._stop_write)

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Pass bytes both ways until the block ends; the terminal is then as it was before."""
        saved = termios.tcgetattr(sys.stdin)
        thread = threading.Thread(target=self._pass_bytes, daemon=True)
        tty.setraw(sys.stdin)
        try:
            thread.start()
            yield
        finally:
            os.write(self._stop_write, b"x")
            thread.join()
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, saved)

    def _pass_bytes(self) -> None:
        keyboard, screen = sys.stdin.fileno(), sys.stdout.fileno()
        while True:
            ready, _, _ = select.select([keyboard, self._end, self._stop_read], [], [])
            if keyboard in ready:
                self._end.sendall(os.read(keyboard, 4096))
            if self._end in ready:
                data = self._end.recv(1 << 16)
                if not data:
                    return
                os.write(screen, data)
            elif self._stop_read in ready:
                return
