# SPDX-License-Identifier: Apache-2.0
"""One run: graftd as a process of its own, this process its client."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from bench.service.echo import METHOD
from graft.v1 import endpoint_pb2, node_pb2
from integration.api import Api, batch
from integration.process import ROOT, Graftd

_CALLS = 1000
_WARM = 100  # calls before those that count
_ENDPOINTS = 10_000
_PAGE = 5000
_WATCHERS = 1000
_EVENTS = 5
_HELPS = 5
_BLOCK = b"\0" * 4096


def trial(folder: Path) -> dict[str, float]:
    """Every measure once, in its unit. folder: on the disk that is measured."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        here = Path(place)
        return {**_restart(here), **_service(here), **_echo(here / "echo"), **_sync(here / "sync"), **_help()}


def percentiles(name: str, call: Callable[[int], object]) -> dict[str, float]:
    """Calls one after the other, numbered; the median and the 99th of 100, in ms."""
    took = []
    for number in range(_WARM + _CALLS):
        begun = time.perf_counter()
        call(number)
        took.append(1000 * (time.perf_counter() - begun))
    counted = sorted(took[_WARM:])
    return {f"{name}_p50": counted[_CALLS // 2], f"{name}_p99": counted[_CALLS * 99 // 100]}


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


@contextmanager
def _graftd(folder: Path, configuration: str = "") -> Iterator[Graftd]:
    folder.mkdir()
    graftd = Graftd(folder, configuration)
    try:
        yield graftd
    finally:
        graftd.close()


def _names() -> list[str]:
    return [f"ep-{number}" for number in range(_ENDPOINTS)]


def _restart(folder: Path) -> dict[str, float]:
    with _graftd(folder / "restart") as graftd:
        kernel = graftd.play_kernel(["many"])
        bare = _seconds(graftd.start)
        with Api(graftd.target) as api:
            api.register("many")
            api.endpoints.BatchCreateEndpoints(batch("many", _names()), timeout=60)
        assert graftd.stop() == 0
        took = _seconds(graftd.start)
        with Api(graftd.target) as api:
            assert len(api.names("many")) == _ENDPOINTS
        assert graftd.stop() == 0
        kernel.close()
    return {"start_bare": bare, "restart": took}


def _service(folder: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    with _graftd(folder / "service") as graftd:
        graftd.start({"GRAFTD_PLAYED_NAMESPACES": "3"})
        with Api(graftd.target) as api:
            for number, name in enumerate(("many", "one", "watched")):
                api.register(name, f"ns{number}")
            request = batch("many", _names())
            found["batch"] = _seconds(lambda: api.endpoints.BatchCreateEndpoints(request, timeout=60))
            found["list"] = _seconds(lambda: _list(api))
            memory = resident(graftd.pid)
            found["memory"], found["memory_peak"] = memory["VmRSS"] / 1e6, memory["VmHWM"] / 1e6
            found |= percentiles("version", lambda _: api.node.GetVersion(node_pb2.GetVersionRequest()))
            found |= percentiles("create", lambda number: api.create("one", f"ep-{number}"))
            found["watch"] = _watch(graftd, api)
        assert graftd.stop() == 0
    return found


def _list(api: Api) -> None:
    request = endpoint_pb2.ListEndpointsRequest(parent="namespaces/many", page_size=_PAGE)
    found = 0
    while True:
        page = api.endpoints.ListEndpoints(request, timeout=60)
        found += len(page.endpoints)
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert found == _ENDPOINTS


def resident(pid: int) -> dict[str, int]:
    """VmRSS and VmHWM of a process, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = (line.split() for line in lines if line.startswith(("VmRSS:", "VmHWM:")))
    return {name.rstrip(":"): 1024 * int(size) for name, size, _unit in fields}


def _watch(graftd: Graftd, api: Api) -> float:
    """From the call of a Create to the last watcher's receipt, in seconds; the median of some events."""
    command = [sys.executable, "-m", "bench.service.watchers", graftd.target, "watched", str(_WATCHERS), str(_EVENTS)]
    took = []
    with subprocess.Popen(command, env=graftd.environment(), stdout=subprocess.PIPE, text=True) as watchers:
        try:
            assert watchers.stdout is not None
            assert watchers.stdout.readline() == "ready\n"
            for event in range(_EVENTS):
                begun = time.monotonic_ns()
                api.create("watched", f"ep-{event}")
                took.append((int(watchers.stdout.readline()) - begun) / 1e9)
            assert watchers.wait(60) == 0
        finally:
            watchers.kill()
    return sorted(took)[_EVENTS // 2]


def _echo(path: Path) -> dict[str, float]:
    with subprocess.Popen([sys.executable, "-m", "bench.service.echo", path], env=Graftd.environment()) as server:
        try:
            with grpc.insecure_channel(f"unix:{path}") as channel:
                call: Any = channel.unary_unary(METHOD)
                call(b"", wait_for_ready=True, timeout=60)
                return percentiles("echo", lambda _: call(b"x" * 100, timeout=60))
        finally:
            server.kill()


def _sync(path: Path) -> dict[str, float]:
    with path.open("wb", buffering=0) as file:

        def write(_number: int) -> None:
            file.write(_BLOCK)
            os.fdatasync(file.fileno())

        return percentiles("sync", write)


def _help() -> dict[str, float]:
    path = os.pathsep.join(map(str, (ROOT, ROOT / "clients/cli", ROOT / "clients/python", ROOT / "build/stubs")))
    command = [sys.executable, "-m", "graftcli", "--help"]
    environment = {**os.environ, "PYTHONPATH": path}

    def run() -> None:
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)

    run()
    return {"help": 1000 * sorted(_seconds(run) for _ in range(_HELPS))[_HELPS // 2]}
