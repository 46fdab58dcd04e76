# SPDX-License-Identifier: Apache-2.0
"""Endpoints of one namespace: rows that are made, changed and dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from graftd.errors import AlreadyExistsError, NotFoundError, OwnTargetError, TargetNotFoundError
from graftd.model import ChangeKind, EndpointRecord, TargetedEndpoint
from graftd.store import _codec
from graftd.store._codec import Kind, Row
from graftd.store._writer import Writer


class EndpointWriter:
    """find_id: the number of a namespace that an endpoint has as its target; raises NotFoundError."""

    def __init__(self, writer: Writer, namespace: str, namespace_id: int, find_id: Callable[[str], int]) -> None:
        self._writer = writer
        self._database = writer.database
        self._namespace = namespace
        self._namespace_id = namespace_id
        self._find_id = find_id

    def create(self, value: TargetedEndpoint, there: Row | None) -> EndpointRecord:
        name = value.endpoint.name
        if there is not None:
            raise AlreadyExistsError(
                f"endpoint '{name}' of namespace '{self._namespace}' exists: update it, or choose another name",
                kind="endpoint",
                namespace=self._namespace,
                id_=name,
            )
        row = self._writer.new(Kind.ENDPOINT, self._namespace, _codec.to_key(name), _codec.write_endpoint(value))
        self._database.run(
            "INSERT INTO endpoint (namespace_id, name, target_id, uid, body, revision, created, updated) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self._namespace_id,
                row.key,
                self._target_id(row, value),
                row.uid,
                row.body,
                row.revision,
                row.created,
                row.updated,
            ),
        )
        return self._log(ChangeKind.CREATED, row, value, None)

    def update(self, row: Row, value: TargetedEndpoint) -> EndpointRecord:
        before = _codec.endpoint_record(row)
        put = self._writer.changed(row, _codec.write_endpoint(value))
        if put.body == row.body:
            return before
        self._database.run(
            "UPDATE endpoint SET target_id = ?, body = ?, revision = ?, updated = ? "
            "WHERE namespace_id = ? AND name = ?",
            (self._target_id(put, value), put.body, put.revision, put.updated, self._namespace_id, put.key),
        )
        return self._log(ChangeKind.UPDATED, put, value, before)

    def delete(self, row: Row) -> EndpointRecord:
        was = _codec.endpoint_record(row)
        self._database.run("DELETE FROM endpoint WHERE namespace_id = ? AND name = ?", (self._namespace_id, row.key))
        return self._log(ChangeKind.DELETED, row, was.value, was)

    def replace(self, rows: Iterable[Row], wanted: Iterable[TargetedEndpoint]) -> None:
        """Make the rows what `wanted` says, touching what differs alone."""
        there = {row.key: row for row in rows}
        values = {_codec.to_key(value.endpoint.name): value for value in wanted}
        for key, row in there.items():
            if key not in values:
                self.delete(row)
        for key, value in values.items():
            row_there = there.get(key)
            if row_there is None:
                self.create(value, None)
            elif row_there.body != _codec.write_endpoint(value):
                self.update(row_there, value)

    def _target_id(self, row: Row, value: TargetedEndpoint) -> int | None:
        if not value.target:
            return None
        if value.target == self._namespace:
            raise OwnTargetError(
                f"endpoint '{value.endpoint.name}' of namespace '{self._namespace}' cannot have its own namespace as "
                "its target: name another one, or none for the namespace that graftd runs in"
            )
        try:
            return self._find_id(value.target)
        except NotFoundError as error:
            record = EndpointRecord(self._namespace, row.uid, value, _codec.version(row))
            raise TargetNotFoundError(str(error), namespace=value.target, record=record) from None

    def _log(
        self, kind: ChangeKind, row: Row, value: TargetedEndpoint, before: EndpointRecord | None
    ) -> EndpointRecord:
        record = EndpointRecord(self._namespace, row.uid, value, _codec.version(row))
        self._writer.log(kind, row, record, before)
        self._writer.touch_content(self._namespace_id)
        return record
