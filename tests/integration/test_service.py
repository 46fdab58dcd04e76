# SPDX-License-Identifier: Apache-2.0
"""graftd as systemd runs it: what it tells, the watchdog, reloads, sockets that are handed over, its end."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest

from graft.v1 import endpoint_pb2, node_pb2, watch_pb2
from integration import played
from integration.api import Api, endpoint, eventually, refused, taken_apart
from integration.process import Graftd

_WATCHDOG_SECONDS = 0.3
_END_SECONDS = 9.5  # 5 of them for who is connected and has never said a word


class Systemd:
    """The notification socket's other end. told: all that came, a list of assignments for each message."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.told: list[list[str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(os.fspath(path))
        self._socket.setblocking(False)

    @property
    def environment(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": os.fspath(self.path), "WATCHDOG_USEC": str(int(_WATCHDOG_SECONDS * 1e6))}

    def drain(self) -> list[str]:
        """What came since the last time, one assignment each."""
        found: list[str] = []
        while True:
            try:
                message = self._socket.recv(65536).decode().split("\n")
            except BlockingIOError:
                return found
            self.told.append(message)
            found += message

    def fed(self, seconds: float) -> int:
        """How often the watchdog is fed within so many seconds from now."""
        self.drain()
        time.sleep(seconds)
        return self.drain().count("WATCHDOG=1")

    def feeds(self, times: int) -> None:
        """Wait until the watchdog is fed so often from now."""
        self.drain()
        for _ in range(times):
            self.wait("WATCHDOG=1")

    def wait(self, assignment: str) -> list[str]:
        """What came until this did, from now on."""
        found: list[str] = []

        def there() -> bool:
            found.extend(self.drain())
            return assignment in found

        eventually(there)
        return found

    def close(self) -> None:
        self._socket.close()


class Bed(NamedTuple):
    graftd: Graftd
    kernel: played.Remote
    systemd: Systemd


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    graftd = Graftd(tmp_path, "[reconcile]\ninterval_seconds = 1\n")
    kernel = graftd.play_kernel(["web"])
    systemd = Systemd(tmp_path / "notify")
    yield Bed(graftd, kernel, systemd)
    os.kill(graftd.kernel_pid, signal.SIGCONT)  # where a test failed while it was stopped
    kernel.close()
    graftd.close()
    systemd.close()


def test_watchdog(bed: Bed) -> None:
    """Fed while the loop, the engine and the store work, whatever the module does; not otherwise."""
    graftd, kernel, systemd = bed
    graftd.start(systemd.environment)
    assert {"READY=1", "STATUS=ready"} <= set(systemd.wait("READY=1"))
    systemd.feeds(1)
    kernel.load(False)
    (status,) = eventually(lambda: [one for one in systemd.drain() if one.startswith("STATUS=degraded")])
    assert "modprobe graft" in status
    systemd.feeds(1)
    kernel.load(True)
    systemd.wait("STATUS=ready")
    kernel.claim_for("ip-graft")
    systemd.feeds(1)
    kernel.claim_for(None)
    systemd.wait("STATUS=ready")
    # The engine's thread waits for a kernel that does not answer.
    os.kill(graftd.kernel_pid, signal.SIGSTOP)
    systemd.fed(_WATCHDOG_SECONDS)
    assert systemd.fed(0.6) == 0
    os.kill(graftd.kernel_pid, signal.SIGCONT)
    systemd.feeds(1)
    # The loop does not turn.
    os.kill(graftd.pid, signal.SIGSTOP)
    systemd.fed(0.1)
    assert systemd.fed(0.6) == 0
    os.kill(graftd.pid, signal.SIGCONT)
    systemd.feeds(1)
    # Another database is in the store's place: a restart goes on with that one.
    database = graftd.state / "graftd.db"
    database.rename(graftd.state / "away")
    systemd.fed(_WATCHDOG_SECONDS)
    assert systemd.fed(0.6) == 0
    (graftd.state / "away").rename(database)
    systemd.feeds(1)
    assert graftd.stop() == 0
    assert "STOPPING=1" in systemd.drain()


def test_watchdog_behind_many_requests(bed: Bed) -> None:
    """Whoever asks for much does not get graftd killed."""
    graftd, kernel, systemd = bed
    graftd.start(systemd.environment)
    with Api(graftd.target) as api:
        api.register("web")
        kernel.slow(0.05)
        waiting = [
            api.endpoints.CreateEndpoint.future(
                endpoint_pb2.CreateEndpointRequest(
                    parent="namespaces/web", endpoint_id=f"e{number}", endpoint=endpoint(1000 + number)
                )
            )
            for number in range(60)
        ]
        systemd.fed(_WATCHDOG_SECONDS)
        systemd.feeds(3)
        assert not all(one.done() for one in waiting)
        for one in waiting:
            one.result()
    assert graftd.stop() == 0


def test_end_with_open_streams(bed: Bed) -> None:
    """Within seconds and without a defect, whatever clients do; sockets are gone."""
    graftd, _, systemd = bed
    graftd.start(systemd.environment)
    with Api(graftd.target) as api, Api(graftd.target) as deaf:
        api.register("web")
        watches = [api.watch.Watch(watch_pb2.WatchRequest(parent="namespaces/-")) for _ in range(50)]
        for watch in watches:
            next(watch)
        unread = deaf.watch.Watch(watch_pb2.WatchRequest(parent="namespaces/-"))
        next(unread)
        idle = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        idle.connect(graftd.target.removeprefix("unix:"))
        begun = time.monotonic()
        assert graftd.stop() == 0
        assert time.monotonic() - begun < _END_SECONDS
        for watch in watches:
            assert refused(lambda one=watch: one).reason == "SHUTTING_DOWN"
        idle.close()
    assert "STOPPING=1" in systemd.drain()
    assert not list(graftd.run.glob("*.sock"))
    assert not graftd.records(level="error")
    assert "Traceback" not in graftd.log.read_text()


def test_what_is_under_way_is_finished(bed: Bed) -> None:
    """And what has not begun is refused at once, so that the end does not wait for it."""
    graftd, kernel, _ = bed
    graftd.start()
    with Api(graftd.target) as api:
        api.register("web")
        os.kill(graftd.kernel_pid, signal.SIGSTOP)
        calls = [
            api.endpoints.CreateEndpoint.future(
                endpoint_pb2.CreateEndpointRequest(
                    parent="namespaces/web", endpoint_id=f"e{number}", endpoint=endpoint()
                )
            )
            for number in range(10)
        ]
        api.node.GetVersion(node_pb2.GetVersionRequest())  # they came before this
        os.kill(graftd.pid, signal.SIGTERM)
        waited = [taken_apart(call.exception(timeout=5)) for call in calls[1:]]
        assert {(one.code, one.reason) for one in waited} == {(grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")}
        time.sleep(6.0)  # longer than others have to take their answers
        assert not calls[0].done()
        os.kill(graftd.pid, signal.SIGTERM)
        os.kill(graftd.pid, signal.SIGHUP)
        assert len(graftd.records(audit=1, outcome="done")) == 1, "the kernel has not answered"
        os.kill(graftd.kernel_pid, signal.SIGCONT)
        assert calls[0].result().name == "namespaces/web/endpoints/e0"
        assert graftd.wait_end() == 0
    assert len(kernel.endpoints(kernel.namespaces["web"])) == 1
    assert len(graftd.records(audit=1, outcome="done")) == 2
    assert len(graftd.records(audit=1, outcome="failed", reason="SHUTTING_DOWN")) == 9
    graftd.start()
    with Api(graftd.target) as api:
        assert api.names("web") == ["e0"]


def test_reload(bed: Bed) -> None:
    """What can be changed holds at once; a file that is wrong changes nothing, and is told."""
    graftd, _, systemd = bed
    graftd.start(systemd.environment)
    text = graftd.config.read_text()
    operator = Api(f"unix:{graftd.run}/graftd.sock")
    with Api(graftd.target) as api, operator:
        api.register("web")
        assert operator.status().state
        systemd.drain()
        roles = '\n[[roles]]\nrole = "operator"\nuids = [0]\nnamespaces = ["web"]\n'
        graftd.config.write_text(text.replace("[server]", "[server]\nmax_watchers = 1") + roles)
        graftd.reload()
        told = systemd.wait("READY=1")
        assert told.index("RELOADING=1") < told.index("READY=1")
        assert any(one.startswith("MONOTONIC_USEC=") for one in told)
        assert refused(operator.status).reason == "ROLE_REQUIRED"
        first = api.watch.Watch(watch_pb2.WatchRequest(parent="namespaces/-"))
        next(first)
        assert refused(api.watch.Watch, watch_pb2.WatchRequest(parent="namespaces/-")).reason == "TOO_MANY_WATCHERS"
        first.cancel()
        # A user that there is not, a key that there is not, and no file at all.
        wrong = [
            (text + roles.replace("uids = [0]", 'users = ["nobody-like-this"]'), "the system has none"),
            (text + "\n[servr]\nx = 1\n", "did you mean 'server'?"),
            (None, "there is no such file"),
        ]
        for content, sentence in wrong:
            graftd.config.unlink(missing_ok=True)
            if content is not None:
                graftd.config.write_text(content)
            os.kill(graftd.pid, signal.SIGHUP)
            told = systemd.wait("READY=1")
            assert "RELOADING=1" in told
            assert [one for one in told if one.startswith("STATUS=degraded: the configuration was not read anew: ")]
            assert [one for one in graftd.records(level="error") if sentence in one["message"]], sentence
            assert refused(operator.status).reason == "ROLE_REQUIRED"
            assert api.status().state == node_pb2.NODE_STATE_READY
        graftd.config.write_text(text.replace("[server]", "[server]\nmax_message_bytes = 100000\nmax_connections = 2"))
        graftd.reload()
        (record,) = graftd.records(message="server.max_message_bytes takes effect when graftd is restarted")
        assert record["key"] == "server.max_message_bytes"
        assert operator.status().state
        with _connect(graftd), _connect(graftd) as late:  # `api` has a connection already
            assert late.recv(1) == b""
    assert graftd.stop() == 0


def _connect(graftd: Graftd) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(10)
    sock.connect(graftd.target.removeprefix("unix:"))
    return sock


def test_sockets_of_systemd(bed: Bed) -> None:
    """They are there before graftd and stay when it goes; who connects in between is answered when it is back."""
    graftd, _, _ = bed
    names = ("admin", "read-write", "read-only")
    sockets = []
    for name in names:
        one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        one.bind(os.fspath(graftd.folder / f"{name}.of-systemd"))
        one.listen(64)
        sockets.append(one)
    fds = [one.fileno() for one in sockets]
    moves = " ".join(f"{number}<&{fd}" for number, fd in enumerate(fds, 3))
    prefix = ["bash", "-c", f'exec {moves}; LISTEN_PID=$$ exec "$@"', "bash"]
    environment = {"LISTEN_FDS": "3", "LISTEN_FDNAMES": ":".join(names)}
    targets = [f"unix:{graftd.folder}/{name}.of-systemd" for name in names]
    try:
        with Api(targets[0]) as early:
            call = early.node.GetStatus.future(node_pb2.GetStatusRequest(), wait_for_ready=True, timeout=30)
            time.sleep(0.2)
            assert not call.done()
            graftd.start(environment, prefix=prefix, pass_fds=fds)
            assert call.result().state == node_pb2.NODE_STATE_READY
            assert not list(graftd.run.glob("*.sock"))
            early.register("web")
            with Api(targets[1]) as changing, Api(targets[2]) as reading:
                changing.create("web", "one")
                assert reading.names("web") == ["one"]
                assert refused(reading.create, "web", "two").reason == "ROLE_REQUIRED"
            assert graftd.stop() == 0
            assert all((graftd.folder / f"{name}.of-systemd").is_socket() for name in names)
            late = early.node.GetStatus.future(node_pb2.GetStatusRequest(), wait_for_ready=True, timeout=30)
            graftd.start(environment, prefix=prefix, pass_fds=fds)
            assert late.result().store.endpoints == 1
            assert graftd.stop() == 0
    finally:
        for one in sockets:
            one.close()


def test_a_second_graftd(bed: Bed) -> None:
    """Refuses to start, and leaves the first its sockets."""
    graftd, _, _ = bed
    graftd.start()
    status, said = graftd.start_in_vain()
    assert status == 1
    assert "another process listens on" in said
    with Api(graftd.target) as api:
        assert api.status().state == node_pb2.NODE_STATE_READY
