# SPDX-License-Identifier: Apache-2.0
"""Changes: in the store and in the kernel, or in neither."""

import errno
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from ipaddress import ip_network
from pathlib import Path

import pytest

from graftd.errors import (
    AlreadyExistsError,
    KernelError,
    ModuleNotLoadedError,
    NamespaceTakenError,
    NotOursError,
    SelectorUnresolvedError,
    StepRefusedError,
    StoreFullError,
    StoreUnavailableError,
    TableNotEmptyError,
    TablesClaimedError,
)
from graftd.model import (
    AclRule,
    ChangeKind,
    DeleteEndpoint,
    Freeze,
    Namespace,
    NamespaceContent,
    PutEndpoint,
    Selector,
    SetAcl,
    SetRules,
    SetTable,
    Step,
    TableLimits,
)
from graftd.reconcile import Carried, NodeEventKind, Resource, ResourceKind, Sync, SyncState
from graftd.store import Transaction
from integration.played import OWN_COOKIE
from unit.reconcile_world import World, other, refused_endpoint, refusing, selector
from unit.store_values import acl, content, endpoint, namespace, rule

WEB = Resource(ResourceKind.NAMESPACE, "web")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    world.start()
    yield world
    assert not world.finder.held
    world.close()


def of(name: str, namespace: str = "web") -> Resource:
    return Resource(ResourceKind.ENDPOINT, namespace, name)


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


# Where a table goes


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


def test_pin(world: World) -> None:
    assert world.engine.pin("web", selector("web")) == selector("web")
    with pytest.raises(SelectorUnresolvedError, match="there is no process 404"):
        world.engine.pin("web", replace(selector("404"), kind=type(selector("x").kind)("pid")))
