# SPDX-License-Identifier: Apache-2.0
"""A look and a change cost what they are about, whatever else there is."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from graftd.errors import KernelError
from graftd.model import DeleteEndpoint, NamespaceContent, SetRules
from unit.reconcile_world import World, filled, refused_endpoint, selector, started
from unit.store_values import endpoint, namespace


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with started(tmp_path) as world:
        yield world


def test_a_tick_reads_tables_that_moved_alone(world: World) -> None:
    cookie = filled(world)
    filled(world, "db")
    asked: list[int] = []
    read = world.tables.endpoints
    world.tables.endpoints = lambda cookie: asked.append(cookie) or read(cookie)  # type: ignore[func-returns-value, method-assign]
    world.engine.tick()
    assert asked == []
    world.tables.carry_out(cookie, [SetRules(())])
    world.engine.tick()
    assert asked == [cookie]
    world.engine.tick(whole=True)
    assert len(asked) == 3


def test_ten_thousand_endpoints_take_few_exchanges(world: World) -> None:
    cookie = world.create()
    made = tuple(endpoint(f"e{number}") for number in range(10_000))
    world.change(lambda t: t.apply(None, "web", NamespaceContent(endpoints=made)))
    world.steps()
    world.restart()
    assert world.steps() == []
    world.change(lambda t: t.create_endpoint("web", endpoint("one")))
    assert len(world.steps()) == 1
    world.tables.carry_out(cookie, [DeleteEndpoint("e77")])
    world.steps()
    world.engine.tick()
    assert len(world.steps()) == 1


def _calls_with_many(world: World, count: int) -> list[object]:
    """So many namespaces, n0 and so on, are there; what the kernel is asked from now on."""
    world.change(lambda t: [t.create_namespace(namespace(f"n{number}")) for number in range(count)])
    for number in range(count):
        world.tables.add_namespace(f"n{number}")
    world.engine.tick()
    calls: list[object] = []
    world.kernel.between = calls.append
    return calls


def test_an_event_looks_at_what_it_is_about_alone(world: World) -> None:
    """With many namespaces, one that comes costs the look at one."""
    calls = _calls_with_many(world, 200)
    world.tables.remove_namespace("n7")
    world.tables.add_namespace("n7")
    world.engine.refresh([selector("n7")])
    assert len(calls) < 10
    calls.clear()
    world.change(lambda t: t.create_endpoint("n7", endpoint("a")))
    assert len(calls) < 5
    world.kernel.between = lambda _step: None
    world.check_equal()


def test_a_refused_change_looks_at_what_it_is_about_alone(world: World) -> None:
    calls = _calls_with_many(world, 100)
    with pytest.raises(KernelError):
        world.change(lambda t: t.create_endpoint("n7", refused_endpoint("a")))
    assert len(calls) < 10
