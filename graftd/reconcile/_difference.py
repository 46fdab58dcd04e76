# SPDX-License-Identifier: Apache-2.0
"""How a table in the kernel differs from what it is to be, and the steps that make it equal. Pure."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from graftd.model import (
    AclRule,
    ChangeKind,
    DeleteEndpoint,
    Endpoint,
    EndpointEntry,
    PutEndpoint,
    Rule,
    RuleRecord,
    SetAcl,
    SetRules,
    SetTable,
    Step,
    Table,
    TableSettings,
)


class ResourceKind(enum.Enum):
    """What a resource is, by the word in its name."""

    NAMESPACE = "namespaces"
    ENDPOINT = "endpoints"
    RULE = "rules"
    ACL_RULE = "aclRules"


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource, by its name's parts. id: "-" for a rule that stands in the kernel alone, where rules have none."""

    kind: ResourceKind
    namespace: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """What is otherwise in one state than in another. CREATED: it was missing. DELETED: it was there too many.
    fields: those of the API's message that differ, for UPDATED."""

    resource: Resource
    kind: ChangeKind
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """An endpoint that is to be in the kernel. target: the cookie of its target namespace. target_fd: a
    descriptor of that one, None for graftd's own."""

    endpoint: Endpoint
    target: int
    target_fd: int | None = None


@dataclass(frozen=True, slots=True)
class Desired:
    """What a table is to be. settings: without None."""

    settings: TableSettings
    endpoints: Mapping[str, Wanted]
    rules: Sequence[RuleRecord[Rule]]
    acl: Sequence[RuleRecord[AclRule]]


@dataclass(frozen=True, slots=True)
class Actual:
    """What a table is."""

    table: Table
    endpoints: Mapping[str, EndpointEntry]
    rules: frozenset[Rule]
    acl: tuple[AclRule, ...]


@dataclass(frozen=True, slots=True)
class Planned:
    """A step, and what it is for. A step that replaces a list whole is for all that differs in it."""

    step: Step
    differences: tuple[Difference, ...]


def difference(namespace: str, desired: Desired, actual: Actual) -> list[Planned]:
    """The steps, in an order in which no endpoint stands open meanwhile: limits; what goes; the ACL; what comes; rules,
    which lead to endpoints."""
    return [
        *_settings(namespace, desired.settings, actual.table),
        *_gone(namespace, desired.endpoints, actual.endpoints),
        *_acl(namespace, desired.acl, actual.acl),
        *_put(namespace, desired.endpoints, actual.endpoints),
        *_rules(namespace, desired.rules, actual.rules),
    ]


def _settings(namespace: str, desired: TableSettings, table: Table) -> Iterable[Planned]:
    limits = ("max_sockets", "max_ephemeral", "max_endpoints")
    changed = [f"limits.{word}" for word in limits if getattr(desired, word) != getattr(table, word)]
    if desired.frozen != table.frozen:
        changed.append("frozen")
    if changed:
        resource = Resource(ResourceKind.NAMESPACE, namespace)
        yield Planned(SetTable(desired), (Difference(resource, ChangeKind.UPDATED, tuple(changed)),))


def _gone(namespace: str, desired: Mapping[str, Wanted], actual: Mapping[str, EndpointEntry]) -> Iterable[Planned]:
    for name in actual:
        if name not in desired:
            yield Planned(DeleteEndpoint(name), (Difference(_endpoint(namespace, name), ChangeKind.DELETED),))


def _put(namespace: str, desired: Mapping[str, Wanted], actual: Mapping[str, EndpointEntry]) -> Iterable[Planned]:
    for name, wanted in desired.items():
        entry = actual.get(name)
        if entry is None:
            found = Difference(_endpoint(namespace, name), ChangeKind.CREATED)
        elif entry.endpoint == wanted.endpoint and entry.target_cookie == wanted.target:
            continue
        else:
            found = Difference(_endpoint(namespace, name), ChangeKind.UPDATED, _endpoint_fields(wanted, entry))
        yield Planned(PutEndpoint(wanted.endpoint, wanted.target_fd), (found,))


def _endpoint_fields(wanted: Wanted, entry: EndpointEntry) -> tuple[str, ...]:
    changed = [
        _ENDPOINT_FIELDS.get(one.name, one.name)
        for one in fields(Endpoint)
        if getattr(wanted.endpoint, one.name) != getattr(entry.endpoint, one.name)
    ]
    if wanted.target != entry.target_cookie:
        changed.append("target_namespace")
    return tuple(dict.fromkeys(changed))


# The API's names of an endpoint's fields, where they are not the model's.
_ENDPOINT_FIELDS = {
    "type": "inet",
    "address": "inet.address",
    "ports": "inet.ports",
    "protocols": "inet.protocols",
    "path": "unix.path",
    "mark": "inet.mark",
    "device": "inet.device",
}


def _rules(namespace: str, desired: Sequence[RuleRecord[Rule]], actual: frozenset[Rule]) -> Iterable[Planned]:
    by_selector = {rule.selector: rule for rule in actual}
    found = []
    for record in desired:
        there = by_selector.pop(record.rule.selector, None)
        resource = Resource(ResourceKind.RULE, namespace, record.id)
        if there is None:
            found.append(Difference(resource, ChangeKind.CREATED))
        elif there != record.rule:
            found.append(Difference(resource, ChangeKind.UPDATED, ("verdict", "endpoint")))
    found += [Difference(Resource(ResourceKind.RULE, namespace, "-"), ChangeKind.DELETED)] * len(by_selector)
    if found:
        yield Planned(SetRules(tuple(record.rule for record in desired)), tuple(found))


def _acl(namespace: str, desired: Sequence[RuleRecord[AclRule]], actual: tuple[AclRule, ...]) -> Iterable[Planned]:
    wanted = tuple(record.rule for record in desired)
    if wanted == actual:
        return
    found = []
    left = Counter(actual)
    for record in desired:
        resource = Resource(ResourceKind.ACL_RULE, namespace, record.id)
        if left[record.rule]:
            left[record.rule] -= 1
        else:
            found.append(Difference(resource, ChangeKind.CREATED))
    found += [Difference(Resource(ResourceKind.ACL_RULE, namespace, "-"), ChangeKind.DELETED)] * left.total()
    if not found:  # the order alone
        found = [
            Difference(Resource(ResourceKind.ACL_RULE, namespace, record.id), ChangeKind.UPDATED, ("index",))
            for record, there in zip(desired, actual, strict=True)
            if record.rule != there
        ]
    yield Planned(SetAcl(wanted), tuple(found))


def _endpoint(namespace: str, name: str) -> Resource:
    return Resource(ResourceKind.ENDPOINT, namespace, name)
