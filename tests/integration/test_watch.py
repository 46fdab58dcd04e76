# SPDX-License-Identifier: Apache-2.0
"""Copies that are kept by watching are equal to the store, through disconnects, restarts and kills."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from graft.v1 import acl_pb2
from integration.api import Api, batch, eventually
from integration.process import Graftd
from integration.replica import Replica
from integration.workload import Client

_NAMESPACES = ["ns0", "ns1"]
_CLIENTS = 4
_ROUND_SECONDS = 1.2
_ROUND_MOVES = 6  # a round goes on until there were so many


@pytest.fixture
def graftd(tmp_path: Path) -> Iterator[Graftd]:
    service = Graftd(tmp_path)
    kernel = service.play_kernel(_NAMESPACES)
    service.start()
    yield service
    kernel.close()
    service.close()


def test_replicas_are_equal(graftd: Graftd) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    everything = Replica(graftd.target, random.Random(seed))
    everything.start()
    with Api(graftd.target) as api:
        for name in _NAMESPACES:
            api.register(name)
        api.endpoints.BatchCreateEndpoints(batch("ns0", [f"x-{number}" for number in range(2500)]))
    replicas = [everything]
    clients = [Client(number, _NAMESPACES, random.Random(f"{seed} {number}")) for number in range(_CLIENTS)]
    moved: list[str] = []
    for number, end in enumerate((None, graftd.kill, graftd.stop, None)):
        late = Replica(graftd.target, random.Random(f"{seed} r{number}"), _NAMESPACES[number % 2])
        replicas.append(late)
        _round(graftd.target, clients, late, moved, chance=random.Random(f"{seed} m{number}"), end=end)
        if end is not None:
            graftd.start()
    with Api(graftd.target) as api:
        last = api.status().store.revision
    assert last > 100
    assert len(moved) >= 4 * _ROUND_MOVES
    for replica in replicas:
        eventually(partial(_has_arrived, replica, last))
        replica.stop()
        assert not replica.wrong, replica.wrong
        for name in [_name(replica)] if replica is not everything else _NAMESPACES:
            assert replica.differences(name) == []
    assert everything.revision == last
    assert everything.resumed > 2


def _round(
    target: str, clients: list[Client], late: Replica, moved: list[str], *, chance: random.Random, end: Any
) -> None:
    """Changes for a while, with a replica that begins in the middle; then graftd ends, or it does not."""
    stop, enough = threading.Event(), len(moved) + _ROUND_MOVES
    work = [threading.Thread(target=client.run, args=(target, stop)) for client in clients]
    work.append(threading.Thread(target=_move_about, args=(moved, chance, target, stop)))
    for thread in work:
        thread.start()
    time.sleep(_ROUND_SECONDS / 2)
    late.start()
    time.sleep(_ROUND_SECONDS / 2)
    eventually(lambda: len(moved) >= enough, 60)
    if end is not None:
        end()
    stop.set()
    for thread in work:
        thread.join(30)
    for client in clients:
        assert not client.wrong, client.wrong
        client.known, client.pending = {}, None


def _has_arrived(replica: Replica, last: int) -> bool:
    return bool(replica.wrong) or replica.revision == last or not replica.differences(_name(replica))


def _name(replica: Replica) -> str:
    return replica._namespace or "ns0"


def _move_about(moved: list[str], chance: random.Random, target: str, stop: threading.Event) -> None:
    """ACL rules of its own, created in the middle of others, moved and deleted. moved: gets the names of those."""
    with Api(target) as api:
        while not stop.is_set():
            # graftd goes meanwhile, and the ACL becomes shorter.
            with contextlib.suppress(grpc.RpcError):
                _move(api, f"namespaces/{chance.choice(_NAMESPACES)}", chance, moved)


def _move(api: Api, parent: str, chance: random.Random, moved: list[str]) -> None:
    rules = [one.name for one in api.acl.ListAclRules(acl_pb2.ListAclRulesRequest(parent=parent)).acl_rules]
    own = [one for one in rules if "/m0" in one]
    if len(own) < 10 or chance.random() < 0.3:
        api.acl.CreateAclRule(
            acl_pb2.CreateAclRuleRequest(
                parent=parent,
                acl_rule_id=f"m0-{chance.randrange(2**32)}",
                acl_rule=acl_pb2.AclRule(action=acl_pb2.ACL_ACTION_DENY),
                index=chance.randrange(1, len(rules) + 2),
            )
        )
    elif chance.random() < 0.3:
        api.acl.DeleteAclRule(acl_pb2.DeleteAclRuleRequest(name=chance.choice(own)))
    else:
        index = chance.randrange(1, len(rules) + 1)
        moved.append(api.acl.MoveAclRule(acl_pb2.MoveAclRuleRequest(name=chance.choice(own), index=index)).name)
