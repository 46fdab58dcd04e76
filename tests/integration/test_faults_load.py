# SPDX-License-Identifier: Apache-2.0
"""Too much at once, what is no request at all, and clients that hang or go away."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from graft.v1 import endpoint_pb2, namespace_pb2
from integration import played
from integration.api import Api, batch, endpoint, eventually, refused, taken_apart
from integration.process import Graftd
from integration.workload import check_kernel

_REQUESTS = 10_000
_CHANNELS = 8
_PENDING = 64
_CONNECTIONS = 40
_MESSAGE_BYTES = 65536
_GROWTH_KIB = 150 * 1024
_CONFIGURATION = """
[reconcile]
interval_seconds = 1
"""


class Loaded:
    def __init__(self, graftd: Graftd, kernel: played.Remote) -> None:
        self.graftd = graftd
        self.kernel = kernel
        self.idle = self.descriptors()

    def resident(self) -> int:
        """KiB."""
        text = Path(f"/proc/{self.graftd.pid}/status").read_text()
        return int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmRSS")))

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.graftd.pid}/fd"))

    def alone(self) -> bool:
        """Whether no connection is left."""
        return self.descriptors() <= self.idle

    @contextlib.contextmanager
    def kernel_that_waits(self) -> Iterator[None]:
        """It answers nothing inside."""
        os.kill(self.graftd.kernel_pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.graftd.kernel_pid, signal.SIGCONT)

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(10)
        sock.connect(self.graftd.target.removeprefix("unix:"))
        return sock


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    graftd = Graftd(tmp_path_factory.mktemp("load"), _CONFIGURATION)
    graftd.config.write_text(
        graftd.config.read_text().replace(
            "[server]",
            f"[server]\nmax_pending_requests = {_PENDING}\nmax_connections = {_CONNECTIONS}\n"
            f"max_message_bytes = {_MESSAGE_BYTES}",
        )
    )
    kernel = graftd.play_kernel(["web"])
    graftd.start()
    try:
        found = Loaded(graftd, kernel)
        with Api(graftd.target) as api:
            api.register("web")
        yield found
        with Api(graftd.target) as api:
            check_kernel(api)
        assert graftd.stop() == 0
        assert "Traceback" not in graftd.log.read_text()
    finally:
        kernel.close()
        graftd.close()


def test_large_requests_of_who_may_do_nothing(loaded: Loaded) -> None:
    """They are not kept in memory: gRPC would, before anybody could refuse them."""
    stranger = """
import sys, grpc
with grpc.insecure_channel(sys.argv[1]) as channel:
    call = channel.unary_unary("/graft.v1.EndpointService/GetEndpoint")
    for size in (0, 2 * int(sys.argv[2])):
        try:
            call(bytes(size), timeout=10)
        except grpc.RpcError as error:
            print(error.code().name)
"""
    program = ["unshare", "--net", sys.executable, "-c", stranger]
    target = f"unix:{loaded.graftd.run}/read-only.sock"
    said = subprocess.run([*program, target, str(_MESSAGE_BYTES)], check=True, capture_output=True, text=True).stdout
    assert said.split() == ["PERMISSION_DENIED", "UNAVAILABLE"]
    assert [one for one in loaded.graftd.records() if "may make no call" in str(one.get("detail"))]
    with Api(loaded.graftd.target) as api:  # who may is told what is wrong
        name = "namespaces/web/endpoints/" + "x" * _MESSAGE_BYTES
        answer = refused(api.endpoints.GetEndpoint, endpoint_pb2.GetEndpointRequest(name=name))
        assert answer.reason == "REQUEST_TOO_LARGE"


def test_ten_thousand_requests_at_once(loaded: Loaded) -> None:
    """Each is done or refused as one too many, and the service is as before."""
    with contextlib.ExitStack() as stack:
        apis = [stack.enter_context(Api(loaded.graftd.target)) for _ in range(_CHANNELS)]
        apis[0].create("web", "before")
        before = loaded.resident()
        # Time for all of them to come before the first is done.
        with loaded.kernel_that_waits():
            calls = [
                apis[number % _CHANNELS].endpoints.CreateEndpoint.future(
                    endpoint_pb2.CreateEndpointRequest(
                        parent="namespaces/web", endpoint_id=f"many-{number}", endpoint=endpoint()
                    ),
                    timeout=120,
                )
                for number in range(_REQUESTS)
            ]
            eventually(lambda: sum(call.done() for call in calls) >= _REQUESTS - _PENDING, 30)
        answers = Counter(_outcome(call) for call in calls)
        assert set(answers) == {"OK", "OVERLOADED"}, answers
        assert answers["OK"] == _PENDING
        done = {call.result().name.rpartition("/")[2] for call in calls if call.code() is grpc.StatusCode.OK}
        assert {*done, "before"} == set(apis[0].names("web"))
        check_kernel(apis[0])
        assert loaded.resident() - before < _GROWTH_KIB
        apis[0].create("web", "afterwards")


def _outcome(call: Any) -> str:
    if call.exception() is None:
        return "OK"
    answer = taken_apart(call)
    assert answer.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "try again later" in answer.message
    return answer.reason


def test_message_that_is_too_long(loaded: Loaded) -> None:
    with Api(loaded.graftd.target) as api:
        kept = api.names("web")
        request = namespace_pb2.ApplyNamespaceRequest(name="namespaces/web")
        request.namespace.annotations["note"] = "x" * (_MESSAGE_BYTES + 1)
        answer = refused(api.namespaces.ApplyNamespace, request)
        assert (answer.code, answer.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_TOO_LARGE")
        assert answer.metadata["limit"] == str(_MESSAGE_BYTES)
        assert "raise server.max_message_bytes" in answer.message
        # What is beyond all measure is not even read: gRPC's own status.
        request.namespace.annotations["note"] = "x" * (3 * _MESSAGE_BYTES)
        with pytest.raises(grpc.RpcError) as caught:
            api.namespaces.ApplyNamespace(request)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert api.names("web") == kept


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("/graft.v1.EndpointService/CreateEndpoint", "unary_unary"),
        ("/graft.v1.WatchService/Watch", "unary_stream"),
        ("/graft.v1.NodeService/Restore", "stream_unary"),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "stream_stream"),
    ],
)
def test_bytes_that_are_no_message(loaded: Loaded, method: str, kind: str) -> None:
    with grpc.insecure_channel(loaded.graftd.target) as channel:
        for data in (b"\xff\xff\xff", b"\x0a\x7fshort", b"\x00"):
            call: Any = getattr(channel, kind)(method, request_serializer=bytes, response_deserializer=bytes)
            answer = refused(call, data if kind.startswith("unary") else iter([data]), timeout=10)
            assert (answer.code, answer.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"), data
            assert method in answer.message


def test_method_that_there_is_not(loaded: Loaded) -> None:
    with grpc.insecure_channel(loaded.graftd.target) as channel:
        call: Any = channel.unary_unary("/graft.v1.EndpointService/Conjure")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: graftd\r\n\r\n",
        b"\0" * 4096,
        b"\xff" * 100_000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 4096,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\xff\xff\x01\x04\x00\x00\x00\x01" + b"\x80" * 16384,
    ],
    ids=["http-1", "zeros", "ones", "frames", "headers"],
)
def test_bytes_that_are_no_grpc(loaded: Loaded, data: bytes) -> None:
    """The connection is closed, and others go on."""
    with loaded.connect() as sock, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        sock.sendall(data)
        while sock.recv(65536):
            pass
    with Api(loaded.graftd.target) as api:
        assert api.names("web")


def test_idle_connections_up_to_the_limit(loaded: Loaded) -> None:
    """Those beyond it are closed at once, by a record; when some go, others can come."""
    eventually(loaded.alone)
    descriptors = loaded.descriptors()
    idle = [loaded.connect() for _ in range(_CONNECTIONS)]
    try:
        eventually(lambda: loaded.descriptors() >= descriptors + 2 * _CONNECTIONS)
        # One that was refused may have no record of its own: too many were, in the tests before.
        eventually(partial(_a_late_one_is_told_of, loaded))
        idle.pop().close()
        with Api(loaded.graftd.target) as api:
            assert api.names("web")
        # Half-open: they have said that nothing more comes.
        for sock in idle:
            sock.shutdown(socket.SHUT_WR)
    finally:
        for sock in idle:
            sock.close()
    eventually(lambda: loaded.descriptors() <= descriptors)


def _a_late_one_is_told_of(loaded: Loaded) -> bool:
    with loaded.connect() as late:
        assert late.recv(1) == b""
    records = loaded.graftd.records(message="a connection was closed")
    return any(f"as the configuration allows: {_CONNECTIONS}" in one["detail"] for one in records)


_VANISHES = """
import sys, os
from integration.api import Api, endpoint
from graft.v1 import endpoint_pb2, node_pb2
with Api(sys.argv[1]) as api:
    request = endpoint_pb2.CreateEndpointRequest(parent="namespaces/web", endpoint_id=sys.argv[2], endpoint=endpoint())
    call = api.endpoints.CreateEndpoint.future(request, wait_for_ready=True)
    api.node.GetVersion(node_pb2.GetVersionRequest())
    print(flush=True)
    call.result()
"""


def test_client_that_is_killed_in_a_call(loaded: Loaded) -> None:
    """Its change is made and told of, or not made at all; its connection is forgotten."""
    eventually(loaded.alone)
    descriptors = loaded.descriptors()
    with loaded.kernel_that_waits():
        client = subprocess.Popen(
            [sys.executable, "-c", _VANISHES, loaded.graftd.target, "killed"],
            env=Graftd.environment(),
            stdout=subprocess.PIPE,
        )
        assert client.stdout is not None
        assert client.stdout.read(1) == b"\n"
        eventually(lambda: loaded.descriptors() > descriptors)
        client.kill()
        client.wait()
        client.stdout.close()
    with Api(loaded.graftd.target) as api:
        eventually(lambda: "killed" in api.names("web"))
        (record,) = loaded.graftd.records(audit=1, outcome="done", who_pid=client.pid)
        assert record["method"] == "/graft.v1.EndpointService/CreateEndpoint"
        check_kernel(api)
    eventually(lambda: loaded.descriptors() <= descriptors)


def test_batch_without_end(loaded: Loaded) -> None:
    with Api(loaded.graftd.target) as api:
        request = batch("web", [])
        answer = refused(api.endpoints.BatchCreateEndpoints, request)
        assert (answer.reason, answer.fields) == ("INVALID_FIELD", ("requests",))
        request.requests.extend(endpoint_pb2.CreateEndpointRequest() for _ in range(16385))
        answer = refused(api.endpoints.BatchCreateEndpoints, request)
        assert answer.reason == "REQUEST_TOO_LARGE"
        assert answer.metadata["limit"] == "16384"
