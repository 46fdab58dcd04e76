# SPDX-License-Identifier: Apache-2.0
"""The packages are upgraded while containers serve, and graftd is set back once."""

from __future__ import annotations

import socket
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from packages.machine import host
from packages.machine.host import apt, asked, eventually, run

if not host.OLDER:
    pytest.skip("there is nothing to upgrade from", allow_module_level=True)

_ECHO = """
import socket
with socket.create_server(("", 7)) as server:
    peer = server.accept()[0]
    while data := peer.recv(8):
        peer.sendall(data)
"""


class Traffic:
    """One connection that is used all the time, new ones one after the other, and changes of the namespace `kept`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._watched, args=[one]) for one in (self._echo, self._fetch, self._change)
        ]
        self._attempts = 0
        self.echoed = 0
        self.fetched = 0
        self.acknowledged: list[str] = []
        self.troubles: list[str] = []

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def await_more(self) -> None:
        """Three times more of everything, or trouble."""
        before = self._done()
        eventually(
            lambda: bool(self.troubles) or all(now > then + 2 for then, now in zip(before, self._done(), strict=True)),
            "traffic flows",
        )

    def _done(self) -> tuple[int, int, int]:
        return self.echoed, self.fetched, len(self.acknowledged)

    def _watched(self, use: Callable[[], None]) -> None:
        try:
            while not self._over.wait(0.2):
                use()
        except (OSError, AssertionError) as error:
            self.troubles.append(f"after {self.echoed} echoes and {self.fetched} connections: {error!r}")

    def _echo(self) -> None:
        said = self.echoed.to_bytes(8, "big")
        self._connection.sendall(said)
        assert self._connection.recv(8, socket.MSG_WAITALL) == said
        self.echoed += 1

    def _fetch(self) -> None:
        with socket.create_connection((host.ADDRESS, 80), 60) as one:
            one.sendall(b"GET / HTTP/1.0\r\n\r\n")
            with one.makefile("rb") as answer:
                assert answer.read().endswith(b"grafted")
        self.fetched += 1

    def _change(self) -> None:
        """Not all are acknowledged: for a moment there is no graftcli, and its Python is of two versions."""
        self._attempts += 1
        name, port = f"ep-{self._attempts}", str(1000 + self._attempts)
        command = ("graftcli", "-n", "kept", "add", name, "type", "ipv4", "addr", host.ADDRESS, "port", port)
        try:
            said = run(*command, check=False)
        except FileNotFoundError:
            return
        if said == f"namespaces/kept/endpoints/{name} created\n":
            self.acknowledged.append(f"namespaces/kept/endpoints/{name}")


@contextmanager
def traffic() -> Iterator[Traffic]:
    """Traffic through both containers; none of it is to fail."""
    with subprocess.Popen(["ip", "netns", "exec", "web", "graft", "--", "python3", "-c", _ECHO]) as server:
        try:
            eventually(lambda: f"{host.ADDRESS}:7" in run("ss", "-tln"), "the container listens")
            with socket.create_connection((host.ADDRESS, 7), 60) as connection:
                one = Traffic(connection)
                one.start()
                try:
                    yield one
                finally:
                    one.stop()
        finally:
            server.terminate()
    assert one.troubles == []


def _main_process() -> str:
    return run("systemctl", "show", "--value", "--property", "MainPID", "graftd").strip()


def _schema() -> int:
    with closing(sqlite3.connect(host.DATABASE)) as database:
        return int(database.execute("PRAGMA user_version").fetchone()[0])


def _content() -> list[str]:
    return [run("graftcli", "export", name) for name in ("pod", "web")]


def test_an_upgrade_breaks_no_connection_and_loses_no_mapping() -> None:
    run("ip", "netns", "add", "kept")
    run("graftcli", "add-namespace", "kept", "--netns", "kept")
    socket_file = host.DATABASE.parents[2] / "run/graftd/graftd.sock"
    before, process, schema, content = socket_file.stat().st_ino, _main_process(), _schema(), _content()
    with traffic() as one:
        one.await_more()
        apt("install", *host.NEW)
        one.await_more()
    eventually(lambda: host.is_active("graftd"), "graftd is back")
    assert _main_process() != process
    assert asked("version")["graftd"] == host.version_of(host.NEW)
    assert socket_file.stat().st_ino == before
    assert set(one.acknowledged) <= set(host.endpoints())
    run("graftcli", "delete-namespace", "kept", "--force", "--yes")
    assert _schema() > schema
    assert _content() == content
    assert host.CONFIGURATION.read_text().endswith("# kept\n")
    assert host.verify(*host.PACKAGES) == f"??5?????? c {host.CONFIGURATION}"


def test_the_module_in_use_stays_and_the_newer_one_waits() -> None:
    older, newer = host.version_of(host.OLDER), host.version_of(host.NEW)
    assert (host.MODULE / "version").read_text().strip() == older
    assert run("modinfo", "--field", "version", "graft").strip() == newer
    assert host.built_for() == [f"{newer} {kernel}" for kernel in host.kernels()]
    said = run("graftcli", "doctor", check=False)
    assert f"version {older} is loaded, and version {newer} is installed and waits until that one is unloaded" in said


def test_the_older_module_serves_the_newer_service() -> None:
    assert asked("status")["state"] == "ready"
    run("graftcli", "-n", "web", "add", "ep-later", *["type", "ipv4", "addr", host.ADDRESS, "port", "8"])
    assert asked("-n", "web", "show-endpoint", "ep-later")["sync"]["state"] == "in-sync"
    run("graftcli", "-n", "web", "delete-endpoint", "ep-later", "--yes")


def test_an_older_service_refuses_the_newer_database() -> None:
    """In a sentence; the newer one, installed again, has everything."""
    content = _content()
    apt("install", "--allow-downgrades", *host.of_packages(host.OLDER, *host.SERVICE_PACKAGES))
    eventually(lambda: run("systemctl", "is-failed", "graftd", check=False).strip() == "failed", "graftd gives up")
    said = run("journalctl", "--unit", "graftd", "--lines", "20", "--output", "cat")
    assert "and this graftd knows" in said
    assert "install the graftd that wrote it" in said
    assert host.pod_answers()
    apt("install", *host.NEW)
    run("systemctl", "start", "graftd")
    assert _content() == content
