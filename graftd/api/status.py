# SPDX-License-Identifier: Apache-2.0
"""What is answered for each error, as proto/graft/v1/errors.proto says: a status, a sentence, a reason."""

from __future__ import annotations

import errno
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage

from graft.rpc.v1 import status_pb2
from graft.v1 import errors_pb2
from graftd import errors
from graftd.api import names
from graftd.api.errors import InvalidFieldsError, RefusedError, Violation
from graftd.api.text import readable, shorten

if TYPE_CHECKING:
    from google.protobuf.message import Message

DOMAIN = "graftd"
DETAILS_KEY = "grpc-status-details-bin"
_TYPES = "type.googleapis.com/google.rpc."

# HTTP/2 trailers of more than 8 KiB are refused by clients. The message comes twice, once with three bytes for each
# that is not ASCII; the details are in base64, four bytes for three.
_MESSAGE_MOST = 512
_VALUE_MOST = 256
_DETAILS_MOST = 4608
_MORE_MOST = 64

_Code = grpc.StatusCode
_INTERNAL = errors_pb2.ERROR_REASON_INTERNAL

CODES: dict[int, grpc.StatusCode] = {
    errors_pb2.ERROR_REASON_INVALID_FIELD: _Code.INVALID_ARGUMENT,
    errors_pb2.ERROR_REASON_FIELD_IMMUTABLE: _Code.INVALID_ARGUMENT,
    errors_pb2.ERROR_REASON_INVALID_MASK: _Code.INVALID_ARGUMENT,
    errors_pb2.ERROR_REASON_INVALID_PAGE_TOKEN: _Code.INVALID_ARGUMENT,
    errors_pb2.ERROR_REASON_REQUEST_ID_REUSED: _Code.INVALID_ARGUMENT,
    errors_pb2.ERROR_REASON_INDEX_OUT_OF_RANGE: _Code.OUT_OF_RANGE,
    errors_pb2.ERROR_REASON_REQUEST_TOO_LARGE: _Code.INVALID_ARGUMENT,
    errors_pb2.ERROR_REASON_UNAUTHENTICATED: _Code.UNAUTHENTICATED,
    errors_pb2.ERROR_REASON_ROLE_REQUIRED: _Code.PERMISSION_DENIED,
    errors_pb2.ERROR_REASON_POLICY_DENIED: _Code.PERMISSION_DENIED,
    errors_pb2.ERROR_REASON_NAMESPACE_NOT_FOUND: _Code.NOT_FOUND,
    errors_pb2.ERROR_REASON_ENDPOINT_NOT_FOUND: _Code.NOT_FOUND,
    errors_pb2.ERROR_REASON_RULE_NOT_FOUND: _Code.NOT_FOUND,
    errors_pb2.ERROR_REASON_ACL_RULE_NOT_FOUND: _Code.NOT_FOUND,
    errors_pb2.ERROR_REASON_SOCKET_NOT_FOUND: _Code.NOT_FOUND,
    errors_pb2.ERROR_REASON_NAMESPACE_EXISTS: _Code.ALREADY_EXISTS,
    errors_pb2.ERROR_REASON_ENDPOINT_EXISTS: _Code.ALREADY_EXISTS,
    errors_pb2.ERROR_REASON_RULE_EXISTS: _Code.ALREADY_EXISTS,
    errors_pb2.ERROR_REASON_ACL_RULE_EXISTS: _Code.ALREADY_EXISTS,
    errors_pb2.ERROR_REASON_SELECTOR_TAKEN: _Code.ALREADY_EXISTS,
    errors_pb2.ERROR_REASON_ETAG_MISMATCH: _Code.ABORTED,
    errors_pb2.ERROR_REASON_LIST_CHANGED: _Code.ABORTED,
    errors_pb2.ERROR_REASON_NAMESPACE_NOT_EMPTY: _Code.FAILED_PRECONDITION,
    errors_pb2.ERROR_REASON_NAMESPACE_IN_USE: _Code.FAILED_PRECONDITION,
    errors_pb2.ERROR_REASON_NAMESPACE_ABSENT: _Code.FAILED_PRECONDITION,
    errors_pb2.ERROR_REASON_SELECTOR_UNRESOLVED: _Code.FAILED_PRECONDITION,
    errors_pb2.ERROR_REASON_TABLE_NOT_EMPTY: _Code.FAILED_PRECONDITION,
    errors_pb2.ERROR_REASON_NOT_IMPORTABLE: _Code.FAILED_PRECONDITION,
    errors_pb2.ERROR_REASON_NOT_OURS: _Code.FAILED_PRECONDITION,
    errors_pb2.ERROR_REASON_LIMIT_REACHED: _Code.RESOURCE_EXHAUSTED,
    errors_pb2.ERROR_REASON_OVERLOADED: _Code.RESOURCE_EXHAUSTED,
    errors_pb2.ERROR_REASON_TOO_MANY_WATCHERS: _Code.RESOURCE_EXHAUSTED,
    errors_pb2.ERROR_REASON_WATCHER_TOO_SLOW: _Code.RESOURCE_EXHAUSTED,
    errors_pb2.ERROR_REASON_REVISION_GONE: _Code.OUT_OF_RANGE,
    errors_pb2.ERROR_REASON_REVISION_AHEAD: _Code.OUT_OF_RANGE,
    errors_pb2.ERROR_REASON_HISTORY_CHANGED: _Code.FAILED_PRECONDITION,
    errors_pb2.ERROR_REASON_MODULE_NOT_LOADED: _Code.UNAVAILABLE,
    errors_pb2.ERROR_REASON_TABLES_CLAIMED: _Code.UNAVAILABLE,
    errors_pb2.ERROR_REASON_KERNEL_REFUSED: _Code.FAILED_PRECONDITION,
    errors_pb2.ERROR_REASON_KERNEL_UNREACHABLE: _Code.UNAVAILABLE,
    errors_pb2.ERROR_REASON_CAPABILITY_MISSING: _Code.FAILED_PRECONDITION,
    errors_pb2.ERROR_REASON_STORE_FULL: _Code.UNAVAILABLE,
    errors_pb2.ERROR_REASON_STORE_READ_ONLY: _Code.UNAVAILABLE,
    errors_pb2.ERROR_REASON_STORE_DAMAGED: _Code.DATA_LOSS,
    errors_pb2.ERROR_REASON_STORE_TOO_NEW: _Code.FAILED_PRECONDITION,
    errors_pb2.ERROR_REASON_BACKUP_DAMAGED: _Code.INVALID_ARGUMENT,
    errors_pb2.ERROR_REASON_STORE_BUSY: _Code.UNAVAILABLE,
    errors_pb2.ERROR_REASON_STORE_UNAVAILABLE: _Code.UNAVAILABLE,
    errors_pb2.ERROR_REASON_STARTING: _Code.UNAVAILABLE,
    errors_pb2.ERROR_REASON_SHUTTING_DOWN: _Code.UNAVAILABLE,
    errors_pb2.ERROR_REASON_INTERNAL: _Code.INTERNAL,
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error as it is answered. more: how many violations there are beyond those that are named."""

    reason: int
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: tuple[Violation, ...] = ()
    more: int = 0

    @property
    def code(self) -> grpc.StatusCode:
        return CODES[self.reason]

    @property
    def word(self) -> str:
        """As ErrorInfo.reason has it."""
        return errors_pb2.ErrorReason.Name(self.reason).removeprefix("ERROR_REASON_")

    @property
    def incident(self) -> str:
        """Of a defect of graftd's, to be logged with the exception; "" of all else."""
        return self.metadata.get("incident", "")


Metadata = dict[str, str | int]
Described = tuple[int, Metadata]

_KINDS: dict[str, tuple[names.Collection | None, int, int]] = {
    "namespace": (
        None,
        errors_pb2.ERROR_REASON_NAMESPACE_NOT_FOUND,
        errors_pb2.ERROR_REASON_NAMESPACE_EXISTS,
    ),
    "endpoint": (
        names.Collection.ENDPOINTS,
        errors_pb2.ERROR_REASON_ENDPOINT_NOT_FOUND,
        errors_pb2.ERROR_REASON_ENDPOINT_EXISTS,
    ),
    "rule": (
        names.Collection.RULES,
        errors_pb2.ERROR_REASON_RULE_NOT_FOUND,
        errors_pb2.ERROR_REASON_RULE_EXISTS,
    ),
    "acl rule": (
        names.Collection.ACL_RULES,
        errors_pb2.ERROR_REASON_ACL_RULE_NOT_FOUND,
        errors_pb2.ERROR_REASON_ACL_RULE_EXISTS,
    ),
}


def _resource(error: errors.NotFoundError | errors.AlreadyExistsError) -> Metadata:
    collection = _KINDS[error.kind][0]
    if collection is None:
        return {"resource": names.namespace(error.id)}
    return {"resource": names.child(error.namespace, collection, error.id)}


def _not_found(error: errors.NotFoundError) -> Described:
    return (_KINDS[error.kind][1], _resource(error)) if error.kind in _KINDS else (_INTERNAL, {})


def _exists(error: errors.AlreadyExistsError) -> Described:
    return (_KINDS[error.kind][2], _resource(error)) if error.kind in _KINDS else (_INTERNAL, {})


def _selector_taken(error: errors.SelectorTakenError) -> Described:
    return errors_pb2.ERROR_REASON_SELECTOR_TAKEN, _resource(error) if error.kind in _KINDS else {}


def _in_use(error: errors.NamespaceInUseError) -> Described:
    namespace, endpoint = error.example
    return errors_pb2.ERROR_REASON_NAMESPACE_IN_USE, {
        "endpoints": error.count,
        "endpoint": names.child(namespace, names.Collection.ENDPOINTS, endpoint),
    }


def _revision(error: errors.RevisionGoneError) -> Described:
    if error.revision > error.newest:
        return errors_pb2.ERROR_REASON_REVISION_AHEAD, {"revision": error.newest}
    return errors_pb2.ERROR_REASON_REVISION_GONE, {"oldest_revision": error.oldest, "revision": error.newest}


_CLAIM = re.compile(r"claimed by (.*) \(pid (\d+)\)")  # the module's sentence: graft_nl_claim() in kmod/nl_table.c


def _kernel(error: errors.KernelError) -> Described:
    if error.errno == errno.EBUSY:
        claim = _CLAIM.search(error.message)
        return errors_pb2.ERROR_REASON_TABLES_CLAIMED, (
            {"claimant": claim[1], "claimant_pid": claim[2]} if claim else {}
        )
    if error.errno == errno.ENOSPC:
        limit = "max_endpoints" if "max-endpoints" in error.message else "rules"
        return errors_pb2.ERROR_REASON_LIMIT_REACHED, {"limit": limit}
    if error.errno in (errno.ETIMEDOUT, errno.ENOBUFS):
        return errors_pb2.ERROR_REASON_KERNEL_UNREACHABLE, {}
    metadata: Metadata = {"errno": error.errno}
    if error.attribute:
        metadata["attribute"] = ".".join(error.attribute)
    return errors_pb2.ERROR_REASON_KERNEL_REFUSED, metadata


def _step(error: errors.StepRefusedError) -> Described:
    reason, metadata = _kernel(error)
    resource = names.namespace(error.namespace)
    if error.endpoint:
        resource = names.child(error.namespace, names.Collection.ENDPOINTS, error.endpoint)
    return reason, {"resource": resource, **metadata}


def _place(reason: int, *attributes: str) -> Callable[[Any], Described]:
    """Of a namespace, with the error's attributes of those names as metadata."""

    def describe(error: errors.PlaceError) -> Described:
        metadata: Metadata = {"resource": names.namespace(error.namespace)}
        return reason, metadata | {name: getattr(error, name) for name in attributes}

    return describe


def _not_ours(error: errors.NotOursError) -> Described:
    metadata: Metadata = {"owner": error.owner} if error.owner else {}
    return errors_pb2.ERROR_REASON_NOT_OURS, {"resource": names.namespace(error.namespace), **metadata}


def _too_new(error: errors.StoreVersionError) -> Described:
    known: Metadata = {"schema_version": error.schema_version, "supported": error.supported}
    return errors_pb2.ERROR_REASON_STORE_TOO_NEW, known if error.schema_version else {}


def _only(reason: int, **attributes: str) -> Callable[[Any], Described]:
    """A reason that is always the same, with metadata taken from the error's attributes of those names."""
    return lambda error: (reason, {key: getattr(error, name) for key, name in attributes.items()})


# Each class of errors has the entry of its own, or else of the nearest class that it is derived from. What is not
# here is a defect.
TABLE: dict[type[errors.GraftError], Callable[[Any], Described]] = {
    RefusedError: lambda error: (error.reason, error.metadata),
    InvalidFieldsError: lambda error: (error.reason, {}),
    errors.NotFoundError: _not_found,
    errors.TargetNotFoundError: _not_found,
    errors.AlreadyExistsError: _exists,
    errors.SelectorTakenError: _selector_taken,
    errors.IndexRangeError: _only(errors_pb2.ERROR_REASON_INDEX_OUT_OF_RANGE, rules="count"),
    errors.ImmutableFieldError: _only(errors_pb2.ERROR_REASON_FIELD_IMMUTABLE),
    errors.OwnTargetError: _only(errors_pb2.ERROR_REASON_INVALID_FIELD),
    errors.NotEmptyError: _only(errors_pb2.ERROR_REASON_NAMESPACE_NOT_EMPTY),
    errors.NamespaceInUseError: _in_use,
    errors.EtagMismatchError: _only(errors_pb2.ERROR_REASON_ETAG_MISMATCH, etag="etag"),
    errors.RequestIdReusedError: _only(errors_pb2.ERROR_REASON_REQUEST_ID_REUSED),
    errors.RevisionGoneError: _revision,
    errors.NamespaceError: _only(errors_pb2.ERROR_REASON_SELECTOR_UNRESOLVED),
    errors.ModuleNotLoadedError: _only(errors_pb2.ERROR_REASON_MODULE_NOT_LOADED),
    errors.KernelError: _kernel,
    errors.TablesClaimedError: _only(errors_pb2.ERROR_REASON_TABLES_CLAIMED, claimant="claimant", claimant_pid="pid"),
    errors.StepRefusedError: _step,
    errors.NamespaceAbsentError: _place(errors_pb2.ERROR_REASON_NAMESPACE_ABSENT),
    errors.SelectorUnresolvedError: _place(errors_pb2.ERROR_REASON_SELECTOR_UNRESOLVED),
    errors.NamespaceTakenError: lambda error: (
        errors_pb2.ERROR_REASON_SELECTOR_TAKEN,
        {"resource": names.namespace(error.other)},
    ),
    errors.TableNotEmptyError: _place(errors_pb2.ERROR_REASON_TABLE_NOT_EMPTY, "endpoints", "rules", "acl_rules"),
    errors.NotImportableError: _place(errors_pb2.ERROR_REASON_NOT_IMPORTABLE, "entry"),
    errors.NotOursError: _not_ours,
    errors.StoreUnavailableError: _only(errors_pb2.ERROR_REASON_STORE_UNAVAILABLE),
    errors.StoreFullError: _only(errors_pb2.ERROR_REASON_STORE_FULL),
    errors.StoreReadOnlyError: _only(errors_pb2.ERROR_REASON_STORE_READ_ONLY),
    errors.StoreBusyError: _only(errors_pb2.ERROR_REASON_STORE_BUSY),
    errors.StoreDamagedError: _only(errors_pb2.ERROR_REASON_STORE_DAMAGED),
    errors.BackupDamagedError: _only(errors_pb2.ERROR_REASON_BACKUP_DAMAGED),
    errors.StoreVersionError: _too_new,
}


def refusal_of(error: BaseException, *, resource: str = "") -> Refusal:
    """What is answered for an error. resource: the name of what the request is about, where the error names nothing.

    An exception that is no known GraftError is a defect: the answer has an incident's id, which the caller is to log
    with the exception, and nothing of it.
    """
    describe = next((TABLE[cls] for cls in type(error).__mro__ if cls in TABLE), None)
    reason, metadata = describe(error) if describe else (_INTERNAL, {})
    if reason == _INTERNAL:
        incident = uuid.uuid4().hex[:12]
        return Refusal(
            _INTERNAL,
            f"graftd has a defect: its journal has more under the incident {incident}, please report it",
            {"incident": incident},
        )
    if resource:
        metadata = {"resource": resource, **metadata}
    if isinstance(error, errors.GraftError) and error.index is not None:
        metadata = {**metadata, "index": error.index}
    violations, more = _violations(error)
    return Refusal(reason, _clean(str(error), _MESSAGE_MOST), _strings(metadata), violations, more)


def _violations(error: BaseException) -> tuple[tuple[Violation, ...], int]:
    if isinstance(error, InvalidFieldsError):
        return error.violations, error.more
    if isinstance(error, errors.ImmutableFieldError):
        return (Violation(error.field, str(error)),), 0
    if isinstance(error, errors.OwnTargetError):
        return (Violation("target_namespace", str(error)),), 0
    return (), 0


def _clean(text: str, most: int) -> str:
    return shorten(readable(text), most)


def _strings(metadata: Mapping[str, str | int]) -> dict[str, str]:
    return {key: _clean(str(value), _VALUE_MOST) for key, value in metadata.items()}


def status_message(refusal: Refusal) -> status_pb2.Status:
    """The google.rpc.Status of a refusal. What does not fit is left out, and said to be."""
    status = status_pb2.Status(code=refusal.code.value[0], message=refusal.message)
    info = status_pb2.ErrorInfo(reason=refusal.word, domain=DOMAIN, metadata=refusal.metadata)
    status.details.append(_packed("ErrorInfo", info))
    if not refusal.violations:
        return status
    bad = status_pb2.BadRequest()
    room = _DETAILS_MOST - status.ByteSize() - _MORE_MOST
    for index, violation in enumerate(refusal.violations):
        one = status_pb2.BadRequest.FieldViolation(
            field=_clean(violation.field, _VALUE_MOST), description=_clean(violation.sentence, _MESSAGE_MOST)
        )
        room -= one.ByteSize() + 4
        if room < 0:
            left_out = len(refusal.violations) - index + refusal.more
            bad.field_violations.add(description=f"and {left_out} more")
            break
        bad.field_violations.append(one)
    else:
        if refusal.more:
            bad.field_violations.add(description=f"and {refusal.more} more")
    status.details.append(_packed("BadRequest", bad))
    return status


def _packed(name: str, message: Message) -> AnyMessage:
    return AnyMessage(type_url=_TYPES + name, value=message.SerializeToString())


async def abort(context: grpc.aio.ServicerContext[Any, Any], refusal: Refusal) -> NoReturn:
    """End a call with a refusal."""
    details = status_message(refusal).SerializeToString()
    await context.abort(refusal.code, refusal.message, ((DETAILS_KEY, details),))
    raise AssertionError("abort() raises")
