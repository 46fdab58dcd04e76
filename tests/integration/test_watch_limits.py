# SPDX-License-Identifier: Apache-2.0
"""Where a Watch begins and ends, what it tells to whom, and how much it keeps for whom."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest

from graft.v1 import endpoint_pb2, namespace_pb2, node_pb2, socket_pb2, watch_pb2
from integration.api import Api, batch, endpoint, eventually, refused
from integration.process import Graftd

_CHANGES = 3000
_QUEUE = 200
_WATCHERS = 6
_ROLES = """
[[roles]]
role = "admin"
uids = [4294967]

[[roles]]
role = "operator"
uids = [0]
namespaces = ["web-*"]
"""


class Bed(NamedTuple):
    graftd: Graftd
    api: Api
    operator: Api  # of web-*

    def watch(self, parent: str = "namespaces/-", api: Api | None = None, **fields: Any) -> Any:
        """A Watch that has begun."""
        call = (api or self.api).watch.Watch(watch_pb2.WatchRequest(parent=parent, **fields), timeout=60)
        call.first = next(call)
        return call

    def revision(self) -> int:
        return int(self.api.status().store.revision)


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    graftd = Graftd(tmp_path_factory.mktemp("watch"))
    text = graftd.config.read_text().replace("[store]", f"[store]\nchanges_kept = {_CHANGES}")
    text = text.replace("[server]", f"[server]\nwatch_queue = {_QUEUE}\nmax_watchers = {_WATCHERS}")
    graftd.config.write_text(text + _ROLES)
    graftd.start({"GRAFTD_PLAYED_NAMESPACES": "20", "GRAFTD_QUIET_SECONDS": "0.5"})
    try:
        with Api(graftd.target) as api, Api(f"unix:{graftd.run}/graftd.sock") as operator:
            for number, name in enumerate(("web-1", "web-2", "edge", "big", "slow")):
                api.register(name, f"ns{number}")
            yield Bed(graftd, api, operator)
        assert graftd.stop() == 0
        assert "Traceback" not in graftd.log.read_text()
    finally:
        graftd.close()


@pytest.fixture(autouse=True)
def no_streams(bed: Bed) -> Iterator[None]:
    yield
    eventually(lambda: bed.api.status().watchers == 0)


def _whole(call: Any) -> list[Any]:
    """The messages of the next revision that has changes."""
    found: list[Any] = []
    for response in call:
        if response.changes:
            found.append(response)
            if not response.fragment:
                break
    return found


def _names(messages: list[Any]) -> list[str]:
    return [
        getattr(change, change.WhichOneof("resource")).name.partition("/")[2]
        for message in messages
        for change in message.changes
    ]


def test_revision_in_pieces(bed: Bed) -> None:
    names = [f"ep-{number:04}" for number in range(2500)]
    before = bed.revision()
    live = bed.watch()
    bed.api.endpoints.BatchCreateEndpoints(batch("big", names))
    resumed = bed.watch(after_revision=before)
    for call in (live, resumed):
        pieces = _whole(call)
        assert [(len(one.changes), one.fragment) for one in pieces] == [(1000, True), (1000, True), (500, False)]
        assert {one.revision for one in pieces} == {before + 1}
        assert all(one.HasField("commit_time") for one in pieces)
        assert _names(pieces) == [f"big/endpoints/{name}" for name in names]
        call.cancel()


def test_progress_while_nothing_happens(bed: Bed) -> None:
    call = bed.watch("namespaces/web-2")
    began = call.first.revision
    bed.api.create("edge", "elsewhere")
    while (response := next(call)).revision == began:
        assert not response.changes
    assert response.revision == began + 1
    assert not response.changes
    assert response.history_id == bed.api.status().store.history_id
    call.cancel()


def test_what_is_asked_for_alone(bed: Bed) -> None:
    """By type and parent; who sees web-* alone is told of nothing else."""
    kinds = {
        "one": bed.watch("namespaces/web-1"),
        "endpoints": bed.watch(types=[watch_pb2.RESOURCE_TYPE_ENDPOINT]),
        "rules": bed.watch("namespaces/web-1", types=[watch_pb2.RESOURCE_TYPE_RULE, watch_pb2.RESOURCE_TYPE_ACL_RULE]),
        "namespaces": bed.watch(types=[watch_pb2.RESOURCE_TYPE_NAMESPACE]),
        "operator": bed.watch(api=bed.operator),
    }
    after = bed.revision()
    for space in ("web-1", "edge"):
        bed.api.create(space, "seen")
        bed.api.deny(space, "seen")
        bed.api.namespaces.FreezeNamespace(namespace_pb2.FreezeNamespaceRequest(name=f"namespaces/{space}"))
    own = ["web-1/endpoints/seen", "web-1/rules/seen", "web-1/aclRules/seen", "web-1"]
    expected = {
        "one": own,
        "endpoints": ["web-1/endpoints/seen", "edge/endpoints/seen"],
        "rules": own[1:3],
        "namespaces": ["web-1", "edge"],
        "operator": own,
    }
    # The same of the past as of the present.
    kinds["operator, later"] = bed.watch(api=bed.operator, after_revision=after)
    expected["operator, later"] = own
    for name, call in kinds.items():
        found: list[str] = []
        for response in call:
            found += _names([response])
            if response.revision >= after + 8 and not response.changes:
                break
        assert found == expected[name], name
        call.cancel()
    answer = refused(bed.operator.watch.Watch, watch_pb2.WatchRequest(parent="namespaces/edge"))
    assert (answer.code, answer.reason) == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED")


def test_role_that_is_taken_away(bed: Bed) -> None:
    """A stream that is open ends with the next that it would tell."""
    call = bed.watch("namespaces/web-1", api=bed.operator)
    text = bed.graftd.config.read_text()
    bed.graftd.config.write_text(text.replace('namespaces = ["web-*"]', 'namespaces = ["web-2"]'))
    try:
        bed.graftd.reload()
        bed.api.create("web-1", "secret")
        assert refused(lambda: call).reason == "ROLE_REQUIRED"
    finally:
        bed.graftd.config.write_text(text)
        bed.graftd.reload()


def test_revisions_that_there_are_not(bed: Bed) -> None:
    for number in range(4):
        bed.api.endpoints.BatchCreateEndpoints(batch("big", [f"n{number}-{one}" for one in range(1000)]))
    newest = bed.revision()
    answer = refused(bed.api.watch.Watch, watch_pb2.WatchRequest(parent="namespaces/-", after_revision=1))
    assert (answer.code, answer.reason) == (grpc.StatusCode.OUT_OF_RANGE, "REVISION_GONE")
    assert answer.metadata["revision"] == str(newest)
    oldest = int(answer.metadata["oldest_revision"])
    assert 1 < oldest < newest
    assert oldest == bed.api.status().store.oldest_revision
    call = bed.watch(after_revision=oldest)
    assert _whole(call)[0].revision == oldest + 1
    call.cancel()
    answer = refused(bed.api.watch.Watch, watch_pb2.WatchRequest(parent="namespaces/-", after_revision=oldest - 1))
    assert answer.reason == "REVISION_GONE"
    answer = refused(bed.api.watch.Watch, watch_pb2.WatchRequest(parent="namespaces/-", after_revision=newest + 1))
    assert (answer.code, answer.reason) == (grpc.StatusCode.OUT_OF_RANGE, "REVISION_AHEAD")
    assert answer.metadata["revision"] == str(newest)
    answer = refused(bed.api.watch.Watch, watch_pb2.WatchRequest(parent="namespaces/-", after_revision=-1))
    assert (answer.reason, answer.fields) == ("INVALID_FIELD", ("after_revision",))


def test_history_that_is_over(bed: Bed) -> None:
    old = bed.api.status().store.history_id
    copy = [node_pb2.RestoreRequest(data=one.data, sha256=one.sha256) for one in bed.api.node.Backup(_BACKUP)]
    call = bed.watch(history_id=old)
    before = bed.revision()
    restored = bed.api.node.Restore(iter(copy))
    answer = refused(lambda: call)
    assert (answer.code, answer.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "HISTORY_CHANGED")
    assert restored.revision > before
    again = refused(
        bed.api.watch.Watch, watch_pb2.WatchRequest(parent="namespaces/-", after_revision=before, history_id=old)
    )
    assert (again.reason, again.metadata["history_id"]) == ("HISTORY_CHANGED", restored.history_id)
    assert answer.metadata["history_id"] == restored.history_id
    call = bed.watch(after_revision=restored.revision, history_id=restored.history_id)
    bed.api.create("edge", "in-the-new-history")
    assert _names(_whole(call)) == ["edge/endpoints/in-the-new-history"]
    call.cancel()


_BACKUP = node_pb2.BackupRequest()


def test_watcher_that_does_not_read(bed: Bed) -> None:
    """Its stream ends, and it can resume without a gap; others miss nothing meanwhile."""
    wide = {f"key-{number}": "x" * 60 for number in range(60)}
    slow, quick = bed.watch("namespaces/slow"), bed.watch("namespaces/slow")
    after = bed.revision()
    expected: list[str] = []
    for number in range(60):
        request = batch("slow", [f"w{number}-{one}" for one in range(40)])
        for one in request.requests:
            one.endpoint.labels.update(wide)
        bed.api.endpoints.BatchCreateEndpoints(request)
        (message,) = _whole(quick)
        assert message.revision == after + number + 1
        expected += _names([message])
    quick.cancel()
    found: list[str] = []
    answer = refused(_read, slow, found)
    assert (answer.code, answer.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "WATCHER_TOO_SLOW")
    last = int(answer.metadata["revision"])
    assert found == expected[: 40 * (last - after)]
    assert len(found) < len(expected)
    resumed = bed.watch("namespaces/slow", after_revision=last)
    while len(found) < len(expected):
        found += _names(_whole(resumed))
    assert found == expected
    resumed.cancel()


def _read(call: Any, into: list[str]) -> Iterator[None]:
    for response in call:
        into += _names([response])
        yield


_DIES = """
import sys, time
from integration.api import Api
from graft.v1 import watch_pb2
with Api(sys.argv[1]) as api:
    calls = [api.watch.Watch(watch_pb2.WatchRequest(parent="namespaces/-")) for _ in range(3)]
    for call in calls:
        next(call)
    print(flush=True)
    time.sleep(60)
"""


def test_watcher_that_is_killed(bed: Bed) -> None:
    client = subprocess.Popen(
        [sys.executable, "-c", _DIES, bed.graftd.target], env=Graftd.environment(), stdout=subprocess.PIPE
    )
    assert client.stdout is not None
    assert client.stdout.read(1) == b"\n"
    assert bed.api.status().watchers == 3
    client.kill()
    client.wait()
    client.stdout.close()
    eventually(lambda: bed.api.status().watchers == 0)


def test_too_many_watchers(bed: Bed) -> None:
    """Streams of all kinds count, and one that ends makes room."""
    sockets = bed.api.sockets.WatchSockets(socket_pb2.WatchSocketsRequest(parent="namespaces/-"))
    node = bed.api.node.WatchNode(node_pb2.WatchNodeRequest())
    next(sockets)
    next(node)
    calls = [bed.watch() for _ in range(_WATCHERS - 2)]
    for refusal in (
        refused(bed.api.watch.Watch, watch_pb2.WatchRequest(parent="namespaces/-")),
        refused(bed.api.node.WatchNode, node_pb2.WatchNodeRequest()),
        refused(bed.api.sockets.WatchSockets, socket_pb2.WatchSocketsRequest(parent="namespaces/-")),
    ):
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_WATCHERS")
        assert refusal.metadata["limit"] == str(_WATCHERS)
    sockets.cancel()
    eventually(lambda: bed.api.status().watchers == _WATCHERS - 1)
    for call in (*calls, node, bed.watch()):
        call.cancel()


def test_end_and_resume(tmp_path: Path) -> None:
    graftd = Graftd(tmp_path)
    graftd.play_kernel(["web"]).close()
    try:
        graftd.start()
        with Api(graftd.target) as api:
            api.register("web")
            calls = [
                api.watch.Watch(watch_pb2.WatchRequest(parent="namespaces/-")),
                api.node.WatchNode(node_pb2.WatchNodeRequest()),
                api.sockets.WatchSockets(socket_pb2.WatchSocketsRequest(parent="namespaces/-")),
            ]
            revision, *_ = [getattr(next(call), "revision", 0) for call in calls]
            api.create("web", "before")
            assert graftd.stop() == 0
            for call in calls:
                answer = refused(lambda one=call: one)
                assert (answer.code, answer.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
            graftd.start()
            api.create("web", "after")
            call = api.watch.Watch(
                watch_pb2.WatchRequest(parent="namespaces/-", after_revision=revision), wait_for_ready=True
            )
            names = [_names(_whole(call)) for _ in range(2)]
            assert names == [["web/endpoints/before"], ["web/endpoints/after"]]
            call.cancel()
    finally:
        graftd.close()


def test_requests_that_make_no_sense(bed: Bed) -> None:
    for fields, at in (
        ({"parent": ""}, "parent"),
        ({"parent": "namespaces/a/endpoints/b"}, "parent"),
        ({"parent": "namespaces/-", "types": [0]}, "types[0]"),
        ({"parent": "namespaces/-", "types": [99]}, "types[0]"),
    ):
        answer = refused(bed.api.watch.Watch, watch_pb2.WatchRequest(**fields))
        assert (answer.reason, answer.fields) == ("INVALID_FIELD", (at,))
    # One that does not exist yet can be watched.
    call = bed.watch("namespaces/not-yet")
    bed.api.register("not-yet", "ns10")
    bed.api.create("not-yet", "first", endpoint=endpoint(8080))
    # It is made, and found, in one revision.
    assert [_names(_whole(call)) for _ in range(2)] == [["not-yet"] * 2, ["not-yet/endpoints/first"]]
    call.cancel()
    assert (
        bed.api.endpoints.GetEndpoint(
            endpoint_pb2.GetEndpointRequest(name="namespaces/not-yet/endpoints/first")
        ).inet.ports.low
        == 8080
    )
