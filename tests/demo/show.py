# SPDX-License-Identifier: Apache-2.0
"""What the demo prints in the guest: commands as typed, with what they print."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Sequence

from demo.errors import DemoError


def heading(text: str) -> None:
    """Print a heading."""
    print(f"\n=== {text}", flush=True)


def typed(namespace: str, words: Sequence[str]) -> None:
    """Print a command as somebody in ``namespace`` types it."""
    print(f"\n{namespace}# {shlex.join(words)}", flush=True)


def command(namespace: str, *words: str) -> str:
    """Run a command in ``namespace``, print it with what it prints, return that.

    Raises DemoError where it fails.
    """
    typed(namespace, words)
    done = subprocess.run(
        ["ip", "netns", "exec", namespace, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout, end="", flush=True)
    if done.returncode:
        raise DemoError(f"'{shlex.join(words)}' in the namespace {namespace} failed with status {done.returncode}")
    return done.stdout


def result(title: str, namespace: str, words: Sequence[str], output: str) -> None:
    """Print what a measured program printed."""
    print(f"\n--- {title}", end="")
    typed(namespace, words)
    print(output.strip("\n"), flush=True)


def plain(text: str) -> str:
    """Return text without a terminal's colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def pids(listing: str) -> list[int]:
    """Return the process ids in the output of ``ss -p``."""
    return [int(number) for number in re.findall(r"pid=(\d+)", listing)]
