# SPDX-License-Identifier: Apache-2.0
"""Copies that are kept by watching are equal to the store, through disconnects, restarts and kills."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

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
    for number, end in enumerate((None, graftd.kill, graftd.stop, None)):
        stop = threading.Event()
        work = [threading.Thread(target=client.run, args=(graftd.target, stop)) for client in clients]
        work.append(
            threading.Thread(target=_move_about, args=(graftd.target, stop, random.Random(f"{seed} m{number}")))
        )
        for thread in work:
            thread.start()
        time.sleep(_ROUND_SECONDS / 2)
        if number < 3:
            late = Replica(graftd.target, random.Random(f"{seed} r{number}"), _NAMESPACES[number % 2])
            late.start()
            replicas.append(late)
        time.sleep(_ROUND_SECONDS / 2)
        if end is not None:
            end()
        stop.set()
        for thread in work:
            thread.join(30)
        for client in clients:
            assert not client.wrong, client.wrong
            client.known, client.pending = {}, None
        if end is not None:
            graftd.start()
    with Api(graftd.target) as api:
        last = api.status().store.revision
    assert last > 100
    for replica in replicas:
        eventually(lambda one=replica: one.wrong or one.revision == last or not one.differences(_name(one)))
        replica.stop()
        assert not replica.wrong, replica.wrong
        for name in [_name(replica)] if replica is not everything else _NAMESPACES:
            assert replica.differences(name) == []
        assert replica.resumed > 1
    assert everything.revision == last


def _name(replica: Replica) -> str:
    return replica._namespace or "ns0"


def _move_about(target: str, stop: threading.Event, chance: random.Random) -> None:
    """ACL rules of its own, created in the middle of others, moved and deleted."""
    with Api(target) as api:
        while not stop.is_set():
            name = f"namespaces/{chance.choice(_NAMESPACES)}"
            rules = [one.name for one in _quietly(api.acl.ListAclRules, acl_pb2.ListAclRulesRequest(parent=name), [])]
            own = [one for one in rules if "/m0" in one]
            if len(own) < 10 or chance.random() < 0.3:
                request = acl_pb2.CreateAclRuleRequest(
                    parent=name,
                    acl_rule_id=f"m0-{chance.randrange(2**32)}",
                    acl_rule=acl_pb2.AclRule(action=acl_pb2.ACL_ACTION_DENY),
                    index=chance.randrange(1, len(rules) + 2),
                )
                _quietly(api.acl.CreateAclRule, request)
            elif chance.random() < 0.3:
                _quietly(api.acl.DeleteAclRule, acl_pb2.DeleteAclRuleRequest(name=chance.choice(own)))
            else:
                request = acl_pb2.MoveAclRuleRequest(name=chance.choice(own), index=chance.randrange(1, len(own) + 1))
                _quietly(api.acl.MoveAclRule, request)


def _quietly(call: object, request: object, otherwise: object = None) -> object:
    """The answer, or something else where graftd is gone or the ACL has become shorter."""
    try:
        answer = call(request)  # type: ignore[operator]
    except grpc.RpcError:
        return otherwise
    return answer.acl_rules if otherwise is not None else answer
