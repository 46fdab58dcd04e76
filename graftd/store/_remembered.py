# SPDX-License-Identifier: Apache-2.0
"""Requests that were served, with their answers, so that one that is repeated gets the answer again."""

from __future__ import annotations

from typing import NamedTuple

from graftd.errors import RequestIdReusedError
from graftd.store._connection import Database


class Request(NamedTuple):
    """caller, id: who asked, and under which id of its own. fingerprint: the same for the same request alone."""

    caller: str
    id: str
    fingerprint: bytes


def recall(database: Database, request: Request, since: int) -> bytes | None:
    """The answer of that request, if it came at `since` or later."""
    found = database.row(
        "SELECT fingerprint, answer FROM request WHERE caller = ? AND id = ? AND time >= ?",
        (request.caller, request.id, since),
    )
    if found is None:
        return None
    fingerprint, answer = found
    if fingerprint != request.fingerprint:
        raise RequestIdReusedError(
            f"request id '{request.id}' came with another request before: give each request an id of its own"
        )
    return bytes(answer)


def remember(database: Database, request: Request, time: int, answer: bytes) -> None:
    database.run(
        "INSERT OR REPLACE INTO request (caller, id, fingerprint, time, start, answer) VALUES (?, ?, ?, ?, ?, ?)",
        (*request, time, _end(database), answer),
    )


def trim(database: Database, *, kept: int, kept_bytes: int, since: int) -> None:
    """Forget the oldest until at most so many are left, of so many bytes, all of `since` or later; the
    newest stays."""
    found = database.row(
        "SELECT sequence FROM request WHERE sequence > (SELECT max(sequence) FROM request) - ? "
        "AND start >= ? AND time >= ? ORDER BY sequence LIMIT 1",
        (kept, _end(database) - kept_bytes, since),
    )
    (newest,) = database.one("SELECT coalesce(max(sequence), 0) FROM request")
    database.run("DELETE FROM request WHERE sequence < ?", (newest if found is None else found[0],))


def forget(database: Database, caller: str, request_id: str) -> None:
    database.run("DELETE FROM request WHERE caller = ? AND id = ?", (caller, request_id))


def clear(database: Database) -> None:
    database.run("DELETE FROM request")


def _end(database: Database) -> int:
    """The bytes of all answers that there ever were."""
    (end,) = database.one(
        "SELECT coalesce((SELECT start + length(answer) FROM request ORDER BY sequence DESC LIMIT 1), 0)"
    )
    return int(end)
