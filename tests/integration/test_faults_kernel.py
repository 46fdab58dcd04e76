# SPDX-License-Identifier: Apache-2.0
"""A module that is absent, comes, goes or is another's, and a kernel that refuses a part of a change."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from graft.v1 import common_pb2, endpoint_pb2, namespace_pb2, node_pb2, socket_pb2
from integration import played
from integration.api import Api, batch, endpoint, eventually, refused
from integration.bed import Bed, serving
from integration.process import Graftd
from integration.workload import check_kernel

_UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with serving(tmp_path_factory.mktemp("kernel"), "[reconcile]\ninterval_seconds = 1\n") as bed:
        yield bed
    assert not bed.graftd.records(level="error")


@pytest.fixture
def bed(process: Bed) -> Iterator[Bed]:
    yield process
    process.kernel.claim_for(None)
    process.kernel.load(True)
    eventually(lambda: not process.api.conditions())


def test_without_the_module(bed: Bed) -> None:
    """Reading works, changes are refused; when it comes back, every table is filled again, without a restart."""
    bed.api.register("absent", "ns0")
    bed.api.create("absent", "before")
    bed.kernel.load(False)
    watch = bed.api.node.WatchNode(node_pb2.WatchNodeRequest(), timeout=30)
    next(watch)
    answer = refused(bed.api.create, "absent", "refused")
    assert (answer.code, answer.reason) == (_UNAVAILABLE, "MODULE_NOT_LOADED")
    assert "modprobe graft" in answer.message
    assert refused(bed.api.register, "another", "ns19").reason == "MODULE_NOT_LOADED"
    assert refused(bed.api.node.Reconcile, node_pb2.ReconcileRequest()).reason == "MODULE_NOT_LOADED"
    assert refused(bed.api.node.Freeze, node_pb2.FreezeRequest()).reason == "MODULE_NOT_LOADED"
    assert bed.api.names("absent") == ["before"]
    one = bed.api.endpoints.GetEndpoint(
        endpoint_pb2.GetEndpointRequest(name="namespaces/absent/endpoints/before", view=endpoint_pb2.ENDPOINT_VIEW_FULL)
    )
    assert one.sync.state == common_pb2.SYNC_STATE_PENDING
    assert not one.HasField("counters")
    status = bed.api.status()
    assert status.state == node_pb2.NODE_STATE_DEGRADED
    assert [one.reason for one in status.conditions] == ["MODULE_NOT_LOADED"]
    assert status.kernel.module_state == node_pb2.MODULE_STATE_NOT_LOADED
    bed.kernel.load(True)
    eventually(lambda: bed.of_kernel("ns0") == {"before"})
    eventually(lambda: not bed.api.conditions())
    kinds = [event.kind for event in _until(watch, node_pb2.NODE_EVENT_KIND_RECOVERED)]
    assert node_pb2.NODE_EVENT_KIND_MODULE_UNLOADED in kinds
    assert node_pb2.NODE_EVENT_KIND_MODULE_LOADED in kinds
    bed.api.create("absent", "after")
    check_kernel(bed.api)


def _until(watch: Any, last: int) -> list[Any]:
    found: list[Any] = []
    for response in watch:
        found += response.events
        if any(event.kind == last for event in response.events):
            break
    watch.cancel()
    return found


def test_first_change_without_the_module(bed: Bed) -> None:
    """Nothing has told graftd that the module is gone, and the change is refused all the same."""
    bed.api.register("first", "ns1")
    for number in range(4):
        bed.kernel.load(False)
        assert refused(bed.api.create, "first", f"ep-{number}").reason == "MODULE_NOT_LOADED"
        bed.kernel.load(True)
        bed.api.create("first", f"after-{number}")
    assert bed.api.names("first") == [f"after-{number}" for number in range(4)]


def test_started_without_the_module(tmp_path: Path) -> None:
    graftd = Graftd(tmp_path, "[reconcile]\ninterval_seconds = 1\n")
    kernel = graftd.play_kernel(["web", "edge"])
    try:
        graftd.start()
        with Api(graftd.target) as api:
            api.register("web")
            api.register("edge")
            api.create("web", "kept", endpoint=endpoint(target_namespace="namespaces/edge"))
        graftd.kill()
        kernel.load(False)
        graftd.start()
        with Api(graftd.target) as api:
            assert api.conditions() == ["MODULE_NOT_LOADED"]
            assert api.names("web") == ["kept"]
            kernel.load(True)
            eventually(lambda: kernel.endpoints(kernel.namespaces["web"]))
            ((entry),) = kernel.endpoints(kernel.namespaces["web"])
            assert entry.target_cookie == kernel.namespaces["edge"]
            eventually(lambda: not api.conditions())
            check_kernel(api)
    finally:
        kernel.close()
        graftd.close()


def test_reloaded_at_once(bed: Bed) -> None:
    """Between two looks of graftd's the module went and came: nothing tells of it but empty tables."""
    bed.api.register("reloaded", "ns2")
    bed.api.endpoints.BatchCreateEndpoints(batch("reloaded", [f"ep-{number}" for number in range(50)]))
    bed.kernel.load(False)
    bed.kernel.load(True)
    eventually(lambda: len(bed.of_kernel("ns2")) == 50)
    bed.kernel.load(False)
    bed.kernel.load(True)
    bed.api.create("reloaded", "more")
    eventually(lambda: len(bed.of_kernel("ns2")) == 51)
    eventually(lambda: not bed.api.node.Reconcile(node_pb2.ReconcileRequest(validate_only=True)).repaired)


def test_tables_claimed_by_another(bed: Bed) -> None:
    bed.api.register("claimed", "ns3")
    bed.kernel.claim_for("ip-graft")
    for name in ("first", "second"):
        answer = refused(bed.api.create, "claimed", name)
        assert (answer.code, answer.reason) == (_UNAVAILABLE, "TABLES_CLAIMED"), name
        assert answer.metadata["claimant"] == "ip-graft"
        assert answer.metadata["claimant_pid"] == "7"
    eventually(lambda: bed.api.conditions() == ["TABLES_CLAIMED"])
    assert bed.api.status().kernel.module_state == node_pb2.MODULE_STATE_REFUSING
    assert bed.api.names("claimed") == []
    bed.kernel.claim_for(None)
    eventually(lambda: not bed.api.conditions())
    bed.api.create("claimed", "mine-again")
    assert bed.of_kernel("ns3") == {"mine-again"}


def test_refuses_one_of_a_batch(bed: Bed) -> None:
    bed.api.register("batch", "ns4")
    bed.api.create("batch", "before")
    names = [f"ep-{number}" for number in range(300)]
    request = batch("batch", names)
    request.requests[123].endpoint.inet.device = played.REFUSED_DEVICE
    answer = refused(bed.api.endpoints.BatchCreateEndpoints, request)
    assert (answer.code, answer.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "KERNEL_REFUSED")
    assert answer.metadata["index"] == "123"
    assert answer.metadata["resource"] == "namespaces/batch/endpoints/ep-123"
    assert answer.metadata["errno"] == "19"
    assert "there is no device refused0" in answer.message
    assert bed.api.names("batch") == ["before"]
    assert bed.of_kernel("ns4") == {"before"}
    # One that is there already is found before the kernel is asked.
    answer = refused(bed.api.endpoints.BatchCreateEndpoints, batch("batch", [*names[:7], "before"]))
    assert (answer.reason, answer.metadata["index"]) == ("ENDPOINT_EXISTS", "7")
    assert bed.of_kernel("ns4") == {"before"}
    check_kernel(bed.api)


def test_refuses_an_update(bed: Bed) -> None:
    bed.api.register("update", "ns5")
    bed.api.create("update", "one", endpoint=endpoint(1))
    one = endpoint(2, name="namespaces/update/endpoints/one", device=played.REFUSED_DEVICE)
    answer = refused(bed.api.endpoints.UpdateEndpoint, endpoint_pb2.UpdateEndpointRequest(endpoint=one))
    assert answer.reason == "KERNEL_REFUSED"
    now = bed.api.endpoints.GetEndpoint(endpoint_pb2.GetEndpointRequest(name=one.name))
    assert now.inet.ports.low == 1
    assert now.sync.state == common_pb2.SYNC_STATE_IN_SYNC
    check_kernel(bed.api)


def test_refuses_a_namespace_that_is_applied(bed: Bed) -> None:
    """A table that is filled after the commit, and then taken back whole."""
    request = namespace_pb2.ApplyNamespaceRequest(
        name="namespaces/taken-back",
        namespace=namespace_pb2.Namespace(selector=namespace_pb2.NamespaceSelector(iproute2_name="ns6")),
        allow_missing=True,
        request_id="5ea1be42-1d6f-4c0e-9a57-0a4e42f6f3c1",
    )
    good = endpoint(name="namespaces/taken-back/endpoints/good")
    bad = endpoint(name="namespaces/taken-back/endpoints/bad", device=played.REFUSED_DEVICE)
    request.endpoints.endpoints.extend([good, bad])
    for _ in range(2):  # what was taken back is not remembered
        assert refused(bed.api.namespaces.ApplyNamespace, request).reason == "KERNEL_REFUSED"
        answer = refused(
            bed.api.namespaces.GetNamespace, namespace_pb2.GetNamespaceRequest(name="namespaces/taken-back")
        )
        assert answer.reason == "NAMESPACE_NOT_FOUND"
        assert bed.of_kernel("ns6") == set()
    check_kernel(bed.api)
    bed.api.register("taken-back", "ns6")


def test_limit_of_a_table(bed: Bed) -> None:
    bed.api.register("limit", "ns7", limits=namespace_pb2.NamespaceLimits(max_endpoints=2))
    answer = refused(bed.api.endpoints.BatchCreateEndpoints, batch("limit", ["a", "b", "c"]))
    assert (answer.code, answer.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED")
    assert answer.metadata["limit"] == "max_endpoints"
    assert answer.metadata["index"] == "2"
    assert bed.of_kernel("ns7") == set()
    bed.api.endpoints.BatchCreateEndpoints(batch("limit", ["a", "b"]))
    check_kernel(bed.api)


def test_namespace_goes_and_comes(bed: Bed) -> None:
    bed.api.register("coming", "later")
    bed.api.create("coming", "kept")
    assert (
        bed.api.namespaces.GetNamespace(namespace_pb2.GetNamespaceRequest(name="namespaces/coming")).state
        == namespace_pb2.NAMESPACE_STATE_ABSENT
    )
    for _ in range(2):
        bed.kernel.add_namespace("later")
        eventually(lambda: bed.of_kernel("later") == {"kept"})
        bed.kernel.remove_namespace("later")
        eventually(
            lambda: (
                bed.api.namespaces.GetNamespace(namespace_pb2.GetNamespaceRequest(name="namespaces/coming")).state
                == namespace_pb2.NAMESPACE_STATE_ABSENT
            )
        )
    assert bed.api.names("coming") == ["kept"]


def test_namespace_is_graftds_own_or_another_s(bed: Bed) -> None:
    bed.kernel.add_namespace("own", played.OWN_COOKIE)
    answer = refused(bed.api.register, "own")
    assert (answer.code, answer.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_OURS")
    bed.api.register("twice", "ns8")
    bed.kernel.add_namespace("ns8-again", bed.kernel.namespaces["ns8"])
    answer = refused(bed.api.register, "twice-again", "ns8-again")
    assert (answer.code, answer.reason) == (grpc.StatusCode.ALREADY_EXISTS, "SELECTOR_TAKEN")
    assert answer.metadata["resource"] == "namespaces/twice"
    answer = refused(bed.api.register, "twice-again", "ns8")
    assert (answer.reason, answer.metadata["resource"]) == ("SELECTOR_TAKEN", "namespaces/twice")


def test_kernel_that_does_not_answer_for_a_while(bed: Bed) -> None:
    """Nothing is lost meanwhile, and what waited is done."""
    bed.api.register("slow", "ns9")
    os.kill(bed.graftd.kernel_pid, signal.SIGSTOP)
    try:
        calls = [
            bed.api.endpoints.CreateEndpoint.future(
                endpoint_pb2.CreateEndpointRequest(
                    parent="namespaces/slow", endpoint_id=f"ep-{number}", endpoint=endpoint()
                ),
                timeout=30,
            )
            for number in range(20)
        ]
        vanishing = bed.api.endpoints.CreateEndpoint.future(
            endpoint_pb2.CreateEndpointRequest(
                parent="namespaces/slow", endpoint_id="nobody-waits", endpoint=endpoint()
            ),
            timeout=2,
        )
        assert vanishing.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        for ask, request in (
            (bed.api.node.Reconcile, node_pb2.ReconcileRequest()),
            (bed.api.node.Unfreeze, node_pb2.UnfreezeRequest()),
            (bed.api.sockets.AbortSockets, socket_pb2.AbortSocketsRequest(parent="namespaces/slow", all=True)),
        ):
            with pytest.raises(grpc.RpcError) as gone:
                ask(request, timeout=2)
            assert gone.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    finally:
        os.kill(bed.graftd.kernel_pid, signal.SIGCONT)
    for call in calls:
        call.result()
    # Whoever asked is gone, and the change is an audit record all the same.
    last = "namespaces/slow/endpoints/nobody-waits"
    eventually(lambda: bed.graftd.records(audit=1, resource=last, outcome="done"))
    others = {
        f"/graft.v1.{one}" for one in ("NodeService/Reconcile", "NodeService/Unfreeze", "SocketService/AbortSockets")
    }
    eventually(lambda: others <= {one["method"] for one in bed.graftd.records(audit=1, outcome="done")})
    assert bed.of_kernel("ns9") == {*(f"ep-{number}" for number in range(20)), "nobody-waits"}
    check_kernel(bed.api)
