# SPDX-License-Identifier: Apache-2.0
"""Each error has its reason and status as errors.proto says, and whatever it holds, a client gets it."""

from __future__ import annotations

import asyncio
import base64
import inspect
import re
from errno import EBUSY, EINVAL, ENOBUFS, ENOSPC, ETIMEDOUT
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graft.rpc.v1 import status_pb2
from graft.v1 import errors_pb2
from graftd import errors
from graftd.api import errors as api_errors
from graftd.api import status
from graftd.api.errors import MOST_VIOLATIONS, InvalidFieldsError, RefusedError, Violation, Violations

PROTO = Path(__file__).resolve().parents[2] / "proto" / "graft" / "v1" / "errors.proto"
FIELDS = [Violation("endpoint.inet.address", "'x' is no address")]
ENDPOINT = {"kind": "endpoint", "namespace": "web", "id_": "ep"}

# An error, its reason, its metadata.
ERRORS: list[tuple[Exception, str, dict[str, str]]] = [
    (InvalidFieldsError(FIELDS), "INVALID_FIELD", {}),
    (api_errors.ImmutableFieldsError(FIELDS), "FIELD_IMMUTABLE", {}),
    (api_errors.InvalidMaskError(FIELDS), "INVALID_MASK", {}),
    (api_errors.InvalidPageTokenError(), "INVALID_PAGE_TOKEN", {}),
    (RefusedError(errors_pb2.ERROR_REASON_OVERLOADED, "later"), "OVERLOADED", {}),
    (RefusedError(errors_pb2.ERROR_REASON_TOO_MANY_WATCHERS, "no", limit=5), "TOO_MANY_WATCHERS", {"limit": "5"}),
    (
        errors.NotFoundError("no", kind="namespace", namespace="web", id_="web"),
        "NAMESPACE_NOT_FOUND",
        {"resource": "namespaces/web"},
    ),
    (errors.NotFoundError("no", **ENDPOINT), "ENDPOINT_NOT_FOUND", {"resource": "namespaces/web/endpoints/ep"}),
    (
        errors.NotFoundError("no", kind="rule", namespace="web", id_="r"),
        "RULE_NOT_FOUND",
        {"resource": "namespaces/web/rules/r"},
    ),
    (
        errors.NotFoundError("no", kind="acl rule", namespace="web", id_="a"),
        "ACL_RULE_NOT_FOUND",
        {"resource": "namespaces/web/aclRules/a"},
    ),
    (
        errors.AlreadyExistsError("is", kind="namespace", namespace="web", id_="web"),
        "NAMESPACE_EXISTS",
        {"resource": "namespaces/web"},
    ),
    (
        errors.TargetNotFoundError("no", namespace="web", record=None),
        "NAMESPACE_NOT_FOUND",
        {"resource": "namespaces/web"},
    ),
    (errors.AlreadyExistsError("is", **ENDPOINT), "ENDPOINT_EXISTS", {"resource": "namespaces/web/endpoints/ep"}),
    (
        errors.AlreadyExistsError("is", kind="rule", namespace="web", id_="r"),
        "RULE_EXISTS",
        {"resource": "namespaces/web/rules/r"},
    ),
    (
        errors.AlreadyExistsError("is", kind="acl rule", namespace="web", id_="a"),
        "ACL_RULE_EXISTS",
        {"resource": "namespaces/web/aclRules/a"},
    ),
    (
        errors.SelectorTakenError("taken", kind="rule", namespace="web", id_="r"),
        "SELECTOR_TAKEN",
        {"resource": "namespaces/web/rules/r"},
    ),
    (errors.NamespaceTakenError("taken", namespace="a", other="b"), "SELECTOR_TAKEN", {"resource": "namespaces/b"}),
    (errors.IndexRangeError("beyond", count=4), "INDEX_OUT_OF_RANGE", {"rules": "4"}),
    (errors.ImmutableFieldError("fixed", field="direction"), "FIELD_IMMUTABLE", {}),
    (errors.OwnTargetError("own"), "INVALID_FIELD", {}),
    (errors.NotEmptyError("full"), "NAMESPACE_NOT_EMPTY", {}),
    (
        errors.NamespaceInUseError("used", count=2, example=("web", "ep")),
        "NAMESPACE_IN_USE",
        {"endpoints": "2", "endpoint": "namespaces/web/endpoints/ep"},
    ),
    (errors.EtagMismatchError("changed", etag="abc"), "ETAG_MISMATCH", {"etag": "abc"}),
    (errors.RequestIdReusedError("reused"), "REQUEST_ID_REUSED", {}),
    (
        errors.RevisionGoneError("gone", revision=1, oldest=5, newest=9),
        "REVISION_GONE",
        {"oldest_revision": "5", "revision": "9"},
    ),
    (errors.RevisionGoneError("ahead", revision=10, oldest=5, newest=9), "REVISION_AHEAD", {"revision": "9"}),
    (errors.NamespaceError("none"), "SELECTOR_UNRESOLVED", {}),
    (errors.NamespaceAbsentError("absent", namespace="web"), "NAMESPACE_ABSENT", {"resource": "namespaces/web"}),
    (errors.SelectorUnresolvedError("two", namespace="web"), "SELECTOR_UNRESOLVED", {"resource": "namespaces/web"}),
    (
        errors.TableNotEmptyError("full", namespace="web", endpoints=1, rules=0, acl_rules=3),
        "TABLE_NOT_EMPTY",
        {"resource": "namespaces/web", "endpoints": "1", "rules": "0", "acl_rules": "3"},
    ),
    (
        errors.NotImportableError("odd", namespace="web", entry="endpoint a b"),
        "NOT_IMPORTABLE",
        {"resource": "namespaces/web", "entry": "endpoint a b"},
    ),
    (errors.NotOursError("other", namespace="web", owner=7), "NOT_OURS", {"resource": "namespaces/web", "owner": "7"}),
    (errors.NotOursError("own", namespace="web"), "NOT_OURS", {"resource": "namespaces/web"}),
    (errors.ModuleNotLoadedError(2, "no module"), "MODULE_NOT_LOADED", {}),
    (
        errors.KernelError(EBUSY, "the tables are claimed by ip graft (pid 12)   "),
        "TABLES_CLAIMED",
        {"claimant": "ip graft", "claimant_pid": "12"},
    ),
    (errors.KernelError(EBUSY, "another process has claimed the tables"), "TABLES_CLAIMED", {}),
    (
        errors.TablesClaimedError("claimed", claimant="x", pid=3),
        "TABLES_CLAIMED",
        {"claimant": "x", "claimant_pid": "3"},
    ),
    (errors.KernelError(ETIMEDOUT, "slow"), "KERNEL_UNREACHABLE", {}),
    (errors.KernelError(ENOBUFS, "full"), "KERNEL_UNREACHABLE", {}),
    (
        errors.KernelError(ENOSPC, "the table is full; raise its max-endpoints"),
        "LIMIT_REACHED",
        {"limit": "max_endpoints"},
    ),
    (errors.KernelError(ENOSPC, "a namespace has at most 65536 rules"), "LIMIT_REACHED", {"limit": "rules"}),
    (
        errors.KernelError(EINVAL, "bad", ("GRAFT_A_ENDPOINT", "GRAFT_EP_A_PORT_LO")),
        "KERNEL_REFUSED",
        {"errno": "22", "attribute": "GRAFT_A_ENDPOINT.GRAFT_EP_A_PORT_LO"},
    ),
    (
        errors.StepRefusedError(errors.KernelError(EINVAL, "bad"), namespace="web", endpoint="ep"),
        "KERNEL_REFUSED",
        {"errno": "22", "resource": "namespaces/web/endpoints/ep"},
    ),
    (
        errors.StepRefusedError(errors.KernelError(ETIMEDOUT, "slow"), namespace="web"),
        "KERNEL_UNREACHABLE",
        {"resource": "namespaces/web"},
    ),
    (errors.StoreUnavailableError("no"), "STORE_UNAVAILABLE", {}),
    (errors.StoreFullError("full"), "STORE_FULL", {}),
    (errors.StoreReadOnlyError("ro"), "STORE_READ_ONLY", {}),
    (errors.StoreBusyError("busy"), "STORE_BUSY", {}),
    (errors.StoreDamagedError("bad"), "STORE_DAMAGED", {}),
    (errors.BackupDamagedError("bad"), "BACKUP_DAMAGED", {}),
    (
        errors.StoreVersionError("new", schema_version=3, supported=2),
        "STORE_TOO_NEW",
        {"schema_version": "3", "supported": "2"},
    ),
]

# Classes that others are derived from: what is of none of these is a defect.
BASES = {errors.GraftError, errors.ResourceError, errors.StoreError, errors.PlaceError}


def classes_of(module: object) -> set[type[errors.GraftError]]:
    return {
        value for _, value in inspect.getmembers(module, inspect.isclass) if issubclass(value, errors.GraftError)
    } - BASES


def documented() -> dict[str, str]:
    """The status in front of each reason's comment."""
    text = PROTO.read_text(encoding="utf-8")
    found = re.findall(
        r"^  // ([A-Z_]+)\.(?: [^\n]*)?\n(?:  //[^\n]*\n)*  ERROR_REASON_([A-Z_]+) =", text, re.MULTILINE
    )
    return {reason: code for code, reason in found}


def details(message: status_pb2.Status) -> tuple[status_pb2.ErrorInfo, status_pb2.BadRequest | None]:
    info, bad = status_pb2.ErrorInfo(), None
    for one in message.details:
        if one.type_url == "type.googleapis.com/google.rpc.ErrorInfo":
            info.ParseFromString(one.value)
        else:
            assert one.type_url == "type.googleapis.com/google.rpc.BadRequest"
            bad = status_pb2.BadRequest.FromString(one.value)
    return info, bad


def test_each_reason_has_the_status_that_is_documented() -> None:
    ours = {errors_pb2.ErrorReason.Name(number): code.name for number, code in status.CODES.items()}
    assert {word.removeprefix("ERROR_REASON_"): code for word, code in ours.items()} == documented()
    assert set(status.CODES) == set(errors_pb2.ErrorReason.values()) - {errors_pb2.ERROR_REASON_UNSPECIFIED}


def test_each_class_of_errors_is_in_the_table() -> None:
    ours = {cls for cls in classes_of(api_errors) if not issubclass(cls, InvalidFieldsError)} | {InvalidFieldsError}
    assert classes_of(errors) | ours == set(status.TABLE)
    tried = {type(error) for error, _, _ in ERRORS}
    assert tried == classes_of(errors) | classes_of(api_errors)


@pytest.mark.parametrize(("error", "reason", "metadata"), ERRORS, ids=lambda value: str(value)[:40])
def test_an_error_has_its_reason(error: Exception, reason: str, metadata: dict[str, str]) -> None:
    refusal = status.refusal_of(error)
    assert (refusal.word, refusal.metadata) == (reason, metadata)
    message = status.status_message(refusal)
    assert (message.code, message.message) == (refusal.code.value[0], str(error))
    info, bad = details(message)
    assert (info.domain, info.reason, dict(info.metadata)) == ("graftd", reason, metadata)
    # Which field is wrong is not for a request id and an index to say: there is one of each.
    named = refusal.code is grpc.StatusCode.INVALID_ARGUMENT and reason not in ("REQUEST_ID_REUSED", "BACKUP_DAMAGED")
    assert (bad is not None) == named


def test_what_a_request_is_about_is_named_where_the_error_does_not() -> None:
    etag = status.refusal_of(errors.EtagMismatchError("no", etag="e"), resource="namespaces/web")
    assert etag.metadata == {"resource": "namespaces/web", "etag": "e"}
    found = status.refusal_of(errors.NotFoundError("no", **ENDPOINT), resource="namespaces/x")
    assert found.metadata["resource"] == "namespaces/web/endpoints/ep"


@pytest.mark.parametrize("reason", [number for number in status.CODES if number != errors_pb2.ERROR_REASON_INTERNAL])
def test_every_reason_can_be_sent(reason: errors_pb2.ErrorReason) -> None:
    refusal = status.refusal_of(RefusedError(reason, "so it is", value=1))
    info, _ = details(status.status_message(refusal))
    assert f"ERROR_REASON_{info.reason}" == errors_pb2.ErrorReason.Name(reason)
    assert info.metadata == {"value": "1"}


@pytest.mark.parametrize(
    "error",
    [ValueError("/etc/secret"), errors.StoreError("x"), errors.GraftError("x"), errors.AlreadyExistsError("a file")],
)
def test_a_defect_has_an_incident_and_tells_nothing(error: Exception) -> None:
    refusal = status.refusal_of(error)
    assert refusal.code is grpc.StatusCode.INTERNAL
    assert refusal.incident
    assert refusal.incident in refusal.message
    assert str(error) not in refusal.message
    assert refusal.incident != status.refusal_of(error).incident
    assert status.refusal_of(errors.NotEmptyError("x")).incident == ""


# Size


def trailers(refusal: status.Refusal) -> int:
    """Bytes of the trailers of an error, as HTTP/2 counts them: 32 more for each."""
    message = quote(refusal.message.encode(), safe=" ")
    data = base64.b64encode(status.status_message(refusal).SerializeToString())
    fixed = sum(len(text) + 32 for text in ("content-typeapplication/grpc", "grpc-status16", ":status200"))
    return fixed + len("grpc-message") + 32 + len(message) + len(status.DETAILS_KEY) + 32 + len(data)


@given(st.text(st.characters(), min_size=1), st.integers(1, 3000), st.integers(1, 200))
def test_trailers_stay_below_8_kib(text: str, repeated: int, count: int) -> None:
    long = text * repeated
    found = Violations()
    for index in range(count):
        found.add(f"field[{index}]", long)
    with pytest.raises(InvalidFieldsError) as caught:
        found.check()
    refusals = [
        status.refusal_of(caught.value, resource=long),
        status.refusal_of(RefusedError(errors_pb2.ERROR_REASON_NOT_IMPORTABLE, long, entry=long, resource=long)),
        status.refusal_of(errors.KernelError(EINVAL, long, (long, long)), resource=long),
        status.refusal_of(errors.TablesClaimedError(long, claimant=long, pid=1), resource=long),
    ]
    for refusal in refusals:
        assert trailers(refusal) <= 8192


def test_violations_that_do_not_fit_are_counted() -> None:
    found = Violations()
    for index in range(100):
        found.add(f"requests[{index}].endpoint", "é" * 1000)
    with pytest.raises(InvalidFieldsError) as caught:
        found.check()
    _, bad = details(status.status_message(status.refusal_of(caught.value)))
    assert bad is not None
    *told, last = bad.field_violations
    assert 5 <= len(told) < MOST_VIOLATIONS
    assert (last.field, last.description) == ("", f"and {100 - len(told)} more")
    few = Violations()
    for index in range(MOST_VIOLATIONS + 3):
        few.add(f"f[{index}]", "no")
    with pytest.raises(InvalidFieldsError) as caught:
        few.check()
    _, bad = details(status.status_message(status.refusal_of(caught.value)))
    assert bad is not None
    assert len(bad.field_violations) == MOST_VIOLATIONS + 1
    assert bad.field_violations[-1].description == "and 3 more"


# On the wire


async def answered(error: Exception, socket: Path) -> grpc.aio.AioRpcError:
    """What a client with default settings gets of an error."""

    async def method(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        await status.abort(context, status.refusal_of(error))

    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {"Call": grpc.unary_unary_rpc_method_handler(method)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", handlers),))
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
            call: Any = channel.unary_unary("/test.Test/Call")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(b"")
        return caught.value
    finally:
        await server.stop(None)


@pytest.mark.parametrize("text", ["plain", "größe 100% \x1b[31m\n\0", "\udcff\ud800", "é" * 100_000, ""])
def test_a_client_gets_an_error_whole(tmp_path: Path, text: str) -> None:
    found = Violations()
    for index in range(40):
        found.add(f"field[{index}]", text)
    with pytest.raises(InvalidFieldsError) as caught:
        found.check()
    error = asyncio.run(answered(caught.value, tmp_path / "socket"))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == status.refusal_of(caught.value).message
    (data,) = [value for key, value in error.trailing_metadata() if key == status.DETAILS_KEY]
    assert isinstance(data, bytes)
    message = status_pb2.Status.FromString(data)
    assert message.message == error.details()
    _, bad = details(message)
    assert bad is not None
    assert bad.field_violations[0].field == "field[0]"
