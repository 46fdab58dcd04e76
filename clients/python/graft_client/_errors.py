# SPDX-License-Identifier: Apache-2.0
"""What goes wrong, as one kind of exception. Nothing here imports grpc."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:
    import grpc

DETAILS = "grpc-status-details-bin"


class FieldViolation(NamedTuple):
    """A field of the request that is wrong: its path there, and a sentence."""

    field: str
    description: str


class GraftdError(Exception):
    """A call failed, or graftd could not be reached. The text is a sentence for a person.

    status: the gRPC status by its name, as in `NOT_FOUND`.
    reason: graftd's own, an ErrorReason without its prefix, as in `ENDPOINT_NOT_FOUND`; "" where the error is not
        graftd's: it could not be reached, did not answer in time, or is too old for the call.
    fields: which fields of the request are wrong, in its order.
    metadata: what the reason's comment in proto/graft/v1/errors.proto names.
    """

    def __init__(
        self,
        message: str,
        *,
        status: str = "UNKNOWN",
        reason: str = "",
        fields: Sequence[FieldViolation] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.reason = reason
        self.fields = tuple(fields)
        self.metadata = dict(metadata or {})


def from_rpc(error: grpc.RpcError) -> GraftdError:
    """The same error, with what its google.rpc.Status tells."""
    from google.protobuf.message import DecodeError

    from graft.rpc.v1.status_pb2 import BadRequest, ErrorInfo, Status

    message = error.details() or ""
    trailing: Iterable[tuple[str, bytes]] = cast("Any", error.trailing_metadata()) or ()
    info, wrong = ErrorInfo(), BadRequest()
    for key, value in trailing:
        if key == DETAILS:
            try:
                for detail in Status.FromString(value).details:
                    if detail.type_url.endswith("/google.rpc.ErrorInfo"):
                        info = ErrorInfo.FromString(detail.value)
                    elif detail.type_url.endswith("/google.rpc.BadRequest"):
                        wrong = BadRequest.FromString(detail.value)
            except DecodeError:
                continue
    return GraftdError(
        message or f"the call failed with {error.code().name}",
        status=error.code().name,
        reason=info.reason,
        fields=[FieldViolation(one.field, one.description) for one in wrong.field_violations],
        metadata=info.metadata,
    )
