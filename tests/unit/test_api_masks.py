# SPDX-License-Identifier: Apache-2.0
"""Field masks: what of an update takes the place of what there is, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from graft.v1 import acl_pb2, common_pb2, endpoint_pb2, namespace_pb2, rule_pb2
from graftd.api import masks
from graftd.api.errors import ImmutableFieldsError, InvalidFieldsError, InvalidMaskError
from unit.messages import messages

KINDS: list[tuple[type[Message], masks.Fields]] = [
    (namespace_pb2.Namespace, masks.NAMESPACE),
    (endpoint_pb2.Endpoint, masks.ENDPOINT),
    (rule_pb2.Rule, masks.RULE),
    (acl_pb2.AclRule, masks.ACL_RULE),
]
CURRENT = endpoint_pb2.Endpoint(
    name="namespaces/web/endpoints/ep",
    uid="u",
    inet=endpoint_pb2.InetTarget(
        address="10.0.0.2",
        ports=common_pb2.PortRange(low=80, high=90),
        protocols=[common_pb2.PROTOCOL_TCP],
        mark=5,
        device="eth0",
    ),
    max_sockets=9,
    labels={"a": "b"},
    revision=3,
)


def endpoint(**fields: Any) -> endpoint_pb2.Endpoint:
    return endpoint_pb2.Endpoint(**fields)


def merged(sent: endpoint_pb2.Endpoint, *paths: str) -> endpoint_pb2.Endpoint:
    """What is sent is parsed: protobuf 3.21 has a map of a parsed message in another state than one that was filled."""
    mask = FieldMask(paths=paths) if paths else None
    parsed = endpoint_pb2.Endpoint.FromString(sent.SerializeToString())
    return masks.merge(parsed, mask, CURRENT, masks.ENDPOINT, "endpoint")


def expected(**changes: Any) -> endpoint_pb2.Endpoint:
    """The current one with some fields of `inet`, or of its own, made different; None clears."""
    result = endpoint_pb2.Endpoint()
    result.CopyFrom(CURRENT)
    for name, value in changes.items():
        target: Any = result.inet if name in result.inet.DESCRIPTOR.fields_by_name else result
        target.ClearField(name)
        if value is not None:
            target.MergeFrom(type(target)(**{name: value}))
    return result


def test_every_field_that_can_be_set_is_one() -> None:
    for kind, fields in KINDS:
        for path in (*fields.settable, *fields.immutable):
            descriptor = kind.DESCRIPTOR
            for word in path.split("."):
                field = descriptor.fields_by_name[word]
                descriptor = field.message_type or descriptor


@pytest.mark.parametrize(
    ("sent", "paths", "result"),
    [
        # A scalar that is named and not set is cleared.
        (endpoint(max_sockets=1), ["max_sockets"], expected(max_sockets=1)),
        (endpoint(), ["max_sockets"], expected(max_sockets=None)),
        (endpoint(max_sockets=1, privileged=True), ["privileged"], expected(privileged=True)),
        # Maps and sets are taken whole.
        (endpoint(labels={"c": "d"}), ["labels"], expected(labels={"c": "d"})),
        (endpoint(), ["labels"], expected(labels=None)),
        (endpoint(inet={"protocols": [2]}), ["inet.protocols"], expected(protocols=[2])),
        # Inside of what there is.
        (endpoint(inet={"mark": 7}), ["inet.mark"], expected(mark=7)),
        (endpoint(), ["inet.mark", "inet.device"], expected(mark=None, device=None)),
        (endpoint(inet={"ports": {"low": 1}}), ["inet.ports"], expected(ports={"low": 1})),
        (endpoint(inet={"mark": 7}), ["inet"], expected(inet={"mark": 7})),
        (endpoint(inet={"mark": 7}), ["inet", "inet.device"], expected(inet={"mark": 7})),
        # One kind by the other.
        (endpoint(unix={"path": b"a"}), ["unix"], expected(unix={"path": b"a"})),
        (endpoint(unix={"path": b"a"}), ["inet", "unix"], expected(unix={"path": b"a"})),
        (endpoint(unix={"path": b"a"}), ["unix", "unix.path", "inet.mark"], expected(unix={"path": b"a"})),
        (endpoint(inet={"mark": 7}), ["unix", "inet"], expected(inet={"mark": 7})),
        # No mask: what is set.
        (endpoint(), [], CURRENT),
        (endpoint(max_sockets=1), [], expected(max_sockets=1)),
        (endpoint(inet={"mark": 7}), [], expected(mark=7)),
        (endpoint(unix={"path": b"a"}), [], expected(unix={"path": b"a"})),
        (endpoint(labels={"c": "d"}, uid="other", revision=1), [], expected(labels={"c": "d"})),
        # All of them.
        (endpoint(unix={"path": b"a"}), ["*"], endpoint(name=CURRENT.name, uid="u", revision=3, unix={"path": b"a"})),
        (CURRENT, ["*"], CURRENT),
        # What is never changed may be named, and so may what is as it was.
        (endpoint(name="x", etag="y"), ["name", "etag"], CURRENT),
        (endpoint(uid="u", revision=3), ["uid", "revision"], CURRENT),
    ],
)
def test_what_is_named_takes_the_place(
    sent: endpoint_pb2.Endpoint, paths: list[str], result: endpoint_pb2.Endpoint
) -> None:
    before = CURRENT.SerializeToString(deterministic=True)
    assert merged(sent, *paths) == result
    assert CURRENT.SerializeToString(deterministic=True) == before


def test_a_part_of_the_kind_that_went_is_passed_over() -> None:
    current = endpoint(unix={"path": b"a"})
    result = masks.merge(
        endpoint(inet={"mark": 7}), FieldMask(paths=["inet", "unix.path"]), current, masks.ENDPOINT, "endpoint"
    )
    assert result == endpoint(inet={"mark": 7})


def test_an_empty_mask_is_none() -> None:
    result = masks.merge(endpoint(max_sockets=1), FieldMask(), CURRENT, masks.ENDPOINT, "endpoint")
    assert result == expected(max_sockets=1)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("max_socket", "'max_sockets' is the nearest"),
        ("inet.adress", "'inet.address' is the nearest"),
        ("inet.ports.low", "'inet.ports' is the nearest"),
        ("labels.a", "'labels' is the nearest"),
        ("maxSockets", "'max_sockets' is the nearest"),
        ("", "is the nearest"),
        ("x" * 100_000, "is the nearest"),
        ("unix.path", "name unix, and send all of it"),
    ],
)
def test_a_path_that_there_is_not_is_refused(path: str, words: str) -> None:
    with pytest.raises(InvalidMaskError) as caught:
        merged(endpoint(), "labels", path)
    (violation,) = caught.value.violations
    assert violation.field == "update_mask.paths[1]"
    assert words in violation.sentence
    assert len(violation.sentence) < 400


@pytest.mark.parametrize(("path", "sent"), [("uid", endpoint()), ("revision", endpoint(revision=9))])
def test_what_cannot_be_changed_is_refused(path: str, sent: endpoint_pb2.Endpoint) -> None:
    with pytest.raises(ImmutableFieldsError, match=f"endpoint.{path}: it cannot be changed"):
        merged(sent, path)


@pytest.mark.parametrize("paths", [[], ["*"], ["direction"]])
def test_a_rule_keeps_its_direction(paths: list[str]) -> None:
    current = rule_pb2.Rule(direction=rule_pb2.RULE_DIRECTION_EGRESS, verdict=rule_pb2.RULE_VERDICT_DENY)
    sent = rule_pb2.Rule(direction=rule_pb2.RULE_DIRECTION_INGRESS, verdict=rule_pb2.RULE_VERDICT_DENY)
    with pytest.raises(ImmutableFieldsError, match=r"rule\.direction"):
        masks.merge(sent, FieldMask(paths=paths), current, masks.RULE, "rule")
    sent.direction = current.direction
    assert masks.merge(sent, FieldMask(paths=paths), current, masks.RULE, "rule") == current


def test_a_direction_that_no_mask_names_is_not_looked_at() -> None:
    current = rule_pb2.Rule(direction=rule_pb2.RULE_DIRECTION_EGRESS)
    sent = rule_pb2.Rule(direction=rule_pb2.RULE_DIRECTION_INGRESS, endpoint="ep")
    result = masks.merge(sent, FieldMask(paths=["endpoint"]), current, masks.RULE, "rule")
    assert result == rule_pb2.Rule(direction=rule_pb2.RULE_DIRECTION_EGRESS, endpoint="ep")


def test_limits_are_changed_one_by_one() -> None:
    current = namespace_pb2.Namespace(limits=namespace_pb2.NamespaceLimits(max_sockets=0, max_endpoints=2))
    sent = namespace_pb2.Namespace(limits=namespace_pb2.NamespaceLimits(max_ephemeral=0))

    def limits(*paths: str) -> dict[str, int]:
        result = masks.merge(sent, FieldMask(paths=paths), current, masks.NAMESPACE, "namespace")
        return {field.name: value for field, value in result.limits.ListFields()}

    assert limits() == {"max_sockets": 0, "max_ephemeral": 0, "max_endpoints": 2}
    assert limits("limits.max_sockets") == {"max_endpoints": 2}
    assert limits("limits.max_ephemeral") == {"max_sockets": 0, "max_ephemeral": 0, "max_endpoints": 2}
    assert limits("limits") == {"max_ephemeral": 0}
    nothing = namespace_pb2.Namespace()
    result = masks.merge(sent, FieldMask(paths=["limits.max_ephemeral"]), nothing, masks.NAMESPACE, "namespace")
    assert result.limits.HasField("max_ephemeral")


def test_what_differs_is_named_inside_of_what_both_have() -> None:
    assert masks.differing(CURRENT, expected(mark=1, max_sockets=1), masks.ENDPOINT) == ["inet.mark", "max_sockets"]
    assert masks.differing(CURRENT, expected(unix={"path": b"a"}), masks.ENDPOINT) == ["inet", "unix"]
    assert masks.differing(CURRENT, expected(uid="other"), masks.ENDPOINT) == []


@given(st.sampled_from(KINDS), st.data())
def test_whatever_is_sent_is_merged_or_refused(kind: tuple[type[Message], masks.Fields], data: st.DataObject) -> None:
    cls, fields = kind
    sent, current = data.draw(messages(cls)), data.draw(messages(cls))
    paths = data.draw(st.lists(st.sampled_from([*fields.settable, *fields.immutable, "*", "uid", "x"]), max_size=4))
    try:
        result = masks.merge(sent, FieldMask(paths=paths), current, fields, "field")
    except InvalidFieldsError:
        return
    named = set(fields.settable) if not paths or "*" in paths else {path.partition(".")[0] for path in paths}
    tops = {path.partition(".")[0] for path in masks.differing(current, result, fields)}
    # One of a oneof goes when another one comes.
    assert tops <= named | ({"inet", "unix"} if named & {"inet", "unix"} else set())
    for path in named & set(fields.tops()) if "*" in paths else ():
        assert getattr(result, path) == getattr(sent, path)


@given(st.sampled_from(KINDS), st.data())
def test_an_update_to_what_there_is_changes_nothing(
    kind: tuple[type[Message], masks.Fields], data: st.DataObject
) -> None:
    cls, fields = kind
    current = data.draw(messages(cls))
    for paths in ([], ["*"]):
        result = masks.merge(current, FieldMask(paths=paths), current, fields, "field")
        assert masks.differing(current, result, fields) == []


def test_a_flag_that_is_not_set_needs_a_mask() -> None:
    current = namespace_pb2.Namespace(transparent=True, transient=True)
    nothing = namespace_pb2.Namespace()
    for mask, expected in ((None, True), (FieldMask(paths=["transparent"]), False), (FieldMask(paths=["*"]), False)):
        merged = masks.merge(nothing, mask, current, masks.NAMESPACE, "namespace")
        assert (merged.transparent, merged.transient) == (expected, True)


def test_transient_is_immutable() -> None:
    plain, transient = namespace_pb2.Namespace(), namespace_pb2.Namespace(transient=True)
    masks.merge(transient, None, transient, masks.NAMESPACE, "namespace")
    for sent, mask, current in (
        (transient, None, plain),
        (transient, FieldMask(paths=["*"]), plain),
        (plain, FieldMask(paths=["transient"]), transient),
    ):
        with pytest.raises(ImmutableFieldsError) as caught:
            masks.merge(sent, mask, current, masks.NAMESPACE, "namespace")
        assert caught.value.violations[0].field == "namespace.transient"
