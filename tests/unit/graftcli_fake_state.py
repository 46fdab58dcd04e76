# SPDX-License-Identifier: Apache-2.0
"""What the graftd of graftcli_fake holds, and what all its services do with it."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from graft.rpc.v1.status_pb2 import BadRequest, ErrorInfo, Status
from graft_client import messages as m

Fields = Mapping[str, str]
OUTPUT_ONLY = {"uid", "sync", "create_time", "update_time", "revision", "etag", "frozen", "freeze_reason", "state"}
OUTPUT_ONLY |= {"netns_cookie", "usage", "counters", "index", "name"}


def details(code: grpc.StatusCode, reason: str, message: str, fields: Fields, metadata: Fields) -> bytes:
    """What is in grpc-status-details-bin."""
    parts: list[tuple[str, Message]] = [("ErrorInfo", ErrorInfo(reason=reason, domain="graftd", metadata=metadata))]
    if fields:
        wrong = [BadRequest.FieldViolation(field=field, description=text) for field, text in fields.items()]
        parts.append(("BadRequest", BadRequest(field_violations=wrong)))
    packed = [
        AnyMessage(type_url=f"type.googleapis.com/google.rpc.{name}", value=part.SerializeToString())
        for name, part in parts
    ]
    return Status(code=code.value[0], message=message, details=packed).SerializeToString()


def fail(
    context: grpc.ServicerContext,
    code: grpc.StatusCode,
    reason: str,
    message: str,
    fields: Fields | None = None,
    **metadata: str,
) -> NoReturn:
    packed = details(code, reason, message, fields or {}, metadata)
    context.set_trailing_metadata((("grpc-status-details-bin", packed),))
    context.abort(code, message)
    raise AssertionError("abort raises")


class State:
    """The state, to be looked at and changed by tests."""

    def __init__(self) -> None:
        self.namespaces: dict[str, m.Namespace] = {}
        self.endpoints: dict[str, m.Endpoint] = {}
        self.rules: dict[str, m.Rule] = {}
        self.acl: dict[str, list[m.AclRule]] = {}
        self.sockets: list[m.Socket] = []
        self.events: list[m.SocketEvent] = []
        self.node_events: list[m.NodeEvent] = []
        self.tables: list[m.Table] = []
        self.status = m.NodeStatus(state=m.NODE_STATE_READY, version="1.2.3")
        self.status.kernel.module_state = m.MODULE_STATE_LOADED
        self.status.kernel.module_version = "1.2.3"
        self.status.kernel.capabilities.ipv6 = True
        self.status.reconcile.sync.state = m.SYNC_STATE_IN_SYNC
        self.database = b"SQLite format 3\0" + bytes(range(256)) * 5000
        self.restored = b""
        self.revision = 0
        self.history = str(uuid.uuid4())
        self.oldest = 0
        self.log: list[tuple[int, list[m.Change]]] = []
        self.requests: list[tuple[str, Message]] = []
        self.remembered: dict[str, tuple[bytes, Any]] = {}
        # What the next calls of a method fail with, first to last: code, reason, message.
        self.failures: dict[str, list[tuple[grpc.StatusCode, str, str]]] = {}
        # Whether a call that is to fail is carried out first, as where the answer is lost.
        self.done_anyway = False
        self.page_size = 0
        # What `ip netns` does not have, and how many events a watch lost.
        self.missing: set[str] = set()
        self.lost = 0
        self.end_watches = threading.Event()
        self.changed = threading.Condition()

    def commit(self, *changes: m.Change) -> int:
        with self.changed:
            self.revision += 1
            self.log.append((self.revision, list(changes)))
            self.changed.notify_all()
        return self.revision

    def stamp(self, resource: Any) -> None:
        """What every change sets."""
        resource.uid = resource.uid or str(uuid.uuid4())
        resource.revision = self.revision + 1
        resource.sync.state = m.SYNC_STATE_IN_SYNC
        resource.update_time.GetCurrentTime()
        if not resource.HasField("create_time"):
            resource.create_time.GetCurrentTime()
        resource.etag = self.etag(resource)

    @staticmethod
    def etag(resource: Message) -> str:
        """Of what can be set."""
        found = type(resource)()
        found.CopyFrom(resource)
        for field in OUTPUT_ONLY & set(found.DESCRIPTOR.fields_by_name):
            found.ClearField(field)
        return hashlib.sha256(found.SerializeToString(deterministic=True)).hexdigest()[:16]

    def find(self, kind: dict[str, Any], name: str, reason: str, context: grpc.ServicerContext) -> Any:
        if name not in kind:
            what = reason.removesuffix("_NOT_FOUND").lower().replace("_", " ")
            fail(context, grpc.StatusCode.NOT_FOUND, reason, f"there is no {what} {name}", resource=name)
        return kind[name]

    def namespace(self, name: str, context: grpc.ServicerContext) -> m.Namespace:
        found: m.Namespace = self.find(self.namespaces, name, "NAMESPACE_NOT_FOUND", context)
        return found

    def free(self, kind: dict[str, Any], name: str, reason: str, context: grpc.ServicerContext) -> None:
        if name in kind:
            fail(context, grpc.StatusCode.ALREADY_EXISTS, reason, f"there is {name} already", resource=name)

    def update(self, present: Any, wanted: Any, mask: Sequence[str], context: grpc.ServicerContext) -> Any:
        """A copy of `present` with the fields of the mask taken over."""
        if wanted.etag and wanted.etag != present.etag:
            message = f"{present.name} was changed since: read it again"
            fail(context, grpc.StatusCode.ABORTED, "ETAG_MISMATCH", message, etag=present.etag)
        made = type(present)()
        made.CopyFrom(present)
        for path in mask:
            source, target = wanted, made
            *outer, field = path.split(".")
            for part in outer:
                source, target = getattr(source, part), getattr(target, part)
            if field not in target.DESCRIPTOR.fields_by_name or field in OUTPUT_ONLY:
                message = f"'{path}' is no field that can be set"
                fail(context, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_MASK", message, {"update_mask": message})
            target.ClearField(field)
            part_of = type(target)()
            part_of.CopyFrom(source)
            for other in part_of.DESCRIPTOR.fields_by_name:
                if other != field:
                    part_of.ClearField(other)
            target.MergeFrom(part_of)
        return made

    def pages(self, items: list[Any], request: Any) -> tuple[list[Any], str]:
        size = self.page_size or request.page_size or 500
        start = int(request.page_token or 0)
        more = str(start + size) if start + size < len(items) else ""
        return items[start : start + size], more

    def under(self, kind: dict[str, Any], parent: str, context: grpc.ServicerContext) -> list[Any]:
        if parent != "namespaces/-":
            self.namespace(parent, context)
        return [kind[name] for name in sorted(kind) if parent in ("namespaces/-", "/".join(name.split("/")[:2]))]

    def all_acl(self) -> dict[str, m.AclRule]:
        return {one.name: one for rules in self.acl.values() for one in rules}

    def number_acl(self, parent: str) -> None:
        for index, one in enumerate(self.acl.get(parent, []), start=1):
            one.index = index
