# SPDX-License-Identifier: Apache-2.0
"""The namespaces of graftcli_fake, with whole ones applied."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import grpc

from graft.v1 import namespace_pb2_grpc
from graft_client import messages as m
from unit.graftcli_fake_state import OUTPUT_ONLY, State, fail


class Namespaces(State, namespace_pb2_grpc.NamespaceServiceServicer):
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
        absent = made.selector.iproute2_name in self.missing
        made.state = m.NAMESPACE_STATE_ABSENT if absent else m.NAMESPACE_STATE_PRESENT
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
        work = State()
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
        answer.aborted_sockets = 2 if request.abort_sockets else 0
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

    def apply_namespace(self, work: State, request: m.ApplyNamespaceRequest, differs: Callable[..., None]) -> None:
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

    def apply_rules(self, work: State, request: m.ApplyNamespaceRequest, differs: Callable[..., None]) -> None:
        parent = f"{request.name}/"
        by_selector = {self.selector(one): key for key, one in self.rules.items() if key.startswith(parent)}
        for number, one in enumerate(request.rules.rules):
            made = f"{parent}rules/made-{self.revision}-{number}"
            one.name = one.name or by_selector.get(self.selector(one)) or made
        self.replace(work.rules, list(request.rules.rules), request.name, differs)

    def apply_acl(self, work: State, request: m.ApplyNamespaceRequest, differs: Callable[..., None]) -> None:
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
