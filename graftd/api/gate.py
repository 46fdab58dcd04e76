# SPDX-License-Identifier: Apache-2.0
"""What each call passes: who it is, whether they may, whether there is room; and what is told of it afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

from graft.v1 import errors_pb2, namespace_pb2
from graftd.access import Role
from graftd.api import status
from graftd.api.access import METHODS, SOME
from graftd.api.call import Call, Core
from graftd.api.errors import RefusedError
from graftd.api.peer import Peer, Peers

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A call that has ended. reason: "" where it was answered, else the ErrorReason. resource: what it was about, ""
    for nothing in particular. seconds: it took."""

    method: str
    peer: Peer | None
    resource: str
    reason: str
    code: str
    message: str
    seconds: float
    changes: bool
    error: BaseException | None = None


class Witness(Protocol):
    """Told of each call as it ends: for the audit record, the metrics and the log of defects."""

    def ended(self, outcome: Outcome) -> None: ...


class Gate(grpc.aio.ServerInterceptor):
    """Gives each method a Call in place of grpc's context. Of streams the beginning passes."""

    def __init__(self, core: Core, peers: Peers, witness: Witness, *, most_pending: int) -> None:
        """most_pending: calls, streams not among them, that may wait to be answered at a time."""
        self._core = core
        self._peers = peers
        self._witness = witness
        self.most_pending = most_pending
        self._pending = 0
        self.refusal: RefusedError | None = None  # of every call, while graftd starts or ends

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        codec = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(self._unary(method, handler.unary_unary), **codec)
        if handler.stream_unary is not None:
            return grpc.stream_unary_rpc_method_handler(self._unary(method, handler.stream_unary), **codec)
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(self._stream(method, handler.unary_stream), **codec)
        return grpc.stream_stream_rpc_method_handler(self._stream(method, handler.stream_stream), **codec)

    def _unary(self, method: str, act: Callable[[Any, Call], Awaitable[Any]]) -> Callable[[Any, Context], Any]:
        async def answer(request: Any, context: Context) -> Any:
            begun = time.monotonic()
            call: Call | None = None
            try:
                if self._pending >= self.most_pending:
                    raise RefusedError(
                        errors_pb2.ERROR_REASON_OVERLOADED,
                        f"{self._pending} requests wait, as many as the configuration allows: try again later",
                    )
                self._pending += 1
                try:
                    call = self._admit(method, request, context)
                    message = await act(request, call)
                finally:
                    self._pending -= 1
            except (grpc.aio.AbortError, asyncio.CancelledError):
                raise
            except Exception as error:  # noqa: BLE001 each is answered
                await self._refuse(method, request, context, begun, error)
            if call is not None and call.trailing:
                context.set_trailing_metadata(tuple(call.trailing.items()))
            self._tell(method, request, call.peer if call else None, begun)
            return message

        return answer

    def _stream(
        self, method: str, act: Callable[[Any, Call], AsyncIterator[Any]]
    ) -> Callable[[Any, Context], AsyncIterator[Any]]:
        async def answer(request: Any, context: Context) -> AsyncIterator[Any]:
            begun = time.monotonic()
            try:
                call = self._admit(method, request, context)
                async for message in act(request, call):
                    yield message
            except (grpc.aio.AbortError, asyncio.CancelledError):
                raise
            except Exception as error:  # noqa: BLE001 each is answered
                await self._refuse(method, request, context, begun, error)
            self._tell(method, request, call.peer, begun)

        return answer

    def _admit(self, method: str, request: Any, context: Context) -> Call:
        if self.refusal is not None:
            raise self.refusal
        peer = self._peers.of(context)
        _, namespace = scope_of(request)
        self._core.access.check(peer, method, namespace)
        return Call(self._core, method, peer, context)

    async def _refuse(self, method: str, request: Any, context: Context, begun: float, error: Exception) -> None:
        resource, _ = scope_of(request)
        refusal = status.refusal_of(error, resource=resource)
        try:
            peer: Peer | None = self._peers.of(context)
        except Exception:  # noqa: BLE001 the first error is the one that is told
            peer = None
        self._witness.ended(
            Outcome(
                method=method,
                peer=peer,
                resource=resource,
                reason=refusal.word,
                code=refusal.code.name,
                message=refusal.message,
                seconds=time.monotonic() - begun,
                changes=is_change(method),
                error=error if refusal.incident else None,
            )
        )
        await status.abort(context, refusal)

    def _tell(self, method: str, request: Any, peer: Peer | None, begun: float) -> None:
        resource, _ = scope_of(request)
        self._witness.ended(Outcome(method, peer, resource, "", "OK", "", time.monotonic() - begun, is_change(method)))


def scope_of(request: Any) -> tuple[str, str | None]:
    """The name of the resource that a request is about, "" for none, and the id of the namespace, SOME for every one
    that the caller may see, None for the node."""
    resource = _resource(request)
    if resource is None:
        return "", None
    if not resource:
        return "", SOME
    head, _, rest = resource.partition("/")
    return resource, rest.partition("/")[0] if head == "namespaces" else ""


def _resource(request: Any) -> str | None:
    """None: the node. "": every namespace."""
    if isinstance(request, namespace_pb2.ListNamespacesRequest):
        return ""
    for field in ("parent", "name"):
        if hasattr(request, field):
            return str(getattr(request, field))
    if hasattr(request, "namespace_id"):
        return f"namespaces/{request.namespace_id}"
    for field in ("namespace", "endpoint", "rule", "acl_rule"):
        value = getattr(request, field, None)
        if isinstance(value, str):
            return value or None
        if value is not None:
            return str(value.name)
    return None


def is_change(method: str) -> bool:
    """Whether it changes anything: what the audit records tell of."""
    permission = METHODS.get(method)
    return permission is None or permission.least > Role.VIEWER
