# SPDX-License-Identifier: Apache-2.0
"""The store and the kernel, made to agree.

An Engine, and all that it is given, belongs to one thread, in which every method is called that does not say otherwise.
A change is tried in a transaction of the store, carried out in the kernel, and then committed: what either refuses is
not kept, and a crash in between leaves the kernel to the reconcile at the next start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias, TypeVar

from graftd.errors import (
    ModuleNotLoadedError,
    NamespaceAbsentError,
    NamespaceError,
    SelectorTakenError,
    SelectorUnresolvedError,
    StoreError,
)
from graftd.model import (
    EndpointEntry,
    Freeze,
    GraftedSocket,
    ModuleInfo,
    Namespace,
    NamespaceContent,
    NamespaceRecord,
    NetnsIdentity,
    Selector,
    Table,
)
from graftd.ports import Finder, Kernel, TransparentMap
from graftd.reconcile._carry import Carrier, Work
from graftd.reconcile._difference import Resource
from graftd.reconcile._event import Listener, NodeEventKind
from graftd.reconcile._former import FormerTables
from graftd.reconcile._health import Health
from graftd.reconcile._import import adopt
from graftd.reconcile._module import Module
from graftd.reconcile._news import News
from graftd.reconcile._places import Place, Places
from graftd.reconcile._rounds import Rounds
from graftd.reconcile._status import (
    Carried,
    Condition,
    ModuleState,
    ReconcileStatus,
    Report,
    Sync,
    TransparentStatus,
)
from graftd.reconcile._tables import Tables
from graftd.reconcile._transient import TransientNamespaces
from graftd.reconcile._transparent import Transparency
from graftd.store import ALL, CopyInfo, Snapshot, Store, Transaction, View

T = TypeVar("T")

Answer: TypeAlias = Callable[[Carried], T]


class Engine:
    """See the module. `start` comes first, `close` last."""

    def __init__(
        self,
        store: Store,
        kernel: Kernel,
        finder: Finder,
        listener: Listener,
        *,
        transparent_map: TransparentMap,
        failpoint: Callable[[str], None] = lambda _name: None,
    ) -> None:
        """failpoint is called with "before-netlink" and "after-netlink" there, for tests that end the process."""
        self._store = store
        self._kernel = kernel
        self._finder = finder
        self._failpoint = failpoint
        self._news = News(listener)
        self._module = Module(kernel, self._news)
        self._places = Places(finder, kernel, self._module, self._news)
        self._tables = Tables(kernel, self._module, self._places, self._news)
        self._carrier = Carrier(store, self._places, self._tables, self._news)
        self._transparency = Transparency(transparent_map, self._places, self._news)
        self._health = Health(self._module, self._places, self._transparency, self._news)
        self._rounds = Rounds(
            store,
            self._module,
            places=self._places,
            tables=self._tables,
            health=self._health,
            news=self._news,
        )
        self._former = FormerTables(
            store,
            kernel,
            finder,
            places=self._places,
            tables=self._tables,
            health=self._health,
            news=self._news,
        )
        self._transient = TransientNamespaces(store, places=self._places, health=self._health, news=self._news)

    def close(self) -> None:
        self._kernel.close()
        self._store.close()

    # What is known

    @property
    def store(self) -> Store:
        return self._store

    @property
    def own(self) -> NetnsIdentity:
        """The namespace that graftd runs in."""
        return self._places.own

    @property
    def module(self) -> tuple[ModuleState, ModuleInfo | None]:
        """As last seen."""
        return self._module.state, self._module.info

    def transparent(self) -> TransparentStatus:
        """How the BPF door stands now; what is in its map, as far as graftd wrote it."""
        with self._telling():
            self._transparency.look()
        return self._transparency.status

    @property
    def reconciled(self) -> ReconcileStatus:
        return self._rounds.status

    def namespace_of(self, cookie: int) -> str:
        """The registered namespace that is this network namespace; "" for none. May be called from any thread."""
        return self._places.name_of(cookie)

    def identity_of(self, name: str) -> NetnsIdentity | None:
        """The network namespace that a registered one is now, as last seen. May be called from any thread."""
        return self._places.identity_of(name)

    def present(self) -> int:
        """How many registered namespaces are there. May be called from any thread."""
        return self._places.present()

    def registered(self) -> int:
        """How many namespaces are registered. May be called from any thread."""
        return len(self._places.names())

    def hints(self, cookies: Iterable[int]) -> dict[int, list[Selector]]:
        """Selectors that would select these network namespaces, as far as the machine tells of any."""
        return self._finder.hints(frozenset(cookies))

    def conditions(self) -> list[Condition]:
        """What is wrong; empty when nothing is."""
        return self._health.conditions()

    def sync(self, resource: Resource) -> Sync:
        """How a resource stands against the kernel. May be called from any thread."""
        return self._health.sync(resource)

    # Life

    def start(self) -> None:
        """Find the namespaces and make the kernel equal to the store, where there is a module. Raises StoreError."""
        with self._store.snapshot() as view:
            for record in view.namespaces(limit=ALL):
                self._places.register(record)
        self.tick()

    def tick(self, *, whole: bool = False) -> None:
        """What is to be done from time to time: see the module, find namespaces, repair what differs.

        whole: every table is read, and not only those whose generation has moved. What fails is a condition.
        """
        with self._telling():
            self._places.meet_module()
            self._health.probe_store(self._store)
            self._places.look()
            self._transient.let_go()
            self._rounds.follow(None if whole else self._places.doubtful(), whole=whole)
            self._former.empty()
            self._transparency.look(whole=True)

    def refresh(self, selectors: Iterable[Selector]) -> None:
        """Look anew at what these select, and give tables to those that came."""
        with self._telling():
            self._places.meet_module()
            names = self._places.selected(frozenset(selectors))
            self._places.look(names)
            self._bury()
            self._rounds.follow(names, whole=False)

    def noticed(self, generations: dict[int, int]) -> None:
        """The kernel told of tables, by cookie, that they have these generations."""
        with self._telling():
            names = [self._places.name_of(cookie) for cookie in generations if self._newer(cookie, generations[cookie])]
            if names:
                self._rounds.follow(names, whole=False)

    def check(self) -> None:
        """Read the store and ask the module anything, for the watchdog. Raises StoreError; a module that is absent
        or refuses is a condition and no error."""
        self._store.check()
        with self._telling():
            self._places.meet_module()

    # Reading

    def read(self, look: Callable[[Snapshot], T]) -> T:
        with self._store.snapshot() as view:
            return look(view)

    # Changing

    def pin(self, namespace: str, selector: Selector) -> Selector:
        """A selector as it is to be stored. Raises SelectorUnresolvedError for a process that is not there."""
        try:
            return self._finder.pin(selector)
        except NamespaceError as error:
            raise SelectorUnresolvedError(str(error), namespace=namespace) from error

    def change(
        self,
        act: Callable[[Transaction], Answer[T]],
        *,
        dry_run: bool = False,
        abort: bool = False,
        about: str | None = None,
    ) -> tuple[T, int]:
        """Make a change in the store and in the kernel, durably, or not at all.

        about: a namespace that is transient and gone is deleted before, so that what is asked of it, or of what takes
        its place, never meets what was. So is one that has the selector which the change gives to another.

        act changes the transaction and returns what makes the answer, within the transaction still, when the kernel
        has it. abort: live sockets that depend on what is changed end; how many is returned beside the answer.
        dry_run: only tries, and asks nothing of the kernel.

        Raises what act raises; ModuleNotLoadedError, TablesClaimedError; PlaceError; StepRefusedError for what the
        kernel refuses; StoreError.
        """
        if dry_run:
            return self._change(act, dry_run=True, abort=abort)
        self._require_module()
        if about:
            self._let_go(about)
        try:
            return self._change(act, dry_run=False, abort=abort)
        except SelectorTakenError as error:
            if error.kind != "namespace" or not self._let_go(error.namespace):
                raise
        return self._change(act, dry_run=False, abort=abort)

    def _change(self, act: Callable[[Transaction], Answer[T]], *, dry_run: bool, abort: bool) -> tuple[T, int]:
        work: Work | None = None
        with self._telling():
            try:
                with self._store.transaction(dry_run=dry_run) as transaction:
                    answer = act(transaction)
                    carried = Carried()
                    if transaction.changes and not dry_run:
                        work = self._carrier.begin(transaction)
                        self._failpoint("before-netlink")
                        self._carrier.carry_out(work, transaction, abort=abort)
                        carried = Carried(work.aborted)
                        self._failpoint("after-netlink")
                    value = answer(carried)
                    changes = transaction.changes
            except BaseException as error:
                self._health.note_store(error)
                if work is not None:
                    self._undo(work)
                raise
            if work is not None:
                self._health.note_store(None)
                self._news.changed(changes)
                self._finish(work, carried)
                self._bury()
            return value, carried.aborted

    def freeze(self, freeze: Freeze | None) -> int:
        """Deny new grafts everywhere, or end that; how many namespaces that are present deny them now.

        Raises ModuleNotLoadedError, TablesClaimedError, StoreError.
        """
        self._require_module()
        frozen = 0
        with self._telling():
            try:
                with self._store.transaction() as transaction:
                    transaction.set_freeze(freeze)
                    for record in transaction.namespaces(limit=ALL):
                        frozen += self._tables.freeze(transaction, record.namespace)
            except BaseException as error:
                self._health.note_store(error)
                self._places.doubt()
                self._rounds.follow(None, whole=True)
                raise
            self._health.note_store(None)
        return frozen

    def adopt(
        self,
        namespace: Namespace,
        recall: Callable[[View], T | None],
        finish: Callable[[Transaction, NamespaceRecord, NamespaceContent], T],
        *,
        dry_run: bool = False,
    ) -> T:
        """Register a namespace with what its table in the kernel holds, which stays untouched.

        recall: an answer that was given before. finish: makes the answer. Raises SelectorUnresolvedError,
        NotImportableError, NotOursError, NamespaceTakenError, AlreadyExistsError, KernelError, StoreError.
        """
        self._require_module()
        name = namespace.name
        if not dry_run:
            self._let_go(name)
        with self._telling():
            try:
                with self._store.transaction(dry_run=dry_run) as transaction:
                    if (known := recall(transaction)) is not None:
                        return known
                    record, content = adopt(transaction, namespace, self._places, self._tables)
                    answer = finish(transaction, record, content)
                    changes = transaction.changes
            except StoreError as error:
                self._health.note_store(error)
                raise
            if not dry_run:
                self._health.note_store(None)
                self._news.changed(changes)
                self._places.register(record)
                self._news.event(NodeEventKind.NAMESPACE_PRESENT, f"namespace '{name}' is there", name)
                self._rounds.follow([name], whole=True)
            return answer

    def restore(self, copy: Path) -> CopyInfo:
        """Replace the store by a copy of one, and make the kernel equal to it. Raises what Store.restore raises."""
        with self._telling():
            try:
                info = self._store.restore(copy)
            except StoreError as error:
                self._health.note_store(error)
                raise
            self._health.note_store(None)
            self._news.restored()
            self._carrier.start_anew()
            self.tick()
            return info

    # The kernel

    def reconcile(self, name: str | None = None, *, dry_run: bool = False) -> Report:
        """Read every table, or one namespace's, and make it equal to the store.

        Raises NotFoundError, ModuleNotLoadedError, TablesClaimedError.
        """
        with self._telling():
            if name is not None:
                self.read(lambda view: view.namespace(name))
            self._places.meet_module()
            self._module.check()
            names = self._places.names() if name is None else [name]
            if not dry_run:
                self._places.look()
                self._transient.let_go()
                self._rounds.keep_identities()
            revision = self.read(lambda view: view.revision)
            if dry_run:
                repairs = self.read(lambda view: [one for each in names for one in self._tables.compare(view, each)])
            else:
                repairs = self._rounds.equalize(names, whole=True)
                if name is None:
                    self._former.empty()
            failures = [one for one in self._health.failures() if one.resource.namespace in names]
            return Report(tuple(repairs), tuple(failures), revision)

    def table(self, name: str) -> Table | None:
        """What the kernel counts of a namespace; None where it is absent or there is no module. Raises
        NotFoundError."""
        with self._open(name) as place:
            return None if place is None else place.table

    def entries(self, name: str) -> list[EndpointEntry]:
        """The endpoints of a namespace as the kernel has them; empty where it is absent or there is no module.
        Raises NotFoundError."""
        with self._open(name) as place, suppress(ModuleNotLoadedError):
            if place is not None and place.table is not None:
                return self._kernel.endpoints(place.fd)
        return []

    def entry(self, name: str, endpoint: str) -> EndpointEntry | None:
        """An endpoint as the kernel has it; None where it has none. Raises NotFoundError for the namespace."""
        with self._open(name) as place:
            return None if place is None or place.table is None else self._tables.entry(place, endpoint)

    def tables(self) -> list[Table]:
        """Every table that holds anything, registered or not. Raises ModuleNotLoadedError."""
        return self._kernel.tables()

    def sockets(self, name: str | None = None) -> list[GraftedSocket]:
        """The live grafted sockets of a namespace, or of every one that is registered. Raises NotFoundError,
        ModuleNotLoadedError."""
        if name is None:
            return [one for one in self._kernel.sockets(None) if self._places.name_of(one.netns_cookie)]
        with self._open(name) as place:
            return [] if place is None else self._kernel.sockets(place.fd)

    def abort_sockets(
        self, name: str, *, cookies: Sequence[int] = (), endpoint: str | None = None, all_of_it: bool = False
    ) -> int:
        """End live sockets; how many. Raises NotFoundError, NamespaceAbsentError, ModuleNotLoadedError,
        TablesClaimedError."""
        self._require_module()
        with self._telling(), self._open(name) as place:
            if place is None:
                raise NamespaceAbsentError(
                    f"namespace '{name}' is absent, so it has no sockets: wait until it is there", namespace=name
                )
            endpoints = set() if endpoint is None else {endpoint}
            if all_of_it:
                endpoints = {one.endpoint for one in self._kernel.sockets(place.fd)}
            return self._tables.abort(place, cookies, sorted(endpoints))

    # Inside

    def _require_module(self) -> None:
        if not self._module.loaded:
            with self._telling():
                self._places.meet_module()
            self._module.check()

    def _let_go(self, name: str) -> bool:
        """Delete a transient namespace if it is gone by now; whether any was deleted."""
        if not self._places.transient([name]):
            return False
        with self._telling():
            self._places.look([name])
            return self._bury(before=name)

    def _bury(self, *, before: str = "") -> bool:
        """Delete the transient ones that were found gone, and empty what is left of them; whether there were any.
        before: as of TransientNamespaces.let_go."""
        went = self._transient.let_go(before=before)
        if went:
            self._rounds.follow((), whole=False)
            self._former.empty()
        return went

    @contextmanager
    def _open(self, name: str) -> Iterator[Place | None]:
        self.read(lambda view: view.namespace(name))
        with self._places.open(name) as place:
            yield place

    def _newer(self, cookie: int, generation: int) -> bool:
        live = self._places.live(self._places.name_of(cookie))
        return live is not None and generation > live.generation

    def _undo(self, work: Work) -> None:
        try:
            self._carrier.undo(work)
            self._rounds.keep_identities()
        except StoreError as error:
            self._health.note_store(error)

    def _finish(self, work: Work, carried: Carried) -> None:
        """After a commit: tables that are elsewhere, and whoever waited for what was changed."""
        try:
            self._carrier.fill(work, carried)
        except StoreError as error:
            self._health.note_store(error)
            raise
        finally:
            heirs = self._places.heirs(work.names)
            if heirs:
                self._places.look(heirs)
            if heirs or self._places.awakened or self._places.unkept:
                self._rounds.follow(heirs, whole=False)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """When what is inside is done, whichever way, let the BPF door serve who is there, and tell of events."""
        try:
            yield
        finally:
            self._transparency.follow()
            self._health.tell()
