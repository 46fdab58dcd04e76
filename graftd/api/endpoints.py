# SPDX-License-Identifier: Apache-2.0
"""EndpointService."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from graft.v1 import endpoint_pb2
from graftd.api import masks, names, pages
from graftd.api.call import Call, Core, Page, at_index, has_labels, walk
from graftd.api.convert import content, endpoint, values
from graftd.api.denials import PolicyDeniedError
from graftd.api.errors import Violations
from graftd.errors import StepRefusedError
from graftd.model import Counters, EndpointRecord, TargetedEndpoint
from graftd.reconcile import Carried
from graftd.store import Transaction, View


class EndpointService:
    """See proto/graft/v1/endpoint.proto."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def GetEndpoint(self, request: endpoint_pb2.GetEndpointRequest, call: Call) -> endpoint_pb2.Endpoint:
        found = Violations()
        namespace, name = names.parse_child(request.name, names.Collection.ENDPOINTS, "name", found)
        full = values.read_view(request.view, "view", found, by_default=True)
        found.check()

        def look() -> endpoint_pb2.Endpoint:
            engine = self._core.engine
            record = engine.read(lambda view: view.endpoint(namespace, name))
            entry = engine.entry(namespace, name) if full else None
            return self._message(record, None if entry is None else entry.counters)

        return await self._core.run(look)

    async def ListEndpoints(
        self, request: endpoint_pb2.ListEndpointsRequest, call: Call
    ) -> endpoint_pb2.ListEndpointsResponse:
        found = Violations()
        parent = names.parse_parent(request.parent, "parent", found)
        size = pages.page_size(request.page_size, "page_size", found)
        full = values.read_view(request.view, "view", found, by_default=False)
        found.check()
        cursor = call.cursor(request)
        wanted = dict(request.labels)

        def look(view: View) -> Page:
            return walk(
                view,
                call,
                parent,
                cursor,
                size,
                records=lambda name, after, limit: view.endpoints(name, after=after, limit=limit),
                key=lambda record: str(record.value.endpoint.name),
                matches=lambda record: has_labels(record.value.labels, wanted),
            )

        def whole() -> endpoint_pb2.ListEndpointsResponse:
            page = self._core.engine.read(look)
            counters: dict[tuple[str, str], Counters] = {}
            if full:
                for name in {record.namespace for record in page.records}:
                    counters |= {
                        (name, entry.endpoint.name): entry.counters for entry in self._core.engine.entries(name)
                    }
            return endpoint_pb2.ListEndpointsResponse(
                endpoints=[
                    self._message(record, counters.get((record.namespace, record.value.endpoint.name)))
                    for record in page.records
                ],
                next_page_token=page.token(call, request),
                revision=page.revision,
            )

        return await self._core.run(whole)

    async def CreateEndpoint(self, request: endpoint_pb2.CreateEndpointRequest, call: Call) -> endpoint_pb2.Endpoint:
        found = Violations()
        namespace = names.parse_namespace(request.parent, "parent", found)
        value = found.taken(_new(request, namespace, "", found))

        def act(transaction: Transaction) -> Callable[[Carried], endpoint_pb2.Endpoint]:
            record = transaction.create_endpoint(namespace, value)
            return lambda _carried: self._message(record)

        return await call.change(request, endpoint_pb2.Endpoint, act)

    async def BatchCreateEndpoints(
        self, request: endpoint_pb2.BatchCreateEndpointsRequest, call: Call
    ) -> endpoint_pb2.BatchCreateEndpointsResponse:
        found = Violations()
        namespace = names.parse_namespace(request.parent, "parent", found)
        content.check_size(request.requests, content.ENDPOINTS_MAX, "requests")
        if not request.requests:
            found.add("requests", f"nothing is to be created: send 1 to {content.ENDPOINTS_MAX}")
        # It may be long, and the loop has others to answer.
        wanted = await asyncio.to_thread(_batch, request, namespace, found)
        found.check()

        def act(transaction: Transaction) -> Callable[[Carried], endpoint_pb2.BatchCreateEndpointsResponse]:
            records = []
            for index, value in enumerate(wanted):
                with at_index(index):
                    records.append(transaction.create_endpoint(namespace, value))
            return lambda _carried: endpoint_pb2.BatchCreateEndpointsResponse(
                endpoints=[self._message(record) for record in records]
            )

        try:
            return await call.change(request, endpoint_pb2.BatchCreateEndpointsResponse, act)
        except (StepRefusedError, PolicyDeniedError) as error:
            places = {value.endpoint.name: index for index, value in enumerate(wanted)}
            with at_index(places.get(error.endpoint)):
                raise

    async def UpdateEndpoint(self, request: endpoint_pb2.UpdateEndpointRequest, call: Call) -> endpoint_pb2.Endpoint:
        found = Violations()
        namespace, name = names.parse_child(request.endpoint.name, names.Collection.ENDPOINTS, "endpoint.name", found)
        found.check()
        mask = request.update_mask if request.HasField("update_mask") else None

        def act(transaction: Transaction) -> Callable[[Carried], endpoint_pb2.Endpoint]:
            now = transaction.find_endpoint(namespace, name)
            if now is None and request.allow_missing:
                value = _read(request.endpoint, namespace, name)
                record = transaction.create_endpoint(namespace, value, etag=request.endpoint.etag)
                return lambda _carried: self._message(record)
            if now is None:
                now = transaction.endpoint(namespace, name)  # NotFoundError
            sent = masks.merge(request.endpoint, mask, endpoint.to_message(now), masks.ENDPOINT, "endpoint")
            value = _read(sent, namespace, name)
            updated = transaction.update_endpoint(namespace, value, etag=request.endpoint.etag)
            return lambda _carried: self._message(updated)

        return await call.change(request, endpoint_pb2.Endpoint, act, abort=request.abort_sockets, tell_aborted=True)

    async def DeleteEndpoint(
        self, request: endpoint_pb2.DeleteEndpointRequest, call: Call
    ) -> endpoint_pb2.DeleteEndpointResponse:
        found = Violations()
        namespace, name = names.parse_child(request.name, names.Collection.ENDPOINTS, "name", found)
        found.check()

        def act(transaction: Transaction) -> Callable[[Carried], endpoint_pb2.DeleteEndpointResponse]:
            was = _delete(transaction, namespace, name, request)
            revision = 0 if was is None or request.validate_only else transaction.revision
            return lambda carried: endpoint_pb2.DeleteEndpointResponse(
                revision=revision, aborted_sockets=carried.aborted
            )

        return await call.change(request, endpoint_pb2.DeleteEndpointResponse, act, abort=request.abort_sockets)

    def _message(self, record: EndpointRecord, counters: Counters | None = None) -> endpoint_pb2.Endpoint:
        return endpoint.to_message(record, sync=self._core.sync(record), counters=counters)


def _new(
    request: endpoint_pb2.CreateEndpointRequest, namespace: str, at: str, found: Violations
) -> TargetedEndpoint | None:
    name = names.check_new_id("an endpoint", request.endpoint_id, f"{at}endpoint_id", found)
    return endpoint.to_model(request.endpoint, namespace, name, f"{at}endpoint", found)


def _batch(
    request: endpoint_pb2.BatchCreateEndpointsRequest, namespace: str, found: Violations
) -> list[TargetedEndpoint]:
    wanted = []
    places: dict[str, int] = {}
    for index, one in enumerate(request.requests):
        at = f"requests[{index}]."
        if one.parent not in ("", request.parent):
            found.add(f"{at}parent", "all of a batch are of the batch's parent: leave it empty")
        for field in ("request_id", "validate_only"):
            if getattr(one, field):
                found.add(f"{at}{field}", "it belongs to the whole batch: leave it out here")
        value = _new(one, namespace, at, found)
        if value is None:
            continue
        other = places.setdefault(value.endpoint.name, index)
        if other != index:
            found.add(f"{at}endpoint_id", f"requests[{other}] has the same: leave one of them out")
        wanted.append(value)
    return wanted


def _read(message: endpoint_pb2.Endpoint, namespace: str, name: str) -> TargetedEndpoint:
    found = Violations()
    return found.taken(endpoint.to_model(message, namespace, name, "endpoint", found))


def _delete(
    transaction: Transaction, namespace: str, name: str, request: endpoint_pb2.DeleteEndpointRequest
) -> EndpointRecord | None:
    if request.allow_missing and transaction.find_namespace(namespace) is None:
        return None
    return transaction.delete_endpoint(namespace, name, etag=request.etag, missing_ok=request.allow_missing)
