# SPDX-License-Identifier: Apache-2.0
"""A request of each method that is right, and others that are nearly so."""

from __future__ import annotations

from typing import Any

from google.protobuf import text_format
from google.protobuf.message import Message
from hypothesis import strategies as st

from unit.messages import messages

_ENDPOINT = "inet { address: '192.0.2.1' ports { low: 80 high: 80 } protocols: PROTOCOL_TCP }"
_RULE = "direction: RULE_DIRECTION_EGRESS verdict: RULE_VERDICT_DENY network: '10.0.0.0/8' ports { low: 1 high: 9 }"
_ACL_RULE = (
    "action: ACL_ACTION_ALLOW endpoint: 'ep-http' verbs: VERB_CONNECT uids { low: 1 high: 2 } network: '10.0.0.0/8'"
)
_SPACE = "selector { iproute2_name: 'ns2' } labels { key: 'a' value: 'b' } limits { max_sockets: 5 }"
_IN_WEB, _WEB = "parent: 'namespaces/web'", "name: 'namespaces/web'"

# The methods whose empty request is right are left out.
RIGHT: dict[str, str] = {
    "NamespaceService/GetNamespace": _WEB,
    "NamespaceService/CreateNamespace": f"namespace_id: 'new' namespace {{ {_SPACE} }}",
    "NamespaceService/UpdateNamespace": "namespace { name: 'namespaces/web' labels { key: 'a' value: 'b' } }",
    "NamespaceService/DeleteNamespace": "name: 'namespaces/new' allow_missing: true force: true",
    "NamespaceService/ExportNamespace": _WEB,
    "NamespaceService/ApplyNamespace": (
        f"{_WEB} endpoints {{ endpoints {{ name: 'namespaces/web/endpoints/one' {_ENDPOINT} }} }} "
        f"rules {{ rules {{ {_RULE} }} }} acl_rules {{ acl_rules {{ {_ACL_RULE} }} }}"
    ),
    "NamespaceService/ImportNamespace": f"namespace_id: 'adopted' namespace {{ {_SPACE} }} validate_only: true",
    "NamespaceService/FreezeNamespace": f"{_WEB} reason: 'why'",
    "NamespaceService/UnfreezeNamespace": _WEB,
    "EndpointService/GetEndpoint": "name: 'namespaces/web/endpoints/one'",
    "EndpointService/ListEndpoints": "parent: 'namespaces/-' page_size: 2",
    "EndpointService/CreateEndpoint": f"{_IN_WEB} endpoint_id: 'two' endpoint {{ {_ENDPOINT} }}",
    "EndpointService/BatchCreateEndpoints": (
        f"{_IN_WEB} requests {{ endpoint_id: 'b1' endpoint {{ {_ENDPOINT} }} }} "
        f"requests {{ endpoint_id: 'b2' endpoint {{ {_ENDPOINT} }} }}"
    ),
    "EndpointService/UpdateEndpoint": (
        f"endpoint {{ name: 'namespaces/web/endpoints/one' {_ENDPOINT} }} allow_missing: true "
        "update_mask { paths: 'inet' }"
    ),
    "EndpointService/DeleteEndpoint": "name: 'namespaces/web/endpoints/two' allow_missing: true",
    "RuleService/GetRule": "name: 'namespaces/web/rules/r1'",
    "RuleService/ListRules": "parent: 'namespaces/-'",
    "RuleService/CreateRule": f"{_IN_WEB} rule_id: 'r1' rule {{ {_RULE} }}",
    "RuleService/UpdateRule": f"rule {{ name: 'namespaces/web/rules/r2' {_RULE} }} allow_missing: true",
    "RuleService/DeleteRule": "name: 'namespaces/web/rules/r1' allow_missing: true",
    "AclService/GetAclRule": "name: 'namespaces/web/aclRules/a1'",
    "AclService/ListAclRules": "parent: 'namespaces/web'",
    "AclService/CreateAclRule": f"{_IN_WEB} acl_rule {{ {_ACL_RULE} }} index: 1",
    "AclService/UpdateAclRule": f"acl_rule {{ name: 'namespaces/web/aclRules/a1' {_ACL_RULE} }} allow_missing: true",
    "AclService/MoveAclRule": "name: 'namespaces/web/aclRules/a1' index: 1",
    "AclService/DeleteAclRule": "name: 'namespaces/web/aclRules/a2' allow_missing: true abort_sockets: true",
    "SocketService/GetSocket": "name: 'namespaces/web/sockets/17'",
    "SocketService/ListSockets": "parent: 'namespaces/-'",
    "SocketService/WatchSockets": "parent: 'namespaces/web' recent: 5",
    "SocketService/AbortSockets": f"{_IN_WEB} endpoint: 'one'",
    "NodeService/Reconcile": "namespace: 'namespaces/web'",
    "NodeService/Freeze": "reason: 'why'",
    "WatchService/Watch": "parent: 'namespaces/web' types: RESOURCE_TYPE_RULE",
}


def right(method: str, kind: type[Message]) -> Message:
    """method: as in `/graft.v1.RuleService/GetRule`."""
    return text_format.Parse(RIGHT.get(method.rpartition("graft.v1.")[2], ""), kind())


@st.composite
def nearly_right(draw: st.DrawFn, whole: Message) -> Message:
    """The message with something of it taken out or put in."""
    copy = type(whole)()
    copy.CopyFrom(whole)
    _change(draw, copy, draw(messages(type(whole))))
    return copy


def _change(draw: st.DrawFn, message: Any, other: Any) -> None:
    for field in message.DESCRIPTOR.fields:
        if draw(st.integers(0, 3)):
            continue
        given = {one.name for one, _ in other.ListFields()}
        single = field.message_type is not None and not isinstance(getattr(message, field.name), (list, dict))
        if single and hasattr(getattr(message, field.name), "DESCRIPTOR") and message.HasField(field.name):
            _change(draw, getattr(message, field.name), getattr(other, field.name))
            continue
        message.ClearField(field.name)
        if field.name in given:
            part = type(other)()
            part.CopyFrom(other)
            for one, _ in other.ListFields():
                if one.name != field.name:
                    part.ClearField(one.name)
            message.MergeFrom(part)
