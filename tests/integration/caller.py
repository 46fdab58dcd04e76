# SPDX-License-Identifier: Apache-2.0
"""Every call of the contract, from wherever this process is: python3 -m integration.caller TARGET... .

It prints the cookie of its network namespace, and then for each line that it reads, the id of a namespace, and for each
target one line of JSON: for each method the status, the reason and the message.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor

from graft.rpc.v1 import status_pb2
from graft.v1 import acl_pb2, endpoint_pb2, namespace_pb2, node_pb2, rule_pb2, socket_pb2, watch_pb2
from graftd.kernel import netns
from unit.messages import message_class

_FILES = (acl_pb2, endpoint_pb2, namespace_pb2, node_pb2, rule_pb2, socket_pb2, watch_pb2)
METHODS: dict[str, MethodDescriptor] = {
    f"/{service.full_name}/{method.name}": method
    for file in _FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
CLIENT_STREAMS = ("/graft.v1.NodeService/Restore",)
SERVER_STREAMS = (
    "/graft.v1.NodeService/Backup",
    "/graft.v1.NodeService/WatchNode",
    "/graft.v1.SocketService/WatchSockets",
    "/graft.v1.WatchService/Watch",
)
_INSIDE = {"Endpoint": "/endpoints/e", "AclRule": "/aclRules/a", "Rule": "/rules/r", "Socket": "/sockets/1"}


def request_of(name: str, namespace: str) -> Any:
    """A request about a namespace, or about what is in it by these names, as far as the method takes one."""
    method = METHODS[name]
    request: Any = message_class(method.input_type)()
    fields = method.input_type.fields_by_name
    inside = next((part for word, part in _INSIDE.items() if method.name.endswith(word)), "")
    if "parent" in fields:
        request.parent = f"namespaces/{namespace}"
    if "name" in fields:
        request.name = f"namespaces/{namespace}{inside}"
    if "namespace_id" in fields:
        request.namespace_id = namespace
    for field, part in (
        ("namespace", ""),
        ("endpoint", "/endpoints/e"),
        ("rule", "/rules/r"),
        ("acl_rule", "/aclRules/a"),
    ):
        if field in fields and fields[field].message_type is not None:
            getattr(request, field).name = f"namespaces/{namespace}{part}"
    return request


def ask(channel: grpc.Channel, name: str, request: Any, seconds: float = 10) -> Any:
    """The answer, of a stream the first; or its RpcError."""
    answer = message_class(METHODS[name].output_type).FromString
    codec: dict[str, Any] = {"request_serializer": type(request).SerializeToString, "response_deserializer": answer}
    if name in CLIENT_STREAMS:
        return channel.stream_unary(name, **codec)(iter([request]), timeout=seconds)
    if name in SERVER_STREAMS:
        stream = channel.unary_stream(name, **codec)(request, timeout=seconds)
        first = next(stream)
        stream.cancel()
        return first
    return channel.unary_unary(name, **codec)(request, timeout=seconds)


def call(channel: grpc.Channel, name: str, request: Any) -> tuple[str, str, str]:
    """Status, reason and message: what an error says, or that there was none."""
    try:
        ask(channel, name, request)
    except grpc.RpcError as raised:
        error: Any = raised
        details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
        reason = ""
        if details is not None:
            reason = status_pb2.ErrorInfo.FromString(status_pb2.Status.FromString(details).details[0].value).reason
        return error.code().name, reason, error.details()
    return "OK", "", ""


def main() -> None:
    print(netns.cookie_of(), flush=True)
    for line in sys.stdin:
        for target in sys.argv[1:]:
            with grpc.insecure_channel(target) as channel:
                found = {name: call(channel, name, request_of(name, line.strip())) for name in METHODS}
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
