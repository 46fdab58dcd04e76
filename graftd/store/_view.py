# SPDX-License-Identifier: Apache-2.0
"""What can be read, all of it as of one moment."""

from __future__ import annotations

from typing import Any

from graftd.errors import NotFoundError, StoreError
from graftd.model import (
    AclRule,
    ChangePage,
    Direction,
    EndpointRecord,
    NamespaceContent,
    NamespaceRecord,
    Rule,
    RuleList,
    RuleRecord,
)
from graftd.store import _codec, _log
from graftd.store._codec import Kind, Row
from graftd.store._connection import Database

PAGE = 1000
EVERYTHING = -1  # SQLite's word for no limit

_LIST_WORDS = {Kind.INGRESS: "ingress rule", Kind.EGRESS: "egress rule", Kind.ACL: "ACL rule"}


class View:
    """Valid inside the `with` that it comes from. Each method raises a StoreError for what the
    database does, and NotFoundError for a namespace that is not there.

    Pages: `limit` of at least 1, in the order of names (of their bytes), after the name given,
    which need not exist any more: resources that come or go between two pages move no others.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ids: dict[str, int] = {}
        self._open = True

    @property
    def revision(self) -> int:
        """Of the last change; 0 before the first."""
        self._check_open()
        return _log.newest(self._database)

    @property
    def oldest_revision(self) -> int:
        """The oldest after which `changes` can tell all."""
        self._check_open()
        return _log.oldest(self._database)

    # Namespaces

    def find_namespace(self, name: str) -> NamespaceRecord | None:
        self._check_open()
        row = self._namespace_row(name)
        return None if row is None else _codec.namespace_record(row)

    def namespace(self, name: str) -> NamespaceRecord:
        found = self.find_namespace(name)
        if found is None:
            raise no_namespace(name)
        return found

    def namespaces(self, *, after: str = "", limit: int = PAGE) -> list[NamespaceRecord]:
        self._check_open()
        rows = self._database.rows(
            "SELECT name, body, revision, created, updated FROM namespace WHERE name > ? ORDER BY name LIMIT ?",
            (after, _positive(limit)),
        )
        return [_codec.namespace_record(Row(Kind.NAMESPACE, name, b"", 0, *rest)) for name, *rest in rows]

    def content_revision(self, name: str) -> int:
        """Of the last change to the namespace or anything in it, its identity excepted."""
        self._check_open()
        row = self._database.row("SELECT content_revision FROM namespace WHERE name = ?", (name,))
        if row is None:
            raise no_namespace(name)
        return int(row[0])

    def content(self, name: str) -> NamespaceContent:
        """All that the namespace holds, as apply takes it."""
        self._check_open()
        return NamespaceContent(
            endpoints=tuple(record.value for record in self._endpoints(name, b"", EVERYTHING)),
            ingress=self.rules(name, Direction.INGRESS).rules,
            egress=self.rules(name, Direction.EGRESS).rules,
            acl=self.acl(name).rules,
        )

    # Endpoints

    def find_endpoint(self, namespace: str, name: str) -> EndpointRecord | None:
        self._check_open()
        row = self._endpoint_row(namespace, name)
        return None if row is None else _codec.endpoint_record(row)

    def endpoint(self, namespace: str, name: str) -> EndpointRecord:
        """Raises NotFoundError for the endpoint as well."""
        found = self.find_endpoint(namespace, name)
        if found is None:
            raise no_endpoint(namespace, name)
        return found

    def endpoints(self, namespace: str, *, after: str = "", limit: int = PAGE) -> list[EndpointRecord]:
        self._check_open()
        return self._endpoints(namespace, _codec.to_key(after), _positive(limit))

    def count_endpoints(self, namespace: str) -> int:
        self._check_open()
        (count,) = self._database.one(
            "SELECT count(*) FROM endpoint WHERE namespace_id = ?", (self._namespace_id(namespace),)
        )
        return int(count)

    # Rules and ACL: lists, which are short and whose order matters, come whole

    def rules(self, namespace: str, direction: Direction) -> RuleList[Rule]:
        self._check_open()
        rows = self._list_rows(namespace, Kind.of(direction))
        return RuleList(tuple(_codec.rule_record(row) for row in rows))

    def rule(self, namespace: str, direction: Direction, rule_id: str) -> RuleRecord[Rule]:
        """Raises NotFoundError for the rule as well."""
        self._check_open()
        return _codec.rule_record(self._rule_row(namespace, Kind.of(direction), rule_id))

    def acl(self, namespace: str) -> RuleList[AclRule]:
        self._check_open()
        return RuleList(tuple(_codec.acl_record(row) for row in self._list_rows(namespace, Kind.ACL)))

    def acl_rule(self, namespace: str, rule_id: str) -> RuleRecord[AclRule]:
        """Raises NotFoundError for the rule as well."""
        self._check_open()
        return _codec.acl_record(self._rule_row(namespace, Kind.ACL, rule_id))

    # Changes

    def changes(self, *, after: int, limit: int = PAGE, namespace: str | None = None) -> ChangePage:
        """At most `limit` changes after a revision, of one namespace or of all.

        Raises RevisionGoneError if the log does not reach back to that revision, or never came to it.
        """
        self._check_open()
        return _log.read(self._database, after, _positive(limit), namespace)

    # Rows

    def _check_open(self) -> None:
        if not self._open:
            raise StoreError("a view of the store was used after its end: keep what was read, and not the view")

    def _close(self) -> None:
        self._open = False

    def _namespace_id(self, name: str) -> int:
        known = self._ids.get(name)
        if known is not None:
            return known
        row = self._database.row("SELECT id FROM namespace WHERE name = ?", (name,))
        if row is None:
            raise no_namespace(name)
        return self._ids.setdefault(name, int(row[0]))

    def _namespace_row(self, name: str) -> Row | None:
        row = self._database.row("SELECT body, revision, created, updated FROM namespace WHERE name = ?", (name,))
        return None if row is None else Row(Kind.NAMESPACE, name, b"", 0, *row)

    def _endpoint_row(self, namespace: str, name: str) -> Row | None:
        key = _codec.to_key(name)
        row = self._database.row(
            "SELECT body, revision, created, updated FROM endpoint WHERE namespace_id = ? AND name = ?",
            (self._namespace_id(namespace), key),
        )
        return None if row is None else Row(Kind.ENDPOINT, namespace, key, 0, *row)

    def _endpoint_rows(self, namespace: str, after: bytes, limit: int) -> list[Row]:
        rows = self._database.rows(
            "SELECT name, body, revision, created, updated FROM endpoint "
            "WHERE namespace_id = ? AND name > ? ORDER BY name LIMIT ?",
            (self._namespace_id(namespace), after, limit),
        )
        return [Row(Kind.ENDPOINT, namespace, key, 0, *rest) for key, *rest in rows]

    def _endpoints(self, namespace: str, after: bytes, limit: int) -> list[EndpointRecord]:
        return [_codec.endpoint_record(row) for row in self._endpoint_rows(namespace, after, limit)]

    def _list_rows(self, namespace: str, kind: Kind) -> list[Row]:
        rows = self._database.rows(
            "SELECT id, place, body, revision, created, updated FROM rule "
            "WHERE namespace_id = ? AND list = ? ORDER BY place",
            (self._namespace_id(namespace), kind),
        )
        return [_rule_row_of(kind, namespace, row) for row in rows]

    def _find_rule_row(self, namespace: str, kind: Kind, rule_id: str) -> Row | None:
        row = self._database.row(
            "SELECT id, place, body, revision, created, updated FROM rule "
            "WHERE namespace_id = ? AND list = ? AND id = ?",
            (self._namespace_id(namespace), kind, rule_id),
        )
        return None if row is None else _rule_row_of(kind, namespace, row)

    def _rule_row(self, namespace: str, kind: Kind, rule_id: str) -> Row:
        row = self._find_rule_row(namespace, kind, rule_id)
        if row is None:
            raise no_rule(namespace, kind, rule_id)
        return row


def _rule_row_of(kind: Kind, namespace: str, row: tuple[Any, ...]) -> Row:
    rule_id, *rest = row
    return Row(kind, namespace, rule_id.encode("ascii"), *rest)


def list_word(kind: Kind) -> str:
    return _LIST_WORDS[kind]


def no_namespace(name: str) -> NotFoundError:
    return NotFoundError(f"there is no namespace '{name}': create it first, or see which there are")


def no_endpoint(namespace: str, name: str) -> NotFoundError:
    return NotFoundError(f"namespace '{namespace}' has no endpoint '{name}': create it, or see which it has")


def no_rule(namespace: str, kind: Kind, rule_id: str) -> NotFoundError:
    return NotFoundError(f"namespace '{namespace}' has no {list_word(kind)} '{rule_id}': see which it has")


def _positive(limit: int) -> int:
    if limit < 1:
        raise ValueError(f"a page of {limit} holds nothing: ask for 1 at least")
    return limit
