# SPDX-License-Identifier: Apache-2.0
"""Disks: ext4 images, made without mounting anything, of a root file system and of a guest's state."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from .cache import Cache, recipe_key
from .errors import LabError
from .progress import Progress

_FREE_MIB = 2048
# No journal: a run's changes go to a temporary file that is dropped with the guest.
_OPTIONS = ("-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-E", "lazy_itable_init=1,root_owner=0:0")
# As mke2fs makes it anywhere, with a journal, but all of it now: a guest writes nothing that was not asked of it.
_STATE_OPTIONS = ("-q", "-F", "-t", "ext4", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0")
_STATE_MIB = 256


def disk(cache: Cache, root: Path) -> Path:
    """Return the read-only disk image that holds ``root``, an entry of the cache."""
    name, _, root_key = root.name.rpartition("@")
    key = recipe_key({"root": root_key, "options": _OPTIONS, "free": _FREE_MIB})
    return cache.get("disk", name, key, lambda path: _make(root, path))


def _make(root: Path, path: Path) -> None:
    with Progress(f"disk {path.name}") as progress:
        progress.stage("measuring")
        blocks = sum(entry.lstat().st_blocks for entry in root.rglob("*"))
        size_mib = blocks * 512 // 2**20 * 5 // 4 + _FREE_MIB
        progress.stage("copying files into it")
        _mke2fs(*_OPTIONS, "-d", str(root), str(path), f"{size_mib}M")


def make_state(path: Path) -> None:
    """Make an empty disk for a guest's state."""
    _mke2fs(*_STATE_OPTIONS, str(path), f"{_STATE_MIB}M")


def copy(image: Path, path: Path) -> None:
    """Make a disk of one's own of an image; what is empty in it takes no room."""
    with Progress(f"disk {path.name}"):
        done = subprocess.run(
            ["cp", "--sparse=always", "--reflink=auto", str(image), str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        path.unlink(missing_ok=True)
        raise LabError(f"the disk {path} could not be made: {done.stderr.strip()}", "See that there is room for it.")


def _mke2fs(*words: str) -> None:
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    done = subprocess.run(["mke2fs", *words], env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"mke2fs failed: {done.stderr.strip()}", "See that the disk that it writes to has room.")
