# SPDX-License-Identifier: Apache-2.0
"""What can be read, all of it as of one moment."""

from __future__ import annotations

from graftd.errors import NotFoundError, StoreError
from graftd.model import (
    AclRule,
    ChangePage,
    EndpointRecord,
    Freeze,
    Identified,
    NamespaceContent,
    NamespaceRecord,
    NetnsIdentity,
    Rule,
    RuleRecord,
    Selector,
)
from graftd.store import _codec, _former, _log, _remembered
from graftd.store._codec import Kind, Row
from graftd.store._connection import Database
from graftd.store._remembered import Request

PAGE = 1000
ALL = 2**62  # a limit that no namespace reaches
EVERYTHING = -1  # SQLite's word for no limit

_RECORD = "uid, body, revision, created, updated"


class View:
    """Valid inside the `with` that it comes from. Each method raises a StoreError for what the
    database does, and NotFoundError for a namespace that is not there; what begins with find_ answers None for
    the resource itself.

    Pages: `limit` of at least 1, in the order of names (of their bytes), after the name given,
    which need not exist any more: resources that come or go between two pages move no others.
    """

    def __init__(self, database: Database, known_since: int) -> None:
        """known_since: microseconds; of older requests nothing is recalled."""
        self._database = database
        self._known_since = known_since
        self._ids: dict[str, int] = {}
        self._open = True

    # The whole

    @property
    def revision(self) -> int:
        """Of the last change; 0 before the first."""
        self._check_open()
        return _log.newest(self._database)

    @property
    def oldest_revision(self) -> int:
        """The oldest after which all changes can be told."""
        self._check_open()
        return _log.oldest(self._database)

    @property
    def schema_version(self) -> int:
        """The number of the database's schema."""
        self._check_open()
        (version,) = self._database.one("PRAGMA user_version")
        return int(version)

    @property
    def history_id(self) -> str:
        """A UUID of the sequence of revisions: made with the database, another one after a restore."""
        self._check_open()
        (history,) = self._database.one("SELECT history FROM meta")
        return str(history)

    @property
    def secret(self) -> bytes:
        """32 random bytes, made with the database, that are told to nobody."""
        self._check_open()
        (secret,) = self._database.one("SELECT secret FROM meta")
        return bytes(secret)

    @property
    def freeze(self) -> Freeze | None:
        """The node's."""
        self._check_open()
        (freeze,) = self._database.one("SELECT freeze FROM meta")
        return _codec.read_freeze(freeze)

    def counts(self) -> tuple[int, int, int, int]:
        """How many namespaces, endpoints, rules and ACL rules there are in all."""
        self._check_open()
        namespaces, endpoints, rules, acl_rules = self._database.one(
            "SELECT (SELECT count(*) FROM namespace), (SELECT count(*) FROM endpoint), "
            "(SELECT count(*) FROM rule), (SELECT count(*) FROM acl)"
        )
        return namespaces, endpoints, rules, acl_rules

    def recall(self, caller: str, request_id: str, fingerprint: bytes) -> bytes | None:
        """The answer that a request got, None for one that was not served or is forgotten.

        Raises RequestIdReusedError if it came with another fingerprint.
        """
        self._check_open()
        return _remembered.recall(self._database, Request(caller, request_id, fingerprint), self._known_since)

    def former(self) -> list[tuple[NetnsIdentity, Selector]]:
        """Network namespaces that a registered one was, each with what selected it. One of them may be a registered
        one's again."""
        self._check_open()
        return _former.known(self._database)

    def aborting(self) -> set[NetnsIdentity]:
        """Those of `former` whose live sockets are to end when their tables are emptied."""
        self._check_open()
        return _former.aborting(self._database)

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
            f"SELECT name, {_RECORD} FROM namespace WHERE name > ? ORDER BY name LIMIT ?",  # noqa: S608
            (after, _positive(limit)),
        )
        return [_codec.namespace_record(Row(Kind.NAMESPACE, name, b"", uid, 0, *rest)) for name, uid, *rest in rows]

    def content(self, name: str) -> NamespaceContent:
        """All that the namespace holds, as apply takes it: endpoints and rules by name, the ACL in order."""
        self._check_open()
        return NamespaceContent(
            endpoints=tuple(_codec.endpoint_record(row).value for row in self._endpoint_rows(name, b"", EVERYTHING)),
            rules=tuple(
                Identified(record.id, record.rule)
                for record in map(_codec.rule_record, self._rule_rows(name, "", EVERYTHING))
            ),
            acl=tuple(Identified(record.id, record.rule) for record in self.acl(name)),
        )

    def content_etag(self, name: str) -> str:
        """Opaque; differs whenever the namespace or anything in it does, its identity excepted."""
        return _codec.etag(*self._touched(name, "content"))

    def targeting(self, name: str) -> tuple[int, tuple[str, str] | None]:
        """How many endpoints of other namespaces have this one as their target, and the namespace and name of one."""
        self._check_open()
        target_id = self._namespace_id(name)
        (count,) = self._database.one("SELECT count(*) FROM endpoint WHERE target_id = ?", (target_id,))
        row = self._database.row(
            "SELECT namespace.name, endpoint.name FROM endpoint JOIN namespace ON namespace.id = namespace_id "
            "WHERE target_id = ? LIMIT 1",
            (target_id,),
        )
        return count, None if row is None else (row[0], _codec.to_name(row[1]))

    def sources(self, name: str) -> list[tuple[str, str]]:
        """The endpoints of other namespaces that have this one as their target: each one's namespace and name."""
        self._check_open()
        rows = self._database.rows(
            "SELECT namespace.name, endpoint.name FROM endpoint JOIN namespace ON namespace.id = namespace_id "
            "WHERE target_id = ? ORDER BY namespace.name, endpoint.name",
            (self._namespace_id(name),),
        )
        return [(namespace, _codec.to_name(key)) for namespace, key in rows]

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
        rows = self._endpoint_rows(namespace, _codec.to_key(after), _positive(limit))
        return [_codec.endpoint_record(row) for row in rows]

    def count_endpoints(self, namespace: str) -> int:
        self._check_open()
        (count,) = self._database.one(
            "SELECT count(*) FROM endpoint WHERE namespace_id = ?", (self._namespace_id(namespace),)
        )
        return int(count)

    # Rules

    def find_rule(self, namespace: str, rule_id: str) -> RuleRecord[Rule] | None:
        self._check_open()
        row = self._rule_row(namespace, rule_id)
        return None if row is None else _codec.rule_record(row)

    def rule(self, namespace: str, rule_id: str) -> RuleRecord[Rule]:
        """Raises NotFoundError for the rule as well."""
        found = self.find_rule(namespace, rule_id)
        if found is None:
            raise no_rule(namespace, rule_id)
        return found

    def rules(self, namespace: str, *, after: str = "", limit: int = PAGE) -> list[RuleRecord[Rule]]:
        """Of both directions, by id."""
        self._check_open()
        return [_codec.rule_record(row) for row in self._rule_rows(namespace, after, _positive(limit))]

    # The ACL, whose order matters, comes whole

    def find_acl_rule(self, namespace: str, rule_id: str) -> RuleRecord[AclRule] | None:
        self._check_open()
        row = self._acl_row(namespace, rule_id)
        return None if row is None else _codec.acl_record(row)

    def acl_rule(self, namespace: str, rule_id: str) -> RuleRecord[AclRule]:
        """Raises NotFoundError for the rule as well."""
        found = self.find_acl_rule(namespace, rule_id)
        if found is None:
            raise no_acl_rule(namespace, rule_id)
        return found

    def acl(self, namespace: str) -> tuple[RuleRecord[AclRule], ...]:
        """In order."""
        self._check_open()
        return tuple(_codec.acl_record(row) for row in self._acl_rows(namespace))

    def acl_etag(self, namespace: str) -> str:
        """Opaque; differs whenever a rule of the ACL or their order does."""
        return _codec.etag(*self._touched(namespace, "acl"))

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

    def _touched(self, name: str, what: str) -> tuple[int, int]:
        self._check_open()
        row = self._database.row(f"SELECT {what}_revision, {what}_updated FROM namespace WHERE name = ?", (name,))  # noqa: S608
        if row is None:
            raise no_namespace(name)
        revision, updated = row
        return revision, updated

    def _namespace_row(self, name: str) -> Row | None:
        row = self._database.row(f"SELECT {_RECORD} FROM namespace WHERE name = ?", (name,))  # noqa: S608
        if row is None:
            return None
        uid, *rest = row
        return Row(Kind.NAMESPACE, name, b"", uid, 0, *rest)

    def _endpoint_row(self, namespace: str, name: str) -> Row | None:
        key = _codec.to_key(name)
        row = self._database.row(
            f"SELECT {_RECORD} FROM endpoint WHERE namespace_id = ? AND name = ?",  # noqa: S608
            (self._namespace_id(namespace), key),
        )
        if row is None:
            return None
        uid, *rest = row
        return Row(Kind.ENDPOINT, namespace, key, uid, 0, *rest)

    def _endpoint_rows(self, namespace: str, after: bytes, limit: int) -> list[Row]:
        rows = self._database.rows(
            f"SELECT name, {_RECORD} FROM endpoint "  # noqa: S608
            "WHERE namespace_id = ? AND name > ? ORDER BY name LIMIT ?",
            (self._namespace_id(namespace), after, limit),
        )
        return [Row(Kind.ENDPOINT, namespace, key, uid, 0, *rest) for key, uid, *rest in rows]

    def _rule_row(self, namespace: str, rule_id: str) -> Row | None:
        row = self._database.row(
            f"SELECT {_RECORD} FROM rule WHERE namespace_id = ? AND id = ?",  # noqa: S608
            (self._namespace_id(namespace), rule_id),
        )
        if row is None:
            return None
        uid, *rest = row
        return Row(Kind.RULE, namespace, rule_id.encode("ascii"), uid, 0, *rest)

    def _rule_rows(self, namespace: str, after: str, limit: int) -> list[Row]:
        rows = self._database.rows(
            f"SELECT id, {_RECORD} FROM rule WHERE namespace_id = ? AND id > ? ORDER BY id LIMIT ?",  # noqa: S608
            (self._namespace_id(namespace), after, limit),
        )
        return [Row(Kind.RULE, namespace, rule_id.encode("ascii"), uid, 0, *rest) for rule_id, uid, *rest in rows]

    def _acl_row(self, namespace: str, rule_id: str) -> Row | None:
        row = self._database.row(
            f"SELECT place, {_RECORD} FROM acl WHERE namespace_id = ? AND id = ?",  # noqa: S608
            (self._namespace_id(namespace), rule_id),
        )
        if row is None:
            return None
        place, uid, *rest = row
        return Row(Kind.ACL, namespace, rule_id.encode("ascii"), uid, place, *rest)

    def _acl_rows(self, namespace: str) -> list[Row]:
        rows = self._database.rows(
            f"SELECT id, place, {_RECORD} FROM acl WHERE namespace_id = ? ORDER BY place",  # noqa: S608
            (self._namespace_id(namespace),),
        )
        return [
            Row(Kind.ACL, namespace, rule_id.encode("ascii"), uid, place, *rest) for rule_id, place, uid, *rest in rows
        ]


class Snapshot(View):
    """What is kept, with its log."""

    def changes(self, *, after: int, limit: int = PAGE, namespace: str | None = None) -> ChangePage:
        """The changes of the revisions after one, of one namespace or of all: of whole revisions, at
        most `limit` unless one revision alone has more, which then comes whole.

        Raises RevisionGoneError if the log does not reach back to that revision, or never came to it.
        """
        self._check_open()
        return _log.read(self._database, after, _positive(limit), namespace)


def no_namespace(name: str) -> NotFoundError:
    return NotFoundError(
        f"there is no namespace '{name}': create it first, or see which there are",
        kind="namespace",
        namespace=name,
        id_=name,
    )


def no_endpoint(namespace: str, name: str) -> NotFoundError:
    return NotFoundError(
        f"namespace '{namespace}' has no endpoint '{name}': create it, or see which it has",
        kind="endpoint",
        namespace=namespace,
        id_=name,
    )


def no_rule(namespace: str, rule_id: str) -> NotFoundError:
    return NotFoundError(
        f"namespace '{namespace}' has no rule '{rule_id}': create it, or see which it has",
        kind="rule",
        namespace=namespace,
        id_=rule_id,
    )


def no_acl_rule(namespace: str, rule_id: str) -> NotFoundError:
    return NotFoundError(
        f"namespace '{namespace}' has no ACL rule '{rule_id}': create it, or see which it has",
        kind="acl rule",
        namespace=namespace,
        id_=rule_id,
    )


def _positive(limit: int) -> int:
    if limit < 1:
        raise ValueError(f"a page of {limit} holds nothing: ask for 1 at least")
    return limit
