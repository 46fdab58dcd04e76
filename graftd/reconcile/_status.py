# SPDX-License-Identifier: Apache-2.0
"""How the service stands, as values."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from graftd.errors import KernelError
from graftd.reconcile._difference import Difference, Resource
from graftd.store import Transaction


class ModuleState(enum.Enum):
    LOADED = "loaded"
    NOT_LOADED = "not loaded"
    REFUSING = "refusing"


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that is wrong. reason: an ErrorReason of the API without its prefix. message: what it is, and what
    to do. since: UTC."""

    reason: str
    message: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Carried:
    """What the kernel made of a change. aborted: how many live sockets it ended. undo: what is to be undone as well, in
    a transaction of its own, should the change have to be taken back after its commit."""

    aborted: int = 0
    undo: list[Callable[[Transaction], None]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Failure:
    """A resource that the kernel refuses."""

    resource: Resource
    error: KernelError


@dataclass(frozen=True, slots=True)
class Report:
    """What a reconcile did, or would do. revision: the store's, which the kernel is equal to but for the failures."""

    repairs: tuple[Difference, ...]
    failures: tuple[Failure, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class ReconcileStatus:
    """last: when one ended, None before the first. repaired: differences since the start, own changes not counted."""

    last: datetime | None
    took: timedelta
    repaired: int
    failed: int


class TransparentState(enum.Enum):
    """As TransparentState of proto/graft/v1/node.proto, which says what each means."""

    SERVED = 1
    NOT_LOADED = 2
    KERNEL_CANNOT = 3
    FAILED = 4


@dataclass(frozen=True, slots=True)
class TransparentStatus:
    """How the BPF door stands. detail: a sentence, "" where it is served. namespaces: how many are in its map."""

    state: TransparentState
    detail: str
    namespaces: int = 0


class SyncState(enum.Enum):
    IN_SYNC = "in sync"
    PENDING = "pending"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Sync:
    """How a resource stands against the kernel. detail: a sentence, "" where it is in sync."""

    state: SyncState
    detail: str = ""
