# SPDX-License-Identifier: Apache-2.0
"""Rounds: what was found is kept, and tables are made equal one by one."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from datetime import timedelta

from graftd.errors import KernelError, ModuleNotLoadedError, StoreError, TablesClaimedError
from graftd.reconcile._difference import Difference, Resource, ResourceKind
from graftd.reconcile._health import Health
from graftd.reconcile._module import Module
from graftd.reconcile._news import News, now
from graftd.reconcile._places import Places
from graftd.reconcile._status import ReconcileStatus
from graftd.reconcile._tables import Tables
from graftd.store import Store


class Rounds:
    """Not inside of a snapshot or transaction of the store."""

    def __init__(
        self, store: Store, module: Module, *, places: Places, tables: Tables, health: Health, news: News
    ) -> None:
        self._store = store
        self._module = module
        self._places = places
        self._tables = tables
        self._health = health
        self._news = news
        self.status = ReconcileStatus(None, timedelta(), 0, 0)

    def follow(self, names: Collection[str] | None, *, whole: bool) -> None:
        """Keep what was found, and equalize these, None for all, and those that waited for it. What fails is a
        condition."""
        try:
            self.keep_identities()
            if self._module.loaded:
                wanted = dict.fromkeys(self._places.names() if names is None else names)
                wanted |= dict.fromkeys(sorted(self._places.awakened))
                self._places.awakened.clear()
                with suppress(ModuleNotLoadedError, TablesClaimedError):
                    self.equalize(wanted, whole=whole)
        except StoreError as error:
            self._health.note_store(error)

    def keep_identities(self) -> None:
        """Write which network namespaces were found. Raises StoreError, and the next round tries again."""
        unkept = self._places.unkept
        if not unkept:
            return
        with self._store.transaction() as transaction:
            for name in sorted(unkept):
                transaction.identify_namespace(name, self._places.identity_of(name))
            changes = transaction.changes
        unkept.clear()
        self._news.changed(changes)

    def equalize(self, names: Iterable[str], *, whole: bool) -> list[Difference]:
        """What was repaired. Raises ModuleNotLoadedError, TablesClaimedError, StoreError."""
        begun = time.monotonic()
        repairs: list[Difference] = []
        for name in names:
            try:
                with self._store.snapshot() as view:
                    repairs += self._tables.equalize(view, name, whole=whole)
            except (ModuleNotLoadedError, TablesClaimedError):
                raise
            except KernelError as error:
                self._places.refused(name, {Resource(ResourceKind.NAMESPACE, name): error})
        took = timedelta(seconds=time.monotonic() - begun)
        repaired = self.status.repaired + len(repairs)
        self.status = ReconcileStatus(now(), took, repaired, len(self._health.failures()))
        return repairs
