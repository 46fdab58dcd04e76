# SPDX-License-Identifier: Apache-2.0
"""The store and the kernel, made to agree.

An Engine, and all that it is given, belongs to one thread, in which every method is called. A change is tried in
a transaction of the store, carried out in the kernel, and then committed: what either refuses is not kept, and a crash
in between leaves the kernel to the reconcile at the next start.
"""

from __future__ import annotations

import enum
import errno
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

from graftd.errors import (
    GraftError,
    KernelError,
    ModuleNotLoadedError,
    NamespaceAbsentError,
    NamespaceError,
    NamespaceTakenError,
    NotImportableError,
    NotOursError,
    SelectorUnresolvedError,
    StepRefusedError,
    StoreBusyError,
    StoreDamagedError,
    StoreError,
    StoreFullError,
    StoreReadOnlyError,
    StoreUnavailableError,
    TableNotEmptyError,
    TablesClaimedError,
)
from graftd.model import (
    Change,
    ChangeKind,
    DeleteEndpoint,
    EndpointEntry,
    EndpointRecord,
    Freeze,
    GraftedSocket,
    Identified,
    ModuleInfo,
    Namespace,
    NamespaceContent,
    NamespaceRecord,
    NetnsIdentity,
    PutEndpoint,
    Rule,
    Selector,
    SetAcl,
    SetRules,
    SetTable,
    Step,
    Table,
    TableLimits,
    TableSettings,
    TargetedEndpoint,
    check_id,
)
from graftd.ports import Finder, Found, Kernel, StepResult
from graftd.reconcile._difference import (
    Actual,
    Desired,
    Difference,
    Planned,
    Resource,
    ResourceKind,
    Wanted,
    difference,
)
from graftd.reconcile._event import Listener, NodeEvent, NodeEventKind
from graftd.store import ALL, CopyInfo, Snapshot, Store, Transaction, View

T = TypeVar("T")

# The module's own, kmod/table.h.
DEFAULT_LIMITS = TableLimits(max_sockets=65536, max_ephemeral=16384, max_endpoints=131072)
_NEVER = -1


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


Answer: TypeAlias = Callable[[Carried], T]


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
    """last: when one ended, None before the first. repaired: differences since the start."""

    last: datetime | None
    took: timedelta
    repaired: int
    failed: int


class SyncState(enum.Enum):
    IN_SYNC = "in sync"
    PENDING = "pending"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Sync:
    """How a resource stands against the kernel. detail: a sentence, "" where it is in sync."""

    state: SyncState
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Imported(Generic[T]):
    """What was adopted from a table of the kernel."""

    record: NamespaceRecord
    endpoints: int
    rules: int
    acl_rules: int
    answer: T


@dataclass(slots=True)
class _Live:
    """What is known of a registered namespace. generation: that of the table when it was last equal to the store but
    for `failures` and `waiting`, _NEVER where it is not known to be. detail: why it is absent."""

    identity: NetnsIdentity | None = None
    selector: Selector | None = None  # by which it was found
    generation: int = _NEVER
    failures: dict[Resource, KernelError] = field(default_factory=dict)
    targets: dict[str, str] = field(default_factory=dict)  # endpoint -> its target, where it has one
    waiting: dict[str, str] = field(default_factory=dict)  # of those, the ones whose target is absent
    detail: str = ""


@dataclass(frozen=True, slots=True)
class _Fresh:
    """A namespace that a change gives a table elsewhere, and how it was before."""

    name: str
    selector: Selector
    before: NamespaceRecord | None
    content: NamespaceContent


@dataclass(frozen=True, slots=True)
class _Place:
    """A namespace that is there, held open. table: None where there is no module."""

    fd: int
    identity: NetnsIdentity
    table: Table | None

    @property
    def there(self) -> Table:
        """The table. Raises ModuleNotLoadedError."""
        if self.table is None:
            raise ModuleNotLoadedError(errno.ENOENT, "the kernel module graft is gone: load it with 'modprobe graft'")
        return self.table


class Engine:
    """See the module. `start` comes first, `close` last."""

    def __init__(
        self,
        store: Store,
        kernel: Kernel,
        finder: Finder,
        listener: Listener,
        *,
        failpoint: Callable[[str], None] = lambda _name: None,
    ) -> None:
        """failpoint is called with "before-netlink" and "after-netlink" there, for tests that end the process."""
        self._store = store
        self._kernel = kernel
        self._finder = finder
        self._listener = listener
        self._failpoint = failpoint
        self._own = finder.own()
        self._live: dict[str, _Live] = {}
        self._names: dict[int, str] = {}  # cookie -> the namespace that stands for it
        self._module = ModuleState.NOT_LOADED
        self._info: ModuleInfo | None = None
        self._module_condition: Condition | None = None
        self._store_condition: Condition | None = None
        self._failed_since: datetime | None = None
        self._events: list[NodeEvent] = []
        self._degraded = False
        self._status = ReconcileStatus(None, timedelta(), 0, 0)

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
        return self._own

    @property
    def module(self) -> tuple[ModuleState, ModuleInfo | None]:
        """As last seen."""
        return self._module, self._info

    @property
    def reconciled(self) -> ReconcileStatus:
        return self._status

    def namespace_of(self, cookie: int) -> str:
        """The registered namespace that is this network namespace; "" for none. May be called from any thread."""
        return self._names.get(cookie, "")

    def identity_of(self, name: str) -> NetnsIdentity | None:
        """The network namespace that a registered one is now, as last seen. May be called from any thread."""
        live = self._live.get(name)
        return None if live is None else live.identity

    def present(self) -> int:
        """How many registered namespaces are there."""
        return sum(live.identity is not None for live in self._live.values())

    def registered(self) -> int:
        """How many namespaces are registered."""
        return len(self._live)

    def hints(self, cookies: Iterable[int]) -> dict[int, list[Selector]]:
        """Selectors that would select these network namespaces, as far as the machine tells of any."""
        return self._finder.hints(frozenset(cookies))

    def conditions(self) -> list[Condition]:
        """What is wrong; empty when nothing is."""
        found = [one for one in (self._module_condition, self._store_condition) if one is not None]
        if failures := self._failures():
            first = failures[0]
            found.append(
                Condition(
                    "KERNEL_REFUSED",
                    f"the kernel refuses {len(failures)} of the store's resources, such as "
                    f"'{first.resource.id or first.resource.namespace}' of namespace '{first.resource.namespace}': "
                    f"{first.error.message}",
                    self._failed_since or _now(),
                )
            )
        return found

    def sync(self, resource: Resource) -> Sync:
        live = self._live.get(resource.namespace)
        if self._module is not ModuleState.LOADED:
            return Sync(SyncState.PENDING, "it waits for the kernel module")
        if live is None or live.identity is None:
            return Sync(
                SyncState.PENDING, f"its namespace is absent: {live.detail if live else 'it is not registered'}"
            )
        if resource.kind is ResourceKind.NAMESPACE:
            return _sync_of_table(live)
        if (error := live.failures.get(resource)) is not None:
            return Sync(SyncState.FAILED, error.message)
        if resource.kind is ResourceKind.ENDPOINT and (target := live.waiting.get(resource.id)) is not None:
            return Sync(SyncState.PENDING, f"its target namespace '{target}' is absent")
        if live.generation == _NEVER:
            return Sync(SyncState.PENDING, "its namespace waits for the next reconcile")
        return _IN_SYNC

    # Life

    def start(self) -> None:
        """Find the namespaces and make the kernel equal to the store, where there is a module."""
        with self._store.snapshot() as view:
            for record in view.namespaces(limit=ALL):
                self._live[record.namespace.name] = _Live()
        self.tick()

    def tick(self, *, whole: bool = False) -> None:
        """What is to be done from time to time: see the module, find namespaces, repair what differs.

        whole: every table is read, and not only those whose generation has moved. What fails is a condition.
        """
        with self._telling():
            self._meet_module()
            self._refresh(None)
            if self._module is ModuleState.LOADED:
                with suppress(ModuleNotLoadedError):
                    self._reconcile(None, whole=whole)

    def refresh(self, selectors: Iterable[Selector]) -> None:
        """Look anew at what these select, and give tables to those that came."""
        with self._telling():
            self._meet_module()
            self._refresh(frozenset(selectors))
            if self._module is ModuleState.LOADED:
                with suppress(ModuleNotLoadedError):
                    self._reconcile(None, whole=False)

    def noticed(self, generations: dict[int, int]) -> None:
        """The kernel told of tables, by cookie, that they have these generations."""
        with self._telling():
            for cookie, generation in generations.items():
                name = self._names.get(cookie)
                live = None if name is None else self._live.get(name)
                if name is not None and live is not None and generation > live.generation:
                    with suppress(KernelError):
                        self._reconcile(name, whole=False)

    def check(self) -> None:
        """Read the store and ask the module anything, for the watchdog. Raises StoreError; a module that is absent
        or refuses is a condition and no error."""
        self._store.check()
        with self._telling():
            self._meet_module()

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
        self, act: Callable[[Transaction], Answer[T]], *, dry_run: bool = False, abort: bool = False
    ) -> tuple[T, int]:
        """Make a change in the store and in the kernel, durably, or not at all.

        act changes the transaction and returns what makes the answer, within the transaction still, when the kernel
        has it. abort: live sockets that depend on what is changed end; how many is returned beside the answer.
        dry_run: only tries, and asks nothing of the kernel.

        Raises what act raises; ModuleNotLoadedError, TablesClaimedError; StepRefusedError for what the kernel
        refuses; StoreError.
        """
        if not dry_run:
            self._require_module()
        touched: set[str] = set()
        with self._telling():
            try:
                with self._store.transaction(dry_run=dry_run) as transaction:
                    answer = act(transaction)
                    carried = Carried()
                    fresh: list[_Fresh] = []
                    if transaction.changes and not dry_run:
                        touched = {_namespace_of(change) for change in transaction.changes}
                        self._failpoint("before-netlink")
                        aborted, fresh = self._carry_out(transaction, abort=abort)
                        carried = Carried(aborted)
                        self._failpoint("after-netlink")
                    value = answer(carried)
                    changes = transaction.changes
            except BaseException as error:
                self._note_store(error)
                self._repair(touched)
                raise
            if not dry_run:
                self._note_store(None)
                self._fill(fresh, carried)
                self._tell(changes)
            return value, carried.aborted

    def freeze(self, freeze: Freeze | None) -> int:
        """Deny new grafts everywhere, or end that; how many namespaces that are present deny them now."""
        self._require_module()
        frozen = 0
        with self._telling():
            try:
                with self._store.transaction() as transaction:
                    transaction.set_freeze(freeze)
                    for record in transaction.namespaces(limit=ALL):
                        settings = _settings(transaction, record.namespace)
                        frozen += self._freeze_one(record, settings)
            except BaseException as error:
                self._note_store(error)
                self._repair(set(self._live))
                raise
            self._note_store(None)
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
        NotImportableError, NotOursError, NamespaceTakenError, AlreadyExistsError.
        """
        self._require_module()
        name = namespace.name
        with self._telling():
            with self._store.transaction(dry_run=dry_run) as transaction:
                known = recall(transaction)
                if known is not None:
                    return known
                with self._place(namespace.selector) as place:
                    if not isinstance(place, _Place) or place.table is None:
                        raise SelectorUnresolvedError(
                            f"the network namespace of '{name}' is not there: {place}", namespace=name
                        )
                    self._check_place(name, place)
                    actual = self._actual(place)
                    content = self._content(name, actual)
                    wanted = replace(
                        namespace,
                        limits=_adopted_limits(namespace.limits, actual.table),
                        freeze=Freeze("it was frozen when it was imported") if actual.table.frozen else None,
                    )
                    transaction.create_namespace(wanted)
                    transaction.apply(None, name, content)
                    record = transaction.identify_namespace(name, place.identity)
                answer = finish(transaction, record, content)
                changes = transaction.changes
            if not dry_run:
                self._set_identity(name, record.identity, "", record.namespace.selector)
                with suppress(KernelError):
                    self._reconcile(name, whole=True)
                self._tell(changes)
            return answer

    def restore(self, copy: Path) -> CopyInfo:
        """Replace the store by a copy of one, and make the kernel equal to it. Raises what Store.restore raises."""
        with self._telling():
            try:
                info = self._store.restore(copy)
            except StoreError as error:
                self._note_store(error)
                raise
            self._note_store(None)
            with self._store.snapshot() as view:
                kept = {record.namespace.name for record in view.namespaces(limit=ALL)}
            for name in set(self._live).difference(kept):
                self._abandon(name)
            for name in kept:
                self._live.setdefault(name, _Live()).generation = _NEVER
            self._listener.restored()
            self.tick()
            return info

    # The kernel

    def reconcile(self, name: str | None = None, *, dry_run: bool = False) -> Report:
        """Read every table, or one namespace's, and make it equal to the store.

        Raises NotFoundError, ModuleNotLoadedError, TablesClaimedError.
        """
        with self._telling():
            self._meet_module()
            self._require_module()
            if name is not None:
                self.read(lambda view: view.namespace(name))
            if not dry_run:
                self._refresh(None)
            return self._reconcile(name, whole=True, dry_run=dry_run)

    def table(self, name: str) -> Table | None:
        """What the kernel counts of a namespace; None where it is absent or there is no module."""
        with self._open(name) as place:
            return None if place is None else place.table

    def entries(self, name: str) -> list[EndpointEntry]:
        """The endpoints of a namespace as the kernel has them; empty where it is absent or there is no module."""
        with self._open(name) as place:
            return [] if place is None or place.table is None else self._kernel.endpoints(place.fd)

    def entry(self, name: str, endpoint: str) -> EndpointEntry | None:
        with self._open(name) as place:
            if place is None or place.table is None:
                return None
            try:
                return self._kernel.endpoint(place.fd, endpoint)
            except KernelError as error:
                if error.errno != errno.ENOENT:
                    raise
                return None

    def tables(self) -> list[Table]:
        return self._kernel.tables()

    def sockets(self, name: str | None = None) -> list[GraftedSocket]:
        """The live grafted sockets of a namespace, or of every one that is registered."""
        if name is None:
            return [one for one in self._kernel.sockets(None) if one.netns_cookie in self._names]
        with self._open(name) as place:
            return [] if place is None else self._kernel.sockets(place.fd)

    def abort_sockets(
        self, name: str, *, cookies: Sequence[int] = (), endpoint: str | None = None, all_of_it: bool = False
    ) -> int:
        """End live sockets; how many. Raises NamespaceAbsentError."""
        self._require_module()
        with self._open(name) as place:
            if place is None:
                raise NamespaceAbsentError(
                    f"namespace '{name}' is absent, so it has no sockets: wait until it is there", namespace=name
                )
            aborted = 0
            for cookie in cookies:
                with _if_there():
                    aborted += self._kernel.abort_socket(place.fd, cookie)
            endpoints = {endpoint} if endpoint is not None else set()
            if all_of_it:
                endpoints = {one.endpoint for one in self._kernel.sockets(place.fd)}
            for one in sorted(endpoints):
                with _if_there():
                    aborted += self._kernel.abort_sockets(place.fd, one)
            return aborted

    # Inside, the module

    def _meet_module(self) -> None:
        """See whether the module is there and lets graftd write."""
        before = self._module
        try:
            self._info = self._kernel.info()
            self._kernel.claim()
        except ModuleNotLoadedError as error:
            self._info = None
            self._be(ModuleState.NOT_LOADED, "MODULE_NOT_LOADED", f"{error.message}: load it with 'modprobe graft'")
        except KernelError as error:
            self._refused(error)
        else:
            self._module, self._module_condition = ModuleState.LOADED, None
        if self._module is before:
            return
        if before is ModuleState.NOT_LOADED:
            self._event(NodeEventKind.MODULE_LOADED, "the module graft is there")
        if self._module is ModuleState.LOADED:
            self._event(NodeEventKind.CLAIMED, "graftd writes the tables of this node")
            for live in self._live.values():
                live.generation = _NEVER
        elif self._module is ModuleState.NOT_LOADED:
            self._event(NodeEventKind.MODULE_UNLOADED, "the module graft is gone, and every table with it")
        else:
            condition = self._module_condition
            self._event(NodeEventKind.CLAIM_LOST, condition.message if condition else "the tables are another's")

    def _refused(self, error: KernelError) -> None:
        if error.errno == errno.EBUSY and self._info is not None:
            who = self._info.claimant or "another process"
            self._be(
                ModuleState.REFUSING,
                "TABLES_CLAIMED",
                f"{who} (pid {self._info.claimant_pid}) has claimed the tables: end it, and graftd takes over",
            )
        else:
            self._be(ModuleState.REFUSING, "KERNEL_REFUSED", f"the module does not let graftd write: {error.message}")

    def _be(self, state: ModuleState, reason: str, message: str) -> None:
        self._module = state
        now = self._module_condition
        if now is None or now.reason != reason or now.message != message:
            self._module_condition = Condition(reason, message, _now())

    def _require_module(self) -> None:
        if self._module is not ModuleState.LOADED:
            self._meet_module()
        if self._module is ModuleState.LOADED:
            return
        message = self._module_condition.message if self._module_condition else "the module is not there"
        if self._module is ModuleState.NOT_LOADED:
            raise ModuleNotLoadedError(errno.ENOENT, message)
        info = self._info
        raise TablesClaimedError(message, claimant=info.claimant if info else "", pid=info.claimant_pid if info else 0)

    # Inside, places

    @contextmanager
    def _place(self, selector: Selector) -> Iterator[_Place | str]:
        """What a selector selects, held open; or a sentence that says why there is nothing."""
        with ExitStack() as held:
            place: _Place | str
            try:
                found = self._finder.find(selector)
                if found is None:
                    place = f"there is no {_SELECTOR_WORDS[selector.kind.value]} '{selector.value}'"
                else:
                    held.callback(found.close)
                    place = self._known(found)
            except NamespaceError as error:
                place = str(error)
            yield place

    def _known(self, found: Found) -> _Place:
        if self._module is ModuleState.NOT_LOADED:
            return _Place(found.fd, self._finder.identity(found), None)
        try:
            table = self._kernel.table(found.fd)
        except ModuleNotLoadedError:
            self._meet_module()
            return _Place(found.fd, self._finder.identity(found), None)
        return _Place(found.fd, NetnsIdentity(self._own.boot_id, table.netns_cookie), table)

    @contextmanager
    def _open(self, name: str) -> Iterator[_Place | None]:
        """A registered namespace, if it is there and still the one that it was. Raises NotFoundError."""
        record = self.read(lambda view: view.namespace(name))
        with self._place(record.namespace.selector) as place:
            known = self.identity_of(name)
            yield place if isinstance(place, _Place) and place.identity == known else None

    def _check_place(self, name: str, place: _Place) -> None:
        """Raise where a namespace cannot have a table of graftd's for `name`."""
        if place.identity.cookie == self._own.cookie:
            raise NotOursError(
                f"'{name}' would be the namespace that graftd runs in, which needs no grafts: select another one",
                namespace=name,
            )
        other = self._names.get(place.identity.cookie, name)
        if other != name:
            raise NamespaceTakenError(
                f"namespace '{other}' stands for that network namespace already: use it, or select another one",
                namespace=name,
                other=other,
            )
        table = place.table
        if table is not None and table.owner_cookie not in (0, self._own.cookie):
            raise NotOursError(
                f"the table of '{name}' is written by another namespace (cookie {table.owner_cookie}): "
                "empty it from there first",
                namespace=name,
                owner=table.owner_cookie,
            )

    def _check_free(self, name: str, place: _Place) -> None:
        self._check_place(name, place)
        table = place.table
        if table is not None and (table.endpoints or table.rules or table.acls):
            raise TableNotEmptyError(
                f"the table of '{name}' in the kernel holds {table.endpoints} endpoints, {table.rules} rules and "
                f"{table.acls} ACL rules that graftd did not put there: import the namespace, or empty the table",
                namespace=name,
                endpoints=table.endpoints,
                rules=table.rules,
                acl_rules=table.acls,
            )

    def _refresh(self, selectors: frozenset[Selector] | None) -> None:
        """Find the namespaces anew, all or those of some selectors, and keep what changed."""
        with self._store.snapshot() as view:
            records = view.namespaces(limit=ALL)
        moved: list[str] = []
        for record in records:
            name, selector = record.namespace.name, record.namespace.selector
            if selectors is not None and selector not in selectors:
                continue
            with self._place(selector) as place:
                identity, detail = self._identity_at(name, place)
            if self._set_identity(name, identity, detail, selector) or record.identity != identity:
                moved.append(name)
        if not moved:
            return
        self._await_targets(moved)
        try:
            with self._store.transaction() as transaction:
                for name in moved:
                    transaction.identify_namespace(name, self.identity_of(name))
                changes = transaction.changes
        except StoreError as error:
            self._note_store(error)
            return
        self._tell(changes)

    def _identity_at(self, name: str, place: _Place | str) -> tuple[NetnsIdentity | None, str]:
        if isinstance(place, str):
            return None, place
        cookie = place.identity.cookie
        other = self._names.get(cookie, name)
        if cookie == self._own.cookie:
            return None, "its selector selects the namespace that graftd runs in"
        if other != name:
            return None, f"namespace '{other}' stands for that network namespace already"
        return place.identity, ""

    def _set_identity(
        self, name: str, identity: NetnsIdentity | None, detail: str, selector: Selector | None = None
    ) -> bool:
        """Keep in mind what a namespace is; whether that is new."""
        live = self._live.setdefault(name, _Live())
        live.detail = detail
        live.selector = selector
        if live.identity == identity:
            return False
        names = dict(self._names)  # read by other threads
        if live.identity is not None:
            names.pop(live.identity.cookie, None)
        if identity is not None:
            names[identity.cookie] = name
        self._names = names
        self._live[name] = _Live(identity, selector, detail=detail)
        if identity is None:
            self._event(NodeEventKind.NAMESPACE_ABSENT, f"namespace '{name}' is gone: {detail}", name)
        else:
            self._event(NodeEventKind.NAMESPACE_PRESENT, f"namespace '{name}' is there", name)
        return True

    def _await_targets(self, moved: Iterable[str]) -> None:
        """Endpoints elsewhere that lead to these namespaces are to be looked at anew."""
        names = frozenset(moved)
        for live in self._live.values():
            if not names.isdisjoint(live.targets.values()):
                live.generation = _NEVER

    # Inside, changes

    def _carry_out(self, transaction: Transaction, *, abort: bool) -> tuple[int, list[_Fresh]]:
        """Bring the transaction's changes into the kernel, except for the tables that it gives to others than before:
        these come after the commit, or a crash would leave a table that nobody knows. How many live sockets that
        ended, and those tables."""
        by_name: dict[str, list[Change]] = defaultdict(list)
        for change in transaction.changes:
            by_name[_namespace_of(change)].append(change)
        aborted, fresh = 0, []
        for name, changes in by_name.items():
            record = transaction.find_namespace(name)
            own = [change.before for change in changes if isinstance(change.record, NamespaceRecord)]
            before = own[0] if own else None
            if before is not None and not isinstance(before, NamespaceRecord):
                raise TypeError(before)
            if record is None:
                aborted += 0 if before is None else self._forget(before, abort=abort)
            elif own and (before is None or before.namespace.selector != record.namespace.selector):
                if before is not None:
                    aborted += self._forget(before, abort=abort)
                fresh.append(self._move_in(transaction, record, before))
            else:
                aborted += self._carry_out_one(transaction, record, changes, abort=abort)
        return aborted, fresh

    def _move_in(self, transaction: Transaction, record: NamespaceRecord, before: NamespaceRecord | None) -> _Fresh:
        """See that a namespace may have its table where its selector leads now."""
        name, selector = record.namespace.name, record.namespace.selector
        with self._place(selector) as place:
            if isinstance(place, _Place):
                self._check_free(name, place)
            identity, detail = self._identity_at(name, place)
        self._set_identity(name, identity, detail, selector)
        if record.identity != identity:
            transaction.identify_namespace(name, identity)
        with self._store.snapshot() as old:  # what was before the transaction
            content = NamespaceContent((), (), ()) if before is None else old.content(name)
        return _Fresh(name, selector, before, content)

    def _fill(self, fresh: Sequence[_Fresh], carried: Carried) -> None:
        """Give their tables what the store says. If the kernel refuses it, the change is taken back."""
        try:
            for one in fresh:
                self._await_targets([one.name])
                self._reconcile(one.name, whole=True, strict=True)
        except KernelError:
            for one in fresh:
                self._live.setdefault(one.name, _Live())
                with suppress(GraftError), self._place(one.selector) as place:
                    self._clear(one.name, place, abort=False)
            with self._store.transaction() as transaction:
                for one in fresh:
                    if one.before is None:
                        transaction.delete_namespace(one.name, force=True)
                    else:
                        transaction.apply(one.before.namespace, one.name, one.content)
                for undo in carried.undo:
                    undo(transaction)
                changes = transaction.changes
            self._tell(changes)
            self._repair({one.name for one in fresh})
            raise

    def _carry_out_one(
        self, transaction: Transaction, record: NamespaceRecord, changes: list[Change], *, abort: bool
    ) -> int:
        name = record.namespace.name
        with self._place(record.namespace.selector) as place:
            identity, detail = self._identity_at(name, place)
            self._set_identity(name, identity, detail, record.namespace.selector)
            if record.identity != identity:
                transaction.identify_namespace(name, identity)
            if identity is None or isinstance(place, str) or place.table is None:
                return 0
            changed = {_resource_of(change) for change in changes}
            live = self._live[name]
            with self._targets(transaction) as target:
                if live.generation != place.table.generation:
                    live.generation = _NEVER
                    planned = difference(name, self._desired(transaction, record, target), self._actual(place))
                else:
                    planned = self._planned(transaction, record, changes, target)
                if abort:
                    planned = [_aborting(one, changed) for one in planned]
                return self._send(name, place, planned, changed)

    def _planned(
        self, transaction: Transaction, record: NamespaceRecord, changes: list[Change], target: _Target
    ) -> list[Planned]:
        """The steps of changes to a table that is known, in difference()'s order."""
        name = record.namespace.name
        live = self._live[name]
        gone: list[Planned] = []
        put: list[Planned] = []
        for first, last in _endpoint_changes(changes):
            now, before = last.record, first.before
            if not isinstance(now, EndpointRecord):
                raise TypeError(now)
            endpoint, what = now.value.endpoint, (_difference_of(last),)
            there = before is not None and endpoint.name not in live.waiting
            live.waiting.pop(endpoint.name, None)
            live.targets.pop(endpoint.name, None)
            wanted = None
            if last.kind is not ChangeKind.DELETED:
                wanted = self._wanted(live, now, target)
            if wanted is None:
                if there:
                    gone.append(Planned(DeleteEndpoint(endpoint.name), what))
            elif not there or not isinstance(before, EndpointRecord) or _kernel_part(before) != _kernel_part(now):
                put.append(Planned(PutEndpoint(endpoint, wanted.target_fd), what))
        settings = self._planned_settings(transaction, record, changes)
        acl: list[Planned] = []
        rules: list[Planned] = []
        if found := tuple(_difference_of(one) for one in changes if _kind_of(one) is ResourceKind.ACL_RULE):
            acl.append(Planned(SetAcl(tuple(one.rule for one in transaction.acl(name))), found))
        if found := tuple(_difference_of(one) for one in changes if _kind_of(one) is ResourceKind.RULE):
            rules.append(Planned(SetRules(tuple(one.rule for one in transaction.rules(name, limit=ALL))), found))
        return [*settings, *gone, *acl, *put, *rules]

    def _wanted(self, live: _Live, record: EndpointRecord, target: _Target) -> Wanted | None:
        """What the kernel is to have of an endpoint; None while its target is absent."""
        value = record.value
        if not value.target:
            return Wanted(value.endpoint, self._own.cookie)
        live.targets[value.endpoint.name] = value.target
        found = target(value.target)
        if found is None:
            live.waiting[value.endpoint.name] = value.target
            return None
        return Wanted(value.endpoint, found.identity.cookie, found.fd)

    def _planned_settings(
        self, transaction: Transaction, record: NamespaceRecord, changes: list[Change]
    ) -> list[Planned]:
        own = [change for change in changes if isinstance(change.record, NamespaceRecord)]
        if not own:
            return []
        before = own[0].before
        if not isinstance(before, NamespaceRecord):
            raise TypeError(before)
        now = _settings(transaction, record.namespace)
        if now == _settings(transaction, before.namespace):
            return []
        return [Planned(SetTable(now), (_difference_of(own[-1]),))]

    def _abandon(self, name: str) -> None:
        """Empty the table of a namespace whose resource is no more. What fails is told, and left."""
        selector = self._live[name].selector
        if selector is not None:
            try:
                with self._place(selector) as place:
                    self._clear(name, place, abort=False)
            except KernelError as error:
                self._event(
                    NodeEventKind.RECONCILE_FAILED,
                    f"the table of '{name}', which is no longer registered, could not be emptied: {error.message}",
                    name,
                )
        self._set_identity(name, None, "it is no longer registered")
        del self._live[name]

    def _forget(self, record: NamespaceRecord, *, abort: bool) -> int:
        """Empty the table of a namespace that is no longer to be here; how many live sockets that ended."""
        name = record.namespace.name
        with self._place(record.namespace.selector) as place:
            aborted = self._clear(name, place, abort=abort)
        self._set_identity(name, None, "it is no longer registered")
        del self._live[name]
        return aborted

    def _clear(self, name: str, place: _Place | str, *, abort: bool) -> int:
        """Empty a namespace's table, if what is there is the one that graftd knows by that name."""
        if not isinstance(place, _Place) or place.table is None or place.identity != self.identity_of(name):
            return 0
        planned = difference(name, Desired(_UNLIMITED, {}, (), ()), self._actual(place))
        if abort:
            planned = [_aborting(one, None) for one in planned]
        return self._send(name, place, planned, None)

    def _send(self, name: str, place: _Place, planned: Sequence[Planned], changed: set[Resource] | None) -> int:
        """Carry out; keep what failed in mind. changed: what must not fail, None for all. How many sockets ended."""
        generation = place.there.generation
        live = self._live[name]
        whole = live.generation == _NEVER
        results = self._carried_out(place.fd, [one.step for one in planned])
        if whole:
            live.failures = {}
        done = 0
        for one, result in zip(planned, results, strict=True):
            resources = {each.resource for each in one.differences}
            if result.error is None:
                done += 1
                for resource in resources:
                    live.failures.pop(resource, None)
                continue
            if changed is None or resources & changed:
                live.generation = _NEVER
                raise StepRefusedError(result.error, namespace=name, endpoint=_endpoint_of(one.step))
            live.failures.update(dict.fromkeys(resources, result.error))
        # Each step that is carried out moves it by one; where it is elsewhere, the next look finds out.
        live.generation = generation + done
        return sum(result.aborted for result in results)

    def _carried_out(self, fd: int, steps: Sequence[Step]) -> list[StepResult]:
        results = self._kernel.carry_out(fd, steps)
        for result in results:
            if isinstance(result.error, ModuleNotLoadedError):
                raise result.error
        return results

    def _freeze_one(self, record: NamespaceRecord, settings: TableSettings) -> int:
        """Carry a freeze to one namespace; 1 if it is there and denies new grafts. What fails, a reconcile repeats."""
        name = record.namespace.name
        live = self._live.get(name)
        with self._place(record.namespace.selector) as place:
            if live is None or not isinstance(place, _Place) or place.table is None or place.identity != live.identity:
                return 0
            (result,) = self._carried_out(place.fd, [SetTable(settings)])
            if result.error is not None:
                live.generation = _NEVER
                return 0
            if live.generation == place.table.generation:
                live.generation += 1
            return int(bool(settings.frozen))

    def _repair(self, names: set[str]) -> None:
        """After a change that was not kept: the kernel is to be as the store says. What fails, the next tick does."""
        for name in names:
            if (live := self._live.get(name)) is not None:
                live.generation = _NEVER
        if not names:
            return
        try:
            with self._store.snapshot() as view:
                there = [name for name in names if view.find_namespace(name) is not None]
            for name in names.difference(there):
                self._set_identity(name, None, "it was not registered")
                del self._live[name]
            self._refresh(None)
            for name in there:
                self._reconcile(name, whole=True)
        except GraftError as error:
            self._note_store(error)

    # Inside, reconcile

    def _reconcile(self, name: str | None, *, whole: bool, dry_run: bool = False, strict: bool = False) -> Report:
        """whole: tables whose generation is the known one as well. strict: a refusal is raised."""
        begun = _now()
        with self._store.snapshot() as view:
            revision = view.revision
            records = view.namespaces(limit=ALL) if name is None else [view.namespace(name)]
        repairs: list[Difference] = []
        for record in records:
            repairs += self._equalize(record.namespace.name, whole=whole, dry_run=dry_run, strict=strict)
        failures = self._failures()
        if not dry_run:
            now = _now()
            self._status = ReconcileStatus(now, now - begun, self._status.repaired + len(repairs), len(failures))
            if failures and self._failed_since is None:
                self._failed_since = now
                self._event(NodeEventKind.RECONCILE_FAILED, f"the kernel refuses {len(failures)} resources")
            elif not failures:
                self._failed_since = None
        named = tuple(one for one in failures if name is None or one.resource.namespace == name)
        return Report(tuple(repairs), named, revision)

    def _equalize(self, name: str, *, whole: bool, dry_run: bool, strict: bool) -> tuple[Difference, ...]:
        with self._store.snapshot() as view, ExitStack() as held:
            record = view.find_namespace(name)
            live = self._live.get(name)
            if record is None or live is None:
                return ()
            place = held.enter_context(self._place(record.namespace.selector))
            if not isinstance(place, _Place) or place.table is None or place.identity != live.identity:
                return ()
            if not whole and live.generation == place.table.generation and not live.failures:
                return ()
            was_equal = live.generation != _NEVER
            target = held.enter_context(self._targets(view))
            if dry_run:
                live = _Live(live.identity)
            planned = difference(name, self._desired(view, record, target, live), self._actual(place))
            repairs = tuple(each for one in planned for each in one.differences)
            if dry_run:
                return repairs
            failed_before = set(live.failures)
            live.generation = _NEVER
            self._send(name, place, planned, None if strict else set())
            done = tuple(one for one in repairs if one.resource not in live.failures)
            if was_equal and any(one.resource not in failed_before for one in done):
                self._event(
                    NodeEventKind.DRIFT_REPAIRED,
                    f"the table of namespace '{name}' had been changed in the kernel and is as it is to be again",
                    name,
                    done,
                )
            return done

    def _desired(self, view: View, record: NamespaceRecord, target: _Target, live: _Live | None = None) -> Desired:
        """What a namespace's table is to be; notes which endpoints wait."""
        name = record.namespace.name
        live = live or self._live[name]
        live.targets, live.waiting = {}, {}
        endpoints: dict[str, Wanted] = {}
        for one in view.endpoints(name, limit=ALL):
            wanted = self._wanted(live, one, target)
            if wanted is not None:
                endpoints[one.value.endpoint.name] = wanted
        return Desired(_settings(view, record.namespace), endpoints, view.rules(name, limit=ALL), view.acl(name))

    def _actual(self, place: _Place) -> Actual:
        table = place.there
        entries = self._kernel.endpoints(place.fd) if table.endpoints else []
        rules = self._kernel.rules(place.fd).rules if table.rules else ()
        acl = self._kernel.acl(place.fd).rules if table.acls else ()
        return Actual(table, {entry.endpoint.name: entry for entry in entries}, frozenset(rules), acl)

    @contextmanager
    def _targets(self, view: View) -> Iterator[_Target]:
        """Opens namespaces that endpoints have as their target, each once."""
        with ExitStack() as held:
            known: dict[str, _Place | None] = {}

            def target(name: str) -> _Place | None:
                if name not in known:
                    known[name] = None
                    record = view.find_namespace(name)
                    if record is not None:
                        place = held.enter_context(self._place(record.namespace.selector))
                        if isinstance(place, _Place) and place.identity == self.identity_of(name):
                            known[name] = place
                return known[name]

            yield target

    def _content(self, name: str, actual: Actual) -> NamespaceContent:
        """A table as resources. Raises NotImportableError."""
        endpoints = []
        for entry in actual.endpoints.values():
            endpoint = entry.endpoint
            try:
                check_id("an endpoint", endpoint.name)
            except ValueError as error:
                raise NotImportableError(str(error), namespace=name, entry=f"endpoint {endpoint.name}") from error
            target = "" if entry.target_cookie == self._own.cookie else self._names.get(entry.target_cookie)
            if target is None:
                raise NotImportableError(
                    f"endpoint '{endpoint.name}' leads to a namespace that is not registered (cookie "
                    f"{entry.target_cookie}): register that one first, or delete the endpoint",
                    namespace=name,
                    entry=f"endpoint {endpoint.name}",
                )
            endpoints.append(TargetedEndpoint(endpoint, target))
        return NamespaceContent(
            tuple(endpoints),
            tuple(Identified("", rule) for rule in sorted(actual.rules, key=str)),
            tuple(Identified("", rule) for rule in actual.acl),
        )

    def _failures(self) -> list[Failure]:
        return [Failure(resource, error) for live in self._live.values() for resource, error in live.failures.items()]

    # Inside, who is told

    def _tell(self, changes: Sequence[Change]) -> None:
        if changes:
            self._listener.changed(changes)

    def _event(
        self, kind: NodeEventKind, detail: str, namespace: str = "", repairs: tuple[Difference, ...] = ()
    ) -> None:
        self._events.append(NodeEvent(_now(), kind, detail, namespace, repairs))

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Tell of events when what is inside is done, whichever way."""
        try:
            yield
        finally:
            conditions = self.conditions()
            if bool(conditions) != self._degraded:
                self._degraded = bool(conditions)
                if conditions:
                    self._event(NodeEventKind.DEGRADED, conditions[0].message)
                else:
                    self._event(NodeEventKind.RECOVERED, "all is well again")
            events, self._events = self._events, []
            for event in events:
                self._listener.happened(event)

    def _note_store(self, error: BaseException | None) -> None:
        if error is None:
            self._store_condition = None
        elif isinstance(error, StoreError):
            now = self._store_condition
            reason = _STORE_REASONS.get(type(error), "STORE_DAMAGED")
            if now is None or now.message != str(error):
                self._store_condition = Condition(reason, str(error), _now())


_Target: TypeAlias = Callable[[str], _Place | None]

_IN_SYNC = Sync(SyncState.IN_SYNC)
_UNLIMITED = TableSettings(
    DEFAULT_LIMITS.max_sockets, DEFAULT_LIMITS.max_ephemeral, DEFAULT_LIMITS.max_endpoints, frozen=False
)
_SELECTOR_WORDS = {
    "netns": "namespace of ip netns",
    "path": "namespace file",
    "pid": "process",
    "container": "container",
    "unit": "running unit",
}
_STORE_REASONS: dict[type[StoreError], str] = {
    StoreFullError: "STORE_FULL",
    StoreReadOnlyError: "STORE_READ_ONLY",
    StoreDamagedError: "STORE_DAMAGED",
    StoreBusyError: "STORE_BUSY",
    StoreUnavailableError: "STORE_READ_ONLY",
}


def _now() -> datetime:
    return datetime.now(UTC)


def _sync_of_table(live: _Live) -> Sync:
    if live.failures:
        error = next(iter(live.failures.values()))
        return Sync(SyncState.FAILED, f"the kernel refuses {len(live.failures)} of its resources: {error.message}")
    if live.waiting:
        return Sync(SyncState.PENDING, f"{len(live.waiting)} of its endpoints wait for their target namespace")
    if live.generation == _NEVER:
        return Sync(SyncState.PENDING, "it waits for the next reconcile")
    return _IN_SYNC


def _settings(view: View, namespace: Namespace) -> TableSettings:
    limits = namespace.limits
    return TableSettings(
        max_sockets=_or(limits.max_sockets, DEFAULT_LIMITS.max_sockets),
        max_ephemeral=_or(limits.max_ephemeral, DEFAULT_LIMITS.max_ephemeral),
        max_endpoints=_or(limits.max_endpoints, DEFAULT_LIMITS.max_endpoints),
        frozen=namespace.freeze is not None or view.freeze is not None,
    )


def _or(value: int | None, default: int | None) -> int | None:
    return default if value is None else value


def _adopted_limits(limits: TableLimits, table: Table) -> TableLimits:
    """Those that are said, and the kernel's where it is not what it has by itself."""
    found = {}
    for word in ("max_sockets", "max_ephemeral", "max_endpoints"):
        said, there = getattr(limits, word), getattr(table, word)
        found[word] = said if said is not None else (None if there == getattr(DEFAULT_LIMITS, word) else there)
    return TableLimits(**found)


def _kind_of(change: Change) -> ResourceKind:
    record = change.record
    if isinstance(record, NamespaceRecord):
        return ResourceKind.NAMESPACE
    if isinstance(record, EndpointRecord):
        return ResourceKind.ENDPOINT
    return ResourceKind.RULE if isinstance(record.rule, Rule) else ResourceKind.ACL_RULE


def _namespace_of(change: Change) -> str:
    record = change.record
    return record.namespace.name if isinstance(record, NamespaceRecord) else record.namespace


def _resource_of(change: Change) -> Resource:
    record = change.record
    if isinstance(record, NamespaceRecord):
        return Resource(ResourceKind.NAMESPACE, record.namespace.name)
    if isinstance(record, EndpointRecord):
        return Resource(ResourceKind.ENDPOINT, record.namespace, record.value.endpoint.name)
    return Resource(_kind_of(change), record.namespace, record.id)


def _difference_of(change: Change) -> Difference:
    return Difference(_resource_of(change), change.kind)


def _endpoint_changes(changes: Iterable[Change]) -> list[tuple[Change, Change]]:
    """Of each endpoint that changed the first change and the last."""
    found: dict[str, tuple[Change, Change]] = {}
    for change in changes:
        if isinstance(change.record, EndpointRecord):
            name = change.record.value.endpoint.name
            found[name] = (found[name][0] if name in found else change, change)
    return list(found.values())


def _kernel_part(record: EndpointRecord) -> tuple[object, str]:
    return record.value.endpoint, record.value.target


def _endpoint_of(step: Step) -> str:
    if isinstance(step, PutEndpoint):
        return step.endpoint.name
    return step.name if isinstance(step, DeleteEndpoint) else ""


def _aborting(planned: Planned, changed: set[Resource] | None) -> Planned:
    """The step with an end to the live sockets that depend on what is changed; None: on anything."""
    step = planned.step
    if changed is not None and not any(one.resource in changed for one in planned.differences):
        return planned
    if isinstance(step, (PutEndpoint, DeleteEndpoint, SetAcl)):
        return Planned(replace(step, abort=True), planned.differences)
    return planned


@contextmanager
def _if_there() -> Iterator[None]:
    """Sockets that are gone already are none to end."""
    try:
        yield
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
