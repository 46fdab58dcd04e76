# SPDX-License-Identifier: Apache-2.0
"""Long commands: run in namespaces of their own, read line by line, ended with the lab."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence

# However the lab itself ends, what it started ends with it.
DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL")
# What a command mounts and starts is gone with it, however it ends.
_ISOLATED = ("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc")


def run_isolated(
    command: Sequence[str], on_line: Callable[[str], object] = lambda _: None
) -> subprocess.CompletedProcess[str]:
    """Run ``command`` in mount and process namespaces of its own; call ``on_line`` for each line as it comes.

    Both its outputs are one, returned as ``stdout``.
    """
    lines = []
    with subprocess.Popen(
        [*DIE_WITH_PARENT, *_ISOLATED, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                lines.append(line)
                on_line(line.rstrip("\n"))
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, "".join(lines), "")


def tail(done: subprocess.CompletedProcess[str], lines: int = 25) -> str:
    """Return the last lines of what a command printed."""
    return "\n".join(done.stdout.splitlines()[-lines:])
