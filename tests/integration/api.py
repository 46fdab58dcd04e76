# SPDX-License-Identifier: Apache-2.0
"""Calls to graftd as tests make them: every service over one connection, and refusals taken apart."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc

from graft.rpc.v1 import status_pb2
from graft.v1 import (
    acl_pb2,
    common_pb2,
    endpoint_pb2,
    errors_pb2,
    namespace_pb2,
    node_pb2,
    rule_pb2,
    socket_pb2_grpc,
    watch_pb2_grpc,
)
from integration.workload import Stubs

_REASONS = {value.removeprefix("ERROR_REASON_") for value in errors_pb2.ErrorReason.DESCRIPTOR.values_by_name}


class Api(Stubs):
    """Every service of the contract."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.sockets = socket_pb2_grpc.SocketServiceStub(self.channel)
        self.watch = watch_pb2_grpc.WatchServiceStub(self.channel)

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What most tests do

    def register(self, name: str, place: str = "", **fields: Any) -> Any:
        """place: the name of ip netns; the namespace's own unless it is said."""
        selector = namespace_pb2.NamespaceSelector(iproute2_name=place or name)
        return self.namespaces.CreateNamespace(
            namespace_pb2.CreateNamespaceRequest(
                namespace_id=name, namespace=namespace_pb2.Namespace(selector=selector, **fields)
            ),
            wait_for_ready=True,
            timeout=30,
        )

    def create(self, namespace: str, name: str, **fields: Any) -> Any:
        """fields: of the request; `endpoint` is an ordinary one unless it is said."""
        fields.setdefault("endpoint", endpoint())
        return self.endpoints.CreateEndpoint(
            endpoint_pb2.CreateEndpointRequest(parent=f"namespaces/{namespace}", endpoint_id=name, **fields), timeout=30
        )

    def deny(self, namespace: str, name: str) -> None:
        """A rule and an ACL rule of this id, each of which denies all."""
        parent = f"namespaces/{namespace}"
        rule = rule_pb2.Rule(direction=rule_pb2.RULE_DIRECTION_EGRESS, verdict=rule_pb2.RULE_VERDICT_DENY)
        self.rules.CreateRule(rule_pb2.CreateRuleRequest(parent=parent, rule_id=name, rule=rule))
        acl_rule = acl_pb2.AclRule(action=acl_pb2.ACL_ACTION_DENY)
        self.acl.CreateAclRule(acl_pb2.CreateAclRuleRequest(parent=parent, acl_rule_id=name, acl_rule=acl_rule))

    def names(self, namespace: str) -> list[str]:
        """The ids of the endpoints that there are."""
        found: list[str] = []
        request = endpoint_pb2.ListEndpointsRequest(parent=f"namespaces/{namespace}")
        while True:
            page = self.endpoints.ListEndpoints(request, wait_for_ready=True, timeout=30)
            found += [one.name.rpartition("/")[2] for one in page.endpoints]
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    def status(self) -> Any:
        return self.node.GetStatus(node_pb2.GetStatusRequest(), wait_for_ready=True, timeout=30)

    def conditions(self) -> list[str]:
        """The reasons of what is wrong."""
        return [one.reason for one in self.status().conditions]


@dataclass(frozen=True)
class Refused:
    """An error with what came along. fields: those that a BadRequest names."""

    code: grpc.StatusCode
    message: str
    reason: str
    metadata: dict[str, str] = field(default_factory=dict)
    fields: tuple[str, ...] = ()


def refused(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Refused:
    """What a call, or the reading of a stream to its end, is refused with; a status of graftd's, whole."""
    if isinstance(call, grpc.UnaryStreamMultiCallable):
        kwargs.setdefault("timeout", 20)  # one that is not refused may have no end
    try:
        answer = call(*args, **kwargs)
        if hasattr(answer, "__next__"):
            for _ in answer:
                pass
    except grpc.RpcError as error:
        return taken_apart(error)
    raise AssertionError(f"it was not refused: {answer}")


def taken_apart(error: Any) -> Refused:
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    assert details is not None, f"no details come with {error.code()}: {error.details()}"
    status = status_pb2.Status.FromString(details)
    assert (status.code, status.message) == (error.code().value[0], error.details())
    info = status_pb2.ErrorInfo.FromString(status.details[0].value)
    assert info.domain == "graftd"
    assert info.reason in _REASONS
    fields: tuple[str, ...] = ()
    if len(status.details) > 1:
        bad = status_pb2.BadRequest.FromString(status.details[1].value)
        fields = tuple(one.field for one in bad.field_violations)
    return Refused(error.code(), status.message, info.reason, dict(info.metadata), fields)


def endpoint(port: int = 80, address: str = "192.0.2.1", **fields: Any) -> Any:
    """An endpoint as a request has it. fields: labels and others of Endpoint; device of its inet."""
    inet = endpoint_pb2.InetTarget(
        address=address, ports=common_pb2.PortRange(low=port, high=port), device=fields.pop("device", "")
    )
    return endpoint_pb2.Endpoint(inet=inet, **fields)


def batch(namespace: str, names: list[str], **fields: Any) -> Any:
    """A request for ordinary endpoints."""
    return endpoint_pb2.BatchCreateEndpointsRequest(
        parent=f"namespaces/{namespace}",
        requests=[endpoint_pb2.CreateEndpointRequest(endpoint_id=name, endpoint=endpoint()) for name in names],
        **fields,
    )


def eventually(what: Callable[[], Any], seconds: float = 15.0) -> Any:
    """Ask again until the answer is true, and return it."""
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, f"it did not become true within {seconds:g} seconds"
        time.sleep(0.02)
    return found
