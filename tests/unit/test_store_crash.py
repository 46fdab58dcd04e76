# SPDX-License-Identifier: Apache-2.0
"""A process that is killed while it writes: what it acknowledged is there, and nothing is half there."""

import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from graftd.store import Store, _schema
from unit import store_process
from unit.store_process import NAMESPACES
from unit.store_values import content, endpoint, marks, namespace

ROOT = Path(__file__).resolve().parents[2]
KILLS = 20


def start(path: Path, failpoint: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, store_process.__file__, str(path), failpoint],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))},
        stdout=subprocess.PIPE,
        text=True,
    )


def acknowledged(process: subprocess.Popen[str]) -> list[str]:
    """The rest of what it said before it ended, a half line left out."""
    assert process.stdout is not None
    with process.stdout:
        said = process.stdout.read()
    process.wait(timeout=30)
    return said.rpartition("\n")[0].split()


def check(path: Path, last: int) -> int:
    """The last round that is there, which is the one that was acknowledged last or the next."""
    with Store.open(path) as store, store.snapshot() as view:
        singles = {record.value.endpoint.name for record in view.endpoints("single")}
        there = len(singles)
        assert singles == {f"s{number}" for number in range(1, there + 1)}
        assert there in (last, last + 1)
        for number in range(max(1, there - NAMESPACES + 1), there + 1):
            found = view.content(f"n{number % NAMESPACES}")
            assert marks(found) == {number}
            assert found == content(number, size=5 + number % 7)
        changes = view.changes(after=view.oldest_revision).changes
        assert {change.revision for change in changes} == set(range(view.oldest_revision + 1, view.revision + 1))
        assert view.revision == there + 1
        assert view.recall("0", f"id-{there}", b"") == (b"" if there else None)
        requests = store._reader.rows("SELECT id FROM request ORDER BY sequence")
        assert requests == [(f"id-{number}",) for number in range(max(1, there - 9), there + 1)]
    return there


def test_killed_at_random_instants(tmp_path: Path) -> None:
    path = tmp_path / "db"
    last = 0
    middles = 0
    for kill in range(KILLS):
        chance = random.Random(kill)
        process = start(path)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for _ in range(chance.randrange(6)):
            last = int(process.stdout.readline())
        time.sleep(chance.uniform(0, 0.006))
        process.kill()
        rest = acknowledged(process)
        last = int(rest[-1]) if rest else last
        there = check(path, last)
        middles += there > last
        last = there
    assert last >= KILLS
    print(f"{KILLS} kills, {last} rounds, {middles} of them kept and not yet acknowledged")


@pytest.mark.parametrize(("failpoint", "kept"), [("before-commit", 4), ("after-commit", 5)])
def test_killed_at_a_failpoint(tmp_path: Path, failpoint: str, kept: int) -> None:
    process = start(tmp_path / "db", failpoint)
    assert acknowledged(process) == ["ready", "1", "2", "3", "4"]
    assert process.returncode == -9
    assert check(tmp_path / "db", 4) == kept


def test_killed_in_the_first_migration(tmp_path: Path) -> None:
    process = start(tmp_path / "db", "in-migration")
    assert acknowledged(process) == []
    assert process.returncode == -9
    with Store.open(tmp_path / "db") as store, store.snapshot() as view:
        assert view.revision == 0


def test_killed_in_a_later_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "db"
    with Store.open(path) as store, store.transaction() as transaction:
        transaction.apply(namespace(), "web", content(1))
    monkeypatch.setattr(_schema, "MIGRATIONS", (*_schema.MIGRATIONS, ("DROP TABLE change", "DELETE FROM endpoint")))
    child = os.fork()
    if child == 0:
        Store.open(path, failpoint=lambda _: os.kill(os.getpid(), signal.SIGKILL))
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    monkeypatch.undo()
    (backup,) = tmp_path.glob(f"db.v{len(_schema.MIGRATIONS)}.*.backup")
    for survivor in (path, backup):
        with Store.open(survivor) as store, store.snapshot() as view:
            assert view.content("web") == content(1)


def test_killed_in_a_restore(tmp_path: Path) -> None:
    path, copy = tmp_path / "db", tmp_path / "copy"
    with Store.open(copy) as store, store.transaction() as transaction:
        transaction.apply(namespace(), "web", content(2, size=4000))
    with Store.open(path) as store:
        with store.transaction() as transaction:
            transaction.apply(namespace(), "web", content(1, size=500))
        with store.snapshot() as view:
            before = (view.revision, view.history_id, view.content("web"), view.changes(after=0))
    for kill_at in (1, 2, 3):
        child = os.fork()
        if child == 0:
            _restore_and_die(path, copy, kill_at)
        status = os.waitpid(child, 0)[1]
        assert os.WTERMSIG(status) == signal.SIGKILL
        assert (tmp_path / "db.restoring").exists()
        with Store.open(path) as store:
            with store.snapshot() as view:
                assert (view.revision, view.history_id, view.content("web"), view.changes(after=0)) == before
            assert store._writer.rows("PRAGMA integrity_check") == [("ok",)]
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["copy", "db"]
    with Store.open(path) as store:
        store.restore(copy)
        with store.transaction() as transaction:
            transaction.create_endpoint("web", endpoint("after"))
    with Store.open(path) as store, store.snapshot() as view:
        assert view.count_endpoints("web") == 4001


def _restore_and_die(path: Path, copy: Path, kill_at: int) -> None:
    times = itertools.count(1)

    def reached(name: str) -> None:
        if name == "in-restore" and next(times) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        Store.open(path, failpoint=reached).restore(copy)
    finally:
        os._exit(1)


def test_killed_at_random_instants_of_restores(tmp_path: Path) -> None:
    path = tmp_path / "db"
    copies = [tmp_path / "a", tmp_path / "b"]
    for mark, copy in enumerate(copies):
        with Store.open(copy) as store, store.transaction() as transaction:
            transaction.apply(namespace(), "web", content(mark, size=300))
    shutil.copy(copies[0], path)
    for kill in range(KILLS):
        child = os.fork()
        if child == 0:
            _restore_for_ever(path, copies)
        time.sleep(random.Random(kill).uniform(0, 0.2))
        os.kill(child, signal.SIGKILL)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        with Store.open(path) as store, store.snapshot() as view:
            found = view.content("web")
            assert marks(found) in ({0}, {1})
            assert [len(part or ()) for part in (found.endpoints, found.rules, found.acl)] == [300, 6, 3]
            assert view.changes(after=view.revision).changes == ()
            assert store._writer.rows("PRAGMA integrity_check") == [("ok",)]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a", "b", "db"]


def _restore_for_ever(path: Path, copies: list[Path]) -> None:
    try:
        with Store.open(path) as store:
            for copy in itertools.cycle(copies):
                store.restore(copy)
    finally:
        os._exit(1)
