# SPDX-License-Identifier: Apache-2.0
"""The steps that bring changes of the store to a table that is as the store was before them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from graftd.model import (
    Change,
    ChangeKind,
    DeleteEndpoint,
    EndpointRecord,
    NamespaceRecord,
    PutEndpoint,
    Record,
    Rule,
    SetAcl,
    SetRules,
    SetTable,
    TableSettings,
)
from graftd.reconcile._difference import (
    Difference,
    Planned,
    Resource,
    ResourceKind,
    Wanted,
    changed_settings,
    in_order,
)
from graftd.reconcile._tables import settings_of
from graftd.store import ALL, View


def plan(
    view: View,
    name: str,
    changes: Sequence[Change],
    *,
    wanted: Callable[[EndpointRecord], Wanted | None],
    stands: Callable[[str], bool],
) -> tuple[list[Planned], dict[str, str | None]]:
    """The steps, in order; and of the endpoints that changed, the target that each waits for now, None for none.

    view: with the changes, which are all of one namespace. wanted: what the kernel is to have of an endpoint, None
    while it waits. stands: whether the kernel has one of that name.
    """
    steps: list[Planned] = []
    waits: dict[str, str | None] = {}
    for first, last in _first_and_last(changes):
        now = _endpoint(last.record)
        before = None if first.before is None else _endpoint(first.before)
        endpoint, what = now.value.endpoint.name, (_difference(last),)
        found = None if last.kind is ChangeKind.DELETED else wanted(now)
        waits[endpoint] = now.value.target if found is None and last.kind is not ChangeKind.DELETED else None
        if found is None:
            if before is not None and stands(endpoint):
                steps.append(Planned(DeleteEndpoint(endpoint), what))
        elif before is None or _kernel_part(before) != _kernel_part(now):
            steps.append(Planned(PutEndpoint(now.value.endpoint), what, found.target_name))
    return in_order([*_settings(view, changes), *steps, *_lists(view, name, changes)]), waits


def namespace_before(changes: Iterable[Change]) -> tuple[bool, NamespaceRecord | None]:
    """Whether the namespace itself is among what changes, and what it was before; None: it is new."""
    for change in changes:
        if isinstance(change.record, NamespaceRecord):
            before = change.before
            if before is not None and not isinstance(before, NamespaceRecord):
                raise TypeError(before)
            return True, before
    return False, None


def _endpoint(record: Record) -> EndpointRecord:
    if not isinstance(record, EndpointRecord):
        raise TypeError(record)
    return record


def _first_and_last(changes: Iterable[Change]) -> list[tuple[Change, Change]]:
    """Of each endpoint that changed the first change and the last."""
    found: dict[str, tuple[Change, Change]] = {}
    for change in changes:
        if isinstance(change.record, EndpointRecord):
            name = change.record.value.endpoint.name
            found[name] = (found[name][0] if name in found else change, change)
    return list(found.values())


def _kernel_part(record: EndpointRecord) -> tuple[object, str]:
    return record.value.endpoint, record.value.target


def _settings(view: View, changes: Sequence[Change]) -> Iterable[Planned]:
    own = [change for change in changes if isinstance(change.record, NamespaceRecord)]
    _, before = namespace_before(own)
    if not own or before is None or not isinstance(own[-1].record, NamespaceRecord):
        return
    now = settings_of(view, own[-1].record.namespace)
    found = changed_settings(now, settings_of(view, before.namespace))
    if found != TableSettings():
        yield Planned(SetTable(found), (_difference(own[-1]),))


def _lists(view: View, name: str, changes: Sequence[Change]) -> Iterable[Planned]:
    by_kind: dict[ResourceKind, list[Difference]] = {}
    for change in changes:
        found = _difference(change)
        by_kind.setdefault(found.resource.kind, []).append(found)
    if found_rules := by_kind.get(ResourceKind.RULE):
        yield Planned(SetRules(tuple(one.rule for one in view.rules(name, limit=ALL))), tuple(found_rules))
    if found_acl := by_kind.get(ResourceKind.ACL_RULE):
        yield Planned(SetAcl(tuple(one.rule for one in view.acl(name))), tuple(found_acl))


def _difference(change: Change) -> Difference:
    record = change.record
    if isinstance(record, NamespaceRecord):
        resource = Resource(ResourceKind.NAMESPACE, record.namespace.name)
    elif isinstance(record, EndpointRecord):
        resource = Resource(ResourceKind.ENDPOINT, record.namespace, record.value.endpoint.name)
    else:
        kind = ResourceKind.RULE if isinstance(record.rule, Rule) else ResourceKind.ACL_RULE
        resource = Resource(kind, record.namespace, record.id)
    return Difference(resource, change.kind)
