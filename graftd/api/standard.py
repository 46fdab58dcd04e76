# SPDX-License-Identifier: Apache-2.0
"""gRPC's own services: health, and reflection in both of its versions.

Debian 12 has no package of either, and both are small.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from types import ModuleType
from typing import Any

import grpc

from graft.grpc.health.v1 import health_pb2
from graftd.api.described import Files

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class HealthService:
    """The same for each service: whether graftd answers. A degraded graftd does: reading works, and its status says
    what does not."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = frozenset(services) | {""}
        self._serving = True
        self._changed = asyncio.Event()

    def stop(self) -> None:
        self._serving = False
        self._changed.set()

    async def Check(self, request: Any, call: Any) -> health_pb2.HealthCheckResponse:
        if request.service not in self._services:
            await call.context.abort(grpc.StatusCode.NOT_FOUND, f"there is no service '{request.service}'")
        return health_pb2.HealthCheckResponse(status=self._status(request.service))

    async def Watch(self, request: Any, call: Any) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        yield health_pb2.HealthCheckResponse(status=self._status(request.service))
        await self._changed.wait()
        yield health_pb2.HealthCheckResponse(status=self._status(request.service))

    def _status(self, service: str) -> health_pb2.HealthCheckResponse.ServingStatus:
        if service not in self._services:
            return _UNKNOWN
        return _SERVING if self._serving else _NOT_SERVING


class ReflectionService:
    """messages: the module of one version's messages."""

    def __init__(self, messages: ModuleType, services: Iterable[str]) -> None:
        self._messages = messages
        self._services = sorted(services)
        self._files = Files()

    async def ServerReflectionInfo(self, requests: AsyncIterator[Any], call: Any) -> AsyncIterator[Any]:
        async for request in requests:
            response = self._messages.ServerReflectionResponse(valid_host=request.host, original_request=request)
            self._answer(request, response)
            yield response

    def _answer(self, request: Any, response: Any) -> None:
        match request.WhichOneof("message_request"):
            case "list_services":
                for name in self._services:
                    response.list_services_response.service.add(name=name)
            case "file_by_filename":
                self._file(response, self._files.named, request.file_by_filename)
            case "file_containing_symbol":
                self._file(response, self._files.containing, request.file_containing_symbol)
            case "all_extension_numbers_of_type":
                response.all_extension_numbers_response.base_type_name = request.all_extension_numbers_of_type
            case _:
                response.error_response.error_code = grpc.StatusCode.NOT_FOUND.value[0]
                response.error_response.error_message = "there is no such extension: graftd has none"

    def _file(self, response: Any, find: Callable[[str], list[bytes]], name: str) -> None:
        try:
            response.file_descriptor_response.file_descriptor_proto.extend(find(name))
        except KeyError:
            response.error_response.error_code = grpc.StatusCode.NOT_FOUND.value[0]
            response.error_response.error_message = f"there is no '{name}' here"
