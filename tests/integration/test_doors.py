# SPDX-License-Identifier: Apache-2.0
"""Namespaces that are transparent, and those that go with their network namespace, as clients meet them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from graft.v1 import common_pb2, namespace_pb2, node_pb2, rule_pb2, watch_pb2
from integration.api import endpoint, eventually, refused
from integration.bed import Bed, serving
from integration.workload import check_kernel

_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with serving(tmp_path_factory.mktemp("doors"), "[reconcile]\ninterval_seconds = 1\n") as bed:
        yield bed
    assert not bed.graftd.records(level="error")


@pytest.fixture
def bed(process: Bed) -> Iterator[Bed]:
    process.kernel.load_door(True)
    yield process
    process.kernel.refuse_door("")
    check_kernel(process.api)


def _names(bed: Bed) -> list[str]:
    answer = bed.api.namespaces.ListNamespaces(namespace_pb2.ListNamespacesRequest())
    return [one.name.removeprefix("namespaces/") for one in answer.namespaces]


def _get(bed: Bed, name: str) -> Any:
    return bed.api.namespaces.GetNamespace(namespace_pb2.GetNamespaceRequest(name=f"namespaces/{name}"))


def _update(bed: Bed, name: str, *paths: str, **fields: Any) -> Any:
    return bed.api.namespaces.UpdateNamespace(
        namespace_pb2.UpdateNamespaceRequest(
            namespace=namespace_pb2.Namespace(name=f"namespaces/{name}", **fields), update_mask=FieldMask(paths=paths)
        )
    )


def _applied(bed: Bed, name: str, place: str, **fields: Any) -> namespace_pb2.ApplyNamespaceRequest:
    request = namespace_pb2.ApplyNamespaceRequest(name=f"namespaces/{name}", allow_missing=True, **fields)
    request.namespace.selector.iproute2_name = place
    request.namespace.transient = request.namespace.transparent = True
    request.endpoints.endpoints.append(endpoint(80, name=f"namespaces/{name}/endpoints/http"))
    request.rules.rules.append(
        rule_pb2.Rule(
            direction=rule_pb2.RULE_DIRECTION_INGRESS, verdict=rule_pb2.RULE_VERDICT_ENDPOINT, endpoint="http"
        )
    )
    return request


def _apply(bed: Bed, name: str, place: str, **fields: Any) -> Any:
    return bed.api.namespaces.ApplyNamespace(_applied(bed, name, place, **fields))


def test_transparent_can_be_changed(bed: Bed) -> None:
    made = bed.api.register("open", "ns0", transparent=True)
    assert made.transparent
    assert bed.kernel.door == {made.netns_cookie}  # when it is acknowledged
    status = bed.api.status().transparent
    assert (status.state, status.detail, status.namespaces) == (node_pb2.TRANSPARENT_STATE_SERVED, "", 1)
    closed = _update(bed, "open", "transparent")
    assert not closed.transparent
    assert closed.etag != made.etag
    assert bed.kernel.door == set()
    assert _update(bed, "open", transparent=True).transparent  # without a mask: what is set
    assert bed.kernel.door == {made.netns_cookie}
    differing = namespace_pb2.ApplyNamespaceRequest(name="namespaces/open", namespace=_get(bed, "open"))
    differing.namespace.transparent = False
    (difference,) = bed.api.namespaces.ApplyNamespace(differing).differences
    assert list(difference.fields.paths) == ["transparent"]
    bed.api.namespaces.DeleteNamespace(namespace_pb2.DeleteNamespaceRequest(name="namespaces/open"))


def test_a_map_that_cannot_be_written_is_told(bed: Bed) -> None:
    bed.kernel.refuse_door("the map is somebody else's")
    made = bed.api.register("waits", "ns1", transparent=True)
    assert made.state == namespace_pb2.NAMESPACE_STATE_PRESENT
    sync = _get(bed, "waits").sync
    assert sync.state == common_pb2.SYNC_STATE_PENDING
    assert sync.detail == "the BPF door may not serve it yet: the map is somebody else's"
    status = bed.api.status()
    assert status.state == node_pb2.NODE_STATE_READY
    assert status.transparent.state == node_pb2.TRANSPARENT_STATE_FAILED
    bed.kernel.refuse_door("")
    eventually(lambda: bed.kernel.door == {made.netns_cookie})
    assert _get(bed, "waits").sync.state == common_pb2.SYNC_STATE_IN_SYNC
    bed.api.namespaces.DeleteNamespace(namespace_pb2.DeleteNamespaceRequest(name="namespaces/waits"))


def test_a_program_that_is_loaded_again(bed: Bed) -> None:
    made = bed.api.register("again", "ns2", transparent=True)
    watch = bed.api.node.WatchNode(node_pb2.WatchNodeRequest(), timeout=30)
    next(watch)
    bed.kernel.load_door(False)
    status = bed.api.status().transparent
    assert status.state == node_pb2.TRANSPARENT_STATE_NOT_LOADED
    assert "systemctl start graft-transparent" in status.detail
    assert _get(bed, "again").sync.state == common_pb2.SYNC_STATE_IN_SYNC
    bed.kernel.load_door(True)
    eventually(lambda: bed.kernel.door == {made.netns_cookie})
    kinds = [event.kind for answer in (next(watch), next(watch)) for event in answer.events]
    assert kinds == [node_pb2.NODE_EVENT_KIND_TRANSPARENT_CHANGED] * 2
    watch.cancel()
    bed.api.namespaces.DeleteNamespace(namespace_pb2.DeleteNamespaceRequest(name="namespaces/again"))


def test_a_transient_one_needs_its_network_namespace(bed: Bed) -> None:
    answer = refused(bed.api.register, "early", "nowhere", transient=True)
    assert (answer.code, answer.reason) == (_PRECONDITION, "SELECTOR_UNRESOLVED")
    assert "the network namespace of 'early' is not there" in answer.message
    answer = refused(_apply, bed, "early", "nowhere")
    assert answer.reason == "SELECTOR_UNRESOLVED"
    assert "early" not in _names(bed)


def test_transient_is_immutable(bed: Bed) -> None:
    bed.api.register("plain", "ns3")
    answer = refused(_update, bed, "plain", "transient", transient=True)
    assert (answer.reason, answer.fields) == ("FIELD_IMMUTABLE", ("namespace.transient",))
    answer = refused(_apply, bed, "plain", "ns3")
    assert (answer.reason, answer.fields) == ("FIELD_IMMUTABLE", ("transient",))
    bed.api.register("fleeting", "ns4", transient=True)
    request = namespace_pb2.ApplyNamespaceRequest(name="namespaces/fleeting", namespace=_get(bed, "fleeting"))
    request.namespace.transient = False  # not said: it stays
    assert not bed.api.namespaces.ApplyNamespace(request).differences
    assert _get(bed, "fleeting").transient


def test_it_goes_with_all_that_it_holds(bed: Bed) -> None:
    bed.api.register("front", "ns5")
    bed.kernel.add_namespace("pod")
    answer = _apply(bed, "pod", "pod")
    assert answer.namespace.transient
    assert bed.kernel.door == {answer.namespace.netns_cookie}
    bed.api.create("front", "to-pod", endpoint=endpoint(80, target_namespace="namespaces/pod"))
    bed.api.create("front", "stays")
    watch = bed.api.watch.Watch(
        watch_pb2.WatchRequest(parent="namespaces/-", after_revision=bed.revision()), timeout=30
    )
    bed.kernel.remove_namespace("pod")
    eventually(lambda: "pod" not in _names(bed))
    batch = next(one for one in watch if one.changes)
    told = {getattr(one, one.WhichOneof("resource")).name for one in batch.changes}
    assert {one.kind for one in batch.changes} == {watch_pb2.CHANGE_KIND_DELETED}
    assert told >= {"namespaces/pod", "namespaces/pod/endpoints/http", "namespaces/front/endpoints/to-pod"}
    watch.cancel()
    assert bed.of_kernel("ns5") == {"stays"}
    assert bed.kernel.door == set()
    (record,) = bed.graftd.records(event_kind="NAMESPACE_ABSENT", namespace="pod")
    assert record["message"] == (
        "namespace 'pod' was transient and is deleted, with all that it held: there is no namespace of ip netns 'pod'"
    )
    missing = refused(_get, bed, "pod")
    assert missing.reason == "NAMESPACE_NOT_FOUND"


def test_the_same_name_and_path_again_at_once(bed: Bed) -> None:
    """As a runtime restarts a container: nothing of the first is left, and the second stays."""
    for _ in range(20):
        cookie = bed.kernel.add_namespace("again")
        request = _applied(bed, "again", "again", request_id=str(uuid.uuid4()))
        answer = bed.api.namespaces.ApplyNamespace(request)
        assert answer.namespace.netns_cookie == cookie
        assert bed.api.namespaces.ApplyNamespace(request) == answer  # and its repetition changes nothing
        bed.kernel.remove_namespace("again")
    cookie = bed.kernel.add_namespace("again")
    answer = refused(bed.api.create, "again", "more")  # what is gone is gone, though nobody has told yet
    assert answer.reason == "NAMESPACE_NOT_FOUND"
    _apply(bed, "again", "again")
    bed.api.node.Reconcile(node_pb2.ReconcileRequest())
    assert _get(bed, "again").netns_cookie == cookie
    assert bed.kernel.door == {cookie}
    bed.kernel.remove_namespace("again")
    eventually(lambda: "again" not in _names(bed))


def test_many_that_go_while_graftd_is_down(tmp_path: Path) -> None:
    places = [f"ns{number}" for number in range(50)]
    with serving(tmp_path, "", places) as bed:
        bed.kernel.load_door(True)
        for place in places:
            _apply(bed, place, place)
        assert len(bed.kernel.door) == 50
        bed.graftd.kill()
        for place in places[1:]:
            bed.kernel.remove_namespace(place)
        bed.graftd.start()
        eventually(lambda: bed.api.status().state == node_pb2.NODE_STATE_READY)
        assert _names(bed) == ["ns0"]
        assert bed.kernel.door == {bed.kernel.namespaces["ns0"]}
        assert bed.of_kernel("ns0") == {"http"}
        exported = bed.export("ns0")
        assert (exported.namespace.transparent, exported.namespace.transient) == (True, True)


def test_an_import_of_one(bed: Bed) -> None:
    cookie = bed.kernel.add_namespace("found")
    request = namespace_pb2.ImportNamespaceRequest(namespace_id="found")
    request.namespace.selector.iproute2_name = "found"
    request.namespace.transient = request.namespace.transparent = True
    bed.api.namespaces.ImportNamespace(request)
    assert bed.kernel.door == {cookie}
    bed.kernel.remove_namespace("found")
    eventually(lambda: "found" not in _names(bed))
