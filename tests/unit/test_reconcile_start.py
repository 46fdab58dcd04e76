# SPDX-License-Identifier: Apache-2.0
"""What a start does; a module that is not there, goes and comes."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from graftd.errors import KernelError, ModuleNotLoadedError
from graftd.model import DeleteEndpoint, PutEndpoint
from graftd.reconcile import ModuleState, SyncState
from unit.reconcile_world import Events, World, filled, started, sync
from unit.store_values import endpoint


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with started(tmp_path) as world:
        yield world


def module_of(world: World) -> ModuleState:
    state, info = world.engine.module
    assert (info is None) == (state is ModuleState.NOT_LOADED)
    return state


def test_a_start_with_an_equal_kernel_sends_nothing(world: World) -> None:
    cookies = [filled(world, name) for name in ("web", "db")]
    revision = world.engine.read(lambda view: view.revision)
    world.restart()
    assert world.steps() == []
    assert world.kernel.exchanges == 0
    assert world.engine.read(lambda view: view.revision) == revision
    assert world.heard.kinds() == [Events.MODULE_LOADED, Events.CLAIMED]
    assert [world.engine.namespace_of(one) for one in cookies] == ["web", "db"]
    assert sync(world) is SyncState.IN_SYNC
    world.check_equal()


def test_a_start_changes_what_differs_alone(world: World) -> None:
    cookie = filled(world)
    world.close()
    world.tables.carry_out(cookie, [DeleteEndpoint("e03"), PutEndpoint(endpoint("theirs").endpoint)])
    world.steps()
    world.open()
    world.start()
    assert [(type(step), getattr(step, "name", "")) for step in world.steps()] == [
        (DeleteEndpoint, "theirs"),
        (PutEndpoint, ""),
    ]
    world.check_equal()


def test_a_start_finds_what_moved(world: World) -> None:
    filled(world)
    filled(world, "db")
    world.close()
    world.tables.remove_namespace("db")
    world.tables.remove_namespace("web")
    world.tables.add_namespace("web")
    world.open()
    world.start()
    assert world.heard.kinds() == [
        Events.MODULE_LOADED,
        Events.CLAIMED,
        Events.NAMESPACE_ABSENT,
        Events.NAMESPACE_PRESENT,
    ]
    assert {change.record.namespace.name for change in world.heard.changes} == {"web", "db"}  # type: ignore[union-attr]
    world.check_equal()


def test_a_boot_makes_every_cookie_another(world: World) -> None:
    cookie = filled(world)
    world.close()
    world.tables.load(loaded=False)
    world.tables.load(loaded=True)
    world.tables.boot_id = "next-boot"
    world.open()
    world.start()
    identity = world.engine.identity_of("web")
    assert identity is not None
    assert (identity.boot_id, identity.cookie) == ("next-boot", cookie)
    world.check_equal()


# The module


def test_a_start_without_the_module(world: World) -> None:
    cookie = filled(world)
    world.close()
    world.tables.load(loaded=False)
    world.open()
    world.start()
    assert module_of(world) is ModuleState.NOT_LOADED
    (condition,) = world.engine.conditions()
    assert condition.reason == "MODULE_NOT_LOADED"
    assert condition.message.endswith("load it with 'modprobe graft'")
    assert world.heard.kinds() == [Events.DEGRADED]
    assert world.engine.identity_of("web") is not None
    assert world.engine.table("web") is None
    assert world.engine.entries("web") == []
    assert world.engine.entry("web", "e01") is None
    assert sync(world) is SyncState.PENDING
    for question in (world.engine.tables, world.engine.sockets, world.engine.reconcile):
        with pytest.raises(ModuleNotLoadedError):
            question()
    world.tables.load(loaded=True)
    world.engine.tick()
    assert len(world.tables.endpoints(cookie)) == 20
    assert module_of(world) is ModuleState.LOADED
    assert world.heard.kinds() == [Events.MODULE_LOADED, Events.CLAIMED, Events.RECOVERED]
    world.check_equal()


def test_a_notice_of_a_module_that_went(world: World) -> None:
    cookie = filled(world)
    world.tables.load(loaded=False)
    world.engine.noticed({cookie: 999})
    assert world.heard.kinds() == [Events.MODULE_UNLOADED, Events.DEGRADED]


def test_a_module_that_comes_back_is_no_drift(world: World) -> None:
    cookie = filled(world)
    world.tables.load(loaded=False)
    world.engine.tick()
    assert world.heard.kinds() == [Events.MODULE_UNLOADED, Events.DEGRADED]
    world.tables.load(loaded=True)
    world.engine.tick()
    assert world.heard.kinds() == [Events.MODULE_LOADED, Events.CLAIMED, Events.RECOVERED]
    assert len(world.tables.endpoints(cookie)) == 20
    world.check_equal()


def test_a_module_that_was_loaded_anew_unseen(world: World) -> None:
    filled(world)
    world.tables.load(loaded=False)
    world.tables.load(loaded=True)
    world.engine.tick()
    world.check_equal()


def test_a_module_that_refuses_for_another_reason(world: World) -> None:
    filled(world)

    def claim() -> None:
        raise KernelError(errno.EPERM, "CAP_NET_ADMIN is needed")

    world.tables.claim = claim  # type: ignore[method-assign]
    world.engine.tick()
    assert module_of(world) is ModuleState.REFUSING
    with pytest.raises(KernelError, match="does not let graftd write: CAP_NET_ADMIN is needed"):
        world.change(lambda t: t.create_endpoint("web", endpoint("new")))
