# SPDX-License-Identifier: Apache-2.0
"""Desired state as it is kept: each resource with its version, and each change of one."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeAlias, TypeVar

from graftd.model._acl import AclRule
from graftd.model._endpoint import Endpoint
from graftd.model._namespace import Namespace, NamespaceState, NetnsIdentity, Selector
from graftd.model._rule import Direction, Rule

AnyRule = TypeVar("AnyRule", Rule, AclRule)

_RULE_ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")  # AIP-122


def check_rule_id(rule_id: str) -> None:
    """Refuse what cannot be a rule's id: 1 to 63 lower-case letters, digits and dashes."""
    if not _RULE_ID.fullmatch(rule_id):
        raise ValueError(
            f"'{rule_id}' cannot be a rule's id: 1 to 63 lower-case letters, digits and dashes can, "
            "a letter first and no dash last"
        )


@dataclass(frozen=True, slots=True)
class Version:
    """revision: of the last change to what is desired, from 1 on, one sequence over everything.
    created, updated: UTC, to the microsecond."""

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
    """identity: the network namespace that the selector was last seen to select, None for none;
    it moves neither the version nor the etag."""

    namespace: Namespace
    identity: NetnsIdentity | None
    version: Version

    @property
    def state(self) -> NamespaceState:
        """As last seen; an identity of an earlier boot is the caller's to tell."""
        return NamespaceState.ABSENT if self.identity is None else NamespaceState.PRESENT


@dataclass(frozen=True, slots=True)
class TargetedEndpoint:
    """An endpoint and its target namespace; target None is the one that graftd runs in."""

    endpoint: Endpoint
    target: Selector | None = None


@dataclass(frozen=True, slots=True)
class EndpointRecord:
    """namespace: the name of the resource whose table holds it."""

    namespace: str
    value: TargetedEndpoint
    version: Version


@dataclass(frozen=True, slots=True)
class RuleRecord(Generic[AnyRule]):
    """A rule, or a rule of the ACL, in its list: ingress, egress and ACL are a list each.

    id: unique in the list. index: its place there from 0 on, which other rules' coming and going
    moves, and which is no part of the version.
    """

    namespace: str
    id: str
    index: int
    rule: AnyRule
    version: Version


@dataclass(frozen=True, slots=True)
class RuleList(Generic[AnyRule]):
    """A whole list, in order."""

    records: tuple[RuleRecord[AnyRule], ...]

    @property
    def rules(self) -> tuple[AnyRule, ...]:
        return tuple(record.rule for record in self.records)

    @property
    def etag(self) -> str:
        """Opaque; differs whenever a rule or the order does."""
        return _digest(" ".join(f"{record.id} {record.version.etag}" for record in self.records))


@dataclass(frozen=True, slots=True)
class NamespaceContent:
    """All that a namespace holds. Ingress and egress rules keep their order, which decides nothing."""

    endpoints: tuple[TargetedEndpoint, ...] = ()
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()
    acl: tuple[AclRule, ...] = ()

    def __post_init__(self) -> None:
        names = [one.endpoint.name for one in self.endpoints]
        _check_unique("endpoint", names)
        for direction, rules in ((Direction.INGRESS, self.ingress), (Direction.EGRESS, self.egress)):
            for rule in rules:
                if rule.direction is not direction:
                    raise ValueError(f"an {rule.direction.word} rule stands among the {direction.word} rules")
            if len({rule.selector for rule in rules}) != len(rules):
                raise ValueError(
                    f"two {direction.word} rules match the same network, protocols and ports: leave one of them out"
                )


class ChangeKind(enum.IntEnum):
    CREATED = 1
    UPDATED = 2
    DELETED = 3

    @property
    def word(self) -> str:
        return self.name.lower()


Record: TypeAlias = NamespaceRecord | EndpointRecord | RuleRecord[Rule] | RuleRecord[AclRule]


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one resource.

    revision: the change's own, no other has it. time: UTC. record: the resource after the change;
    of a deleted one, before. A rule that was created or updated is to be put, or moved, to its index.
    """

    revision: int
    time: datetime
    kind: ChangeKind
    record: Record


@dataclass(frozen=True, slots=True)
class ChangePage:
    """Changes in order. through: the revision that the page tells everything up to, also of what
    it was asked to leave out; the next page comes after it."""

    changes: tuple[Change, ...]
    through: int


@dataclass(frozen=True, slots=True)
class Applied:
    """How many resources an apply created, updated (or moved) and deleted; revision: the store's after it."""

    created: int
    updated: int
    deleted: int
    revision: int


def _digest(text: str) -> str:
    from hashlib import blake2b  # here, for ip-graft has no use for it and starts sooner

    return blake2b(text.encode(), digest_size=8).hexdigest()


def _check_unique(word: str, names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{word} '{name}' is there twice: leave one of them out")
        seen.add(name)
