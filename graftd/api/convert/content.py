# SPDX-License-Identifier: Apache-2.0
"""What a namespace is to hold as a whole, and what it holds."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from typing import Protocol

from graft.v1 import acl_pb2, endpoint_pb2, errors_pb2, namespace_pb2, rule_pb2
from graftd.api import names
from graftd.api.convert import acl, endpoint, rule
from graftd.api.errors import RefusedError, Violations
from graftd.model import AclRule, Identified, NamespaceContent, Rule, TargetedEndpoint

ENDPOINTS_MAX = 16384
RULES_MAX = 65536


class _Named(Protocol):
    @property
    def name(self) -> str: ...


def to_model(
    request: namespace_pb2.ApplyNamespaceRequest, namespace: str, found: Violations
) -> NamespaceContent | None:
    """namespace: the id. None where `found` has a word. Raises RefusedError, REQUEST_TOO_LARGE."""
    before = len(found)
    endpoints = rules = acl_rules = None
    if request.HasField("endpoints"):
        endpoints = _endpoints(request.endpoints, namespace, found)
    if request.HasField("rules"):
        rules = _rules(request.rules, namespace, found)
    if request.HasField("acl_rules"):
        acl_rules = _acl_rules(request.acl_rules, namespace, found)
    if len(found) > before:
        return None
    return NamespaceContent(endpoints, rules, acl_rules)


def check_size(many: Sized, most: int, field: str) -> None:
    """Raise RefusedError, REQUEST_TOO_LARGE, for more than `most`."""
    if len(many) > most:
        raise RefusedError(
            errors_pb2.ERROR_REASON_REQUEST_TOO_LARGE,
            f"{field} has {len(many)} entries: a request has {most} at most, so send them in several",
            limit=most,
        )


def _endpoints(whole: endpoint_pb2.EndpointSet, namespace: str, found: Violations) -> tuple[TargetedEndpoint, ...]:
    field = "endpoints.endpoints"
    check_size(whole.endpoints, ENDPOINTS_MAX, field)
    result = []
    for index, message in enumerate(whole.endpoints):
        at = f"{field}[{index}]"
        name = _child(message, names.Collection.ENDPOINTS, namespace, f"{at}.name", found)
        value = endpoint.to_model(message, namespace, name, at, found)
        if value is not None:
            result.append(value)
    _check_unique(whole.endpoints, field, found)
    return tuple(result)


def _rules(whole: rule_pb2.RuleSet, namespace: str, found: Violations) -> tuple[Identified[Rule], ...]:
    field = "rules.rules"
    check_size(whole.rules, RULES_MAX, field)
    result = []
    selectors: dict[object, int] = {}
    for index, message in enumerate(whole.rules):
        at = f"{field}[{index}]"
        name = _child(message, names.Collection.RULES, namespace, f"{at}.name", found) if message.name else ""
        value = rule.to_model(message, at, found)
        if value is None:
            continue
        other = selectors.setdefault(value.selector, index)
        if other != index:
            found.add(at, f"direction, network, protocols and ports are those of {field}[{other}]: leave one out")
        result.append(Identified(name, value))
    _check_unique(whole.rules, field, found)
    return tuple(result)


def _acl_rules(whole: acl_pb2.AclRuleSet, namespace: str, found: Violations) -> tuple[Identified[AclRule], ...]:
    field = "acl_rules.acl_rules"
    check_size(whole.acl_rules, RULES_MAX, field)
    result = []
    for index, message in enumerate(whole.acl_rules):
        at = f"{field}[{index}]"
        name = _child(message, names.Collection.ACL_RULES, namespace, f"{at}.name", found) if message.name else ""
        value = acl.to_model(message, at, found)
        if value is not None:
            result.append(Identified(name, value))
    _check_unique(whole.acl_rules, field, found)
    return tuple(result)


def _child(message: _Named, collection: names.Collection, namespace: str, field: str, found: Violations) -> str:
    parent, name = names.parse_child(message.name, collection, field, found)
    if name and namespace and parent != namespace:
        found.add(
            field, f"'{message.name}' is of another namespace: all of a request are of {names.namespace(namespace)}"
        )
        return ""
    return name


def _check_unique(messages: Iterable[_Named], field: str, found: Violations) -> None:
    seen: dict[str, int] = {}
    for index, message in enumerate(messages):
        other = seen.setdefault(message.name, index) if message.name else index
        if other != index:
            found.add(f"{field}[{index}].name", f"it is the name of {field}[{other}] as well: leave one of them out")


def batch_to_model(
    request: endpoint_pb2.BatchCreateEndpointsRequest, namespace: str, found: Violations
) -> tuple[TargetedEndpoint, ...] | None:
    """namespace: the id of the parent. None where `found` has a word. Raises RefusedError, REQUEST_TOO_LARGE."""
    before = len(found)
    check_size(request.requests, ENDPOINTS_MAX, "requests")
    if not request.requests:
        found.add("requests", f"there is none: a batch creates 1 to {ENDPOINTS_MAX} endpoints")
    result = []
    seen: dict[str, int] = {}
    for index, one in enumerate(request.requests):
        at = f"requests[{index}]"
        if one.parent not in ("", request.parent):
            found.add(f"{at}.parent", f"'{one.parent}' is not that of the batch: leave it empty")
        if one.request_id:
            found.add(f"{at}.request_id", "it is for the whole batch: set that of the batch alone")
        if one.validate_only:
            found.add(f"{at}.validate_only", "it is for the whole batch: set that of the batch alone")
        name = names.check_new_id("an endpoint", one.endpoint_id, f"{at}.endpoint_id", found)
        other = seen.setdefault(name, index)
        if name and other != index:
            found.add(f"{at}.endpoint_id", f"it is that of requests[{other}] as well: leave one of them out")
        value = endpoint.to_model(one.endpoint, namespace, name, f"{at}.endpoint", found)
        if value is not None:
            result.append(value)
    return None if len(found) > before else tuple(result)
