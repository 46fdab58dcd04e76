# SPDX-License-Identifier: Apache-2.0
"""One run: graftd as a process of its own, this process its client."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import grpc

from bench.service.echo import METHOD
from graft.v1 import endpoint_pb2, node_pb2
from integration.api import Api, batch
from integration.bed import serving
from integration.process import ROOT, Graftd
from integration.runtime import WEB, Plugin, build, container

_CALLS = 1000
_WARM = 100  # calls before those that count
_ENDPOINTS = 10_000
_BATCH = 10_000
_PAGE = 5000
_WATCHERS = 1000
_EVENTS = 5
_HELPS = 5
_CONTAINERS = 25
_BLOCK = b"\0" * 4096


def trial(folder: Path) -> dict[str, float]:
    """Every measure once, in its unit. folder: on the disk that is measured."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        here = Path(place)
        return {
            **restart(here, _ENDPOINTS),
            **_service(here),
            **_cni(here),
            **_echo(here / "echo"),
            **_sync(here / "sync"),
            **_help(),
        }


def percentiles(name: str, call: Callable[[int], object]) -> dict[str, float]:
    """Calls one after the other, numbered; the median and the 99th of 100, in ms."""
    took = []
    for number in range(_WARM + _CALLS):
        begun = time.perf_counter()
        call(number)
        took.append(1000 * (time.perf_counter() - begun))
    counted = sorted(took[_WARM:])
    return {f"{name}_p50": counted[_CALLS // 2], f"{name}_p99": counted[_CALLS * 99 // 100]}


def seconds(call: Callable[[], object]) -> float:
    """How long a call takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


@contextmanager
def graftd_in(folder: Path, configuration: str = "") -> Iterator[Graftd]:
    """A graftd that is not started yet, in a folder that is made for it; it ends with the context."""
    folder.mkdir()
    graftd = Graftd(folder, configuration)
    try:
        yield graftd
    finally:
        graftd.close()


def create_many(api: Api, namespace: str, endpoints: int) -> None:
    """Create ep-0, ep-1, ... in requests of at most 10,000."""
    for first in range(0, endpoints, _BATCH):
        request = batch(namespace, _names(range(first, min(first + _BATCH, endpoints))))
        api.endpoints.BatchCreateEndpoints(request, timeout=60)


def _names(numbers: Iterable[int]) -> list[str]:
    return [f"ep-{number}" for number in numbers]


def restart(folder: Path, endpoints: int) -> dict[str, float]:
    """Seconds from a start to ready, with an empty store and with so many endpoints that the kernel has as well."""
    with graftd_in(folder / "restart") as graftd:
        kernel = graftd.play_kernel(["many"])
        bare = seconds(graftd.start)
        with Api(graftd.target) as api:
            api.register("many")
            create_many(api, "many", endpoints)
        assert graftd.stop() == 0
        took = seconds(graftd.start)
        with Api(graftd.target) as api:
            assert len(api.names("many")) == endpoints
        assert graftd.stop() == 0
        kernel.close()
    return {"start_bare": bare, "restart": took}


def _service(folder: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    with graftd_in(folder / "service") as graftd:
        graftd.start({"GRAFTD_PLAYED_NAMESPACES": "3"})
        with Api(graftd.target) as api:
            for number, name in enumerate(("many", "one", "watched")):
                api.register(name, f"ns{number}")
            request = batch("many", _names(range(_ENDPOINTS)))
            found["batch"] = seconds(lambda: api.endpoints.BatchCreateEndpoints(request, timeout=60))
            found["list"] = seconds(lambda: list_all(api, "many", _ENDPOINTS))
            memory = resident(graftd.pid)
            found["memory"], found["memory_peak"] = memory["VmRSS"] / 1e6, memory["VmHWM"] / 1e6
            found |= percentiles("version", lambda _: api.node.GetVersion(node_pb2.GetVersionRequest()))
            found |= percentiles("create", lambda number: api.create("one", f"ep-{number}"))
            found["watch"] = watch_delay(graftd, api, "watched", _WATCHERS)
        assert graftd.stop() == 0
    return found


def _cni(folder: Path) -> dict[str, float]:
    """Medians of graft-cni's ADD and DEL, in ms: what they add to a container's start and end."""
    took: dict[str, list[float]] = {"ADD": [], "DEL": []}
    folder = folder / "cni"
    folder.mkdir()
    # Beside the runs, so that it is built once.
    plugin_of = partial(Plugin, build(folder.parents[1] / "go"))
    with serving(folder, places=()) as bed:
        plugin = plugin_of(bed, WEB)
        for _ in range(_CONTAINERS):
            with container(bed) as one:
                for command, times in took.items():
                    times.append(1000 * seconds(partial(plugin.good, command, one)))
    return {f"cni_{command.lower()}": median(times) for command, times in took.items()}


def list_all(api: Api, namespace: str, endpoints: int) -> None:
    """List all endpoints of a namespace, in pages of 5,000; there have to be so many."""
    request = endpoint_pb2.ListEndpointsRequest(parent=f"namespaces/{namespace}", page_size=_PAGE)
    found = 0
    while True:
        page = api.endpoints.ListEndpoints(request, timeout=60)
        found += len(page.endpoints)
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert found == endpoints


def resident(pid: int) -> dict[str, int]:
    """VmRSS and VmHWM of a process, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = (line.split() for line in lines if line.startswith(("VmRSS:", "VmHWM:")))
    return {name.rstrip(":"): 1024 * int(size) for name, size, _unit in fields}


def watch_delay(graftd: Graftd, api: Api, namespace: str, watchers: int) -> float:
    """From the call of a Create to the last watcher's receipt, in seconds; the median of some events."""
    words = (graftd.target, namespace, str(watchers), str(_EVENTS))
    command = [sys.executable, "-m", "bench.service.watchers", *words]
    took = []
    with subprocess.Popen(command, env=graftd.environment(), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            for event in range(_EVENTS):
                begun = time.monotonic_ns()
                api.create(namespace, f"event-{event}")
                took.append((int(process.stdout.readline()) - begun) / 1e9)
            assert process.wait(60) == 0
        finally:
            process.kill()
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
    return {"help": 1000 * sorted(seconds(run) for _ in range(_HELPS))[_HELPS // 2]}
