# SPDX-License-Identifier: Apache-2.0
"""What the engine answers of tables and sockets, and to other threads."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from graftd.errors import ModuleNotLoadedError, NamespaceAbsentError, NotFoundError
from graftd.model import PutEndpoint
from graftd.reconcile import Resource, ResourceKind
from integration.played import OWN_COOKIE
from unit.reconcile_world import World, filled, refusing, selector, started
from unit.store_values import endpoint


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with started(tmp_path) as world:
        yield world


def test_what_can_be_read(world: World) -> None:
    cookie = filled(world)
    world.create("gone", present=False)
    engine = world.engine
    table = engine.table("web")
    assert table is not None
    assert (table.netns_cookie, table.endpoints) == (cookie, 20)
    assert len(engine.entries("web")) == 20
    found = engine.entry("web", "e01")
    assert found is not None
    assert found.endpoint == endpoint("e01", 1).endpoint
    assert engine.entry("web", "nothing") is None
    assert (engine.table("gone"), engine.entries("gone"), engine.entry("gone", "x")) == (None, [], None)
    for question in (engine.table, engine.entries, engine.sockets):
        with pytest.raises(NotFoundError):
            question("nothing")
    assert [one.netns_cookie for one in engine.tables()] == [cookie]
    assert engine.hints([cookie]) == {cookie: [selector("web")]}
    assert engine.own.cookie == OWN_COOKIE
    assert engine.identity_of("gone") is None
    assert engine.store.path == world.path


def test_sockets(world: World) -> None:
    cookie = filled(world)
    stranger = world.tables.add_namespace("stranger")
    for number, name in enumerate(["e01", "e01", "e02", "removed"]):
        world.tables.add_socket(cookie, number, name)
    world.tables.add_socket(stranger, 99, "x")
    engine = world.engine
    assert len(engine.sockets()) == len(engine.sockets("web")) == 4
    assert engine.abort_sockets("web", cookies=[0, 77]) == 1
    assert engine.abort_sockets("web", endpoint="e01") == 1
    assert engine.abort_sockets("web", endpoint="e09") == 0
    assert engine.abort_sockets("web", endpoint="nothing") == 0
    assert engine.abort_sockets("web", all_of_it=True) == 2
    assert engine.sockets("web") == []
    world.create("gone", present=False)
    assert engine.sockets("gone") == []
    with pytest.raises(NamespaceAbsentError):
        engine.abort_sockets("gone", all_of_it=True)
    world.tables.load(loaded=False)
    with pytest.raises(ModuleNotLoadedError):
        engine.abort_sockets("web", cookies=[1])


def test_other_threads_may_ask(world: World) -> None:
    """While the engine's thread changes what they read."""
    cookie = filled(world)
    failures: list[BaseException] = []
    done = threading.Event()

    def ask() -> None:
        try:
            while not done.is_set():
                assert world.engine.namespace_of(cookie) in ("web", "")
                world.engine.identity_of("web")
                for kind in ResourceKind:
                    world.engine.sync(Resource(kind, "web", "e03"))
                world.engine.present()
                world.engine.registered()
        except BaseException as failure:  # noqa: BLE001 raised below
            failures.append(failure)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(12):
        world.create(f"n{number}")
        world.kernel.refuse = refusing(PutEndpoint) if number % 2 else lambda _step: None
        world.tables.load(loaded=False)
        world.tables.load(loaded=True)
        world.engine.reconcile()
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
