# SPDX-License-Identifier: Apache-2.0
"""The servers of the demo, each running until the end of the run."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from demo.errors import DemoError
from driver import testbed

_START_SECONDS = 30.0


@dataclass(frozen=True)
class Server:
    """A command that runs in ``namespace`` and listens on a port of the stack of ``stack``."""

    namespace: str
    command: Sequence[str]
    stack: str
    port: int
    protocol: str


@contextmanager
def serving(server: Server) -> Iterator[None]:
    """Run a server until the block ends; the block starts once it listens.

    Raises DemoError where it ends, or does not listen in time.
    """
    words = ["ip", "netns", "exec", server.namespace, *server.command]
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as process,
    ):
        try:
            _wait(server, process, log)
            yield
        finally:
            process.terminate()


def _wait(server: Server, process: subprocess.Popen[bytes], log: IO[str]) -> None:
    until = time.monotonic() + _START_SECONDS
    filters = ["-t" if server.protocol == "tcp" else "-u", f"sport = :{server.port}"]
    command = " ".join(server.command)
    while not testbed.inside(server.stack, "ss", "-Hln", *filters):
        if process.poll() is not None:
            log.seek(0)
            raise DemoError(f"'{command}' ended at once: {log.read().strip()}")
        if time.monotonic() > until:
            raise DemoError(
                f"'{command}' in the namespace {server.namespace} did not listen on {server.protocol} port"
                f" {server.port} of the namespace {server.stack} within {_START_SECONDS:.0f} seconds"
            )
        time.sleep(0.1)
