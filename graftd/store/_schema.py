# SPDX-License-Identifier: Apache-2.0
"""The database's tables, and how an older version's become them.

user_version counts the migrations that a database has been through. A migration is never changed
once it was released. What `_codec` writes is part of the schema: a field that an older graftd
does not know takes a migration, if only an empty one, so that the older one refuses the database
instead of dropping the field.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from graftd.errors import StoreVersionError
from graftd.store._backup import back_up
from graftd.store._connection import Database

Migration: TypeAlias = tuple[str, ...]

APPLICATION_ID = 0x67726674  # "grft", so that another program's database is not taken for ours

# resource: 1 namespace, 2 endpoint, 3 ingress, 4 egress, 5 ACL rule (_codec.Kind).
# key: an endpoint's name as bytes, which need not be UTF-8; a rule's id. place: a rule's index.
# body: JSON of _codec's. Times are microseconds since 1970, UTC.
_RECORD = """
    resource INTEGER NOT NULL, namespace TEXT NOT NULL, key BLOB NOT NULL, place INTEGER NOT NULL,
    body TEXT NOT NULL, revision INTEGER NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL
"""

MIGRATIONS: tuple[Migration, ...] = (
    (
        f"PRAGMA application_id = {APPLICATION_ID}",
        """
        CREATE TABLE namespace (
            id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, body TEXT NOT NULL,
            revision INTEGER NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL,
            content_revision INTEGER NOT NULL -- of the last change to anything in it
        ) STRICT
        """,
        """
        CREATE TABLE endpoint (
            namespace_id INTEGER NOT NULL REFERENCES namespace (id), name BLOB NOT NULL, body TEXT NOT NULL,
            revision INTEGER NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL,
            PRIMARY KEY (namespace_id, name)
        ) STRICT, WITHOUT ROWID
        """,
        """
        CREATE TABLE rule (
            namespace_id INTEGER NOT NULL REFERENCES namespace (id), list INTEGER NOT NULL, id TEXT NOT NULL,
            place INTEGER NOT NULL, -- 0 to n - 1 without a gap
            selector TEXT, -- what no two rules of a list share; NULL in the ACL
            body TEXT NOT NULL, revision INTEGER NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL,
            PRIMARY KEY (namespace_id, list, id), UNIQUE (namespace_id, list, selector)
        ) STRICT, WITHOUT ROWID
        """,
        # The log. Its newest revision is the store's, so it is never emptied.
        f"""
        CREATE TABLE change (
            at INTEGER PRIMARY KEY, time INTEGER NOT NULL, kind INTEGER NOT NULL, {_RECORD}
        ) STRICT
        """,
        f"""
        CREATE TABLE request (
            sequence INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, time INTEGER NOT NULL, fingerprint BLOB NOT NULL,
            {_RECORD}
        ) STRICT
        """,
        "CREATE INDEX request_by_time ON request (time)",
    ),
)


def check_version(database: Database) -> None:
    """Raise StoreVersionError for a database that is a newer graftd's or no graftd's at all."""
    version = _version(database)
    if version > len(MIGRATIONS):
        raise StoreVersionError(
            f"the database {database.path} has schema {version}, and this graftd knows {len(MIGRATIONS)} at most: "
            f"install the graftd that wrote it, or put the backup that was made before schema "
            f"{len(MIGRATIONS) + 1} ({database.path.name}.v{len(MIGRATIONS)}.*.backup) in its place"
        )
    (application,) = database.one("PRAGMA application_id")
    (tables,) = database.one("SELECT count(*) FROM sqlite_schema")
    if application != APPLICATION_ID and (application or version or tables):
        raise StoreVersionError(
            f"{database.path} is the database of another program: name another file, or move this one away"
        )


def migrate(
    database: Database,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    failpoint: Callable[[str], None],
) -> list[Path]:
    """Bring the database to the newest schema; the backups made on the way, one before each step.

    Each step is all or nothing. A database without tables is not backed up.
    """
    backups: list[Path] = []
    while (version := _version(database)) < len(MIGRATIONS):
        if version:
            backups.append(back_up(database, backup_path(database.path, version, now())))
        with database.writing():
            if _version(database) != version:  # another process was quicker
                continue
            for statement in MIGRATIONS[version]:
                database.run(statement)
            failpoint("in-migration")
            database.run(f"PRAGMA user_version = {version + 1}")
    return backups


def backup_path(path: Path, version: int, now: datetime) -> Path:
    return path.with_name(f"{path.name}.v{version}.{now:%Y%m%dT%H%M%S.%f}Z.backup")


def _version(database: Database) -> int:
    (version,) = database.one("PRAGMA user_version")
    return int(version)
