# SPDX-License-Identifier: Apache-2.0
"""The desired state, on disk.

One thread opens a Store, uses it and closes it; from another every call fails (sqlite3.ProgrammingError).
graftd gives it a thread of its own and calls it from there, for a commit waits for the disk.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from graftd.errors import StoreUnavailableError
from graftd.store import _log, _schema
from graftd.store._backup import back_up, sync
from graftd.store._connection import Database, check_content, open_reader, open_writer, use_wal
from graftd.store._restore import CopyInfo, overwrite, prepared, remove_leftovers, renew
from graftd.store._transaction import Limits, Transaction
from graftd.store._view import Snapshot


def _now() -> int:
    return time.time_ns() // 1000


def _new_uid() -> str:
    return str(uuid.uuid4())


def _no_failpoint(_name: str) -> None:
    """Nothing fails here."""


class Store:
    """Namespaces and what they hold, the log of their changes, and the requests that made them."""

    def __init__(
        self,
        writer: Database,
        reader: Database,
        *,
        limits: Limits,
        clock: Callable[[], int],
        new_uid: Callable[[], str],
        failpoint: Callable[[str], None],
        migrated: tuple[Path, ...],
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._limits = limits
        self._clock = clock
        self._new_uid = new_uid
        self._failpoint = failpoint
        self._file = _file_of(writer.path)
        self.migrated = migrated

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        limits: Limits | None = None,
        clock: Callable[[], int] = _now,
        new_uid: Callable[[], str] = _new_uid,
        failpoint: Callable[[str], None] = _no_failpoint,
    ) -> Store:
        """Open the database at `path`, made if it is not there; of an older schema, migrated, with a
        backup beside it for each step (`migrated` names them).

        clock: microseconds since 1970, UTC. new_uid: makes the UUIDs of resources and histories.
        failpoint is called with "in-migration", "before-commit", "after-commit" and "in-restore" there,
        for tests that end the process.

        Raises StoreVersionError for a newer schema or another program's database, which are
        left as they are, StoreDamagedError, StoreReadOnlyError, StoreFullError, StoreBusyError,
        StoreUnavailableError.
        """
        with contextlib.ExitStack() as undo:
            writer = open_writer(path)
            undo.callback(writer.close)
            remove_leftovers(path)
            _schema.check_version(writer)
            check_content(writer)
            use_wal(writer)
            migrated = _schema.migrate(writer, new_uid=new_uid, failpoint=failpoint)
            reader = open_reader(path)
            undo.callback(reader.close)
            try:
                sync(path.parent)  # the file's name; SQLite sees to what is in it
            except OSError as error:
                raise StoreUnavailableError(f"the folder {path.parent} cannot be synced: {error.strerror}") from error
            store = cls(
                writer,
                reader,
                limits=limits or Limits(),
                clock=clock,
                new_uid=new_uid,
                failpoint=failpoint,
                migrated=tuple(migrated),
            )
            undo.pop_all()
        return store

    def close(self) -> None:
        self._reader.close()
        self._writer.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def path(self) -> Path:
        return self._writer.path

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """All that is read inside is of one moment, whoever writes meanwhile, this store included.

        To be short: until its end, the log that is written to cannot be emptied. Not to be nested.
        """
        with self._reader.reading():
            view = Snapshot(self._reader, self._limits.known_since(self._clock()))
            try:
                # A snapshot begins with the first that is read.
                _ = view.revision
                yield view
            finally:
                view._close()  # noqa: SLF001 its end is the store's to say

    @contextlib.contextmanager
    def transaction(self, *, dry_run: bool = False) -> Iterator[Transaction]:
        """All that is done inside is kept, durably, when it ends without an exception, and nothing of it
        otherwise. dry_run: in any case nothing, after all has been tried. One fsync; none where
        nothing changes.

        Raises the StoreError that is the reason; the store goes on working. Not to be nested.
        """
        self._check_file()
        self._writer.run("BEGIN IMMEDIATE")
        transaction: Transaction | None = None
        try:
            transaction = Transaction(self._writer, self._limits, self._clock(), self._new_uid)
            yield transaction
            if transaction._finish() and not dry_run:  # noqa: SLF001 its end is the store's to say
                self._failpoint("before-commit")
                self._writer.run("COMMIT")
                self._failpoint("after-commit")
        finally:
            if transaction is not None:
                transaction._close()  # noqa: SLF001 likewise
            self._writer.roll_back()

    def check(self) -> None:
        """Raise a StoreError if the store can not be read, or its file is no longer the one that was opened."""
        self._check_file()
        with self.snapshot() as view:
            view.namespaces(limit=1)

    def back_up(self, target: Path) -> Path:
        """Copy the store as it is now to one new file, whole and on the disk, which `open` opens.

        Raises AlreadyExistsError if `target` is there, and a StoreError for a full disk and the like.
        """
        return back_up(self._reader, target)

    def check_copy(self, path: Path) -> CopyInfo:
        """What a copy that `back_up` made holds, if `restore` can use it. The file is only read; it is
        tried on a copy of its own beside the database, which takes its size there.

        Raises BackupDamagedError for what is no whole copy of a store, StoreVersionError for one of a
        newer schema (an older one is fine), and a StoreError for a full disk and the like.
        """
        with prepared(self._writer, path, self._new_uid) as (_, info):
            return info

    def restore(self, path: Path) -> CopyInfo:
        """Replace everything by what such a copy holds: all or nothing, durably. What then is there, told as
        of a copy: every resource as it was, with its version; a new history; the revision after those of
        both; no log, so that watchers have to list anew; no remembered requests; as former, every network namespace
        that was one of the store's, as far as a damaged one tells. Snapshots stand.

        Raises as check_copy, and what a transaction raises. Not inside of one.
        """
        self._check_file()
        with prepared(self._writer, path, self._new_uid) as (copy, info):
            revision = max(_log.newest(self._writer), info.revision) + 1
            history_id = self._new_uid()
            renew(copy, self._writer, revision, history_id)
            overwrite(self._writer, copy, self._failpoint)
            self._failpoint("after-commit")
            return replace(info, revision=revision, history_id=history_id)

    def _check_file(self) -> None:
        # What is written to a file without a name is acknowledged and lost.
        if _file_of(self.path) != self._file:
            raise StoreUnavailableError(
                f"the database {self.path} was moved, removed or replaced while graftd was running, and the change was "
                "not made: restart graftd to go on with what is there now"
            )


def _file_of(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
