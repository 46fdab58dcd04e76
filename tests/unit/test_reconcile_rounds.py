# SPDX-License-Identifier: Apache-2.0
"""Looking, repairing and telling: start, ticks, notices, reconciles, and what can be read."""

import errno
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from graftd.errors import (
    BackupDamagedError,
    KernelError,
    ModuleNotLoadedError,
    NamespaceAbsentError,
    NamespaceError,
    NamespaceTakenError,
    NotFoundError,
    NotImportableError,
    NotOursError,
    SelectorUnresolvedError,
    StoreFullError,
    StoreUnavailableError,
    TablesClaimedError,
)
from graftd.model import (
    AclRule,
    DeleteEndpoint,
    Freeze,
    Namespace,
    NamespaceContent,
    NamespaceRecord,
    PutEndpoint,
    SetAcl,
    SetRules,
    SetTable,
    Step,
    TableLimits,
    TableSettings,
)
from graftd.reconcile import ModuleState, NodeEventKind, Report, Resource, ResourceKind, SyncState
from graftd.store import Transaction
from integration.played import OWN_COOKIE
from unit.reconcile_world import World, ids, other, refused_endpoint, refusing, selector
from unit.store_values import acl, content, endpoint, namespace, rule

Events = NodeEventKind


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    world.start()
    yield world
    assert not world.finder.held
    world.close()


def filled(world: World, name: str = "web", size: int = 20) -> int:
    cookie = world.create(name)
    world.change(lambda t: t.apply(None, name, content(1, size)))
    world.steps()
    world.heard.kinds()
    return cookie


def sync(world: World, name: str = "web") -> SyncState:
    return world.engine.sync(Resource(ResourceKind.NAMESPACE, name)).state


def module_of(world: World) -> ModuleState:
    state, info = world.engine.module
    assert (info is None) == (state is ModuleState.NOT_LOADED)
    return state


# Start


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


# Ticks


def test_drift_is_repaired_and_told(world: World) -> None:
    cookie = filled(world)
    repaired = world.engine.reconciled.repaired
    world.tables.carry_out(cookie, [PutEndpoint(endpoint("theirs").endpoint), SetRules(()), SetAcl(())])
    world.steps()
    world.engine.tick()
    assert [type(step) for step in world.steps()] == [DeleteEndpoint, SetAcl, SetRules]
    (event,) = world.heard.events
    assert (event.kind, event.namespace) == (Events.DRIFT_REPAIRED, "web")
    assert ("theirs", "deleted") in ids(event.repairs)
    assert len(event.repairs) == 1 + 6 + 3
    assert world.engine.reconciled.repaired == repaired + 10
    world.check_equal()
    world.heard.kinds()
    world.engine.tick(whole=True)
    assert world.steps() == []
    assert world.heard.kinds() == []


def test_drift_that_undoes_itself_is_none(world: World) -> None:
    cookie = filled(world)
    world.tables.carry_out(cookie, [PutEndpoint(endpoint("theirs").endpoint), DeleteEndpoint("theirs")])
    world.steps()
    world.engine.tick()
    assert world.steps() == []
    assert world.heard.kinds() == []


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


# Notices


def test_own_changes_are_no_news(world: World) -> None:
    cookie = filled(world)
    world.change(lambda t: t.create_endpoint("web", endpoint("a")))
    world.steps()
    generation = world.tables.table(cookie).generation
    calls: list[object] = []
    world.kernel.between = calls.append
    world.engine.noticed({cookie: generation, 12345: 1})
    assert calls == []
    world.kernel.between = lambda _step: None
    world.tables.carry_out(cookie, [DeleteEndpoint("a")])
    world.engine.noticed({cookie: generation + 1})
    assert world.heard.kinds() == [Events.DRIFT_REPAIRED]
    world.check_equal()


def test_a_notice_beside_a_failure(world: World) -> None:
    """What was refused moved no generation, so the next one is news."""
    cookie = filled(world)
    world.tables.carry_out(cookie, [DeleteEndpoint("e01"), DeleteEndpoint("e02")])
    world.kernel.refuse = refusing(PutEndpoint)
    world.engine.tick()
    world.kernel.refuse = lambda _step: None
    world.tables.carry_out(cookie, [PutEndpoint(endpoint("theirs").endpoint)])
    world.engine.noticed({cookie: world.tables.table(cookie).generation})
    world.check_equal()


def test_drift_whose_repair_is_broken_off_is_told_when_it_ends(world: World) -> None:
    cookie = filled(world)
    world.tables.carry_out(cookie, [DeleteEndpoint("e01"), SetRules(())])

    def claim(step: Step | None) -> None:
        if isinstance(step, SetRules):
            world.tables.claim_for("other")

    world.kernel.between = claim
    world.engine.tick()
    assert world.heard.kinds() == [Events.CLAIM_LOST, Events.DEGRADED]
    world.kernel.between = lambda _step: None
    world.tables.claim_for(None)
    world.engine.tick()
    assert world.heard.kinds() == [Events.CLAIMED, Events.DRIFT_REPAIRED, Events.RECOVERED]
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


# Reconcile


def test_a_reconcile_tells_what_it_does(world: World) -> None:
    cookie, db = filled(world), filled(world, "db")
    for where in (cookie, db):
        world.tables.carry_out(where, [DeleteEndpoint("e01")])
    world.steps()
    dry = world.engine.reconcile(dry_run=True)
    assert world.steps() == []
    assert world.heard.kinds() == []
    revision = world.engine.read(lambda view: view.revision)
    assert ids(dry.repairs) == [("e01", "created"), ("e01", "created")]
    assert dry.revision == revision
    one = world.engine.reconcile("db")
    web = tuple(each for each in dry.repairs if each.resource.namespace == "web")
    assert one.repairs == tuple(each for each in dry.repairs if each.resource.namespace == "db")
    assert world.engine.reconcile() == Report(web, (), revision)
    assert world.engine.reconcile() == Report((), (), revision)
    status = world.engine.reconciled
    assert status.last is not None
    assert status.took.total_seconds() >= 0
    with pytest.raises(NotFoundError):
        world.engine.reconcile("nothing")
    world.tables.claim_for("other")
    with pytest.raises(TablesClaimedError):
        world.engine.reconcile()
    world.check_equal()


# Import


def adopt(world: World, wanted: Namespace, *, dry_run: bool = False, known: str | None = None) -> str:
    def finish(_transaction: Transaction, record: NamespaceRecord, adopted: NamespaceContent) -> str:
        assert record.identity is not None
        return f"{len(adopted.endpoints or ())} {len(adopted.rules or ())} {len(adopted.acl or ())}"

    return world.engine.adopt(wanted, lambda _view: known, finish, dry_run=dry_run)


def test_a_table_is_adopted_untouched(world: World) -> None:
    far = world.create("far")
    cookie = world.tables.add_namespace("web")
    written: list[Step] = [
        SetTable(TableSettings(max_sockets=7, frozen=True)),
        PutEndpoint(endpoint("a").endpoint),
        PutEndpoint(endpoint("b").endpoint, far),
        SetRules((rule(80, "a"), rule(81))),
        SetAcl((acl(2), AclRule(allow=False), acl(1))),
    ]
    world.tables.carry_out(cookie, written)
    world.steps()
    assert adopt(world, namespace(), dry_run=True) == "2 2 3"
    assert world.engine.registered() == 1
    assert adopt(world, namespace(), known="said before") == "said before"
    assert adopt(world, namespace(labels="x")) == "2 2 3"
    assert world.steps() == []
    record = world.engine.read(lambda view: view.namespace("web"))
    assert record.namespace.limits == TableLimits(max_sockets=7)
    assert record.namespace.freeze is not None
    assert sync(world) is SyncState.IN_SYNC
    assert world.engine.namespace_of(cookie) == "web"
    world.check_equal()
    world.restart()
    assert world.steps() == []


def test_what_is_said_at_an_import_holds(world: World) -> None:
    cookie = world.tables.add_namespace("web")
    world.tables.carry_out(cookie, [SetTable(TableSettings(max_sockets=7))])
    adopt(world, replace(namespace(), limits=TableLimits(max_sockets=0), freeze=Freeze("mine")))
    assert world.engine.read(lambda view: view.namespace("web")).namespace.freeze == Freeze("mine")
    table = world.tables.table(cookie)
    assert (table.max_sockets, table.frozen) == (0, True)


def test_what_cannot_be_adopted(world: World) -> None:
    with pytest.raises(SelectorUnresolvedError, match="there is no namespace of ip netns 'web'"):
        adopt(world, namespace())
    cookie = world.tables.add_namespace("web")
    away = world.tables.add_namespace("away")
    world.tables.carry_out(cookie, [PutEndpoint(endpoint("a").endpoint, away)])
    with pytest.raises(NotImportableError, match="register that one first"):
        adopt(world, namespace())
    world.tables.remove_namespace("away")
    with pytest.raises(NotImportableError, match="the target namespace of endpoint 'a' is gone"):
        adopt(world, namespace())
    world.tables.carry_out(cookie, [DeleteEndpoint("a"), PutEndpoint(replace(endpoint("x").endpoint, name="no id"))])
    with pytest.raises(NotImportableError, match="'no id' cannot name an endpoint"):
        adopt(world, namespace())
    world.tables.own_by(cookie, 9)
    with pytest.raises(NotOursError):
        adopt(world, namespace())
    world.create("db")
    world.tables.set_name("web", world.tables.namespaces["db"])
    with pytest.raises(NamespaceTakenError):
        adopt(world, namespace())
    assert world.engine.registered() == 1
    world.tables.set_name("web", cookie)
    world.tables.load(loaded=False)
    with pytest.raises(ModuleNotLoadedError):
        adopt(world, namespace())


# Restore


def test_a_restore_brings_the_kernel_along(world: World, tmp_path: Path) -> None:
    filled(world)
    filled(world, "moved")
    copy = world.engine.store.back_up(tmp_path / "copy")
    world.tables.add_namespace("elsewhere")
    world.change(lambda t: t.update_namespace(other("moved", "elsewhere")))
    later = filled(world, "later")
    world.change(lambda t: t.delete_namespace("web", force=True))
    world.engine.restore(copy)
    assert world.heard.restores == 1
    assert world.tables.endpoints(later) == []
    assert world.tables.endpoints(world.tables.namespaces["elsewhere"]) == []
    assert world.engine.registered() == 2
    world.check_equal()
    world.restart()
    assert world.steps()
    world.check_equal()


def test_a_restore_leaves_what_it_cannot_empty_and_says_so(world: World, tmp_path: Path) -> None:
    copy = world.engine.store.back_up(tmp_path / "copy")
    filled(world)
    world.kernel.refuse = refusing(DeleteEndpoint)
    world.engine.restore(copy)
    assert Events.RECONCILE_FAILED in world.heard.kinds()
    assert world.engine.registered() == 0


def test_a_damaged_copy_is_no_damage_of_the_store(world: World, tmp_path: Path) -> None:
    (tmp_path / "copy").write_bytes(b"no copy")
    with pytest.raises(BackupDamagedError):
        world.engine.restore(tmp_path / "copy")
    assert world.engine.conditions() == []


# Reading


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


# What is wrong


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


def test_a_module_that_refuses_for_another_reason(world: World) -> None:
    filled(world)

    def claim() -> None:
        raise KernelError(errno.EPERM, "CAP_NET_ADMIN is needed")

    world.tables.claim = claim  # type: ignore[method-assign]
    world.engine.tick()
    assert module_of(world) is ModuleState.REFUSING
    with pytest.raises(KernelError, match="does not let graftd write: CAP_NET_ADMIN is needed"):
        world.change(lambda t: t.create_endpoint("web", endpoint("new")))


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


# Sizes


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


def test_an_event_looks_at_what_it_is_about_alone(world: World) -> None:
    """With many namespaces, one that comes costs the look at one."""
    world.change(lambda t: [t.create_namespace(namespace(f"n{number}")) for number in range(200)])
    for number in range(200):
        world.tables.add_namespace(f"n{number}")
    world.engine.tick()
    calls: list[object] = []
    world.kernel.between = calls.append
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
    world.change(lambda t: [t.create_namespace(namespace(f"n{number}")) for number in range(100)])
    for number in range(100):
        world.tables.add_namespace(f"n{number}")
    world.engine.tick()
    calls: list[object] = []
    world.kernel.between = calls.append
    with pytest.raises(KernelError):
        world.change(lambda t: t.create_endpoint("n7", refused_endpoint("a")))
    assert len(calls) < 10
