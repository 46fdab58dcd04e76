# SPDX-License-Identifier: Apache-2.0
"""A copy of the database as of one moment, whole and on the disk, or none at all."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from graftd.errors import AlreadyExistsError, StoreError, StoreUnavailableError
from graftd.store._connection import Database, failure


def back_up(database: Database, target: Path) -> Path:
    """Copy the database to `target`, one file without a log beside it, readable by its owner alone.

    Raises AlreadyExistsError if `target` is there, and a StoreError, that names it, for a full
    disk and the like; then nothing is left of it.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        try:
            _copy(database, part)
            sync(part)
            os.link(part, target)  # unlike a rename, replaces nothing
        finally:
            part.unlink(missing_ok=True)
        sync(target.parent)
    except FileExistsError:
        raise AlreadyExistsError(f"the backup {target} is there: move it away or choose another name") from None
    except OSError as error:
        raise StoreUnavailableError(f"the backup {target} cannot be made: {error.strerror}") from error
    return target


def sync(path: Path) -> None:
    """Return when a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy(database: Database, part: Path) -> None:
    copy = sqlite3.connect(part, isolation_level=None)
    try:
        database.raw.backup(copy)
        # The copy says of itself that it has a log; it is easier to move about without.
        copy.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        raise _blame(database, part, error) from error
    finally:
        copy.close()


def _blame(database: Database, part: Path, error: sqlite3.Error) -> StoreError:
    """An error of the copy is the copy's, except that only what is read can be damaged."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    damaged = code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    return failure(database.path if damaged else part, error)
