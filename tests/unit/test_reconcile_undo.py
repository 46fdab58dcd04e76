# SPDX-License-Identifier: Apache-2.0
"""A change that fails is in the store and in the kernel, or in neither."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from graftd.errors import KernelError, ModuleNotLoadedError, StepRefusedError, StoreFullError, StoreUnavailableError
from graftd.model import ChangeKind, DeleteEndpoint, NamespaceContent, PutEndpoint, Step
from graftd.reconcile import Carried, NodeEventKind, Sync, SyncState
from graftd.store import Transaction
from unit.reconcile_world import World, of, other, refused_endpoint, selector, started
from unit.store_values import content, endpoint, namespace, rule


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with started(tmp_path) as world:
        yield world


def test_a_refusal_keeps_nothing(world: World) -> None:
    world.create()
    world.change(lambda t: t.create_endpoint("web", endpoint("a")))

    def act(transaction: Transaction) -> None:
        transaction.update_endpoint("web", endpoint("a", mark=1))
        transaction.create_endpoint("web", endpoint("b"))
        transaction.create_endpoint("web", refused_endpoint("c"))
        transaction.add_rule("web", rule(80, "b"))

    told = len(world.heard.changes)
    with pytest.raises(StepRefusedError, match="there is no device") as caught:
        world.change(act)
    assert (caught.value.namespace, caught.value.endpoint, caught.value.errno) == ("web", "c", errno.ENODEV)
    world.check_equal()
    assert len(world.heard.changes) == told
    assert world.engine.conditions() == []
    assert world.engine.sync(of("a")) == Sync(SyncState.IN_SYNC)
    assert NodeEventKind.DRIFT_REPAIRED not in world.heard.kinds()


def test_a_full_disk_at_the_commit_is_repaired_by_difference(world: World) -> None:
    world.create()
    world.change(lambda t: [t.create_endpoint("web", endpoint(f"e{n}")) for n in range(20)])
    world.steps()
    world.failing = "before-commit"
    with pytest.raises(StoreFullError):
        world.change(lambda t: t.create_endpoint("web", endpoint("new")))
    assert [type(step) for step in world.steps()] == [PutEndpoint, DeleteEndpoint]
    world.check_equal()
    (condition,) = world.engine.conditions()
    assert condition.reason == "STORE_FULL"
    assert world.heard.kinds()[-2:] == [NodeEventKind.NAMESPACE_PRESENT, NodeEventKind.DEGRADED]
    world.engine.tick()  # which finds that the store takes writes again
    assert world.engine.conditions() == []
    assert world.heard.kinds() == [NodeEventKind.RECOVERED]


def test_what_a_failed_answer_leaves(world: World) -> None:
    world.create()

    def act(transaction: Transaction) -> object:
        transaction.create_endpoint("web", endpoint("a"))

        def answer(_carried: Carried) -> None:
            raise RuntimeError("no answer")

        return answer

    with pytest.raises(RuntimeError, match="no answer"):
        world.engine.change(act)  # type: ignore[arg-type]
    world.check_equal()


@pytest.mark.parametrize("failpoint", ["before-netlink", "after-netlink", "before-commit"])
def test_a_change_that_fails_is_forgotten(world: World, failpoint: str) -> None:
    """What is known of namespaces is what it was, and nobody heard of it."""
    world.create()
    world.change(lambda t: t.create_endpoint("web", endpoint("a")))
    other_cookie = world.tables.add_namespace("other")
    world.heard.kinds()

    def act(transaction: Transaction) -> None:
        transaction.delete_namespace("web", force=True)
        transaction.create_namespace(namespace("other"))

    world.failing, world.failure = failpoint, RuntimeError("failed")
    with pytest.raises(RuntimeError):
        world.change(act)
    assert world.heard.kinds() == []
    assert world.engine.namespace_of(other_cookie) == ""
    assert world.engine.present() == world.engine.registered() == 1
    world.check_equal()
    assert world.engine.sync(of("a")) == Sync(SyncState.IN_SYNC)


def test_what_a_change_that_fails_has_seen_is_told_once(world: World) -> None:
    world.create()
    world.tables.remove_namespace("web")
    world.heard.kinds()
    world.failing = "before-commit"
    with pytest.raises(StoreFullError):
        world.change(lambda t: t.create_endpoint("web", endpoint("a")))
    assert world.heard.kinds() == [NodeEventKind.NAMESPACE_ABSENT, NodeEventKind.DEGRADED]
    world.engine.tick()
    assert world.heard.kinds() == [NodeEventKind.RECOVERED]
    world.check_equal()


def test_a_commit_that_fails_and_is_kept(world: World) -> None:
    world.create("db")
    world.tables.add_namespace("web")
    for act in (
        lambda t: t.apply(namespace(), "web", content(1)),
        lambda t: t.update_namespace(other("web", "elsewhere")),
        lambda t: t.delete_namespace("web", force=True),
    ):
        world.failing, world.failure = "after-commit", RuntimeError("nobody knows")
        with pytest.raises(RuntimeError):
            world.change(act)
        world.check_equal()
        assert world.engine.registered() == len(world.engine.read(lambda view: view.namespaces()))


def test_waiting_endpoints_wait_on_after_a_rollback(world: World) -> None:
    world.create()
    world.create("far", present=False)
    world.change(lambda t: t.create_endpoint("web", endpoint("a", target="far")))
    assert world.engine.sync(of("a")).detail == "its target namespace 'far' is absent"
    world.failing = "before-commit"
    with pytest.raises(StoreFullError):
        world.change(lambda t: t.update_endpoint("web", endpoint("a")))
    assert world.engine.sync(of("a")).detail == "its target namespace 'far' is absent"
    world.failing = "before-commit"
    with pytest.raises(StoreFullError):
        world.change(lambda t: t.delete_endpoint("web", "a"))
    world.tables.add_namespace("far")
    world.engine.refresh([selector("far")])
    world.check_equal()
    assert world.engine.sync(of("a")) == Sync(SyncState.IN_SYNC)


# After the commit, where a table is new


def test_a_refused_table_takes_the_change_back(world: World) -> None:
    cookie = world.tables.add_namespace("web")
    undone: list[str] = []

    def act(transaction: Transaction) -> object:
        transaction.apply(namespace(), "web", NamespaceContent((endpoint("a"), refused_endpoint("b")), (), ()))

        def answer(carried: Carried) -> None:
            transaction.remember("me", "1", b"", b"")
            carried.undo.append(lambda later: later.forget("me", "1"))
            carried.undo.append(lambda _later: undone.append("called"))

        return answer

    before = len(world.heard.changes)
    with pytest.raises(StepRefusedError, match="there is no device"):
        world.engine.change(act)  # type: ignore[arg-type]
    assert undone == ["called"]
    assert world.engine.read(lambda view: (view.find_namespace("web"), view.recall("me", "1", b""))) == (None, None)
    assert world.tables.endpoints(cookie) == []
    told = world.heard.changes[before:]
    revisions = [one.revision for one in told]
    assert sorted(revisions) == revisions
    assert [one.kind for one in told].count(ChangeKind.CREATED) == [one.kind for one in told].count(ChangeKind.DELETED)
    assert world.engine.registered() == 0
    assert world.engine.namespace_of(cookie) == ""
    world.tables.remove_namespace("web")
    world.engine.tick()
    assert world.heard.kinds() == [NodeEventKind.MODULE_LOADED, NodeEventKind.CLAIMED]


def test_a_module_that_goes_while_a_table_is_filled(world: World) -> None:
    world.tables.add_namespace("web")

    def gone(step: Step | None) -> None:
        if isinstance(step, PutEndpoint) and step.endpoint.name == "e05":
            world.tables.load(loaded=False)

    world.kernel.between = gone
    with pytest.raises(ModuleNotLoadedError):
        world.change(lambda t: t.apply(namespace(), "web", content(1)))
    assert world.engine.read(lambda view: view.find_namespace("web")) is None
    world.tables.load(loaded=True)
    world.engine.tick()
    world.check_equal()


def test_what_cannot_be_taken_back_stays_and_is_said(world: World) -> None:
    world.tables.add_namespace("web")

    def act(transaction: Transaction) -> object:
        transaction.apply(namespace(), "web", NamespaceContent((refused_endpoint("b"),)))

        def answer(carried: Carried) -> None:
            carried.undo.append(lambda _later: setattr(world, "failing", "before-commit"))

        return answer

    with pytest.raises(StoreUnavailableError, match="taking it back failed, so it stays in the store alone"):
        world.engine.change(act)  # type: ignore[arg-type]
    assert world.engine.read(lambda view: view.find_namespace("web")) is not None
    world.engine.tick()
    assert [one.reason for one in world.engine.conditions()] == ["KERNEL_REFUSED"]
    world.change(lambda t: t.delete_endpoint("web", "b"))
    assert world.engine.conditions() == []
    world.check_equal()


def test_a_move_whose_table_is_refused_is_taken_back(world: World) -> None:
    old = world.create()
    new = world.tables.add_namespace("new")
    world.change(lambda t: t.apply(None, "web", content(1)))

    def refuse(step: Step) -> KernelError | None:
        full = len(world.tables.endpoints(new)) == 7
        return KernelError(errno.ENOSPC, "the table is full") if isinstance(step, PutEndpoint) and full else None

    world.kernel.refuse = refuse
    with pytest.raises(StepRefusedError, match="the table is full"):
        world.change(lambda t: t.update_namespace(other("web", "new")))
    assert world.tables.endpoints(new) == []
    assert len(world.tables.endpoints(old)) == 20
    world.check_equal()
