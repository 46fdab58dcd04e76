# SPDX-License-Identifier: Apache-2.0
"""Network namespaces that a registered one was and is no more, until their tables are known to be empty."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from graftd.errors import StoreDamagedError, StoreError
from graftd.model import NetnsIdentity, Selector
from graftd.store import _codec
from graftd.store._codec import Kind, Row
from graftd.store._connection import Database

# As bytes: damaged text need not be UTF-8, and one such value would fail all of the rows.
_ALL_OF = "SELECT CAST(boot_id AS BLOB), CAST(cookie AS BLOB), CAST(selector AS BLOB) FROM former"
_ALL = f"{_ALL_OF} ORDER BY boot_id, cookie"


def known(database: Database) -> list[tuple[NetnsIdentity, Selector]]:
    """Each with what selected it. Raises StoreDamagedError for one that makes no sense."""
    return [_codec.read_former(*row) for row in database.rows(_ALL)]


def add(database: Database, identity: NetnsIdentity, selector: Selector) -> None:
    database.run(
        "INSERT OR IGNORE INTO former (boot_id, cookie, selector) VALUES (?, ?, ?)",
        (identity.boot_id, str(identity.cookie), _codec.namespace_selector(selector)),
    )


def abort(database: Database, identities: Iterable[NetnsIdentity]) -> None:
    wanted = [(one.boot_id, str(one.cookie)) for one in identities]
    database.run_each("UPDATE former SET abort = 1 WHERE boot_id = ? AND cookie = ?", wanted)


def aborting(database: Database) -> set[NetnsIdentity]:
    """Those whose live sockets are to end. Raises StoreDamagedError as known."""
    return {_codec.read_former(*row)[0] for row in database.rows(f"{_ALL_OF} WHERE abort = 1")}


def forget(database: Database, identities: Iterable[NetnsIdentity]) -> None:
    done = [(one.boot_id, str(one.cookie)) for one in identities]
    database.run_each("DELETE FROM former WHERE boot_id = ? AND cookie = ?", done)


def drop_senseless(database: Database) -> int:
    """Drop those that make no sense; how many."""
    dropped = 0
    for row in database.rows(_ALL):
        try:
            _codec.read_former(*row)
        except StoreDamagedError:
            sql = "DELETE FROM former WHERE CAST(boot_id AS BLOB) IS ? AND CAST(cookie AS BLOB) IS ?"
            dropped += database.run(sql, row[:2])
    return dropped


def carry_over(live: Database, copy: Database) -> None:
    """Before a copy takes the place of `live`: what is former or registered there is former in the copy, which may know
    nothing of it; what the copy calls former was so when it was made. What of `live` cannot be read is left out: the
    restore may be to mend that."""
    copy.run("DELETE FROM former")
    for name, body in _readable(live, "SELECT name, body FROM namespace"):
        with suppress(StoreDamagedError):
            record = _codec.namespace_record(Row(Kind.NAMESPACE, name, b"", "", 0, body, 0, 0, 0))
            if record.identity is not None:
                add(copy, record.identity, record.namespace.selector)
    for row in _readable(live, _ALL):
        with suppress(StoreDamagedError):
            add(copy, *_codec.read_former(*row))
    for row in _readable(live, f"{_ALL_OF} WHERE abort = 1"):
        with suppress(StoreDamagedError):
            abort(copy, [_codec.read_former(*row)[0]])


def _readable(database: Database, sql: str) -> list[tuple[Any, ...]]:
    try:
        return database.rows(sql)
    except StoreError:
        return []
