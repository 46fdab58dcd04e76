# SPDX-License-Identifier: Apache-2.0
"""Namespaces that go with their network namespace."""

from __future__ import annotations

from graftd.errors import StoreError
from graftd.model import EndpointRecord, NetnsIdentity
from graftd.reconcile._event import NodeEventKind
from graftd.reconcile._health import Health
from graftd.reconcile._news import News
from graftd.reconcile._places import Places
from graftd.store import Store


class TransientNamespaces:
    """Not inside of a snapshot or transaction of the store."""

    def __init__(self, store: Store, *, places: Places, health: Health, news: News) -> None:
        self._store = store
        self._places = places
        self._health = health
        self._news = news

    def let_go(self, *, before: str = "") -> bool:
        """Delete those that are gone, with all that they hold and the endpoints elsewhere that lead to them; whether
        there were any. What fails is a condition, and the next look tries again; before: it raises StoreError where
        this one stays, which a change is about.

        Only the store is asked, so that nothing holds them back. Namespaces that led there are awakened: a round takes
        those endpoints out of the kernel. What is left of a table is a former one's, whose
        live sockets end.
        """
        gone = dict(self._places.gone)
        if not gone:
            return False
        identities: list[NetnsIdentity] = []
        try:
            with self._store.transaction() as transaction:
                for name in sorted(gone):
                    was = transaction.delete_namespace(name, force=True, missing_ok=True)
                    if was is not None and was.identity is not None:
                        identities.append(was.identity)
                transaction.abort_former(identities)
                changes = transaction.changes
        except StoreError as error:
            self._health.note_store(error)
            if before in gone:
                raise
            return False
        heirs = self._places.heirs(gone)
        for name, why in sorted(gone.items()):
            self._places.remove(name)
            self._news.event(
                NodeEventKind.NAMESPACE_ABSENT,
                f"namespace '{name}' was transient and is deleted, with all that it held: {why}",
                name,
            )
        for source in {one.record.namespace for one in changes if isinstance(one.record, EndpointRecord)}:
            self._places.awaken(source)
        self._places.look(heirs)
        self._news.changed(changes)
        return True
