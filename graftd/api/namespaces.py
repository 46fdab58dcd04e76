# SPDX-License-Identifier: Apache-2.0
"""NamespaceService."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from google.protobuf.field_mask_pb2 import FieldMask

from graft.v1 import acl_pb2, endpoint_pb2, namespace_pb2, rule_pb2
from graftd.api import masks, names, pages
from graftd.api.call import Call, Core, has_labels
from graftd.api.convert import acl, content, difference, endpoint, namespace, rule, values
from graftd.api.errors import Violations
from graftd.model import (
    Freeze,
    Namespace,
    NamespaceContent,
    NamespaceRecord,
    Table,
)
from graftd.reconcile import Carried
from graftd.store import ALL, Transaction, View


class NamespaceService:
    """See proto/graft/v1/namespace.proto."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def GetNamespace(self, request: namespace_pb2.GetNamespaceRequest, call: Call) -> namespace_pb2.Namespace:
        found = Violations()
        name = names.parse_namespace(request.name, "name", found)
        full = values.read_view(request.view, "view", found, by_default=True)
        found.check()

        def look() -> namespace_pb2.Namespace:
            record = self._core.engine.read(lambda view: view.namespace(name))
            return self._message(record, self._core.engine.table(name) if full else None)

        return await self._core.run(look)

    async def ListNamespaces(
        self, request: namespace_pb2.ListNamespacesRequest, call: Call
    ) -> namespace_pb2.ListNamespacesResponse:
        found = Violations()
        size = pages.page_size(request.page_size, "page_size", found)
        full = values.read_view(request.view, "view", found, by_default=False)
        if request.state not in namespace_pb2.NamespaceState.values():
            found.add("state", f"{request.state} is unknown: say PRESENT or ABSENT, or leave it out for both")
        found.check()
        cursor = call.cursor(request)
        wanted = dict(request.labels)

        def matches(record: NamespaceRecord) -> bool:
            return (
                call.sees(record.namespace.name)
                and has_labels(record.namespace.labels, wanted)
                and request.state in (namespace_pb2.NAMESPACE_STATE_UNSPECIFIED, self._message(record).state)
            )

        def look(view: View) -> namespace_pb2.ListNamespacesResponse:
            revision = cursor.revision if cursor else view.revision
            after = str(cursor.after[0]) if cursor else ""
            records = [one for one in view.namespaces(after=after, limit=ALL) if matches(one)]
            told = [self._message(one) for one in records[:size]]
            token = ""
            if len(records) > size:
                token = call.token(request, pages.Cursor((records[size - 1].namespace.name,), revision))
            return namespace_pb2.ListNamespacesResponse(namespaces=told, next_page_token=token, revision=revision)

        def whole() -> namespace_pb2.ListNamespacesResponse:
            response = self._core.engine.read(look)
            for message in response.namespaces if full else ():
                table = self._core.engine.table(message.name.partition("/")[2])
                if table is not None:
                    message.usage.CopyFrom(namespace.usage_message(table))
            return response

        return await self._core.run(whole)

    async def CreateNamespace(
        self, request: namespace_pb2.CreateNamespaceRequest, call: Call
    ) -> namespace_pb2.Namespace:
        found = Violations()
        name = names.check_new_id("a namespace", request.namespace_id, "namespace_id", found)
        value = found.taken(namespace.to_model(request.namespace, name, "namespace", found))

        def act(transaction: Transaction) -> Callable[[Carried], namespace_pb2.Namespace]:
            self._create(transaction, value)
            return lambda _carried: self._message(transaction.namespace(name))

        return await call.change(request, namespace_pb2.Namespace, act)

    async def UpdateNamespace(
        self, request: namespace_pb2.UpdateNamespaceRequest, call: Call
    ) -> namespace_pb2.Namespace:
        found = Violations()
        name = names.parse_namespace(request.namespace.name, "namespace.name", found)
        found.check()
        mask = request.update_mask if request.HasField("update_mask") else None

        def act(transaction: Transaction) -> Callable[[Carried], namespace_pb2.Namespace]:
            now = transaction.find_namespace(name)
            if now is None and request.allow_missing:
                self._create(transaction, _read(request.namespace, name, None), etag=request.namespace.etag)
            else:
                self._update(transaction, request.namespace, name, mask)
            return lambda _carried: self._message(transaction.namespace(name))

        return await call.change(request, namespace_pb2.Namespace, act)

    async def DeleteNamespace(
        self, request: namespace_pb2.DeleteNamespaceRequest, call: Call
    ) -> namespace_pb2.DeleteNamespaceResponse:
        found = Violations()
        name = names.parse_namespace(request.name, "name", found)
        found.check()

        def act(transaction: Transaction) -> Callable[[Carried], namespace_pb2.DeleteNamespaceResponse]:
            was = transaction.delete_namespace(
                name, etag=request.etag, force=request.force, missing_ok=request.allow_missing
            )
            revision = 0 if was is None or request.validate_only else transaction.revision
            return lambda carried: namespace_pb2.DeleteNamespaceResponse(
                revision=revision, aborted_sockets=carried.aborted
            )

        return await call.change(request, namespace_pb2.DeleteNamespaceResponse, act, abort=request.abort_sockets)

    async def ExportNamespace(
        self, request: namespace_pb2.ExportNamespaceRequest, call: Call
    ) -> namespace_pb2.ExportNamespaceResponse:
        found = Violations()
        name = names.parse_namespace(request.name, "name", found)
        found.check()

        def look(view: View) -> namespace_pb2.ExportNamespaceResponse:
            sync = self._core.sync
            return namespace_pb2.ExportNamespaceResponse(
                namespace=self._message(view.namespace(name)),
                endpoints=endpoint_pb2.EndpointSet(
                    endpoints=[endpoint.to_message(one, sync=sync(one)) for one in view.endpoints(name, limit=ALL)]
                ),
                rules=rule_pb2.RuleSet(
                    rules=[rule.to_message(one, sync=sync(one)) for one in view.rules(name, limit=ALL)]
                ),
                acl_rules=acl_pb2.AclRuleSet(acl_rules=[acl.to_message(one, sync=sync(one)) for one in view.acl(name)]),
                etag=view.content_etag(name),
                revision=view.revision,
            )

        return await call.read(look)

    async def ApplyNamespace(
        self, request: namespace_pb2.ApplyNamespaceRequest, call: Call
    ) -> namespace_pb2.ApplyNamespaceResponse:
        found = Violations()
        name = names.parse_namespace(request.name, "name", found)
        # It may be long, and the loop has others to answer.
        read = await asyncio.to_thread(content.to_model, request, name, found)
        if request.HasField("namespace"):
            namespace.to_model(request.namespace, name or "x", "namespace", found)
        wanted = found.taken(read)

        def act(transaction: Transaction) -> Callable[[Carried], namespace_pb2.ApplyNamespaceResponse]:
            before = transaction.revision - 1  # the present one
            space = self._applied(transaction, request, name)
            transaction.apply(space, name, wanted, etag=request.namespace.etag, content_etag=request.etag)
            changes = transaction.changes

            def answer(carried: Carried) -> namespace_pb2.ApplyNamespaceResponse:
                return namespace_pb2.ApplyNamespaceResponse(
                    namespace=self._message(transaction.namespace(name)),
                    differences=difference.differences(changes, boot_id=self._core.boot_id),
                    revision=transaction.revision if changes and not request.validate_only else before,
                    etag="" if request.validate_only else transaction.content_etag(name),
                    aborted_sockets=carried.aborted,
                )

            return answer

        return await call.change(
            request,
            namespace_pb2.ApplyNamespaceResponse,
            act,
            abort=request.abort_sockets,
            within_policy=request.within_policy,
        )

    async def ImportNamespace(
        self, request: namespace_pb2.ImportNamespaceRequest, call: Call
    ) -> namespace_pb2.ImportNamespaceResponse:
        found = Violations()
        name = names.check_new_id("a namespace", request.namespace_id, "namespace_id", found)
        value = found.taken(namespace.to_model(request.namespace, name, "namespace", found))
        once = call.once(request, namespace_pb2.ImportNamespaceResponse)

        def finish(
            transaction: Transaction, record: NamespaceRecord, adopted: NamespaceContent
        ) -> namespace_pb2.ImportNamespaceResponse:
            message = namespace_pb2.ImportNamespaceResponse(
                namespace=namespace.to_message(record, boot_id=self._core.boot_id),
                endpoints=len(adopted.endpoints or ()),
                rules=len(adopted.rules or ()),
                acl_rules=len(adopted.acl or ()),
                revision=0 if request.validate_only else transaction.revision,
            )
            once.keep(transaction, message)
            return message

        def adopt() -> namespace_pb2.ImportNamespaceResponse:
            return self._core.engine.adopt(self._pinned(value), once.known, finish, dry_run=request.validate_only)

        return await self._core.finish(adopt)

    async def FreezeNamespace(
        self, request: namespace_pb2.FreezeNamespaceRequest, call: Call
    ) -> namespace_pb2.Namespace:
        found = Violations()
        name = names.parse_namespace(request.name, "name", found)
        freeze = namespace.read_freeze(request.reason, "reason", found)
        found.check()
        return await self._freeze(request, call, name, freeze)

    async def UnfreezeNamespace(
        self, request: namespace_pb2.UnfreezeNamespaceRequest, call: Call
    ) -> namespace_pb2.Namespace:
        found = Violations()
        name = names.parse_namespace(request.name, "name", found)
        found.check()
        return await self._freeze(request, call, name, None)

    async def _freeze(
        self,
        request: namespace_pb2.FreezeNamespaceRequest | namespace_pb2.UnfreezeNamespaceRequest,
        call: Call,
        name: str,
        freeze: Freeze | None,
    ) -> namespace_pb2.Namespace:
        def act(transaction: Transaction) -> Callable[[Carried], namespace_pb2.Namespace]:
            now = transaction.namespace(name).namespace
            if freeze is None or now.freeze is None:
                transaction.update_namespace(replace(now, freeze=freeze))
            return lambda _carried: self._message(transaction.namespace(name))

        return await call.change(request, namespace_pb2.Namespace, act)

    def _applied(
        self, transaction: Transaction, request: namespace_pb2.ApplyNamespaceRequest, name: str
    ) -> Namespace | None:
        """What an apply says of the namespace itself; None where it is to stay."""
        there = transaction.find_namespace(name)
        if not request.HasField("namespace"):
            if there is None and request.allow_missing:
                missing = Violations()
                missing.add("namespace", "it is missing: a namespace that is to be created needs its selector")
                missing.check()
            transaction.namespace(name)  # or NotFoundError
            return None
        if there is None and not request.allow_missing:
            transaction.namespace(name)  # NotFoundError
        return self._pinned(_read(request.namespace, name, there))

    def _create(self, transaction: Transaction, value: Namespace, etag: str = "") -> None:
        transaction.create_namespace(self._pinned(value), etag=etag)

    def _update(
        self, transaction: Transaction, sent: namespace_pb2.Namespace, name: str, mask: FieldMask | None
    ) -> None:
        now = transaction.namespace(name)
        current = namespace.to_message(now, boot_id=self._core.boot_id)
        merged = masks.merge(sent, mask, current, masks.NAMESPACE, "namespace")
        transaction.update_namespace(self._pinned(_read(merged, name, now)), etag=sent.etag)

    def _pinned(self, value: Namespace) -> Namespace:
        return replace(value, selector=self._core.engine.pin(value.name, value.selector))

    def _message(self, record: NamespaceRecord, table: Table | None = None) -> namespace_pb2.Namespace:
        return namespace.to_message(record, boot_id=self._core.boot_id, sync=self._core.sync(record), table=table)


def _read(message: namespace_pb2.Namespace, name: str, now: NamespaceRecord | None) -> Namespace:
    found = Violations()
    return found.taken(
        namespace.to_model(message, name, "namespace", found, current=None if now is None else now.namespace)
    )
