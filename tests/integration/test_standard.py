# SPDX-License-Identifier: Apache-2.0
"""gRPC's own services, as grpc_health_probe and grpcurl ask them."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from graft.grpc.health.v1 import health_pb2, health_pb2_grpc
from graft.grpc.reflection.v1 import reflection_pb2, reflection_pb2_grpc
from graft.grpc.reflection.v1alpha import reflection_pb2 as alpha_pb2
from graft.grpc.reflection.v1alpha import reflection_pb2_grpc as alpha_pb2_grpc
from integration.process import Graftd

_OWN = {f"graft.v1.{name}Service" for name in ("Acl", "Endpoint", "Namespace", "Node", "Rule", "Socket", "Watch")}
_STANDARD = {"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"}
_VERSIONS = [(reflection_pb2, reflection_pb2_grpc), (alpha_pb2, alpha_pb2_grpc)]


@pytest.fixture
def graftd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graftd]:
    service = Graftd(tmp_path_factory.mktemp("standard"))
    service.start()
    yield service
    service.close()


def test_health(graftd: Graftd) -> None:
    with grpc.insecure_channel(graftd.target) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", *_OWN, *_STANDARD):
            answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            health.Check(health_pb2.HealthCheckRequest(service="graft.v1.NoService"), timeout=10)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert graftd.records(level="error") == [], "that is no defect"
        watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=30)
        unknown = health.Watch(health_pb2.HealthCheckRequest(service="graft.v1.NoService"), timeout=30)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        assert next(unknown).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        assert graftd.stop() == 0
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING


def test_reflection(graftd: Graftd) -> None:
    """Every service that is listed can be resolved, with all that its messages are made of."""
    with grpc.insecure_channel(graftd.target) as channel:
        for messages, stubs in _VERSIONS:
            ask = _Asks(messages, stubs.ServerReflectionStub(channel))
            listed = {one.name for one in ask(list_services="*").list_services_response.service}
            assert listed == _OWN | _STANDARD
            for name in listed:
                service = _resolved(ask(file_containing_symbol=name), name)
                assert service.methods
                method = service.methods[0]
                for symbol in (method.full_name, method.input_type.full_name):
                    answer = ask(file_containing_symbol=symbol)
                    assert answer.file_descriptor_response.file_descriptor_proto, f"{symbol}: {answer}"
            answer = ask(file_by_filename="graft/v1/endpoint.proto")
            assert answer.valid_host == "here"
            assert answer.original_request.file_by_filename == "graft/v1/endpoint.proto"
            for wrong in ({"file_by_filename": "graft/v1/none.proto"}, {"file_containing_symbol": "graft.v1.None"}):
                assert ask(**wrong).error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
            for name in ("ErrorInfo", "BadRequest"):  # as they are named where they come with an error
                assert ask(file_containing_symbol=f"google.rpc.{name}").file_descriptor_response.file_descriptor_proto
            answer = ask(all_extension_numbers_of_type="graft.v1.Endpoint")
            assert not answer.all_extension_numbers_response.extension_number


class _Asks:
    def __init__(self, messages: ModuleType, stub: Any) -> None:
        self._messages = messages
        self._stub = stub

    def __call__(self, **fields: str) -> Any:
        request = self._messages.ServerReflectionRequest(host="here", **fields)
        (answer,) = self._stub.ServerReflectionInfo(iter([request]), timeout=10)
        return answer


def _resolved(answer: Any, name: str) -> Any:
    """The service's descriptor, made of nothing but what came."""
    pool = descriptor_pool.DescriptorPool()
    waiting = [
        descriptor_pb2.FileDescriptorProto.FromString(data)
        for data in answer.file_descriptor_response.file_descriptor_proto
    ]
    while waiting:
        known = [one for one in waiting if all(_has(pool, needed) for needed in one.dependency)]
        assert known, f"of {[one.name for one in waiting]} something is missing"
        for one in known:
            pool.Add(one)
            waiting.remove(one)
    return pool.FindServiceByName(name)


def _has(pool: Any, name: str) -> bool:
    try:
        pool.FindFileByName(name)
    except KeyError:
        return False
    return True
