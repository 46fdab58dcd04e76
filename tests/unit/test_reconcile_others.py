# SPDX-License-Identifier: Apache-2.0
"""Changes while the module goes, while another has the tables, and while others write and namespaces come and go."""

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graftd.errors import ModuleNotLoadedError, TablesClaimedError
from graftd.model import DeleteEndpoint, NetnsIdentity, PutEndpoint, Selector, Step
from graftd.reconcile import NodeEventKind, SyncState
from unit.reconcile_world import World, filled, of, selector, started
from unit.store_values import endpoint


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with started(tmp_path) as world:
        yield world


# The module


def test_without_the_module_there_are_no_changes(world: World) -> None:
    world.create()
    world.tables.load(loaded=False)
    with pytest.raises(ModuleNotLoadedError):
        world.change(lambda t: t.create_endpoint("web", endpoint("a")))
    assert world.engine.read(lambda view: view.count_endpoints("web")) == 0
    with pytest.raises(ModuleNotLoadedError, match="modprobe graft"):
        world.change(lambda t: t.create_endpoint("web", endpoint("a")))
    world.tables.load(loaded=True)
    world.change(lambda t: t.create_endpoint("web", endpoint("a")))
    world.check_equal()


def test_without_the_module_nobody_may_tell_a_namespace(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in graftd's unit, which lets it enter none: what was known stays, and can be read."""
    filled(world)
    identity = world.finder.identity

    def tell(found: Any) -> NetnsIdentity:
        if not world.tables.loaded:
            raise ModuleNotLoadedError(errno.ENOENT, "the kernel module graft is not loaded")
        return identity(found)

    monkeypatch.setattr(world.finder, "identity", tell)
    world.tables.load(loaded=False)
    before = world.engine.read(lambda view: view.namespace("web").identity)
    world.engine.tick()
    assert before is not None
    assert world.engine.read(lambda view: view.namespace("web").identity) == before
    assert (world.engine.table("web"), world.engine.entries("web"), world.engine.entry("web", "e")) == (None, [], None)
    assert NodeEventKind.NAMESPACE_ABSENT not in world.heard.kinds()
    world.tables.load(loaded=True)
    world.engine.tick()
    world.check_equal()


def test_a_module_that_goes_between_two_steps(world: World) -> None:
    world.create()
    world.change(lambda t: t.create_endpoint("web", endpoint("a")))

    def gone(step: Step | None) -> None:
        if isinstance(step, PutEndpoint) and step.endpoint.name == "c":
            world.tables.load(loaded=False)

    world.kernel.between = gone
    with pytest.raises(ModuleNotLoadedError):
        world.change(lambda t: [t.create_endpoint("web", endpoint(name)) for name in "bcd"])
    assert world.engine.read(lambda view: view.count_endpoints("web")) == 1
    assert world.heard.kinds()[-2:] == [NodeEventKind.MODULE_UNLOADED, NodeEventKind.DEGRADED]
    world.tables.load(loaded=True)
    world.engine.tick()
    world.check_equal()
    kinds = world.heard.kinds()
    assert kinds == [NodeEventKind.MODULE_LOADED, NodeEventKind.CLAIMED, NodeEventKind.RECOVERED]


def test_tables_that_are_anothers(world: World) -> None:
    world.create()
    world.tables.claim_for("other")
    with pytest.raises(TablesClaimedError):
        world.change(lambda t: t.create_endpoint("web", endpoint("a")))
    with pytest.raises(TablesClaimedError, match=r"other \(pid 7\) has claimed the tables: end it") as caught:
        world.change(lambda t: t.create_endpoint("web", endpoint("a")))
    assert (caught.value.claimant, caught.value.pid) == ("other", 7)
    assert [one.reason for one in world.engine.conditions()] == ["TABLES_CLAIMED"]
    assert NodeEventKind.CLAIM_LOST in world.heard.kinds()
    world.tables.claim_for(None)
    cookie = world.tables.namespaces["web"]
    world.tables.carry_out(cookie, [PutEndpoint(endpoint("theirs").endpoint)])
    world.engine.tick()
    assert world.engine.conditions() == []
    world.check_equal()


# While others write


def test_a_change_repairs_what_others_did_and_tells_of_that_alone(world: World) -> None:
    cookie = world.create()
    world.change(lambda t: t.create_endpoint("web", endpoint("a")))
    world.tables.carry_out(cookie, [PutEndpoint(endpoint("theirs").endpoint), DeleteEndpoint("a")])
    world.heard.kinds()
    world.change(lambda t: t.create_endpoint("web", endpoint("b")))
    world.check_equal()
    (event,) = world.heard.events
    assert event.kind is NodeEventKind.DRIFT_REPAIRED
    assert {one.resource.id for one in event.repairs} == {"theirs", "a"}


def test_a_namespace_that_is_replaced_before_the_write(world: World) -> None:
    world.create()
    world.change(lambda t: t.create_endpoint("web", endpoint("a")))
    world.tables.remove_namespace("web")
    cookie = world.tables.add_namespace("web")
    world.change(lambda t: t.create_endpoint("web", endpoint("b")))
    assert {one.endpoint.name for one in world.tables.endpoints(cookie)} == {"a", "b"}
    world.check_equal()


def test_a_target_that_goes_before_the_write(world: World) -> None:
    world.create()
    world.create("far")
    world.tables.unset_name("far")
    world.change(lambda t: t.create_endpoint("web", endpoint("a", target="far")))
    assert world.tables.endpoints(world.tables.namespaces["web"]) == []
    assert world.engine.sync(of("a")).state is SyncState.PENDING
    world.engine.tick()
    world.check_equal()
    world.tables.add_namespace("far")
    world.engine.refresh([selector("far")])
    world.check_equal()


def test_a_target_that_is_away_for_a_moment(world: World) -> None:
    world.create()
    cookie = world.create("far")
    away = {"far"}
    find = world.finder.find

    def found(one: Selector) -> object:
        return None if one.value in away else find(one)

    world.finder.find = found  # type: ignore[method-assign, assignment]
    world.change(lambda t: t.create_endpoint("web", endpoint("a", target="far")))
    assert world.engine.sync(of("a")).state is SyncState.PENDING
    away.clear()
    world.engine.tick()
    assert world.engine.namespace_of(cookie) == "far"
    world.check_equal()


def test_a_namespace_that_a_change_finds_wakes_who_leads_to_it(world: World) -> None:
    world.create()
    world.create("far", present=False)
    world.change(lambda t: t.create_endpoint("web", endpoint("a", target="far")))
    world.tables.add_namespace("far")
    world.change(lambda t: t.create_endpoint("far", endpoint("b")))
    world.check_equal()
