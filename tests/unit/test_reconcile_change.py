# SPDX-License-Identifier: Apache-2.0
"""What a change asks of the kernel, and in which order; what it does to live sockets; freezes."""

import errno
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from graftd.errors import (
    AlreadyExistsError,
    KernelError,
    ModuleNotLoadedError,
    SelectorUnresolvedError,
    StepRefusedError,
    StoreFullError,
)
from graftd.model import AclRule, DeleteEndpoint, Freeze, PutEndpoint, SetAcl, SetRules, SetTable, Step, TableLimits
from graftd.reconcile import NodeEventKind, Resource, ResourceKind, SyncState
from graftd.store import Transaction
from unit.reconcile_world import World, other, refused_endpoint, refusing, selector, started
from unit.store_values import acl, endpoint, namespace, rule

WEB = Resource(ResourceKind.NAMESPACE, "web")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with started(tmp_path) as world:
        yield world


def test_each_kind_of_change_takes_its_steps(world: World) -> None:
    cookie = world.create()
    assert world.steps() == []  # an empty table is as it is to be
    world.change(lambda t: t.create_endpoint("web", endpoint("a")))
    world.change(lambda t: t.update_endpoint("web", endpoint("a", mark=3)))
    world.change(lambda t: t.add_rule("web", rule(80, "a")))
    world.change(lambda t: t.add_acl_rule("web", acl(1)))
    world.change(lambda t: t.delete_endpoint("web", "a"))
    world.change(lambda t: t.update_namespace(replace(namespace(), limits=TableLimits(max_sockets=5))))
    assert [type(step) for step in world.steps()] == [
        PutEndpoint,
        PutEndpoint,
        SetRules,
        SetAcl,
        DeleteEndpoint,
        SetTable,
    ]
    assert world.tables.table(cookie).max_sockets == 5
    world.engine.tick()
    world.engine.tick(whole=True)
    assert world.steps() == []
    world.check_equal()


def test_what_the_kernel_does_not_see_takes_no_step(world: World) -> None:
    world.create()
    world.change(lambda t: t.create_endpoint("web", endpoint("a")))
    world.steps()
    labelled = replace(endpoint("a"), labels={"app": "x"})
    world.change(lambda t: t.update_endpoint("web", labelled))
    world.change(lambda t: t.update_namespace(replace(namespace(), labels={"app": "x"})))
    world.change(lambda t: t.remember("me", "1", b"", b""))
    assert world.steps() == []


def test_a_dry_run_asks_nothing_of_the_kernel(world: World) -> None:
    world.create()
    world.steps()

    def asked(_step: Step | None) -> None:
        raise AssertionError("the kernel was asked")

    world.kernel.between = asked
    world.change(lambda t: t.create_endpoint("web", refused_endpoint("a")), dry_run=True)
    world.change(lambda t: t.delete_namespace("web"), dry_run=True)
    world.change(lambda t: t.create_namespace(namespace("new")), dry_run=True)
    with pytest.raises(AlreadyExistsError):
        world.change(lambda t: t.create_namespace(namespace()), dry_run=True)
    assert world.steps() == []
    assert world.engine.read(lambda view: view.count_endpoints("web")) == 0
    assert world.engine.sync(WEB).state is SyncState.IN_SYNC


def test_the_acl_is_first_and_without_it_nothing_is_opened(world: World) -> None:
    cookie = world.create()
    world.kernel.refuse = refusing(SetAcl)

    def act(transaction: Transaction) -> None:
        transaction.create_endpoint("web", endpoint("a"))
        transaction.add_acl_rule("web", acl(1))

    world.steps()
    with pytest.raises(StepRefusedError, match="the kernel will not"):
        world.change(act)
    assert world.steps() == []
    assert world.tables.endpoints(cookie) == []


def test_a_table_opens_last(world: World) -> None:
    world.create()
    world.change(lambda t: t.update_namespace(other("web", "web", freeze="stop")))
    world.steps()

    def act(transaction: Transaction) -> None:
        transaction.update_namespace(namespace())
        transaction.create_endpoint("web", endpoint("a"))
        transaction.add_acl_rule("web", acl(1))

    world.change(act)
    assert [type(step) for step in world.steps()] == [SetAcl, PutEndpoint, SetTable]
    world.kernel.refuse = lambda step: KernelError(errno.EINVAL, "no") if isinstance(step, SetAcl) else None
    world.change(lambda t: t.update_namespace(other("web", "web", freeze="stop")))
    world.steps()

    def again(transaction: Transaction) -> None:
        transaction.update_namespace(namespace())
        transaction.add_acl_rule("web", acl(2))

    with pytest.raises(StepRefusedError):
        world.change(again)
    assert world.steps() == []


def test_a_hundred_targets_are_not_open_at_once(world: World) -> None:
    world.create()
    names = [f"t{number}" for number in range(250)]
    for name in names:
        world.tables.add_namespace(name)
    world.change(lambda t: [t.create_namespace(namespace(name)) for name in names])
    most = 0

    def count(_step: Step | None) -> None:
        nonlocal most
        most = max(most, len(world.finder.held))

    world.kernel.between = count
    world.change(lambda t: [t.create_endpoint("web", endpoint(name, target=name)) for name in names])
    assert most == 101
    world.check_equal()


def test_pin(world: World) -> None:
    assert world.engine.pin("web", selector("web")) == selector("web")
    with pytest.raises(SelectorUnresolvedError, match="there is no process 404"):
        world.engine.pin("web", replace(selector("404"), kind=type(selector("x").kind)("pid")))


# Live sockets


def test_abort_flags(world: World) -> None:
    cookie = world.create()
    world.change(lambda t: [t.create_endpoint("web", endpoint(name)) for name in "abc"])
    for number, name in enumerate("aabbc"):
        world.tables.add_socket(cookie, number + 1, name)
    assert world.change(lambda t: t.update_endpoint("web", endpoint("a", mark=1))) == 0
    assert world.change(lambda t: t.update_endpoint("web", endpoint("a", mark=2)), abort=True) == 2
    deny = AclRule(allow=False, endpoint="c", network=ip_network("10.0.0.0/8"))
    assert world.change(lambda t: t.add_acl_rule("web", deny), abort=True) == 1
    assert world.change(lambda t: t.delete_namespace("web", force=True), abort=True) == 2
    assert world.tables.sockets(cookie) == []


def test_abort_reaches_what_is_changed_alone(world: World) -> None:
    cookie = world.create()
    world.change(lambda t: [t.create_endpoint("web", endpoint(name)) for name in "ab"])
    world.tables.add_socket(cookie, 1, "b")
    world.tables.carry_out(cookie, [PutEndpoint(endpoint("b", mark=9).endpoint)])  # drift, repaired on the way
    assert world.change(lambda t: t.delete_endpoint("web", "a"), abort=True) == 0
    assert len(world.tables.sockets(cookie)) == 1
    world.check_equal()


# Freezes


def test_a_frozen_node_and_namespace(world: World) -> None:
    cookies = [world.create(name) for name in ("web", "db")]
    world.create("gone", present=False)
    world.steps()
    assert world.engine.freeze(Freeze("attack")) == 2
    assert [world.tables.table(one).frozen for one in cookies] == [True, True]
    assert len(world.steps()) == 2
    assert world.engine.freeze(Freeze("attack")) == 2
    assert world.steps() == []
    world.create("new")  # comes frozen
    world.change(lambda t: t.update_namespace(other("db", "db", freeze="mine")))
    world.check_equal()
    world.engine.tick(whole=True)
    assert NodeEventKind.DRIFT_REPAIRED not in world.heard.kinds()
    assert world.engine.freeze(None) == 1
    assert [world.tables.table(one).frozen for one in cookies] == [False, True]
    world.change(lambda t: t.update_namespace(namespace("db")))
    world.check_equal()
    world.steps()
    world.engine.tick()
    assert world.steps() == []


def test_a_freeze_that_is_not_kept(world: World) -> None:
    cookies = [world.create(name) for name in ("web", "db")]
    world.failing = "before-commit"
    with pytest.raises(StoreFullError):
        world.engine.freeze(Freeze("attack"))
    assert [world.tables.table(one).frozen for one in cookies] == [False, False]
    assert NodeEventKind.DRIFT_REPAIRED not in world.heard.kinds()
    world.kernel.refuse = refusing(SetTable)
    assert world.engine.freeze(Freeze("attack")) == 0
    world.kernel.refuse = lambda _step: None
    world.engine.tick()
    assert [world.tables.table(one).frozen for one in cookies] == [True, True]
    world.tables.load(loaded=False)
    with pytest.raises(ModuleNotLoadedError):
        world.engine.freeze(None)
