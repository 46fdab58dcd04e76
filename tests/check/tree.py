# SPDX-License-Identifier: Apache-2.0
"""The files under check."""

from __future__ import annotations

import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def files() -> list[str]:
    """Return the tree's files, relative to its root: git's, and new ones that it does not ignore."""
    command = ["git", "-c", "safe.directory=*", "-C", str(CHECKOUT), "ls-files", "-z", "-co", "--exclude-standard"]
    listing = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return sorted(name for name in listing.split("\0") if name and (CHECKOUT / name).is_file())


def c_files(*folders: str) -> list[str]:
    """Return the C files below ``folders``."""
    return [name for name in files() if name.startswith(folders) and name.endswith((".c", ".h"))]


def shell_scripts() -> list[str]:
    """Return the files that a shell runs, by their first line."""
    return [name for name in files() if first_line(name).startswith("#!") and "sh" in first_line(name).split("/")[-1]]


def first_line(name: str) -> str:
    """Return a file's first line; empty for one that is no text."""
    with open(CHECKOUT / name, "rb") as file:
        return file.readline(200).decode(errors="replace").rstrip("\n")


def head(name: str) -> str:
    """Return the start of a file."""
    with open(CHECKOUT / name, "rb") as file:
        return file.read(400).decode(errors="replace")
