# SPDX-License-Identifier: Apache-2.0
"""A change of the store, as the kernel is made to follow it: within its transaction, and after its commit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from graftd.errors import KernelError, StoreError, StoreUnavailableError
from graftd.model import Change, NamespaceContent, NamespaceRecord, NetnsIdentity, SetAcl, namespace_of
from graftd.reconcile._difference import Resource, ResourceKind
from graftd.reconcile._news import News
from graftd.reconcile._places import UNKNOWN, Nothing, Place, Places, unresolved
from graftd.reconcile._plan import namespace_before, plan
from graftd.reconcile._status import Carried
from graftd.reconcile._tables import Sent, Tables, aborting, cured
from graftd.store import ALL, Store, Transaction, View

_EMPTY = NamespaceContent((), (), ())


@dataclass(slots=True)
class Work:
    """What is done for one change.

    names: the namespaces that it is about. forget: makes what is known of them what it was. mark: of the events.
    fresh: namespaces that it gives a table elsewhere than before. before: those of `names` that there were, with what
    they held; where there are fresh ones. not_former: network namespaces whose tables need not be emptied later.
    """

    names: set[str]
    forget: Callable[[], None]
    mark: int
    fresh: list[str] = field(default_factory=list)
    before: dict[str, tuple[NamespaceRecord, NamespaceContent]] = field(default_factory=dict)
    aborted: int = 0
    not_former: list[NetnsIdentity] = field(default_factory=list)


class Carrier:
    """Carries changes to the kernel, and what was carried back."""

    def __init__(self, store: Store, places: Places, tables: Tables, news: News) -> None:
        self._store = store
        self._places = places
        self._tables = tables
        self._news = news

    def begin(self, transaction: Transaction) -> Work:
        names = {namespace_of(change.record) for change in transaction.changes}
        return Work(names, self._places.remember(names), self._news.mark())

    def carry_out(self, work: Work, transaction: Transaction, *, abort: bool) -> None:
        """Bring the transaction's changes into the kernel, except for tables elsewhere than before: these come after
        the commit, or a crash would leave a table that nobody knows. Raises KernelError, PlaceError."""
        by_name: dict[str, list[Change]] = defaultdict(list)
        for change in transaction.changes:
            by_name[namespace_of(change.record)].append(change)
        for name, changes in by_name.items():
            record = transaction.find_namespace(name)
            touched, before = namespace_before(changes)
            if record is None:
                self._empty(work, name, abort=abort)
                self._places.remove(name)
            elif touched and (before is None or before.namespace.selector != record.namespace.selector):
                self._move(work, transaction, record, before, changes, abort=abort)
            else:
                self._change(work, transaction, record, changes, abort=abort)
            if record is not None:
                self._places.describe(record)
        if work.not_former:
            transaction.forget_former(work.not_former)
        if work.fresh:
            self._keep_in_mind(work)

    def fill(self, work: Work, carried: Carried) -> None:
        """After the commit: give the tables that are elsewhere what the store says. What the kernel refuses takes the
        whole change back, and is raised."""
        try:
            for name in work.fresh:
                with self._store.snapshot() as view:
                    self._tables.equalize(view, name, whole=True, strict=True)
        except KernelError as error:
            self._take_back(work, carried, error)
            raise
        finally:
            for name in work.fresh:
                if (live := self._places.live(name)) is not None:
                    live.filling = False

    def undo(self, work: Work) -> None:
        """After a rollback: the kernel is to be as the store says. What fails, a round repeats. Raises StoreError."""
        work.forget()
        self._news.drop(work.mark, work.names)
        self._know(work.names)
        self._places.look(work.names)
        for name in work.names:
            with suppress(KernelError), self._store.snapshot() as view:
                self._tables.equalize(view, name, whole=True)

    def start_anew(self) -> None:
        """After another store took this one's place: what it does not know, or not there, is nobody's any more."""
        with self._store.snapshot() as view:
            kept = {record.namespace.name: record for record in view.namespaces(limit=ALL)}
        for name in self._places.names():
            live = self._places.live(name)
            if live is not None and (
                name not in kept or kept[name].namespace.selector != live.selector or kept[name].namespace.transient
            ):
                self._places.remove(name)
        for name, record in kept.items():
            live = self._places.live(name) or self._places.register(record)
            self._places.describe(record)
            live.generation = UNKNOWN
            self._places.unkept.add(name)

    # Inside

    def _empty(self, work: Work, name: str, *, abort: bool) -> None:
        """Empty the table that a namespace gives up. One that is not found now stays one of the store's `former`."""
        identity = self._places.identity_of(name)
        aborted = self._tables.clear(name, abort=abort)
        if aborted is not None and identity is not None:
            work.aborted += aborted
            work.not_former.append(identity)

    def _know(self, names: set[str]) -> None:
        """A commit may have failed and be kept nevertheless: what the store has now is what holds."""
        with self._store.snapshot() as view:
            records = {name: view.find_namespace(name) for name in names}
        for name, record in records.items():
            live = self._places.live(name)
            if live is not None and (record is None or record.namespace.selector != live.selector):
                self._places.remove(name)
            if record is not None and self._places.live(name) is None:
                self._places.register(record)
            elif record is not None:
                self._places.describe(record)

    def _move(
        self,
        work: Work,
        transaction: Transaction,
        record: NamespaceRecord,
        before: NamespaceRecord | None,
        changes: list[Change],
        *,
        abort: bool,
    ) -> None:
        """See that a namespace may have its table where its selector leads now, and empty the one that it had."""
        name, selector = record.namespace.name, record.namespace.selector
        live = self._places.live(name)
        with self._places.place(selector) as place:
            if isinstance(place, Nothing) and record.namespace.transient:
                raise unresolved(name, place)
            if isinstance(place, Place):
                self._places.check(name, place)
                if live is None or place.identity != live.identity:
                    self._places.check_empty(name, place)
            if live is not None and isinstance(place, Place) and place.identity == live.identity:
                live.selector = selector  # another way to the same network namespace
                work.not_former.append(place.identity)
            else:
                if before is not None:
                    self._empty(work, name, abort=abort)
                live = self._places.add(name, selector)
                live.selector, live.transient = selector, False  # until it is what it is to be
                self._places.settle(name, place)
                live.filling = live.identity is not None
                _, live.waiting = self._tables.desired(transaction, record)
                work.fresh.append(name)
        if name in work.fresh:
            self._identify(transaction, record)
        else:
            self._change(work, transaction, record, changes, abort=abort)

    def _change(
        self, work: Work, transaction: Transaction, record: NamespaceRecord, changes: list[Change], *, abort: bool
    ) -> None:
        """Bring changes to a table that stays where it is."""
        name = record.namespace.name
        live = self._places.live(name) or self._places.add(name, record.namespace.selector)
        with self._places.place(live.selector) as found:
            self._places.settle(name, found)
            self._identify(transaction, record)
            if not isinstance(found, Place) or found.identity != live.identity:
                return
            place = self._equal(name, found)
            known = place.table is not None and place.table.generation == live.generation
            planned, waits = plan(
                transaction,
                name,
                changes,
                wanted=self._tables.wanted,
                stands=lambda endpoint: self._tables.stands(name, place, endpoint),
            )
            sent = self._tables.send(name, place, [aborting(one) for one in planned] if abort else planned)
        if sent.refused or not known:
            live.generation = UNKNOWN
        sent.check(name)
        work.aborted += sent.aborted
        self._note(transaction, name, sent, waits)

    def _equal(self, name: str, place: Place) -> Place:
        """The place, when what somebody else may have done to its table is repaired."""
        live = self._places.live(name)
        if live is not None and place.table is not None and place.table.generation == live.generation:
            return place
        with self._store.snapshot() as view:  # what was before the transaction
            self._tables.equalize(view, name, whole=True)
        return self._tables.seen_anew(place)

    def _note(self, view: View, name: str, sent: Sent, waiting: dict[str, str | None]) -> None:
        live = self._places.live(name)
        if live is None:
            return
        for endpoint, target in waiting.items():
            if target is not None:
                live.waiting[endpoint] = target
            elif not sent.waits:
                live.waiting.pop(endpoint, None)
        if live.failures:
            cures: set[Resource] = cured(live.failures, sent)
            for endpoint, target in waiting.items():
                if target is not None or view.find_endpoint(name, endpoint) is None:  # it is not to be there
                    cures.add(Resource(ResourceKind.ENDPOINT, name, endpoint))
            self._places.refused(name, {what: error for what, error in live.failures.items() if what not in cures})
        if live.failures and any(isinstance(one.step, SetAcl) for one in sent.done):
            live.generation = UNKNOWN  # what an ACL held back can come now
            self._places.awakened.add(name)

    def _identify(self, transaction: Transaction, record: NamespaceRecord) -> None:
        identity = self._places.identity_of(record.namespace.name)
        if record.identity != identity:
            transaction.identify_namespace(record.namespace.name, identity)

    def _keep_in_mind(self, work: Work) -> None:
        with self._store.snapshot() as view:  # what was before the transaction
            for name in work.names:
                if (record := view.find_namespace(name)) is not None:
                    work.before[name] = record, view.content(name)

    def _take_back(self, work: Work, carried: Carried, refusal: KernelError) -> None:
        """Undo what was committed. Whoever watches is told of it as of any change."""
        try:
            with self._store.transaction() as transaction:
                for name in work.names.difference(work.before):
                    transaction.apply(None, name, _EMPTY)
                for name, (record, content) in work.before.items():
                    transaction.apply(record.namespace, name, content)
                    transaction.identify_namespace(name, record.identity)
                for name in work.names.difference(work.before):
                    transaction.delete_namespace(name)
                for name in work.fresh:
                    with suppress(KernelError):
                        self._empty(work, name, abort=False)
                transaction.forget_former(work.not_former)
                for undo in carried.undo:
                    undo(transaction)
                changes = transaction.changes
        except StoreError as error:
            raise StoreUnavailableError(
                f"the kernel refuses the change ({refusal.message}), and taking it back failed, so it stays in the "
                f"store alone: {error}"
            ) from refusal
        self._news.changed(changes)
        self.undo(work)
