# SPDX-License-Identifier: Apache-2.0
"""The sockets, the node and the watches of graftcli_fake."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator

import grpc

from graft.v1 import node_pb2_grpc, socket_pb2_grpc, watch_pb2_grpc
from graft_client import messages as m
from unit.graftcli_fake_state import State, fail


class Sockets(State, socket_pb2_grpc.SocketServiceServicer):
    def ListSockets(self, request: m.ListSocketsRequest, context: grpc.ServicerContext) -> m.ListSocketsResponse:  # noqa: N802
        found = [
            one
            for one in self.sockets
            if (request.parent == "namespaces/-" or one.name.startswith(f"{request.parent}/"))
            and request.endpoint in ("", one.endpoint)
        ]
        page, token = self.pages(found, request)
        return m.ListSocketsResponse(sockets=page, next_page_token=token)

    def AbortSockets(self, request: m.AbortSocketsRequest, context: grpc.ServicerContext) -> m.AbortSocketsResponse:  # noqa: N802
        def meant(one: m.Socket) -> bool:
            by = {
                "all": True,
                "endpoint": one.endpoint == request.endpoint,
                "sockets": one.name in request.sockets.names,
            }
            return one.name.startswith(f"{request.parent}/") and by[request.WhichOneof("what") or ""]

        before = len(self.sockets)
        self.sockets = [one for one in self.sockets if not meant(one)]
        return m.AbortSocketsResponse(aborted_sockets=before - len(self.sockets))

    def WatchSockets(  # noqa: N802
        self, request: m.WatchSocketsRequest, context: grpc.ServicerContext
    ) -> Iterator[m.WatchSocketsResponse]:
        yield m.WatchSocketsResponse()
        found = [
            one
            for one in self.events
            if request.parent in ("namespaces/-", one.namespace)
            and request.endpoint in ("", one.endpoint)
            and (not request.kinds or one.kind in request.kinds)
        ]
        if request.recent:
            yield m.WatchSocketsResponse(events=found[-request.recent :], lost=self.lost)
        while context.is_active() and not self.end_watches.wait(0.02):
            pass


class Node(State, node_pb2_grpc.NodeServiceServicer):
    def GetVersion(self, request: m.GetVersionRequest, context: grpc.ServicerContext) -> m.GetVersionResponse:  # noqa: N802
        return m.GetVersionResponse(version="1.2.3", api_packages=["graft.v1"])

    def GetStatus(self, request: m.GetStatusRequest, context: grpc.ServicerContext) -> m.NodeStatus:  # noqa: N802
        self.status.store.revision = self.revision
        self.status.store.namespaces_present = len(self.namespaces)
        return self.status

    def Reconcile(self, request: m.ReconcileRequest, context: grpc.ServicerContext) -> m.ReconcileResponse:  # noqa: N802
        repair = m.Difference(name="namespaces/web/endpoints/ep-http", kind=m.DIFFERENCE_KIND_CREATED)
        return m.ReconcileResponse(repairs=[repair], repaired=1, revision=self.revision)

    def Freeze(self, request: m.FreezeRequest, context: grpc.ServicerContext) -> m.FreezeResponse:  # noqa: N802
        self.status.frozen, self.status.freeze_reason = True, request.reason
        return m.FreezeResponse(namespaces=len(self.namespaces))

    def Unfreeze(self, request: m.UnfreezeRequest, context: grpc.ServicerContext) -> m.UnfreezeResponse:  # noqa: N802
        self.status.frozen, self.status.freeze_reason = False, ""
        return m.UnfreezeResponse(namespaces=sum(one.frozen for one in self.namespaces.values()))

    def ListTables(self, request: m.ListTablesRequest, context: grpc.ServicerContext) -> m.ListTablesResponse:  # noqa: N802
        found = [one for one in self.tables if not (request.unregistered_only and one.namespace)]
        page, token = self.pages(found, request)
        return m.ListTablesResponse(tables=page, next_page_token=token)

    def WatchNode(self, request: m.WatchNodeRequest, context: grpc.ServicerContext) -> Iterator[m.WatchNodeResponse]:  # noqa: N802
        yield m.WatchNodeResponse()
        yield m.WatchNodeResponse(events=self.node_events, lost=self.lost)
        while context.is_active() and not self.end_watches.wait(0.02):
            pass

    def Backup(self, request: m.BackupRequest, context: grpc.ServicerContext) -> Iterator[m.BackupResponse]:  # noqa: N802
        half = len(self.database) // 2
        yield m.BackupResponse(data=self.database[:half], revision=7)
        yield m.BackupResponse(data=self.database[half:], sha256=hashlib.sha256(self.database).digest())

    def Restore(self, request_iterator: Iterator[m.RestoreRequest], context: grpc.ServicerContext) -> m.RestoreResponse:  # noqa: N802
        pieces = list(request_iterator)
        data = b"".join(piece.data for piece in pieces)
        if pieces[-1].sha256 != hashlib.sha256(data).digest() or not data.startswith(b"SQLite format 3"):
            message = "this is no whole copy of a store: take one that graftcli backup wrote"
            fail(context, grpc.StatusCode.INVALID_ARGUMENT, "BACKUP_DAMAGED", message)
        if not pieces[0].validate_only:
            self.restored = data
            self.history = str(uuid.uuid4())
        return m.RestoreResponse(revision=9, history_id=self.history)


class Watch(State, watch_pb2_grpc.WatchServiceServicer):
    def Watch(self, request: m.WatchRequest, context: grpc.ServicerContext) -> Iterator[m.WatchResponse]:  # noqa: N802
        after = request.after_revision if request.HasField("after_revision") else self.revision
        if request.history_id not in ("", self.history):
            message = "the store was restored from a backup: list again"
            fail(context, grpc.StatusCode.FAILED_PRECONDITION, "HISTORY_CHANGED", message, history_id=self.history)
        if after < self.oldest:
            message = f"changes after revision {after} are no longer known: list again"
            fail(context, grpc.StatusCode.OUT_OF_RANGE, "REVISION_GONE", message, oldest_revision=str(self.oldest))
        types = {1: "namespace", 2: "endpoint", 3: "rule", 4: "acl_rule"}
        wanted = {types[kind] for kind in request.types or types}
        yield m.WatchResponse(revision=after, history_id=self.history)
        while context.is_active():
            with self.changed:
                found = [(revision, changes) for revision, changes in self.log if revision > after]
                if not found:
                    if self.end_watches.is_set():
                        fail(context, grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN", "graftd is ending")
                    self.changed.wait(0.02)
                    continue
            for revision, changes in found:
                told = [one for one in changes if one.WhichOneof("resource") in wanted]
                # Each change in a message of its own: clients put fragments together.
                for change in told[:-1]:
                    yield m.WatchResponse(revision=revision, changes=[change], fragment=True, history_id=self.history)
                answer = m.WatchResponse(revision=revision, changes=told[-1:], history_id=self.history)
                answer.commit_time.GetCurrentTime()
                yield answer
                after = revision
