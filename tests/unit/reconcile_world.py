# SPDX-License-Identifier: Apache-2.0
"""An engine with a played kernel, and what can go wrong around it."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from graftd.errors import KernelError, StoreFullError
from graftd.model import (
    Change,
    Endpoint,
    EndpointType,
    Freeze,
    Namespace,
    PortRange,
    Selector,
    SelectorKind,
    Step,
    TargetedEndpoint,
)
from graftd.ports import StepResult
from graftd.reconcile import Carried, Difference, Engine, NodeEvent, NodeEventKind, Resource, ResourceKind, SyncState
from graftd.store import Store, Transaction
from integration.played import OWN_COOKIE, PlayedFinder, PlayedMap, Tables
from unit.store_values import content, namespace

Events = NodeEventKind


class KilledError(BaseException):
    """The process ended here."""


class Heard:
    """A Listener that writes down."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.events: list[NodeEvent] = []
        self.restores = 0

    def changed(self, changes: Sequence[Change]) -> None:
        assert changes
        self.changes += changes

    def happened(self, event: NodeEvent) -> None:
        self.events.append(event)

    def restored(self) -> None:
        self.restores += 1

    def kinds(self) -> list[NodeEventKind]:
        """Of the events since the last time."""
        events, self.events = self.events, []
        return [event.kind for event in events]


class Kernel:
    """The tables, through which steps can fail. Steps are done one by one, so that anything may come between two.

    refuse: the error for a step, None to do it. between: called before each step, and before each other request with
    None.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.refuse: Callable[[Step], KernelError | None] = lambda _step: None
        self.between: Callable[[Step | None], None] = lambda _step: None
        self.exchanges = 0
        self.dead = False

    def _reached(self, step: Step | None) -> None:
        if self.dead:
            raise KilledError
        self.between(step)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._tables, name)

        def call(*values: Any) -> Any:
            self._reached(None)
            return found(*values)

        return call

    def close(self) -> None:
        """Nothing is held."""

    def carry_out(self, fd: int, steps: Sequence[Step]) -> list[StepResult]:
        assert steps, "an exchange of nothing"
        self.exchanges += 1
        results = []
        for step in steps:
            self._reached(step)
            error = self.refuse(step)
            results += [StepResult(error)] if error is not None else self._tables.carry_out(fd, [step])
        return results


class World:
    """A database, tables that outlive every engine, and one engine."""

    def __init__(self, folder: Path, tables: Tables | None = None) -> None:
        self.path = folder / "db"
        self.tables = tables or Tables()
        self.failing: str | None = None
        self.failure: BaseException = StoreFullError("there is no space left for the database")
        self.engine: Engine
        self.open()

    def open(self) -> Engine:
        """A new process."""
        self.kernel = Kernel(self.tables)
        self.finder = PlayedFinder(self.tables)
        self.heard = Heard()
        store = Store.open(self.path, failpoint=self._reached)
        self.engine = Engine(
            store, self.kernel, self.finder, self.heard, transparent_map=PlayedMap(self.tables), failpoint=self._reached
        )
        return self.engine

    def start(self) -> Engine:
        self.engine.start()
        return self.engine

    def restart(self) -> Engine:
        self.close()
        self.open()
        return self.start()

    def crash(self) -> Engine:
        """As restart, after a KilledError."""
        self.failing = None
        return self.restart()

    def close(self) -> None:
        self.engine.close()

    def die(self) -> None:
        """End the process: from here on nothing of it has an effect, in the kernel or in the database."""
        self.kernel.dead = True
        raise KilledError

    def _reached(self, name: str) -> None:
        if self.kernel.dead:
            raise KilledError
        if name == self.failing:
            self.failing = None
            if isinstance(self.failure, KilledError):
                self.die()
            raise self.failure

    # Changing

    def change(
        self,
        act: Callable[[Transaction], object],
        *,
        dry_run: bool = False,
        abort: bool = False,
        about: str | None = None,
    ) -> int:
        """How many sockets were aborted."""

        def answered(transaction: Transaction) -> Callable[[Carried], int]:
            act(transaction)
            return lambda carried: carried.aborted

        value, aborted = self.engine.change(answered, dry_run=dry_run, abort=abort, about=about)
        assert value == aborted
        return aborted

    def create(self, name: str = "web", *, present: bool = True) -> int:
        """A namespace of that name, registered; its cookie, 0 where it is absent."""
        cookie = self.tables.add_namespace(name) if present and name not in self.tables.namespaces else 0
        self.change(lambda t: t.create_namespace(namespace(name)))
        return cookie

    def steps(self) -> list[Step]:
        """Those since the last time."""
        steps = list(self.tables.steps)
        self.tables.steps.clear()
        return steps

    # What is to be

    def check_equal(self) -> None:
        """The kernel has what the store says, worked out here anew; nothing is left open."""
        assert not self.finder.held
        with self.engine.store.snapshot() as view:
            records = view.namespaces()
            known = self.tables.namespaces
            holders = self.holders()
            for record in records:
                name = record.namespace.name
                cookie = known.get(record.namespace.selector.value)
                if cookie is None or holders[cookie] != name:
                    assert self.engine.identity_of(name) is None, name
                    assert record.identity is None, name
                    continue
                identity = self.engine.identity_of(name)
                assert identity is not None, name
                assert identity.cookie == cookie
                assert record.identity == identity
                assert self.engine.namespace_of(cookie) == name
                targets = {one.namespace.name: self.engine.identity_of(one.namespace.name) for one in records}
                wanted = {}
                for one in view.endpoints(name):
                    target = targets[one.value.target] if one.value.target else None
                    if one.value.target and target is None:
                        continue
                    wanted[one.value.endpoint.name] = (one.value.endpoint, target.cookie if target else OWN_COOKIE)
                found = {e.endpoint.name: (e.endpoint, e.target_cookie) for e in self.tables.endpoints(cookie)}
                assert found == wanted, name
                assert set(self.tables.rules(cookie).rules) == {one.rule for one in view.rules(name)}, name
                assert self.tables.acl(cookie).rules == tuple(one.rule for one in view.acl(name)), name
                table = self.tables.table(cookie)
                assert table.frozen == (record.namespace.freeze is not None or view.freeze is not None), name
                assert table.max_endpoints == (record.namespace.limits.max_endpoints or 131072), name

        if self.tables.door is not None:
            assert self.tables.door == {
                identity.cookie
                for one in records
                if one.namespace.transparent and (identity := self.engine.identity_of(one.namespace.name)) is not None
            }

    def holders(self) -> dict[int, str]:
        """Who stands for each network namespace."""
        return {cookie: self.engine.namespace_of(cookie) for cookie in self.tables.namespaces.values()}


@contextmanager
def started(folder: Path) -> Iterator[World]:
    """A world whose engine runs; at the end nothing is held open."""
    world = World(folder)
    world.start()
    yield world
    assert not world.finder.held
    world.close()


def filled(world: World, name: str = "web", size: int = 20) -> int:
    """Register a namespace that holds `content(1, size)`, and forget the steps and events of it; its cookie."""
    cookie = world.create(name)
    world.change(lambda t: t.apply(None, name, content(1, size)))
    world.steps()
    world.heard.kinds()
    return cookie


def sync(world: World, name: str = "web") -> SyncState:
    """How far a namespace is what it is to be."""
    return world.engine.sync(Resource(ResourceKind.NAMESPACE, name)).state


def of(name: str, namespace: str = "web") -> Resource:
    """An endpoint, as the engine is asked about it."""
    return Resource(ResourceKind.ENDPOINT, namespace, name)


def selector(value: str) -> Selector:
    return Selector(SelectorKind.NETNS, value)


def other(name: str, value: str, *, freeze: str | None = None, transparent: bool = False) -> Namespace:
    """A namespace with a selector of another name than its own."""
    return Namespace(name, selector(value), freeze=None if freeze is None else Freeze(freeze), transparent=transparent)


def refused_endpoint(name: str) -> TargetedEndpoint:
    """One that the played kernel refuses."""
    made = Endpoint(
        name, EndpointType.IPV4, address=IPv4Address("10.0.0.2"), ports=PortRange.single(80), device="refused0"
    )
    return TargetedEndpoint(made)


def refusing(kind: type, number: int = errno.EINVAL) -> Callable[[Step], KernelError | None]:
    """Refuse every step of a kind."""
    return lambda step: KernelError(number, "the kernel will not") if isinstance(step, kind) else None


def ids(differences: Sequence[Difference]) -> list[tuple[str, str]]:
    return [(one.resource.id, one.kind.word) for one in differences]
