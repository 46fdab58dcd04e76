# SPDX-License-Identifier: Apache-2.0
"""Running unmodified programs in the namespaces of a test."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from expect import eventually
from netns import Namespace

_PATIENCE = 60
_LISTEN, _UNCONNECTED = "0A", "07"


def run(namespace: Namespace, *command: str | Path, fails: bool = False, user: int | None = None) -> str:
    """Run ``command`` to its end in ``namespace``, as the user and group ``user``; return what it printed.

    It must end well, or, where it ``fails``, must not.
    """
    with namespace:
        done = subprocess.run(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_PATIENCE,
            check=False,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
    assert (done.returncode != 0) == fails, f"{command} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


class Program:
    """A program that runs until the test ends it."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self._log = process, log

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._log.read_text()

    def wait_for(self, true: object, what: str) -> None:
        """Wait until ``true()``; a program that ends before that fails the test with what it printed."""
        assert callable(true)

        def due() -> bool:
            assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.output}"
            return bool(true())

        eventually(due, what, _PATIENCE)


@contextmanager
def running(namespace: Namespace, command: Sequence[str | Path]) -> Iterator[Program]:
    """``command`` as a background process of ``namespace``; it and what it started end with the block."""
    with tempfile.TemporaryDirectory(prefix="program.") as folder:
        log = Path(folder, "output")
        with namespace, log.open("wb") as output:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield Program(process, log)
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def has_port(namespace: Namespace, port: int, protocol: str = "tcp") -> bool:
    """Whether a socket of ``namespace`` listens (udp: waits for datagrams) at ``port``."""
    state = _LISTEN if protocol == "tcp" else _UNCONNECTED
    with namespace:
        for table in (protocol, f"{protocol}6"):
            for line in Path(f"/proc/thread-self/net/{table}").read_text().splitlines()[1:]:
                local, _, now = line.split()[1:4]
                if now == state and int(local.rpartition(":")[2], 16) == port:
                    return True
    return False
