# SPDX-License-Identifier: Apache-2.0
"""In which network namespace a table goes, and when it moves to another."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from graftd.errors import NamespaceTakenError, NotOursError, TableNotEmptyError
from graftd.model import Namespace, NamespaceContent, PutEndpoint
from graftd.reconcile import NodeEventKind, Resource, ResourceKind, SyncState
from graftd.store import Transaction
from integration.played import OWN_COOKIE
from unit.reconcile_world import World, of, other, started
from unit.store_values import content, endpoint, namespace

WEB = Resource(ResourceKind.NAMESPACE, "web")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with started(tmp_path) as world:
        yield world


def test_a_new_namespace_gets_its_table_after_the_commit(world: World) -> None:
    cookie = world.tables.add_namespace("web")
    world.failing, world.failure = "after-netlink", RuntimeError("failed")
    with pytest.raises(RuntimeError):
        world.change(lambda t: t.apply(namespace(), "web", content(1)))
    assert world.steps() == []
    world.change(lambda t: t.apply(namespace(), "web", content(1)))
    assert len(world.tables.endpoints(cookie)) == 20
    world.check_equal()


def test_the_answer_says_what_will_be(world: World) -> None:
    world.tables.add_namespace("web")

    def act(transaction: Transaction) -> object:
        transaction.create_namespace(namespace("far"))
        made = (endpoint("a"), endpoint("b", target="far"))
        transaction.apply(namespace(), "web", NamespaceContent(endpoints=made))
        return lambda _carried: [world.engine.sync(one).state for one in (of("a"), of("b"))]

    states: list[SyncState]
    states, _ = world.engine.change(act)  # type: ignore[arg-type]
    assert states == [SyncState.IN_SYNC, SyncState.PENDING]
    assert world.engine.sync(WEB).detail == "1 of its endpoints wait for their target namespace"


def test_a_selector_moves_the_table(world: World) -> None:
    old = world.create()
    new = world.tables.add_namespace("new")
    world.change(lambda t: t.apply(None, "web", content(1)))
    world.heard.kinds()
    world.change(lambda t: t.update_namespace(other("web", "new")))
    assert world.tables.endpoints(old) == []
    assert len(world.tables.endpoints(new)) == 20
    assert world.engine.namespace_of(new) == "web"
    assert world.heard.kinds() == [NodeEventKind.NAMESPACE_PRESENT]
    world.check_equal()
    world.change(lambda t: t.update_namespace(other("web", "nowhere")))
    assert world.tables.endpoints(new) == []
    assert world.heard.kinds() == [NodeEventKind.NAMESPACE_ABSENT]
    world.check_equal()


def _update(wanted: Namespace, transaction: Transaction) -> None:
    transaction.update_namespace(wanted)


def _create(wanted: Namespace, transaction: Transaction) -> None:
    transaction.create_namespace(wanted)


def test_a_move_that_is_refused_touches_nothing(world: World) -> None:
    world.create()
    full = world.tables.add_namespace("full")
    world.tables.carry_out(full, [PutEndpoint(endpoint("x").endpoint)])
    world.create("other")
    world.tables.set_name("own", OWN_COOKIE)
    world.change(lambda t: t.apply(None, "web", content(1)))
    foreign = world.tables.add_namespace("foreign")
    world.tables.own_by(foreign, 77)
    world.steps()
    refusals = {"full": TableNotEmptyError, "other2": NamespaceTakenError, "own": NotOursError, "foreign": NotOursError}
    world.tables.set_name("other2", world.tables.namespaces["other"])
    for value, error in refusals.items():
        moved, made = other("web", value), other("web2", value)
        with pytest.raises(error):
            world.change(partial(_update, moved))
        with pytest.raises(error):
            world.change(partial(_create, made))
    assert world.steps() == []
    world.check_equal()


def test_another_way_to_the_same_namespace_moves_nothing(world: World) -> None:
    cookie = world.create()
    world.change(lambda t: t.apply(None, "web", content(1)))
    world.tables.set_name("alias", cookie)
    world.steps()
    world.change(lambda t: t.update_namespace(other("web", "alias")))
    assert world.steps() == []
    world.tables.unset_name("web")
    world.engine.tick()
    assert world.steps() == []
    assert world.engine.namespace_of(cookie) == "web"
    world.check_equal()


def test_a_namespace_that_is_deleted_leaves_an_empty_table_to_its_heir(world: World) -> None:
    cookie = world.create()
    world.tables.set_name("alias", cookie)
    world.change(lambda t: t.update_namespace(other("web", "web", freeze="stop")))
    world.change(lambda t: t.apply(None, "web", content(1)))
    with pytest.raises(NamespaceTakenError, match="namespace 'web' stands for that network namespace already"):
        world.create("alias")
    world.tables.unset_name("alias")
    world.create("alias", present=False)
    world.tables.set_name("alias", cookie)
    world.engine.tick()
    assert world.engine.sync(Resource(ResourceKind.NAMESPACE, "alias")).detail == (
        "its namespace is absent: namespace 'web' stands for that network namespace already"
    )
    world.change(lambda t: t.delete_namespace("web", force=True))
    assert world.engine.namespace_of(cookie) == "alias"
    table = world.tables.table(cookie)
    assert (table.endpoints, table.rules, table.acls, table.frozen) == (0, 0, 0, False)
    world.check_equal()


def test_the_namespace_of_one_that_moved_away_unseen_is_free(world: World) -> None:
    cookie = world.create()
    world.tables.add_namespace("web")  # which is another one now
    world.tables.set_name("new", cookie)
    world.change(lambda t: t.create_namespace(namespace("new")))
    assert world.engine.namespace_of(cookie) == "new"
    world.engine.tick()
    world.check_equal()
