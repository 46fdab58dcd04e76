# SPDX-License-Identifier: Apache-2.0
"""What is wrong, and what of it is news."""

from __future__ import annotations

from datetime import datetime

from graftd.errors import (
    StoreBusyError,
    StoreDamagedError,
    StoreError,
    StoreFullError,
    StoreReadOnlyError,
    StoreUnavailableError,
)
from graftd.reconcile._difference import Resource, ResourceKind
from graftd.reconcile._event import NodeEventKind
from graftd.reconcile._module import Module
from graftd.reconcile._news import News, now
from graftd.reconcile._places import UNKNOWN, Live, Places
from graftd.reconcile._status import Condition, Failure, Sync, SyncState, TransparentState
from graftd.reconcile._transparent import Transparency
from graftd.store import Store

_IN_SYNC = Sync(SyncState.IN_SYNC)
_STORE_REASONS: dict[type[StoreError], str] = {
    StoreFullError: "STORE_FULL",
    StoreReadOnlyError: "STORE_READ_ONLY",
    StoreDamagedError: "STORE_DAMAGED",
    StoreBusyError: "STORE_BUSY",
    StoreUnavailableError: "STORE_UNAVAILABLE",
}


class Health:
    """How module, store and kernel stand."""

    def __init__(self, module: Module, places: Places, transparency: Transparency, news: News) -> None:
        self._module = module
        self._places = places
        self._transparency = transparency
        self._news = news
        self._store: Condition | None = None
        self._failing_since: datetime | None = None
        self._degraded = False

    def note_store(self, error: BaseException | None) -> None:
        """Keep in mind what an access of the store came to; None: all is well. Errors of a request are none of it."""
        if error is None:
            self._store = None
            return
        reason = next((reason for kind, reason in _STORE_REASONS.items() if isinstance(error, kind)), None)
        if reason is not None and (self._store is None or self._store.message != str(error)):
            self._store = Condition(reason, str(error), now())

    def probe_store(self, store: Store) -> None:
        """Where the store failed, see whether it takes writes again."""
        if self._store is None:
            return
        try:
            with store.transaction() as transaction:
                transaction.remember("", "probe", b"", b"")
                transaction.forget("", "probe")
        except StoreError as error:
            self.note_store(error)
        else:
            self.note_store(None)

    def failures(self) -> list[Failure]:
        return [Failure(resource, error) for resource, error in self._places.failures()]

    def conditions(self) -> list[Condition]:
        """What is wrong; empty when nothing is."""
        found = [one for one in (self._module.condition, self._store) if one is not None]
        if failures := self.failures():
            first = failures[0]
            found.append(
                Condition(
                    "KERNEL_REFUSED",
                    f"the kernel refuses {len(failures)} of the store's resources, such as {_words(first.resource)}: "
                    f"{first.error.message}",
                    self._failing_since or now(),
                )
            )
        return found

    def tell(self) -> None:
        """Tell of events, and of those that are seen only now."""
        conditions = self.conditions()
        refused = any(one.reason == "KERNEL_REFUSED" and one is not self._module.condition for one in conditions)
        if refused and self._failing_since is None:
            self._failing_since = now()
            self._news.event(NodeEventKind.RECONCILE_FAILED, conditions[-1].message)
        elif not refused:
            self._failing_since = None
        if bool(conditions) != self._degraded:
            self._degraded = bool(conditions)
            if conditions:
                self._news.event(NodeEventKind.DEGRADED, conditions[0].message)
            else:
                self._news.event(NodeEventKind.RECOVERED, "all is well again")
        self._news.tell()

    def sync(self, resource: Resource) -> Sync:
        """How a resource stands against the kernel. May be called from any thread."""
        live = self._places.live(resource.namespace)
        if not self._module.loaded:
            return Sync(SyncState.PENDING, "it waits for the kernel module")
        if live is None or live.identity is None:
            why = live.detail if live is not None else "it is not registered"
            return Sync(SyncState.PENDING, f"its namespace is absent: {why}")
        if resource.kind is ResourceKind.NAMESPACE:
            found, door = _sync_of_table(live), self._transparency.status
            if live.transparent and found is _IN_SYNC and door.state is TransparentState.FAILED:
                return Sync(SyncState.PENDING, f"the BPF door may not serve it yet: {door.detail}")
            return found
        if (error := live.failures.get(resource)) is not None:
            return Sync(SyncState.FAILED, error.message)
        if resource.kind is ResourceKind.ENDPOINT and (target := live.waiting.get(resource.id)) is not None:
            return Sync(SyncState.PENDING, f"its target namespace '{target}' is absent")
        if live.generation == UNKNOWN and not live.filling:
            return Sync(SyncState.PENDING, "its namespace waits for the next reconcile")
        return _IN_SYNC


def _sync_of_table(live: Live) -> Sync:
    failures, waiting = live.failures, len(live.waiting)
    if failures:
        error = next(iter(failures.values()))
        return Sync(SyncState.FAILED, f"the kernel refuses {len(failures)} of its resources: {error.message}")
    if waiting:
        return Sync(SyncState.PENDING, f"{waiting} of its endpoints wait for their target namespace")
    if live.generation == UNKNOWN and not live.filling:
        return Sync(SyncState.PENDING, "it waits for the next reconcile")
    return _IN_SYNC


def _words(resource: Resource) -> str:
    if resource.kind is ResourceKind.NAMESPACE:
        return f"namespace '{resource.namespace}'"
    return f"'{resource.id}' of namespace '{resource.namespace}'"
