# SPDX-License-Identifier: Apache-2.0
"""Every method of the contract with generated requests: an answer or an error with a reason, never a defect.

GRAFT_FUZZ: how many requests of each method; 60 unless it is said.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graft.rpc.v1 import status_pb2
from graft.v1 import errors_pb2, namespace_pb2, node_pb2
from integration.caller import CLIENT_STREAMS, METHODS, ask
from integration.process import Graftd
from integration.right import nearly_right, right
from unit.messages import message_class, messages

_EXAMPLES = int(os.environ.get("GRAFT_FUZZ", "60"))
_REASONS = {value.removeprefix("ERROR_REASON_") for value in errors_pb2.ErrorReason.DESCRIPTOR.values_by_name}
# Statuses that gRPC itself answers with, without a reason.
_OF_GRPC = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[grpc.Channel]:
    service = Graftd(tmp_path_factory.mktemp("fuzz"))
    try:
        service.start({"GRAFTD_PLAYED_NAMESPACES": "3"})
        with grpc.insecure_channel(service.target) as channel:
            _prepare(channel)
            yield channel
            # It stands, and has logged no defect.
            _call(channel, "/graft.v1.NodeService/GetStatus", node_pb2.GetStatusRequest())
        assert service.stop() == 0
        said = service.log.read_text()
        assert "Traceback" not in said, said[said.index("Traceback") - 2000 :]
    finally:
        service.close()


def _prepare(channel: grpc.Channel) -> None:
    """What the names in generated messages are often about."""
    for name, place in (("web", "ns0"), ("edge", "ns1")):
        selector = namespace_pb2.NamespaceSelector(iproute2_name=place)
        _call(
            channel,
            "/graft.v1.NamespaceService/CreateNamespace",
            namespace_pb2.CreateNamespaceRequest(
                namespace_id=name, namespace=namespace_pb2.Namespace(selector=selector)
            ),
        )


def _call(channel: grpc.Channel, name: str, request: Any) -> Any:
    return ask(channel, name, request, seconds=30)


@pytest.mark.parametrize("name", METHODS)
def test_a_request_is_answered_or_refused_for_a_reason(channel: grpc.Channel, name: str) -> None:
    method: MethodDescriptor = METHODS[name]
    kind = message_class(method.input_type)
    whole = right(name, kind)
    if name not in CLIENT_STREAMS:
        _understood(channel, name, whole)

    @settings(
        max_examples=_EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=False
    )
    @given(st.data())
    def one(data: st.DataObject) -> None:
        request = data.draw(messages(kind) | nearly_right(whole))
        try:
            _call(channel, name, request)
        except grpc.RpcError as error:
            _check(error)

    one()


def _understood(channel: grpc.Channel, name: str, request: Any) -> None:
    """Nothing is wrong with the request itself, whatever there is or is not."""
    try:
        _call(channel, name, request)
    except grpc.RpcError as error:
        _check(error)
        if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
            pytest.fail(error.details() or "")


def _check(error: Any) -> None:
    code = error.code()
    assert code not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN), (code, error.details())
    if code in _OF_GRPC:
        return
    details = dict(error.trailing_metadata()).get("grpc-status-details-bin")
    assert details is not None, (code, error.details())
    status = status_pb2.Status.FromString(details)
    assert status.message == error.details()
    info = status_pb2.ErrorInfo.FromString(status.details[0].value)
    assert info.domain == "graftd"
    assert info.reason in _REASONS
    if code is grpc.StatusCode.INVALID_ARGUMENT and info.reason in ("INVALID_FIELD", "INVALID_MASK", "FIELD_IMMUTABLE"):
        bad = status_pb2.BadRequest.FromString(status.details[1].value)
        assert all(one.field or one.description for one in bad.field_violations)
        assert bad.field_violations
