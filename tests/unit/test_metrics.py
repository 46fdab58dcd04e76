# SPDX-License-Identifier: Apache-2.0
"""The text that is handed out, read by a strict parser, and clients of every kind."""

import asyncio
import contextlib
import math
import os
import re
import socket
import stat
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graftd import metrics
from graftd.metrics import Metrics, MetricsError, Registry, Server

Result = TypeVar("Result")

# A parser of the text format, as strict as prometheus.io/docs/instrumenting/exposition_formats allows

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (\S+)")
ESCAPES = {r"\\": "\\", r"\"": '"', r"\n": "\n"}

Labels = tuple[tuple[str, str], ...]


@dataclass
class Parsed:
    kind: str
    help: str
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)


def plain(text: str) -> str:
    return re.sub(r'\\[\\"n]', lambda found: ESCAPES[found[0]], text)


def parse(text: str) -> dict[str, Parsed]:
    """Families by name. Fails on whatever the format, or promtool, does not let pass."""
    assert text.endswith("\n")
    found: dict[str, Parsed] = {}
    lines = text.removesuffix("\n").split("\n")
    while lines:
        helped = re.fullmatch(rf"# HELP ({NAME}) (.+)", lines.pop(0))
        typed = re.fullmatch(rf"# TYPE ({NAME}) (counter|gauge|histogram)", lines.pop(0))
        assert helped is not None
        assert typed is not None
        assert helped[1] == typed[1]
        assert helped[1] not in found
        assert typed[2] != "counter" or typed[1].endswith("_total")
        family = found[typed[1]] = Parsed(typed[2], plain(helped[2]))
        while lines and not lines[0].startswith("#"):
            sample = SAMPLE.fullmatch(lines.pop(0))
            assert sample is not None
            labels = tuple((name, plain(value)) for name, value in re.findall(LABEL, sample[2] or ""))
            assert len({name for name, _ in labels}) == len(labels)
            suffixes = ("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",)
            assert sample[1] in [typed[1] + suffix for suffix in suffixes]
            assert (sample[1], labels) not in family.samples
            family.samples[sample[1], labels] = float(sample[sample.re.groups])
        if family.kind == "histogram":
            check_histogram(typed[1], family)
    return found


def check_histogram(name: str, family: Parsed) -> None:
    buckets: dict[Labels, list[tuple[float, float]]] = {}
    for (sample, labels), value in family.samples.items():
        if sample == f"{name}_bucket":
            rest = tuple(pair for pair in labels if pair[0] != "le")
            buckets.setdefault(rest, []).append((float(dict(labels)["le"]), value))
    for labels, pairs in buckets.items():
        assert pairs == sorted(pairs)
        assert [count for _, count in pairs] == sorted(count for _, count in pairs)
        assert pairs[-1][0] == math.inf
        assert pairs[-1][1] == family.samples[f"{name}_count", labels]
        assert (f"{name}_sum", labels) in family.samples


# Values


def test_what_graftd_counts_can_be_read() -> None:
    ours = Metrics()
    ours.rpc_ended("/graft.v1.EndpointService/GetEndpoint", "OK", 0.003)
    ours.rpc_ended("/graft.v1.EndpointService/GetEndpoint", "NOT_FOUND", 20)
    ours.rpc_ended("/graft.v1.WatchService/Watch", "CANCELLED")
    ours.reconcile_repairs.add(3)
    ours.store_revision.set(2**40 + 1)
    ours.set_namespaces(present=2, absent=1)
    ours.watchers.add(2)
    ours.watchers.add(-1)
    ours.kernel_requests.add(outcome="ok")
    ours.refusals_left_out.add(4)
    found = parse(ours.registry.render())
    get = ("method", "/graft.v1.EndpointService/GetEndpoint")
    assert found["graftd_rpc_total"].samples == {
        ("graftd_rpc_total", (get, ("code", "OK"))): 1,
        ("graftd_rpc_total", (get, ("code", "NOT_FOUND"))): 1,
        ("graftd_rpc_total", (("method", "/graft.v1.WatchService/Watch"), ("code", "CANCELLED"))): 1,
    }
    seconds = found["graftd_rpc_seconds"].samples
    assert seconds["graftd_rpc_seconds_bucket", (get, ("le", "0.0025"))] == 0
    assert seconds["graftd_rpc_seconds_bucket", (get, ("le", "0.005"))] == 1
    assert seconds["graftd_rpc_seconds_bucket", (get, ("le", "10"))] == 1
    assert seconds["graftd_rpc_seconds_count", (get,)] == 2
    assert seconds["graftd_rpc_seconds_sum", (get,)] == 20.003
    assert found["graftd_namespaces"].samples == {
        ("graftd_namespaces", (("state", "absent"),)): 1,
        ("graftd_namespaces", (("state", "present"),)): 2,
    }
    for name, value in {
        "graftd_reconcile_runs_total": 0,
        "graftd_reconcile_repairs_total": 3,
        "graftd_reconcile_failures_total": 0,
        "graftd_store_revision": 2**40 + 1,
        "graftd_watchers": 1,
        "graftd_log_records_lost": 0,
        "graftd_refusals_left_out_total": 4,
    }.items():
        assert found[name].samples == {(name, ()): value}, name
    assert found["graftd_kernel_requests_total"].samples == {
        ("graftd_kernel_requests_total", (("outcome", "ok"),)): 1,
    }


@given(
    st.text(min_size=1),
    st.lists(st.tuples(st.text(), st.text(), st.floats()), unique_by=lambda one: one[:2]),
)
def test_whatever_is_set_is_read_back(help_text: str, values: list[tuple[str, str, float]]) -> None:
    registry = Registry()
    gauge = registry.gauge("one", help_text, "a", "b")
    for a, b, value in values:
        gauge.set(value, a=a, b=b)
    family = parse(registry.render())["one"]
    assert family.help == help_text
    read = {labels: value for (_, labels), value in family.samples.items()}
    assert set(read) == {(("a", a), ("b", b)) for a, b, _ in values}
    for a, b, value in values:
        assert repr(read[("a", a), ("b", b)]) == repr(value) or read[("a", a), ("b", b)] == value


@given(st.lists(st.floats(min_value=0, max_value=100)))
def test_a_histogram_counts_each_observation_once(values: list[float]) -> None:
    registry = Registry()
    histogram = registry.histogram("seconds", "How long.", bounds=(0.5, 1, 50))
    for value in values:
        histogram.observe(value)
    samples = parse(registry.render())["seconds"].samples
    for bound in (0.5, 1, 50):
        assert samples["seconds_bucket", (("le", f"{bound:g}"),)] == sum(value <= bound for value in values)
    assert samples["seconds_count", ()] == len(values)
    assert samples["seconds_sum", ()] == pytest.approx(sum(values))


def test_a_flood_of_labels_is_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "SERIES_MAX", 3)
    counter = Registry().counter("calls_total", "Calls.", "method")
    for number in range(10):
        counter.add(method=f"m{number}")
    counter.add(method="m0")
    assert [counter.value(method=one) for one in ("m0", "m2", "other")] == [2, 1, 7]


def test_threads_count_together() -> None:
    counter = Registry().counter("calls_total", "Calls.")

    def many() -> None:
        for _ in range(5000):
            counter.add()

    threads = [threading.Thread(target=many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.value() == 20_000


def test_what_makes_no_sense_is_refused() -> None:
    registry = Registry()
    counter = registry.counter("one_total", "One.", "method")
    refusals: list[tuple[Callable[[], object], str]] = [
        (lambda: counter.add(-1, method="x"), "one_total is a counter and cannot go up by -1"),
        (lambda: counter.add(math.nan, method="x"), "cannot go up by nan"),
        (lambda: counter.add(code="x"), "one_total has the labels ('method',), not ('code',)"),
        (lambda: registry.gauge("one_total", "Again."), "there is a metric one_total already"),
        (lambda: registry.counter("two", "Two."), "should end in _total"),
        (lambda: registry.gauge("2", "Two."), "'2' names no metric or label"),
        (lambda: registry.gauge("two", "Two.", "__x"), "'__x' names no metric or label"),
        (lambda: registry.histogram("two", "Two.", "le"), "'le' is the label"),
        (lambda: registry.histogram("two", "Two.", bounds=(2, 1)), "finite bounds in ascending order"),
    ]
    for call, said in refusals:
        with pytest.raises(ValueError, match=re.escape(said)):
            call()


# HTTP


def served(tmp_path: Path, client: Callable[[str], Coroutine[Any, Any, Result]], text: str = "x 1\n") -> Result:
    """What `client` returns, given the path of a server's socket."""

    async def run() -> Result:
        path = tmp_path / "metrics.sock"
        server = Server(lambda: text)
        await server.start(path)
        try:
            return await asyncio.wait_for(client(str(path)), 20)
        finally:
            await asyncio.wait_for(server.close(), 20)
            assert not path.exists()

    return asyncio.run(run())


async def ask(path: str, request: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(request)
        writer.write_eof()
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("request_line", ["GET /metrics HTTP/1.1", "GET /metrics?x=1 HTTP/1.0"])
def test_a_get_gets_the_text(tmp_path: Path, request_line: str) -> None:
    answer = served(tmp_path, lambda path: ask(path, f"{request_line}\r\nHost: x\r\n\r\n".encode()), "a 1\nb \ud800\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 200 OK",
        b"Content-Type: text/plain; version=0.0.4; charset=utf-8",
        b"Content-Length: 13",
        b"Connection: close",
    ]
    assert body == b"a 1\nb \\ud800\n"


def test_a_head_gets_the_head(tmp_path: Path) -> None:
    answer = served(tmp_path, lambda path: ask(path, b"HEAD /metrics HTTP/1.1\r\n\r\n"))
    assert b"Content-Length: 4\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("request_bytes", "status", "said"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "404 Not Found", "metrics are at /metrics"),
        (b"GET /metrics/x HTTP/1.1\r\n\r\n", "404 Not Found", "metrics are at /metrics"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed", "metrics are read by GET"),
        (b"GET /metrics\r\n\r\n", "400 Bad Request", "expected a request of HTTP/1.1"),
        (b"GET /metrics HTTP/2.0\r\n\r\n", "400 Bad Request", "expected a request of HTTP/1.1"),
        (b"\x16\x03\x01\x00\xff\r\n\r\n", "400 Bad Request", "expected a request of HTTP/1.1"),
        (b"\r\n\r\n", "400 Bad Request", "expected a request of HTTP/1.1"),
        (b"GET /metrics HTTP/1.1\r\n", "400 Bad Request", "the request ended before its empty line"),
        (b"", "400 Bad Request", "the request ended before its empty line"),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 20_000, "431 Request Header Fields Too Large", "at most 8192 bytes"),
    ],
)
def test_what_is_no_request_for_metrics_is_told_so(
    tmp_path: Path, request_bytes: bytes, status: str, said: str
) -> None:
    answer = served(tmp_path, lambda path: ask(path, request_bytes))
    assert answer.startswith(f"HTTP/1.1 {status}\r\n".encode())
    assert said.encode() in answer


@given(st.binary(max_size=300))
def test_no_bytes_end_the_server(tmp_path_factory: pytest.TempPathFactory, garbage: bytes) -> None:
    async def client(path: str) -> bytes:
        await ask(path, garbage)
        return await ask(path, b"GET /metrics HTTP/1.1\r\n\r\n")

    assert served(tmp_path_factory.mktemp("garbage"), client).endswith(b"x 1\n")


def test_who_says_nothing_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "REQUEST_SECONDS", 0.05)

    async def client(path: str) -> bytes:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"GET /metrics")
        answer = await reader.read()
        writer.close()
        return answer

    assert served(tmp_path, client).startswith(b"HTTP/1.1 408 Request Timeout\r\n")


def test_who_does_not_read_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "ANSWER_SECONDS", 0.05)
    size = 8_000_000

    async def client(path: str) -> int:
        with socket.socket(socket.AF_UNIX) as stuck:
            stuck.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(stuck, path)
            await loop.sock_sendall(stuck, b"GET /metrics HTTP/1.1\r\n\r\n")
            await asyncio.sleep(0.3)
            taken = 0
            while data := await loop.sock_recv(stuck, 1 << 20):
                taken += len(data)
            return taken

    assert 0 < served(tmp_path, client, "x" * size) < size


def test_many_that_wait_keep_nobody_out_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "REQUEST_SECONDS", 2)
    monkeypatch.setattr(metrics, "CLIENTS_MAX", 2)
    get = b"GET /metrics HTTP/1.1\r\n\r\n"

    async def client(path: str) -> tuple[bytes, bytes]:
        idle = [await asyncio.open_unix_connection(path) for _ in range(2)]
        await asyncio.sleep(0.05)
        reader, writer = await asyncio.open_unix_connection(path)
        refused = await reader.read()
        writer.close()
        for waiting, one in idle:
            assert (await waiting.read()).startswith(b"HTTP/1.1 408 ")
            one.close()
        while True:
            with contextlib.suppress(ConnectionError):  # it has yet to hear that they are gone
                return refused, await ask(path, get)
            await asyncio.sleep(0.01)

    refused, answer = served(tmp_path, client)
    assert refused == b""
    assert answer.endswith(b"x 1\n")


def test_closing_waits_for_no_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "REQUEST_SECONDS", 1000)

    async def client(path: str) -> asyncio.StreamWriter:
        """It stays connected as long as what it returns is kept."""
        _, writer = await asyncio.open_unix_connection(path)
        await asyncio.sleep(0.05)
        return writer

    served(tmp_path, client)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_loopback_serves_as_well(host: str) -> None:
    async def run() -> bytes:
        server = Server(lambda: "x 1\n")
        await server.start((host, 0))
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await server.close()
        return answer

    assert asyncio.run(run()).endswith(b"x 1\n")


# Where it listens


def test_the_socket_is_for_user_and_group_and_takes_the_place_of_one_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "metrics.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))

    async def client(name: str) -> bytes:
        assert stat.S_IMODE(os.lstat(name).st_mode) == 0o660
        return await ask(name, b"GET /metrics HTTP/1.1\r\n\r\n")

    assert served(tmp_path, client).endswith(b"x 1\n")


def started(listen: Path | tuple[str, int]) -> None:
    asyncio.run(Server(lambda: "").start(listen))


def test_another_processs_socket_and_a_file_stay(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "other.sock"))
        other.listen()
        with pytest.raises(MetricsError, match=r"other.sock \(Address already in use\): set listen in \[metrics\]"):
            started(tmp_path / "other.sock")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(MetricsError, match=r"file \(Address already in use\)"):
        started(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
    with pytest.raises(MetricsError, match=r"No such file or directory"):
        started(tmp_path / "gone" / "metrics.sock")


def test_only_loopback_is_served() -> None:
    with pytest.raises(MetricsError, match=r"0.0.0.0 is no loopback address"):
        started(("0.0.0.0", 0))


def test_a_port_that_is_taken_is_told() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(MetricsError, match=rf"127.0.0.1 port {port} \(Address already in use\)"):
            started(("127.0.0.1", port))
