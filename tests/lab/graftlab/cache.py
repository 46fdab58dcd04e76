# SPDX-License-Identifier: Apache-2.0
"""The cache: what the lab builds, kept outside the tree under a key of all that went into it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_KEY_LENGTH = 12
_STALE_SECONDS = 24 * 3600


def recipe_key(recipe: object) -> str:
    """Return a short key of a recipe: any structure that JSON can hold, order of keys apart."""
    text = json.dumps(recipe, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_KEY_LENGTH]


def files_key(base: Path, files: Iterable[Path]) -> str:
    """Return a short key of files below ``base``: their names, modes and contents."""
    digest = hashlib.sha256()
    for path in sorted(files):
        if path.is_symlink():
            kind, content = "link", os.readlink(path).encode()
        else:
            kind = "exec" if os.access(path, os.X_OK) else "file"
            content = path.read_bytes()
        head = f"{path.relative_to(base)}\0{kind}\0{len(content)}\0"
        digest.update(head.encode())
        digest.update(content)
    return digest.hexdigest()[:_KEY_LENGTH]


def default_root() -> Path:
    """Return the cache's folder: $GRAFT_LAB_CACHE, or graft-lab in the user's cache folder."""
    if chosen := os.environ.get("GRAFT_LAB_CACHE"):
        return Path(chosen).resolve()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "graft-lab"


@dataclass(frozen=True)
class Entry:
    """One finished thing in the cache."""

    kind: str
    name: str
    key: str
    path: Path


class Cache:
    """Entries named ``kind/name@key``, each built once even when several labs run side by side."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, kind: str, name: str, key: str, build: Callable[[Path], object]) -> Path:
        """Return the entry's path; where it is missing, ``build`` makes it at the path it is given.

        A build that fails or is interrupted leaves no entry. Entries of the same kind and name that
        nothing has used for a day are removed when a new one is built.
        """
        path = self.root / kind / f"{name}@{key}"
        if not path.exists():
            with self.lock(f"{kind}.{name}"):
                if not path.exists():
                    self._build(path, build)
                    self._prune(path)
                    self._delete_leftovers(f"{kind}.{name}")
        os.utime(path)
        return path

    def entries(self) -> Iterator[Entry]:
        """Yield what the cache holds."""
        for path in sorted(self.root.glob("*/*@*")):
            if path.parent == self._unfinished:
                continue
            name, _, key = path.name.rpartition("@")
            yield Entry(path.parent.name, name, key, path)

    def clean(self) -> None:
        """Remove everything but the locks, which others may hold or wait for; wait for builds that are going on."""
        for entry in list(self.entries()):
            with self.lock(f"{entry.kind}.{entry.name}"):
                self._discard(entry.path)
        for path in self._unfinished.glob("*@*"):
            owner = path.name.rpartition("@")[0]
            with self.lock(owner):
                self._delete_leftovers(owner)

    @property
    def _unfinished(self) -> Path:
        return self.root / "unfinished"

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Keep all others out who take the lock of that name."""
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / name, "w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _build(self, path: Path, build: Callable[[Path], object]) -> None:
        unfinished = self._unfinished_of(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            build(unfinished)
            unfinished.rename(path)
        finally:
            _delete(unfinished)

    def _prune(self, newest: Path) -> None:
        name = newest.name.rpartition("@")[0]
        horizon = time.time() - _STALE_SECONDS
        for path in newest.parent.glob(f"{name}@*"):
            if path != newest and path.stat().st_mtime < horizon:
                self._discard(path)

    def _unfinished_of(self, path: Path) -> Path:
        """Return a place for what is no entry yet or no longer: nobody else's, though an earlier lab was killed."""
        self._unfinished.mkdir(parents=True, exist_ok=True)
        return self._unfinished / f"{path.parent.name}.{path.name}.{secrets.token_hex(4)}"

    def _discard(self, path: Path) -> None:
        # Deleting takes long and may be interrupted; what is half deleted must not pass for an entry.
        if os.path.lexists(path):
            unfinished = self._unfinished_of(path)
            path.rename(unfinished)
            _delete(unfinished)

    def _delete_leftovers(self, owner: str) -> None:
        """Delete what killed labs left under the lock ``owner``, which the caller holds."""
        for path in self._unfinished.glob("*@*"):
            if path.name.rpartition("@")[0] == owner:
                _delete(path)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
