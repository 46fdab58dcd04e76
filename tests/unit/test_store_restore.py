# SPDX-License-Identifier: Apache-2.0
"""A copy that takes the store's place, and what can be no copy. What a killed restore leaves is in test_store_crash."""

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from graftd.errors import (
    BackupDamagedError,
    RevisionGoneError,
    StoreBusyError,
    StoreFullError,
    StoreUnavailableError,
    StoreVersionError,
)
from graftd.model import Freeze, NetnsIdentity
from graftd.store import CopyInfo, Store, _connection, _schema
from unit.store_values import content, endpoint, marks, namespace

_SCHEMA = len(_schema.MIGRATIONS)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """At revision 4, with 5 endpoints of mark 1 in web."""
    with Store.open(tmp_path / "db") as opened:
        for mark in (4, 3, 2, 1):
            with opened.transaction() as transaction:
                transaction.apply(namespace(), "web", content(mark, size=5))
        with opened.transaction() as transaction:
            transaction.remember("0", "x", b"print", b"answer")
        yield opened


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """At revision 2, with 300 endpoints of mark 9 in web, and a namespace that the store has not."""
    with Store.open(tmp_path / "elsewhere") as other:
        with other.transaction() as transaction:
            transaction.apply(namespace(), "web", content(9, size=300))
        with other.transaction() as transaction:
            transaction.create_namespace(namespace("other"))
            transaction.identify_namespace("other", NetnsIdentity("boot", 5))
            transaction.create_endpoint("other", endpoint("a", target="web"))
            transaction.set_freeze(Freeze("fire"))
            transaction.remember("0", "y", b"print", b"answer")
        other.back_up(tmp_path / "copy")
    (tmp_path / "elsewhere").unlink()
    return tmp_path / "copy"


def everything(store: Store) -> tuple[object, ...]:
    with store.snapshot() as view:
        names = [record.namespace.name for record in view.namespaces()]
        return (
            view.history_id,
            view.revision,
            view.freeze,
            view.namespaces(),
            [(view.endpoints(name), view.rules(name), view.acl(name), view.content_etag(name)) for name in names],
            view.changes(after=view.oldest_revision),
            view.recall("0", "x", b"print"),
        )


def test_a_copy_takes_the_stores_place(store: Store, copy: Path, tmp_path: Path) -> None:
    with Store.open(copy) as other:
        wanted = everything(other)
    before = everything(store)
    info = store.restore(copy)
    found = everything(store)
    assert (info.schema, info.namespaces, info.endpoints, info.rules, info.acl_rules) == (_SCHEMA, 2, 301, 6, 3)
    assert found[2:5] == wanted[2:5]
    assert (info.history_id, info.revision) == found[:2]
    assert info.revision == 5
    assert info.history_id not in (before[0], wanted[0])
    with store.snapshot() as view:
        assert view.oldest_revision == 5
        assert view.changes(after=5).changes == ()
        with pytest.raises(RevisionGoneError):
            view.changes(after=4)
        assert view.recall("0", "x", b"print") is None
        assert view.recall("0", "y", b"print") is None
    with store.transaction() as transaction:
        made = transaction.create_endpoint("web", endpoint("after"))
        transaction.remember("0", "x", b"print", b"after")
    assert made.version.revision == 6
    with store.snapshot() as view:
        assert [change.revision for change in view.changes(after=5).changes] == [6]
        assert view.oldest_revision == 5
    last = everything(store)
    store.close()
    with Store.open(tmp_path / "db") as again:
        assert everything(again) == last
        assert again._writer.one("PRAGMA journal_mode") == ("wal",)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["copy", "db"]


def test_a_revision_is_never_counted_twice(store: Store, copy: Path) -> None:
    with Store.open(copy) as other:
        for number in range(10):
            with other.transaction() as transaction:
                transaction.create_endpoint("web", endpoint(f"more-{number}"))
    assert store.restore(copy).revision == 13
    assert store.restore(copy).revision == 14


def test_a_snapshot_stands_over_a_restore(store: Store, copy: Path) -> None:
    with store.snapshot() as view:
        assert view.revision == 4
        store.restore(copy)
        assert view.content("web") == content(1, size=5)
        assert view.revision == 4
    with store.snapshot() as view:
        assert view.count_endpoints("web") == 300


def test_a_copy_is_only_looked_at(store: Store, copy: Path, tmp_path: Path) -> None:
    data, before = copy.read_bytes(), everything(store)
    with Store.open(tmp_path / "another") as other, other.snapshot() as view:
        empty_history = view.history_id
    with sqlite3.connect(copy) as raw:
        (history,) = raw.execute("SELECT history FROM meta").fetchone()
    raw.close()
    assert store.check_copy(copy) == CopyInfo(_SCHEMA, 2, history, 2, 301, 6, 3)
    assert copy.read_bytes() == data
    assert everything(store) == before
    assert store.check_copy(tmp_path / "another") == CopyInfo(_SCHEMA, 0, empty_history, 0, 0, 0, 0)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["another", "copy", "db", "db-shm", "db-wal"]


def test_a_copy_that_was_in_use(store: Store, tmp_path: Path) -> None:
    """Its header says that there is a log beside it."""
    with Store.open(tmp_path / "used") as other, other.transaction() as transaction:
        transaction.apply(namespace(), "web", content(7))
    assert (tmp_path / "used").read_bytes()[18:20] == b"\2\2"
    store.restore(tmp_path / "used")
    with store.snapshot() as view:
        assert marks(view.content("web")) == {7}


def test_a_copy_of_another_page_size(store: Store, copy: Path) -> None:
    with sqlite3.connect(copy) as raw:
        raw.execute("PRAGMA page_size = 1024")
        raw.execute("VACUUM")
    raw.close()
    store.restore(copy)
    with store.snapshot() as view:
        assert view.count_endpoints("web") == 300
    assert store._writer.one("PRAGMA page_size") == (4096,)


def test_a_copy_of_an_older_schema(store: Store, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = copy.read_bytes()
    store.close()
    step = ("ALTER TABLE meta ADD COLUMN colour TEXT", "UPDATE meta SET colour = new_uid()")
    monkeypatch.setattr(_schema, "MIGRATIONS", (*_schema.MIGRATIONS, step))
    with Store.open(tmp_path / "db") as newer:
        assert newer.check_copy(copy).schema == _SCHEMA
        assert newer.restore(copy).schema == _SCHEMA
        assert newer._writer.one("PRAGMA user_version") == (_SCHEMA + 1,)
        ((colour,),) = newer._writer.rows("SELECT colour FROM meta")
        assert len(colour) == 36
        (migrated,) = newer.migrated
        with newer.snapshot() as view:
            assert view.count_endpoints("web") == 300
    assert copy.read_bytes() == data
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["copy", "db", migrated.name]


# What can be no copy


def altered(copy: Path, *statements: str) -> None:
    raw = sqlite3.connect(copy, isolation_level=None)
    for statement in ("PRAGMA writable_schema = ON", *statements):
        raw.execute(statement)
    raw.close()


def overwrite_pages(copy: Path) -> None:
    data = bytearray(copy.read_bytes())
    for page in range(4, len(data) // 4096):
        data[page * 4096 : page * 4096 + 200] = b"\xa5" * 200
    copy.write_bytes(data)


def lose_an_index_row(copy: Path) -> None:
    """The index on targets says nothing of an endpoint that has one."""
    find = "FROM sqlite_schema WHERE name = 'endpoint_by_target'"
    raw = sqlite3.connect(copy)
    index = raw.execute(f"SELECT * {find}").fetchone()
    raw.close()
    altered(copy, f"DELETE {find}")
    altered(copy, "UPDATE endpoint SET target_id = 2 WHERE name = x'653030'")
    raw = sqlite3.connect(copy, isolation_level=None)
    raw.execute("PRAGMA writable_schema = ON")
    raw.execute("INSERT INTO sqlite_schema VALUES (?, ?, ?, ?, ?)", index)
    raw.close()


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda copy: copy.write_bytes(b""), "it is no database of graftd's"),
        (lambda copy: copy.write_bytes(b"What is this?" * 1000), "file is not a database"),
        (lambda copy: os.truncate(copy, copy.stat().st_size // 2 // 4096 * 4096), "malformed|Page"),
        (lambda copy: os.truncate(copy, 100), "malformed|not a database"),
        (overwrite_pages, "malformed|Page"),
        (lose_an_index_row, "missing from index endpoint_by_target"),
        (lambda copy: altered(copy, "PRAGMA application_id = 5"), "it is no database of graftd's"),
        (lambda copy: altered(copy, "PRAGMA user_version = 0"), "it is no database of graftd's"),
        (lambda copy: altered(copy, "DROP TABLE request"), "its tables are not those of a store"),
        (
            lambda copy: altered(copy, "CREATE TRIGGER t AFTER INSERT ON endpoint BEGIN DELETE FROM meta; END"),
            "its tables are not those of a store",
        ),
        (lambda copy: altered(copy, "DELETE FROM namespace WHERE name = 'other'"), "a namespace that it does not hold"),
        (lambda copy: altered(copy, "DELETE FROM meta"), "it does not say of which history it is"),
        (lambda copy: altered(copy, "UPDATE rule SET body = '{}' WHERE id = 'egress-2'"), "KeyError: 'direction'"),
        (lambda copy: altered(copy, "UPDATE acl SET body = '['"), "JSONDecodeError"),
        (lambda copy: altered(copy, "UPDATE endpoint SET body = '[]' WHERE name = x'61'"), "of namespace 'other'"),
        (lambda copy: altered(copy, "UPDATE namespace SET body = '{}'"), "KeyError: 'selector'"),
        (lambda copy: altered(copy, "UPDATE meta SET freeze = '{'"), "JSONDecodeError"),
    ],
)
def test_what_is_no_whole_copy(store: Store, copy: Path, damage: Callable[[Path], object], why: str) -> None:
    before = everything(store)
    damage(copy)
    data = copy.read_bytes()
    for use in (store.check_copy, store.restore):
        with pytest.raises(BackupDamagedError, match=why) as caught:
            use(copy)
        assert str(caught.value).startswith(f"{copy} is no whole copy of a store (")
        assert str(caught.value).endswith("): take another backup")
    assert everything(store) == before
    assert copy.read_bytes() == data
    assert not (store.path.parent / "db.restoring").exists()


def test_a_copy_of_a_newer_schema(store: Store, copy: Path) -> None:
    altered(copy, "PRAGMA user_version = 99")
    for use in (store.check_copy, store.restore):
        with pytest.raises(
            StoreVersionError, match=f"has schema 99, and this graftd knows {_SCHEMA} at most: restore it with"
        ):
            use(copy)


def test_a_copy_that_is_not_there(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match=r"the backup .*/no cannot be read: No such file"):
        store.restore(tmp_path / "no")


# What keeps a good copy out


def test_no_space_for_a_copy(store: Store, copy: Path) -> None:
    before = everything(store)
    (pages,) = store._writer.one("PRAGMA page_count")
    store._writer.run(f"PRAGMA max_page_count = {pages + 3}")
    with pytest.raises(StoreFullError, match=r"there is no space left for the database .*/db, and nothing was changed"):
        store.restore(copy)
    assert everything(store) == before
    with store.transaction() as transaction:
        transaction.delete_endpoint("web", "e00")
    store._writer.run("PRAGMA max_page_count = 1000000")
    store.restore(copy)
    with store.snapshot() as view:
        assert view.count_endpoints("web") == 300


def test_an_interrupted_restore(tmp_path: Path, copy: Path) -> None:
    def interrupt(name: str) -> None:
        if name == "in-restore":
            raise KeyboardInterrupt

    with Store.open(tmp_path / "db", failpoint=interrupt) as store:
        with store.transaction() as transaction:
            transaction.apply(namespace(), "web", content(1))
        before = everything(store)
        with pytest.raises(KeyboardInterrupt):
            store.restore(copy)
        assert everything(store) == before
        with store.transaction() as transaction:
            transaction.create_endpoint("web", endpoint("after"))
        assert not (tmp_path / "db.restoring").exists()


def test_another_process_holds_the_store(store: Store, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything(store)
    store.close()
    monkeypatch.setattr(_connection, "_BUSY_SECONDS", 0.05)
    with Store.open(store.path) as again:
        other = sqlite3.connect(store.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusyError, match="let one graftd alone use a database"):
            again.restore(copy)
        other.execute("ROLLBACK")
        other.close()
        assert everything(again) == before
        again.restore(copy)


def test_a_store_that_was_replaced_is_not_restored(store: Store, copy: Path, tmp_path: Path) -> None:
    (tmp_path / "db").rename(tmp_path / "old")
    with pytest.raises(StoreUnavailableError, match="was moved, removed or replaced"):
        store.restore(copy)


def test_while_a_restore_is_under_way(tmp_path: Path, copy: Path) -> None:
    """Others see the old content until it is done, and the copy that is used is its owner's alone."""
    modes: list[int] = []
    histories: list[tuple[str]] = []

    def look(name: str) -> None:
        if name == "in-restore":
            modes.append(stat.S_IMODE((tmp_path / "db.restoring").stat().st_mode))
            other = sqlite3.connect(tmp_path / "db")
            histories.extend(other.execute("SELECT history FROM meta"))
            other.close()

    copy.chmod(0o644)
    with Store.open(tmp_path / "db", failpoint=look) as store:
        with store.snapshot() as view:
            before = view.history_id
        store.restore(copy)
    assert set(modes) == {0o600}
    assert set(histories) == {(before,)}
