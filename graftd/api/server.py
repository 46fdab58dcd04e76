# SPDX-License-Identifier: Apache-2.0
"""The gRPC server, with every service on it."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from graft.grpc.health.v1 import health_pb2, health_pb2_grpc
from graft.grpc.reflection.v1 import reflection_pb2, reflection_pb2_grpc
from graft.grpc.reflection.v1alpha import reflection_pb2 as alpha_pb2
from graft.grpc.reflection.v1alpha import reflection_pb2_grpc as alpha_pb2_grpc
from graft.v1 import (
    acl_pb2,
    acl_pb2_grpc,
    endpoint_pb2,
    endpoint_pb2_grpc,
    errors_pb2,
    namespace_pb2,
    namespace_pb2_grpc,
    node_pb2,
    node_pb2_grpc,
    rule_pb2,
    rule_pb2_grpc,
    socket_pb2,
    socket_pb2_grpc,
    watch_pb2,
    watch_pb2_grpc,
)
from graftd.api.acl import AclService
from graftd.api.call import Core
from graftd.api.convert import difference
from graftd.api.endpoints import EndpointService
from graftd.api.errors import RefusedError
from graftd.api.gate import Gate, Witness
from graftd.api.hub import Hub
from graftd.api.namespaces import NamespaceService
from graftd.api.node import NodeService, event_message
from graftd.api.peer import Peers
from graftd.api.rules import RuleService
from graftd.api.sockets import SocketService
from graftd.api.standard import HealthService, ReflectionService
from graftd.api.watch import WatchService

_FILES = (acl_pb2, endpoint_pb2, namespace_pb2, node_pb2, rule_pb2, socket_pb2, watch_pb2)
_STANDARD = (health_pb2, reflection_pb2, alpha_pb2)

_UNTAKEN_MAX = 50_000
_HANDSHAKE_MS = 10_000
_CHANGE_SECONDS = 60.0  # of one that is under way at the end; the unit's TimeoutStopSec= is longer

# The full names of graftd's own services.
SERVICES = tuple(service.full_name for file in _FILES for service in file.DESCRIPTOR.services_by_name.values())


@dataclass(frozen=True, slots=True)
class Limits:
    """pending: calls that may wait at a time. message_bytes: of a request."""

    pending: int
    message_bytes: int


class Server:
    """Everything that is served, until `stop`."""

    def __init__(self, core: Core, hub: Hub, peers: Peers, witness: Witness, *, limits: Limits, version: str) -> None:
        self.gate = Gate(core, peers, witness, most_pending=limits.pending, most_bytes=limits.message_bytes)
        self.grpc = grpc.aio.server(
            options=[
                # What is a little too long is refused by the gate, which gives a reason; gRPC itself gives none.
                ("grpc.max_receive_message_length", 2 * limits.message_bytes),
                ("grpc.max_send_message_length", -1),
                # Calls that came and that Python has not taken yet. gRPC cancels those beyond, without a word, and
                # already some of 1000; the gate says OVERLOADED.
                ("grpc.server.max_pending_requests", _UNTAKEN_MAX),
                ("grpc.server.max_pending_requests_hard_limit", _UNTAKEN_MAX),
                ("grpc.so_reuseport", 0),
                # Until when TLS is agreed upon and the client has said what HTTP/2 it speaks.
                ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
            ],
        )
        hub.change_message = lambda change: difference.change_message(
            change, boot_id=core.boot_id, sync=core.sync(change.record)
        )
        hub.node_message = event_message
        self._core = core
        self.grpc.add_generic_rpc_handlers((self.gate,))
        self._hub = hub
        standard = [service.full_name for file in _STANDARD for service in file.DESCRIPTOR.services_by_name.values()]
        named = [*SERVICES, *standard]
        self._health = HealthService(named)
        server = self.gate
        namespace_pb2_grpc.add_NamespaceServiceServicer_to_server(NamespaceService(core), server)
        endpoint_pb2_grpc.add_EndpointServiceServicer_to_server(EndpointService(core), server)
        rule_pb2_grpc.add_RuleServiceServicer_to_server(RuleService(core), server)
        acl_pb2_grpc.add_AclServiceServicer_to_server(AclService(core), server)
        socket_pb2_grpc.add_SocketServiceServicer_to_server(SocketService(core, hub), server)
        node_pb2_grpc.add_NodeServiceServicer_to_server(NodeService(core, hub, version), server)
        watch_pb2_grpc.add_WatchServiceServicer_to_server(WatchService(core, hub), server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(ReflectionService(reflection_pb2, named), server)
        alpha_pb2_grpc.add_ServerReflectionServicer_to_server(ReflectionService(alpha_pb2, named), server)

    async def stop(self, grace: float) -> None:
        """End streams, and calls that have not begun, at once; what the engine is at has its time. grace: seconds for
        answers to be taken."""
        self.gate.refusal = RefusedError(
            errors_pb2.ERROR_REASON_SHUTTING_DOWN, "graftd is ending: repeat it when it is back"
        )
        self._core.refuse(self.gate.refusal)
        self._health.stop()
        self._hub.close()
        await self._core.idle(_CHANGE_SECONDS)
        await self.grpc.stop(grace)
