# SPDX-License-Identifier: Apache-2.0
"""Servers in the testbed's namespaces, each running as long as it is needed."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from driver import testbed

_START_SECONDS = 30.0
_END_SECONDS = 5.0


class ServerError(Exception):
    """A server ended by itself, or did not listen; the text is a sentence."""


@dataclass(frozen=True)
class Server:
    """A command that runs in ``namespace`` and listens on a port of the stack of ``stack``."""

    namespace: str
    command: Sequence[str]
    stack: str
    port: int
    protocol: str


class Running:
    """A server that listens."""

    def __init__(self, log: IO[str]) -> None:
        self._log = log

    def printed(self) -> str:
        """Return what it printed so far, on either output."""
        self._log.seek(0)
        return self._log.read().strip()


@contextmanager
def serving(server: Server) -> Iterator[Running]:
    """Run a server until the block ends; the block starts once it listens.

    Raises ServerError where it ends, or does not listen in time.
    """
    words = ["ip", "netns", "exec", server.namespace, *server.command]
    with (
        tempfile.TemporaryFile("a+", errors="replace") as log,
        subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as process,
    ):
        running = Running(log)
        try:
            _wait(server, process, running)
            yield running
        finally:
            _end(process)


def _wait(server: Server, process: subprocess.Popen[bytes], running: Running) -> None:
    until = time.monotonic() + _START_SECONDS
    filters = ["-t" if server.protocol == "tcp" else "-u", f"sport = :{server.port}"]
    command = " ".join(server.command)
    while not testbed.inside(server.stack, "ss", "-Hln", *filters):
        if process.poll() is not None:
            raise ServerError(f"'{command}' ended at once: {running.printed()}")
        if time.monotonic() > until:
            raise ServerError(
                f"'{command}' in the namespace {server.namespace} did not listen on {server.protocol} port"
                f" {server.port} of the namespace {server.stack} within {_START_SECONDS:.0f} seconds;"
                f" it printed: {running.printed() or 'nothing'}"
            )
        time.sleep(0.1)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
