# SPDX-License-Identifier: Apache-2.0
"""Transient namespaces, with anything in any order: who is gone goes, who is there stays, and nobody inherits."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from graftd.errors import GraftError, KernelError, NamespaceError, StoreFullError
from graftd.model import Step
from unit.reconcile_world import KilledError, World, other, selector
from unit.store_values import content, endpoint

names = st.sampled_from(["a", "b", "c"])
places = st.sampled_from(["n1", "n2", "n3"])
faults = st.sampled_from([None, None, None, "before-commit", "kill", "vanish", "refuse"])


class TransientMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.world = World(self.folder)
        self.moves: Counter[str] = Counter()  # how often a place came to be another one
        self.born: dict[str, tuple[str, int, int]] = {}  # a namespace's place, its cookie, and the moves until then

    @initialize()
    def begin(self) -> None:
        self.world.tables.load_door(loaded=True)
        for place in ("n1", "n2"):
            self.world.tables.add_namespace(place)
        self.world.start()

    def teardown(self) -> None:
        self.settle()
        self.world.close()
        shutil.rmtree(self.folder)

    @rule(name=names, place=places, fault=faults, size=st.integers(0, 2))
    def apply(self, name: str, place: str, fault: str | None, size: int) -> None:
        """As a runtime does for a container that it starts."""
        there = self.world.tables.namespaces.get(place, 0), self.moves[place]
        wanted = replace(other(name, place, transparent=True), transient=True)
        if self._attempt(lambda t: t.apply(wanted, name, content(1, size)), name, place, fault):
            self.born[name] = place, *there
            assert there[0], "it was made without its network namespace"

    @rule(name=names, towards=names, fault=faults)
    def lead(self, name: str, towards: str, fault: str | None) -> None:
        place = self.born[name][0] if name in self.born else "n1"
        self._attempt(lambda t: t.create_endpoint(name, endpoint(f"to-{towards}", target=towards)), name, place, fault)

    def _attempt(self, act: object, name: str, place: str, fault: str | None) -> bool:
        world = self.world

        def between(step: Step | None) -> None:
            if step is not None and fault == "kill":
                world.die()
            if step is not None and fault == "vanish" and place in world.tables.namespaces:
                self.vanish(place)

        world.kernel.between = between
        world.kernel.refuse = lambda _: KernelError(errno.ENOMEM, "no memory") if fault == "refuse" else None
        world.failing, world.failure = (fault if fault == "before-commit" else None), StoreFullError("full")
        killed = False
        try:
            world.change(act, about=name)  # type: ignore[arg-type]
        except KilledError:
            killed = True
        except (GraftError, ValueError):
            return False
        finally:
            world.failing = None
            world.kernel.between, world.kernel.refuse = (lambda _step: None), (lambda _step: None)
        if killed:
            self.born.pop(name, None)
            world.crash()
            record = world.engine.read(lambda view: view.find_namespace(name))
            if record is not None and record.identity is not None:
                where = record.namespace.selector.value
                self.born[name] = where, record.identity.cookie, self.moves[where]
        return not killed

    @rule(place=places)
    def appear(self, place: str) -> None:
        if place not in self.world.tables.namespaces:
            self.world.tables.add_namespace(place)
            self.moves[place] += 1

    @rule(place=places)
    def vanish(self, place: str) -> None:
        if place in self.world.tables.namespaces:
            for alias, cookie in list(self.world.tables.namespaces.items()):
                if alias != place and cookie == self.world.tables.namespaces[place]:
                    self.world.tables.unset_name(alias)
                    self.moves[alias] += 1
            self.world.tables.remove_namespace(place)
            self.moves[place] += 1

    @rule(place=places, of=places)
    def rename(self, place: str, of: str) -> None:
        cookies = self.world.tables.namespaces
        if of in cookies and cookies.get(place) != cookies[of]:
            self.world.tables.set_name(place, cookies[of])
            self.moves[place] += 1

    @rule(place=places, told=st.booleans())
    def doubt(self, place: str, told: bool) -> None:
        """It cannot be told what is there."""
        self.world.finder.doubts[place] = NamespaceError("several") if told else KernelError(errno.EMFILE, "no files")

    @rule()
    def sure(self) -> None:
        self.world.finder.doubts.clear()

    @rule(loaded=st.booleans())
    def load(self, loaded: bool) -> None:
        self.world.tables.load(loaded=loaded)

    @rule()
    def tick(self) -> None:
        self.world.engine.tick()

    @rule(found=st.sets(places))
    def refresh(self, found: set[str]) -> None:
        self.world.engine.refresh([selector(place) for place in found])

    @rule()
    def restart(self) -> None:
        doubts = self.world.finder.doubts
        self.world.close()
        self.world.open()
        self.world.finder.doubts = doubts
        self.world.start()

    @rule()
    def settle(self) -> None:
        """With all in order again, one tick deletes who is gone, and nobody else."""
        world = self.world
        world.finder.doubts.clear()
        world.tables.load(loaded=True)
        world.engine.tick()
        there = {one.namespace.name: one for one in world.engine.read(lambda view: view.namespaces())}
        for name, (place, _, moves) in self.born.items():
            assert name in there or self.moves[place] != moves, f"{name} was deleted, and its place is as it was"
        for name, record in there.items():
            place, cookie, _ = self.born[name]
            assert record.identity is not None
            assert (record.namespace.selector.value, record.identity.cookie) == (place, cookie), "it inherited"
            assert world.tables.namespaces[place] == cookie
        self.born = {name: born for name, born in self.born.items() if name in there}
        world.check_equal()
        assert world.engine.registered() == len(there)
        assert world.engine.conditions() == []
        world.steps()
        world.engine.tick(whole=True)
        assert world.steps() == []


TransientMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25)
TestTransient = TransientMachine.TestCase
