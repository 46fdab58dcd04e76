# SPDX-License-Identifier: Apache-2.0
"""Namespaces that come and go, move, and are taken."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from graftd.errors import KernelError, NamespaceError
from graftd.model import PutEndpoint, Step
from graftd.reconcile import Resource, ResourceKind
from integration.played import OWN_COOKIE
from unit.reconcile_world import Events, World, filled, selector, started
from unit.store_values import endpoint


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with started(tmp_path) as world:
        yield world


def test_namespaces_that_come_and_go(world: World) -> None:
    filled(world)
    world.create("far")
    world.change(lambda t: t.create_endpoint("web", endpoint("to-far", target="far")))
    world.tables.remove_namespace("far")
    world.engine.refresh([selector("far")])
    assert world.heard.kinds()[-1] is Events.NAMESPACE_ABSENT
    assert world.engine.sync(Resource(ResourceKind.NAMESPACE, "far")).detail == (
        "its namespace is absent: there is no namespace of ip netns 'far'"
    )
    assert world.engine.present() == 1
    world.check_equal()
    world.tables.add_namespace("far")
    world.steps()
    world.engine.refresh([selector("far")])
    assert [type(step) for step in world.steps()] == [PutEndpoint]
    assert world.heard.kinds() == [Events.NAMESPACE_PRESENT]
    world.check_equal()


def test_a_namespace_that_returns_gets_its_table(world: World) -> None:
    filled(world)
    world.tables.remove_namespace("web")
    world.engine.tick()
    world.engine.tick()
    assert world.heard.kinds() == [Events.NAMESPACE_ABSENT]
    cookie = world.tables.add_namespace("web")
    world.engine.refresh([selector("other")])
    assert world.tables.endpoints(cookie) == []
    world.engine.refresh([selector("web")])
    assert len(world.tables.endpoints(cookie)) == 20
    assert world.heard.kinds() == [Events.NAMESPACE_PRESENT]
    world.check_equal()


def test_one_that_is_replaced_between_two_looks(world: World) -> None:
    old = filled(world)
    world.tables.unset_name("web")
    cookie = world.tables.add_namespace("web")
    world.engine.noticed({old: 999})
    assert world.engine.table("web") is None
    world.engine.tick()
    assert world.engine.namespace_of(cookie) == "web"
    assert world.engine.namespace_of(old) == ""
    assert world.heard.kinds() == [Events.NAMESPACE_PRESENT]
    world.check_equal()


def test_two_that_swap_their_namespaces(world: World) -> None:
    web, db = filled(world), filled(world, "db")
    world.tables.set_name("web", db)
    world.tables.set_name("db", web)
    world.engine.tick()
    assert (world.engine.namespace_of(db), world.engine.namespace_of(web)) == ("web", "db")
    assert world.engine.present() == 2
    world.check_equal()


def test_two_that_select_one_namespace(world: World) -> None:
    cookie = filled(world, "web")
    filled(world, "db")
    world.tables.remove_namespace("db")
    world.tables.set_name("db", cookie)
    world.engine.tick()
    assert world.engine.namespace_of(cookie) == "web"  # who had it, has it
    world.check_equal()
    world.restart()
    assert world.engine.namespace_of(cookie) == "web"
    world.tables.unset_name("web")
    world.engine.refresh([selector("db")])  # which looks at web as well
    assert world.engine.namespace_of(cookie) == "db"
    world.check_equal()


def test_what_cannot_have_a_table_of_ours_is_absent(world: World) -> None:
    filled(world)
    world.tables.remove_namespace("web")
    cookie = world.tables.add_namespace("web")
    world.tables.own_by(cookie, 55)
    world.tables.carry_out(cookie, [PutEndpoint(endpoint("theirs").endpoint)])
    world.engine.tick()
    web = Resource(ResourceKind.NAMESPACE, "web")
    assert "written by another namespace (cookie 55)" in world.engine.sync(web).detail
    assert len(world.tables.endpoints(cookie)) == 1
    world.tables.set_name("web", OWN_COOKIE)
    world.engine.tick()
    assert "the namespace that graftd runs in" in world.engine.sync(web).detail
    assert world.tables.endpoints(OWN_COOKIE) == []


def test_a_selector_that_fits_several(world: World) -> None:
    filled(world)

    def several(_selector: object) -> None:
        raise NamespaceError("it fits 2 network namespaces")

    world.finder.find = several  # type: ignore[method-assign, assignment]
    world.engine.tick()
    assert world.engine.sync(Resource(ResourceKind.ENDPOINT, "web", "e01")).detail == (
        "its namespace is absent: it fits 2 network namespaces"
    )


def test_a_look_that_the_kernel_does_not_answer_changes_nothing(world: World) -> None:
    filled(world)

    def refuse(step: Step | None) -> None:
        raise KernelError(errno.ENOBUFS, "no memory")

    world.kernel.between = refuse
    world.engine.tick()
    assert world.engine.present() == 1
    assert Events.NAMESPACE_ABSENT not in world.heard.kinds()
    world.kernel.between = lambda _step: None
    world.engine.tick()
    world.check_equal()
