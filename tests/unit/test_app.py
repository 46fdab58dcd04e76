# SPDX-License-Identifier: Apache-2.0
"""What becomes of graftd where a part of it fails."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from graftd import app as app_module
from graftd import log
from graftd.__main__ import _serve
from graftd.access import UnknownSubjectError
from graftd.api import listen
from graftd.api.listen import ListenError
from graftd.app import App, PartFailedError
from graftd.config import Config, ConfigError, HostPort
from graftd.errors import GraftError, StoreDamagedError
from graftd.metrics import MetricsError
from graftd.reconcile import EngineThread, Pulse


def test_a_part_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """An end that is none of a good service's, so that systemd starts it again."""

    async def fail() -> None:
        raise ZeroDivisionError

    async def serve() -> None:
        app = App(Config(), cast("log.Log", None))

        async def start(_stack: AsyncExitStack) -> None:
            app._spawn(fail())

        monkeypatch.setattr(app, "_start", start)
        monkeypatch.setattr(app, "_summary", lambda: "ready")
        await app.run()

    with pytest.raises(PartFailedError) as caught:
        asyncio.run(serve())
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_what_is_heard_while_the_engine_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it is looked at, and what comes later as well."""
    looked: list[dict[int, int]] = []

    class Engine:
        def noticed(self, generations: dict[int, int]) -> None:
            looked.append(dict(generations))

    async def serve() -> None:
        app = App(Config(), cast("log.Log", None))
        monkeypatch.setattr(app, "_engine", Engine(), raising=False)
        for number in range(3):
            app._hear({number: 1})
            app._hear({number: 2, number + 10: 1})  # behind what was given to the engine
            await asyncio.gather(*app._tasks)
        app._thread.shutdown()

    asyncio.run(serve())
    assert looked == [{number: 2, number + 10: 1} for number in range(3)]


def test_calls_that_ended() -> None:
    with EngineThread() as thread:
        future = thread.submit(int, "x")
        assert isinstance(future.exception(), ValueError)
        assert thread.submit(int, "1").result() == 1
    assert thread.ended == 2


def test_calls_that_have_not_begun_can_be_refused() -> None:
    """Those that wait, at once; the one that runs ends, and what comes later is made."""
    begun, go_on = threading.Event(), threading.Event()

    def work() -> str:
        begun.set()
        go_on.wait(20)
        return "done"

    async def scenario() -> None:
        running, *waiting = (asyncio.ensure_future(thread.run(work)) for _ in range(4))
        waiting.append(asyncio.ensure_future(thread.finish(work)))
        await asyncio.to_thread(begun.wait, 20)
        waiting[0].cancel()  # for another reason
        await asyncio.sleep(0)
        thread.refuse(ZeroDivisionError("it ends"))
        outcomes = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)
        assert [type(one) for one in outcomes] == [asyncio.CancelledError, *[ZeroDivisionError] * 3]
        assert not running.done()
        go_on.set()
        assert await running == "done"
        assert await thread.run(str, 7) == "7"
        assert thread.ended == 2

    with EngineThread() as thread:
        asyncio.run(scenario())


def test_a_long_call_is_alive_while_it_works() -> None:
    """And not while it waits, nor for ever."""
    go_on = threading.Event()

    def work() -> None:
        until = time.monotonic() + 20
        while not go_on.is_set() and time.monotonic() < until:
            pass

    now = 0.0

    def later(thread: EngineThread, seconds: float = 0.1) -> None:
        """The clock goes by what the thread did, however busy the machine is."""
        nonlocal now
        now += seconds
        worked, until = thread.worked, time.monotonic() + 20
        while thread.worked < worked + seconds / 10 and time.monotonic() < until:
            time.sleep(0.001)

    with EngineThread() as thread:
        assert thread.worked == 0
        thread.submit(int).result()
        call = thread.submit(work)
        pulse = Pulse(thread, lambda: now)
        for _ in range(3):
            later(thread)
            assert pulse.beats()
        now += 1800
        later(thread, 1.0)
        assert not pulse.beats(), "half an hour is too much"
        ended = thread.ended
        go_on.set()
        call.result()
        until = time.monotonic() + 20
        while thread.ended == ended and time.monotonic() < until:
            time.sleep(0.001)  # it is counted a moment later
        assert pulse.beats(), "a call has ended"
        go_on.clear()
        waiting = thread.submit(go_on.wait, 20)
        time.sleep(0.05)
        pulse.beats()
        time.sleep(0.1)
        now += 0.1
        assert not pulse.beats(), "it waits"
        go_on.set()
        waiting.result()


def test_a_change_goes_on_without_whoever_asked() -> None:
    """Whether it was begun or still waited when they went away."""
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> str:
        begun.set()
        assert go_on.wait(10)
        return "waited"

    async def ask(thread: EngineThread) -> None:
        first = asyncio.create_task(thread.finish(wait))
        second = asyncio.create_task(thread.finish(int, "2"))
        third = asyncio.create_task(thread.finish(int, "x"))
        assert await asyncio.to_thread(begun.wait, 10)
        for _ in range(2):
            for task in (first, second, third):
                task.cancel()
            await asyncio.sleep(0)
        assert not any(task.done() for task in (first, second, third))
        go_on.set()
        assert (await first, await second) == ("waited", 2)
        with pytest.raises(ValueError, match="invalid literal"):
            await third

    with EngineThread() as thread:
        asyncio.run(ask(thread))


def test_a_watcher_that_cannot_see_all_is_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    class Watcher:
        lacking = ""

        def watch(self, _selectors: object) -> None:
            """Nothing is watched."""

    class Engine:
        def read(self, _look: object) -> list[object]:
            return []

    async def serve() -> None:
        app = App(Config(), cast("log.Log", None))
        monkeypatch.setattr(app, "_engine", Engine(), raising=False)
        monkeypatch.setattr(app._log, "warning", lambda _event, detail: told.append(detail), raising=False)
        watcher = Watcher()
        for lacking in ("", "no more watches", "no more watches", "", "no more watches"):
            watcher.lacking = lacking
            app._watch(cast("Any", SimpleNamespace(watcher=watcher)))
        app._thread.shutdown()

    asyncio.run(serve())
    assert told == ["no more watches", "no more watches"]


def test_a_listener_for_tls_that_cannot_be_had_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again; each new reason is told of once, and that it is there now."""
    told: list[tuple[str, str]] = []
    statuses: list[str] = []
    added: list[object] = []
    attempts: list[str | None] = ["no such name", "no such name", "in use", None]

    def listen_tcp(host: str, port: int) -> list[str]:
        reason = attempts.pop(0)
        if reason is not None:
            raise ListenError(reason)
        return [f"{host} {port}"]

    async def serve() -> None:
        app = App(Config(), cast("log.Log", None))
        app._serving = True
        monkeypatch.setattr(listen, "listen_tcp", listen_tcp)
        monkeypatch.setattr(app_module, "_TLS_SECONDS", 0.0)
        monkeypatch.setattr(app, "_engine", SimpleNamespace(conditions=list), raising=False)
        monkeypatch.setattr(app, "_acceptor", SimpleNamespace(add=added.extend), raising=False)
        monkeypatch.setattr(app._notifier, "status", statuses.append)
        monkeypatch.setattr(app._log, "warning", lambda event, detail: told.append((event, detail)), raising=False)
        monkeypatch.setattr(app._log, "info", lambda event: told.append((event, "")), raising=False)
        await app._open_secure(HostPort("graftd.example", 7443))
        app._thread.shutdown()

    asyncio.run(serve())
    assert added == ["graftd.example 7443"]
    assert told == [
        ("graftd does not listen for TLS, and tries again", "server.tls: no such name"),
        ("graftd does not listen for TLS, and tries again", "server.tls: in use"),
        ("graftd listens for TLS", ""),
    ]
    assert statuses == ["degraded: server.tls: no such name", "degraded: server.tls: in use", "ready"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError(("a key",)), 78),
        (UnknownSubjectError("a user"), 78),
        (StoreDamagedError("a page"), 78),
        (ListenError("a socket"), 1),
        (MetricsError("a port"), 1),
    ],
)
def test_what_another_start_may_mend(monkeypatch: pytest.MonkeyPatch, error: GraftError, status: int) -> None:
    """graftd.service goes by it: RestartPreventExitStatus=."""

    class Broken:
        def __init__(self, *_: object, **__: object) -> None:
            raise error

    monkeypatch.setattr(app_module, "App", Broken)
    assert _serve(Config(), Path("none")) == status


def test_grpcio_writes_nothing_by_itself() -> None:
    """It would write a line for each TLS handshake that fails, whoever tries."""
    program = """
import os, sys
from pathlib import Path
from graftd import __main__
from graftd.config import Config
from graftd.errors import GraftError

class Module:
    PartFailedError = GraftError
    def App(*_, **__):
        raise GraftError(f"GRPC_VERBOSITY is {os.environ.get('GRPC_VERBOSITY')}")

assert "grpc" not in sys.modules, "it was imported before it could be told"
sys.modules["graftd.app"] = Module
__main__._serve(Config(), Path("none"))
"""
    environment = {key: value for key, value in os.environ.items() if key != "GRPC_VERBOSITY"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert "GRPC_VERBOSITY is NONE" in done.stderr
