# SPDX-License-Identifier: Apache-2.0
"""A copy that takes the store's place, whole or not at all.

The copy is first copied beside the database, checked, brought to the present schema and given a new history
there. SQLite's backup interface then writes its pages over the database's in one transaction: until its
commit, readers and whoever opens the database after a crash see what was there before.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from graftd.errors import BackupDamagedError, StoreDamagedError, StoreUnavailableError, StoreVersionError
from graftd.store import _former, _log, _remembered, _schema
from graftd.store._connection import Database, busy, check_content, failure, open_writer, place_failure
from graftd.store._view import View

_PAGES_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class CopyInfo:
    """What a copy of a store holds. schema: as the file has it."""

    schema: int
    revision: int
    history_id: str
    namespaces: int
    endpoints: int
    rules: int
    acl_rules: int


@contextlib.contextmanager
def prepared(live: Database, copy: Path, new_uid: Callable[[], str]) -> Iterator[tuple[Database, CopyInfo]]:
    """The copy as it would be used: whole, and of the present schema. The file `copy` itself is only read.

    Raises BackupDamagedError, StoreVersionError for a newer schema, and a StoreError for a full disk and the like.
    """
    part = _part(live.path)
    remove_leftovers(live.path)
    with contextlib.ExitStack() as end:
        end.callback(remove_leftovers, live.path)
        _copy_file(copy, part)
        try:
            database = open_writer(part)
            end.callback(database.close)
            info = _check(database, copy, new_uid)
        except StoreDamagedError as error:
            raise _damaged(copy, error.detail) from error
        _fit(database, live)
        yield database, info


def renew(database: Database, live: Database, revision: int, history_id: str) -> None:
    """Begin a new history at a revision: without a log and remembered requests, and with the network namespaces that
    `live` has tables in."""
    with database.writing():
        _former.carry_over(live, database)
        _log.clear(database, revision)
        _remembered.clear(database)
        database.run("UPDATE meta SET history = ?", (history_id,))


def overwrite(live: Database, copy: Database, failpoint: Callable[[str], None]) -> None:
    """Replace all of `live` by `copy`, in one transaction."""

    def advance(status: int, remaining: int, _count: int) -> None:
        # Python would try for ever.
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise busy(live.path)
        if remaining:
            failpoint("in-restore")

    (pages,) = copy.one("PRAGMA page_count")
    try:
        copy.raw.backup(live.raw, pages=max(1, min(_PAGES_AT_ONCE, pages // 2)), progress=advance)
    except sqlite3.Error as error:
        raise failure(live.path, error) from error


def remove_leftovers(live: Path) -> None:
    """Remove what a restore that was killed left beside the database."""
    part = _part(live)
    for ending in ("", "-journal", "-wal", "-shm"):
        with contextlib.suppress(OSError):
            part.with_name(f"{part.name}{ending}").unlink()


def _copy_file(copy: Path, part: Path) -> None:
    try:
        source = copy.open("rb")
    except OSError as error:
        raise StoreUnavailableError(f"the backup {copy} cannot be read: {error.strerror}") from error
    with source:
        try:
            descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as target:
                shutil.copyfileobj(source, target)
        except OSError as error:
            raise place_failure(part, error) from error


def _part(live: Path) -> Path:
    return live.with_name(f"{live.name}.restoring")


def _check(database: Database, copy: Path, new_uid: Callable[[], str]) -> CopyInfo:
    check_content(database, thorough=True)
    schema = _schema.version_of(database)
    if not schema or not _schema.is_ours(database):
        raise _damaged(copy, "it is no database of graftd's")
    if schema > len(_schema.MIGRATIONS):
        raise StoreVersionError(
            f"the backup {copy} has schema {schema}, and this graftd knows {len(_schema.MIGRATIONS)} at most: "
            "restore it with the graftd that wrote it",
            schema_version=schema,
            supported=len(_schema.MIGRATIONS),
        )
    database.one("PRAGMA journal_mode = DELETE")
    database.run("PRAGMA synchronous = OFF")  # what becomes of it, a crash leaves nobody to ask
    _schema.migrate(database, new_uid=new_uid, failpoint=lambda _: None, backed_up=False)
    if _schema.tables(database) != _schema.tables_of_new():
        raise _damaged(copy, "its tables are not those of a store")
    if database.one("SELECT count(*) FROM meta") != (1,):
        raise _damaged(copy, "it does not say of which history it is")
    if database.rows("PRAGMA foreign_key_check"):
        raise _damaged(copy, "it names a namespace that it does not hold")
    return _read(database, schema)


def _read(database: Database, schema: int) -> CopyInfo:
    """Read all that there is, so that nothing of it fails later."""
    view = View(database, known_since=0)
    _ = view.freeze
    info = CopyInfo(schema, view.revision, view.history_id, *view.counts())
    for record in view.namespaces(limit=info.namespaces or 1):
        view.content(record.namespace.name)
    return info


def _fit(database: Database, live: Database) -> None:
    """Give the copy the database's page size, without which SQLite cannot put one over the other."""
    (size,) = live.one("PRAGMA page_size")
    if database.one("PRAGMA page_size") != (size,):
        database.run(f"PRAGMA page_size = {size}")
        database.run("VACUUM")


def _damaged(copy: Path, detail: str) -> BackupDamagedError:
    return BackupDamagedError(f"{copy} is no whole copy of a store ({detail}): take another backup")
