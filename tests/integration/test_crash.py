# SPDX-License-Identifier: Apache-2.0
"""graftd is killed, at every failpoint and at random instants, under a workload from eight clients.

After each restart every acknowledged change is there, none is half applied, and store and kernel are equal. And it is
killed where tables of the kernel are nobody's any more: the next start empties them.
GRAFT_CRASHES: how many instants; 50 unless it is said. Each 50 begin with an empty graftd, for what there is grows, and
with it the time that looking at all of it takes.
"""

from __future__ import annotations

import hashlib
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from graft.v1 import namespace_pb2, node_pb2
from integration import played
from integration.api import Api
from integration.process import Graftd
from integration.workload import Client, Stubs, check, check_kernel, state_of

_NAMESPACES = [f"ns{number}" for number in range(4)]
_CLIENTS = 8
_FAILPOINTS = ("before-netlink", "after-netlink", "before-commit", "after-commit")
_AT_ONCE = 50
_INSTANTS = int(os.environ.get("GRAFT_CRASHES", str(_AT_ONCE)))


@pytest.fixture
def graftd(tmp_path: Path) -> Iterator[Graftd]:
    service = Graftd(tmp_path)
    service.play_kernel(_NAMESPACES)
    yield service
    service.close()


@pytest.fixture
def kernel(graftd: Graftd) -> Iterator[played.Remote]:
    remote = played.Remote(graftd.kernel_path)
    yield remote
    remote.close()


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


@pytest.mark.parametrize("first", range(0, _INSTANTS, _AT_ONCE))
def test_killed_at_failpoints_and_at_random_instants(first: int, graftd: Graftd) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    clients = _clients(seed)
    graftd.start()
    _register(graftd)
    graftd.kill()
    instants = range(first, min(first + _AT_ONCE, _INSTANTS))
    for instant in instants:
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
    print(f"{len(instants)} crashes, {done} changes acknowledged, {len(found)} resources at the end")
    assert done > len(instants)


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
    assert list(graftd.state.glob("graftd.db.v3.*.backup")), "no copy of the older schema was kept"


def _endpoints(kernel: played.Remote) -> dict[str, int]:
    """How many there are in the table that each name of ip netns leads to."""
    return {name: len(kernel.endpoints(cookie)) for name, cookie in sorted(kernel.namespaces.items())}


def _move(api: Api, name: str, place: str) -> None:
    selector = namespace_pb2.NamespaceSelector(iproute2_name=place)
    api.namespaces.UpdateNamespace(
        namespace_pb2.UpdateNamespaceRequest(
            namespace=namespace_pb2.Namespace(name=f"namespaces/{name}", selector=selector)
        )
    )


def test_killed_after_the_commit_of_a_restore(graftd: Graftd, kernel: played.Remote) -> None:
    """What the copy does not know, or not there, is emptied by the next start."""
    graftd.start()
    with Api(graftd.target) as api:
        api.register("kept", "ns0")
        api.register("moved", "ns1")
        for name in ("kept", "moved"):
            api.create(name, "one")
        copy = b"".join(one.data for one in api.node.Backup(node_pb2.BackupRequest()))
        _move(api, "moved", "ns2")
        api.register("gone", "ns3")
        api.create("gone", "one")
    graftd.kill()
    assert _endpoints(kernel) == {"ns0": 1, "ns1": 0, "ns2": 1, "ns3": 1}
    graftd.start({"GRAFTD_KILL": "after-commit"})
    with Api(graftd.target) as api, pytest.raises(grpc.RpcError):
        api.node.Restore(iter([node_pb2.RestoreRequest(data=copy, sha256=hashlib.sha256(copy).digest())]), timeout=30)
    graftd.wait_killed()
    assert _endpoints(kernel) == {"ns0": 1, "ns1": 0, "ns2": 1, "ns3": 1}
    graftd.start()
    assert _endpoints(kernel) == {"ns0": 1, "ns1": 1, "ns2": 0, "ns3": 0}
    with Api(graftd.target) as api:
        check_kernel(api)
    graftd.kill()


def test_selectors_that_lead_elsewhere_while_it_is_down(graftd: Graftd, kernel: played.Remote) -> None:
    """The tables that they led to are emptied, unless their namespace is absent and may come back."""
    graftd.start()
    with Api(graftd.target) as api:
        for name in ("ns0", "ns1", "ns2"):
            api.register(name)
            api.create(name, "one")
    graftd.kill()
    for name in ("ns0", "ns1"):
        kernel.set_name(f"old-{name}", kernel.namespaces[name])
    kernel.add_namespace("ns0")
    kernel.unset_name("ns1")
    graftd.start()
    assert _endpoints(kernel) == {"ns0": 1, "ns2": 1, "ns3": 0, "old-ns0": 0, "old-ns1": 1}
    with Api(graftd.target) as api:
        api.namespaces.DeleteNamespace(namespace_pb2.DeleteNamespaceRequest(name="namespaces/ns1", force=True))
    graftd.kill()
    graftd.start()
    assert _endpoints(kernel) == {"ns0": 1, "ns2": 1, "ns3": 0, "old-ns0": 0, "old-ns1": 0}
    graftd.kill()
