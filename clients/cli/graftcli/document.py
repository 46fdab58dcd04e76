# SPDX-License-Identifier: Apache-2.0
"""Namespaces as people write them: the YAML that export writes and apply reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import yaml

from graft_client import messages as m
from graftcli import fields, text
from graftcli.acl import ACTIONS
from graftcli.cmdline import UsageError, either, nearest
from graftcli.endpoints import check_type
from graftcli.forms import path_text, word_of, words_of
from graftcli.namespaces import SELECTORS, selector_of
from graftcli.rules import DIRECTIONS, VERDICTS
from graftcli.session import last
from graftcli.yamls import Flow, FlowMap, compose, is_null, line_of
from graftd.errors import GraftError
from ip_graft.values import address, number

Value = TypeVar("Value")

_OF_NAMESPACE = ("labels", "annotations", "limits", "transparent", "transient")
_NAMESPACE = ("name", "selector", *_OF_NAMESPACE, "endpoints", "rules", "acl")
_INET = ("address", "ports", "protocols", "mark", "device")
_ENDPOINT = ("name", "type", *_INET, "path", "target", "max_sockets", "privileged", "labels")
_RULE = ("id", "direction", "network", "protocols", "ports", "verdict", "endpoint")
_ACL = (
    *("id", "action", "endpoint", "verbs", "uids", "gids", "own_ids"),
    *("network", "ports", "protocols", "local"),
)


class Document(NamedTuple):
    """One namespace of a file: where it stands there, and what apply asks for."""

    where: str
    request: m.ApplyNamespaceRequest


# Writing


def written(export: m.ExportNamespaceResponse) -> dict[str, Any]:
    """A namespace as a value to write. What has its default is left out."""
    namespace = export.namespace
    value: dict[str, Any] = {"name": last(namespace.name), "selector": FlowMap(_selector(namespace.selector))}
    if namespace.labels:
        value["labels"] = dict(sorted(namespace.labels.items()))
    if namespace.annotations:
        value["annotations"] = dict(sorted(namespace.annotations.items()))
    if limits := text.limits_set(namespace):
        value["limits"] = {name: getattr(namespace.limits, name) for name in limits}
    value |= _without_defaults({"transparent": namespace.transparent, "transient": namespace.transient})
    value["endpoints"] = [_endpoint(one) for one in export.endpoints.endpoints]
    value["rules"] = [_rule(one) for one in export.rules.rules]
    value["acl"] = [_acl_rule(one) for one in export.acl_rules.acl_rules]
    return value


def _selector(selector: m.NamespaceSelector) -> dict[str, Any]:
    kind, _, word = text.selector(selector).partition(" ")
    return {kind: int(word) if kind == "pid" else word}


def _endpoint(one: m.Endpoint) -> dict[str, Any]:
    value: dict[str, Any] = {"name": last(one.name)}
    if one.WhichOneof("kind") == "unix":
        value["path"] = path_text(one.unix.path)
    else:
        value |= {"address": one.inet.address, "ports": text.ports(one.inet.ports)}
        value |= _set(one.inet, "protocols")
    value |= {
        "target": last(one.target_namespace),
        "mark": one.inet.mark,
        "device": one.inet.device,
        "max_sockets": one.max_sockets,
        "privileged": one.privileged,
        "labels": dict(sorted(one.labels.items())),
    }
    return _without_defaults(value)


def _rule(one: m.Rule) -> dict[str, Any]:
    value: dict[str, Any] = {"id": last(one.name), "direction": word_of(one, "direction"), "network": one.network}
    value |= _set(one, "protocols")
    if one.HasField("ports"):
        value["ports"] = text.ports(one.ports)
    if one.verdict == m.RULE_VERDICT_ENDPOINT:
        value["endpoint"] = one.endpoint
    else:
        value["verdict"] = word_of(one, "verdict")
    return _without_defaults(value)


def _acl_rule(one: m.AclRule) -> dict[str, Any]:
    value: dict[str, Any] = {"id": last(one.name), "action": word_of(one, "action"), "endpoint": one.endpoint}
    value |= _set(one, "verbs")
    value["uids"] = text.numbers(one.uids) if one.HasField("uids") else ""
    value["gids"] = text.numbers(one.gids) if one.HasField("gids") else ""
    value |= {"own_ids": one.own_ids, "network": one.network}
    value["ports"] = text.ports(one.ports) if one.HasField("ports") else ""
    value |= _set(one, "protocols")
    value["local"] = one.local
    return _without_defaults(value)


def _set(message: m.InetTarget | m.Rule | m.AclRule, field: str) -> dict[str, Any]:
    """Protocols or verbs, where they are not both."""
    words = words_of(message, field)
    return {field: Flow(words)} if len(words) == 1 else {}


def _without_defaults(value: dict[str, Any]) -> dict[str, Any]:
    return {key: one for key, one in value.items() if one}


# Reading


def read(content: str, source: str) -> Iterator[Document]:
    """The namespaces of a file, of one document each or as a list."""
    for node in compose(content, source):
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for part in parts:
            yield _document(_Map(source, part, "a namespace", _NAMESPACE))


class _Map:
    """A mapping of the file whose keys are known, or an error that says where it is wrong."""

    def __init__(self, source: str, node: yaml.Node, what: str, keys: tuple[str, ...]) -> None:
        self.source = source
        self.node = node
        if not isinstance(node, yaml.MappingNode):
            raise self.wrong(f"{what} is a mapping of {either(keys)}", node)
        self.values: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else ""
            if name not in keys:
                raise self.wrong(str(nearest(name, keys, "key")), key)
            if name in self.values:
                raise self.wrong(f"'{name}' is said twice: once is enough", key)
            self.values[name] = value

    def wrong(self, sentence: str, node: yaml.Node | None = None) -> UsageError:
        return UsageError(f"{self.source}, line {line_of(node or self.node)}: {sentence}")

    def __contains__(self, key: str) -> bool:
        """Whether it says something: `key:` alone does not."""
        return key in self.values and not is_null(self.values[key])

    def text(self, key: str, default: str = "") -> str:
        if key not in self:
            return default
        node = self.values[key]
        if not isinstance(node, yaml.ScalarNode):
            raise self.wrong(f"'{key}' is one word", node)
        return str(node.value)

    def needed(self, key: str, example: str) -> str:
        if key not in self:
            raise self.wrong(f"'{key}' is missing: say {key}: {example}")
        return self.text(key)

    def value(self, key: str, reader: Callable[[str], Value]) -> Value:
        """A word as what `reader` makes of it."""
        try:
            return reader(self.text(key))
        except (UsageError, GraftError) as error:
            raise self.wrong(f"{key}: {error}", self.values[key]) from None

    def number(self, key: str, highest: int = fields.U32) -> int:
        return self.value(key, lambda word: number(word, "number", highest)) if key in self else 0

    def flag(self, key: str) -> bool:
        word = self.text(key, "false").lower()
        if word not in ("true", "false", "yes", "no"):
            raise self.wrong(f"'{key}' is true or false", self.values[key])
        return word in ("true", "yes")

    def words(self, key: str, reader: Callable[[list[str]], Value]) -> Value:
        """A list of words, or one word, as what `reader` makes of them."""
        node = self.values[key]
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if not nodes or not all(isinstance(one, yaml.ScalarNode) for one in nodes):
            raise self.wrong(f"'{key}' is a list of words, as in [tcp, udp]", node)
        try:
            return reader([str(one.value) for one in nodes])
        except (UsageError, GraftError) as error:
            raise self.wrong(f"{key}: {error}", node) from None

    def pairs(self, key: str) -> dict[str, str]:
        if key not in self:
            return {}
        node = self.values[key]
        if not isinstance(node, yaml.MappingNode) or not all(
            isinstance(one, yaml.ScalarNode) for pair in node.value for one in pair
        ):
            raise self.wrong(f"'{key}' is a mapping of words to words, as in {{tier: web}}", node)
        return {str(name.value): "" if is_null(value) else str(value.value) for name, value in node.value}

    def maps(self, key: str, what: str, keys: tuple[str, ...]) -> Iterator[_Map]:
        """A list of mappings; nothing at all is an empty one."""
        node = self.values[key]
        if is_null(node):
            return
        if not isinstance(node, yaml.SequenceNode):
            raise self.wrong(f"'{key}' is a list; write [] where there are to be none", node)
        for one in node.value:
            yield _Map(self.source, one, what, keys)


def _document(given: _Map) -> Document:
    name = given.needed("name", "web")
    request = m.ApplyNamespaceRequest(name=f"namespaces/{name}")
    if "selector" in given:
        _read_namespace(given, request.namespace)
        request.allow_missing = True
    else:
        for key in _OF_NAMESPACE:
            if key in given:
                raise given.wrong(f"'{key}' needs the selector beside it: the namespace is made just as it stands here")
    if "endpoints" in given.values:
        request.endpoints.SetInParent()
        for one in given.maps("endpoints", "an endpoint", _ENDPOINT):
            _read_endpoint(one, request.name, request.endpoints.endpoints.add())
    if "rules" in given.values:
        request.rules.SetInParent()
        for one in given.maps("rules", "a rule", _RULE):
            _read_rule(one, request.name, request.rules.rules.add())
    if "acl" in given.values:
        request.acl_rules.SetInParent()
        for one in given.maps("acl", "an ACL rule", _ACL):
            _read_acl_rule(one, request.name, request.acl_rules.acl_rules.add())
    return Document(f"{given.source}, line {line_of(given.node)}", request)


def _read_namespace(given: _Map, namespace: m.Namespace) -> None:
    selector = _Map(given.source, given.values["selector"], "a selector", SELECTORS)
    if len(selector.values) != 1:
        raise selector.wrong(f"a selector says one of {either(SELECTORS)}, as in {{netns: web}}")
    kind = next(iter(selector.values))
    namespace.selector.CopyFrom(selector.value(kind, lambda word: selector_of(kind, word)))
    namespace.labels.update(given.pairs("labels"))
    namespace.annotations.update(given.pairs("annotations"))
    if "limits" in given:
        limits = _Map(given.source, given.values["limits"], "limits", text.LIMITS)
        for name in limits.values:
            setattr(namespace.limits, name, limits.number(name))
    namespace.transparent = given.flag("transparent")
    namespace.transient = given.flag("transient")


def _read_endpoint(given: _Map, parent: str, endpoint: m.Endpoint) -> None:
    endpoint.name = f"{parent}/endpoints/{given.needed('name', 'ep-http')}"
    if "path" in given:
        for key in _INET:
            if key in given:
                raise given.wrong(f"an endpoint with a path has no '{key}': leave it out", given.values[key])
        endpoint.unix.path = given.value("path", fields.path)
    else:
        inet = endpoint.inet
        given.needed("address", "10.0.0.2")
        inet.address = str(given.value("address", address))
        given.needed("ports", "80, any or 8000-8010")
        inet.ports.CopyFrom(given.value("ports", fields.ports))
        if "protocols" in given:
            inet.protocols.extend(given.words("protocols", fields.protocols))
        inet.mark = given.number("mark")
        inet.device = given.text("device")
    try:
        check_type(endpoint, given.text("type") or None)
    except UsageError as error:
        raise given.wrong(str(error)) from None
    endpoint.target_namespace = fields.namespace_id(given.text("target"))
    endpoint.max_sockets = given.number("max_sockets")
    endpoint.privileged = given.flag("privileged")
    endpoint.labels.update(given.pairs("labels"))


def _choice(given: _Map, key: str, words: dict[str, Value]) -> Value:
    word = given.needed(key, either(list(words)))
    if word not in words:
        raise given.wrong(str(nearest(word, list(words), key)), given.values[key])
    return words[word]


def _read_rule(given: _Map, parent: str, rule: m.Rule) -> None:
    if "id" in given:
        rule.name = f"{parent}/rules/{given.text('id')}"
    rule.direction = _choice(given, "direction", DIRECTIONS)
    if "network" in given:
        rule.network = given.value("network", fields.network)
    if "protocols" in given:
        rule.protocols.extend(given.words("protocols", fields.protocols))
    if "ports" in given:
        egress = rule.direction == m.RULE_DIRECTION_EGRESS
        rule.ports.CopyFrom(given.value("ports", fields.destination_ports if egress else fields.ports))
    if "verdict" in given:
        rule.verdict = _choice(given, "verdict", VERDICTS)
    elif "endpoint" in given:
        rule.verdict = m.RULE_VERDICT_ENDPOINT
    else:
        raise given.wrong("what the rule decides is missing: say endpoint: NAME, verdict: native or verdict: deny")
    if (rule.verdict == m.RULE_VERDICT_ENDPOINT) != ("endpoint" in given):
        raise given.wrong("a rule names an endpoint, or its verdict is native or deny: say one of them")
    rule.endpoint = given.text("endpoint")


def _read_acl_rule(given: _Map, parent: str, rule: m.AclRule) -> None:
    if "id" in given:
        rule.name = f"{parent}/aclRules/{given.text('id')}"
    rule.action = _choice(given, "action", ACTIONS)
    rule.endpoint = given.text("endpoint")
    if "verbs" in given:
        rule.verbs.extend(given.words("verbs", fields.verbs))
    if "uids" in given:
        rule.uids.CopyFrom(given.value("uids", lambda word: fields.ids(word, "uid")))
    if "gids" in given:
        rule.gids.CopyFrom(given.value("gids", lambda word: fields.ids(word, "gid")))
    rule.own_ids = given.flag("own_ids")
    if "network" in given:
        rule.network = given.value("network", fields.network)
    if "ports" in given:
        rule.ports.CopyFrom(given.value("ports", fields.destination_ports))
    if "protocols" in given:
        rule.protocols.extend(given.words("protocols", fields.protocols))
    rule.local = given.flag("local")
