# SPDX-License-Identifier: Apache-2.0
"""The installed service is killed at random instants, under a workload from eight clients, with the module's tables.

After each restart every acknowledged change is there, none is half applied, and store and kernel are equal: as graftd
says, and as the tables are read past it.
GRAFT_CRASHES: how many instants; 10 unless it is said.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from graft.v1 import namespace_pb2
from graftd.kernel import Client as Kernel
from integration.workload import Client, Stubs, check, check_kernel, state_of
from service.equal import export, table
from service.place import cli_outcome, run
from service.units import SERVICE, pid, systemctl

_NAMESPACES = [f"crash{number}" for number in range(3)]
_CLIENTS = 8
_INSTANTS = int(os.environ.get("GRAFT_CRASHES", "10"))
_TARGET = "unix:/run/graftd/admin.sock"
PATIENCE = 60 + 30 * _INSTANTS  # seconds


@contextmanager
def connection() -> Iterator[Stubs]:
    stubs = Stubs(_TARGET)
    try:
        yield stubs
    finally:
        stubs.close()


@pytest.fixture
def _registered() -> Iterator[None]:
    """The namespaces, in the kernel and with graftd."""
    with connection() as stubs:
        for name in _NAMESPACES:
            run("ip", "netns", "add", name)
            selector = namespace_pb2.NamespaceSelector(iproute2_name=name)
            stubs.namespaces.CreateNamespace(
                namespace_pb2.CreateNamespaceRequest(
                    namespace_id=name, namespace=namespace_pb2.Namespace(selector=selector)
                ),
                wait_for_ready=True,
                timeout=60,
            )
    yield
    for name in _NAMESPACES:
        cli_outcome(f"delete-namespace {name} --force --yes")
        run("ip", "netns", "delete", name)


def _bring_back() -> None:
    """At once, and not after RestartSec."""
    systemctl("reset-failed", SERVICE)
    systemctl("start", SERVICE)


@pytest.mark.usefixtures("_registered")
def test_killed_at_random_instants_under_eight_clients() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    clients = [Client(number, _NAMESPACES, random.Random(f"{seed} {number}")) for number in range(_CLIENTS)]
    before = time.monotonic()
    killed: set[int] = set()
    found: dict[str, Any] = {}
    with Kernel.open() as kernel:
        for _ in range(_INSTANTS):
            process = pid()
            assert process not in killed | {0}
            stop = threading.Event()
            threads = [threading.Thread(target=client.run, args=(_TARGET, stop)) for client in clients]
            for thread in threads:
                thread.start()
            time.sleep(chance.uniform(0.1, 3.0))
            os.kill(process, signal.SIGKILL)
            killed.add(process)
            stop.set()
            _bring_back()
            for thread in threads:
                thread.join()
            with connection() as stubs:
                found = state_of(stubs, _NAMESPACES)
                check(clients, found)
                check_kernel(stubs)
                for name in _NAMESPACES:
                    assert table(kernel, name) == export(stubs, name)
    done = sum(client.done for client in clients)
    print(
        f"{_INSTANTS} crashes, {done} changes acknowledged, {len(found)} resources at the end,"
        f" {time.monotonic() - before:.0f} s"
    )
    assert done > _INSTANTS
    assert not any(Path(f"/proc/{process}").exists() for process in killed)
