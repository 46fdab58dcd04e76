# SPDX-License-Identifier: Apache-2.0
"""Import, which adopts a table as it is, and restore, which brings the kernel along."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from graftd.errors import (
    BackupDamagedError,
    ModuleNotLoadedError,
    NamespaceTakenError,
    NotImportableError,
    NotOursError,
    SelectorUnresolvedError,
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
from graftd.reconcile import SyncState
from graftd.store import Transaction
from unit.reconcile_world import Events, World, filled, other, refusing, started, sync
from unit.store_values import acl, endpoint, namespace, rule


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with started(tmp_path) as world:
        yield world


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
