# SPDX-License-Identifier: Apache-2.0
"""Progress on stderr: one rewritten line on a terminal, one line per stage elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType

_REDRAW_SECONDS = 0.5
_LINE_WIDTH = 72


class Progress:
    """A long task with named stages, shown with its elapsed time while it runs."""

    def __init__(self, task: str) -> None:
        self._task = task
        self._stage = ""
        self._detail = ""
        self._started = time.monotonic()
        self._tty = sys.stderr.isatty()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._redraw, daemon=True)

    def __enter__(self) -> Progress:
        self.stage("started")
        if self._tty:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        if self._tty:
            self._thread.join()
            sys.stderr.write("\r\x1b[K")
        self._line("failed" if error else "done")

    def stage(self, text: str) -> None:
        """Name what is being done now."""
        if text == self._stage:
            return
        self._stage = text
        self._detail = ""
        if not self._tty:
            self._line(text)

    def detail(self, text: str) -> None:
        """Add the step inside the stage; only a terminal shows it."""
        self._detail = text

    def _line(self, text: str) -> None:
        say(f"{self._task}: {text} ({time.monotonic() - self._started:.0f} s)")

    def _redraw(self) -> None:
        while not self._done.wait(_REDRAW_SECONDS):
            elapsed = time.monotonic() - self._started
            text = f"{self._task} ({elapsed:.0f} s): {self._stage} {self._detail}"
            sys.stderr.write(f"\r\x1b[Klab: {text[:_LINE_WIDTH]}")
            sys.stderr.flush()


def say(text: str) -> None:
    """Print one line of the lab's own on stderr."""
    print(f"lab: {text}", file=sys.stderr, flush=True)
