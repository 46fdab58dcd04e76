# SPDX-License-Identifier: Apache-2.0
"""The tests' C programs, run inside a namespace."""

import subprocess
from typing import Any

from netns import Namespace

FOLDER = "/usr/lib/graft/tests"


def start(namespace: Namespace, name: str, *arguments: object, **more: Any) -> subprocess.Popen[str]:
    """Start a program; its output is a pipe."""
    command = [f"{FOLDER}/{name}", *map(str, arguments)]
    with namespace:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


def finish(program: "subprocess.Popen[str]", patience: float = 60) -> tuple[int, str]:
    """Wait for its end: exit status and what it printed. Status 2 is the program's own failure, never a result."""
    try:
        printed, complaints = program.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        program.kill()
        program.communicate()
        raise AssertionError(f"{program.args!r} did not end within {patience} s") from None
    assert program.returncode in (0, 77), f"{program.args!r}: status {program.returncode}: {complaints}{printed}"
    return program.returncode, printed.strip()


def run(namespace: Namespace, name: str, *arguments: object, patience: float = 60) -> tuple[int, str]:
    """Run a program to its end."""
    return finish(start(namespace, name, *arguments), patience)


def counts(printed: str) -> dict[str, int]:
    """Lines of NAME COUNT."""
    return {name: int(count) for name, count in (line.rsplit(" ", 1) for line in printed.splitlines())}
