# SPDX-License-Identifier: Apache-2.0
"""Disks that are full, files that are damaged, databases of others: what is said, and what still works."""

import contextlib
import ctypes
import errno
import os
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import tempfile
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from graftd.errors import (
    AlreadyExistsError,
    StoreBusyError,
    StoreDamagedError,
    StoreError,
    StoreFullError,
    StoreReadOnlyError,
    StoreUnavailableError,
    StoreVersionError,
)
from graftd.store import Limits, Store, _connection, _schema
from unit.store_values import content, endpoint, marks, namespace

NOBODY = 65534
CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000


def filled(path: Path) -> None:
    """A store of several pages."""
    with Store.open(path) as store:
        fill(store, 1)


def fill(store: Store, mark: int, size: int = 200) -> None:
    with store.transaction() as transaction:
        transaction.apply(namespace(), "web", content(mark, size))


def held(store: Store) -> tuple[int, set[int]]:
    with store.snapshot() as view:
        return view.revision, marks(view.content("web"))


def in_child(function: Callable[[], None]) -> None:
    """Run it in a process of its own, which it may confine."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            function()
            status = 0
        except BaseException:  # noqa: BLE001 the parent tells of it
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


# Full


def test_a_full_database_keeps_what_it_had_and_goes_on(tmp_path: Path) -> None:
    with Store.open(tmp_path / "db") as store:
        fill(store, 1)
        before = held(store)
        (pages,) = store._writer.one("PRAGMA page_count")
        store._writer.run(f"PRAGMA max_page_count = {pages + 3}")
        with pytest.raises(StoreFullError) as caught:
            fill(store, 2, size=2000)
        assert str(caught.value) == (
            f"there is no space left for the database {tmp_path / 'db'}, and nothing was changed: "
            f"free some space in {tmp_path} and repeat the request"
        )
        assert held(store) == before
        store.check()
        with store.transaction() as transaction:
            transaction.delete_endpoint("web", "e00")
        store._writer.run("PRAGMA max_page_count = 1000000")
        fill(store, 2, size=2000)
        assert held(store)[1] == {2}


def test_a_full_database_ends_a_transaction_whoever_catches_it(tmp_path: Path) -> None:
    def go_on_regardless(store: Store) -> None:
        with store.transaction() as transaction:
            with pytest.raises(StoreFullError):
                transaction.apply(namespace(), "web", content(2, size=2000))
            # SQLite has rolled back by now: what came next would be kept by itself.
            with contextlib.suppress(StoreError):
                transaction.create_endpoint("web", endpoint("last"))

    with Store.open(tmp_path / "db") as store:
        fill(store, 1)
        before = held(store)
        store._writer.run(f"PRAGMA max_page_count = {store._writer.one('PRAGMA page_count')[0] + 3}")
        with pytest.raises(StoreError, match=r"nothing of the transaction was kept, .* no space left"):
            go_on_regardless(store)
        assert held(store) == before


def test_a_file_that_may_grow_no_more(tmp_path: Path) -> None:
    def confined() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with Store.open(tmp_path / "db") as store:
            fill(store, 1)
            before = held(store)
            unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
            size = (tmp_path / "db-wal").stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 3000, unlimited[1]))
            with pytest.raises(StoreUnavailableError, match=r"cannot be read or written .*, and nothing was changed"):
                fill(store, 2)
            resource.setrlimit(resource.RLIMIT_FSIZE, (5000, unlimited[1]))
            with pytest.raises(StoreUnavailableError, match=r"copy\.part cannot be read or written"):
                store.back_up(tmp_path / "copy")
            assert held(store) == before
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
            fill(store, 3)
            assert held(store)[1] == {3}

    in_child(confined)
    with Store.open(tmp_path / "db") as store:
        assert held(store)[1] == {3}
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["db"]


def test_a_full_disk(tmp_path: Path) -> None:
    def alone() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        own = CLONE_NEWNS if os.geteuid() == 0 else CLONE_NEWNS | CLONE_NEWUSER
        assert libc.unshare(own) == 0, os.strerror(ctypes.get_errno())
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(tmp_path)], check=True)
        _fill_the_disk(tmp_path)

    in_child(alone)


def _fill_the_disk(folder: Path) -> None:
    elsewhere = folder.parent / "elsewhere"
    with Store.open(elsewhere) as other:
        fill(other, 9, size=100)
    with Store.open(folder / "db") as store:
        fill(store, 1, size=20)
        before = held(store)
        with contextlib.suppress(OSError), (folder / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(512))
        for mark in (2, 3):
            with pytest.raises(StoreFullError, match="there is no space left for the database"):
                fill(store, mark, size=400)
            assert held(store) == before
        with pytest.raises(StoreFullError, match=r"copy\.part"):
            store.back_up(folder / "copy")
        with pytest.raises(StoreFullError, match=r"db\.restoring, and nothing was changed"):
            store.restore(elsewhere)
        assert held(store) == before
        assert sorted(entry.name for entry in folder.iterdir()) == ["ballast", "db", "db-shm", "db-wal"]
        (folder / "ballast").unlink()
        fill(store, 4, size=20)
        assert held(store)[1] == {4}
        _restore_with_little_space(store, elsewhere)
    with Store.open(folder / "db") as store:
        assert held(store)[1] == {9}


def _restore_with_little_space(store: Store, copy: Path) -> None:
    """With enough for the copy beside the database, and for a part of what is to be written."""
    before = held(store)
    folder = store.path.parent
    space = os.statvfs(folder)
    needed = copy.stat().st_size + 16 * 4096
    (folder / "ballast").write_bytes(bytes(space.f_bavail * space.f_frsize - needed))
    with pytest.raises(StoreFullError, match=r"database .*/db, and nothing was changed"):
        store.restore(copy)
    assert held(store) == before
    (folder / "ballast").unlink()
    store.restore(copy)


# Damaged


def test_damaged_pages(tmp_path: Path) -> None:
    path = tmp_path / "db"
    filled(path)
    data = bytearray(path.read_bytes())
    for page in range(4, len(data) // 4096):
        data[page * 4096 : page * 4096 + 200] = b"\xa5" * 200
    path.write_bytes(data)
    with pytest.raises(StoreDamagedError, match=r"is damaged .*: stop graftd, move the file and those beside it"):
        Store.open(path)
    assert path.read_bytes() == data


@pytest.mark.parametrize("data", [b"What is this?" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_no_database_at_all(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "db"
    path.write_bytes(data)
    with pytest.raises(StoreDamagedError, match="put the newest backup in its place"):
        Store.open(path)
    assert path.read_bytes() == data


def test_a_file_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "db"
    filled(path)
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)
    with pytest.raises(StoreDamagedError, match="is damaged"):
        Store.open(path)


def test_damage_while_it_runs(tmp_path: Path) -> None:
    path = tmp_path / "db"
    filled(path)
    with Store.open(path) as store:
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xa5" * (size - 4096))
        for _ in range(2):
            with pytest.raises(StoreDamagedError, match="is damaged"):
                held(store)
    with pytest.raises(StoreDamagedError):
        Store.open(path)


# Read-only, busy, moved


def test_a_database_of_another_user(tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp())  # where another user can reach it
    try:
        path = folder / "db"
        filled(path)
        for mode, folder_mode in ((0o444, 0o755), (0o666, 0o755), (0o444, 0o777)):
            path.chmod(mode)
            folder.chmod(folder_mode)
            in_child(lambda: _refuse_to_write(path))
        path.chmod(0o222)
        in_child(lambda: _refuse_to_open(path))
        folder.chmod(0o755)
        in_child(lambda: _refuse_to_write(folder / "new"))
        path.chmod(0o600)
        folder.chmod(0o700)
        with Store.open(path) as store:
            assert held(store)[1] == {1}
    finally:
        folder.chmod(0o700)
        shutil.rmtree(folder)


def _be_another() -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def _refuse_to_write(path: Path) -> None:
    _be_another()
    with pytest.raises(StoreReadOnlyError, match="cannot be written: give the file, those beside it and the folder"):
        Store.open(path)


def _refuse_to_open(path: Path) -> None:
    _be_another()
    with pytest.raises(StoreUnavailableError, match="cannot be opened: see that it and the files beside it are"):
        Store.open(path)


def test_a_database_that_turns_read_only(tmp_path: Path) -> None:
    with Store.open(tmp_path / "db") as store:
        fill(store, 1)
        before = held(store)
        store._writer.run("PRAGMA query_only = ON")
        with pytest.raises(StoreReadOnlyError, match="mount its file system writable"):
            fill(store, 2)
        assert held(store) == before
        store._writer.run("PRAGMA query_only = OFF")
        fill(store, 3)
        assert held(store)[1] == {3}


def test_another_process_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path / "db")
    monkeypatch.setattr(_connection, "_BUSY_SECONDS", 0.05)
    with Store.open(tmp_path / "db") as store:
        other = sqlite3.connect(tmp_path / "db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusyError, match="let one graftd alone use a database"):
            fill(store, 2)
        with pytest.raises(StoreBusyError):
            Store.open(tmp_path / "db")
        assert held(store)[1] == {1}
        other.execute("ROLLBACK")
        other.close()
        fill(store, 2)
        assert held(store)[1] == {2}


@pytest.mark.parametrize("how", ["moved", "removed", "replaced"])
def test_a_file_that_is_no_longer_there(tmp_path: Path, how: str) -> None:
    path = tmp_path / "db"
    filled(path)
    with Store.open(path) as store:
        if how == "removed":
            path.unlink()
        else:
            path.rename(tmp_path / "old")
        if how == "replaced":
            filled(path)
        with pytest.raises(StoreUnavailableError, match="was moved, removed or replaced while graftd was running"):
            fill(store, 2)
        with pytest.raises(StoreUnavailableError):
            store.check()


def test_places_where_no_database_can_be(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match=r"there is no folder .*/no for the database db: make it"):
        Store.open(tmp_path / "no" / "db")
    with pytest.raises(StoreUnavailableError, match="is not a file: name another one"):
        Store.open(tmp_path)


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.ENOSPC, StoreFullError), (errno.EDQUOT, StoreFullError), (errno.ENAMETOOLONG, StoreUnavailableError)],
)
def test_a_file_that_cannot_be_made(tmp_path: Path, number: int, error: type[Exception]) -> None:
    assert isinstance(_connection.place_failure(tmp_path / "db", OSError(number, os.strerror(number))), error)
    with pytest.raises(StoreUnavailableError, match="cannot be made: File name too long"):
        Store.open(tmp_path / ("a" * 300))


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    filled(tmp_path / "db")
    with Store.open(tmp_path / "db") as store:
        fill(store, 2)
        store.back_up(tmp_path / "copy")
        modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("db", "db-wal", "db-shm", "copy"), 0o600)


# How a commit is made durable


def test_what_makes_a_commit_durable(tmp_path: Path) -> None:
    with Store.open(tmp_path / "db") as store:
        found = [store._writer.one(f"PRAGMA {name}")[0] for name in ("journal_mode", "synchronous", "foreign_keys")]
        assert found == ["wal", 2, 1]
        assert store._reader.one("PRAGMA query_only") == (1,)


# Versions


def versioned(path: Path, statement: str) -> bytes:
    with sqlite3.connect(path) as other:
        other.execute(statement)
    other.close()
    return path.read_bytes()


def test_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "db"
    filled(path)
    data = versioned(path, "PRAGMA user_version = 99")
    with pytest.raises(StoreVersionError) as caught:
        Store.open(path)
    assert str(caught.value) == (
        f"the database {path} has schema 99, and this graftd knows 3 at most: install the graftd that wrote it, "
        "or put the backup that was made before schema 4 (db.v3.*.backup) in its place"
    )
    assert path.read_bytes() == data
    assert not list(tmp_path.glob("*.backup"))


@pytest.mark.parametrize("statement", ["CREATE TABLE songs (title TEXT)", "PRAGMA application_id = 5"])
def test_another_programs_database(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "db"
    data = versioned(path, statement)
    with pytest.raises(StoreVersionError, match="is the database of another program: name another file"):
        Store.open(path)
    assert path.read_bytes() == data


def test_a_migration_with_its_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "db"
    filled(path)
    steps = (("ALTER TABLE endpoint ADD COLUMN colour TEXT",), ("CREATE TABLE tone (name TEXT) STRICT",))
    monkeypatch.setattr(_schema, "MIGRATIONS", _schema.MIGRATIONS + steps)
    with Store.open(path) as store:
        with store.snapshot() as view:
            assert view.schema_version == 5
        assert held(store)[1] == {1}
        first, second = store.migrated
    assert sorted(tmp_path.glob("*")) == [path, first, second]
    assert first.name.startswith("db.v3.2")
    assert second.name.startswith("db.v4.2")
    with Store.open(path) as store:
        assert store.migrated == ()
    monkeypatch.undo()
    # The backup is what the older graftd opens.
    shutil.copy(first, tmp_path / "again")
    with Store.open(tmp_path / "again") as old:
        assert held(old)[1] == {1}


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "db"
    filled(path)
    good = "CREATE TABLE tone (name TEXT) STRICT"
    monkeypatch.setattr(_schema, "MIGRATIONS", (*_schema.MIGRATIONS, (good, "DROP TABLE songs")))
    with pytest.raises(StoreError, match="no such table: songs"):
        Store.open(path)
    monkeypatch.undo()
    with Store.open(path) as store:
        assert held(store)[1] == {1}
        assert store._writer.one("PRAGMA user_version") == (len(_schema.MIGRATIONS),)
        assert store._writer.rows("SELECT name FROM sqlite_schema WHERE name = 'tone'") == []


def test_no_migration_without_a_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "db"
    filled(path)
    monkeypatch.setattr(_schema, "MIGRATIONS", (*_schema.MIGRATIONS, ("CREATE TABLE tone (name TEXT) STRICT",)))
    taken = tmp_path / "taken"
    taken.write_text("")
    monkeypatch.setattr(_schema, "backup_path", lambda *_: taken)
    with pytest.raises(AlreadyExistsError, match=r"the backup .*/taken is there: move it away"):
        Store.open(path)
    monkeypatch.undo()
    with Store.open(path) as store:
        assert store._writer.one("PRAGMA user_version") == (len(_schema.MIGRATIONS),)


def test_names_of_backups(tmp_path: Path) -> None:
    time = datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC)
    assert _schema.backup_path(tmp_path / "db", 4, time) == tmp_path / "db.v4.20260304T050607.000089Z.backup"


def test_a_backup_is_of_one_moment_and_replaces_nothing(tmp_path: Path) -> None:
    with Store.open(tmp_path / "db") as store:
        fill(store, 1)
        with store.transaction() as transaction:
            transaction.create_endpoint("web", endpoint("not-yet"))
            store.back_up(tmp_path / "copy")
        with pytest.raises(AlreadyExistsError, match="copy is there"):
            store.back_up(tmp_path / "copy")
        with pytest.raises(StoreUnavailableError, match=r"the backup .*/no/copy cannot be made: No such file"):
            store.back_up(tmp_path / "no" / "copy")
    assert {entry.name for entry in tmp_path.iterdir()} == {"db", "copy"}
    with Store.open(tmp_path / "copy") as store:
        assert held(store)[1] == {1}
        with store.snapshot() as view:
            assert view.find_endpoint("web", "not-yet") is None


def test_limits() -> None:
    with pytest.raises(ValueError, match="remembers 1 change and 1 request at least"):
        Limits(changes=0)
