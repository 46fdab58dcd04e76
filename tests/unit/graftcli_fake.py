# SPDX-License-Identifier: Apache-2.0
"""A graftd that keeps everything in memory, behind a real gRPC server, for tests of the clients.

It does what the contract says as far as clients can tell. There is no policy, no role and no kernel.
"""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from graft.rpc.v1.status_pb2 import BadRequest, ErrorInfo, Status
from graft.v1 import (
    acl_pb2_grpc,
    endpoint_pb2_grpc,
    namespace_pb2_grpc,
    node_pb2_grpc,
    rule_pb2_grpc,
    socket_pb2_grpc,
    watch_pb2_grpc,
)
from graft_client import messages as m

Resource = TypeVar("Resource", m.Namespace, m.Endpoint, m.Rule, m.AclRule)
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


class Fake(
    namespace_pb2_grpc.NamespaceServiceServicer,
    endpoint_pb2_grpc.EndpointServiceServicer,
    rule_pb2_grpc.RuleServiceServicer,
    acl_pb2_grpc.AclServiceServicer,
    socket_pb2_grpc.SocketServiceServicer,
    node_pb2_grpc.NodeServiceServicer,
    watch_pb2_grpc.WatchServiceServicer,
):
    """The state, to be looked at and changed by tests, and every method."""

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
        self.end_watches = threading.Event()
        self.changed = threading.Condition()

    # Helpers

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

    # Namespaces

    def GetNamespace(self, request: m.GetNamespaceRequest, context: grpc.ServicerContext) -> m.Namespace:  # noqa: N802
        found = self.namespace(request.name, context)
        found.usage.endpoints = sum(one.startswith(f"{request.name}/") for one in self.endpoints)
        return found

    def ListNamespaces(  # noqa: N802
        self, request: m.ListNamespacesRequest, context: grpc.ServicerContext
    ) -> m.ListNamespacesResponse:
        wanted = dict(request.labels).items()
        found = [self.namespaces[name] for name in sorted(self.namespaces)]
        found = [one for one in found if wanted <= dict(one.labels).items() and request.state in (0, one.state)]
        page, token = self.pages(found, request)
        return m.ListNamespacesResponse(namespaces=page, next_page_token=token, revision=self.revision)

    def CreateNamespace(self, request: m.CreateNamespaceRequest, context: grpc.ServicerContext) -> m.Namespace:  # noqa: N802
        name = f"namespaces/{request.namespace_id}"
        self.free(self.namespaces, name, "NAMESPACE_EXISTS", context)
        made = m.Namespace()
        made.CopyFrom(request.namespace)
        made.name = name
        made.state = m.NAMESPACE_STATE_PRESENT
        made.netns_cookie = 4096 + len(self.namespaces)
        self.stamp(made)
        if not request.validate_only:
            self.namespaces[name] = made
            self.commit(m.Change(kind=m.CHANGE_KIND_CREATED, namespace=made))
        return made

    def UpdateNamespace(self, request: m.UpdateNamespaceRequest, context: grpc.ServicerContext) -> m.Namespace:  # noqa: N802
        present = self.namespace(request.namespace.name, context)
        made: m.Namespace = self.update(present, request.namespace, request.update_mask.paths, context)
        self.stamp(made)
        if not request.validate_only:
            self.namespaces[made.name] = made
            self.commit(m.Change(kind=m.CHANGE_KIND_UPDATED, namespace=made))
        return made

    def DeleteNamespace(  # noqa: N802
        self, request: m.DeleteNamespaceRequest, context: grpc.ServicerContext
    ) -> m.DeleteNamespaceResponse:
        if request.allow_missing and request.name not in self.namespaces:
            return m.DeleteNamespaceResponse()
        self.namespace(request.name, context)
        inside = [name for name in (*self.endpoints, *self.rules) if name.startswith(f"{request.name}/")]
        if inside and not request.force:
            message = f"{request.name} holds {len(inside)} resources: delete them first, or with force"
            fail(context, grpc.StatusCode.FAILED_PRECONDITION, "NAMESPACE_NOT_EMPTY", message)
        if request.validate_only:
            return m.DeleteNamespaceResponse()
        for name in inside:
            self.endpoints.pop(name, None)
            self.rules.pop(name, None)
        gone = self.namespaces.pop(request.name)
        self.acl.pop(request.name, None)
        return m.DeleteNamespaceResponse(revision=self.commit(m.Change(kind=m.CHANGE_KIND_DELETED, namespace=gone)))

    def ExportNamespace(  # noqa: N802
        self, request: m.ExportNamespaceRequest, context: grpc.ServicerContext
    ) -> m.ExportNamespaceResponse:
        namespace = self.namespace(request.name, context)
        answer = m.ExportNamespaceResponse(namespace=namespace, revision=self.revision, etag="whole")
        answer.endpoints.endpoints.extend(self.under(self.endpoints, request.name, context))
        answer.rules.rules.extend(self.under(self.rules, request.name, context))
        answer.acl_rules.acl_rules.extend(self.acl.get(request.name, []))
        return answer

    def ApplyNamespace(  # noqa: N802
        self, request: m.ApplyNamespaceRequest, context: grpc.ServicerContext
    ) -> m.ApplyNamespaceResponse:
        name = request.name
        if name not in self.namespaces and not (request.allow_missing and request.HasField("namespace")):
            self.namespace(name, context)
        work = Fake()
        for part in ("namespaces", "endpoints", "rules"):
            getattr(work, part).update(getattr(self, part))
        work.acl = {parent: list(rules) for parent, rules in self.acl.items()}
        work.revision = self.revision
        differences: list[m.Difference] = []

        def differs(kind: int, of: str, paths: Sequence[str] = ()) -> None:
            difference = m.Difference(name=of, kind=kind)  # type: ignore[arg-type]
            difference.fields.paths.extend(paths)
            differences.append(difference)

        if request.HasField("namespace"):
            self.apply_namespace(work, request, differs)
        if request.HasField("endpoints"):
            self.replace(work.endpoints, list(request.endpoints.endpoints), name, differs)
        if request.HasField("rules"):
            self.apply_rules(work, request, differs)
        if request.HasField("acl_rules"):
            self.apply_acl(work, request, differs)
        answer = m.ApplyNamespaceResponse(differences=differences, revision=self.revision)
        if not request.validate_only and differences:
            self.namespaces, self.endpoints, self.rules, self.acl = (
                work.namespaces,
                work.endpoints,
                work.rules,
                work.acl,
            )
            self.number_acl(name)
            answer.revision = self.commit(*(self.change(one) for one in differences))
        if name in work.namespaces:
            answer.namespace.CopyFrom(work.namespaces[name])
        return answer

    def apply_namespace(self, work: Fake, request: m.ApplyNamespaceRequest, differs: Callable[..., None]) -> None:
        wanted = m.Namespace()
        wanted.CopyFrom(request.namespace)
        wanted.name, wanted.state = request.name, m.NAMESPACE_STATE_PRESENT
        present = self.namespaces.get(request.name)
        if present is None:
            differs(m.DIFFERENCE_KIND_CREATED, request.name)
        elif self.etag(present) != self.etag(wanted):
            fields = ("selector", "labels", "annotations", "limits")
            paths = [field for field in fields if getattr(present, field) != getattr(wanted, field)]
            differs(m.DIFFERENCE_KIND_UPDATED, request.name, paths)
        else:
            return
        self.stamp(wanted)
        work.namespaces[request.name] = wanted

    def apply_rules(self, work: Fake, request: m.ApplyNamespaceRequest, differs: Callable[..., None]) -> None:
        parent = f"{request.name}/"
        by_selector = {self.selector(one): key for key, one in self.rules.items() if key.startswith(parent)}
        for number, one in enumerate(request.rules.rules):
            made = f"{parent}rules/made-{self.revision}-{number}"
            one.name = one.name or by_selector.get(self.selector(one)) or made
        self.replace(work.rules, list(request.rules.rules), request.name, differs)

    def apply_acl(self, work: Fake, request: m.ApplyNamespaceRequest, differs: Callable[..., None]) -> None:
        present = {one.name: one for one in self.acl.get(request.name, [])}
        by_content = {self.etag(one): key for key, one in present.items()}
        for number, one in enumerate(request.acl_rules.acl_rules):
            made = f"{request.name}/aclRules/made-{self.revision}-{number}"
            one.name = one.name or by_content.get(self.etag(one)) or made
        self.replace(present, list(request.acl_rules.acl_rules), request.name, differs)
        work.acl[request.name] = [present[one.name] for one in request.acl_rules.acl_rules]

    def replace(self, kind: dict[str, Any], wanted: list[Any], parent: str, differs: Callable[..., None]) -> None:
        for one in wanted:
            present = kind.get(one.name)
            if present is not None and self.etag(present) == self.etag(one):
                continue
            made = type(one)()
            made.CopyFrom(one)
            paths = [] if present is None else [f.name for f in made.DESCRIPTOR.fields if f.name not in OUTPUT_ONLY]
            paths = [path for path in paths if getattr(present, path) != getattr(made, path)]
            differs(m.DIFFERENCE_KIND_CREATED if present is None else m.DIFFERENCE_KIND_UPDATED, one.name, paths)
            self.stamp(made)
            kind[one.name] = made
        names = {one.name for one in wanted}
        for name in [name for name in kind if name.startswith(f"{parent}/") and name not in names]:
            differs(m.DIFFERENCE_KIND_DELETED, name)
            del kind[name]

    def change(self, difference: m.Difference) -> m.Change:
        kind = int(difference.kind)
        for field, held in (("namespace", self.namespaces), ("endpoint", self.endpoints), ("rule", self.rules)):
            if difference.name in held:
                return m.Change(kind=kind, **{field: held[difference.name]})  # type: ignore[arg-type]
        return m.Change(kind=kind, endpoint=m.Endpoint(name=difference.name))  # type: ignore[arg-type]

    @staticmethod
    def selector(rule: m.Rule) -> tuple[object, ...]:
        ports = (rule.ports.low, rule.ports.high) if rule.HasField("ports") else (1, 65535)
        return rule.direction, rule.network, tuple(rule.protocols), ports

    def ImportNamespace(  # noqa: N802
        self, request: m.ImportNamespaceRequest, context: grpc.ServicerContext
    ) -> m.ImportNamespaceResponse:
        wanted = m.CreateNamespaceRequest(
            namespace_id=request.namespace_id, namespace=request.namespace, validate_only=request.validate_only
        )
        return m.ImportNamespaceResponse(
            namespace=self.CreateNamespace(wanted, context), endpoints=3, rules=2, acl_rules=1, revision=self.revision
        )

    def FreezeNamespace(self, request: m.FreezeNamespaceRequest, context: grpc.ServicerContext) -> m.Namespace:  # noqa: N802
        return self.set_frozen(request.name, request.reason, context, frozen=True, dry=request.validate_only)

    def UnfreezeNamespace(self, request: m.UnfreezeNamespaceRequest, context: grpc.ServicerContext) -> m.Namespace:  # noqa: N802
        return self.set_frozen(request.name, "", context, frozen=False, dry=request.validate_only)

    def set_frozen(
        self, name: str, reason: str, context: grpc.ServicerContext, *, frozen: bool, dry: bool
    ) -> m.Namespace:
        made = m.Namespace()
        made.CopyFrom(self.namespace(name, context))
        made.frozen, made.freeze_reason = frozen, reason
        if not dry:
            self.namespaces[name] = made
            self.commit(m.Change(kind=m.CHANGE_KIND_UPDATED, namespace=made))
        return made

    # Endpoints

    def GetEndpoint(self, request: m.GetEndpointRequest, context: grpc.ServicerContext) -> m.Endpoint:  # noqa: N802
        found: m.Endpoint = self.find(self.endpoints, request.name, "ENDPOINT_NOT_FOUND", context)
        return found

    def ListEndpoints(  # noqa: N802
        self, request: m.ListEndpointsRequest, context: grpc.ServicerContext
    ) -> m.ListEndpointsResponse:
        wanted = dict(request.labels).items()
        found = [
            one for one in self.under(self.endpoints, request.parent, context) if wanted <= dict(one.labels).items()
        ]
        page, token = self.pages(found, request)
        return m.ListEndpointsResponse(endpoints=page, next_page_token=token, revision=self.revision)

    def CreateEndpoint(self, request: m.CreateEndpointRequest, context: grpc.ServicerContext) -> m.Endpoint:  # noqa: N802
        self.namespace(request.parent, context)
        name = f"{request.parent}/endpoints/{request.endpoint_id}"
        self.free(self.endpoints, name, "ENDPOINT_EXISTS", context)
        if request.endpoint_id.startswith("."):
            sentence = "an id begins with a letter or a digit"
            fail(
                context,
                grpc.StatusCode.INVALID_ARGUMENT,
                "INVALID_FIELD",
                "the request is wrong",
                {"endpoint_id": sentence},
            )
        return self.put_endpoint(name, request.endpoint, m.CHANGE_KIND_CREATED, dry=request.validate_only)

    def put_endpoint(self, name: str, endpoint: m.Endpoint, kind: m.ChangeKind, *, dry: bool) -> m.Endpoint:
        made = m.Endpoint()
        made.CopyFrom(endpoint)
        made.name = name
        self.stamp(made)
        if not dry:
            self.endpoints[name] = made
            self.commit(m.Change(kind=kind, endpoint=made))
        return made

    def BatchCreateEndpoints(  # noqa: N802
        self, request: m.BatchCreateEndpointsRequest, context: grpc.ServicerContext
    ) -> m.BatchCreateEndpointsResponse:
        for one in request.requests:
            one.parent = request.parent
        return m.BatchCreateEndpointsResponse(endpoints=[self.CreateEndpoint(one, context) for one in request.requests])

    def UpdateEndpoint(self, request: m.UpdateEndpointRequest, context: grpc.ServicerContext) -> m.Endpoint:  # noqa: N802
        name = request.endpoint.name
        if request.abort_sockets:
            context.set_trailing_metadata((("graft-aborted-sockets", "2"),))
        if name not in self.endpoints and request.allow_missing:
            return self.put_endpoint(name, request.endpoint, m.CHANGE_KIND_CREATED, dry=request.validate_only)
        present = self.find(self.endpoints, name, "ENDPOINT_NOT_FOUND", context)
        made = self.update(present, request.endpoint, request.update_mask.paths, context)
        return self.put_endpoint(name, made, m.CHANGE_KIND_UPDATED, dry=request.validate_only)

    def DeleteEndpoint(  # noqa: N802
        self, request: m.DeleteEndpointRequest, context: grpc.ServicerContext
    ) -> m.DeleteEndpointResponse:
        if request.allow_missing and request.name not in self.endpoints:
            return m.DeleteEndpointResponse()
        gone = self.find(self.endpoints, request.name, "ENDPOINT_NOT_FOUND", context)
        aborted = 2 if request.abort_sockets else 0
        if request.validate_only:
            return m.DeleteEndpointResponse(aborted_sockets=aborted)
        del self.endpoints[request.name]
        revision = self.commit(m.Change(kind=m.CHANGE_KIND_DELETED, endpoint=gone))
        return m.DeleteEndpointResponse(revision=revision, aborted_sockets=aborted)

    # Rules

    def GetRule(self, request: m.GetRuleRequest, context: grpc.ServicerContext) -> m.Rule:  # noqa: N802
        found: m.Rule = self.find(self.rules, request.name, "RULE_NOT_FOUND", context)
        return found

    def ListRules(self, request: m.ListRulesRequest, context: grpc.ServicerContext) -> m.ListRulesResponse:  # noqa: N802
        found = [
            one
            for one in self.under(self.rules, request.parent, context)
            if request.direction in (0, one.direction) and request.endpoint in ("", one.endpoint)
        ]
        page, token = self.pages(found, request)
        return m.ListRulesResponse(rules=page, next_page_token=token, revision=self.revision)

    def CreateRule(self, request: m.CreateRuleRequest, context: grpc.ServicerContext) -> m.Rule:  # noqa: N802
        self.namespace(request.parent, context)
        name = f"{request.parent}/rules/{request.rule_id or f'made-{self.revision}'}"
        self.free(self.rules, name, "RULE_EXISTS", context)
        return self.put_rule(name, request.rule, m.CHANGE_KIND_CREATED, dry=request.validate_only)

    def put_rule(self, name: str, rule: m.Rule, kind: m.ChangeKind, *, dry: bool) -> m.Rule:
        made = m.Rule()
        made.CopyFrom(rule)
        made.name = name
        self.stamp(made)
        if not dry:
            self.rules[name] = made
            self.commit(m.Change(kind=kind, rule=made))
        return made

    def UpdateRule(self, request: m.UpdateRuleRequest, context: grpc.ServicerContext) -> m.Rule:  # noqa: N802
        present = self.find(self.rules, request.rule.name, "RULE_NOT_FOUND", context)
        made = self.update(present, request.rule, request.update_mask.paths, context)
        return self.put_rule(made.name, made, m.CHANGE_KIND_UPDATED, dry=request.validate_only)

    def DeleteRule(self, request: m.DeleteRuleRequest, context: grpc.ServicerContext) -> m.DeleteRuleResponse:  # noqa: N802
        gone = self.find(self.rules, request.name, "RULE_NOT_FOUND", context)
        if request.validate_only:
            return m.DeleteRuleResponse()
        del self.rules[request.name]
        return m.DeleteRuleResponse(revision=self.commit(m.Change(kind=m.CHANGE_KIND_DELETED, rule=gone)))

    # ACL rules

    def GetAclRule(self, request: m.GetAclRuleRequest, context: grpc.ServicerContext) -> m.AclRule:  # noqa: N802
        found: m.AclRule = self.find(self.all_acl(), request.name, "ACL_RULE_NOT_FOUND", context)
        return found

    def ListAclRules(self, request: m.ListAclRulesRequest, context: grpc.ServicerContext) -> m.ListAclRulesResponse:  # noqa: N802
        parents = sorted(self.acl) if request.parent == "namespaces/-" else [request.parent]
        found = [one for parent in parents for one in self.acl.get(parent, [])]
        page, token = self.pages([one for one in found if request.endpoint in ("", one.endpoint)], request)
        return m.ListAclRulesResponse(acl_rules=page, next_page_token=token, revision=self.revision)

    def CreateAclRule(self, request: m.CreateAclRuleRequest, context: grpc.ServicerContext) -> m.AclRule:  # noqa: N802
        self.namespace(request.parent, context)
        rules = list(self.acl.get(request.parent, []))
        name = f"{request.parent}/aclRules/{request.acl_rule_id or f'made-{self.revision}'}"
        self.free(self.all_acl(), name, "ACL_RULE_EXISTS", context)
        if request.index > len(rules) + 1:
            message = f"there is no index {request.index}: the ACL has {len(rules)} rules"
            fail(context, grpc.StatusCode.OUT_OF_RANGE, "INDEX_OUT_OF_RANGE", message, rules=str(len(rules)))
        made = m.AclRule()
        made.CopyFrom(request.acl_rule)
        made.name, made.index = name, request.index or len(rules) + 1
        self.stamp(made)
        if request.abort_sockets:
            context.set_trailing_metadata((("graft-aborted-sockets", "1"),))
        if not request.validate_only:
            rules.insert(made.index - 1, made)
            self.acl[request.parent] = rules
            self.number_acl(request.parent)
            self.commit(m.Change(kind=m.CHANGE_KIND_CREATED, acl_rule=made))
        return made

    def UpdateAclRule(self, request: m.UpdateAclRuleRequest, context: grpc.ServicerContext) -> m.AclRule:  # noqa: N802
        present = self.find(self.all_acl(), request.acl_rule.name, "ACL_RULE_NOT_FOUND", context)
        made: m.AclRule = self.update(present, request.acl_rule, request.update_mask.paths, context)
        self.stamp(made)
        if not request.validate_only:
            present.CopyFrom(made)
            self.commit(m.Change(kind=m.CHANGE_KIND_UPDATED, acl_rule=made))
        return made

    def MoveAclRule(self, request: m.MoveAclRuleRequest, context: grpc.ServicerContext) -> m.AclRule:  # noqa: N802
        present: m.AclRule = self.find(self.all_acl(), request.name, "ACL_RULE_NOT_FOUND", context)
        parent = "/".join(request.name.split("/")[:2])
        if not request.validate_only:
            rules = [one for one in self.acl[parent] if one.name != request.name]
            rules.insert((request.index or len(rules) + 1) - 1, present)
            self.acl[parent] = rules
            self.number_acl(parent)
            self.commit(m.Change(kind=m.CHANGE_KIND_UPDATED, acl_rule=present))
        return present

    def DeleteAclRule(  # noqa: N802
        self, request: m.DeleteAclRuleRequest, context: grpc.ServicerContext
    ) -> m.DeleteAclRuleResponse:
        gone = self.find(self.all_acl(), request.name, "ACL_RULE_NOT_FOUND", context)
        if request.validate_only:
            return m.DeleteAclRuleResponse()
        parent = "/".join(request.name.split("/")[:2])
        self.acl[parent] = [one for one in self.acl[parent] if one.name != request.name]
        self.number_acl(parent)
        return m.DeleteAclRuleResponse(revision=self.commit(m.Change(kind=m.CHANGE_KIND_DELETED, acl_rule=gone)))

    # Sockets

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
            yield m.WatchSocketsResponse(events=found[-request.recent :])
        while context.is_active() and not self.end_watches.wait(0.02):
            pass

    # The node

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
        yield m.WatchNodeResponse(events=self.node_events)
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

    # Watching

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


class _Interceptor(grpc.ServerInterceptor):
    """Records requests, repeats answers by request id, and lets calls fail as a test wants."""

    def __init__(self, fake: Fake) -> None:
        self.fake = fake

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler = continuation(handler_call_details)
        name = handler_call_details.method.rpartition("/")[2]
        if handler is None or handler.request_streaming or handler.response_streaming:
            return handler

        def behave(request: Any, context: grpc.ServicerContext) -> Any:
            self.fake.requests.append((name, request))
            waiting = self.fake.failures.get(name)
            failure = waiting.pop(0) if waiting else None
            if failure and not self.fake.done_anyway:
                self.fail(context, *failure)
            answer = self.answer(handler, request, context)
            if failure:
                self.fail(context, *failure)
            return answer

        return grpc.unary_unary_rpc_method_handler(behave, handler.request_deserializer, handler.response_serializer)

    def answer(self, handler: Any, request: Any, context: grpc.ServicerContext) -> Any:
        key = getattr(request, "request_id", "")
        content = request.SerializeToString(deterministic=True)
        if key in self.fake.remembered:
            before, answer = self.fake.remembered[key]
            if before != content:
                message = "this request id came with another request before"
                fail(context, grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED", message)
            return answer
        answer = handler.unary_unary(request, context)
        if key:
            self.fake.remembered[key] = (content, answer)
        return answer

    @staticmethod
    def fail(context: grpc.ServicerContext, code: grpc.StatusCode, reason: str, message: str) -> None:
        if reason:
            fail(context, code, reason, message)
        context.abort(code, message)


def serve(fake: Fake, path: Path, credentials: grpc.ServerCredentials | None = None) -> tuple[grpc.Server, int]:
    """A server of it on a unix socket, or with credentials on a port of the loopback, which is returned."""
    server = grpc.server(futures.ThreadPoolExecutor(8), interceptors=[_Interceptor(fake)])
    namespace_pb2_grpc.add_NamespaceServiceServicer_to_server(fake, server)
    endpoint_pb2_grpc.add_EndpointServiceServicer_to_server(fake, server)
    rule_pb2_grpc.add_RuleServiceServicer_to_server(fake, server)
    acl_pb2_grpc.add_AclServiceServicer_to_server(fake, server)
    socket_pb2_grpc.add_SocketServiceServicer_to_server(fake, server)
    node_pb2_grpc.add_NodeServiceServicer_to_server(fake, server)
    watch_pb2_grpc.add_WatchServiceServicer_to_server(fake, server)
    port = 0
    if credentials is None:
        server.add_insecure_port(f"unix:{path}")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    return server, port
