# SPDX-License-Identifier: Apache-2.0
"""Changes under conditions: etags, masks, request ids, trials, and what may be missing or in use."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from graft.v1 import acl_pb2, common_pb2, endpoint_pb2, namespace_pb2, node_pb2, rule_pb2
from graftd.model import DeleteEndpoint
from integration import played
from integration.api import Api, batch, endpoint, refused
from integration.bed import Bed, serving
from integration.workload import check_kernel


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with serving(tmp_path_factory.mktemp("changes")) as bed:
        yield bed


@pytest.fixture
def bed(process: Bed) -> Iterator[Bed]:
    yield process
    check_kernel(process.api)


def _get(bed: Bed, name: str) -> Any:
    return bed.api.endpoints.GetEndpoint(
        endpoint_pb2.GetEndpointRequest(name=name, view=endpoint_pb2.ENDPOINT_VIEW_BASIC)
    )


def _id() -> str:
    return str(uuid.uuid4())


def test_etags(bed: Bed) -> None:
    """Each kind of resource, updated and deleted by who has read what it was before."""
    bed.api.register("etags", "ns0")
    one = bed.api.create("etags", "one")
    old = one.etag
    one.inet.ports.low = one.inet.ports.high = 81
    new = bed.api.endpoints.UpdateEndpoint(endpoint_pb2.UpdateEndpointRequest(endpoint=one))
    assert new.etag != old
    assert new.uid == one.uid
    for answer in (
        refused(bed.api.endpoints.UpdateEndpoint, endpoint_pb2.UpdateEndpointRequest(endpoint=one)),
        refused(bed.api.endpoints.DeleteEndpoint, endpoint_pb2.DeleteEndpointRequest(name=one.name, etag=old)),
    ):
        assert (answer.code, answer.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
        assert answer.metadata["etag"] == new.etag
        assert answer.metadata["resource"] == one.name
    assert _get(bed, one.name).inet.ports.low == 81
    # A container that comes back is no change of what was read.
    space = bed.api.namespaces.GetNamespace(namespace_pb2.GetNamespaceRequest(name="namespaces/etags"))
    space.labels["a"] = "b"
    changed = bed.api.namespaces.UpdateNamespace(namespace_pb2.UpdateNamespaceRequest(namespace=space))
    assert changed.labels == {"a": "b"}
    answer = refused(bed.api.namespaces.UpdateNamespace, namespace_pb2.UpdateNamespaceRequest(namespace=space))
    assert (answer.reason, answer.metadata["etag"]) == ("ETAG_MISMATCH", changed.etag)
    answer = refused(
        bed.api.namespaces.DeleteNamespace,
        namespace_pb2.DeleteNamespaceRequest(name=space.name, etag=space.etag, force=True),
    )
    assert answer.reason == "ETAG_MISMATCH"
    rule = bed.api.acl.CreateAclRule(
        acl_pb2.CreateAclRuleRequest(
            parent="namespaces/etags", acl_rule_id="a", acl_rule=acl_pb2.AclRule(action=acl_pb2.ACL_ACTION_DENY)
        )
    )
    rule.own_ids = True
    bed.api.acl.UpdateAclRule(acl_pb2.UpdateAclRuleRequest(acl_rule=rule))
    answer = refused(bed.api.acl.MoveAclRule, acl_pb2.MoveAclRuleRequest(name=rule.name, index=1, etag=rule.etag))
    assert answer.reason == "ETAG_MISMATCH"
    bed.api.endpoints.DeleteEndpoint(endpoint_pb2.DeleteEndpointRequest(name=one.name, etag=new.etag))
    assert refused(_get, bed, one.name).reason == "ENDPOINT_NOT_FOUND"


def test_masks(bed: Bed) -> None:
    bed.api.register("masks", "ns1")
    bed.api.create("masks", "one", endpoint=endpoint(80, labels={"a": "1"}, max_sockets=5))
    name = "namespaces/masks/endpoints/one"

    def update(sent: Any, *paths: str) -> Any:
        mask = FieldMask(paths=paths) if paths else None
        return bed.api.endpoints.UpdateEndpoint(endpoint_pb2.UpdateEndpointRequest(endpoint=sent, update_mask=mask))

    now = update(endpoint_pb2.Endpoint(name=name, max_sockets=7))
    assert (now.max_sockets, now.inet.ports.low, dict(now.labels)) == (7, 80, {"a": "1"})
    # Without a mask, what is set; of a kind that it is of already, what is set inside.
    now = update(endpoint_pb2.Endpoint(name=name, inet=endpoint_pb2.InetTarget(mark=9)))
    assert (now.inet.address, now.inet.ports.low, now.inet.mark) == ("192.0.2.1", 80, 9)
    now = update(endpoint(90, name=name, max_sockets=1), "inet.ports")
    assert (now.max_sockets, now.inet.ports.low) == (7, 90)
    now = update(endpoint_pb2.Endpoint(name=name), "labels", "max_sockets")
    assert (now.max_sockets, dict(now.labels)) == (0, {})
    now = update(endpoint(70, name=name, labels={"z": "9"}), "*")
    assert (now.inet.ports.low, dict(now.labels)) == (70, {"z": "9"})
    revision = bed.api.status().store.revision
    assert update(endpoint(70, name=name, labels={"z": "9"}), "*").etag == now.etag
    assert bed.api.status().store.revision == revision, "nothing differed, and there is a revision"
    answer = refused(update, endpoint(name=name), "inet.port")
    assert (answer.code, answer.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_MASK")
    assert "inet.ports" in answer.message
    assert refused(update, endpoint(name=name), "uid").reason == "FIELD_IMMUTABLE"
    assert refused(update, endpoint(name=name), "unix.path").reason in ("INVALID_MASK", "INVALID_FIELD")
    answer = refused(update, endpoint(70000, name=name))
    assert answer.reason == "INVALID_FIELD"
    assert answer.fields[0].startswith("endpoint.inet.ports")


def test_request_ids(bed: Bed) -> None:
    """Repeated across a kill; used for something else, refused."""
    bed.api.register("ids", "ns2")
    space = "namespaces/ids"
    ids = {word: _id() for word in ("create", "batch", "delete", "freeze", "apply", "import")}
    calls = {
        "create": (
            "endpoints.CreateEndpoint",
            endpoint_pb2.CreateEndpointRequest(parent=space, endpoint_id="one", endpoint=endpoint()),
        ),
        "batch": ("endpoints.BatchCreateEndpoints", batch("ids", ["b1", "b2"])),
        "delete": ("endpoints.DeleteEndpoint", endpoint_pb2.DeleteEndpointRequest(name=f"{space}/endpoints/b1")),
        "freeze": ("namespaces.FreezeNamespace", namespace_pb2.FreezeNamespaceRequest(name=space, reason="once")),
        "apply": (
            "namespaces.ApplyNamespace",
            namespace_pb2.ApplyNamespaceRequest(name=space, rules=rule_pb2.RuleSet(), acl_rules=acl_pb2.AclRuleSet()),
        ),
        "import": (
            "namespaces.ImportNamespace",
            namespace_pb2.ImportNamespaceRequest(namespace_id="ids-imported", namespace=_space("ns3")),
        ),
    }
    answers = {}
    for word, (method, request) in calls.items():
        request.request_id = ids[word]
        answers[word] = _call(bed.api, method, request)
    bed.api.endpoints.DeleteEndpoint(endpoint_pb2.DeleteEndpointRequest(name=f"{space}/endpoints/one"))
    revision = bed.api.status().store.revision
    for restarted in (False, True):
        if restarted:
            bed.graftd.kill()
            bed.graftd.start()
        for word, (method, request) in calls.items():
            request.request_id = ids[word].upper() if restarted else ids[word]
            again = _call(bed.api, method, request)
            assert again == answers[word], word
        assert bed.api.status().store.revision == revision
        assert bed.api.names("ids") == ["b2"]
    reused = calls["create"][1]
    reused.endpoint_id = "another"
    answer = refused(bed.api.endpoints.CreateEndpoint, reused)
    assert (answer.code, answer.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")
    answer = refused(
        bed.api.endpoints.DeleteEndpoint,
        endpoint_pb2.DeleteEndpointRequest(name=f"{space}/endpoints/b2", request_id=ids["create"]),
    )
    assert answer.reason == "REQUEST_ID_REUSED"
    # What failed or was only tried is not remembered.
    tried = _id()
    request = endpoint_pb2.CreateEndpointRequest(
        parent=space, endpoint_id="later", endpoint=endpoint(device=played.REFUSED_DEVICE), request_id=tried
    )
    assert refused(bed.api.endpoints.CreateEndpoint, request).reason == "KERNEL_REFUSED"
    request.endpoint.inet.device = ""
    request.validate_only = True
    bed.api.endpoints.CreateEndpoint(request)
    request.validate_only = False
    bed.api.endpoints.CreateEndpoint(request)
    assert bed.api.names("ids") == ["b2", "later"]
    request.request_id = "no-uuid"
    answer = refused(bed.api.endpoints.CreateEndpoint, request)
    assert (answer.reason, answer.fields) == ("INVALID_FIELD", ("request_id",))


def _call(api: Api, method: str, request: Any) -> Any:
    service, _, name = method.partition(".")
    return getattr(getattr(api, service), name)(request, wait_for_ready=True, timeout=30)


def _space(place: str, **fields: Any) -> Any:
    return namespace_pb2.Namespace(selector=namespace_pb2.NamespaceSelector(iproute2_name=place), **fields)


def test_trials_change_nothing_and_answer_alike(bed: Bed) -> None:
    """Each change, first only tried and then made: the same answer but for uids, times, revisions and etags."""
    space = "namespaces/trials"
    bed.api.register("trials", "ns4")
    bed.api.register("trials-target", "ns5")
    rule = rule_pb2.Rule(
        direction=rule_pb2.RULE_DIRECTION_INGRESS, verdict=rule_pb2.RULE_VERDICT_ENDPOINT, endpoint="one"
    )
    acl_rule = acl_pb2.AclRule(action=acl_pb2.ACL_ACTION_DENY, endpoint="one")
    one = endpoint(name=f"{space}/endpoints/one")
    calls = [
        ("endpoints.CreateEndpoint", endpoint_pb2.CreateEndpointRequest(parent=space, endpoint_id="one", endpoint=one)),
        ("endpoints.BatchCreateEndpoints", batch("trials", ["two", "three"])),
        (
            "endpoints.UpdateEndpoint",
            endpoint_pb2.UpdateEndpointRequest(
                endpoint=endpoint_pb2.Endpoint(name=one.name, target_namespace="namespaces/trials-target")
            ),
        ),
        ("rules.CreateRule", rule_pb2.CreateRuleRequest(parent=space, rule_id="r", rule=rule)),
        (
            "rules.UpdateRule",
            rule_pb2.UpdateRuleRequest(
                rule=rule_pb2.Rule(name=f"{space}/rules/r", verdict=rule_pb2.RULE_VERDICT_DENY, endpoint=""),
                update_mask=FieldMask(paths=["verdict", "endpoint"]),
            ),
        ),
        ("acl.CreateAclRule", acl_pb2.CreateAclRuleRequest(parent=space, acl_rule_id="a", acl_rule=acl_rule)),
        ("acl.CreateAclRule", acl_pb2.CreateAclRuleRequest(parent=space, acl_rule_id="b", acl_rule=acl_rule, index=1)),
        ("acl.MoveAclRule", acl_pb2.MoveAclRuleRequest(name=f"{space}/aclRules/a", index=1)),
        (
            "acl.UpdateAclRule",
            acl_pb2.UpdateAclRuleRequest(acl_rule=acl_pb2.AclRule(name=f"{space}/aclRules/a", own_ids=True)),
        ),
        ("namespaces.FreezeNamespace", namespace_pb2.FreezeNamespaceRequest(name=space, reason="why not")),
        ("namespaces.UnfreezeNamespace", namespace_pb2.UnfreezeNamespaceRequest(name=space)),
        (
            "namespaces.UpdateNamespace",
            namespace_pb2.UpdateNamespaceRequest(namespace=namespace_pb2.Namespace(name=space, labels={"a": "b"})),
        ),
        ("rules.DeleteRule", rule_pb2.DeleteRuleRequest(name=f"{space}/rules/r")),
        ("acl.DeleteAclRule", acl_pb2.DeleteAclRuleRequest(name=f"{space}/aclRules/a")),
        ("endpoints.DeleteEndpoint", endpoint_pb2.DeleteEndpointRequest(name=one.name)),
        (
            "namespaces.ImportNamespace",
            namespace_pb2.ImportNamespaceRequest(namespace_id="trials-3", namespace=_space("ns7")),
        ),
        ("namespaces.DeleteNamespace", namespace_pb2.DeleteNamespaceRequest(name="namespaces/trials-3")),
    ]
    for method, request in calls:
        before = bed.api.status().store.revision
        request.validate_only = True
        tried = _call(bed.api, method, request)
        assert bed.api.status().store.revision == before, method
        check_kernel(bed.api)
        request.validate_only = False
        made = _call(bed.api, method, request)
        assert bed.api.status().store.revision == before + 1, method
        assert _without_incidentals(tried) == _without_incidentals(made), method
    # A trial finds what would be refused.
    request = endpoint_pb2.CreateEndpointRequest(parent=space, endpoint_id="two", endpoint=one, validate_only=True)
    assert refused(bed.api.endpoints.CreateEndpoint, request).reason == "ENDPOINT_EXISTS"


def test_a_trial_of_a_namespace_asks_the_store_alone(bed: Bed) -> None:
    request = namespace_pb2.CreateNamespaceRequest(namespace_id="trials-2", namespace=_space("ns6"), validate_only=True)
    tried = bed.api.namespaces.CreateNamespace(request)
    request.validate_only = False
    made = bed.api.namespaces.CreateNamespace(request)
    assert made.state == namespace_pb2.NAMESPACE_STATE_PRESENT
    for field in ("state", "netns_cookie", "sync"):
        made.ClearField(field)
        tried.ClearField(field)
    made.state = tried.state = namespace_pb2.NAMESPACE_STATE_ABSENT
    assert _without_incidentals(tried) == _without_incidentals(made)
    again = namespace_pb2.CreateNamespaceRequest(namespace_id="trials-4", namespace=_space("ns6"), validate_only=True)
    assert refused(bed.api.namespaces.CreateNamespace, again).reason == "SELECTOR_TAKEN"


def _without_incidentals(message: Any) -> Any:
    """Without what no two resources have alike, in what is inside as well."""
    copy = type(message)()
    copy.CopyFrom(message)
    for field, value in list(copy.ListFields()):
        if field.name in ("uid", "create_time", "update_time", "revision", "etag"):
            copy.ClearField(field.name)
        elif field.name == "namespace":
            value.CopyFrom(_without_incidentals(value))
        elif field.name == "endpoints" and not isinstance(value, int):
            inner = [_without_incidentals(one) for one in value]
            copy.ClearField("endpoints")
            copy.endpoints.extend(inner)
    return copy


def test_what_may_be_missing(bed: Bed) -> None:
    bed.api.register("missing", "ns8")
    name = "namespaces/missing/endpoints/one"
    request = endpoint_pb2.UpdateEndpointRequest(endpoint=endpoint(81, name=name))
    answer = refused(bed.api.endpoints.UpdateEndpoint, request)
    assert (answer.code, answer.reason, answer.metadata["resource"]) == (
        grpc.StatusCode.NOT_FOUND,
        "ENDPOINT_NOT_FOUND",
        name,
    )
    request.allow_missing = True
    assert bed.api.endpoints.UpdateEndpoint(request).inet.ports.low == 81
    gone = endpoint_pb2.DeleteEndpointRequest(name=name)
    assert bed.api.endpoints.DeleteEndpoint(gone).revision
    assert refused(bed.api.endpoints.DeleteEndpoint, gone).reason == "ENDPOINT_NOT_FOUND"
    gone.allow_missing = True
    assert bed.api.endpoints.DeleteEndpoint(gone).revision == 0
    gone.name = "namespaces/never-there/endpoints/one"
    assert bed.api.endpoints.DeleteEndpoint(gone).revision == 0
    request.endpoint.name = gone.name
    assert refused(bed.api.endpoints.UpdateEndpoint, request).reason == "NAMESPACE_NOT_FOUND"
    space = namespace_pb2.DeleteNamespaceRequest(name="namespaces/never-there", allow_missing=True)
    assert bed.api.namespaces.DeleteNamespace(space).revision == 0


def test_an_etag_creates_nothing(bed: Bed) -> None:
    """What somebody read and somebody else deleted does not come back by an update."""
    bed.api.register("gone", "ns18")
    before = bed.export("gone").etag
    parent, etag = "namespaces/gone", "read-before"
    update = {
        "endpoint": (bed.api.endpoints.UpdateEndpoint, endpoint_pb2.UpdateEndpointRequest, endpoint()),
        "rule": (
            bed.api.rules.UpdateRule,
            rule_pb2.UpdateRuleRequest,
            rule_pb2.Rule(direction=rule_pb2.RULE_DIRECTION_EGRESS, verdict=rule_pb2.RULE_VERDICT_DENY),
        ),
        "acl_rule": (
            bed.api.acl.UpdateAclRule,
            acl_pb2.UpdateAclRuleRequest,
            acl_pb2.AclRule(action=acl_pb2.ACL_ACTION_DENY),
        ),
        "namespace": (bed.api.namespaces.UpdateNamespace, namespace_pb2.UpdateNamespaceRequest, _space("ns19")),
    }
    names = {"endpoint": f"{parent}/endpoints/e", "rule": f"{parent}/rules/r", "acl_rule": f"{parent}/aclRules/a"}
    for word, (call, request, resource) in update.items():
        resource.name, resource.etag = names.get(word, "namespaces/gone-too"), etag
        answer = refused(call, request(**{word: resource}, allow_missing=True))
        assert (answer.code, answer.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH"), word
        assert answer.metadata == {"etag": "", "resource": resource.name}
        assert "send none to create it" in answer.message
    apply = namespace_pb2.ApplyNamespaceRequest(
        name="namespaces/gone-too", namespace=_space("ns19"), etag=etag, allow_missing=True
    )
    assert refused(bed.api.namespaces.ApplyNamespace, apply).reason == "ETAG_MISMATCH"
    apply.etag, apply.namespace.etag = "", etag
    assert refused(bed.api.namespaces.ApplyNamespace, apply).reason == "ETAG_MISMATCH"
    assert refused(bed.export, "gone-too").reason == "NAMESPACE_NOT_FOUND"
    assert bed.export("gone").etag == before


def test_namespaces_that_are_in_use(bed: Bed) -> None:
    bed.api.register("use-target", "ns9")
    bed.api.register("use-user", "ns10")
    for number in range(3):
        bed.api.create("use-user", f"e{number}", endpoint=endpoint(target_namespace="namespaces/use-target"))
    for force in (False, True):
        answer = refused(
            bed.api.namespaces.DeleteNamespace,
            namespace_pb2.DeleteNamespaceRequest(name="namespaces/use-target", force=force),
        )
        assert (answer.code, answer.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NAMESPACE_IN_USE")
        assert answer.metadata["endpoints"] == "3"
        assert answer.metadata["endpoint"].startswith("namespaces/use-user/endpoints/e")
    whole = namespace_pb2.DeleteNamespaceRequest(name="namespaces/use-user")
    answer = refused(bed.api.namespaces.DeleteNamespace, whole)
    assert (answer.code, answer.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NAMESPACE_NOT_EMPTY")
    whole.force = True
    bed.api.namespaces.DeleteNamespace(whole)
    assert not bed.kernel.endpoints(bed.kernel.namespaces["ns10"])
    bed.api.namespaces.DeleteNamespace(namespace_pb2.DeleteNamespaceRequest(name="namespaces/use-target"))
    answer = refused(bed.api.create, "use-user", "e", endpoint=endpoint(target_namespace="namespaces/use-target"))
    assert answer.reason == "NAMESPACE_NOT_FOUND"


def test_freezes_last(bed: Bed) -> None:
    """One of a namespace and one of the node, through a kill; either ends by itself."""
    bed.api.register("frozen", "ns11")
    bed.api.register("free", "ns12")
    bed.api.namespaces.FreezeNamespace(namespace_pb2.FreezeNamespaceRequest(name="namespaces/frozen", reason="one"))
    bed.api.node.Freeze(node_pb2.FreezeRequest(reason="all"))
    for _ in range(2):
        status = bed.api.status()
        assert (status.frozen, status.freeze_reason) == (True, "all")
        assert _frozen(bed, "ns11", "ns12") == [True, True]
        bed.graftd.kill()
        bed.graftd.start()
    bed.api.register("frozen-later", "ns13")
    assert _frozen(bed, "ns13") == [True]
    left = bed.api.node.Unfreeze(node_pb2.UnfreezeRequest()).namespaces
    spaces = bed.api.namespaces.ListNamespaces(namespace_pb2.ListNamespacesRequest()).namespaces
    assert left == sum(one.frozen for one in spaces)
    assert _frozen(bed, "ns11", "ns12", "ns13") == [True, False, False]
    space = bed.api.namespaces.GetNamespace(namespace_pb2.GetNamespaceRequest(name="namespaces/frozen"))
    assert (space.frozen, space.freeze_reason) == (True, "one")
    space = bed.api.namespaces.UnfreezeNamespace(namespace_pb2.UnfreezeNamespaceRequest(name=space.name))
    assert (space.frozen, space.freeze_reason) == (False, "")
    assert _frozen(bed, "ns11") == [False]
    assert space.sync.state == common_pb2.SYNC_STATE_IN_SYNC


def test_a_reconcile_tells_what_it_would_repair(bed: Bed) -> None:
    """What another has written; as a trial first, which leaves it."""
    bed.api.register("reconciled", "ns14")
    one = bed.api.create("reconciled", "one")
    bed.kernel.carry_out(bed.kernel.namespaces["ns14"], [DeleteEndpoint("one")])
    tried = bed.api.node.Reconcile(node_pb2.ReconcileRequest(validate_only=True))
    assert [(each.name, each.kind) for each in tried.repairs] == [(one.name, common_pb2.DIFFERENCE_KIND_CREATED)]
    assert (tried.repaired, tried.failed) == (1, 0)
    assert bed.of_kernel("ns14") == set()
    assert bed.api.node.Reconcile(node_pb2.ReconcileRequest()) == tried
    assert bed.of_kernel("ns14") == {"one"}


def _frozen(bed: Bed, *places: str) -> list[bool]:
    return [bed.kernel.table(bed.kernel.namespaces[place]).frozen for place in places]
