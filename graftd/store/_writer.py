# SPDX-License-Identifier: Apache-2.0
"""One transaction's revisions: each change gets the next, and a row in the log."""

from __future__ import annotations

from graftd.model import ChangeKind
from graftd.store import _log
from graftd.store._codec import Kind, Row
from graftd.store._connection import Database


class Writer:
    """now: microseconds, the time of every change of the transaction."""

    def __init__(self, database: Database, now: int) -> None:
        self.database = database
        self.now = now
        self.revision = _log.newest(database)
        self.counts = dict.fromkeys(ChangeKind, 0)
        self.touched = False  # something has to be committed

    def next(self) -> int:
        """The revision that the change will have that is logged next."""
        return self.revision + 1

    def log(self, kind: ChangeKind, row: Row) -> None:
        self.revision += 1
        self.counts[kind] += 1
        self.touched = True
        _log.append(self.database, self.revision, self.now, kind, row)

    def log_inside(self, kind: ChangeKind, row: Row, namespace_id: int) -> None:
        """Log a change to something that a namespace holds."""
        self.log(kind, row)
        self.database.run("UPDATE namespace SET content_revision = ? WHERE id = ?", (self.revision, namespace_id))

    def stamped(self, row: Row) -> Row:
        """The row as its next change makes it."""
        return row._replace(revision=self.next(), updated=self.now)

    def new(self, kind: Kind, namespace: str, key: bytes, body: str, place: int = 0) -> Row:
        """A row as its creation, logged next, makes it."""
        return Row(kind, namespace, key, place, body, self.next(), self.now, self.now)
