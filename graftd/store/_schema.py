# SPDX-License-Identifier: Apache-2.0
"""The database's tables, and how an older version's become them.

user_version counts the migrations that a database has been through. A migration is never changed
once it was released. What `_codec` writes is part of the schema: a field that an older graftd
does not know takes a migration, if only an empty one, so that the older one refuses the database
instead of dropping the field.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from graftd.errors import StoreVersionError
from graftd.store._backup import back_up
from graftd.store._connection import Database

Migration: TypeAlias = tuple[str, ...]

APPLICATION_ID = 0x67726674  # "grft", so that another program's database is not taken for ours

# A record's columns. uid: a UUID. body: JSON of _codec's. Times are microseconds since 1970, UTC.
_RECORD = """
    uid TEXT NOT NULL, body TEXT NOT NULL,
    revision INTEGER NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL
"""

MIGRATIONS: tuple[Migration, ...] = (
    (
        f"PRAGMA application_id = {APPLICATION_ID}",
        # One row. history: a UUID of the sequence of revisions. base: the revision before the log's first, which is the
        # store's while the log is empty. freeze: of the node, NULL for none.
        """
        CREATE TABLE meta (
            one INTEGER PRIMARY KEY CHECK (one = 1), history TEXT NOT NULL, base INTEGER NOT NULL, freeze TEXT,
            secret BLOB NOT NULL
        ) STRICT
        """,
        "INSERT INTO meta (one, history, base, secret) VALUES (1, new_uid(), 0, randomblob(32))",
        # selector: what no two namespaces share. content_*, acl_*: of the last change to anything in it, to its ACL.
        f"""
        CREATE TABLE namespace (
            id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, selector TEXT NOT NULL UNIQUE, {_RECORD},
            content_revision INTEGER NOT NULL, content_updated INTEGER NOT NULL,
            acl_revision INTEGER NOT NULL, acl_updated INTEGER NOT NULL
        ) STRICT
        """,
        # name: bytes, which need not be UTF-8. target_id: NULL for the namespace that graftd runs in.
        f"""
        CREATE TABLE endpoint (
            namespace_id INTEGER NOT NULL REFERENCES namespace (id), name BLOB NOT NULL,
            target_id INTEGER REFERENCES namespace (id), {_RECORD},
            PRIMARY KEY (namespace_id, name)
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX endpoint_by_target ON endpoint (target_id) WHERE target_id IS NOT NULL",
        # selector: what no two rules of a namespace share.
        f"""
        CREATE TABLE rule (
            namespace_id INTEGER NOT NULL REFERENCES namespace (id), id TEXT NOT NULL,
            selector TEXT NOT NULL, {_RECORD},
            PRIMARY KEY (namespace_id, id), UNIQUE (namespace_id, selector)
        ) STRICT, WITHOUT ROWID
        """,
        # place: 0 to n - 1 without a gap.
        f"""
        CREATE TABLE acl (
            namespace_id INTEGER NOT NULL REFERENCES namespace (id), id TEXT NOT NULL,
            place INTEGER NOT NULL, {_RECORD},
            PRIMARY KEY (namespace_id, id)
        ) STRICT, WITHOUT ROWID
        """,
        # The log. at: the revision that made the change; ordinal: its place among that revision's, from 0 on.
        # number: its place among all, without a gap, so that they need not be counted. resource: _codec.Kind.
        # key: an endpoint's name, a rule's id; place: an ACL rule's index.
        f"""
        CREATE TABLE change (
            at INTEGER NOT NULL, ordinal INTEGER NOT NULL, number INTEGER NOT NULL, time INTEGER NOT NULL,
            kind INTEGER NOT NULL, resource INTEGER NOT NULL, namespace TEXT NOT NULL, key BLOB NOT NULL,
            place INTEGER NOT NULL, {_RECORD},
            PRIMARY KEY (at, ordinal)
        ) STRICT, WITHOUT ROWID
        """,
        # Requests that were served. start: the bytes of all answers before, so that they need not be summed up.
        """
        CREATE TABLE request (
            sequence INTEGER PRIMARY KEY, caller TEXT NOT NULL, id TEXT NOT NULL, time INTEGER NOT NULL,
            start INTEGER NOT NULL, fingerprint BLOB NOT NULL, answer BLOB NOT NULL, UNIQUE (caller, id)
        ) STRICT
        """,
    ),
    (
        # Network namespaces that a registered one was, with what selected them, until their tables are known to be
        # empty. cookie: decimal, for it has 64 bits and no sign.
        """
        CREATE TABLE former (
            boot_id TEXT NOT NULL, cookie TEXT NOT NULL, selector TEXT NOT NULL, PRIMARY KEY (boot_id, cookie)
        ) STRICT, WITHOUT ROWID
        """,
    ),
    # A namespace's body may say transparent and transient.
    (
        # Whether the live sockets of one are to end when its table is emptied.
        "ALTER TABLE former ADD COLUMN abort INTEGER NOT NULL DEFAULT 0",
    ),
)


def check_version(database: Database) -> None:
    """Raise StoreVersionError for a database that is a newer graftd's or no graftd's at all."""
    version = version_of(database)
    if version > len(MIGRATIONS):
        raise StoreVersionError(
            f"the database {database.path} has schema {version}, and this graftd knows {len(MIGRATIONS)} at most: "
            f"install the graftd that wrote it, or put the backup that was made before schema "
            f"{len(MIGRATIONS) + 1} ({database.path.name}.v{len(MIGRATIONS)}.*.backup) in its place",
            schema_version=version,
            supported=len(MIGRATIONS),
        )
    (application,) = database.one("PRAGMA application_id")
    if not is_ours(database) and (application or version or tables(database)):
        raise StoreVersionError(
            f"{database.path} is the database of another program: name another file, or move this one away"
        )


def is_ours(database: Database) -> bool:
    return database.one("PRAGMA application_id") == (APPLICATION_ID,)


def tables(database: Database) -> list[tuple[str, ...]]:
    """All tables, indexes and the like, with the statements that made them."""
    return database.rows("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name")


def tables_of_new() -> list[tuple[str, ...]]:
    """Those of a new database."""
    with contextlib.closing(Database(Path(":memory:"), sqlite3.connect(":memory:", isolation_level=None))) as new:
        migrate(new, new_uid=str, failpoint=lambda _: None, backed_up=False)
        return tables(new)


def migrate(
    database: Database,
    *,
    new_uid: Callable[[], str],
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    failpoint: Callable[[str], None],
    backed_up: bool = True,
) -> list[Path]:
    """Bring the database to the newest schema; the backups made on the way, one before each step.

    Each step is all or nothing. A database that had no tables is not backed up. Statements may call new_uid().
    """
    backups: list[Path] = []
    backed_up = backed_up and version_of(database) > 0
    database.raw.create_function("new_uid", 0, new_uid)
    while (version := version_of(database)) < len(MIGRATIONS):
        if backed_up:
            backups.append(back_up(database, backup_path(database.path, version, now())))
        with database.writing():
            if version_of(database) != version:  # another process was quicker
                continue
            for statement in MIGRATIONS[version]:
                database.run(statement)
            failpoint("in-migration")
            database.run(f"PRAGMA user_version = {version + 1}")
    return backups


def backup_path(path: Path, version: int, now: datetime) -> Path:
    return path.with_name(f"{path.name}.v{version}.{now:%Y%m%dT%H%M%S.%f}Z.backup")


def version_of(database: Database) -> int:
    (version,) = database.one("PRAGMA user_version")
    return int(version)
