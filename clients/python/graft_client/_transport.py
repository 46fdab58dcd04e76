# SPDX-License-Identifier: Apache-2.0
"""Calls over one channel: deadlines, repetition, and errors as GraftdError."""

from __future__ import annotations

import os
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

# Without it the library writes lines of its own to standard error.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
from google.protobuf.message import Message

from graft_client._errors import GraftdError, from_rpc
from graft_client._target import Tls, probe, unix_path

Answer = TypeVar("Answer", bound=Message)

# Reasons that pass by themselves. UNAVAILABLE with another reason (no module, a full disk) would only be told again.
PASSING = frozenset({"STARTING", "SHUTTING_DOWN", "STORE_BUSY", "KERNEL_UNREACHABLE", "OVERLOADED"})
# Of an error that is not graftd's own: the connection went. A server that ends cancels what it had begun.
BROKEN = frozenset({"UNAVAILABLE", "CANCELLED"})
ABORTED = "graft-aborted-sockets"
_TRIES = 6
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_OPTIONS = (
    ("grpc.default_authority", "localhost"),
    ("grpc.enable_http_proxy", 0),
    # grpc.min_reconnect_backoff_ms stays 20 s: it is how long one attempt may take until graftd answers.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # An export is one message: 16,384 endpoints and 131,072 rules are 40 MB.
    ("grpc.max_receive_message_length", 256 << 20),
)


def pauses() -> Iterator[float]:
    """Seconds to wait before each repetition: doubling, and never two clients in step."""
    pause = _FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.5, 1.5)  # noqa: S311 not a secret
        pause = min(2 * pause, _LONGEST_PAUSE)


class Transport:
    """One channel to a target, which every thread may use."""

    def __init__(self, target: str, tls: Tls | None, timeout: float) -> None:
        self.target = target
        self.timeout = timeout
        self._channel = _channel(target, tls)

    def close(self) -> None:
        self._channel.close()

    def call(
        self,
        answer: type[Answer],
        method: str,
        request: Message,
        *,
        timeout: float | None = None,
        on_aborted: Callable[[int], object] | None = None,
    ) -> Answer:
        """Call `Service/Method` until it is answered or fails for good, at most `timeout` seconds in all.

        A request with a request id that lacks one gets one here, so that a repetition is the same request.
        """
        if "request_id" in request.DESCRIPTOR.fields_by_name and not getattr(request, "request_id"):  # noqa: B009
            setattr(request, "request_id", str(uuid.uuid4()))  # noqa: B010
        invoke = self._channel.unary_unary(
            f"/graft.v1.{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        end = time.monotonic() + (timeout or self.timeout)
        for attempt, pause in enumerate(pauses(), start=1):
            try:
                found, call = invoke.with_call(request, timeout=max(end - time.monotonic(), 0.001))
            except grpc.RpcError as error:
                failure, passing = self.failure(error)
                if not passing or attempt == _TRIES or time.monotonic() + pause >= end:
                    raise failure from None
                time.sleep(pause)
            else:
                if on_aborted:
                    counts = (int(value) for key, value in call.trailing_metadata() or () if key == ABORTED)
                    on_aborted(next(counts, 0))
                return found
        raise AssertionError("pauses() does not end")

    def stream(
        self, answer: type[Answer], method: str, request: Message, *, seconds: float | None = None
    ) -> Iterator[Answer]:
        """What a method streams, for ever or for so many seconds from its first answer on. Nothing is repeated."""
        invoke = self._channel.unary_stream(
            f"/graft.v1.{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        # A graftd that is busy is given the time of a call until it begins.
        call = invoke(request, timeout=None if seconds is None else self.timeout + seconds)
        end = threading.Timer(seconds or 0, call.cancel)
        end.daemon = True
        due = None
        try:
            for told in call:
                if seconds is not None and due is None:
                    due = time.monotonic() + seconds
                    end.start()
                yield told
        except grpc.RpcError as error:
            if due is None or time.monotonic() < due or error.code() is not grpc.StatusCode.CANCELLED:
                raise self.failure(error)[0] from None
        finally:
            end.cancel()
            call.cancel()

    def send(self, answer: type[Answer], method: str, requests: Iterable[Message], timeout: float) -> Answer:
        """Stream requests to a method. Nothing is repeated."""
        invoke: grpc.StreamUnaryMultiCallable[Message, Answer] = self._channel.stream_unary(
            f"/graft.v1.{method}",
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        try:
            return invoke(iter(requests), timeout=timeout)
        except grpc.RpcError as error:
            raise self.failure(error)[0] from None

    def failure(self, error: grpc.RpcError) -> tuple[GraftdError, bool]:
        """The error, and whether a repetition may go better."""
        found = from_rpc(error)
        if found.reason:
            return found, found.reason in PASSING
        if found.status == "DEADLINE_EXCEEDED":
            found.args = (f"graftd at {self.target} did not answer in time: ask it for less, or allow it longer",)
        elif found.status == "UNIMPLEMENTED":
            found.args = (f"graftd at {self.target} does not know this call: it is older than this client",)
        elif found.status in BROKEN:
            return self._unavailable(found)
        found.message = found.args[0]
        return found, False

    def _unavailable(self, error: GraftdError) -> tuple[GraftdError, bool]:
        """A connection that could not be made, or that broke. What is not there or not allowed stays so."""
        cause = probe(self.target)
        if cause is None:
            ended = f"the connection to graftd at {self.target} broke: {error.message}"
            return GraftdError(ended, status="UNAVAILABLE"), True
        path = unix_path(self.target)
        lasting = cause.status == "PERMISSION_DENIED" or (path is not None and not path.exists())
        return cause, not lasting


def _channel(target: str, tls: Tls | None) -> grpc.Channel:
    if unix_path(target) is not None:
        return grpc.insecure_channel(target, options=_OPTIONS)
    if tls is None:
        raise GraftdError(
            f"graftd at {target} is reached with certificates alone: name those of the authority and of yourself, and"
            " your key",
            status="INVALID_ARGUMENT",
        )
    try:
        credentials = grpc.ssl_channel_credentials(
            tls.ca.read_bytes(), tls.key.read_bytes(), tls.certificate.read_bytes()
        )
    except OSError as error:
        raise GraftdError(f"{error.filename} cannot be read: {error.strerror}", status="INVALID_ARGUMENT") from None
    options = [option for option in _OPTIONS if option[0] != "grpc.default_authority"]
    if tls.server_name:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    return grpc.secure_channel(target, credentials, options=options)
