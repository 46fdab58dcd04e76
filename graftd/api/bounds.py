# SPDX-License-Identifier: Apache-2.0
"""What a change may be for its caller: looked at once, when it is made and before the kernel is told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from graftd.api import names
from graftd.api.denials import PolicyDeniedError
from graftd.api.policy import Bounds
from graftd.errors import GraftError, SelectorTakenError, SelectorUnresolvedError, TargetNotFoundError
from graftd.model import (
    AclRule,
    Change,
    ChangeKind,
    EndpointRecord,
    NamespaceRecord,
    Record,
    Rule,
    RuleRecord,
    namespace_of,
)
from graftd.store import ALL, Transaction


def check_changes(
    transaction: Transaction, check_admin: Callable[[str], None], bounds_of: Callable[[str], Bounds]
) -> None:
    """Raise PermissionDeniedError for a namespace that is made or comes to stand for another network namespace by who
    is no admin, and PolicyDeniedError or PolicyLimitError for what the namespace's policy does not allow.

    check_admin: raises unless the caller is one. bounds_of: a namespace's policy, as it binds the caller.
    """
    by_namespace: dict[str, list[Change]] = defaultdict(list)
    for change in transaction.changes:
        by_namespace[namespace_of(change.record)].append(change)
    for name, changes in by_namespace.items():
        for change in changes:
            if isinstance(change.record, NamespaceRecord):
                _check_namespace(change, check_admin, bounds_of)
        if any(change.kind is not ChangeKind.DELETED or _is_acl(change.record) for change in changes):
            _check_content(transaction, name, changes, bounds_of(name))


def check_failed(
    transaction: Transaction,
    error: GraftError,
    check_admin: Callable[[str], None],
    bounds_of: Callable[[str], Bounds],
) -> None:
    """Of a change that failed: raise as check_changes would if it had not. Nobody is to learn what is there, or is not,
    outside of their namespaces by trying what they may not do."""
    if isinstance(error, SelectorTakenError) and error.kind == "namespace":
        check_admin(error.wanted_by)
    elif isinstance(error, SelectorUnresolvedError):
        check_admin(error.namespace)
    records = [change.record for change in transaction.changes if change.kind is not ChangeKind.DELETED]
    if isinstance(error, TargetNotFoundError) and isinstance(error.record, EndpointRecord):
        records.append(error.record)
    for change in transaction.changes:
        if isinstance(change.record, NamespaceRecord):
            _check_namespace(change, check_admin, bounds_of)
    for record in records:
        _check_one(record, bounds_of(namespace_of(record)))


def _check_namespace(change: Change, check_admin: Callable[[str], None], bounds_of: Callable[[str], Bounds]) -> None:
    now, before = change.record, change.before
    if not isinstance(now, NamespaceRecord):
        raise TypeError(now)
    name = now.namespace.name
    if change.kind is ChangeKind.DELETED:
        check_admin(name)
        return
    if not isinstance(before, NamespaceRecord) or before.namespace.selector != now.namespace.selector:
        check_admin(name)
    if not isinstance(before, NamespaceRecord) or before.namespace.limits != now.namespace.limits:
        bounds_of(name).check_limits(now.namespace.limits)


def _check_content(transaction: Transaction, name: str, changes: list[Change], bounds: Bounds) -> None:
    if any(_is_end(change) for change in changes) and transaction.find_namespace(name) is None:
        return
    for change in changes:
        if change.kind is not ChangeKind.DELETED:
            _check_one(change.record, bounds)
    comes = any(isinstance(one.record, EndpointRecord) and one.kind is ChangeKind.CREATED for one in changes)
    if comes and bounds.counts:  # to count takes a look at each
        bounds.check_count(transaction.count_endpoints(name))
    if bounds.closes:
        _check_closed(transaction, name, changes, bounds)


def _check_one(record: Record, bounds: Bounds) -> None:
    with _about(record):
        if isinstance(record, EndpointRecord):
            bounds.check_endpoint(record.value.endpoint, record.value.target)
        elif isinstance(record, RuleRecord):
            if isinstance(record.rule, Rule):
                bounds.check_rule(record.rule)
            else:
                bounds.check_acl_rule(record.rule)


def _check_closed(transaction: Transaction, name: str, changes: list[Change], bounds: Bounds) -> None:
    """Where the ACL changed, every endpoint; else those that did."""
    acl = [record.rule for record in transaction.acl(name)]
    if any(_is_acl(change.record) for change in changes):
        records = transaction.endpoints(name, limit=ALL)
    else:
        named = {one.record.value.endpoint.name for one in changes if isinstance(one.record, EndpointRecord)}
        records = [one for one in map(partial(transaction.find_endpoint, name), named) if one is not None]
    for record in records:
        with _about(record):
            bounds.check_closed(record.value.endpoint, acl)


@contextmanager
def _about(record: Record) -> Iterator[None]:
    """A denial from inside names this resource."""
    try:
        yield
    except PolicyDeniedError as error:
        if isinstance(record, EndpointRecord):
            endpoint = record.value.endpoint.name
            error.endpoint = endpoint
            error.metadata["resource"] = names.child(record.namespace, names.Collection.ENDPOINTS, endpoint)
        raise


def _is_end(change: Change) -> bool:
    return change.kind is ChangeKind.DELETED and isinstance(change.record, NamespaceRecord)


def _is_acl(record: Record) -> bool:
    return isinstance(record, RuleRecord) and isinstance(record.rule, AclRule)
