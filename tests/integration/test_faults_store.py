# SPDX-License-Identifier: Apache-2.0
"""A full disk, and a database that cannot be written, was moved, or is of no use from the start.

A service that runs stays up, says what is wrong and loses nothing; one that starts refuses in a sentence.
"""

from __future__ import annotations

import contextlib
import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from graft.v1 import namespace_pb2, node_pb2
from graftd.store import Store
from integration.api import Api, Refused, batch, endpoint, eventually, refused
from integration.process import Graftd
from integration.workload import check_kernel

_EXIT_FAILED, _EXIT_CONFIG = 1, 78


@pytest.fixture
def graftd(tmp_path: Path) -> Iterator[Graftd]:
    service = Graftd(tmp_path, "[reconcile]\ninterval_seconds = 1\n")
    service.play_kernel(["web"])
    yield service
    service.close()


@pytest.fixture
def places() -> Iterator[list[str]]:
    """A command that runs another one among mounts that nobody else sees, as long as the test takes."""
    holder = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", "echo; exec sleep 600"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.read(1) == b"\n", "no mount namespace can be made: run the tests as root"
    yield ["nsenter", f"--mount=/proc/{holder.pid}/ns/mnt"]
    holder.kill()
    holder.wait()
    holder.stdout.close()


def _mount(places: list[str], *arguments: str | Path) -> None:
    subprocess.run([*places, "mount", *map(str, arguments)], check=True)


def _check_nothing_changed(api: Api, answer: Refused, reason: str, kept: list[str]) -> None:
    assert (answer.code, answer.reason) == (grpc.StatusCode.UNAVAILABLE, reason)
    assert api.names("web") == kept
    check_kernel(api)
    status = api.status()
    assert status.state == node_pb2.NODE_STATE_DEGRADED
    assert status.conditions[0].message == answer.message


def test_full_disk(graftd: Graftd, places: list[str]) -> None:
    _mount(places, "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", graftd.state)
    graftd.start(prefix=places)
    filler = Path(f"/proc/{graftd.pid}/root{graftd.state}/filler")
    with Api(graftd.target) as api:
        api.register("web")
        kept = [api.create("web", "before").name.rpartition("/")[2]]
        copy = list(api.node.Backup(node_pb2.BackupRequest()))
        _fill(filler)
        # What SQLite has in its log already is room that it has.
        full = eventually(lambda: _create_until_full(api, kept))
        assert "free some space" in full.message
        _check_nothing_changed(api, full, "STORE_FULL", sorted(kept))
        assert refused(api.node.Backup, node_pb2.BackupRequest()).reason == "STORE_FULL"
        pieces = [node_pb2.RestoreRequest(data=one.data, sha256=one.sha256) for one in copy]
        assert refused(api.node.Restore, iter(pieces)).reason == "STORE_FULL"
        assert api.names("web") == sorted(kept)
        filler.unlink()
        api.create("web", "with-room")
        assert api.status().state == node_pb2.NODE_STATE_READY
        kept.append("with-room")
    graftd.kill()
    graftd.start(prefix=places)
    with Api(graftd.target) as api:
        assert api.names("web") == sorted(kept)
        check_kernel(api)


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                continue


def _create_until_full(api: Api, kept: list[str]) -> Refused | None:
    name = f"more-{len(kept)}"
    try:
        api.create("web", name, endpoint=endpoint(labels={f"key{number}": "x" * 60 for number in range(60)}))
    except grpc.RpcError:
        return refused(api.create, "web", "one-more", endpoint=endpoint(labels={f"k{n}": "x" * 60 for n in range(60)}))
    kept.append(name)
    return None


def test_limit_on_the_size_of_files(graftd: Graftd) -> None:
    """What a quota does: writing fails for another reason than a full disk, and works again when that is gone."""
    graftd.start()
    with Api(graftd.target) as api:
        api.register("web")
        api.create("web", "before")
        _, hard = resource.prlimit(graftd.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(graftd.pid, resource.RLIMIT_FSIZE, (1024, hard))
        answer = refused(api.create, "web", "not-written")
        assert "a limit on the size of files" in answer.message
        _check_nothing_changed(api, answer, "STORE_UNAVAILABLE", ["before"])
        assert refused(api.node.Backup, node_pb2.BackupRequest()).reason == "STORE_UNAVAILABLE"
        resource.prlimit(graftd.pid, resource.RLIMIT_FSIZE, (hard, hard))
        api.create("web", "again")
        assert not api.status().conditions
    graftd.kill()
    graftd.start()
    with Api(graftd.target) as api:
        assert api.names("web") == ["again", "before"]


def test_folder_becomes_read_only(graftd: Graftd, places: list[str]) -> None:
    """What is open stays writable: it goes on. Whatever needs a new file there is refused, and the next start."""
    graftd.start(prefix=places)
    with Api(graftd.target) as api:
        api.register("web")
        _mount(places, "--bind", graftd.state, graftd.state)
        _mount(places, "-o", "remount,bind,ro", graftd.state)
        api.create("web", "open-before")
        answer = refused(api.node.Backup, node_pb2.BackupRequest())
        assert (answer.code, answer.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_READ_ONLY")
        assert str(graftd.state) in answer.message
        assert api.names("web") == ["open-before"]
        assert refused(api.node.Restore, iter([node_pb2.RestoreRequest()])).reason == "STORE_READ_ONLY"
    graftd.kill()
    status, said = graftd.start_in_vain(*places)
    assert status == _EXIT_FAILED
    assert "cannot be written: give the file" in said
    graftd.start()
    with Api(graftd.target) as api:
        assert api.names("web") == ["open-before"]


def test_moved_away(graftd: Graftd) -> None:
    graftd.start()
    away = graftd.folder / "away"
    with Api(graftd.target) as api:
        api.register("web")
        api.create("web", "before")
        graftd.state.rename(away)
        answer = refused(api.create, "web", "into-nowhere")
        assert "was moved, removed or replaced" in answer.message
        _check_nothing_changed(api, answer, "STORE_UNAVAILABLE", ["before"])
        assert refused(api.node.Backup, node_pb2.BackupRequest()).reason == "STORE_UNAVAILABLE"
        assert refused(api.node.Restore, iter([node_pb2.RestoreRequest()])).reason == "STORE_UNAVAILABLE"
        away.rename(graftd.state)
        api.create("web", "back")
        assert not api.status().conditions
        # Another file in its place: what is written to the one that is open would be lost.
        database = graftd.state / "graftd.db"
        database.rename(graftd.state / "old")
        shutil.copy(graftd.state / "old", database)
        assert refused(api.create, "web", "into-the-old").reason == "STORE_UNAVAILABLE"
        (graftd.state / "old").rename(database)
        api.create("web", "once-more")
    graftd.kill()
    graftd.start()
    with Api(graftd.target) as api:
        assert api.names("web") == ["back", "before", "once-more"]


def test_status_answers_whatever_is_wrong(graftd: Graftd) -> None:
    """Pages that are damaged while graftd runs are found by whoever reads them, and told by the status."""
    graftd.start()
    with Api(graftd.target) as api:
        api.register("web")
        api.endpoints.BatchCreateEndpoints(batch("web", [f"ep-{number}" for number in range(300)]))
    assert graftd.stop() == 0
    graftd.start()
    database = graftd.state / "graftd.db"
    with contextlib.closing(sqlite3.connect(database)) as other:
        # A change that is not graftd's lets it forget what it has read.
        other.execute("UPDATE meta SET one = 1")
        other.commit()
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with database.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (database.stat().st_size - 4096))
    with Api(graftd.target) as api:
        eventually(lambda: api.status().state == node_pb2.NODE_STATE_DEGRADED)
        answer = refused(api.names, "web")
        assert (answer.code, answer.reason) == (grpc.StatusCode.DATA_LOSS, "STORE_DAMAGED")
        assert "STORE_DAMAGED" in api.conditions()
        assert refused(api.create, "web", "onto-it").reason == "STORE_DAMAGED"


def _damage(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 8192)


def _make_newer(path: Path) -> None:
    with sqlite3.connect(path) as database:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        database.execute(f"PRAGMA user_version = {version + 1}")
    database.close()


def _make_foreign(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE cookies (id INTEGER PRIMARY KEY)")
    database.close()


@pytest.mark.parametrize(
    ("spoil", "status", "sentence"),
    [
        (_damage, _EXIT_CONFIG, "put the newest backup in its place"),
        (lambda path: path.write_bytes(b"no database" * 1000), _EXIT_CONFIG, "put the newest backup in its place"),
        (_make_newer, _EXIT_CONFIG, "newer"),
        (_make_foreign, _EXIT_CONFIG, "name another"),
        (lambda path: (path.unlink(), path.mkdir()), _EXIT_FAILED, "is not a file: name another one"),
        (lambda path: shutil.rmtree(path.parent), _EXIT_FAILED, "make it, owned by the user"),
    ],
    ids=["damaged", "no-database", "newer", "foreign", "a-folder", "no-folder"],
)
def test_refuses_to_start(tmp_path: Path, spoil: object, status: int, sentence: str) -> None:
    service = Graftd(tmp_path)
    database = service.state / "graftd.db"
    Store.open(database).close()
    spoil(database)  # type: ignore[operator]
    before = database.read_bytes() if database.is_file() else b""
    found, said = service.start_in_vain()
    assert found == status, said
    lines = [line for line in said.splitlines() if line.strip()]
    assert len(lines) == 1, said
    assert "graftd cannot start: " in lines[0]
    assert sentence in lines[0]
    assert (database.read_bytes() if database.is_file() else b"") == before
    assert not list(service.run.glob("*.sock")), "sockets were left"


@pytest.mark.parametrize(
    ("configuration", "sentences"),
    [
        ("[sever]\nmax_watchers = 1", ["there is no table 'sever' here: did you mean 'server'?"]),
        ("[watch_events]\nrecnt = 1", ["there is no key 'recnt' here: did you mean 'recent'?"]),
        (
            "[watch_events]\nrecent = -1\n[reconcile]\ninterval_seconds = 'often'",
            ["interval_seconds is", "recent is"],
        ),
        ("[watch_events\n", ["it is not TOML"]),
    ],
    ids=["table", "key", "values", "no-toml"],
)
def test_refuses_a_wrong_configuration(tmp_path: Path, configuration: str, sentences: list[str]) -> None:
    service = Graftd(tmp_path, configuration)
    status, said = service.start_in_vain()
    assert status == _EXIT_CONFIG, said
    lines = [line for line in said.splitlines() if line.strip()]
    assert len(lines) == len(sentences), said
    for line, sentence in zip(sorted(lines), sorted(sentences), strict=True):
        assert sentence in line
    assert not (service.state / "graftd.db").exists()


def test_refuses_an_unknown_user(tmp_path: Path) -> None:
    """As any other configuration that is wrong; its check says so as well."""
    service = Graftd(tmp_path, '[[roles]]\nrole = "operator"\nusers = ["nobody-like-this"]\nnamespaces = ["web"]')
    status, said = service.start_in_vain()
    assert status == _EXIT_CONFIG
    assert "names the user 'nobody-like-this', and the system has none: create it, or leave it out" in said
    status, said = service.check()
    assert status == _EXIT_CONFIG
    assert "names the user 'nobody-like-this', and the system has none: create it, or leave it out" in said


def test_the_module_of_this_machine(tmp_path: Path) -> None:
    """Without a played kernel: the adapter finds no module here, and graftd serves all the same."""
    service = Graftd(tmp_path)
    service.start_real()
    try:
        with Api(service.target) as api:
            assert api.status().state == node_pb2.NODE_STATE_DEGRADED
            assert api.conditions() == ["MODULE_NOT_LOADED"]
            assert refused(api.register, "web").reason == "MODULE_NOT_LOADED"
            assert not api.namespaces.ListNamespaces(namespace_pb2.ListNamespacesRequest()).namespaces
        assert service.stop() == 0
    finally:
        service.close()
