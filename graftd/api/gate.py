# SPDX-License-Identifier: Apache-2.0
"""What each call passes: who it is, whether they may, whether there is room; and what is told of it afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
from google.protobuf.message import DecodeError

from graft.v1 import errors_pb2, namespace_pb2
from graftd.access import Role
from graftd.api import names, status
from graftd.api.access import METHODS, SOME
from graftd.api.call import Call, Core
from graftd.api.errors import InvalidFieldsError, RefusedError, Violation
from graftd.api.peer import Peer, Peers, SocketName

_NEW_IDS = {
    "endpoint_id": names.Collection.ENDPOINTS,
    "rule_id": names.Collection.RULES,
    "acl_rule_id": names.Collection.ACL_RULES,
}

Context = grpc.aio.ServicerContext[Any, Any]
_SHARE = 4


@dataclass(frozen=True, slots=True)
class Outcome:
    """A call that has ended. reason: "" where it was answered, else the ErrorReason, or CANCELLED. resource: what it
    was about, "" for nothing in particular. message: why it was not answered, or what the caller said that it is for.
    seconds: it took, None for a stream. admitted: the caller may make such a call."""

    method: str
    peer: Peer | None
    resource: str
    reason: str
    code: str
    message: str
    seconds: float | None
    changes: bool
    admitted: bool
    error: BaseException | None = None


class Witness(Protocol):
    """Told of each call as it ends: for the audit record, the metrics and the log of defects."""

    def ended(self, outcome: Outcome) -> None: ...


class Gate(grpc.GenericRpcHandler):
    """The one handler of all methods that gRPC knows: it gives each a Call in place of grpc's context. What a stream
    tells passes as well."""

    def __init__(self, core: Core, peers: Peers, witness: Witness, *, most_pending: int, most_bytes: int) -> None:
        """most_pending: calls, streams not among them, that may wait to be answered at a time. most_bytes: of a
        request."""
        self._core = core
        self._peers = peers
        self._witness = witness
        self.most_pending = most_pending
        self.most_bytes = most_bytes
        self._pending: Counter[str] = Counter()
        self._services: list[grpc.GenericRpcHandler] = []
        self._methods: dict[str, Any] = {}
        self.refusal: RefusedError | None = None  # of every call, while graftd starts or ends

    # As a server, for the generated code that adds a service to one

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        self._services += handlers

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Nothing. For a method that it knows by name grpcio waits by itself, and goes through all of them for each
        call."""

    # As a handler, for gRPC

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """How a method is answered; None for one that there is not."""
        name = handler_call_details.method
        if name not in self._methods:
            found = (one.service(handler_call_details) for one in self._services)
            handler = next((one for one in found if one is not None), None)
            if handler is None:
                return None
            self._methods[name] = self._guarded(name, handler)
        return self._methods[name]

    def _guarded(self, name: str, handler: Any) -> Any:
        # Without a deserializer gRPC hands on bytes, and what is wrong with them is refused here as all else is.
        codec = {"response_serializer": handler.response_serializer}
        method = _Method(name, handler.request_deserializer)
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(self._unary(method, handler.unary_unary), **codec)
        if handler.stream_unary is not None:
            return grpc.stream_unary_rpc_method_handler(self._unary(method, handler.stream_unary), **codec)
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(self._stream(method, handler.unary_stream), **codec)
        return grpc.stream_stream_rpc_method_handler(self._stream(method, handler.stream_stream), **codec)

    def _unary(self, method: _Method, act: Callable[[Any, Call], Awaitable[Any]]) -> Callable[[Any, Context], Any]:
        async def answer(raw: Any, context: Context) -> Any:
            done = await self._carry_out(method, act, raw, context)
            if isinstance(done, status.Refusal):
                await status.abort(context, done)
            message, trailing = done
            if trailing:
                context.set_trailing_metadata(tuple(trailing.items()))
            return message

        return answer

    async def _carry_out(
        self, method: _Method, act: Callable[[Any, Call], Awaitable[Any]], raw: Any, context: Context
    ) -> tuple[Any, dict[str, str]] | status.Refusal:
        told = _Told(self, method.name, context)
        try:
            with self.room(told.peer):
                request = self._parsed(method, raw)
                call = self._admit(method.name, told.begin(request), told.peer, context)
                told.admitted = True
                message = await act(request, call)
        except asyncio.CancelledError:
            told.cancelled()
            raise
        except grpc.aio.AbortError:  # a method of gRPC's own has given it its status
            told.aborted(context)
            raise
        except Exception as error:  # noqa: BLE001 each is answered
            return told.refused(error)
        told.done()
        return message, call.trailing

    @contextlib.contextmanager
    def room(self, peer: Peer | None) -> Iterator[None]:
        """A place among the calls that wait. Nobody but who comes by the admin socket may have more than a quarter of
        them, so that one caller leaves room for others. Raises RefusedError, OVERLOADED."""
        caller = "" if peer is None or peer.socket_name is SocketName.ADMIN else self._core.access.identity(peer)
        most = max(self.most_pending // _SHARE, 1) if caller else self.most_pending
        if self._pending.total() >= self.most_pending or self._pending[caller] >= most:
            raise RefusedError(
                errors_pb2.ERROR_REASON_OVERLOADED,
                f"{self._pending.total()} requests wait, and the configuration allows {self.most_pending}, "
                f"{most} of one caller: try again later",
            )
        self._pending[caller] += 1
        try:
            yield
        finally:
            self._pending[caller] -= 1
            if not self._pending[caller]:
                del self._pending[caller]

    def _stream(
        self, method: _Method, act: Callable[[Any, Call], AsyncIterator[Any]]
    ) -> Callable[[Any, Context], AsyncIterator[Any]]:
        async def answer(raw: Any, context: Context) -> AsyncIterator[Any]:
            told = _Told(self, method.name, context, is_stream=True)
            try:
                request = self._parsed(method, raw)
                namespace = told.begin(request)
                call = self._admit(method.name, namespace, told.peer, context)
                told.admitted = True
                async for message in act(request, call):
                    # What the caller may do may have changed since the stream began.
                    self._core.access.check(call.peer, method.name, namespace)
                    yield message
            except grpc.aio.AbortError:
                told.aborted(context)
                raise
            except (asyncio.CancelledError, GeneratorExit):
                told.cancelled()
                raise
            except Exception as error:  # noqa: BLE001 each is answered
                await status.abort(context, told.refused(error))
            told.done()

        return answer

    def _parsed(self, method: _Method, raw: Any) -> Any:
        """A request, or the stream of them. Raises RefusedError, InvalidFieldsError."""
        if not isinstance(raw, bytes):
            return self._each_parsed(method, raw)
        if len(raw) > self.most_bytes:
            raise RefusedError(
                errors_pb2.ERROR_REASON_REQUEST_TOO_LARGE,
                f"the request has {len(raw)} bytes, and the configuration allows {self.most_bytes}: send less at a "
                "time, or raise server.max_message_bytes",
                limit=self.most_bytes,
            )
        try:
            return method.parse(raw)
        except DecodeError:
            raise InvalidFieldsError(
                [Violation("", f"what came is no request of {method.name}: send the message that the contract names")]
            ) from None

    async def _each_parsed(self, method: _Method, raws: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for raw in raws:
            yield self._parsed(method, raw)

    def _admit(self, method: str, namespace: str | None, peer: Peer | None, context: Context) -> Call:
        """namespace: as of scope_of. peer: None for one that is not known."""
        if self.refusal is not None:
            raise self.refusal
        if peer is None:
            peer = self._peers.of(context)  # which says why
        self._core.access.check(peer, method, namespace)
        return Call(self._core, method, peer, context, namespace)

    def tell(self, outcome: Outcome) -> None:
        self._witness.ended(outcome)

    def peer_of(self, context: Context) -> Peer | None:
        try:
            return self._peers.of(context)
        except RefusedError:
            return None


@dataclass(frozen=True, slots=True)
class _Method:
    """name: as gRPC has it. parse: makes a request of bytes; raises DecodeError."""

    name: str
    parse: Callable[[bytes], Any]


class _Told:
    """What is told of one call as it ends; made as it comes. peer: None for one that is not known."""

    def __init__(self, gate: Gate, method: str, context: Context, *, is_stream: bool = False) -> None:
        self.peer = gate.peer_of(context)
        self.admitted = False
        self._gate = gate
        self._method = method
        self._request: Any = None
        self._resource = ""
        self._begun = None if is_stream else time.monotonic()

    def begin(self, request: Any) -> str | None:
        """Keep in mind what is asked for; the namespace that it is about, as of scope_of."""
        self._request = request
        self._resource, namespace = scope_of(request)
        return namespace

    def done(self) -> None:
        # What a freeze is for is said to be in the audit record.
        self._tell("", "OK", str(getattr(self._request, "reason", "")))

    def cancelled(self) -> None:
        """The caller went away, or graftd ends."""
        self._tell("CANCELLED", "CANCELLED", "the call was cancelled before it was answered")

    def aborted(self, context: Context) -> None:
        code = context.code()
        name = next((one.name for one in grpc.StatusCode if code in (one, one.value[0])), "UNKNOWN")
        self._tell(name, name, str(context.details()))

    def refused(self, error: Exception) -> status.Refusal:
        """How it is refused."""
        refusal = status.refusal_of(error, resource=self._resource)
        self._tell(refusal.word, refusal.code.name, refusal.message, error if refusal.incident else None)
        return refusal

    def _tell(self, reason: str, code: str, message: str, error: BaseException | None = None) -> None:
        self._gate.tell(
            Outcome(
                method=self._method,
                peer=self.peer,
                resource=self._resource,
                reason=reason,
                code=code,
                message=message,
                seconds=None if self._begun is None else time.monotonic() - self._begun,
                changes=is_change(self._method),
                admitted=self.admitted,
                error=error,
            )
        )


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
            return str(getattr(request, field)) + _child(request)
    if hasattr(request, "namespace_id"):
        return f"namespaces/{request.namespace_id}"
    for field in ("namespace", "endpoint", "rule", "acl_rule"):
        value = getattr(request, field, None)
        if isinstance(value, str):
            return value or None
        if value is not None:
            return str(value.name)
    return None


def _child(request: Any) -> str:
    """What a create adds to its parent's name, as far as the request says."""
    for field, collection in _NEW_IDS.items():
        if new_id := getattr(request, field, ""):
            return f"/{collection.value}/{new_id}"
    return ""


def is_change(method: str) -> bool:
    """Whether it changes anything: what the audit records tell of."""
    permission = METHODS.get(method)
    return permission is None or permission.least > Role.VIEWER
