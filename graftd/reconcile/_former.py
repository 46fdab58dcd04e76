# SPDX-License-Identifier: Apache-2.0
"""Tables that graftd filled and that no registered namespace stands for any more."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress

from graftd.errors import KernelError, ModuleNotLoadedError, StoreDamagedError, StoreError
from graftd.model import NetnsIdentity, Selector
from graftd.ports import Finder, Kernel
from graftd.reconcile._event import NodeEventKind
from graftd.reconcile._health import Health
from graftd.reconcile._news import News
from graftd.reconcile._places import Place, Places
from graftd.reconcile._tables import Tables
from graftd.store import Store

_LOG = logging.getLogger(__name__)


class FormerTables:
    """Not inside of a snapshot or transaction of the store."""

    def __init__(
        self,
        store: Store,
        kernel: Kernel,
        finder: Finder,
        *,
        places: Places,
        tables: Tables,
        health: Health,
        news: News,
    ) -> None:
        self._store = store
        self._kernel = kernel
        self._finder = finder
        self._places = places
        self._tables = tables
        self._health = health
        self._news = news
        self._told: set[NetnsIdentity] = set()
        self._aborting: set[NetnsIdentity] = set()  # of those that are known, whose live sockets are to end

    def empty(self) -> None:
        """Empty those that can be found, after a look at every namespace. What fails, the next time repeats."""
        try:
            former = self._known()
            if former and (done := self._done(former)):
                with self._store.transaction() as transaction:
                    transaction.forget_former(done)
        except StoreError as error:
            self._health.note_store(error)

    def _known(self) -> list[tuple[NetnsIdentity, Selector]]:
        try:
            with self._store.snapshot() as view:
                former = view.former()
                self._aborting = view.aborting() if former else set()
            return former
        except StoreDamagedError:
            with self._store.transaction() as transaction:
                dropped = transaction.drop_senseless_former()
                former, self._aborting = transaction.former(), transaction.aborting()
        _LOG.warning(
            "what the database held of former network namespaces made no sense and was dropped (%d of them): "
            "what is in their tables stays there, and ListTables shows it",
            dropped,
        )
        return former

    def _done(self, former: list[tuple[NetnsIdentity, Selector]]) -> list[NetnsIdentity]:
        """Those that are of another boot, gone, empty, or somebody's now."""
        boot_id = self._places.own.boot_id
        done = [identity for identity, _ in former if identity.boot_id != boot_id]
        with suppress(KernelError):
            ours = self._ours()
            for identity, selector in former:
                if identity.boot_id == boot_id and (
                    identity.cookie not in ours
                    or self._places.name_of(identity.cookie)
                    or self._emptied(identity, selector)
                ):
                    done.append(identity)
        return done

    def _ours(self) -> set[int]:
        """Network namespaces whose tables graftd may have filled."""
        try:
            tables = self._kernel.tables()
        except ModuleNotLoadedError:  # every table went with it
            return set()
        return {one.netns_cookie for one in tables if one.owner_cookie in (0, self._places.own.cookie)}

    def _emptied(self, identity: NetnsIdentity, selector: Selector) -> bool:
        if any(self._places.identity_of(name) is None for name in self._places.selected((selector,))):
            return False  # who was it is absent, and may come back
        # What a registered namespace selects is that one's.
        ways = (way for way in self._ways(identity.cookie, selector) if not self._places.selected((way,)))
        return any(self._emptied_by(way, identity) for way in ways)

    def _ways(self, cookie: int, selector: Selector) -> Iterator[Selector]:
        yield selector
        yield from self._finder.hints(frozenset((cookie,))).get(cookie, ())

    def _emptied_by(self, way: Selector, identity: NetnsIdentity) -> bool:
        try:
            with self._places.place(way) as place:
                if not isinstance(place, Place) or place.identity != identity:
                    return False
                self._tables.empty(place, abort=identity in self._aborting)
        except KernelError as error:
            if identity not in self._told:
                self._told.add(identity)
                self._news.event(
                    NodeEventKind.RECONCILE_FAILED,
                    f"the table of {way.kind.value} '{way.value}' (cookie {identity.cookie}), which is no registered "
                    f"namespace's any more, could not be emptied: {error.message}",
                )
            return False
        return True
