# SPDX-License-Identifier: Apache-2.0
"""Anything in any order: whatever fails, nothing acknowledged is lost, and a tick makes store and kernel equal."""

from __future__ import annotations

import errno
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from graftd.errors import GraftError, KernelError, StoreFullError
from graftd.model import (
    DeleteEndpoint,
    Freeze,
    NamespaceContent,
    PutEndpoint,
    SetAcl,
    SetRules,
    SetTable,
    Step,
    TableSettings,
    TargetedEndpoint,
)
from graftd.reconcile import NodeEventKind
from graftd.store import Transaction, View
from unit.reconcile_world import KilledError, World, other, refused_endpoint, selector
from unit.store_values import acl, content, endpoint
from unit.store_values import rule as rule_of

names = st.sampled_from(["a", "b", "c"])
netns = st.sampled_from(["n1", "n2", "n3"])
ids = st.sampled_from(["x", "y", "z"])
targets = st.sampled_from(["", "", "a", "b", "c"])
points = st.sampled_from([None, None, None, "before-netlink", "after-netlink", "before-commit", "after-commit"])
# Where in the steps of a change something happens, and what.
faults = st.one_of(
    st.none(), st.none(), st.tuples(st.integers(0, 6), st.sampled_from(["refuse", "kill", "unload", "unname", "claim"]))
)

State = tuple[object, ...]


def dump(view: View) -> State:
    """All that is desired."""
    return (
        view.freeze,
        *((one.namespace, view.content(one.namespace.name)) for one in view.namespaces()),
    )


class EngineMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.world = World(self.folder)
        self.state: State = ()
        self.copied: State | None = None

    @initialize()
    def begin(self) -> None:
        for name in ("n1", "n2"):
            self.world.tables.add_namespace(name)
        self.world.tables.load_door(loaded=True)
        self.world.start()
        self.state = self.world.engine.read(dump)

    def teardown(self) -> None:
        self.settle()
        self.world.close()
        shutil.rmtree(self.folder)

    # Changes

    def attempt(
        self, act: Callable[[Transaction], object], point: str | None, *, kill: bool, fault: tuple[int, str] | None
    ) -> None:
        """A change, that may fail anywhere. What it came to is in the store, and is what was answered."""
        world = self.world
        before: State = self.state
        after: State = before

        def watched(transaction: Transaction) -> None:
            nonlocal after
            act(transaction)
            after = dump(transaction)

        world.failing = point
        world.failure = KilledError() if kill else StoreFullError("full")
        if fault is not None:
            world.kernel.between, world.kernel.refuse = self._fault(*fault)
        killed = refused = False
        try:
            world.change(watched)
        except KilledError:
            killed = True
        except (GraftError, ValueError):
            refused = True
        world.failing = None
        world.kernel.between, world.kernel.refuse = (lambda _step: None), (lambda _step: None)
        if killed:
            world.crash()
        found = world.engine.read(dump)
        if killed or (refused and point == "after-commit"):
            assert found in (before, after)
        else:
            assert found == (before if refused else after)
        self.state = found

    def _fault(self, at: int, what: str) -> tuple[Callable[[Step | None], None], Callable[[Step], KernelError | None]]:
        seen = 0

        def between(step: Step | None) -> None:
            nonlocal seen
            if step is None:
                return
            seen += 1
            if seen <= at:
                return
            if what == "kill":
                self.world.die()
            if what == "unload":
                self.world.tables.load(loaded=False)
            elif what == "claim":
                self.world.tables.claim_for("other")
            elif what == "unname" and "n1" in self.world.tables.namespaces:
                self.world.tables.remove_namespace("n1")

        def refuse(step: Step) -> KernelError | None:
            return KernelError(errno.ENOMEM, "no memory") if what == "refuse" and seen == at + 1 else None

        return between, refuse

    @rule(
        name=names,
        where=netns,
        transparent=st.booleans(),
        point=points,
        kill=st.booleans(),
        fault=faults,
        size=st.integers(0, 4),
    )
    def create(
        self,
        *,
        name: str,
        where: str,
        transparent: bool,
        point: str | None,
        kill: bool,
        fault: tuple[int, str] | None,
        size: int,
    ) -> None:
        wanted = other(name, where, transparent=transparent)
        self.attempt(lambda t: t.apply(wanted, name, content(size, size)), point, kill=kill, fault=fault)

    @rule(name=names, point=points, kill=st.booleans(), fault=faults)
    def delete(self, *, name: str, point: str | None, kill: bool, fault: tuple[int, str] | None) -> None:
        self.attempt(lambda t: t.delete_namespace(name, force=True), point, kill=kill, fault=fault)

    @rule(name=names, where=netns, freeze=st.booleans(), point=points, kill=st.booleans(), fault=faults)
    def update(
        self, *, name: str, where: str, freeze: bool, point: str | None, kill: bool, fault: tuple[int, str] | None
    ) -> None:
        wanted = other(name, where, freeze="stop" if freeze else None)
        self.attempt(lambda t: t.update_namespace(wanted), point, kill=kill, fault=fault)

    @rule(
        name=names,
        made=st.dictionaries(ids, st.tuples(st.integers(0, 2), targets)),
        more=st.sampled_from([None, "bad"]),
        point=points,
        kill=st.booleans(),
        fault=faults,
    )
    def put(
        self,
        *,
        name: str,
        made: dict[str, tuple[int, str]],
        more: str | None,
        point: str | None,
        kill: bool,
        fault: tuple[int, str] | None,
    ) -> None:
        wanted: list[TargetedEndpoint] = [endpoint(one, mark, target) for one, (mark, target) in made.items()]
        if more is not None:
            wanted.append(refused_endpoint(more))
        self.attempt(
            lambda t: t.apply(None, name, NamespaceContent(endpoints=tuple(wanted))), point, kill=kill, fault=fault
        )

    @rule(
        name=names,
        rules=st.sets(st.integers(1, 3)),
        rights=st.lists(st.integers(1, 3), max_size=3),
        point=points,
        kill=st.booleans(),
        fault=faults,
    )
    def set_lists(
        self,
        *,
        name: str,
        rules: set[int],
        rights: list[int],
        point: str | None,
        kill: bool,
        fault: tuple[int, str] | None,
    ) -> None:
        def act(transaction: Transaction) -> None:
            for one in transaction.rules(name):
                transaction.delete_rule(name, one.id)
            for port in rules:
                transaction.add_rule(name, rule_of(port, "x"))
            for right in transaction.acl(name)[1:]:
                transaction.delete_acl_rule(name, right.id)
            for number in rights:
                transaction.add_acl_rule(name, acl(number), index=0)

        self.attempt(act, point, kill=kill, fault=fault)

    @rule(frozen=st.booleans(), point=points)
    def freeze(self, frozen: bool, point: str | None) -> None:
        freeze = Freeze("node") if frozen else None
        self.world.failing, self.world.failure = point, StoreFullError("full")
        try:
            self.world.engine.freeze(freeze)
        except GraftError:
            assert point is not None or not self.world.tables.loaded or self.world.tables.claimant
        self.world.failing = None
        self.state = self.world.engine.read(dump)

    # What happens around it

    @rule(name=netns)
    def appear(self, name: str) -> None:
        if name not in self.world.tables.namespaces:
            self.world.tables.add_namespace(name)

    @rule(name=netns)
    def vanish(self, name: str) -> None:
        if name in self.world.tables.namespaces:
            cookie = self.world.tables.namespaces[name]
            for alias in [
                one for one, where in self.world.tables.namespaces.items() if where == cookie and one != name
            ]:
                self.world.tables.unset_name(alias)
            self.world.tables.remove_namespace(name)

    @rule(name=netns, of=netns)
    def rename(self, name: str, of: str) -> None:
        """A name that selects another namespace, maybe one that another name selects as well."""
        if of in self.world.tables.namespaces:
            self.world.tables.set_name(name, self.world.tables.namespaces[of])

    @rule(loaded=st.booleans())
    def load_door(self, loaded: bool) -> None:
        self.world.tables.load_door(loaded=loaded)

    @rule(loaded=st.booleans())
    def load(self, loaded: bool) -> None:
        self.world.tables.load(loaded=loaded)

    @rule(claimant=st.sampled_from([None, "other"]))
    def claim(self, claimant: str | None) -> None:
        self.world.tables.claim_for(claimant)

    @precondition(lambda self: self.world.tables.loaded and self.world.tables.claimant is None)
    @rule(name=netns, seed=st.integers(0, 2**16))
    def meddle(self, name: str, seed: int) -> None:
        """Somebody else writes into a table that is graftd's."""
        cookie = self.world.tables.namespaces.get(name, 0)
        if not self.world.engine.namespace_of(cookie):
            return
        steps: list[Step] = [
            PutEndpoint(endpoint("theirs", seed % 3).endpoint),
            DeleteEndpoint("x"),
            SetRules(()),
            SetAcl((acl(7),)),
            SetTable(TableSettings(frozen=bool(seed % 2))),
        ]
        self.world.tables.carry_out(cookie, random.Random(seed).sample(steps, 2))

    # What graftd does by itself

    @rule(whole=st.booleans())
    def tick(self, whole: bool) -> None:
        self.world.engine.tick(whole=whole)

    @rule(names=st.sets(netns))
    def refresh(self, names: set[str]) -> None:
        self.world.engine.refresh([selector(name) for name in names])

    @precondition(lambda self: self.world.tables.loaded)
    @rule()
    def notice(self) -> None:
        tables = self.world.tables
        self.world.engine.noticed({table.netns_cookie: table.generation for table in tables.tables()})

    @rule()
    def restart(self) -> None:
        self.world.restart()

    @rule()
    def settle(self) -> None:
        """With all in order again, one tick makes it equal, and another one does nothing."""
        world = self.world
        world.tables.claim_for(None)
        world.tables.load(loaded=True)
        world.engine.tick()
        world.check_equal()
        self.check_former()
        assert world.engine.conditions() == []
        world.steps()
        world.heard.kinds()
        world.engine.tick(whole=True)
        assert world.steps() == []
        assert world.heard.kinds() == []

    def check_former(self) -> None:
        """What nobody stands for is empty; unless it cannot be found, or who was it is absent."""
        world = self.world
        kept = world.engine.read(lambda view: view.former())
        absent = {
            one.namespace.selector
            for one in world.engine.read(lambda view: view.namespaces())
            if world.engine.identity_of(one.namespace.name) is None
        }
        cookies = set(world.tables.namespaces.values())
        wait = {identity.cookie for identity, by in kept if by in absent or identity.cookie not in cookies}
        assert wait == {identity.cookie for identity, _ in kept}
        for table in world.tables.tables():
            held = table.endpoints or table.rules or table.acls or table.frozen
            assert not held or world.engine.namespace_of(table.netns_cookie) or table.netns_cookie in wait

    @rule()
    def keep_a_copy(self) -> None:
        (self.folder / "copy").unlink(missing_ok=True)
        self.world.engine.store.back_up(self.folder / "copy")
        self.copied = self.state

    @precondition(lambda self: self.copied is not None)
    @rule(kill=st.booleans())
    def restore(self, kill: bool) -> None:
        self.world.failing, self.world.failure = "after-commit" if kill else None, KilledError()
        try:
            self.world.engine.restore(self.folder / "copy")
        except KilledError:
            self.world.crash()
        self.world.failing = None
        assert self.copied is not None
        self.state = self.copied

    @rule()
    def drift_is_told(self) -> None:
        """Where all is equal, what others change is told, once."""
        self.settle()
        for cookie in self.world.tables.namespaces.values():
            if self.world.engine.namespace_of(cookie):
                self.world.tables.carry_out(cookie, [PutEndpoint(endpoint("theirs", 9).endpoint)])
                self.world.engine.tick()
                assert self.world.heard.kinds() == [NodeEventKind.DRIFT_REPAIRED]
                return

    @invariant()
    def what_was_acknowledged_is_there(self) -> None:
        if self.state:
            assert self.world.engine.read(dump) == self.state
        assert not self.world.finder.held


EngineMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25)
TestEngine = EngineMachine.TestCase
