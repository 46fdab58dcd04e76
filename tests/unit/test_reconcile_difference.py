# SPDX-License-Identifier: Apache-2.0
"""difference(): its steps make a table what it is to be, and on the way no endpoint stands without its ACL."""

from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graftd.model import (
    AclRule,
    ChangeKind,
    Direction,
    Endpoint,
    EndpointType,
    PortRange,
    PutEndpoint,
    Rule,
    RuleRecord,
    SetRules,
    SetTable,
    TableSettings,
    Verdict,
    Version,
)
from graftd.reconcile._difference import Actual, Desired, Planned, ResourceKind, Wanted, difference, in_order
from integration.played import OWN_COOKIE, Tables

COOKIE = 9
VERSION = Version(1, datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))
TARGETS = {"": OWN_COOKIE, "far": 21, "near": 22}

names = st.sampled_from(["a", "b", "c", "d"])
acl_rules = st.builds(
    AclRule,
    allow=st.booleans(),
    endpoint=st.sampled_from(["", "a", "b"]),
    network=st.sampled_from([None, ip_network("10.1.0.0/16"), ip_network("10.2.0.0/16")]),
    ports=st.sampled_from([None, PortRange(0, 65535), PortRange(1, 80)]),
)
acls = st.lists(acl_rules, max_size=4)
rules = st.lists(
    st.builds(
        lambda port, to: Rule(
            Direction.INGRESS, Verdict.ENDPOINT if to else Verdict.DENY, ports=PortRange.single(port), endpoint=to
        ),
        st.integers(1, 4),
        st.sampled_from(["", "a", "b"]),
    ),
    max_size=4,
    unique_by=lambda rule: rule.selector,
)
settings = st.builds(
    TableSettings,
    max_sockets=st.sampled_from([1, 65536]),
    max_ephemeral=st.just(16384),
    max_endpoints=st.sampled_from([4, 131072]),
    frozen=st.booleans(),
)


def made(name: str, mark: int) -> Endpoint:
    address = IPv4Address("10.0.0.1")
    return Endpoint(name, EndpointType.IPV4, address=address, ports=PortRange.single(80), mark=mark)


endpoints = st.dictionaries(names, st.tuples(st.integers(0, 1), st.sampled_from(list(TARGETS))), max_size=4).map(
    lambda found: {name: Wanted(made(name, mark), TARGETS[target], target) for name, (mark, target) in found.items()}
)


def records(made_of: list[AclRule] | list[Rule]) -> list[RuleRecord[AclRule]]:
    return [RuleRecord("web", "uid", f"r{n}", n, rule, VERSION) for n, rule in enumerate(made_of)]  # type: ignore[arg-type]


desires = st.builds(
    lambda settings, endpoints, rules, acl: Desired(settings, endpoints, records(rules), records(acl)),  # type: ignore[arg-type]
    settings,
    endpoints,
    rules,
    acls,
)


def actual(tables: Tables) -> Actual:
    entries = {one.endpoint.name: one for one in tables.endpoints(COOKIE)}
    acl = tuple(_told(rule) for rule in tables.acl(COOKIE).rules)
    return Actual(tables.table(COOKIE), entries, frozenset(tables.rules(COOKIE).rules), acl)


def _told(rule: AclRule) -> AclRule:
    """The kernel leaves out a condition that is none."""
    return AclRule(rule.allow, rule.endpoint, network=rule.network, ports=None if _every(rule) else rule.ports)


def _every(rule: AclRule) -> bool:
    return rule.ports == PortRange(0, 65535)


def step(tables: Tables, planned: Planned) -> None:
    one = planned.step
    if isinstance(one, PutEndpoint):
        one = PutEndpoint(one.endpoint, TARGETS[planned.target] if planned.target else None)
    (result,) = tables.carry_out(COOKIE, [one])
    assert result.error is None


def made_as(desired: Desired) -> Tables:
    tables = Tables()
    for planned in difference("web", desired, actual(tables)):
        step(tables, planned)
    return tables


def endpoints_of(tables: Tables) -> Mapping[str, tuple[Endpoint, int]]:
    return {one.endpoint.name: (one.endpoint, one.target_cookie) for one in tables.endpoints(COOKIE)}


def wanted_of(desired: Desired) -> Mapping[str, tuple[Endpoint, int]]:
    return {name: (one.endpoint, one.target) for name, one in desired.endpoints.items()}


@given(before=desires, desired=desires)
def test_the_steps_make_it_equal_and_then_there_are_none(before: Desired, desired: Desired) -> None:
    tables = made_as(before)
    for planned in difference("web", desired, actual(tables)):
        step(tables, planned)
    assert endpoints_of(tables) == wanted_of(desired)
    assert set(tables.rules(COOKIE).rules) == {record.rule for record in desired.rules}
    assert [_told(rule) for rule in tables.acl(COOKIE).rules] == [_told(record.rule) for record in desired.acl]
    table = tables.table(COOKIE)
    found = TableSettings(table.max_sockets, table.max_ephemeral, table.max_endpoints, frozen=table.frozen)
    assert found == desired.settings
    assert difference("web", desired, actual(tables)) == []


@given(before=desires, desired=desires)
def test_no_endpoint_stands_without_its_acl(before: Desired, desired: Desired) -> None:
    """At every moment in which the table is open: an endpoint as it is to be stands under the ACL that it is to have,
    unless it was so before; one that goes stands under the ACL that it had; and a table that was frozen, or is to be,
    is open at no moment before all of it is there."""
    tables = made_as(before)
    old, new = endpoints_of(tables), wanted_of(desired)
    old_acl = [_told(record.rule) for record in before.acl]
    new_acl = [_told(record.rule) for record in desired.acl]
    planned = difference("web", desired, actual(tables))
    for number, one in enumerate(planned):
        step(tables, one)
        if tables.table(COOKIE).frozen:
            continue
        last = number == len(planned) - 1
        assert last or not before.settings.frozen, "opened too early"
        assert not desired.settings.frozen, "still open"
        acl = [_told(rule) for rule in tables.acl(COOKIE).rules]
        for name, found in endpoints_of(tables).items():
            if name not in new:
                assert acl == old_acl
            elif old.get(name) != found:
                assert found == new[name]
                assert acl == new_acl


@given(before=desires, desired=desires)
def test_a_rule_leads_to_endpoints_that_are_there(before: Desired, desired: Desired) -> None:
    planned = difference("web", desired, actual(made_as(before)))
    at = next((n for n, one in enumerate(planned) if isinstance(one.step, SetRules)), None)
    assert at is None or not any(isinstance(one.step, PutEndpoint) for one in planned[at:])


@given(before=desires, desired=desires)
def test_each_step_moves_the_generation_by_one(before: Desired, desired: Desired) -> None:
    tables = made_as(before)
    for planned in difference("web", desired, actual(tables)):
        generation = tables.table(COOKIE).generation
        step(tables, planned)
        assert tables.table(COOKIE).generation == generation + 1


def test_what_differs_is_named() -> None:
    nothing = Desired(TableSettings(65536, 16384, 131072, frozen=False), {}, [], [])
    deny, allow = AclRule(allow=False), AclRule(allow=True)
    rule = Rule(Direction.EGRESS, Verdict.DENY)
    before = Desired(
        nothing.settings,
        {"a": Wanted(made("a", 0), OWN_COOKIE), "b": Wanted(made("b", 0), OWN_COOKIE)},
        records([rule]),  # type: ignore[arg-type]
        records([deny, allow]),
    )
    desired = Desired(
        TableSettings(1, 16384, 131072, frozen=True),
        {"b": Wanted(made("b", 7), 21, "far"), "c": Wanted(made("c", 0), OWN_COOKIE)},
        records([Rule(Direction.EGRESS, Verdict.NATIVE)]),  # type: ignore[arg-type]
        records([allow, deny]),
    )
    found = {
        (one.resource.kind, one.resource.id): (one.kind, one.fields)
        for planned in difference("web", desired, actual(made_as(before)))
        for one in planned.differences
    }
    assert found == {
        (ResourceKind.NAMESPACE, ""): (ChangeKind.UPDATED, ("limits.max_sockets", "frozen")),
        (ResourceKind.ENDPOINT, "a"): (ChangeKind.DELETED, ()),
        (ResourceKind.ENDPOINT, "b"): (ChangeKind.UPDATED, ("inet.mark", "target_namespace")),
        (ResourceKind.ENDPOINT, "c"): (ChangeKind.CREATED, ()),
        (ResourceKind.RULE, "r0"): (ChangeKind.UPDATED, ("verdict", "endpoint")),
        (ResourceKind.ACL_RULE, "r0"): (ChangeKind.UPDATED, ("index",)),
        (ResourceKind.ACL_RULE, "r1"): (ChangeKind.UPDATED, ("index",)),
    }
    gone = {
        (one.resource.kind, one.resource.id): one.kind
        for planned in difference("web", nothing, actual(made_as(before)))
        for one in planned.differences
    }
    assert set(gone.values()) == {ChangeKind.DELETED}
    assert set(gone) >= {(ResourceKind.RULE, "-"), (ResourceKind.ACL_RULE, "-")}


@pytest.mark.parametrize(("frozen", "steps"), [(True, 1), (False, 2)])
def test_limits_and_freeze(frozen: bool, steps: int) -> None:
    planned = in_order([Planned(SetTable(TableSettings(max_sockets=3, frozen=frozen)), ())])
    assert len(planned) == steps
