# SPDX-License-Identifier: Apache-2.0
"""What the kernel refuses, and a store that cannot be written, while the engine looks: conditions, and their end."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from graftd.errors import KernelError, StoreFullError, StoreUnavailableError
from graftd.model import DeleteEndpoint, NamespaceContent, PutEndpoint, SetAcl, SetRules, SetTable, TableSettings
from graftd.reconcile import Resource, ResourceKind, SyncState
from unit.reconcile_world import Events, World, filled, refusing, started, sync
from unit.store_values import endpoint


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with started(tmp_path) as world:
        yield world


# The kernel


def test_a_table_that_cannot_be_read_keeps_the_others_from_nothing(world: World) -> None:
    cookie, db = filled(world), filled(world, "db")
    for one in (cookie, db):
        world.tables.carry_out(one, [SetRules(())])
    read = world.tables.rules
    bad = {cookie}

    def rules(one: int) -> object:
        if one in bad:
            raise KernelError(errno.EINTR, "the table changed under each attempt")
        return read(one)

    endpoints = world.tables.endpoints
    world.tables.endpoints = lambda one: rules(one) and endpoints(one)  # type: ignore[assignment, return-value, method-assign]
    world.engine.tick()
    assert len(world.tables.rules(db).rules) == 6
    assert sync(world) is SyncState.FAILED
    assert sync(world, "db") is SyncState.IN_SYNC
    assert "namespace 'web'" in world.engine.conditions()[0].message
    bad.clear()
    world.engine.tick()
    assert world.engine.conditions() == []
    world.check_equal()


def test_a_refusal_at_a_reconcile_is_a_condition(world: World) -> None:
    filled(world)
    world.create("db")
    world.change(lambda t: t.create_endpoint("db", endpoint("x")))
    world.close()
    world.tables.load(loaded=False)
    world.tables.load(loaded=True)
    world.open()
    world.kernel.refuse = lambda step: (
        KernelError(errno.ENODEV, "no device")
        if isinstance(step, PutEndpoint) and step.endpoint.name == "e03"
        else None
    )
    world.start()
    assert sync(world) is SyncState.FAILED
    failed = world.engine.sync(Resource(ResourceKind.ENDPOINT, "web", "e03"))
    assert (failed.state, failed.detail) == (SyncState.FAILED, "no device")
    assert world.engine.sync(Resource(ResourceKind.ENDPOINT, "web", "e04")).state is SyncState.IN_SYNC
    assert sync(world, "db") is SyncState.IN_SYNC
    assert world.heard.kinds() == [Events.MODULE_LOADED, Events.CLAIMED, Events.RECONCILE_FAILED, Events.DEGRADED]
    (condition,) = world.engine.conditions()
    assert condition.reason == "KERNEL_REFUSED"
    assert "refuses 1 of the store's resources, such as 'e03' of namespace 'web': no device" in condition.message
    world.engine.tick()
    assert world.heard.kinds() == []
    assert world.engine.conditions() == [condition]
    report = world.engine.reconcile("web")
    assert [one.resource.id for one in report.failures] == ["e03"]
    assert world.engine.reconciled.failed == 1
    assert world.engine.reconcile("db").failures == ()
    world.kernel.refuse = lambda _step: None
    world.engine.tick()
    assert world.heard.kinds() == [Events.RECOVERED]
    world.check_equal()


def test_a_refused_acl_leaves_closed_what_it_is_to_guard(world: World) -> None:
    cookie = filled(world)
    world.tables.carry_out(cookie, [SetAcl(()), SetTable(TableSettings(frozen=True)), DeleteEndpoint("e01")])
    world.kernel.refuse = refusing(SetAcl)
    world.engine.tick()
    assert world.tables.table(cookie).frozen
    assert world.tables.table(cookie).endpoints == 19
    assert world.engine.sync(Resource(ResourceKind.ENDPOINT, "web", "e01")).detail == "the kernel will not"
    world.kernel.refuse = lambda _step: None
    world.engine.tick()
    world.check_equal()


def test_a_change_cures_what_was_refused(world: World) -> None:
    filled(world)
    made = tuple(endpoint(f"e{number:02}", mark=100 + number) for number in range(20))
    world.tables.load(loaded=False)
    world.tables.load(loaded=True)
    for kind in (SetRules, SetAcl, PutEndpoint):
        world.kernel.refuse = refusing(kind)
        world.engine.reconcile()
        assert world.engine.conditions()
        world.kernel.refuse = lambda _step: None
        if kind is SetRules:
            world.change(lambda t: t.delete_rule("web", "ingress-1"))
        elif kind is SetAcl:
            world.change(lambda t: t.delete_acl_rule("web", "a0"))
        else:
            world.change(lambda t: t.apply(None, "web", NamespaceContent(endpoints=made)))
        assert world.engine.conditions() == []
        world.engine.tick()
        world.check_equal()
        world.tables.load(loaded=False)
        world.tables.load(loaded=True)


def test_a_refused_endpoint_that_is_deleted(world: World) -> None:
    """A step is sent for what stands in the kernel, an older form that is, and for nothing else."""
    cookie = filled(world)
    world.tables.carry_out(cookie, [DeleteEndpoint("e01"), PutEndpoint(endpoint("e02", 9).endpoint)])
    world.kernel.refuse = refusing(PutEndpoint)
    world.engine.tick()
    world.kernel.refuse = lambda _step: None
    world.steps()
    world.change(lambda t: [t.delete_endpoint("web", name) for name in ("e01", "e02")])
    assert world.steps() == [DeleteEndpoint("e02")]
    assert world.engine.conditions() == []
    world.check_equal()


# The store


def test_the_watchdogs_check(world: World) -> None:
    world.engine.check()
    world.tables.load(loaded=False)
    world.engine.check()
    assert [one.reason for one in world.engine.conditions()] == ["MODULE_NOT_LOADED"]
    world.path.rename(world.path.with_name("elsewhere"))
    with pytest.raises(StoreUnavailableError):
        world.engine.check()


def test_a_store_that_cannot_be_written_keeps_looks_from_nothing(world: World) -> None:
    filled(world)
    world.tables.remove_namespace("web")
    told = len(world.heard.changes)
    world.failing = "before-commit"
    world.engine.tick()
    assert [one.reason for one in world.engine.conditions()] == ["STORE_FULL"]
    assert world.engine.identity_of("web") is None
    assert len(world.heard.changes) == told
    world.engine.tick()
    assert world.engine.conditions() == []
    world.check_equal()


def test_a_store_that_stays_full_stays_a_condition(world: World) -> None:
    filled(world)
    world.failing = "before-commit"
    with pytest.raises(StoreFullError):
        world.change(lambda t: t.create_endpoint("web", endpoint("new")))
    since = world.engine.conditions()[0].since
    world.failing = "before-commit"
    world.engine.tick()
    assert [(one.reason, one.since) for one in world.engine.conditions()] == [("STORE_FULL", since)]
    world.engine.tick()
    assert world.engine.conditions() == []
    assert world.engine.read(lambda view: view.recall("", "probe", b"")) is None
