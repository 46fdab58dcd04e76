# SPDX-License-Identifier: Apache-2.0
"""A graftd that keeps everything in memory, behind a real gRPC server, for tests of the clients.

It does what the contract says as far as clients can tell. There is no policy, no role and no kernel.
"""

from __future__ import annotations

from concurrent import futures
from pathlib import Path
from typing import Any

import grpc

from graft.v1 import (
    acl_pb2_grpc,
    endpoint_pb2_grpc,
    namespace_pb2_grpc,
    node_pb2_grpc,
    rule_pb2_grpc,
    socket_pb2_grpc,
    watch_pb2_grpc,
)
from unit.graftcli_fake_namespaces import Namespaces
from unit.graftcli_fake_node import Node, Sockets, Watch
from unit.graftcli_fake_resources import Acl, Endpoints, Rules
from unit.graftcli_fake_state import fail


class Fake(Namespaces, Endpoints, Rules, Acl, Sockets, Node, Watch):
    """The state and every method."""


class _Interceptor(grpc.ServerInterceptor):
    """Records requests, repeats answers by request id, and lets calls fail as a test wants."""

    def __init__(self, fake: Fake) -> None:
        self.fake = fake

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler = continuation(handler_call_details)
        name = handler_call_details.method.rpartition("/")[2]
        if handler is None or handler.request_streaming or handler.response_streaming:
            return handler

        def behave(request: Any, context: grpc.ServicerContext) -> Any:
            self.fake.requests.append((name, request))
            waiting = self.fake.failures.get(name)
            failure = waiting.pop(0) if waiting else None
            if failure and not self.fake.done_anyway:
                self.fail(context, *failure)
            answer = self.answer(handler, request, context)
            if failure:
                self.fail(context, *failure)
            return answer

        return grpc.unary_unary_rpc_method_handler(behave, handler.request_deserializer, handler.response_serializer)

    def answer(self, handler: Any, request: Any, context: grpc.ServicerContext) -> Any:
        key = getattr(request, "request_id", "")
        content = request.SerializeToString(deterministic=True)
        if key in self.fake.remembered:
            before, answer = self.fake.remembered[key]
            if before != content:
                message = "this request id came with another request before"
                fail(context, grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED", message)
            return answer
        answer = handler.unary_unary(request, context)
        if key:
            self.fake.remembered[key] = (content, answer)
        return answer

    @staticmethod
    def fail(context: grpc.ServicerContext, code: grpc.StatusCode, reason: str, message: str) -> None:
        if reason:
            fail(context, code, reason, message)
        context.abort(code, message)


def serve(fake: Fake, path: Path, credentials: grpc.ServerCredentials | None = None) -> tuple[grpc.Server, int]:
    """A server of it on a unix socket, or with credentials on a port of the loopback, which is returned."""
    server = grpc.server(futures.ThreadPoolExecutor(8), interceptors=[_Interceptor(fake)])
    namespace_pb2_grpc.add_NamespaceServiceServicer_to_server(fake, server)
    endpoint_pb2_grpc.add_EndpointServiceServicer_to_server(fake, server)
    rule_pb2_grpc.add_RuleServiceServicer_to_server(fake, server)
    acl_pb2_grpc.add_AclServiceServicer_to_server(fake, server)
    socket_pb2_grpc.add_SocketServiceServicer_to_server(fake, server)
    node_pb2_grpc.add_NodeServiceServicer_to_server(fake, server)
    watch_pb2_grpc.add_WatchServiceServicer_to_server(fake, server)
    port = 0
    if credentials is None:
        server.add_insecure_port(f"unix:{path}")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    return server, port
