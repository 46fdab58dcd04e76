# SPDX-License-Identifier: Apache-2.0
"""AclService."""

from __future__ import annotations

from collections.abc import Callable

from graft.v1 import acl_pb2, errors_pb2
from graftd.api import masks, names, pages
from graftd.api.call import Call, Core, walk
from graftd.api.convert import acl
from graftd.api.errors import RefusedError, Violations
from graftd.model import AclRule, RuleRecord
from graftd.reconcile import Carried
from graftd.store import Transaction, View


class AclService:
    """See proto/graft/v1/acl.proto."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def GetAclRule(self, request: acl_pb2.GetAclRuleRequest, call: Call) -> acl_pb2.AclRule:
        found = Violations()
        namespace, name = names.parse_child(request.name, names.Collection.ACL_RULES, "name", found)
        found.check()
        return await call.read(lambda view: self._message(view.acl_rule(namespace, name)))

    async def ListAclRules(self, request: acl_pb2.ListAclRulesRequest, call: Call) -> acl_pb2.ListAclRulesResponse:
        found = Violations()
        parent = names.parse_parent(request.parent, "parent", found)
        size = pages.page_size(request.page_size, "page_size", found)
        found.check()
        cursor = call.cursor(request)

        def look(view: View) -> acl_pb2.ListAclRulesResponse:
            if cursor is not None:
                _check_unchanged(view, str(cursor.after[0]), cursor.guard)

            def records(name: str, after: str, limit: int) -> list[RuleRecord[AclRule]]:
                first = int(after or 0)
                return [one for one in view.acl(name) if one.index >= first][:limit]

            page = walk(
                view,
                call,
                parent,
                cursor,
                size,
                records=records,
                key=lambda record: str(record.index + 1),
                matches=lambda record: request.endpoint in ("", record.rule.endpoint) or not record.rule.endpoint,
            )
            guard = "" if page.after is None else view.acl_etag(str(page.after[0]))
            return acl_pb2.ListAclRulesResponse(
                acl_rules=[self._message(record) for record in page.records],
                next_page_token=page.token(call, request, guard),
                revision=page.revision,
            )

        return await call.read(look)

    async def CreateAclRule(self, request: acl_pb2.CreateAclRuleRequest, call: Call) -> acl_pb2.AclRule:
        found = Violations()
        namespace = names.parse_namespace(request.parent, "parent", found)
        name = ""
        if request.acl_rule_id:
            name = names.check_new_id("an ACL rule", request.acl_rule_id, "acl_rule_id", found)
        value = found.taken(acl.to_model(request.acl_rule, "acl_rule", found))

        def act(transaction: Transaction) -> Callable[[Carried], acl_pb2.AclRule]:
            index = request.index - 1 if request.index else None
            record = transaction.add_acl_rule(namespace, value, rule_id=name, index=index)
            return lambda _carried: self._message(record)

        return await call.change(request, acl_pb2.AclRule, act, abort=request.abort_sockets, tell_aborted=True)

    async def UpdateAclRule(self, request: acl_pb2.UpdateAclRuleRequest, call: Call) -> acl_pb2.AclRule:
        found = Violations()
        namespace, name = names.parse_child(request.acl_rule.name, names.Collection.ACL_RULES, "acl_rule.name", found)
        found.check()
        mask = request.update_mask if request.HasField("update_mask") else None

        def act(transaction: Transaction) -> Callable[[Carried], acl_pb2.AclRule]:
            now = transaction.find_acl_rule(namespace, name)
            sent = request.acl_rule
            if now is not None or not request.allow_missing:
                now = transaction.acl_rule(namespace, name)
                sent = masks.merge(request.acl_rule, mask, acl.to_message(now), masks.ACL_RULE, "acl_rule")
            value = _read(sent)
            if now is None:
                record = transaction.add_acl_rule(namespace, value, rule_id=name, etag=request.acl_rule.etag)
            else:
                record = transaction.update_acl_rule(namespace, name, value, etag=request.acl_rule.etag)
            return lambda _carried: self._message(record)

        return await call.change(request, acl_pb2.AclRule, act, abort=request.abort_sockets, tell_aborted=True)

    async def MoveAclRule(self, request: acl_pb2.MoveAclRuleRequest, call: Call) -> acl_pb2.AclRule:
        found = Violations()
        namespace, name = names.parse_child(request.name, names.Collection.ACL_RULES, "name", found)
        found.check()

        def act(transaction: Transaction) -> Callable[[Carried], acl_pb2.AclRule]:
            count = len(transaction.acl(namespace))
            index = (request.index or max(count, 1)) - 1
            record = transaction.move_acl_rule(namespace, name, index, etag=request.etag)
            return lambda _carried: self._message(record)

        return await call.change(request, acl_pb2.AclRule, act, abort=request.abort_sockets, tell_aborted=True)

    async def DeleteAclRule(self, request: acl_pb2.DeleteAclRuleRequest, call: Call) -> acl_pb2.DeleteAclRuleResponse:
        found = Violations()
        namespace, name = names.parse_child(request.name, names.Collection.ACL_RULES, "name", found)
        found.check()

        def act(transaction: Transaction) -> Callable[[Carried], acl_pb2.DeleteAclRuleResponse]:
            was = None
            if not request.allow_missing or transaction.find_namespace(namespace) is not None:
                was = transaction.delete_acl_rule(namespace, name, etag=request.etag, missing_ok=request.allow_missing)
            revision = 0 if was is None or request.validate_only else transaction.revision
            return lambda carried: acl_pb2.DeleteAclRuleResponse(revision=revision, aborted_sockets=carried.aborted)

        return await call.change(request, acl_pb2.DeleteAclRuleResponse, act, abort=request.abort_sockets)

    def _message(self, record: RuleRecord[AclRule]) -> acl_pb2.AclRule:
        return acl.to_message(record, sync=self._core.sync(record))


def _check_unchanged(view: View, namespace: str, guard: str) -> None:
    if view.find_namespace(namespace) is None or view.acl_etag(namespace) != guard:
        raise RefusedError(
            errors_pb2.ERROR_REASON_LIST_CHANGED,
            f"the ACL of namespace '{namespace}' was changed since the page before: begin the list anew",
            resource=names.namespace(namespace),
        )


def _read(message: acl_pb2.AclRule) -> AclRule:
    found = Violations()
    return found.taken(acl.to_model(message, "acl_rule", found))
