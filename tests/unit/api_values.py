# SPDX-License-Identifier: Apache-2.0
"""Values of the model that the contract can tell without a loss, generated."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

from hypothesis import strategies as st

from graftd.model import (
    AclRule,
    Direction,
    Endpoint,
    EndpointRecord,
    EndpointType,
    Freeze,
    Namespace,
    NamespaceRecord,
    PortRange,
    Rule,
    RuleRecord,
    Selector,
    SelectorKind,
    TableLimits,
    TargetedEndpoint,
    Verdict,
    Version,
)
from unit.generated import acl_rules, endpoints, identities, numbers, pairs, rules

AnyRule = TypeVar("AnyRule", Rule, AclRule)

ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True)
keys = st.from_regex(r"[a-z0-9._/-]{1,63}", fullmatch=True)
labels = st.dictionaries(keys, st.from_regex(r"[A-Za-z0-9._/-]{0,63}", fullmatch=True), max_size=4)
kept = st.dictionaries(keys, st.text(max_size=40), max_size=4)
devices = st.just("") | st.from_regex(r"[a-z][a-z0-9.@-]{0,14}", fullmatch=True) | st.just("größe")
times = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
versions = st.builds(Version, revision=st.integers(1, 2**63 - 1), created=times, updated=times)
uids = st.uuids().map(str)


@st.composite
def told_endpoints(draw: st.DrawFn) -> Endpoint:
    endpoint = draw(endpoints)
    device = "" if endpoint.type is EndpointType.UNIX else draw(devices)
    return replace(endpoint, name=draw(ids), device=device)


@st.composite
def told_rules(draw: st.DrawFn) -> Rule:
    rule = draw(rules)
    endpoint = draw(ids) if rule.verdict is Verdict.ENDPOINT else ""
    low = 0 if rule.direction is Direction.INGRESS else 1
    return replace(rule, endpoint=endpoint, ports=draw(pairs(low, 65535).map(lambda pair: PortRange(*pair))))


@st.composite
def told_acl_rules(draw: st.DrawFn) -> AclRule:
    ports = st.none() | pairs(1, 65535).map(lambda pair: PortRange(*pair))
    return replace(draw(acl_rules), endpoint=draw(st.just("") | ids), ports=draw(ports))


file_names = st.text(min_size=1, max_size=60).map(lambda text: text.replace("/", "_").replace("\0", "_"))
selectors = (
    file_names.filter(lambda name: name not in (".", "..")).map(lambda name: Selector(SelectorKind.NETNS, name))
    | file_names.map(lambda name: Selector(SelectorKind.PATH, f"/{name}"))
    | st.builds(
        Selector,
        kind=st.just(SelectorKind.PID),
        value=st.integers(1, 2**22).map(str),
        start_ticks=st.integers(0, 2**64 - 1),
    )
    | st.from_regex(r"[A-Za-z0-9_.-]{1,128}", fullmatch=True).map(lambda name: Selector(SelectorKind.CONTAINER, name))
    | st.from_regex(r"[A-Za-z0-9:_.\\@-]{1,20}\.(service|scope)", fullmatch=True).map(
        lambda name: Selector(SelectorKind.UNIT, name)
    )
)
limits = st.builds(
    TableLimits,
    max_sockets=st.none() | numbers,
    max_ephemeral=st.none() | numbers,
    max_endpoints=st.none() | numbers,
)
freezes = st.none() | st.builds(Freeze, reason=st.text(max_size=256))
namespaces = st.builds(
    Namespace,
    name=ids,
    selector=selectors,
    limits=limits,
    labels=labels,
    annotations=kept,
    freeze=freezes,
    transparent=st.booleans(),
    transient=st.booleans(),
)
targeted = st.builds(TargetedEndpoint, endpoint=told_endpoints(), target=st.just("") | ids, labels=labels)

namespace_records = st.builds(
    NamespaceRecord, uid=uids, namespace=namespaces, identity=st.none() | identities, version=versions
)
endpoint_records = st.builds(EndpointRecord, namespace=ids, uid=uids, value=targeted, version=versions).filter(
    lambda record: record.value.target != record.namespace
)


def _records(rule: st.SearchStrategy[AnyRule], index: st.SearchStrategy[int]) -> st.SearchStrategy[RuleRecord[AnyRule]]:
    return st.builds(RuleRecord, namespace=ids, uid=uids, id=ids, index=index, rule=rule, version=versions)


rule_records = _records(told_rules(), st.just(0))
acl_records = _records(told_acl_rules(), st.integers(0, 65535))
