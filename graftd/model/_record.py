# SPDX-License-Identifier: Apache-2.0
"""Desired state as it is kept: each resource with its version, and each change of one."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeAlias, TypeVar

from graftd.model._acl import AclRule
from graftd.model._endpoint import Endpoint
from graftd.model._namespace import Namespace, NetnsIdentity, check_id, check_labels
from graftd.model._rule import Rule

AnyRule = TypeVar("AnyRule", Rule, AclRule)


@dataclass(frozen=True, slots=True)
class Version:
    """revision: of the transaction that last changed what is desired, from 1 on, one sequence over
    everything. created, updated: UTC, to the microsecond."""

    revision: int
    created: datetime
    updated: datetime

    @property
    def etag(self) -> str:
        """Opaque; differs whenever the resource does (AIP-154).

        The time is in it because a database put back from a copy counts revisions a second time.
        """
        return _digest(f"{self.revision} {self.updated.isoformat()}")


@dataclass(frozen=True, slots=True)
class NamespaceRecord:
    """uid: a UUID, given at creation; so everywhere below. identity: the network namespace that the
    selector was last seen to select, None for none; it moves neither the version nor the etag. One of an
    earlier boot is the caller's to tell."""

    uid: str
    namespace: Namespace
    identity: NetnsIdentity | None
    version: Version


@dataclass(frozen=True, slots=True)
class TargetedEndpoint:
    """An endpoint, with what graftd alone knows of it. target: the name of the namespace resource in
    which its sockets live, "" for the namespace that graftd runs in. labels: as Namespace.labels."""

    endpoint: Endpoint
    target: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.target:
            check_id("a namespace", self.target)
        check_labels(self.labels)


@dataclass(frozen=True, slots=True)
class EndpointRecord:
    """namespace: the name of the resource whose table holds it."""

    namespace: str
    uid: str
    value: TargetedEndpoint
    version: Version


@dataclass(frozen=True, slots=True)
class RuleRecord(Generic[AnyRule]):
    """A rule, or a rule of the ACL.

    id: unique among the namespace's rules of both directions, or in its ACL. index: the place in the
    ACL from 0 on, which other rules' coming and going moves, and which is no part of the version;
    0 of a rule, for rules have no order.
    """

    namespace: str
    uid: str
    id: str
    index: int
    rule: AnyRule
    version: Version


@dataclass(frozen=True, slots=True)
class Identified(Generic[AnyRule]):
    """A rule that is to be, under an id; "" where the id is not said."""

    id: str
    rule: AnyRule

    def __post_init__(self) -> None:
        if self.id:
            check_id("a rule", self.id)


@dataclass(frozen=True, slots=True)
class NamespaceContent:
    """What a namespace is to hold; None: what it holds stays as it is.

    A rule without an id is the present one of the same selector, an ACL rule without one the first
    present one of equal content that no other takes; or a new one.
    """

    endpoints: tuple[TargetedEndpoint, ...] | None = None
    rules: tuple[Identified[Rule], ...] | None = None
    acl: tuple[Identified[AclRule], ...] | None = None

    def __post_init__(self) -> None:
        _check_unique("endpoint", [one.endpoint.name for one in self.endpoints or ()])
        _check_unique("rule", [one.id for one in self.rules or () if one.id])
        _check_unique("ACL rule", [one.id for one in self.acl or () if one.id])
        selectors = [one.rule.selector for one in self.rules or ()]
        if len(set(selectors)) != len(selectors):
            raise ValueError("two rules have the same direction, network, protocols and ports: leave one of them out")


class ChangeKind(enum.IntEnum):
    CREATED = 1
    UPDATED = 2
    DELETED = 3

    @property
    def word(self) -> str:
        return self.name.lower()


Record: TypeAlias = NamespaceRecord | EndpointRecord | RuleRecord[Rule] | RuleRecord[AclRule]


def namespace_of(record: Record) -> str:
    """The name of the namespace that a record is of, or in."""
    return record.namespace.name if isinstance(record, NamespaceRecord) else record.namespace


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one resource.

    revision: the transaction's, which all of its changes share. time: UTC. record: the resource after
    the change; of a deleted one, before. An ACL rule that was created or updated is to be put, or moved,
    to its index. before: the resource before the change, which only the transaction that makes it knows.
    """

    revision: int
    time: datetime
    kind: ChangeKind
    record: Record
    before: Record | None = None


@dataclass(frozen=True, slots=True)
class ChangePage:
    """Changes in order, of whole revisions. through: the revision that the page tells everything up to, also of
    what it was asked to leave out; the next page comes after it."""

    changes: tuple[Change, ...]
    through: int


def _digest(text: str) -> str:
    from hashlib import blake2b  # here, for ip-graft has no use for it and starts sooner

    return blake2b(text.encode(), digest_size=8).hexdigest()


def _check_unique(word: str, names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{word} '{name}' is there twice: leave one of them out")
        seen.add(name)
