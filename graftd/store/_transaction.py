# SPDX-License-Identifier: Apache-2.0
"""What can be changed, all of it or nothing."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Concatenate, ParamSpec, TypeVar

from graftd.errors import AlreadyExistsError, EtagMismatchError, NotEmptyError, StoreError
from graftd.model import (
    AclRule,
    Applied,
    ChangeKind,
    Direction,
    EndpointRecord,
    Namespace,
    NamespaceContent,
    NamespaceRecord,
    NetnsIdentity,
    Rule,
    RuleList,
    RuleRecord,
    TargetedEndpoint,
    check_rule_id,
)
from graftd.store import _codec, _log, _remembered
from graftd.store._codec import Kind, Row
from graftd.store._connection import Database
from graftd.store._endpoints import EndpointWriter
from graftd.store._lists import Item, ListWriter
from graftd.store._view import EVERYTHING, View, list_word, no_endpoint, no_namespace, no_rule
from graftd.store._writer import Writer

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_LISTS = (Kind.INGRESS, Kind.EGRESS, Kind.ACL)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is remembered. changes: of the log, at least 1. requests: creates with a request
    id, at least 1; request_age: for how long they are known at most."""

    changes: int = 50_000
    requests: int = 20_000
    request_age: timedelta = timedelta(hours=24)

    def __post_init__(self) -> None:
        if self.changes < 1 or self.requests < 1:
            raise ValueError("a store remembers 1 change and 1 request at least")


def _writes(
    method: Callable[Concatenate[Transaction, Parameters], Result],
) -> Callable[Concatenate[Transaction, Parameters], Result]:
    """An exception from it ends the transaction, whoever catches it: some of it may have been done."""

    @functools.wraps(method)
    def guarded(self: Transaction, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        self._check_usable()
        try:
            return method(self, *args, **kwargs)
        except BaseException as error:
            self._failure = self._failure or error
            raise

    return guarded


class Transaction(View):
    """A view that sees its own changes, and what changes it.

    Valid inside the `with` that it comes from; what it did is kept, and may be acknowledged,
    when that ends without an exception. After a method has raised nothing of it can be kept.

    etag, everywhere: "" or the resource's, else EtagMismatchError. missing_ok: whether a resource
    that is not there is as good as deleted, or a NotFoundError. request_id: "" or the request's
    own, of any form; one that is repeated gets the first result, also after that resource
    is changed or gone, and RequestIdReusedError if it asks for something else.
    Every method raises a StoreError for what the database does, NotFoundError for a namespace that
    is not there, and returns the resource as it is now. A resource that is as wanted is not changed.
    """

    def __init__(self, database: Database, limits: Limits, now: int) -> None:
        super().__init__(database)
        self._writer = Writer(database, now)
        self._limits = limits
        self._remembers = False
        self._failure: BaseException | None = None

    # Namespaces

    @_writes
    def create_namespace(self, namespace: Namespace, *, request_id: str = "") -> NamespaceRecord:
        """Raises AlreadyExistsError."""

        def create() -> Row:
            if self._namespace_row(namespace.name) is not None:
                raise AlreadyExistsError(f"namespace '{namespace.name}' exists: update it, or choose another name")
            row = self._writer.new(Kind.NAMESPACE, namespace.name, b"", body)
            self._database.run(
                "INSERT INTO namespace (name, body, revision, created, updated, content_revision) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (row.namespace, row.body, row.revision, row.created, row.updated, row.revision),
            )
            self._writer.log(ChangeKind.CREATED, row)
            return row

        body = _codec.write_namespace(namespace, None)
        return _codec.namespace_record(self._once(request_id, (Kind.NAMESPACE, namespace.name, body), create))

    @_writes
    def update_namespace(self, namespace: Namespace, *, etag: str = "") -> NamespaceRecord:
        """Make the namespace of that name what `namespace` says; its content stays."""
        row = self._existing_namespace_row(namespace.name)
        now = _codec.namespace_record(row)
        _check_etag(etag, now.version.etag, f"namespace '{namespace.name}'")
        body = _codec.write_namespace(namespace, now.identity)
        if body == row.body:
            return now
        put = self._writer.stamped(row._replace(body=body))
        self._database.run(
            "UPDATE namespace SET body = ?, revision = ?, updated = ? WHERE name = ?",
            (put.body, put.revision, put.updated, put.namespace),
        )
        self._writer.log_inside(ChangeKind.UPDATED, put, self._namespace_id(put.namespace))
        return _codec.namespace_record(put)

    @_writes
    def identify_namespace(self, name: str, identity: NetnsIdentity | None) -> NamespaceRecord:
        """Keep which network namespace the selector was found to select, None for none. This is a
        change in the log, and none of the version or the content's revision."""
        row = self._existing_namespace_row(name)
        now = _codec.namespace_record(row)
        if identity == now.identity:
            return now
        row = row._replace(body=_codec.write_namespace(now.namespace, identity))
        self._database.run("UPDATE namespace SET body = ? WHERE name = ?", (row.body, name))
        self._writer.log(ChangeKind.UPDATED, row)
        return _codec.namespace_record(row)

    @_writes
    def delete_namespace(
        self, name: str, *, etag: str = "", force: bool = False, missing_ok: bool = False
    ) -> NamespaceRecord | None:
        """The namespace as it was, None for one that was not there. force: with all that it
        holds, each a change of its own, the namespace last; else NotEmptyError."""
        row = self._namespace_row(name)
        if row is None:
            if missing_ok:
                return None
            raise no_namespace(name)
        was = _codec.namespace_record(row)
        _check_etag(etag, was.version.etag, f"namespace '{name}'")
        self._empty(name, force=force)
        self._database.run("DELETE FROM namespace WHERE name = ?", (name,))
        self._writer.log(ChangeKind.DELETED, row)
        self._ids.pop(name, None)
        return was

    # Endpoints

    @_writes
    def create_endpoint(self, namespace: str, value: TargetedEndpoint, *, request_id: str = "") -> EndpointRecord:
        """Raises AlreadyExistsError."""
        name = value.endpoint.name
        body = _codec.write_endpoint(value)

        def create() -> Row:
            if self._endpoint_row(namespace, name) is not None:
                raise AlreadyExistsError(
                    f"endpoint '{name}' of namespace '{namespace}' exists: update it, or choose another name"
                )
            return self._endpoint_writer(namespace).create(_codec.to_key(name), body)

        return _codec.endpoint_record(self._once(request_id, (Kind.ENDPOINT, namespace, body), create))

    @_writes
    def update_endpoint(self, namespace: str, value: TargetedEndpoint, *, etag: str = "") -> EndpointRecord:
        """Make the endpoint of that name what `value` says. Raises NotFoundError for it as well."""
        name = value.endpoint.name
        row = self._endpoint_row(namespace, name)
        if row is None:
            raise no_endpoint(namespace, name)
        _check_etag(etag, _codec.version(row).etag, f"endpoint '{name}' of namespace '{namespace}'")
        return _codec.endpoint_record(self._endpoint_writer(namespace).update(row, _codec.write_endpoint(value)))

    @_writes
    def delete_endpoint(
        self, namespace: str, name: str, *, etag: str = "", missing_ok: bool = False
    ) -> EndpointRecord | None:
        """The endpoint as it was, None for one that was not there. Rules may go on naming it."""
        row = self._endpoint_row(namespace, name)
        if row is None:
            if missing_ok:
                return None
            raise no_endpoint(namespace, name)
        was = _codec.endpoint_record(row)
        _check_etag(etag, was.version.etag, f"endpoint '{name}' of namespace '{namespace}'")
        self._endpoint_writer(namespace).delete(row)
        return was

    # Rules

    @_writes
    def add_rule(
        self, namespace: str, rule: Rule, *, rule_id: str = "", index: int | None = None, request_id: str = ""
    ) -> RuleRecord[Rule]:
        """Into the list of its direction, before the rule at `index`, or at the end; rule_id "" is one
        that is free. Raises AlreadyExistsError for the id, and for a rule of the same selector;
        IndexRangeError."""
        return _codec.rule_record(
            self._add(
                namespace, Kind.of(rule.direction), _item(rule), rule_id=rule_id, index=index, request_id=request_id
            )
        )

    @_writes
    def update_rule(
        self, namespace: str, rule_id: str, rule: Rule, *, index: int | None = None, etag: str = ""
    ) -> RuleRecord[Rule]:
        """Of the list of the rule's direction; to another place, if there is an index. Raises as
        add_rule, and NotFoundError for the rule as well."""
        return _codec.rule_record(
            self._update(namespace, Kind.of(rule.direction), rule_id, _item(rule), index=index, etag=etag)
        )

    @_writes
    def delete_rule(
        self, namespace: str, direction: Direction, rule_id: str, *, etag: str = "", missing_ok: bool = False
    ) -> RuleRecord[Rule] | None:
        """The rule as it was, None for one that was not there."""
        row = self._delete(namespace, Kind.of(direction), rule_id, etag, missing_ok=missing_ok)
        return None if row is None else _codec.rule_record(row)

    @_writes
    def replace_rules(
        self, namespace: str, direction: Direction, rules: Iterable[Rule], *, etag: str = ""
    ) -> RuleList[Rule]:
        """Make a whole list what `rules` says; a rule keeps its id as long as there is one of its
        selector, and its version as long as it is the same. etag: the list's."""
        wanted = tuple(rules)
        content = (
            NamespaceContent(ingress=wanted) if direction is Direction.INGRESS else NamespaceContent(egress=wanted)
        )
        _check_etag(etag, self.rules(namespace, direction).etag, f"the list of {direction.word} rules of '{namespace}'")
        self._replace(namespace, Kind.of(direction), [_item(rule) for rule in (*content.ingress, *content.egress)])
        return self.rules(namespace, direction)

    # ACL

    @_writes
    def add_acl_rule(
        self, namespace: str, rule: AclRule, *, rule_id: str = "", index: int | None = None, request_id: str = ""
    ) -> RuleRecord[AclRule]:
        """As add_rule; the order of the rules is the order of their trial."""
        return _codec.acl_record(
            self._add(namespace, Kind.ACL, _acl_item(rule), rule_id=rule_id, index=index, request_id=request_id)
        )

    @_writes
    def update_acl_rule(
        self, namespace: str, rule_id: str, rule: AclRule, *, index: int | None = None, etag: str = ""
    ) -> RuleRecord[AclRule]:
        """As update_rule."""
        return _codec.acl_record(self._update(namespace, Kind.ACL, rule_id, _acl_item(rule), index=index, etag=etag))

    @_writes
    def delete_acl_rule(
        self, namespace: str, rule_id: str, *, etag: str = "", missing_ok: bool = False
    ) -> RuleRecord[AclRule] | None:
        """As delete_rule."""
        row = self._delete(namespace, Kind.ACL, rule_id, etag, missing_ok=missing_ok)
        return None if row is None else _codec.acl_record(row)

    @_writes
    def replace_acl(self, namespace: str, rules: Iterable[AclRule], *, etag: str = "") -> RuleList[AclRule]:
        """As replace_rules; a rule keeps its id and version as long as there is one like it."""
        _check_etag(etag, self.acl(namespace).etag, f"the ACL of '{namespace}'")
        self._replace(namespace, Kind.ACL, [_acl_item(rule) for rule in rules])
        return self.acl(namespace)

    # All of a namespace

    @_writes
    def apply(self, namespace: Namespace, content: NamespaceContent, *, content_revision: int | None = None) -> Applied:
        """Make a namespace, new or there, and all that it holds what is said, touching what differs alone.

        content_revision: what View.content_revision says, 0 for a namespace that is to be new; if
        it says something else by now, EtagMismatchError.
        """
        before = dict(self._writer.counts)
        there = self.find_namespace(namespace.name) is not None
        if content_revision is not None:
            now = self.content_revision(namespace.name) if there else 0
            if now != content_revision:
                raise EtagMismatchError(
                    f"namespace '{namespace.name}' is at revision {now} and not {content_revision}: "
                    "read it again, and apply what is wanted of it now"
                )
        if there:
            self.update_namespace(namespace)
        else:
            self.create_namespace(namespace)
        self._endpoint_writer(namespace.name).replace(
            self._endpoint_rows(namespace.name, b"", EVERYTHING),
            {_codec.to_key(one.endpoint.name): _codec.write_endpoint(one) for one in content.endpoints},
        )
        self._replace(namespace.name, Kind.INGRESS, [_item(rule) for rule in content.ingress])
        self._replace(namespace.name, Kind.EGRESS, [_item(rule) for rule in content.egress])
        self._replace(namespace.name, Kind.ACL, [_acl_item(rule) for rule in content.acl])
        done = {kind: count - before[kind] for kind, count in self._writer.counts.items()}
        return Applied(
            done[ChangeKind.CREATED], done[ChangeKind.UPDATED], done[ChangeKind.DELETED], self._writer.revision
        )

    # The end, which is the store's to call

    def _finish(self) -> bool:
        """Whether there is something to commit. Raises StoreError if a method has raised."""
        if self._failure is not None:
            raise StoreError(
                f"nothing of the transaction was kept, for a part of it failed before its end: {self._failure}"
            ) from self._failure
        if self._writer.touched:
            _log.trim(self._database, self._limits.changes)
        if self._remembers:
            _remembered.trim(self._database, self._limits.requests, self._known_since())
        return self._writer.touched

    # Inside

    def _check_usable(self) -> None:
        self._check_open()
        if self._failure is not None:
            raise StoreError(f"the transaction has ended, for a part of it failed: {self._failure}")

    def _known_since(self) -> int:
        return self._writer.now - self._limits.request_age // timedelta(microseconds=1)

    def _once(self, request_id: str, asked: tuple[object, ...], create: Callable[[], Row]) -> Row:
        """What `create` returns, or returned when the same request came before."""
        if not request_id:
            return create()
        fingerprint = _remembered.fingerprint(asked)
        known = _remembered.recall(self._database, request_id, fingerprint, self._known_since())
        if known is not None:
            return known
        row = create()
        _remembered.remember(self._database, request_id, fingerprint, self._writer.now, row)
        self._remembers = True
        return row

    def _existing_namespace_row(self, name: str) -> Row:
        row = self._namespace_row(name)
        if row is None:
            raise no_namespace(name)
        return row

    def _endpoint_writer(self, namespace: str) -> EndpointWriter:
        return EndpointWriter(self._writer, namespace, self._namespace_id(namespace))

    def _list_writer(self, namespace: str, kind: Kind) -> ListWriter:
        return ListWriter(self._writer, namespace, self._namespace_id(namespace), kind)

    def _empty(self, name: str, *, force: bool) -> None:
        endpoints = self._endpoint_rows(name, b"", EVERYTHING if force else 1)
        lists = {kind: self._list_rows(name, kind) for kind in _LISTS}
        if not force and (endpoints or any(lists.values())):
            raise NotEmptyError(f"namespace '{name}' holds endpoints or rules: delete them first, or all with force")
        self._endpoint_writer(name).replace(endpoints, {})
        for kind, rows in lists.items():
            self._list_writer(name, kind).replace(rows, [])

    def _add(self, namespace: str, kind: Kind, item: Item, *, rule_id: str, index: int | None, request_id: str) -> Row:
        if rule_id:
            check_rule_id(rule_id)

        def create() -> Row:
            return self._list_writer(namespace, kind).add(self._list_rows(namespace, kind), item, rule_id, index)

        return self._once(request_id, (kind, namespace, rule_id, index, item.body), create)

    def _update(self, namespace: str, kind: Kind, rule_id: str, item: Item, *, index: int | None, etag: str) -> Row:
        row = self._rule_row(namespace, kind, rule_id)
        _check_etag(etag, _codec.version(row).etag, _rule_words(namespace, kind, rule_id))
        return self._list_writer(namespace, kind).update(self._list_rows(namespace, kind), row, item, index)

    def _delete(self, namespace: str, kind: Kind, rule_id: str, etag: str, *, missing_ok: bool) -> Row | None:
        row = self._find_rule_row(namespace, kind, rule_id)
        if row is None:
            if missing_ok:
                return None
            raise no_rule(namespace, kind, rule_id)
        _check_etag(etag, _codec.version(row).etag, _rule_words(namespace, kind, rule_id))
        self._list_writer(namespace, kind).delete(row)
        return row

    def _replace(self, namespace: str, kind: Kind, items: list[Item]) -> None:
        self._list_writer(namespace, kind).replace(self._list_rows(namespace, kind), items)


def _item(rule: Rule) -> Item:
    return Item(_codec.write_rule(rule), _codec.rule_selector(rule))


def _acl_item(rule: AclRule) -> Item:
    return Item(_codec.write_acl_rule(rule), None)


def _rule_words(namespace: str, kind: Kind, rule_id: str) -> str:
    return f"{list_word(kind)} '{rule_id}' of namespace '{namespace}'"


def _check_etag(etag: str, now: str, what: str) -> None:
    if etag and etag != now:
        raise EtagMismatchError(
            f"{what} was changed since its etag was read: read it again, and repeat the change on what it is now"
        )
