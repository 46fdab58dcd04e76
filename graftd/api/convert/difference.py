# SPDX-License-Identifier: Apache-2.0
"""Changes: as one resource after it, for a watch, and as what differs, for an apply."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from google.protobuf.field_mask_pb2 import FieldMask

from graft.v1 import acl_pb2, common_pb2, endpoint_pb2, namespace_pb2, rule_pb2, watch_pb2
from graftd.api import masks
from graftd.api.convert import acl, endpoint, namespace, rule
from graftd.api.text import utf8
from graftd.model import AclRule, Change, ChangeKind, EndpointRecord, NamespaceRecord, Record

Resource: TypeAlias = namespace_pb2.Namespace | endpoint_pb2.Endpoint | rule_pb2.Rule | acl_pb2.AclRule

_FIELDS: dict[type[Resource], masks.Fields] = {
    namespace_pb2.Namespace: masks.NAMESPACE,
    endpoint_pb2.Endpoint: masks.ENDPOINT,
    rule_pb2.Rule: masks.RULE,
    acl_pb2.AclRule: masks.ACL_RULE,
}
# What no update sets, and a change may make different all the same.
_OTHERS: dict[type[Resource], tuple[str, ...]] = {
    namespace_pb2.Namespace: ("frozen", "freeze_reason", "state", "netns_cookie"),
    acl_pb2.AclRule: ("index",),
}


def resource_message(record: Record, *, boot_id: str, sync: common_pb2.Sync | None = None) -> Resource:
    """A resource of any type in its view BASIC. boot_id: as in namespace.to_message."""
    if isinstance(record, NamespaceRecord):
        return namespace.to_message(record, boot_id=boot_id, sync=sync)
    if isinstance(record, EndpointRecord):
        return endpoint.to_message(record, sync=sync)
    if isinstance(record.rule, AclRule):
        return acl.to_message(record, sync=sync)
    return rule.to_message(record, sync=sync)


def change_message(change: Change, *, boot_id: str, sync: common_pb2.Sync | None = None) -> watch_pb2.Change:
    """As a watch tells it. sync: the resource's."""
    kind = _CHANGE_KINDS[change.kind]
    match resource_message(change.record, boot_id=boot_id, sync=sync):
        case namespace_pb2.Namespace() as message:
            return watch_pb2.Change(kind=kind, namespace=message)
        case endpoint_pb2.Endpoint() as message:
            return watch_pb2.Change(kind=kind, endpoint=message)
        case rule_pb2.Rule() as message:
            return watch_pb2.Change(kind=kind, rule=message)
        case message:
            return watch_pb2.Change(kind=kind, acl_rule=message)


def differences(changes: Iterable[Change], *, boot_id: str) -> list[common_pb2.Difference]:
    """One for each change, which has its `before` where it is an update."""
    return [_difference(change, boot_id) for change in changes]


def difference(name: str, kind: ChangeKind, fields: Iterable[str] = ()) -> common_pb2.Difference:
    """name: the resource's. fields: paths, of an update alone."""
    paths = list(fields)
    return common_pb2.Difference(
        name=utf8(name),
        kind=_DIFFERENCE_KINDS[kind],
        fields=FieldMask(paths=paths) if paths else None,
    )


def _difference(change: Change, boot_id: str) -> common_pb2.Difference:
    after = resource_message(change.record, boot_id=boot_id)
    if change.kind is not ChangeKind.UPDATED or change.before is None:
        return difference(after.name, change.kind)
    before = resource_message(change.before, boot_id=boot_id)
    fields = masks.differing(before, after, _FIELDS[type(after)])
    others = [name for name in _OTHERS.get(type(after), ()) if getattr(before, name) != getattr(after, name)]
    return difference(after.name, change.kind, [*fields, *others])


_DIFFERENCE_KINDS = {
    ChangeKind.CREATED: common_pb2.DIFFERENCE_KIND_CREATED,
    ChangeKind.UPDATED: common_pb2.DIFFERENCE_KIND_UPDATED,
    ChangeKind.DELETED: common_pb2.DIFFERENCE_KIND_DELETED,
}
_CHANGE_KINDS = {
    ChangeKind.CREATED: watch_pb2.CHANGE_KIND_CREATED,
    ChangeKind.UPDATED: watch_pb2.CHANGE_KIND_UPDATED,
    ChangeKind.DELETED: watch_pb2.CHANGE_KIND_DELETED,
}
