# SPDX-License-Identifier: Apache-2.0
"""What can be changed, all of it or nothing."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Concatenate, ParamSpec, TypeVar

from graftd.errors import (
    AlreadyExistsError,
    EtagMismatchError,
    ImmutableFieldError,
    NamespaceInUseError,
    NotEmptyError,
    SelectorTakenError,
    StoreError,
)
from graftd.model import (
    AclRule,
    Change,
    ChangeKind,
    EndpointRecord,
    Freeze,
    Identified,
    Namespace,
    NamespaceContent,
    NamespaceRecord,
    NetnsIdentity,
    Rule,
    RuleRecord,
    Selector,
    TargetedEndpoint,
)
from graftd.store import _codec, _former, _remembered
from graftd.store._acl import AclWriter
from graftd.store._codec import Kind, Row
from graftd.store._connection import Database
from graftd.store._endpoints import EndpointWriter
from graftd.store._remembered import Request
from graftd.store._rules import RuleWriter
from graftd.store._view import EVERYTHING, View, no_acl_rule, no_endpoint, no_namespace, no_rule
from graftd.store._writer import Writer

_MICROSECOND = timedelta(microseconds=1)

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is remembered. changes: of the log, at least 1; the newest revision is kept whatever
    its size. requests: at least 1, of at most so many bytes of answers in all; request_age: for how long."""

    changes: int = 50_000
    requests: int = 20_000
    request_bytes: int = 32 * 2**20
    request_age: timedelta = timedelta(hours=1)

    def __post_init__(self) -> None:
        if self.changes < 1 or self.requests < 1:
            raise ValueError("a store remembers 1 change and 1 request at least")

    def known_since(self, now: int) -> int:
        """Microseconds: requests from then on are known."""
        return now - self.request_age // _MICROSECOND


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

    etag, everywhere: "" or the resource's, else EtagMismatchError: what is not there has none.
    missing_ok: whether a resource that is not there is as good as deleted, or a NotFoundError.
    Every method raises a StoreError for what the database does, NotFoundError for a namespace that
    is not there, and returns the resource as it is now. A resource that is as wanted is not changed.
    What a namespace was and may be no more, becomes one of `former`.
    """

    def __init__(self, database: Database, limits: Limits, now: int, new_uid: Callable[[], str]) -> None:
        super().__init__(database, limits.known_since(now))
        self._writer = Writer(database, now, new_uid)
        self._limits = limits
        self._remembers = False
        self._keeps_unlogged = False
        self._failure: BaseException | None = None

    @property
    def revision(self) -> int:
        """What all changes of the transaction have; of no use where it made none."""
        self._check_open()
        return self._writer.revision

    @property
    def changes(self) -> tuple[Change, ...]:
        """Those made so far, in order, each with `before`."""
        self._check_open()
        return tuple(self._writer.changes)

    # The node

    @_writes
    def set_freeze(self, freeze: Freeze | None) -> None:
        """Keep whether new grafts are denied everywhere. This is no change in the log."""
        if freeze != self.freeze:
            self._database.run("UPDATE meta SET freeze = ?", (_codec.write_freeze(freeze),))
            self._keeps_unlogged = True

    @_writes
    def forget_former(self, identities: Sequence[NetnsIdentity]) -> None:
        """Drop these from `former`: their tables are empty, or somebody's. This is no change in the log."""
        _former.forget(self._database, identities)
        self._keeps_unlogged = True

    @_writes
    def abort_former(self, identities: Sequence[NetnsIdentity]) -> None:
        """Let the live sockets of these end when their tables are emptied. This is no change in the log."""
        _former.abort(self._database, identities)

    @_writes
    def drop_senseless_former(self) -> int:
        """Drop what of `former` makes no sense, for which reading it raises StoreDamagedError; how many. This is no
        change in the log."""
        dropped = _former.drop_senseless(self._database)
        self._keeps_unlogged = self._keeps_unlogged or dropped > 0
        return dropped

    @_writes
    def remember(self, caller: str, request_id: str, fingerprint: bytes, answer: bytes) -> None:
        """Keep the answer of a request that `recall` did not know. caller, request_id: of any form, though UTF-8."""
        request = Request(caller, request_id, fingerprint)
        _remembered.remember(self._database, request, self._writer.now, answer)
        self._remembers = True

    @_writes
    def forget(self, caller: str, request_id: str) -> None:
        """Drop a remembered answer, of a change that was taken back."""
        _remembered.forget(self._database, caller, request_id)
        self._remembers = True

    # Namespaces

    @_writes
    def create_namespace(self, namespace: Namespace, *, etag: str = "") -> NamespaceRecord:
        """Raises AlreadyExistsError for the name, SelectorTakenError for the selector."""
        name = namespace.name
        _check_etag(etag, "", f"namespace '{name}'")
        if self._namespace_row(name) is not None:
            raise AlreadyExistsError(
                f"namespace '{name}' exists: update it, or choose another name",
                kind="namespace",
                namespace=name,
                id_=name,
            )
        self._check_selector(namespace.selector, name)
        row = self._writer.new(Kind.NAMESPACE, name, b"", _codec.write_namespace(namespace, None))
        touched = (row.revision, row.updated)
        self._database.run(
            "INSERT INTO namespace (name, selector, uid, body, revision, created, updated, "
            "content_revision, content_updated, acl_revision, acl_updated) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                name,
                _codec.namespace_selector(namespace.selector),
                row.uid,
                row.body,
                row.revision,
                row.created,
                row.updated,
                *touched,
                *touched,
            ),
        )
        record = NamespaceRecord(row.uid, namespace, None, _codec.version(row))
        self._writer.log(ChangeKind.CREATED, row, record, None)
        return record

    @_writes
    def update_namespace(self, namespace: Namespace, *, etag: str = "") -> NamespaceRecord:
        """Make the namespace of that name what `namespace` says; its content stays. Raises SelectorTakenError, and
        ImmutableFieldError for another `transient`."""
        row = self._existing_namespace_row(namespace.name)
        before = _codec.namespace_record(row)
        _check_etag(etag, before.version.etag, f"namespace '{namespace.name}'")
        if namespace.transient != before.namespace.transient:
            raise ImmutableFieldError(
                f"namespace '{namespace.name}' was {'' if before.namespace.transient else 'not '}made transient, and "
                "that cannot be changed: leave it as it is, or delete the namespace and create it anew",
                field="transient",
            )
        put = self._writer.changed(row, _codec.write_namespace(namespace, before.identity))
        if put.body == row.body:
            return before
        self._check_selector(namespace.selector, namespace.name)
        self._database.run(
            "UPDATE namespace SET selector = ?, body = ?, revision = ?, updated = ? WHERE name = ?",
            (
                _codec.namespace_selector(namespace.selector),
                put.body,
                put.revision,
                put.updated,
                put.namespace,
            ),
        )
        if before.identity is not None and before.namespace.selector != namespace.selector:
            _former.add(self._database, before.identity, before.namespace.selector)
        record = NamespaceRecord(put.uid, namespace, before.identity, _codec.version(put))
        self._writer.log(ChangeKind.UPDATED, put, record, before)
        self._writer.touch_content(self._namespace_id(namespace.name))
        return record

    @_writes
    def identify_namespace(self, name: str, identity: NetnsIdentity | None) -> NamespaceRecord:
        """Keep which network namespace the selector was found to select, None for none. This is a
        change in the log, and none of the version or the content's revision."""
        row = self._existing_namespace_row(name)
        before = _codec.namespace_record(row)
        if identity == before.identity:
            return before
        row = row._replace(body=_codec.write_namespace(before.namespace, identity))
        self._database.run("UPDATE namespace SET body = ? WHERE name = ?", (row.body, name))
        if before.identity is not None:
            _former.add(self._database, before.identity, before.namespace.selector)
        record = NamespaceRecord(row.uid, before.namespace, identity, before.version)
        self._writer.log(ChangeKind.UPDATED, row, record, before)
        return record

    @_writes
    def delete_namespace(
        self, name: str, *, etag: str = "", force: bool = False, missing_ok: bool = False
    ) -> NamespaceRecord | None:
        """The namespace as it was, None for one that was not there. force: with all that it
        holds, each a change of its own, the namespace last; else NotEmptyError. NamespaceInUseError where it is
        the target of other namespaces' endpoints, whatever force says; but with a transient one it deletes them."""
        row = self._namespace_row(name)
        if row is None:
            if missing_ok:
                return None
            raise no_namespace(name)
        was = _codec.namespace_record(row)
        _check_etag(etag, was.version.etag, f"namespace '{name}'")
        if force and was.namespace.transient:
            for source, endpoint in self.sources(name):
                self.delete_endpoint(source, endpoint)
        count, example = self.targeting(name)
        if example is not None:
            raise NamespaceInUseError(
                f"namespace '{name}' is the target of {count} {'endpoint' if count == 1 else 'endpoints'} of other "
                f"namespaces, as of '{example[1]}' of '{example[0]}': delete or change them first",
                count=count,
                example=example,
            )
        self._empty(name, force=force)
        self._database.run("DELETE FROM namespace WHERE name = ?", (name,))
        if was.identity is not None:
            _former.add(self._database, was.identity, was.namespace.selector)
        self._writer.log(ChangeKind.DELETED, row, was, was)
        self._ids.pop(name, None)
        return was

    # Endpoints

    @_writes
    def create_endpoint(self, namespace: str, value: TargetedEndpoint, *, etag: str = "") -> EndpointRecord:
        """Raises AlreadyExistsError, NotFoundError for a target that is no namespace, OwnTargetError."""
        _check_etag(etag, "", f"endpoint '{value.endpoint.name}' of namespace '{namespace}'")
        there = self._endpoint_row(namespace, value.endpoint.name)
        return self._endpoint_writer(namespace).create(value, there)

    @_writes
    def update_endpoint(self, namespace: str, value: TargetedEndpoint, *, etag: str = "") -> EndpointRecord:
        """Make the endpoint of that name what `value` says. Raises NotFoundError for it and for its
        target, OwnTargetError."""
        row = self._existing_endpoint_row(namespace, value.endpoint.name, etag)
        return self._endpoint_writer(namespace).update(row, value)

    @_writes
    def delete_endpoint(
        self, namespace: str, name: str, *, etag: str = "", missing_ok: bool = False
    ) -> EndpointRecord | None:
        """The endpoint as it was, None for one that was not there. Rules may go on naming it."""
        if missing_ok and self._endpoint_row(namespace, name) is None:
            return None
        return self._endpoint_writer(namespace).delete(self._existing_endpoint_row(namespace, name, etag))

    # Rules

    @_writes
    def add_rule(self, namespace: str, rule: Rule, *, rule_id: str = "", etag: str = "") -> RuleRecord[Rule]:
        """rule_id "": one that is free. Raises AlreadyExistsError for the id, SelectorTakenError."""
        _check_etag(etag, "", f"rule '{rule_id}' of namespace '{namespace}'")
        return self._rule_writer(namespace).add(Identified(rule_id, rule))

    @_writes
    def update_rule(self, namespace: str, rule_id: str, rule: Rule, *, etag: str = "") -> RuleRecord[Rule]:
        """Raises NotFoundError for the rule as well, SelectorTakenError, and ImmutableFieldError for another
        direction."""
        return self._rule_writer(namespace).update(self._existing_rule_row(namespace, rule_id, etag), rule)

    @_writes
    def delete_rule(
        self, namespace: str, rule_id: str, *, etag: str = "", missing_ok: bool = False
    ) -> RuleRecord[Rule] | None:
        """The rule as it was, None for one that was not there."""
        if missing_ok and self._rule_row(namespace, rule_id) is None:
            return None
        return self._rule_writer(namespace).delete(self._existing_rule_row(namespace, rule_id, etag))

    # ACL

    @_writes
    def add_acl_rule(
        self, namespace: str, rule: AclRule, *, rule_id: str = "", index: int | None = None, etag: str = ""
    ) -> RuleRecord[AclRule]:
        """Before the rule at `index`, or at the end; rule_id "" is one that is free. Raises
        AlreadyExistsError for the id, IndexRangeError."""
        _check_etag(etag, "", f"ACL rule '{rule_id}' of namespace '{namespace}'")
        return self._acl_writer(namespace).add(Identified(rule_id, rule), index)

    @_writes
    def update_acl_rule(self, namespace: str, rule_id: str, rule: AclRule, *, etag: str = "") -> RuleRecord[AclRule]:
        """Where it stands. Raises NotFoundError for the rule as well."""
        return self._acl_writer(namespace).update(self._existing_acl_row(namespace, rule_id, etag), rule)

    @_writes
    def move_acl_rule(self, namespace: str, rule_id: str, index: int, *, etag: str = "") -> RuleRecord[AclRule]:
        """Give a rule the place `index`; its version stays. Raises NotFoundError for the rule as well,
        IndexRangeError."""
        return self._acl_writer(namespace).move(self._existing_acl_row(namespace, rule_id, etag), index)

    @_writes
    def delete_acl_rule(
        self, namespace: str, rule_id: str, *, etag: str = "", missing_ok: bool = False
    ) -> RuleRecord[AclRule] | None:
        """The rule as it was, None for one that was not there."""
        if missing_ok and self._acl_row(namespace, rule_id) is None:
            return None
        return self._acl_writer(namespace).delete(self._existing_acl_row(namespace, rule_id, etag))

    # All of a namespace

    @_writes
    def apply(
        self,
        namespace: Namespace | None,
        name: str,
        content: NamespaceContent,
        *,
        etag: str = "",
        content_etag: str = "",
    ) -> NamespaceRecord:
        """Make a namespace what is said, and all that it holds, touching what differs alone.

        namespace: None leaves the namespace itself as it is; else it is of that name, and created where it
        is not there. content_etag: "" or View.content_etag's, else EtagMismatchError.
        Raises what the changes one by one raise.
        """
        if namespace is not None and namespace.name != name:
            raise ValueError(f"namespace '{namespace.name}' cannot be applied as '{name}': give both one name")
        is_there = self._namespace_row(name) is not None
        if content_etag and is_there:
            _check_etag(content_etag, self.content_etag(name), f"namespace '{name}' or something in it")
        elif content_etag:
            _check_etag(content_etag, "", f"namespace '{name}'")
        if namespace is not None:
            put = self.update_namespace if is_there else self.create_namespace
            put(namespace, etag=etag)
        if content.endpoints is not None:
            rows = self._endpoint_rows(name, b"", EVERYTHING)
            self._endpoint_writer(name).replace(rows, content.endpoints)
        if content.rules is not None:
            self._rule_writer(name).replace(self._rule_rows(name, "", EVERYTHING), content.rules)
        if content.acl is not None:
            self._acl_writer(name).replace(self._acl_rows(name), content.acl)
        return self.namespace(name)

    # The end, which is the store's to call

    def _finish(self) -> bool:
        """Whether there is something to commit. Raises StoreError if a method has raised."""
        if self._failure is not None:
            raise StoreError(
                f"nothing of the transaction was kept, for a part of it failed before its end: {self._failure}"
            ) from self._failure
        if self._writer.changes:
            self._writer.trim_log(self._limits.changes)
        if self._remembers:
            _remembered.trim(
                self._database,
                kept=self._limits.requests,
                kept_bytes=self._limits.request_bytes,
                since=self._known_since,
            )
        return bool(self._writer.changes) or self._remembers or self._keeps_unlogged

    # Inside

    def _check_usable(self) -> None:
        self._check_open()
        if self._failure is not None:
            raise StoreError(f"the transaction has ended, for a part of it failed: {self._failure}")

    def _check_selector(self, selector: Selector, but_name: str) -> None:
        other = self._database.row(
            "SELECT name FROM namespace WHERE selector = ? AND name <> ?",
            (_codec.namespace_selector(selector), but_name),
        )
        if other is not None:
            raise SelectorTakenError(
                f"namespace '{other[0]}' has the selector {selector.kind.value} '{selector.value}' already: "
                "use that one, or delete it",
                kind="namespace",
                namespace=other[0],
                id_=other[0],
                wanted_by=but_name,
            )

    def _existing_namespace_row(self, name: str) -> Row:
        row = self._namespace_row(name)
        if row is None:
            raise no_namespace(name)
        return row

    def _existing_endpoint_row(self, namespace: str, name: str, etag: str) -> Row:
        row = self._endpoint_row(namespace, name)
        if row is None:
            raise no_endpoint(namespace, name)
        _check_etag(etag, _codec.version(row).etag, f"endpoint '{name}' of namespace '{namespace}'")
        return row

    def _existing_rule_row(self, namespace: str, rule_id: str, etag: str) -> Row:
        row = self._rule_row(namespace, rule_id)
        if row is None:
            raise no_rule(namespace, rule_id)
        _check_etag(etag, _codec.version(row).etag, f"rule '{rule_id}' of namespace '{namespace}'")
        return row

    def _existing_acl_row(self, namespace: str, rule_id: str, etag: str) -> Row:
        row = self._acl_row(namespace, rule_id)
        if row is None:
            raise no_acl_rule(namespace, rule_id)
        _check_etag(etag, _codec.version(row).etag, f"ACL rule '{rule_id}' of namespace '{namespace}'")
        return row

    def _endpoint_writer(self, namespace: str) -> EndpointWriter:
        return EndpointWriter(self._writer, namespace, self._namespace_id(namespace), self._namespace_id)

    def _rule_writer(self, namespace: str) -> RuleWriter:
        return RuleWriter(self._writer, namespace, self._namespace_id(namespace))

    def _acl_writer(self, namespace: str) -> AclWriter:
        return AclWriter(self._writer, namespace, self._namespace_id(namespace))

    def _empty(self, name: str, *, force: bool) -> None:
        limit = EVERYTHING if force else 1
        endpoints, rules = self._endpoint_rows(name, b"", limit), self._rule_rows(name, "", limit)
        acl = self._acl_rows(name)
        if not force and (endpoints or rules or acl):
            raise NotEmptyError(f"namespace '{name}' holds endpoints or rules: delete them first, or all with force")
        self._endpoint_writer(name).replace(endpoints, ())
        self._rule_writer(name).replace(rules, ())
        self._acl_writer(name).replace(acl, ())


def _check_etag(etag: str, now: str, what: str) -> None:
    if not etag or etag == now:
        return
    if not now:
        raise EtagMismatchError(f"{what} is not there, so it has no etag: send none to create it")
    raise EtagMismatchError(
        f"{what} was changed since its etag was read: read it again, and repeat the change on what it is now", etag=now
    )
