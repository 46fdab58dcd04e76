# SPDX-License-Identifier: Apache-2.0
"""A random workload from several clients, and what has to be there after a crash.

Each client owns names of its own, so that what a resource is to be is known: as it was acknowledged last, or as the
one request that was on its way would make it.
"""

from __future__ import annotations

import random
import threading
import uuid
from dataclasses import dataclass, field
from typing import Any

import grpc

from graft.v1 import (
    acl_pb2,
    acl_pb2_grpc,
    common_pb2,
    endpoint_pb2,
    endpoint_pb2_grpc,
    namespace_pb2,
    namespace_pb2_grpc,
    node_pb2,
    node_pb2_grpc,
    rule_pb2,
    rule_pb2_grpc,
)

_ENDPOINTS = 12  # of a client, in each namespace
_UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1))
# What may have been done or not: the connection broke, or graftd was on its way down.
_UNKNOWN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN)

State = dict[str, Any]  # a resource's name -> what of it was asked for; missing: it is not there


class Stubs:
    """A connection to graftd."""

    def __init__(self, target: str) -> None:
        self.channel = grpc.insecure_channel(target, options=_UNLIMITED)
        self.namespaces = namespace_pb2_grpc.NamespaceServiceStub(self.channel)
        self.endpoints = endpoint_pb2_grpc.EndpointServiceStub(self.channel)
        self.rules = rule_pb2_grpc.RuleServiceStub(self.channel)
        self.acl = acl_pb2_grpc.AclServiceStub(self.channel)
        self.node = node_pb2_grpc.NodeServiceStub(self.channel)

    def close(self) -> None:
        self.channel.close()


@dataclass
class Client:
    """One client's part. known: what was acknowledged. pending: what the request on its way would make of it, whole;
    None while there is none."""

    number: int
    namespaces: list[str]
    random: random.Random
    known: State = field(default_factory=dict)
    pending: State | None = None
    done: int = 0
    wrong: list[str] = field(default_factory=list)

    def run(self, target: str, stop: threading.Event) -> None:
        stubs = Stubs(target)
        try:
            while not stop.is_set():
                if not self._step(stubs):
                    return
        finally:
            stubs.close()

    def _step(self, stubs: Stubs) -> bool:
        """One request; False when graftd is gone."""
        act = self.random.choice((self._put, self._put, self._put, self._delete, self._batch, self._rule, self._acl))
        wanted = dict(self.known)
        call = act(stubs, wanted)
        self._intend(wanted)
        try:
            call()
        except grpc.RpcError as error:
            if error.code() in _UNKNOWN:
                return False
            self.wrong.append(f"{act.__name__}: {error.code()} {error.details()}")
            self.pending = None
            return False
        self._acknowledge(wanted)
        return True

    def _intend(self, wanted: State) -> None:
        self.pending = wanted

    def _acknowledge(self, wanted: State) -> None:
        self.known, self.pending = wanted, None
        self.done += 1

    def _name(self, namespace: str, collection: str) -> str:
        return f"namespaces/{namespace}/{collection}/c{self.number}-{self.random.randrange(_ENDPOINTS)}"

    def _endpoint(self, name: str) -> endpoint_pb2.Endpoint:
        port = self.random.randrange(1, 65536)
        return endpoint_pb2.Endpoint(
            name=name,
            inet=endpoint_pb2.InetTarget(address="192.0.2.1", ports=common_pb2.PortRange(low=port, high=port)),
        )

    def _put(self, stubs: Stubs, wanted: State) -> Any:
        name = self._name(self.random.choice(self.namespaces), "endpoints")
        endpoint = self._endpoint(name)
        wanted[name] = endpoint.inet.ports.low
        request = endpoint_pb2.UpdateEndpointRequest(
            endpoint=endpoint, allow_missing=True, request_id=self._request_id()
        )
        return lambda: stubs.endpoints.UpdateEndpoint(request)

    def _delete(self, stubs: Stubs, wanted: State) -> Any:
        name = self._name(self.random.choice(self.namespaces), "endpoints")
        wanted.pop(name, None)
        request = endpoint_pb2.DeleteEndpointRequest(name=name, allow_missing=True)
        return lambda: stubs.endpoints.DeleteEndpoint(request)

    def _batch(self, stubs: Stubs, wanted: State) -> Any:
        """Several at once, under names that nobody has: all or none of them is there afterwards."""
        namespace = self.random.choice(self.namespaces)
        mark = uuid.UUID(int=self.random.getrandbits(128)).hex[:12]
        requests = []
        for number in range(self.random.randrange(2, 40)):
            endpoint_id = f"b{self.number}-{mark}-{number}"
            endpoint = self._endpoint("")
            wanted[f"namespaces/{namespace}/endpoints/{endpoint_id}"] = endpoint.inet.ports.low
            requests.append(endpoint_pb2.CreateEndpointRequest(endpoint_id=endpoint_id, endpoint=endpoint))
        request = endpoint_pb2.BatchCreateEndpointsRequest(
            parent=f"namespaces/{namespace}", requests=requests, request_id=self._request_id()
        )
        return lambda: stubs.endpoints.BatchCreateEndpoints(request)

    def _rule(self, stubs: Stubs, wanted: State) -> Any:
        name = self._name(self.random.choice(self.namespaces), "rules")
        if name in wanted and self.random.random() < 0.5:
            del wanted[name]
            gone = rule_pb2.DeleteRuleRequest(name=name)
            return lambda: stubs.rules.DeleteRule(gone)
        # A selector of its own for each name: client and number make the prefix.
        _, _, place = name.rpartition("-")
        verdict = self.random.choice((rule_pb2.RULE_VERDICT_NATIVE, rule_pb2.RULE_VERDICT_DENY))
        wanted[name] = verdict
        rule = rule_pb2.Rule(
            name=name,
            direction=rule_pb2.RULE_DIRECTION_EGRESS,
            network=f"10.{self.number}.{place}.0/24",
            verdict=verdict,
        )
        request = rule_pb2.UpdateRuleRequest(rule=rule, allow_missing=True)
        return lambda: stubs.rules.UpdateRule(request)

    def _acl(self, stubs: Stubs, wanted: State) -> Any:
        name = self._name(self.random.choice(self.namespaces), "aclRules")
        if name in wanted and self.random.random() < 0.5:
            del wanted[name]
            gone = acl_pb2.DeleteAclRuleRequest(name=name)
            return lambda: stubs.acl.DeleteAclRule(gone)
        action = self.random.choice((acl_pb2.ACL_ACTION_ALLOW, acl_pb2.ACL_ACTION_DENY))
        wanted[name] = action
        request = acl_pb2.UpdateAclRuleRequest(
            acl_rule=acl_pb2.AclRule(name=name, action=action, endpoint=name.rpartition("/")[2]), allow_missing=True
        )
        return lambda: stubs.acl.UpdateAclRule(request)

    def _request_id(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))


def state_of(stubs: Stubs, namespaces: list[str]) -> State:
    """Everything that graftd says there is."""
    found: State = {}
    for namespace in namespaces:
        whole = stubs.namespaces.ExportNamespace(
            namespace_pb2.ExportNamespaceRequest(name=f"namespaces/{namespace}"), wait_for_ready=True, timeout=60
        )
        found |= {one.name: one.inet.ports.low for one in whole.endpoints.endpoints}
        found |= {one.name: one.verdict for one in whole.rules.rules}
        found |= {one.name: one.action for one in whole.acl_rules.acl_rules}
    return found


def check(clients: list[Client], found: State) -> None:
    """After a restart: what was acknowledged is there, and of what was on its way all or nothing; then go on from what
    is there."""
    for client in clients:
        assert not client.wrong, client.wrong
        own = {name: value for name, value in found.items() if _owner(name) == client.number}
        possible = [client.known] + ([client.pending] if client.pending is not None else [])
        assert own in possible, _difference(own, possible)
        client.known, client.pending = own, None


def _owner(name: str) -> int:
    return int(name.rpartition("/")[2][1:].partition("-")[0])


def _difference(own: State, possible: list[State]) -> str:
    return " / ".join(
        f"missing {sorted(one.items() - own.items())[:5]}, too many {sorted(own.items() - one.items())[:5]}"
        for one in possible
    )


def check_kernel(stubs: Stubs) -> None:
    """Store and kernel are equal, as graftd sees it with every table read."""
    report = stubs.node.Reconcile(node_pb2.ReconcileRequest(validate_only=True), timeout=60)
    assert report.repaired == 0, report
    assert report.failed == 0, report
