# SPDX-License-Identifier: Apache-2.0
"""Endpoints of one namespace: rows that are made, changed and dropped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from graftd.model import ChangeKind
from graftd.store._codec import Kind, Row
from graftd.store._writer import Writer


class EndpointWriter:
    def __init__(self, writer: Writer, namespace: str, namespace_id: int) -> None:
        self._writer = writer
        self._database = writer.database
        self._namespace = namespace
        self._namespace_id = namespace_id

    def create(self, key: bytes, body: str) -> Row:
        row = self._writer.new(Kind.ENDPOINT, self._namespace, key, body)
        self._database.run(
            "INSERT INTO endpoint (namespace_id, name, body, revision, created, updated) VALUES (?, ?, ?, ?, ?, ?)",
            (self._namespace_id, key, body, row.revision, row.created, row.updated),
        )
        self._writer.log_inside(ChangeKind.CREATED, row, self._namespace_id)
        return row

    def update(self, row: Row, body: str) -> Row:
        if body == row.body:
            return row
        put = self._writer.stamped(row._replace(body=body))
        self._database.run(
            "UPDATE endpoint SET body = ?, revision = ?, updated = ? WHERE namespace_id = ? AND name = ?",
            (put.body, put.revision, put.updated, self._namespace_id, put.key),
        )
        self._writer.log_inside(ChangeKind.UPDATED, put, self._namespace_id)
        return put

    def delete(self, row: Row) -> None:
        self._database.run("DELETE FROM endpoint WHERE namespace_id = ? AND name = ?", (self._namespace_id, row.key))
        self._writer.log_inside(ChangeKind.DELETED, row, self._namespace_id)

    def replace(self, rows: Iterable[Row], wanted: Mapping[bytes, str]) -> None:
        """Make the rows what `wanted`, bodies by key, says, touching what differs alone."""
        there = {row.key: row for row in rows}
        for key, row in there.items():
            if key not in wanted:
                self.delete(row)
        for key, body in wanted.items():
            if key in there:
                self.update(there[key], body)
            else:
                self.create(key, body)
