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


def test_a_restore_over_what_makes_no_sense(store: Store, tmp_path: Path) -> None:
    copy = store.back_up(tmp_path / "copy")
    store._writer.run("UPDATE namespace SET body = '{}'")
    store.restore(copy)
    assert former(store) == []


def test_a_record_that_makes_no_sense(store: Store) -> None:
    store._writer.run("INSERT INTO former VALUES ('boot', '0', '[]')")
    with pytest.raises(StoreDamagedError, match="former network namespace makes no sense"):
        former(store)


def test_from_schema_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "db"
    monkeypatch.setattr(_schema, "MIGRATIONS", _schema.MIGRATIONS[:1])
    with Store.open(path) as old:
        do(old, lambda t: t.apply(namespace(), "web", content(1)))
        do(old, lambda t: t.identify_namespace("web", FIRST))
        copy = old.back_up(tmp_path / "copy")
    monkeypatch.undo()
    with Store.open(path) as store:
        (backup,) = store.migrated
        assert backup.name.startswith("db.v1.")
        with store.snapshot() as view:
            assert (view.schema_version, view.namespace("web").identity) == (2, FIRST)
            assert view.content("web") == content(1)
        assert former(store) == []
        do(store, lambda t: t.delete_namespace("web", force=True))
        assert store.restore(copy).schema == 1
        assert former(store) == [(FIRST, selector("web"))]
    with Store.open(tmp_path / "new") as new:
        assert new.migrated == ()
