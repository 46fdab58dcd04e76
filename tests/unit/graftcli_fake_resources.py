# SPDX-License-Identifier: Apache-2.0
"""The endpoints, rules and ACL rules of graftcli_fake."""

from __future__ import annotations

import grpc

from graft.v1 import acl_pb2_grpc, endpoint_pb2_grpc, rule_pb2_grpc
from graft_client import messages as m
from unit.graftcli_fake_state import State, fail


class Endpoints(State, endpoint_pb2_grpc.EndpointServiceServicer):
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


class Rules(State, rule_pb2_grpc.RuleServiceServicer):
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


class Acl(State, acl_pb2_grpc.AclServiceServicer):
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
