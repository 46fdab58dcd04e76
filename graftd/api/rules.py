# SPDX-License-Identifier: Apache-2.0
"""RuleService."""

from __future__ import annotations

from collections.abc import Callable

from graft.v1 import rule_pb2
from graftd.api import masks, names, pages
from graftd.api.call import Call, Core, Page, walk
from graftd.api.convert import rule
from graftd.api.errors import Violations
from graftd.model import Rule, RuleRecord
from graftd.reconcile import Carried
from graftd.store import Transaction, View


class RuleService:
    """See proto/graft/v1/rule.proto."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def GetRule(self, request: rule_pb2.GetRuleRequest, call: Call) -> rule_pb2.Rule:
        found = Violations()
        namespace, name = names.parse_child(request.name, names.Collection.RULES, "name", found)
        found.check()
        return await call.read(lambda view: self._message(view.rule(namespace, name)))

    async def ListRules(self, request: rule_pb2.ListRulesRequest, call: Call) -> rule_pb2.ListRulesResponse:
        found = Violations()
        parent = names.parse_parent(request.parent, "parent", found)
        size = pages.page_size(request.page_size, "page_size", found)
        if request.direction not in rule_pb2.RuleDirection.values():
            found.add("direction", f"{request.direction} is unknown: say INGRESS or EGRESS, or leave it out for both")
        found.check()
        cursor = call.cursor(request)

        def matches(record: RuleRecord[Rule]) -> bool:
            return request.direction in (0, record.rule.direction) and request.endpoint in ("", record.rule.endpoint)

        def look(view: View) -> rule_pb2.ListRulesResponse:
            page: Page = walk(
                view,
                call,
                parent,
                cursor,
                size,
                records=lambda name, after, limit: view.rules(name, after=after, limit=limit),
                key=lambda record: str(record.id),
                matches=matches,
            )
            return rule_pb2.ListRulesResponse(
                rules=[self._message(record) for record in page.records],
                next_page_token=page.token(call, request),
                revision=page.revision,
            )

        return await call.read(look)

    async def CreateRule(self, request: rule_pb2.CreateRuleRequest, call: Call) -> rule_pb2.Rule:
        found = Violations()
        namespace = names.parse_namespace(request.parent, "parent", found)
        name = names.check_new_id("a rule", request.rule_id, "rule_id", found) if request.rule_id else ""
        value = found.taken(rule.to_model(request.rule, "rule", found))

        def act(transaction: Transaction) -> Callable[[Carried], rule_pb2.Rule]:
            record = transaction.add_rule(namespace, value, rule_id=name)
            return lambda _carried: self._message(record)

        return await call.change(request, rule_pb2.Rule, act)

    async def UpdateRule(self, request: rule_pb2.UpdateRuleRequest, call: Call) -> rule_pb2.Rule:
        found = Violations()
        namespace, name = names.parse_child(request.rule.name, names.Collection.RULES, "rule.name", found)
        found.check()
        mask = request.update_mask if request.HasField("update_mask") else None

        def act(transaction: Transaction) -> Callable[[Carried], rule_pb2.Rule]:
            now = transaction.find_rule(namespace, name)
            sent = request.rule
            if now is not None or not request.allow_missing:
                now = transaction.rule(namespace, name)
                sent = masks.merge(request.rule, mask, rule.to_message(now), masks.RULE, "rule")
            value = _read(sent)
            if now is None:
                record = transaction.add_rule(namespace, value, rule_id=name, etag=request.rule.etag)
            else:
                record = transaction.update_rule(namespace, name, value, etag=request.rule.etag)
            return lambda _carried: self._message(record)

        return await call.change(request, rule_pb2.Rule, act)

    async def DeleteRule(self, request: rule_pb2.DeleteRuleRequest, call: Call) -> rule_pb2.DeleteRuleResponse:
        found = Violations()
        namespace, name = names.parse_child(request.name, names.Collection.RULES, "name", found)
        found.check()

        def act(transaction: Transaction) -> Callable[[Carried], rule_pb2.DeleteRuleResponse]:
            was = None
            if not request.allow_missing or transaction.find_namespace(namespace) is not None:
                was = transaction.delete_rule(namespace, name, etag=request.etag, missing_ok=request.allow_missing)
            revision = 0 if was is None or request.validate_only else transaction.revision
            return lambda _carried: rule_pb2.DeleteRuleResponse(revision=revision)

        return await call.change(request, rule_pb2.DeleteRuleResponse, act)

    def _message(self, record: RuleRecord[Rule]) -> rule_pb2.Rule:
        return rule.to_message(record, sync=self._core.sync(record))


def _read(message: rule_pb2.Rule) -> Rule:
    found = Violations()
    return found.taken(rule.to_model(message, "rule", found))
