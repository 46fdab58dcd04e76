# SPDX-License-Identifier: Apache-2.0
"""A connection to the database: how it is opened, and what its failures are called."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from graftd.errors import (
    StoreBusyError,
    StoreDamagedError,
    StoreError,
    StoreFullError,
    StoreReadOnlyError,
    StoreUnavailableError,
)

_BUSY_SECONDS = 5.0
_PRIMARY = 0xFF  # of a result code; the rest tells more about an I/O error
_WAL_KEPT_BYTES = 16 * 2**20

_PRAGMAS = (
    # FULL: a commit returns when its log is on the disk.
    "synchronous = FULL",
    "foreign_keys = ON",
    # A damaged file must not run functions or reach beyond a page.
    "trusted_schema = OFF",
    "cell_size_check = ON",
    # A large transaction leaves a large log, which is cut back to this at a checkpoint.
    f"journal_size_limit = {_WAL_KEPT_BYTES}",
)

Values = Sequence[int | str | bytes | None]


class Database:
    """Statements in, tuples out; a failure is a StoreError. Used by the thread that opened it alone."""

    def __init__(self, path: Path, raw: sqlite3.Connection) -> None:
        self.path = path
        self.raw = raw

    def run(self, sql: str, values: Values = ()) -> int:
        """How many rows the statement touched; -1 where that has no meaning."""
        try:
            return self.raw.execute(sql, values).rowcount
        except sqlite3.Error as error:
            raise failure(self.path, error) from error

    def rows(self, sql: str, values: Values = ()) -> list[tuple[Any, ...]]:
        try:
            return self.raw.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise failure(self.path, error) from error

    def run_each(self, sql: str, many: Iterable[Values]) -> None:
        """The statement once for each of the values."""
        try:
            self.raw.executemany(sql, many)
        except sqlite3.Error as error:
            raise failure(self.path, error) from error

    def row(self, sql: str, values: Values = ()) -> tuple[Any, ...] | None:
        found = self.rows(sql, values)
        return found[0] if found else None

    def one(self, sql: str, values: Values = ()) -> tuple[Any, ...]:
        """The row of a statement that always has one."""
        (found,) = self.rows(sql, values)
        return found

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """One snapshot for all that is read inside."""
        self.run("BEGIN")
        try:
            yield
        finally:
            self.roll_back()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """One transaction, kept if the inside ends without an exception. The lock is taken at
        once, so that what is read inside holds until the commit."""
        self.run("BEGIN IMMEDIATE")
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            self.roll_back()
            raise

    def roll_back(self) -> None:
        # Of a full disk or an I/O error SQLite may have rolled back by itself.
        if self.raw.in_transaction:
            self.run("ROLLBACK")

    def close(self) -> None:
        try:
            self.raw.close()
        except sqlite3.Error as error:
            raise failure(self.path, error) from error


def open_writer(path: Path) -> Database:
    """Open, or make, the file. Raises a StoreError that says why not."""
    try:
        _check_place(path)
        # Made here and not by SQLite, for its mode: who may connect where is nobody else's business.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise place_failure(path, error) from error
    return _connect(path)


def open_reader(path: Path) -> Database:
    """A second connection, which cannot write, so that a snapshot can stand while others write."""
    database = _connect(path)
    database.run("PRAGMA query_only = ON")
    return database


def use_wal(database: Database) -> None:
    """Writes go to a log beside the file, and readers keep their snapshot meanwhile.

    The write that is tried tells a database that can be read alone, now and not at the first change.
    """
    (mode,) = database.one("PRAGMA journal_mode = WAL")
    if mode != "wal":
        raise StoreUnavailableError(
            f"the database {database.path} cannot keep a write-ahead log there: put it on a local file system"
        )
    database.run("BEGIN IMMEDIATE")
    database.run("ROLLBACK")


def check_content(database: Database, *, thorough: bool = False) -> None:
    """Raise StoreDamagedError if a page or a row makes no sense: better now than at some change.
    thorough: or an index."""
    (verdict,) = database.rows(f"PRAGMA {'integrity' if thorough else 'quick'}_check(1)")[0]
    if verdict != "ok":
        raise _damaged(database.path, str(verdict))


def failure(path: Path, error: sqlite3.Error) -> StoreError:
    """What SQLite's error means for whoever runs graftd."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & _PRIMARY
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return _damaged(path, str(error))
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _no_space(path)):
        return _full(path)
    if code == sqlite3.SQLITE_IOERR:
        return StoreUnavailableError(
            f"the database {path} cannot be read or written ({error}), and nothing was changed: "
            "look for errors of the disk in the kernel's log, a quota, and a limit on the size of files"
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return read_only(path)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return busy(path)
    if code == sqlite3.SQLITE_CANTOPEN:
        return StoreUnavailableError(
            f"the database {path} cannot be opened: see that it and the files beside it are graftd's own, "
            "and that its folder is there"
        )
    return StoreError(f"the database {path} refused a statement ({error}): this is a defect of graftd, report it")


def busy(path: Path) -> StoreBusyError:
    return StoreBusyError(
        f"another process has held the database {path} for {_BUSY_SECONDS:g} seconds: "
        "end it, and let one graftd alone use a database"
    )


def read_only(path: Path) -> StoreReadOnlyError:
    return StoreReadOnlyError(
        f"the database {path} cannot be written: give the file, those beside it and the folder "
        f"{path.parent} to the user that graftd runs as, and mount its file system writable"
    )


def _connect(path: Path) -> Database:
    try:
        # isolation_level None: BEGIN and COMMIT are said here, and nowhere behind our back.
        raw = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    except sqlite3.Error as error:
        raise failure(path, error) from error
    database = Database(path, raw)
    try:
        for pragma in _PRAGMAS:
            database.run(f"PRAGMA {pragma}")
    except StoreError:
        raw.close()
        raise
    return database


def _check_place(path: Path) -> None:
    if not path.parent.is_dir():
        raise StoreUnavailableError(
            f"there is no folder {path.parent} for the database {path.name}: make it, owned by the user "
            "that graftd runs as"
        )
    if path.exists() and not path.is_file():
        raise StoreUnavailableError(f"{path} is not a file: name another one for the database")
    # A log is made beside the file, so the folder has to be writable as well.
    if not os.access(path.parent, os.W_OK | os.X_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise read_only(path)


def place_failure(path: Path, error: OSError) -> StoreError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _full(path)
    return StoreUnavailableError(f"the database {path} cannot be made: {error.strerror}")


def _full(path: Path) -> StoreFullError:
    return StoreFullError(
        f"there is no space left for the database {path}, and nothing was changed: "
        f"free some space in {path.parent} and repeat the request"
    )


def _damaged(path: Path, detail: str) -> StoreDamagedError:
    return StoreDamagedError(
        f"the database {path} is damaged ({' '.join(detail.split())}): stop graftd, move the file and those beside "
        "it whose names end in -wal and -shm away, put the newest backup in its place, and start graftd again",
        detail=" ".join(detail.split()),
    )


def _no_space(path: Path) -> bool:
    try:
        return os.statvfs(path.parent).f_bavail == 0
    except OSError:
        return False
