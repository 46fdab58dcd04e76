# SPDX-License-Identifier: Apache-2.0
"""Network namespaces that a registered one was and is no more, until their tables are known to be empty."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from graftd.errors import StoreDamagedError
from graftd.model import NetnsIdentity, Selector
from graftd.store import _codec
from graftd.store._codec import Kind, Row
from graftd.store._connection import Database

_ADD = "INSERT OR IGNORE INTO former (boot_id, cookie, selector) VALUES (?, ?, ?)"


def known(database: Database) -> list[tuple[NetnsIdentity, Selector]]:
    """Each with what selected it."""
    rows = database.rows("SELECT boot_id, cookie, selector FROM former ORDER BY boot_id, cookie")
    return [_codec.read_former(*row) for row in rows]


def add(database: Database, identity: NetnsIdentity, selector: Selector) -> None:
    database.run(_ADD, (identity.boot_id, str(identity.cookie), _codec.namespace_selector(selector)))


def forget(database: Database, identities: Iterable[NetnsIdentity]) -> None:
    done = [(one.boot_id, str(one.cookie)) for one in identities]
    database.run_each("DELETE FROM former WHERE boot_id = ? AND cookie = ?", done)


def carry_over(live: Database, copy: Database) -> None:
    """Before a copy takes the place of `live`: what is former or registered there is former in the copy, which may know
    nothing of it; what the copy calls former was so when it was made."""
    copy.run("DELETE FROM former")
    for name, body in live.rows("SELECT name, body FROM namespace"):
        with suppress(StoreDamagedError):  # which the restore may be to mend
            record = _codec.namespace_record(Row(Kind.NAMESPACE, name, b"", "", 0, body, 0, 0, 0))
            if record.identity is not None:
                add(copy, record.identity, record.namespace.selector)
    copy.run_each(_ADD, live.rows("SELECT boot_id, cookie, selector FROM former"))
