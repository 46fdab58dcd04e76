# SPDX-License-Identifier: Apache-2.0
"""The log of changes: one row for each revision, without a gap, the oldest dropped.

The store's revision is the log's newest, so there is no second place for it to differ.
"""

from __future__ import annotations

from graftd.errors import RevisionGoneError
from graftd.model import Change, ChangeKind, ChangePage
from graftd.store import _codec
from graftd.store._codec import Row
from graftd.store._connection import Database

_COLUMNS = "at, time, kind, resource, namespace, key, place, body, revision, created, updated"


def newest(database: Database) -> int:
    """The store's revision; 0 before the first change."""
    (revision,) = database.one("SELECT coalesce(max(at), 0) FROM change")
    return int(revision)


def oldest(database: Database) -> int:
    """The revision from which the log can be read on: that before its first change."""
    (revision,) = database.one("SELECT coalesce(min(at) - 1, 0) FROM change")
    return int(revision)


def append(database: Database, at: int, time: int, kind: ChangeKind, row: Row) -> None:
    database.run(f"INSERT INTO change ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (at, time, kind, *row))  # noqa: S608


def trim(database: Database, kept: int) -> None:
    database.run("DELETE FROM change WHERE at <= (SELECT max(at) FROM change) - ?", (kept,))


def read(database: Database, after: int, limit: int, namespace: str | None) -> ChangePage:
    first, last = oldest(database), newest(database)
    if not first <= after <= last:
        was = "is older than the log of changes" if after < first else "was never reached here"
        raise RevisionGoneError(
            f"revision {after} {was}, which can be read from {first} to {last}: "
            f"list everything anew and watch from the revision that the list is of",
            revision=after,
            oldest=first,
            newest=last,
        )
    rows = database.rows(
        f"SELECT {_COLUMNS} FROM change WHERE at > ? AND (?2 IS NULL OR namespace = ?2) ORDER BY at LIMIT ?",  # noqa: S608
        (after, namespace, limit),
    )
    changes = tuple(
        Change(at, _codec.to_time(time), ChangeKind(kind), _codec.record(Row(*row))) for at, time, kind, *row in rows
    )
    return ChangePage(changes, changes[-1].revision if len(changes) == limit else last)
