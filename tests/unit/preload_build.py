# SPDX-License-Identifier: Apache-2.0
"""Builds the preload library, its runner and the C programs that try them, once in a test run."""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "build" / "preload"
SOURCES = ROOT / "tests" / "unit" / "preload"
LIBRARY = OUT / "libgraft.so"
RUNNER = OUT / "graft"
COMPILERS = {"glibc": "gcc", "musl": "musl-gcc"}
LIBCS = tuple(COMPILERS)

_WARNINGS = ["-Wall", "-Wextra", "-Werror"]


def run(*command: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``command`` with PATH and ``env`` alone in its environment, and return what it printed."""
    return subprocess.run(
        [str(word) for word in command],
        env={"PATH": os.environ["PATH"]} | (env or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _build(*command: str | Path) -> None:
    done = run(*command)
    assert done.returncode == 0, done.stdout + done.stderr


@functools.cache
def make(*variables: str, target: str = "all") -> None:
    """Run clients/preload's Makefile, by default into ``OUT``."""
    _build("make", "-C", ROOT / "clients" / "preload", f"O={OUT}", *variables, target)


@functools.cache
def shared(libc: str, name: str) -> Path:
    """Return the library made of ``name``.c for ``libc``."""
    path = OUT / "tests" / libc / f"lib{name}.so"
    path.parent.mkdir(parents=True, exist_ok=True)
    _build(COMPILERS[libc], *_WARNINGS, "-fPIC", "-shared", "-o", path, SOURCES / f"{name}.c")
    return path


@functools.cache
def probe(libc: str, *needs: Path) -> Path:
    """Return the program made of probe.c for ``libc``, linked with the libraries ``needs``."""
    make()
    name = "-".join(["probe", *(path.stem for path in needs)])
    path = OUT / "tests" / libc / name
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = [*_WARNINGS, "-O2", "-rdynamic", "-pthread", "-Wl,--no-as-needed"]
    _build(COMPILERS[libc], *flags, "-o", path, SOURCES / "probe.c", *needs, "-ldl")
    return path
