# SPDX-License-Identifier: Apache-2.0
"""The BPF door's map holds the namespaces that are transparent and there, and nothing waits for it."""

import errno
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from graftd.errors import KernelError
from graftd.model import PutEndpoint
from graftd.reconcile import NodeEventKind, Resource, ResourceKind, SyncState, TransparentState
from integration.played import PlayedMap, Tables
from unit.reconcile_world import World, refusing, selector, started
from unit.store_values import content, endpoint, namespace


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with started(tmp_path) as world:
        world.tables.load_door(loaded=True)
        yield world


def made(world: World, name: str = "web") -> int:
    cookie = world.tables.add_namespace(name)
    world.change(lambda t: t.create_namespace(replace(namespace(name), transparent=True)))
    return cookie


def state(world: World) -> TransparentState:
    return world.engine.transparent().state


def test_a_change_is_in_the_map_when_it_is_acknowledged(world: World) -> None:
    world.create("plain")
    assert world.tables.door == set()
    web = made(world)
    assert world.tables.door == {web}
    world.change(lambda t: t.update_namespace(namespace("web")))
    assert world.tables.door == set()
    world.change(lambda t: t.update_namespace(replace(namespace("web"), transparent=True)))
    assert world.tables.door == {web}
    world.change(lambda t: t.delete_namespace("web"))
    assert world.tables.door == set()


def test_namespaces_that_come_and_go(world: World) -> None:
    web = made(world)
    world.tables.remove_namespace("web")
    world.engine.refresh([selector("web")])
    assert world.tables.door == set()
    again = world.tables.add_namespace("web")
    world.engine.refresh([selector("web")])
    assert world.tables.door == {again} != {web}
    moved = world.tables.add_namespace("moved")
    world.change(lambda t: t.update_namespace(replace(namespace("moved"), name="web", transparent=True)))
    assert world.tables.door == {moved}


def test_a_transient_one(world: World) -> None:
    world.tables.add_namespace("web")
    world.change(lambda t: t.create_namespace(replace(namespace(), transparent=True, transient=True)))
    assert len(world.tables.door or ()) == 1
    world.tables.remove_namespace("web")
    world.engine.tick()
    assert world.tables.door == set()


def test_a_start_and_a_restore(world: World, tmp_path: Path) -> None:
    web = made(world)
    copy = world.engine.store.back_up(tmp_path / "copy")
    world.tables.load_door(loaded=True)  # another map, that has nothing
    world.restart()
    assert world.tables.door == {web}
    world.change(lambda t: t.update_namespace(namespace("web")))
    assert world.tables.door == set()
    world.engine.restore(copy)
    assert world.tables.door == {web}


def test_a_change_that_is_taken_back(world: World) -> None:
    web = made(world)
    world.kernel.refuse = refusing(PutEndpoint)

    def both(transaction: object) -> None:
        transaction.update_namespace(namespace("web"))  # type: ignore[attr-defined]
        transaction.create_endpoint("web", endpoint("x"))  # type: ignore[attr-defined]

    with pytest.raises(KernelError):
        world.change(both)
    assert world.tables.door == {web}
    far = world.tables.add_namespace("far")
    with pytest.raises(KernelError):
        world.change(lambda t: t.apply(replace(namespace("far"), transparent=True), "far", content(1, 2)))
    assert world.tables.door == {web} != {far}


def test_drift_is_undone_by_a_tick(world: World) -> None:
    web = made(world)
    world.tables.door = {5}
    world.engine.tick()
    assert world.tables.door == {web}


def test_a_program_that_is_loaded_later_and_again(tmp_path: Path) -> None:
    with started(tmp_path) as world:
        web = made(world)
        status = world.engine.transparent()
        assert (status.state, status.namespaces) == (TransparentState.NOT_LOADED, 0)
        assert "systemctl start graft-transparent" in status.detail
        resource = Resource(ResourceKind.NAMESPACE, "web")
        assert world.engine.sync(resource).state is SyncState.IN_SYNC  # it is preloaded then
        world.heard.kinds()
        for _ in range(2):
            world.tables.load_door(loaded=True)
            world.engine.tick()
            assert world.tables.door == {web}
            status = world.engine.transparent()
            assert (status.state, status.detail, status.namespaces) == (TransparentState.SERVED, "", 1)
        assert world.heard.kinds() == [NodeEventKind.TRANSPARENT_CHANGED]
        world.tables.load_door(loaded=False)
        assert state(world) is TransparentState.NOT_LOADED
        assert world.heard.kinds() == [NodeEventKind.TRANSPARENT_CHANGED]


def test_a_kernel_that_cannot(tmp_path: Path) -> None:
    tables = Tables()
    tables.kernel_has_door = False
    world = World(tmp_path, tables)
    world.start()
    made(world)
    status = world.engine.transparent()
    assert status.state is TransparentState.KERNEL_CANNOT
    assert "from 6.6 on, with MPTCP" in status.detail
    world.close()


def test_a_map_that_cannot_be_written_fails_no_change(world: World) -> None:
    world.tables.refuse_door("the map is not graftd's to open")
    web = made(world)
    resource = Resource(ResourceKind.NAMESPACE, "web")
    sync = world.engine.sync(resource)
    assert (sync.state, sync.detail) == (
        SyncState.PENDING,
        "the BPF door may not serve it yet: the map is not graftd's to open",
    )
    status = world.engine.transparent()
    assert (status.state, status.detail) == (TransparentState.FAILED, "the map is not graftd's to open")
    assert world.engine.conditions() == []
    world.tables.refuse_door("")
    world.change(lambda t: t.create_endpoint("web", endpoint("x")))
    assert world.tables.door == set(), "a tick tries again"
    world.engine.tick()
    assert world.tables.door == {web}
    assert world.engine.sync(resource).state is SyncState.IN_SYNC


def test_the_map_is_read_by_ticks_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may hold many."""
    looks: list[bool] = []

    def equalize(_: PlayedMap, cookies: frozenset[int], *, whole: bool) -> bool:
        looks.append(whole)
        raise KernelError(errno.E2BIG, "the map is full")

    monkeypatch.setattr(PlayedMap, "equalize", equalize)
    made(world)
    assert looks == [False]
    world.change(lambda t: t.create_endpoint("web", endpoint("x")))
    world.engine.refresh([selector("web")])
    assert looks == [False]
    world.engine.transparent()
    assert looks == [False, False]
    world.engine.tick()
    assert looks == [False, False, True]


def test_without_the_module(world: World) -> None:
    """What is native stays native: the door serves who is there all the same."""
    web = made(world)
    world.tables.load(loaded=False)
    world.tables.load_door(loaded=True)
    world.engine.tick()
    assert world.tables.door == {web}
