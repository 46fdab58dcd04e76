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
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from graft.v1 import acl_pb2, namespace_pb2, rule_pb2
from graftd.kernel import Client as Kernel
from graftd.model import PortRange, Protocols, Verdict
from integration.workload import Client, Stubs, check, check_kernel, state_of
from service.place import graftcli, run
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
        graftcli("delete-namespace", name, "--force", "--yes", check=False)
        run("ip", "netns", "delete", name)


def _table(kernel: Kernel, namespace: str) -> tuple[Any, ...]:
    """What the module has: endpoints, rules, and the ACL in order."""
    fd = os.open(f"/run/netns/{namespace}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        entries, rules, acl = kernel.endpoints(fd), kernel.rules(fd).rules, kernel.acl(fd).rules
    finally:
        os.close(fd)
    endpoints: Counter[tuple[object, ...]] = Counter()
    for entry in entries:
        one = entry.endpoint
        assert one.ports is not None
        endpoints[(one.name, str(one.address), one.ports.low, one.ports.high, int(one.protocols))] += 1
    for rule in rules:
        assert (rule.protocols, rule.ports, rule.endpoint) == (Protocols.BOTH, PortRange.EVERY, ""), rule
    verdicts = Counter((rule.direction.word, str(rule.network), rule.verdict is Verdict.DENY) for rule in rules)
    return endpoints, verdicts, [(one.endpoint, one.allow) for one in acl]


def _export(stubs: Stubs, namespace: str) -> tuple[Any, ...]:
    """The same as the store has it."""
    whole = stubs.namespaces.ExportNamespace(
        namespace_pb2.ExportNamespaceRequest(name=f"namespaces/{namespace}"), timeout=60
    )
    words = {rule_pb2.RULE_DIRECTION_EGRESS: "egress", rule_pb2.RULE_DIRECTION_INGRESS: "ingress"}
    return (
        Counter(
            (
                one.name.rpartition("/")[2],
                one.inet.address,
                one.inet.ports.low,
                one.inet.ports.high,
                int(Protocols.BOTH),
            )
            for one in whole.endpoints.endpoints
        ),
        Counter(
            (words[one.direction], one.network, one.verdict == rule_pb2.RULE_VERDICT_DENY) for one in whole.rules.rules
        ),
        [(one.endpoint, one.action == acl_pb2.ACL_ACTION_ALLOW) for one in whole.acl_rules.acl_rules],
    )


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
                    assert _table(kernel, name) == _export(stubs, name)
    done = sum(client.done for client in clients)
    print(
        f"{_INSTANTS} crashes, {done} changes acknowledged, {len(found)} resources at the end,"
        f" {time.monotonic() - before:.0f} s"
    )
    assert done > _INSTANTS
    assert not any(Path(f"/proc/{process}").exists() for process in killed)
