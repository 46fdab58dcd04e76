# SPDX-License-Identifier: Apache-2.0
"""Creates that came with a request id, so that one that is repeated gets the first one's result."""

from __future__ import annotations

from hashlib import blake2b

from graftd.errors import RequestIdReusedError
from graftd.store._codec import Row
from graftd.store._connection import Database

_ROW = "resource, namespace, key, place, body, revision, created, updated"


def fingerprint(*parts: object) -> bytes:
    """What a request asks for, short: the same for the same request alone."""
    return blake2b(repr(parts).encode(), digest_size=16).digest()


def recall(database: Database, request_id: str, asked: bytes, since: int) -> Row | None:
    """The result of the request of that id, if it came at `since` or later."""
    found = database.row(
        f"SELECT time, fingerprint, {_ROW} FROM request WHERE id = ?",  # noqa: S608
        (request_id,),
    )
    if found is None:
        return None
    time, known, *row = found
    if time < since:
        database.run("DELETE FROM request WHERE id = ?", (request_id,))
        return None
    if known != asked:
        raise RequestIdReusedError(
            f"request id '{request_id}' came with another request before: give each request an id of its own"
        )
    return Row(*row)


def remember(database: Database, request_id: str, asked: bytes, time: int, row: Row) -> None:
    database.run(
        f"INSERT INTO request (id, time, fingerprint, {_ROW}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (request_id, time, asked, *row),
    )


def trim(database: Database, kept: int, since: int) -> None:
    database.run("DELETE FROM request WHERE sequence <= (SELECT max(sequence) FROM request) - ?", (kept,))
    database.run("DELETE FROM request WHERE time < ?", (since,))
