# SPDX-License-Identifier: Apache-2.0
"""graft_client against a server of the contract: repetition, errors, pages, watching, reaching graftd."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from graft_client import Batch, GraftdError, Tls, connect, probe
from graft_client import messages as m
from graft_client._target import default_target, resolve
from unit.graftcli_bed import Bed, running
from unit.graftcli_fake import Fake, serve

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
ENDPOINT = m.Endpoint(inet=m.InetTarget(address="10.0.0.2", ports=m.PortRange(low=80, high=80)))


@pytest.fixture
def bed() -> Iterator[Bed]:
    with running() as one:
        one.fill()
        one.fake.requests.clear()
        yield one


def names(bed: Bed) -> list[str]:
    return [name for name, _ in bed.fake.requests]


def test_a_change_is_repeated_with_its_request_id_and_done_once(bed: Bed) -> None:
    bed.fake.failures["CreateEndpoint"] = [(UNAVAILABLE, "", "the connection broke")] * 2
    bed.fake.done_anyway = True
    with bed.client() as graftd:
        made = graftd.create_endpoint("namespaces/web", "new", ENDPOINT)
    asked = [request for name, request in bed.fake.requests if name == "CreateEndpoint"]
    assert made.name == "namespaces/web/endpoints/new"
    assert len(asked) == 3
    assert len({request.request_id for request in asked}) == 1  # type: ignore[attr-defined]
    assert len([change for _, changes in bed.fake.log for change in changes if change.endpoint.name == made.name]) == 1


def test_each_change_has_a_request_id_of_its_own(bed: Bed) -> None:
    with bed.client() as graftd:
        graftd.create_endpoint("namespaces/web", "one", ENDPOINT)
        graftd.create_endpoint("namespaces/web", "two", ENDPOINT)
    ids = {request.request_id for name, request in bed.fake.requests if name == "CreateEndpoint"}  # type: ignore[attr-defined]
    assert len(ids) == 2
    assert all(len(one) == 36 for one in ids)


@pytest.mark.parametrize("reason", ["STARTING", "SHUTTING_DOWN", "STORE_BUSY", "KERNEL_UNREACHABLE"])
def test_what_passes_is_tried_again(bed: Bed, reason: str) -> None:
    bed.fake.failures["GetEndpoint"] = [(UNAVAILABLE, reason, "not now")]
    with bed.client() as graftd:
        assert graftd.get_endpoint("namespaces/web/endpoints/ep-http").inet.address == "10.0.0.2"
    assert names(bed) == ["GetEndpoint"] * 2


@pytest.mark.parametrize("reason", ["MODULE_NOT_LOADED", "STORE_FULL", "TABLES_CLAIMED", "STORE_READ_ONLY"])
def test_what_lasts_is_told_at_once(bed: Bed, reason: str) -> None:
    bed.fake.failures["GetEndpoint"] = [(UNAVAILABLE, reason, "the sentence")] * 9
    with bed.client() as graftd, pytest.raises(GraftdError, match=r"^the sentence$") as caught:
        graftd.get_endpoint("namespaces/web/endpoints/ep-http")
    assert (caught.value.status, caught.value.reason) == ("UNAVAILABLE", reason)
    assert names(bed) == ["GetEndpoint"]


def test_repetition_is_bounded_by_number_and_by_time(bed: Bed) -> None:
    bed.fake.failures["GetEndpoint"] = [(UNAVAILABLE, "STARTING", "not now")] * 99
    with connect(bed.target, timeout=1) as graftd:
        start = time.monotonic()
        with pytest.raises(GraftdError, match="not now"):
            graftd.get_endpoint("namespaces/web/endpoints/ep-http")
        assert time.monotonic() - start < 10
        assert 2 <= len(names(bed)) <= 5
    bed.fake.requests.clear()
    with connect(bed.target, timeout=60) as graftd, pytest.raises(GraftdError, match="not now"):
        graftd.get_endpoint("namespaces/web/endpoints/ep-http")
    assert len(names(bed)) == 6


def test_an_answer_that_does_not_come(bed: Bed) -> None:
    def slow(request: m.GetEndpointRequest, context: grpc.ServicerContext) -> m.Endpoint:
        time.sleep(0.5)
        return m.Endpoint()

    bed.fake.GetEndpoint = slow  # type: ignore[method-assign]
    bed.stop()
    bed.start()
    with (
        connect(bed.target, timeout=0.2) as graftd,
        pytest.raises(GraftdError, match="did not answer in time") as caught,
    ):
        graftd.get_endpoint("namespaces/web/endpoints/ep-http")
    assert caught.value.status == "DEADLINE_EXCEEDED"


class Streaming:
    """A WatchSockets that begins late, if ever, and goes on for ever or until it fails."""

    def __init__(self, bed: Bed, *, late: float = 0.0, never: bool = False, fails: bool = False) -> None:
        self.late, self.never, self.fails = late, never, fails
        bed.fake.WatchSockets = self.watch  # type: ignore[method-assign]
        bed.stop()
        bed.start()

    def watch(self, request: m.WatchSocketsRequest, context: grpc.ServicerContext) -> Iterator[m.WatchSocketsResponse]:
        time.sleep(self.late)
        while self.never and context.is_active():
            time.sleep(0.02)
        yield m.WatchSocketsResponse()
        yield m.WatchSocketsResponse(lost=7)
        if self.fails:
            context.abort(grpc.StatusCode.CANCELLED, "graftd ends")
        while context.is_active():
            time.sleep(0.02)


def test_the_seconds_of_a_stream_count_from_when_it_begins(bed: Bed) -> None:
    Streaming(bed, late=1.0)
    with connect(bed.target, timeout=20) as graftd:
        assert [one.lost for one in graftd.watch_sockets(seconds=0.5)] == [0, 7]


def test_a_stream_that_does_not_begin(bed: Bed) -> None:
    Streaming(bed, never=True)
    with (
        connect(bed.target, timeout=0.2) as graftd,
        pytest.raises(GraftdError, match="did not answer in time") as caught,
    ):
        list(graftd.watch_sockets(seconds=0.2))
    assert caught.value.status == "DEADLINE_EXCEEDED"


def test_a_stream_that_ends_before_its_seconds_is_told(bed: Bed) -> None:
    Streaming(bed, fails=True)
    with bed.client() as graftd, pytest.raises(GraftdError, match="graftd ends"):
        list(graftd.watch_sockets(seconds=60))


def test_an_error_has_what_graftd_says_of_it(bed: Bed) -> None:
    with bed.client() as graftd:
        with pytest.raises(GraftdError, match="there is no endpoint namespaces/web/endpoints/no") as caught:
            graftd.get_endpoint("namespaces/web/endpoints/no")
        assert (caught.value.status, caught.value.reason) == ("NOT_FOUND", "ENDPOINT_NOT_FOUND")
        assert caught.value.metadata == {"resource": "namespaces/web/endpoints/no"}
        with pytest.raises(GraftdError) as caught:
            graftd.create_endpoint("namespaces/web", ".x", ENDPOINT)
        assert caught.value.fields == (("endpoint_id", "an id begins with a letter or a digit"),)


def test_lists_are_read_to_their_end(bed: Bed) -> None:
    bed.fake.page_size = 2
    with bed.client() as graftd:
        graftd.create_endpoints("namespaces/web", {f"more{number}": ENDPOINT for number in range(5)})
        found = [one.name.rpartition("/")[2] for one in graftd.endpoints("namespaces/web")]
        assert found == ["ep-http", "ep-out", "more0", "more1", "more2", "more3", "more4"]
        assert names(bed).count("ListEndpoints") == 4
        assert [one.name for one in graftd.namespaces(labels={"tier": "front"})] == ["namespaces/web"]
        assert list(graftd.namespaces(labels={"tier": "back"})) == []
        assert [one.name for one in graftd.rules(endpoint="ep-out")] == ["namespaces/web/rules/out"]
        assert len(list(graftd.sockets())) == 3


def test_an_acl_that_changes_between_its_pages_is_read_anew(bed: Bed) -> None:
    bed.fake.failures["ListAclRules"] = [(grpc.StatusCode.ABORTED, "LIST_CHANGED", "begin anew")]
    with bed.client() as graftd:
        assert [one.name for one in graftd.acl_rules("namespaces/web")] == ["namespaces/web/aclRules/a1"]
    bed.fake.failures["ListAclRules"] = [(grpc.StatusCode.ABORTED, "LIST_CHANGED", "begin anew")] * 99
    with bed.client() as graftd, pytest.raises(GraftdError, match="begin anew"):
        graftd.acl_rules("namespaces/web")


def test_aborted_sockets_are_counted(bed: Bed) -> None:
    counts: list[int] = []
    with bed.client() as graftd:
        present = graftd.get_endpoint("namespaces/web/endpoints/ep-http")
        graftd.update_endpoint(present, ["max_sockets"], abort_sockets=True, on_aborted=counts.append)
        graftd.update_endpoint(present, ["max_sockets"], on_aborted=counts.append)
    assert counts == [2, 0]


# Watching


class Watcher(threading.Thread):
    """Collects batches until it has as many as wanted."""

    def __init__(self, batches: Iterator[Batch], wanted: int) -> None:
        super().__init__(daemon=True)
        self.batches, self.wanted, self.got = batches, wanted, list[Batch]()
        self.failure: GraftdError | None = None
        self.start()

    def run(self) -> None:
        try:
            for batch in itertools.islice(self.batches, self.wanted):
                self.got.append(batch)  # one by one, for who waits
        except GraftdError as error:
            self.failure = error

    def wait_for(self, count: int) -> None:
        end = time.monotonic() + 20
        while len(self.got) < count:
            assert time.monotonic() < end, self.failure
            time.sleep(0.01)

    def all(self) -> list[Batch]:
        self.join(20)
        assert not self.is_alive(), f"{len(self.got)} batches of {self.wanted}"
        assert self.failure is None
        return self.got


def create(bed: Bed, *ids: str) -> None:
    with bed.client() as graftd:
        for one in ids:
            graftd.create_endpoint("namespaces/web", one, ENDPOINT)


def test_a_watch_goes_on_where_it_was_when_graftd_restarts(bed: Bed) -> None:
    broken: list[GraftdError] = []
    with bed.client() as graftd:
        watcher = Watcher(graftd.watch(after_revision=bed.fake.revision, on_break=broken.append), 4)
        create(bed, "one", "two")
        watcher.wait_for(2)
        bed.stop()
        time.sleep(0.3)
        bed.start()
        create(bed, "three", "four")
        found = [batch.changes[0].endpoint.name.rpartition("/")[2] for batch in watcher.all()]
    assert found == ["one", "two", "three", "four"]
    assert broken
    assert [batch.relisted for batch in watcher.got] == [False] * 4
    assert watcher.got[0].time is not None


def test_fragments_are_put_together(bed: Bed) -> None:
    with bed.client() as graftd:
        watcher = Watcher(graftd.watch(after_revision=bed.fake.revision), 1)
        request = m.ApplyNamespaceRequest(name="namespaces/web")
        request.endpoints.endpoints.extend(
            m.Endpoint(name=f"namespaces/web/endpoints/e{n}", inet=ENDPOINT.inet) for n in range(3)
        )
        graftd.apply_namespace(request)
        (batch,) = watcher.all()
    assert batch.revision == bed.fake.revision
    assert len(batch.changes) == 5  # three are new, two go


def test_a_revision_that_is_gone_is_made_good_by_a_list(bed: Bed) -> None:
    bed.fake.oldest = bed.fake.revision
    with bed.client() as graftd:
        watcher = Watcher(graftd.watch(after_revision=1), 2)
        watcher.wait_for(1)
        create(bed, "later")
        listed, later = watcher.all()
    assert listed.relisted
    assert {change.WhichOneof("resource") for change in listed.changes} == {"namespace", "endpoint", "rule", "acl_rule"}
    assert {change.kind for change in listed.changes} == {m.CHANGE_KIND_CREATED}
    assert not later.relisted
    assert later.changes[0].endpoint.name == "namespaces/web/endpoints/later"


def test_a_restored_store_is_listed_anew(bed: Bed) -> None:
    with bed.client() as graftd:
        watcher = Watcher(graftd.watch(after_revision=bed.fake.revision, history_id="of another"), 1)
        (batch,) = watcher.all()
    assert batch.relisted


def test_what_a_list_told_already_is_not_told_again(bed: Bed) -> None:
    # The endpoints are listed after a change that the namespaces' list did not know of.
    listing = bed.fake.ListEndpoints

    def later(request: m.ListEndpointsRequest, context: grpc.ServicerContext) -> m.ListEndpointsResponse:
        bed.fake.put_endpoint("namespaces/web/endpoints/meanwhile", ENDPOINT, m.CHANGE_KIND_CREATED, dry=False)
        return listing(request, context)

    bed.fake.ListEndpoints = later  # type: ignore[method-assign]
    bed.stop()
    bed.start()
    with bed.client() as graftd:
        watcher = Watcher(graftd.watch(initial=True), 2)
        watcher.wait_for(1)
        create(bed, "later")
        listed, after = watcher.all()
    names = [
        change.endpoint.name.rpartition("/")[2] for change in (*listed.changes, *after.changes) if change.endpoint.name
    ]
    assert names == ["ep-http", "ep-out", "meanwhile", "later"]


def test_a_watch_that_cannot_begin_says_why() -> None:
    with connect("unix:/nowhere/graftd.sock") as graftd, pytest.raises(GraftdError, match="systemctl start graftd"):
        next(graftd.watch())


def test_types_narrow_a_watch_and_its_list(bed: Bed) -> None:
    with bed.client() as graftd:
        batch = next(graftd.watch("namespaces/web", types=[m.RESOURCE_TYPE_RULE], initial=True))
    assert [change.rule.name for change in batch.changes] == ["namespaces/web/rules/http", "namespaces/web/rules/out"]


# Backups


def test_a_copy_that_is_not_whole_is_told(bed: Bed) -> None:
    pieces: list[bytes] = []
    with bed.client() as graftd:
        assert graftd.backup(pieces.append) == 7
        assert b"".join(pieces) == bed.fake.database
        whole = bed.fake.Backup

        def damaged(request: m.BackupRequest, context: grpc.ServicerContext) -> Iterator[m.BackupResponse]:
            first, *_ = whole(request, context)
            yield first

        bed.fake.Backup = damaged  # type: ignore[method-assign]
        bed.stop()
        bed.start()
        with pytest.raises(GraftdError, match="did not come whole"):
            graftd.backup(pieces.append)


# Reaching graftd


def test_targets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GRAFTD_TARGET", raising=False)
    assert resolve("/run/x.sock") == "unix:/run/x.sock"
    assert resolve("host:50051") == "host:50051"
    with pytest.raises(GraftdError, match=r"'host' is no target: expected unix:PATH or HOST:PORT"):
        resolve("host")
    monkeypatch.setenv("GRAFTD_TARGET", "unix:/run/y.sock")
    assert resolve(None) == "unix:/run/y.sock"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert default_target(tmp_path) == f"unix:{tmp_path}/graftd.sock"
    (tmp_path / "read-only.sock").touch()
    (tmp_path / "admin.sock").touch()
    assert default_target(tmp_path) == f"unix:{tmp_path}/read-only.sock"
    (tmp_path / "graftd.sock").touch()
    assert default_target(tmp_path) == f"unix:{tmp_path}/graftd.sock"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_target(tmp_path) == f"unix:{tmp_path}/admin.sock"


def test_why_a_socket_is_not_reached(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    assert probe(bed.target) is None
    missing = probe(f"unix:{bed.folder}/other.sock")
    assert missing
    assert f"there is no {bed.folder}/other.sock: systemctl start graftd" in missing.message
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{bed.folder}/dead.sock")
    refused = probe(f"unix:{bed.folder}/dead.sock")
    assert refused
    assert "nobody listens" in refused.message
    # Root may use any socket, so what the kernel says to others is played.
    monkeypatch.setattr(
        socket.socket, "connect", lambda self, path: (_ for _ in ()).throw(PermissionError(13, "denied"))
    )
    os.chown(bed.path, -1, 4)
    monkeypatch.setattr(os, "getegid", lambda: 1000)
    monkeypatch.setattr(os, "getgroups", lambda: [1000])
    forbidden = probe(bed.target)
    assert forbidden
    assert forbidden.status == "PERMISSION_DENIED"
    assert "which is for the group 'adm': become a member of it, or root" in forbidden.message
    # A member of the group is kept out by something else.
    monkeypatch.setattr(os, "getgroups", lambda: [4])
    member = probe(bed.target)
    assert member
    assert "which is for root: become root, or name another socket" in member.message


def test_graftd_that_is_down_is_told_without_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A single repetition would take longer than a busy machine may.
    monkeypatch.setattr("graft_client._transport.pauses", lambda: itertools.repeat(60.0))
    start = time.monotonic()
    with (
        connect(f"unix:{tmp_path}/none.sock", timeout=100) as graftd,
        pytest.raises(GraftdError, match="systemctl start") as caught,
    ):
        graftd.status()
    assert caught.value.status == "UNAVAILABLE"
    assert time.monotonic() - start < 10


def certificates(folder: Path) -> dict[str, Path]:
    """An authority, and a server and a client of it."""

    def run(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    run(
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
        "-subj",
        "/CN=ca",
        "-days",
        "2",
    )
    (folder / "names").write_text("subjectAltName=DNS:graftd.example,IP:127.0.0.1\n", encoding="utf-8")
    for name in ("server", "client"):
        run(
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.csr",
            "-subj",
            f"/CN={name}",
        )
        run(
            "x509",
            "-req",
            "-in",
            f"{name}.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-out",
            f"{name}.pem",
            "-days",
            "2",
            "-extfile",
            "names",
        )
    return {path.name: path for path in folder.iterdir()}


def test_mutual_tls(tmp_path: Path) -> None:
    files = certificates(tmp_path)
    credentials = grpc.ssl_server_credentials(
        [(files["server.key"].read_bytes(), files["server.pem"].read_bytes())],
        root_certificates=files["ca.pem"].read_bytes(),
        require_client_auth=True,
    )
    server, port = serve(Fake(), tmp_path, credentials)
    try:
        tls = Tls(files["ca.pem"], files["client.pem"], files["client.key"])
        with connect(f"127.0.0.1:{port}", tls=tls) as graftd:
            assert graftd.version().version == "1.2.3"
        named = Tls(files["ca.pem"], files["client.pem"], files["client.key"], "graftd.example")
        with connect(f"127.0.0.1:{port}", tls=named) as graftd:
            assert graftd.version().version == "1.2.3"
        wrong = Tls(files["ca.pem"], files["client.pem"], files["client.key"], "other.example")
        with connect(f"127.0.0.1:{port}", tls=wrong, timeout=3) as graftd, pytest.raises(GraftdError):
            graftd.version()
        with pytest.raises(GraftdError, match="is reached with certificates alone"):
            connect(f"127.0.0.1:{port}")
        with pytest.raises(GraftdError, match=r"none\.pem cannot be read: No such file"):
            connect(f"127.0.0.1:{port}", tls=Tls(tmp_path / "none.pem", files["client.pem"], files["client.key"]))
    finally:
        server.stop(None).wait()
