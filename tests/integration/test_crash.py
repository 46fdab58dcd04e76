# SPDX-License-Identifier: Apache-2.0
"""graftd is killed, at every failpoint and at random instants, under a workload from eight clients.

After each restart every acknowledged change is there, none is half applied, and store and kernel are equal.
GRAFT_CRASHES: how many instants; 50 unless it is said.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from graft.v1 import namespace_pb2
from integration.process import Graftd
from integration.workload import Client, Stubs, check, check_kernel, state_of

_NAMESPACES = [f"ns{number}" for number in range(4)]
_CLIENTS = 8
_FAILPOINTS = ("before-netlink", "after-netlink", "before-commit", "after-commit")
_INSTANTS = int(os.environ.get("GRAFT_CRASHES", "50"))


@pytest.fixture
def graftd(tmp_path: Path) -> Iterator[Graftd]:
    service = Graftd(tmp_path)
    service.play_kernel(_NAMESPACES)
    yield service
    service.close()


def _register(service: Graftd) -> None:
    stubs = Stubs(service.target)
    for name in _NAMESPACES:
        selector = namespace_pb2.NamespaceSelector(iproute2_name=name)
        stubs.namespaces.CreateNamespace(
            namespace_pb2.CreateNamespaceRequest(
                namespace_id=name, namespace=namespace_pb2.Namespace(selector=selector)
            ),
            wait_for_ready=True,
        )
    stubs.close()


def _clients(seed: int) -> list[Client]:
    return [Client(number, _NAMESPACES, random.Random(f"{seed} {number}")) for number in range(_CLIENTS)]


def test_killed_at_failpoints_and_at_random_instants(graftd: Graftd) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    clients = _clients(seed)
    graftd.start()
    _register(graftd)
    graftd.kill()
    for instant in range(_INSTANTS):
        where = _FAILPOINTS[instant // 2 % len(_FAILPOINTS)] if instant % 2 else ""
        graftd.start({"GRAFTD_KILL": f"{where}:{chance.randrange(1, 60)}"} if where else {})
        stop = threading.Event()
        threads = [threading.Thread(target=client.run, args=(graftd.target, stop)) for client in clients]
        for thread in threads:
            thread.start()
        if where:
            graftd.wait_killed()
        else:
            time.sleep(chance.uniform(0.0, 0.6))
            graftd.kill()
        stop.set()
        for thread in threads:
            thread.join()
        graftd.start()
        stubs = Stubs(graftd.target)
        found = state_of(stubs, _NAMESPACES)
        check(clients, found)
        check_kernel(stubs)
        stubs.close()
        graftd.kill()
    done = sum(client.done for client in clients)
    print(f"{_INSTANTS} crashes, {done} changes acknowledged, {len(found)} resources at the end")
    assert done > _INSTANTS


def test_killed_in_a_migration(graftd: Graftd) -> None:
    """A newer schema, killed in the middle of the way to it: everything is there, under the newer one."""
    clients = _clients(1)
    graftd.start()
    _register(graftd)
    stubs = Stubs(graftd.target)
    for _ in range(20):
        for client in clients:
            assert client._step(stubs)
    stubs.close()
    graftd.kill()
    newer = {"GRAFTD_NEWER_SCHEMA": "1"}
    graftd.start({**newer, "GRAFTD_KILL": "in-migration"}, ready=False)
    graftd.wait_killed()
    graftd.start(newer)
    stubs = Stubs(graftd.target)
    check(clients, state_of(stubs, _NAMESPACES))
    check_kernel(stubs)
    stubs.close()
    assert list(graftd.state.glob("graftd.db.v1.*.backup")), "no copy of the older schema was kept"
