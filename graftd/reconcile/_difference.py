# SPDX-License-Identifier: Apache-2.0
"""How a table in the kernel differs from what it is to be, and the steps that make it equal. Pure."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from graftd.model import (
    AclRule,
    ChangeKind,
    DeleteEndpoint,
    Endpoint,
    EndpointEntry,
    PortRange,
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

LIMITS = ("max_sockets", "max_ephemeral", "max_endpoints")


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
    """An endpoint that is to be in the kernel. target: the cookie of its target namespace. target_name: that one's
    resource, "" for graftd's own namespace."""

    endpoint: Endpoint
    target: int
    target_name: str = ""


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
    """A step, and what it is for. A step that replaces a list whole is for all that differs in it. target: the
    namespace whose descriptor a PutEndpoint is still to get, "" for none."""

    step: Step
    differences: tuple[Difference, ...]
    target: str = ""


def difference(namespace: str, desired: Desired, actual: Actual) -> list[Planned]:
    """The steps that make a table what it is to be; none for what is so already."""
    return in_order(
        [
            *_settings(namespace, desired.settings, actual.table),
            *_gone(namespace, desired.endpoints, actual.endpoints),
            *_acl(namespace, desired.acl, actual.acl),
            *_put(namespace, desired.endpoints, actual.endpoints),
            *_rules(namespace, desired.rules, actual.rules),
        ]
    )


def in_order(planned: Iterable[Planned]) -> list[Planned]:
    """The steps in the order in which no endpoint stands without its ACL, at whichever of them a crash comes.

    A table that is to be frozen is so first, and one that is to be open again is so last. An endpoint that goes is gone
    before the ACL is another; one that comes or changes does so under the ACL that it is to have. Until then, one that
    changes is as it was, under the new ACL already. Rules, which lead to endpoints, come after them.
    """
    return sorted((part for one in planned for part in _parts(one)), key=lambda one: _place(one.step))


def changed_settings(desired: TableSettings, there: TableSettings | Table) -> TableSettings:
    """Of the settings those that are otherwise there."""
    return TableSettings(
        **{word: wanted for word in _SETTINGS if (wanted := getattr(desired, word)) != getattr(there, word)}
    )


def _parts(planned: Planned) -> Iterable[Planned]:
    """Limits at once, the end of a freeze later."""
    step = planned.step
    if not isinstance(step, SetTable) or step.settings.frozen is not False:
        return [planned]
    limits = replace(step.settings, frozen=None)
    opened = Planned(SetTable(TableSettings(frozen=False)), planned.differences)
    return [opened] if limits == TableSettings() else [Planned(SetTable(limits), planned.differences), opened]


def _place(step: Step) -> int:
    match step:
        case SetTable(settings):
            return 5 if settings.frozen is False else 0
        case DeleteEndpoint():
            return 1
        case SetAcl():
            return 2
        case PutEndpoint():
            return 3
        case SetRules():
            return 4


def _settings(namespace: str, desired: TableSettings, table: Table) -> Iterable[Planned]:
    settings = changed_settings(desired, table)
    changed = tuple(name for word, name in _SETTINGS.items() if getattr(settings, word) is not None)
    if changed:
        resource = Resource(ResourceKind.NAMESPACE, namespace)
        yield Planned(SetTable(settings), (Difference(resource, ChangeKind.UPDATED, changed),))


# The API's names of a namespace's fields.
_SETTINGS = {word: f"limits.{word}" for word in LIMITS} | {"frozen": "frozen"}


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
        yield Planned(PutEndpoint(wanted.endpoint), (found,), wanted.target_name)


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


_ALL_PORTS = PortRange(0, 65535)


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
    wanted = tuple(_as_told(record.rule) for record in desired)
    if wanted == actual:
        return
    found = []
    left = Counter(actual)
    for record, rule in zip(desired, wanted, strict=True):
        resource = Resource(ResourceKind.ACL_RULE, namespace, record.id)
        if left[rule]:
            left[rule] -= 1
        else:
            found.append(Difference(resource, ChangeKind.CREATED))
    found += [Difference(Resource(ResourceKind.ACL_RULE, namespace, "-"), ChangeKind.DELETED)] * left.total()
    if not found:  # the order alone
        found = [
            Difference(Resource(ResourceKind.ACL_RULE, namespace, record.id), ChangeKind.UPDATED, ("index",))
            for record, rule, there in zip(desired, wanted, actual, strict=True)
            if rule != there
        ]
    yield Planned(SetAcl(wanted), tuple(found))


def _as_told(rule: AclRule) -> AclRule:
    """As the kernel tells it: every port from 0 on is no condition."""
    return replace(rule, ports=None) if rule.ports == _ALL_PORTS else rule


def _endpoint(namespace: str, name: str) -> Resource:
    return Resource(ResourceKind.ENDPOINT, namespace, name)
