# SPDX-License-Identifier: Apache-2.0
"""Which network namespaces registered ones were, and when that is kept and forgotten."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from graftd.errors import StoreDamagedError
from graftd.model import NetnsIdentity, Selector
from graftd.store import Store, Transaction, _schema
from unit.reconcile_world import other, selector
from unit.store_values import Act, content, namespace

FIRST, SECOND = NetnsIdentity("boot", 5), NetnsIdentity("boot", 2**64 - 1)
SENSELESS = ("('boot', '0', '[]')", "('boot', 'x', '[1,\"a\"]')", "(CAST(x'ff' AS TEXT), '1', '[1,\"a\"]')")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """With namespace web, which is FIRST."""
    with Store.open(tmp_path / "db") as opened:
        do(opened, lambda t: t.create_namespace(namespace()))
        do(opened, lambda t: t.identify_namespace("web", FIRST))
        yield opened


def do(store: Store, act: Act) -> None:
    with store.transaction() as transaction:
        act(transaction)


def former(store: Store) -> list[tuple[NetnsIdentity, Selector]]:
    with store.snapshot() as view:
        return view.former()


def test_what_a_namespace_was(store: Store) -> None:
    do(store, lambda t: t.apply(namespace(colour="red"), "web", content(1)))
    assert former(store) == []
    do(store, lambda t: t.identify_namespace("web", FIRST))
    assert former(store) == []
    do(store, lambda t: t.identify_namespace("web", SECOND))
    assert former(store) == [(FIRST, selector("web"))]
    do(store, lambda t: t.update_namespace(other("web", "new")))
    do(store, lambda t: t.identify_namespace("web", None))
    assert set(former(store)) == {(FIRST, selector("web")), (SECOND, selector("web"))}
    do(store, lambda t: t.forget_former([SECOND]))
    assert former(store) == [(FIRST, selector("web"))]
    do(store, lambda t: t.identify_namespace("web", SECOND))
    do(store, lambda t: t.delete_namespace("web", force=True))
    assert set(former(store)) == {(FIRST, selector("web")), (SECOND, selector("new"))}


def test_what_is_rolled_back_is_no_record(store: Store) -> None:
    def act_and_fail(act: Act) -> None:
        def act_and_raise(transaction: Transaction) -> None:
            act(transaction)
            raise RuntimeError

        with pytest.raises(RuntimeError):
            do(store, act_and_raise)

    act_and_fail(lambda t: t.delete_namespace("web"))
    act_and_fail(lambda t: t.identify_namespace("web", None))
    act_and_fail(lambda t: t.update_namespace(other("web", "new")))
    with store.transaction(dry_run=True) as transaction:
        transaction.delete_namespace("web")
    assert former(store) == []


def test_a_restore_keeps_the_stores_and_none_of_the_copys(store: Store, tmp_path: Path) -> None:
    do(store, lambda t: t.create_namespace(namespace("gone")))
    do(store, lambda t: t.identify_namespace("gone", NetnsIdentity("boot", 9)))
    do(store, lambda t: t.delete_namespace("gone"))
    do(store, lambda t: t.create_namespace(namespace("absent")))
    with Store.open(tmp_path / "elsewhere") as elsewhere:
        do(elsewhere, lambda t: t.create_namespace(namespace()))
        for cookie in (6, 7):
            identity = NetnsIdentity("boot", cookie)
            do(elsewhere, lambda t, identity=identity: t.identify_namespace("web", identity))  # type: ignore[misc]
        assert former(elsewhere) == [(NetnsIdentity("boot", 6), selector("web"))]
        copy = elsewhere.back_up(tmp_path / "copy")
    store.restore(copy)
    assert former(store) == [(FIRST, selector("web")), (NetnsIdentity("boot", 9), selector("gone"))]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE namespace SET body = '{}'",
        "UPDATE namespace SET body = CAST(x'ff' AS TEXT)",
    ],
)
def test_a_restore_over_a_namespace_that_makes_no_sense(store: Store, tmp_path: Path, damage: str) -> None:
    copy = store.back_up(tmp_path / "copy")
    do(store, lambda t: t.identify_namespace("web", SECOND))
    store._writer.run(damage)
    store.restore(copy)
    assert former(store) == [(FIRST, selector("web"))]


@pytest.mark.parametrize("table", ["namespace", "former"])
def test_a_restore_over_pages_that_make_no_sense(store: Store, tmp_path: Path, table: str) -> None:
    copy = store.back_up(tmp_path / "copy")
    do(store, lambda t: t.identify_namespace("web", SECOND))
    overwrite_page(store, table)
    with pytest.raises(StoreDamagedError):
        store._writer.rows(f"SELECT * FROM {table}")
    store.restore(copy)
    assert former(store) == [(SECOND if table == "former" else FIRST, selector("web"))]


def overwrite_page(store: Store, table: str) -> None:
    """The first one of the table's b-tree, on the disk and in no cache."""
    (page,) = store._writer.one("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,))
    (size,) = store._writer.one("PRAGMA page_size")
    store._writer.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    with store.path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xa5" * size)
    store._writer.rows("PRAGMA shrink_memory")


@pytest.mark.parametrize("row", SENSELESS)
def test_a_record_that_makes_no_sense(store: Store, tmp_path: Path, row: str) -> None:
    do(store, lambda t: t.identify_namespace("web", SECOND))
    copy = store.back_up(tmp_path / "copy")
    store._writer.run(f"INSERT INTO former (boot_id, cookie, selector) VALUES {row}")
    with pytest.raises(StoreDamagedError, match="former network namespace makes no sense"):
        former(store)
    with store.transaction() as transaction:
        assert transaction.drop_senseless_former() == 1
        assert transaction.drop_senseless_former() == 0
    assert former(store) == [(FIRST, selector("web"))]
    store._writer.run(f"INSERT INTO former (boot_id, cookie, selector) VALUES {row}")
    store.restore(copy)
    assert set(former(store)) == {(FIRST, selector("web")), (SECOND, selector("web"))}


def test_from_schema_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "db"
    monkeypatch.setattr(_schema, "MIGRATIONS", _schema.MIGRATIONS[:1])
    with Store.open(path) as old:
        do(old, lambda t: t.apply(namespace(), "web", content(1)))
        do(old, lambda t: t.identify_namespace("web", FIRST))
        copy = old.back_up(tmp_path / "copy")
    monkeypatch.undo()
    with Store.open(path) as store:
        assert [one.name[:6] for one in store.migrated] == ["db.v1.", "db.v2."]
        with store.snapshot() as view:
            assert (view.schema_version, view.namespace("web").identity) == (3, FIRST)
            assert view.content("web") == content(1)
        assert former(store) == []
        do(store, lambda t: t.delete_namespace("web", force=True))
        assert store.restore(copy).schema == 1
        assert former(store) == [(FIRST, selector("web"))]
    with Store.open(tmp_path / "new") as new:
        assert new.migrated == ()
