# SPDX-License-Identifier: Apache-2.0
"""Namespaces."""

from __future__ import annotations

from graft.v1 import common_pb2, namespace_pb2
from graftd.api.convert import values
from graftd.api.errors import Violations
from graftd.api.text import utf8
from graftd.model import Freeze, Namespace, NamespaceRecord, Selector, SelectorKind, Table, TableLimits

_FIELDS = {
    "iproute2_name": SelectorKind.NETNS,
    "path": SelectorKind.PATH,
    "process": SelectorKind.PID,
    "container_id": SelectorKind.CONTAINER,
    "systemd_unit": SelectorKind.UNIT,
}
_LIMITS = ("max_sockets", "max_ephemeral", "max_endpoints")


def to_model(
    message: namespace_pb2.Namespace, name: str, field: str, found: Violations, *, current: Namespace | None = None
) -> Namespace | None:
    """name: the id, "" for one that `found` has a word about already. field: the message's path.

    current: the namespace that the message changes. Its freeze stays, and so does when its process started as long as
    the selector names the same process: a later process of that number is not taken for it.
    """
    before = len(found)
    selector = _selector(message, f"{field}.selector", found)
    labels = values.read_labels(message.labels, f"{field}.labels", found)
    annotations = values.read_annotations(message.annotations, f"{field}.annotations", found)
    limits = message.limits
    if selector is None or not name or len(found) > before:
        return None
    if current is not None and (selector.kind, selector.value) == (current.selector.kind, current.selector.value):
        selector = current.selector
    return Namespace(
        name=name,
        selector=selector,
        limits=TableLimits(**{word: getattr(limits, word) for word in _LIMITS if limits.HasField(word)}),
        labels=labels,
        annotations=annotations,
        freeze=None if current is None else current.freeze,
        transparent=message.transparent,
        # A message that does not say so leaves it as it is.
        transient=message.transient or (current is not None and current.transient),
    )


def _selector(message: namespace_pb2.Namespace, field: str, found: Violations) -> Selector | None:
    selector = message.selector
    by = selector.WhichOneof("by")
    if by is None:
        found.add(field, f"a selector is missing: say which network namespace it is, by one of {', '.join(_FIELDS)}")
        return None
    value = selector.process.pid if by == "process" else getattr(selector, by)
    try:
        return Selector(_FIELDS[by], str(value))
    except ValueError as error:
        found.add(f"{field}.process.pid" if by == "process" else f"{field}.{by}", error)
        return None


def read_freeze(reason: str, field: str, found: Violations) -> Freeze:
    try:
        return Freeze(reason)
    except ValueError as error:
        found.add(field, error)
        return Freeze()


def to_message(
    record: NamespaceRecord,
    *,
    boot_id: str,
    sync: common_pb2.Sync | None = None,
    table: Table | None = None,
) -> namespace_pb2.Namespace:
    """boot_id: the present boot's; an identity of another one is absent. table: where usage is told."""
    namespace, identity, version = record.namespace, record.identity, record.version
    present = identity is not None and identity.boot_id == boot_id
    message = namespace_pb2.Namespace(
        name=f"namespaces/{namespace.name}",
        uid=record.uid,
        selector=selector_message(namespace.selector),
        labels=namespace.labels,
        annotations=namespace.annotations,
        frozen=namespace.freeze is not None,
        freeze_reason="" if namespace.freeze is None else utf8(namespace.freeze.reason),
        state=namespace_pb2.NAMESPACE_STATE_PRESENT if present else namespace_pb2.NAMESPACE_STATE_ABSENT,
        netns_cookie=identity.cookie if present and identity is not None else 0,
        sync=sync,
        create_time=values.timestamp(version.created),
        update_time=values.timestamp(version.updated),
        revision=version.revision,
        etag=version.etag,
        transparent=namespace.transparent,
        transient=namespace.transient,
    )
    limits = {word: getattr(namespace.limits, word) for word in _LIMITS}
    if any(limit is not None for limit in limits.values()):
        message.limits.CopyFrom(namespace_pb2.NamespaceLimits(**limits))
    if table is not None:
        message.usage.CopyFrom(usage_message(table))
    return message


def usage_message(table: Table) -> namespace_pb2.NamespaceUsage:
    return namespace_pb2.NamespaceUsage(
        endpoints=table.endpoints,
        rules=table.rules,
        acl_rules=table.acls,
        sockets=table.sockets,
        ephemeral=table.ephemeral,
        generation=table.generation,
    )


def selector_message(selector: Selector) -> namespace_pb2.NamespaceSelector:
    value = utf8(selector.value)
    match selector.kind:
        case SelectorKind.NETNS:
            return namespace_pb2.NamespaceSelector(iproute2_name=value)
        case SelectorKind.PATH:
            return namespace_pb2.NamespaceSelector(path=value)
        case SelectorKind.PID:
            process = namespace_pb2.ProcessSelector(pid=int(selector.value), start_ticks=selector.start_ticks)
            return namespace_pb2.NamespaceSelector(process=process)
        case SelectorKind.CONTAINER:
            return namespace_pb2.NamespaceSelector(container_id=value)
        case SelectorKind.UNIT:
            return namespace_pb2.NamespaceSelector(systemd_unit=value)
