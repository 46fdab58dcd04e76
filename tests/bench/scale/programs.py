# SPDX-License-Identifier: Apache-2.0
"""The programs that fill tables and hold many sockets or namespaces, driven from inside a lab guest."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import TracebackType

from driver import testbed

PROGRAMS = Path("/usr/lib/graft/tests")
GRAFT_PORT = 7003
_GRANT = f"{testbed.HOST_ADDRESS},{GRAFT_PORT},{testbed.PEER_NETWORK}"


def fill(container: str, *contents: str) -> None:
    """Give a container the grant and ``contents``, in the words of fill's options.

    The grant is GRAFT_PORT at the host's address, and connections to the peer's network.
    """
    testbed.inside(testbed.HOST, str(PROGRAMS / "fill"), "-g", _GRANT, *contents, f"/run/netns/{container}")


class Holder:
    """A hold, started in ``namespace`` with ``words``; what it holds goes when it is left."""

    def __init__(self, namespace: str, *words: str) -> None:
        self._command = ("ip", "netns", "exec", namespace, str(PROGRAMS / "hold"), *words)

    def __enter__(self) -> Holder:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.grow(0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def grow(self, size: int) -> None:
        """Hold ``size`` in all, which are no fewer than before, from when this returns."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{size}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if answer != f"{size}\n":
            raise RuntimeError(f"{' '.join(self._command)} holds {answer.strip() or 'nothing'} instead of {size}")
