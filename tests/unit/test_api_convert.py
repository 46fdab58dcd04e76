# SPDX-License-Identifier: Apache-2.0
"""Between messages and the model: what is told comes back the same, what is asked is looked at field by field."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from graft.v1 import acl_pb2, common_pb2, endpoint_pb2, namespace_pb2, rule_pb2, watch_pb2
from graftd.api.convert import acl, content, difference, endpoint, namespace, node, rule, socket, values
from graftd.api.errors import MOST_VIOLATIONS, InvalidFieldsError, RefusedError, Violations
from graftd.model import (
    AclRule,
    Change,
    ChangeKind,
    Counters,
    Direction,
    Door,
    Endpoint,
    EndpointRecord,
    EndpointType,
    Event,
    EventKind,
    Freeze,
    GraftedSocket,
    ModuleInfo,
    Namespace,
    NamespaceRecord,
    NetnsIdentity,
    PortRange,
    Protocols,
    Reason,
    Record,
    Rule,
    RuleRecord,
    Selector,
    SelectorKind,
    Table,
    TargetedEndpoint,
    Verbs,
    Verdict,
    Version,
)
from unit import api_values
from unit.generated import acl_rules, endpoints, ipv6, words
from unit.messages import AnyMessage, messages

BOOT = "6f8b2a0e-0000-4000-8000-000000000001"
THEN = datetime(2026, 11, 26, 1, 2, 3, 456789, tzinfo=UTC)
VERSION = Version(7, THEN, THEN)
UID = "5ea1be42-1d6f-4c0e-9a57-0a4e42f6f3c1"


def wired(message: AnyMessage) -> AnyMessage:
    """As the other side gets it."""
    copy = type(message)()
    copy.ParseFromString(message.SerializeToString())
    return copy


def wrong(found: Violations) -> dict[str, str]:
    with pytest.raises(InvalidFieldsError) as caught:
        found.check()
    return {violation.field: violation.sentence for violation in caught.value.violations}


# What is told comes back the same


@given(api_values.endpoint_records)
def test_endpoint_comes_back(record: EndpointRecord) -> None:
    message = wired(endpoint.to_message(record, sync=values.IN_SYNC))
    found = Violations()
    name = record.value.endpoint.name
    assert endpoint.to_model(message, record.namespace, name, "endpoint", found) == record.value
    found.check()
    assert message.name == f"namespaces/{record.namespace}/endpoints/{name}"
    assert (message.uid, message.revision, message.etag) == (record.uid, record.version.revision, record.version.etag)
    assert message.create_time.ToDatetime(UTC) == record.version.created
    assert message.update_time.ToDatetime(UTC) == record.version.updated


@given(api_values.rule_records)
def test_rule_comes_back(record: RuleRecord[Rule]) -> None:
    message = wired(rule.to_message(record))
    found = Violations()
    assert rule.to_model(message, "rule", found) == record.rule
    found.check()
    assert message.name == f"namespaces/{record.namespace}/rules/{record.id}"


@given(api_values.acl_records)
def test_acl_rule_comes_back(record: RuleRecord[AclRule]) -> None:
    message = wired(acl.to_message(record))
    found = Violations()
    assert acl.to_model(message, "acl_rule", found) == record.rule
    found.check()
    assert message.name == f"namespaces/{record.namespace}/aclRules/{record.id}"
    assert message.index == record.index + 1


@given(api_values.namespace_records)
def test_namespace_comes_back(record: NamespaceRecord) -> None:
    message = wired(namespace.to_message(record, boot_id=BOOT))
    found = Violations()
    again = namespace.to_model(message, record.namespace.name, "namespace", found, current=record.namespace)
    found.check()
    assert again == record.namespace


# What the kernel holds can be told, whatever it is


@given(endpoints, words(63), st.dictionaries(st.sampled_from(Reason), st.integers(0, 2**64 - 1)))
def test_any_endpoint_of_the_kernel_is_told(value: Endpoint, name: str, denials: dict[Reason, int]) -> None:
    record = EndpointRecord("web", UID, TargetedEndpoint(value), VERSION)
    told = wired(endpoint.to_message(record, counters=Counters(denials=denials)))
    assert [int(one.reason) for one in told.counters.denials] == sorted(
        int(key) for key, count in denials.items() if count
    )


@given(acl_rules)
def test_any_acl_rule_of_the_kernel_is_told(value: AclRule) -> None:
    wired(acl.to_message(RuleRecord("web", UID, "a", 0, value, VERSION)))


@given(words(63), words(200), st.integers(0, 2**32 - 1), st.none() | ipv6, st.integers(0, 3))
def test_any_event_and_socket_is_told(
    name: str, detail: str, number: int, address: ipaddress.IPv6Address | None, verb: int
) -> None:
    event = Event(1, EventKind(number), Reason(number), 13, detail, 2**64 - 1, name, Verbs(verb), 0, 1, 6, address, 80)
    told = wired(socket.event_message(event, namespace="web", time=THEN))
    assert told.HasField("address") == (address is not None)
    assert told.reason == (number if number < 2**31 else 0)
    one = GraftedSocket(1, 2, 3, 4, name, 10, 1, 6, 10, 0, 5, address, 80, None, 0, Door(number), Verbs(verb))
    held = wired(socket.to_message(one, namespace="web", target="edge"))
    assert held.name == "namespaces/web/sockets/3"
    assert held.target_namespace == "namespaces/edge"
    assert not held.HasField("remote")
    assert wired(node.kernel_status("6.12", ModuleInfo("1", 4, ipv6=True, sol_socket=False, claimant=name))).claimant


def test_bytes_that_are_no_utf8_have_replacement_characters() -> None:
    value = Endpoint("a\udcffb", EndpointType.UNIX, path=b"\xff")
    told = endpoint.to_message(EndpointRecord("web", UID, TargetedEndpoint(value), VERSION))
    assert told.name == "namespaces/web/endpoints/a\ufffdb"
    assert told.unix.path == b"\xff"


# Forms


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("10.0.0.2", "10.0.0.2"),
        ("2001:DB8:0:0:0:0:0:2", "2001:db8::2"),
        ("::ffff:a00:2", "::ffff:10.0.0.2"),
        ("::", "::"),
    ],
)
def test_addresses_are_told_as_rfc_5952_says(asked: str, told: str) -> None:
    assert values.address_text(ipaddress.ip_address(asked)) == told


def test_sets_are_told_in_order_and_repetition_is_harmless() -> None:
    found = Violations()
    assert values.read_protocols([2, 1, 2], "protocols", found) is Protocols.BOTH
    assert values.PROTOCOLS[Protocols.BOTH] == (common_pb2.PROTOCOL_TCP, common_pb2.PROTOCOL_UDP)
    assert values.read_verbs([], "verbs", found) is Verbs.BOTH
    found.check()


# What is wrong is named


def full_endpoint() -> endpoint_pb2.Endpoint:
    return endpoint_pb2.Endpoint(
        inet=endpoint_pb2.InetTarget(address="10.0.0.2", ports=common_pb2.PortRange(low=80, high=80))
    )


def endpoint_with(**inet: Any) -> endpoint_pb2.Endpoint:
    message = full_endpoint()
    for name, value in inet.items():
        part = getattr(message.inet, name)
        if isinstance(part, Message):
            part.CopyFrom(value)
        elif isinstance(value, list):
            part.extend(value)
        else:
            setattr(message.inet, name, value)
    return message


def ports(low: int, high: int) -> common_pb2.PortRange:
    return common_pb2.PortRange(low=low, high=high)


@pytest.mark.parametrize(
    ("message", "field", "words_"),
    [
        (endpoint_pb2.Endpoint(), "e", "set inet"),
        (endpoint_with(address=""), "e.inet.address", "missing"),
        (endpoint_with(address="10.0.0"), "e.inet.address", "'10.0.0' is no address"),
        (endpoint_with(address="fe80::1%eth0"), "e.inet.address", "without a zone"),
        (endpoint_with(ports=ports(65536, 1)), "e.inet.ports.low", "65536 is not a port here"),
        (endpoint_with(ports=ports(1, 65536)), "e.inet.ports.high", "ports go from 0 to 65535"),
        (endpoint_with(ports=ports(90, 80)), "e.inet.ports", "upside down"),
        (endpoint_with(ports=ports(0, 80)), "e.inet.ports.low", "write 1-80"),
        (endpoint_with(protocols=[1, 0]), "e.inet.protocols[1]", "tcp and udp are known"),
        (endpoint_with(device="a" * 16), "e.inet.device", "15 bytes"),
        (endpoint_with(device="a b"), "e.inet.device", "white space"),
        (endpoint_pb2.Endpoint(unix=endpoint_pb2.UnixTarget()), "e.unix.path", "1 to 107 bytes"),
        (endpoint_pb2.Endpoint(unix=endpoint_pb2.UnixTarget(path=b"a" * 108)), "e.unix.path", "this one has 108"),
    ],
)
def test_what_is_wrong_with_an_endpoint_is_named(message: endpoint_pb2.Endpoint, field: str, words_: str) -> None:
    found = Violations()
    assert endpoint.to_model(message, "web", "ep", "e", found) is None
    sentences = wrong(found)
    assert list(sentences) == [field]
    assert words_ in sentences[field]


@pytest.mark.parametrize(
    ("target", "words_"), [("edge", "of the form namespaces/"), ("namespaces/web", "another"), ("namespaces/-", "one")]
)
def test_a_target_is_another_namespace(target: str, words_: str) -> None:
    message = full_endpoint()
    message.target_namespace = target
    found = Violations()
    assert endpoint.to_model(message, "web", "ep", "endpoint", found) is None
    assert words_ in wrong(found)["endpoint.target_namespace"]


def test_everything_that_is_wrong_is_told_at_once() -> None:
    message = endpoint_with(address="x", ports=ports(0, 70000), protocols=[7], device="/")
    message.target_namespace = "x"
    message.labels["A"] = ""
    found = Violations()
    endpoint.to_model(message, "web", "ep", "endpoint", found)
    assert set(wrong(found)) == {
        "endpoint.target_namespace",
        "endpoint.labels",
        "endpoint.inet.address",
        "endpoint.inet.ports.high",
        "endpoint.inet.protocols[0]",
        "endpoint.inet.device",
    }


@pytest.mark.parametrize(
    ("network", "words_"),
    [
        ("10.0.0.1", "is no prefix"),
        ("10.0.0.1/24", "write 10.0.0.0/24"),
        ("10.0.0.0/255.255.255.0", "is no prefix"),
        ("10.0.0.0/024", "is no prefix"),
        ("10.0.0.0/", "is no prefix"),
        ("fe80::%1/64", "is no prefix"),
        ("/", "is no prefix"),
    ],
)
def test_a_network_is_an_exact_prefix(network: str, words_: str) -> None:
    found = Violations()
    assert values.read_network(network, "network", found) is None
    assert words_ in wrong(found)["network"]


def good_rule(**given_: object) -> rule_pb2.Rule:
    fields = {"direction": rule_pb2.RULE_DIRECTION_EGRESS, "verdict": rule_pb2.RULE_VERDICT_NATIVE} | given_
    return rule_pb2.Rule(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("message", "field", "words_"),
    [
        (good_rule(direction=0), "r.direction", "missing"),
        (good_rule(direction=7), "r.direction", "7 is unknown"),
        (good_rule(verdict=0), "r.verdict", "missing"),
        (good_rule(verdict=9), "r.verdict", "9 is unknown"),
        (good_rule(endpoint="ep"), "r.endpoint", "leave it empty"),
        (good_rule(verdict=1), "r.endpoint", "missing"),
        (good_rule(verdict=1, endpoint="-a"), "r.endpoint", "cannot name an endpoint"),
        (good_rule(ports=ports(0, 80)), "r.ports.low", "from 1 to 65535"),
        (good_rule(ports=ports(80, 0)), "r.ports.high", "from 1 to 65535"),
        (good_rule(network="x"), "r.network", "is no prefix"),
        (good_rule(protocols=[5]), "r.protocols[0]", "5 is unknown"),
    ],
)
def test_what_is_wrong_with_a_rule_is_named(message: rule_pb2.Rule, field: str, words_: str) -> None:
    found = Violations()
    assert rule.to_model(message, "r", found) is None
    sentences = wrong(found)
    assert list(sentences) == [field]
    assert words_ in sentences[field]


def test_a_rule_without_ports_is_for_every_one() -> None:
    found = Violations()
    made = rule.to_model(good_rule(), "rule", found)
    assert made == Rule(Direction.EGRESS, Verdict.NATIVE)
    assert not rule.to_message(RuleRecord("web", UID, "r", 0, made, VERSION)).HasField("ports")
    ingress = rule.to_model(good_rule(direction=1, ports=ports(0, 0)), "rule", found)
    assert ingress is not None
    assert ingress.ports == PortRange.ANY


@pytest.mark.parametrize(
    ("message", "field", "words_"),
    [
        (acl_pb2.AclRule(), "a.action", "missing"),
        (acl_pb2.AclRule(action=5), "a.action", "5 is unknown"),  # type: ignore[arg-type]
        (acl_pb2.AclRule(action="ACL_ACTION_DENY", local=True), "a.local", "leave it out"),
        (acl_pb2.AclRule(action="ACL_ACTION_DENY", endpoint="a/b"), "a.endpoint", "cannot name an endpoint"),
        (acl_pb2.AclRule(action="ACL_ACTION_DENY", verbs=[3]), "a.verbs[0]", "listen and connect"),  # type: ignore[list-item]
        (acl_pb2.AclRule(action="ACL_ACTION_DENY", uids={"low": 2, "high": 1}), "a.uids", "upside down"),
        (acl_pb2.AclRule(action="ACL_ACTION_DENY", gids={"low": 2, "high": 1}), "a.gids", "upside down"),
        (acl_pb2.AclRule(action="ACL_ACTION_DENY", ports={"low": 0, "high": 1}), "a.ports.low", "from 1"),
    ],
)
def test_what_is_wrong_with_an_acl_rule_is_named(message: acl_pb2.AclRule, field: str, words_: str) -> None:
    found = Violations()
    assert acl.to_model(message, "a", found) is None
    sentences = wrong(found)
    assert list(sentences) == [field]
    assert words_ in sentences[field]


@pytest.mark.parametrize(
    ("by", "field", "words_"),
    [
        ({}, "n.selector", "missing"),
        ({"iproute2_name": "a/b"}, "n.selector.iproute2_name", "no slash"),
        ({"path": "run"}, "n.selector.path", "starts with a slash"),
        ({"process": {"pid": 0}}, "n.selector.process.pid", "from 1 to 4194304"),
        ({"process": {}}, "n.selector.process.pid", "from 1 to 4194304"),
        ({"container_id": "a b"}, "n.selector.container_id", "1 to 128"),
        ({"systemd_unit": "web"}, "n.selector.systemd_unit", "web.service"),
    ],
)
def test_what_is_wrong_with_a_selector_is_named(by: dict[str, object], field: str, words_: str) -> None:
    found = Violations()
    message = namespace_pb2.Namespace(selector=by)
    assert namespace.to_model(message, "web", "n", found) is None
    sentences = wrong(found)
    assert list(sentences) == [field]
    assert words_ in sentences[field]


def test_what_is_kept_about_a_namespace_is_named_too() -> None:
    message = namespace_pb2.Namespace(selector={"path": "/run/netns/web"}, annotations={"a": "x" * 20000})
    found = Violations()
    assert namespace.to_model(message, "web", "namespace", found) is None
    assert "16384 bytes" in wrong(found)["namespace.annotations"]
    found = Violations()
    namespace.read_freeze("x" * 257, "reason", found)
    assert "256 characters" in wrong(found)["reason"]


def test_many_violations_are_counted_and_long_values_shortened() -> None:
    found = Violations()
    values.read_protocols([9] * 100, "protocols", found)
    with pytest.raises(InvalidFieldsError, match="99 more") as caught:
        found.check()
    assert len(caught.value.violations) == MOST_VIOLATIONS
    found = Violations()
    values.read_address("x" * 4_000_000, "address", found)
    assert len(wrong(found)["address"]) < 400
    assert wrong(found)["address"].endswith("as in 10.0.0.2 or fd00::2")


# A namespace that changes keeps what no client sets


def test_a_namespace_keeps_its_freeze_and_its_process() -> None:
    current = Namespace("web", Selector(SelectorKind.PID, "42", 7), freeze=Freeze("incident"))
    message = namespace_pb2.Namespace(selector={"process": {"pid": 42, "start_ticks": 99}}, frozen=False)
    found = Violations()
    same = namespace.to_model(message, "web", "namespace", found, current=current)
    assert same == current
    message.selector.process.pid = 43
    other = namespace.to_model(message, "web", "namespace", found, current=current)
    assert other == Namespace("web", Selector(SelectorKind.PID, "43"), freeze=Freeze("incident"))
    assert namespace.to_model(message, "web", "namespace", found) == Namespace("web", Selector(SelectorKind.PID, "43"))


def test_a_namespace_seen_in_an_earlier_boot_is_absent() -> None:
    value = Namespace("web", Selector(SelectorKind.NETNS, "web"))
    record = NamespaceRecord(UID, value, NetnsIdentity(BOOT, 9), VERSION)
    here = namespace.to_message(record, boot_id=BOOT)
    assert (here.state, here.netns_cookie) == (namespace_pb2.NAMESPACE_STATE_PRESENT, 9)
    gone = namespace.to_message(record, boot_id="another")
    assert (gone.state, gone.netns_cookie) == (namespace_pb2.NAMESPACE_STATE_ABSENT, 0)
    assert not gone.HasField("limits")
    table = Table(9, 3, 10, 10, 10, False, 1, 2, 4, 5, 6)
    usage = namespace.to_message(record, boot_id=BOOT, table=table).usage
    assert (usage.endpoints, usage.rules, usage.acl_rules, usage.sockets, usage.ephemeral) == (1, 2, 4, 5, 6)
    hints = [value.selector, Selector(SelectorKind.UNIT, "a.service"), Selector(SelectorKind.PID, "3")]
    told = node.table_message(table, namespace="web", hints=hints)
    assert [hint.WhichOneof("by") for hint in told.hints] == ["iproute2_name", "pid"]


# A whole namespace


def test_a_whole_namespace_is_looked_at() -> None:
    request = namespace_pb2.ApplyNamespaceRequest(name="namespaces/web")
    found = Violations()
    empty = content.to_model(request, "web", found)
    assert empty is not None
    assert (empty.endpoints, empty.rules, empty.acl) == (None, None, None)
    for name in ("namespaces/web/endpoints/a", "namespaces/web/endpoints/a", "namespaces/edge/endpoints/b", ""):
        one = request.endpoints.endpoints.add()
        one.CopyFrom(full_endpoint())
        one.name = name
    request.rules.rules.extend([good_rule(), good_rule(), good_rule(name="namespaces/web/rules/r", network="::/0")])
    request.acl_rules.acl_rules.add()
    assert content.to_model(request, "web", found) is None
    assert {field: sentence[:20] for field, sentence in wrong(found).items()} == {
        "endpoints.endpoints[1].name": "it is the name of en",
        "endpoints.endpoints[2].name": "'namespaces/edge/end",
        "endpoints.endpoints[3].name": "the name of an endpo",
        "rules.rules[1]": "direction, network, ",
        "acl_rules.acl_rules[0].action": "it is missing: say A",
    }


def test_a_whole_namespace_has_a_size() -> None:
    request = namespace_pb2.ApplyNamespaceRequest()
    request.endpoints.endpoints.extend([endpoint_pb2.Endpoint()] * (content.ENDPOINTS_MAX + 1))
    with pytest.raises(RefusedError, match="16384 at most") as caught:
        content.to_model(request, "web", Violations())
    assert caught.value.metadata == {"limit": "16384"}


def test_a_batch_is_looked_at_request_by_request() -> None:
    request = endpoint_pb2.BatchCreateEndpointsRequest(parent="namespaces/web")
    found = Violations()
    assert content.batch_to_model(request, "web", found) is None
    assert "1 to 16384" in wrong(found)["requests"]
    request.requests.add(endpoint_id="a", endpoint=full_endpoint(), parent="namespaces/web")
    found = Violations()
    (made,) = content.batch_to_model(request, "web", found) or ()
    assert made.endpoint.name == "a"
    request.requests.add(endpoint_id="a", endpoint=full_endpoint(), parent="namespaces/edge")
    request.requests.add(endpoint_id="", request_id=UID, validate_only=True)
    assert content.batch_to_model(request, "web", found) is None
    assert set(wrong(found)) == {
        "requests[1].parent",
        "requests[1].endpoint_id",
        "requests[2].request_id",
        "requests[2].validate_only",
        "requests[2].endpoint_id",
        "requests[2].endpoint",
    }
    request.requests.extend([endpoint_pb2.CreateEndpointRequest()] * content.ENDPOINTS_MAX)
    with pytest.raises(RefusedError, match="16384 at most"):
        content.batch_to_model(request, "web", Violations())


# Whatever is sent


@given(messages(endpoint_pb2.Endpoint))
def test_any_endpoint_is_taken_or_told_what_is_wrong(message: endpoint_pb2.Endpoint) -> None:
    found = Violations()
    assert (endpoint.to_model(message, "web", "ep", "endpoint", found) is None) == (len(found) > 0)


@given(messages(rule_pb2.Rule))
def test_any_rule_is_taken_or_told_what_is_wrong(message: rule_pb2.Rule) -> None:
    found = Violations()
    assert (rule.to_model(message, "rule", found) is None) == (len(found) > 0)


@given(messages(acl_pb2.AclRule))
def test_any_acl_rule_is_taken_or_told_what_is_wrong(message: acl_pb2.AclRule) -> None:
    found = Violations()
    assert (acl.to_model(message, "acl_rule", found) is None) == (len(found) > 0)


@given(messages(namespace_pb2.Namespace))
def test_any_namespace_is_taken_or_told_what_is_wrong(message: namespace_pb2.Namespace) -> None:
    found = Violations()
    assert (namespace.to_model(message, "web", "namespace", found) is None) == (len(found) > 0)


@given(messages(namespace_pb2.ApplyNamespaceRequest))
def test_any_whole_namespace_is_taken_or_told_what_is_wrong(request: namespace_pb2.ApplyNamespaceRequest) -> None:
    found = Violations()
    assert (content.to_model(request, "web", found) is None) == (len(found) > 0)


@given(messages(endpoint_pb2.BatchCreateEndpointsRequest))
def test_any_batch_is_taken_or_told_what_is_wrong(request: endpoint_pb2.BatchCreateEndpointsRequest) -> None:
    found = Violations()
    assert (content.batch_to_model(request, "web", found) is None) == (len(found) > 0)


# Changes and differences


def changed(before: TargetedEndpoint, after: TargetedEndpoint) -> Change:
    old = EndpointRecord("web", UID, before, VERSION)
    return Change(8, THEN, ChangeKind.UPDATED, EndpointRecord("web", UID, after, VERSION), old)


def inet(ports_: PortRange = PortRange.ANY, mark: int = 0) -> Endpoint:
    return Endpoint("ep", EndpointType.IPV4, ipaddress.IPv4Address("10.0.0.2"), ports_, mark=mark)


def test_a_difference_names_the_fields() -> None:
    unix = Endpoint("ep", EndpointType.UNIX, path=b"a")
    changes = [
        changed(TargetedEndpoint(inet()), TargetedEndpoint(inet(PortRange.single(80), 3), labels={"a": "b"})),
        changed(TargetedEndpoint(inet()), TargetedEndpoint(unix)),
        Change(8, THEN, ChangeKind.DELETED, EndpointRecord("web", UID, TargetedEndpoint(unix), VERSION)),
    ]
    told = difference.differences(changes, boot_id=BOOT)
    assert [list(one.fields.paths) for one in told] == [["inet.ports", "inet.mark", "labels"], ["inet", "unix"], []]
    assert told[2].kind == common_pb2.DIFFERENCE_KIND_DELETED
    assert told[0].name == "namespaces/web/endpoints/ep"


def test_a_move_and_a_freeze_are_differences() -> None:
    acl_rule = AclRule(allow=True)
    moved = Change(
        8,
        THEN,
        ChangeKind.UPDATED,
        RuleRecord("web", UID, "a", 2, acl_rule, VERSION),
        RuleRecord("web", UID, "a", 0, acl_rule, VERSION),
    )
    plain = Namespace("web", Selector(SelectorKind.NETNS, "web"))
    frozen = Namespace("web", Selector(SelectorKind.NETNS, "web"), freeze=Freeze())
    froze = Change(
        8,
        THEN,
        ChangeKind.UPDATED,
        NamespaceRecord(UID, frozen, None, VERSION),
        NamespaceRecord(UID, plain, None, VERSION),
    )
    told = difference.differences([moved, froze], boot_id=BOOT)
    assert [list(one.fields.paths) for one in told] == [["index"], ["frozen"]]


def test_a_watch_is_told_each_type() -> None:
    records: list[Record] = [
        NamespaceRecord(UID, Namespace("web", Selector(SelectorKind.NETNS, "web")), None, VERSION),
        EndpointRecord("web", UID, TargetedEndpoint(inet()), VERSION),
        RuleRecord("web", UID, "r", 0, Rule(Direction.EGRESS, Verdict.DENY), VERSION),
        RuleRecord("web", UID, "a", 0, AclRule(allow=True), VERSION),
    ]
    told = [difference.change_message(Change(8, THEN, ChangeKind.CREATED, one), boot_id=BOOT) for one in records]
    assert [one.WhichOneof("resource") for one in told] == ["namespace", "endpoint", "rule", "acl_rule"]
    assert {one.kind for one in told} == {watch_pb2.CHANGE_KIND_CREATED}
