# SPDX-License-Identifier: Apache-2.0
"""One transaction's changes: all of one revision, each with a row in the log."""

from __future__ import annotations

from collections.abc import Callable

from graftd.model import Change, ChangeKind, Record
from graftd.store import _codec, _log
from graftd.store._codec import Kind, Row
from graftd.store._connection import Database


class Writer:
    """now: microseconds, the time of every change of the transaction. revision: of every change."""

    def __init__(self, database: Database, now: int, new_uid: Callable[[], str]) -> None:
        self.database = database
        self.now = now
        newest, self._number = _log.end(database)
        self.revision = newest + 1
        self.changes: list[Change] = []
        self._new_uid = new_uid
        self._time = _codec.to_time(now)
        self._touched: set[tuple[str, int]] = set()

    def new(self, kind: Kind, namespace: str, key: bytes, body: str, place: int = 0) -> Row:
        """A row as its creation makes it."""
        return Row(kind, namespace, key, self._new_uid(), place, body, self.revision, self.now, self.now)

    def changed(self, row: Row, body: str) -> Row:
        """The row as the change of its body makes it."""
        return row._replace(body=body, revision=self.revision, updated=self.now)

    def free_id(self, word: str, is_taken: Callable[[str], bool]) -> str:
        """An id that is not taken, as in "rule-7" or, where a transaction makes more than one change, "rule-7-2"."""
        number = len(self.changes)
        while True:
            made = f"{word}-{self.revision}" + (f"-{number + 1}" if number else "")
            if not is_taken(made):
                return made
            number += 1

    def log(self, kind: ChangeKind, row: Row, record: Record, before: Record | None) -> None:
        """row: `record` as a row."""
        at = _log.At(self.revision, len(self.changes), self._number, self.now)
        _log.append(self.database, at, kind, row)
        self._number += 1
        self.changes.append(Change(self.revision, self._time, kind, record, before))

    def trim_log(self, kept: int) -> None:
        """Drop the oldest changes of the log until so many are left."""
        _log.trim(self.database, kept, self.revision, self._number)

    def touch_content(self, namespace_id: int) -> None:
        """Say of a namespace that something in it changes."""
        self._touch("content", namespace_id)

    def touch_acl(self, namespace_id: int) -> None:
        """Say of a namespace that its ACL changes."""
        self._touch("acl", namespace_id)
        self._touch("content", namespace_id)

    def _touch(self, what: str, namespace_id: int) -> None:
        # Once is enough, for all changes share the revision.
        if (what, namespace_id) not in self._touched:
            self._touched.add((what, namespace_id))
            self.database.run(
                f"UPDATE namespace SET {what}_revision = ?, {what}_updated = ? WHERE id = ?",  # noqa: S608
                (self.revision, self.now, namespace_id),
            )
