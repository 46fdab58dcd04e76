# SPDX-License-Identifier: Apache-2.0
"""The log of changes: rows of one revision for each transaction, revisions without a gap, the oldest dropped.

The store's revision is the log's newest, so there is no second place for it to differ. The log is empty in a
new database and after a restore alone; the revision is `meta.base` then.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from graftd.errors import RevisionGoneError
from graftd.model import Change, ChangeKind, ChangePage
from graftd.store import _codec
from graftd.store._codec import Row
from graftd.store._connection import Database

_ROW = "resource, namespace, key, uid, place, body, revision, created, updated"


def newest(database: Database) -> int:
    """The store's revision; 0 before the first change."""
    (revision,) = database.one("SELECT coalesce((SELECT max(at) FROM change), base) FROM meta")
    return int(revision)


def oldest(database: Database) -> int:
    """The revision from which the log can be read on: that before its first change."""
    (revision,) = database.one("SELECT coalesce((SELECT min(at) - 1 FROM change), base) FROM meta")
    return int(revision)


def end(database: Database) -> tuple[int, int]:
    """The store's revision, and the number, among all, of the next change."""
    last = database.row("SELECT at, number + 1 FROM change ORDER BY at DESC, ordinal DESC LIMIT 1")
    return (newest(database), 0) if last is None else (last[0], last[1])


class At(NamedTuple):
    """Where a change stands in the log; see _schema. time: microseconds."""

    revision: int
    ordinal: int
    number: int
    time: int


def append(database: Database, at: At, kind: ChangeKind, row: Row) -> None:
    database.run(
        f"INSERT INTO change (at, ordinal, number, time, kind, {_ROW}) "  # noqa: S608
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*at, kind, *row),
    )


def trim(database: Database, kept: int, newest: int, number: int) -> None:
    """Leave at most so many rows: whole revisions, and the newest whatever its size. newest: its revision. number: of
    the next change."""
    (first,) = database.one("SELECT number FROM change ORDER BY at, ordinal LIMIT 1")
    surplus = number - first - kept
    if surplus > 0:
        (last_to_go,) = database.one("SELECT at FROM change ORDER BY at, ordinal LIMIT 1 OFFSET ?", (surplus - 1,))
        database.run("DELETE FROM change WHERE at <= ?", (min(last_to_go, newest - 1),))


def clear(database: Database, base: int) -> None:
    """Drop the log; the store's revision is `base` then."""
    database.run("DELETE FROM change")
    database.run("UPDATE meta SET base = ?", (base,))


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
    rows = _rows(database, after, last, namespace, limit + 1)
    if len(rows) <= limit:
        return _page(rows, last)
    through = rows[-1][0] - 1
    whole = [row for row in rows if row[0] <= through]
    if whole:
        return _page(whole, through)
    # One revision that is larger than the page.
    return _page(_rows(database, through, through + 1, namespace, -1), through + 1)


def _rows(database: Database, after: int, through: int, namespace: str | None, limit: int) -> list[tuple[Any, ...]]:
    return database.rows(
        f"SELECT at, time, kind, {_ROW} FROM change "  # noqa: S608
        "WHERE at > ?1 AND at <= ?2 AND (?3 IS NULL OR namespace = ?3) ORDER BY at, ordinal LIMIT ?4",
        (after, through, namespace, limit),
    )


def _page(rows: list[tuple[Any, ...]], through: int) -> ChangePage:
    return ChangePage(
        tuple(
            Change(at, _codec.to_time(time), ChangeKind(kind), _codec.record(Row(*row)))
            for at, time, kind, *row in rows
        ),
        through,
    )
