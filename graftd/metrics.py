# SPDX-License-Identifier: Apache-2.0
"""What graftd counts, in Prometheus's text format 0.0.4, and the few lines of HTTP that hand it out.

Written here, for python3-prometheus-client has no server on a unix socket and its other one brings a thread and urllib.
Counting is safe from every thread. Whoever may connect may read: a unix socket has its mode, loopback has none.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import math
import os
import re
import socket
import stat
import threading
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Literal, TypeAlias, TypeVar

from graftd.errors import GraftError

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SERIES_MAX: Final = 1000  # of one family; what comes beyond is counted under labels that read "other"

REQUEST_BYTES_MAX: Final = 8192
REQUEST_SECONDS: Final = 5.0  # for a client to say what it wants
ANSWER_SECONDS: Final = 10.0  # for a client to take its answer
CLIENTS_MAX: Final = 16  # at once

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_Labels: TypeAlias = tuple[str, ...]
_Kind: TypeAlias = Literal["counter", "gauge", "histogram"]


class MetricsError(GraftError):
    """Metrics cannot be handed out where the configuration says."""


class Family(ABC):
    """A metric of one name, with a value for each combination of its labels. Made by a Registry."""

    kind: _Kind

    def __init__(self, name: str, help_text: str, labels: _Labels) -> None:
        for word in (name, *labels):
            if not _NAME.fullmatch(word) or word.startswith("__"):
                raise ValueError(f"'{word}' names no metric or label: letters, digits and '_' do, no digit first")
        self.name = name
        self.labels = labels
        self._names = frozenset(labels)
        self._help = help_text
        self._lock = threading.Lock()  # guards the values

    def render(self) -> str:
        return "".join(
            [
                f"# HELP {self.name} {_escaped(self._help)}\n",
                f"# TYPE {self.name} {self.kind}\n",
                *(
                    f"{self.name}{suffix}{_braces(pairs)} {_number(value)}\n"
                    for suffix, pairs, value in self._samples()
                ),
            ]
        )

    @abstractmethod
    def _samples(self) -> list[tuple[str, Mapping[str, str], float]]:
        """What of the name comes behind the metric's own, the labels, and the value."""

    def _key(self, labels: Mapping[str, str], known: Mapping[_Labels, object]) -> _Labels:
        if labels.keys() != self._names:
            raise ValueError(f"{self.name} has the labels {self.labels}, not {tuple(labels)}")
        key = tuple([labels[name] for name in self.labels])
        return key if key in known or len(known) < SERIES_MAX else ("other",) * len(key)

    def _pairs(self, key: _Labels) -> dict[str, str]:
        return dict(zip(self.labels, key, strict=True))


class _Numbers(Family):
    def __init__(self, name: str, help_text: str, labels: _Labels) -> None:
        super().__init__(name, help_text, labels)
        self._values: dict[_Labels, float] = {} if labels else {(): 0.0}

    def value(self, **labels: str) -> float:
        with self._lock:
            return self._values.get(self._key(labels, self._values), 0.0)

    def _samples(self) -> list[tuple[str, Mapping[str, str], float]]:
        with self._lock:
            values = sorted(self._values.items())
        return [("", self._pairs(key), value) for key, value in values]


class Counter(_Numbers):
    """Goes up only; its name ends in `_total`."""

    kind = "counter"

    def add(self, amount: float = 1, **labels: str) -> None:
        if not amount >= 0:
            raise ValueError(f"{self.name} is a counter and cannot go up by {amount}")
        with self._lock:
            key = self._key(labels, self._values)
            self._values[key] = self._values.get(key, 0.0) + amount


class Gauge(_Numbers):
    """Goes up and down."""

    kind = "gauge"

    def set(self, value: float, **labels: str) -> None:
        with self._lock:
            self._values[self._key(labels, self._values)] = float(value)

    def add(self, amount: float, **labels: str) -> None:
        with self._lock:
            key = self._key(labels, self._values)
            self._values[key] = self._values.get(key, 0.0) + amount


class Histogram(Family):
    """Observations, counted by size. bounds: upper ends, finite and ascending; +Inf is added."""

    kind = "histogram"

    def __init__(self, name: str, help_text: str, labels: _Labels, bounds: tuple[float, ...]) -> None:
        super().__init__(name, help_text, labels)
        if not bounds or list(bounds) != sorted(set(bounds)) or not all(math.isfinite(bound) for bound in bounds):
            raise ValueError(f"{self.name} needs finite bounds in ascending order, not {bounds}")
        self._bounds = bounds
        self._counts: dict[_Labels, list[int]] = {}
        self._sums: dict[_Labels, float] = {}
        if not labels:
            self._counts[()], self._sums[()] = [0] * (len(bounds) + 1), 0.0

    def observe(self, value: float, **labels: str) -> None:
        place = bisect_left(self._bounds, value)
        with self._lock:
            key = self._key(labels, self._counts)
            self._counts.setdefault(key, [0] * (len(self._bounds) + 1))[place] += 1
            self._sums[key] = self._sums.get(key, 0.0) + value

    def _samples(self) -> list[tuple[str, Mapping[str, str], float]]:
        with self._lock:
            values = sorted((key, list(counts), self._sums[key]) for key, counts in self._counts.items())
        samples: list[tuple[str, Mapping[str, str], float]] = []
        for key, counts, total in values:
            pairs, so_far = self._pairs(key), 0
            for bound, count in zip((*self._bounds, math.inf), counts, strict=True):
                so_far += count
                samples.append(("_bucket", {**pairs, "le": _number(bound)}, so_far))
            samples += [("_sum", pairs, total), ("_count", pairs, so_far)]
        return samples


_F = TypeVar("_F", bound=Family)


class Registry:
    """All families, each name once."""

    def __init__(self) -> None:
        self._families: dict[str, Family] = {}

    def counter(self, name: str, help_text: str, *labels: str) -> Counter:
        if not name.endswith("_total"):
            raise ValueError(f"'{name}' names a counter and should end in _total")
        return self._add(Counter(name, help_text, labels))

    def gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        return self._add(Gauge(name, help_text, labels))

    def histogram(self, name: str, help_text: str, *labels: str, bounds: tuple[float, ...] = SECONDS) -> Histogram:
        if "le" in labels:
            raise ValueError("'le' is the label of a histogram's bounds")
        return self._add(Histogram(name, help_text, labels, bounds))

    def render(self) -> str:
        return "".join(family.render() for family in self._families.values())

    def _add(self, family: _F) -> _F:
        if family.name in self._families:
            raise ValueError(f"there is a metric {family.name} already")
        self._families[family.name] = family
        return family


class Metrics:
    """What graftd counts; `rpc_seconds.observe(...)` and so on, from any thread."""

    def __init__(self) -> None:
        self.registry = registry = Registry()
        self.rpc = registry.counter(
            "graftd_rpc_total", "Calls that ended, by method and gRPC status.", "method", "code"
        )
        self.rpc_seconds = registry.histogram("graftd_rpc_seconds", "How long unary calls took.", "method")
        self.reconcile_runs = registry.counter(
            "graftd_reconcile_runs_total", "Comparisons of the kernel with the store."
        )
        self.reconcile_repairs = registry.counter(
            "graftd_reconcile_repairs_total", "Differences in the kernel that were made equal to the store."
        )
        self.reconcile_failures = registry.counter(
            "graftd_reconcile_failures_total", "Comparisons that did not end well."
        )
        self.store_revision = registry.gauge("graftd_store_revision", "The store's newest revision.")
        self.namespaces = registry.gauge("graftd_namespaces", "Namespaces, by whether they are there.", "state")
        self.watchers = registry.gauge("graftd_watchers", "Watch streams that are open.")
        self.kernel_requests = registry.counter(
            "graftd_kernel_requests_total", "Requests to the kernel module, by what became of them.", "outcome"
        )
        self.log_lost = registry.gauge("graftd_log_records_lost", "Log records that nobody took, since the start.")
        self.refusals_left_out = registry.counter(
            "graftd_refusals_left_out_total", "Refused calls and connections that have no log record of their own."
        )
        self.set_namespaces(present=0, absent=0)

    def rpc_ended(self, method: str, code: str, seconds: float | None = None) -> None:
        """method: as in `/graft.v1.EndpointService/GetEndpoint`, of a method that there is. code: as in `NOT_FOUND`.

        seconds: None for a stream, whose length says nothing.
        """
        self.rpc.add(method=method, code=code)
        if seconds is not None:
            self.rpc_seconds.observe(seconds, method=method)

    def kernel_asked(self, outcome: str) -> None:
        """outcome: "ok", "refused" or "unreachable"."""
        self.kernel_requests.add(outcome=outcome)

    def set_namespaces(self, *, present: int, absent: int) -> None:
        self.namespaces.set(present, state="present")
        self.namespaces.set(absent, state="absent")


# The text format: prometheus.io/docs/instrumenting/exposition_formats


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _braces(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    pairs = (f'{name}="{_escaped(value).replace(chr(34), chr(92) + chr(34))}"' for name, value in labels.items())
    return "{" + ",".join(pairs) + "}"


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(float(value))


class Server:
    """Answers `GET /metrics`, each client once. Everything from the event loop's thread.

    A client that sends too much, too slowly or no HTTP, or that does not read, costs a place among CLIENTS_MAX for some
    seconds, and nobody waits for it.
    """

    def __init__(self, render: Callable[[], str]) -> None:
        self._render = render
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._path: Path | None = None
        self._inode = 0

    async def start(self, listen: Path | tuple[str, int]) -> None:
        """Listen on a unix socket that user and group may use, or on a loopback address and port.

        Raises MetricsError where that cannot be. What an ended process left at the path is removed.
        """
        if isinstance(listen, Path):
            self._server = await asyncio.start_unix_server(
                self._met, sock=_unix_socket(listen), limit=REQUEST_BYTES_MAX
            )
            self._path, self._inode = listen, _inode(listen)
        else:
            self._server = await asyncio.start_server(
                self._met, sock=_loopback_socket(*listen), limit=REQUEST_BYTES_MAX
            )

    @property
    def address(self) -> str | tuple[str, int]:
        """Where it listens, with the port that the kernel chose for port 0."""
        if self._server is None:
            raise MetricsError("the server of metrics was not started")
        name = self._server.sockets[0].getsockname()
        return name if isinstance(name, str) else (name[0], name[1])

    async def close(self) -> None:
        """End at once, clients included."""
        if self._server is None:
            return
        self._server.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        self._server = None
        if self._path is not None:
            with contextlib.suppress(FileNotFoundError):
                if _inode(self._path) == self._inode:
                    os.unlink(self._path)

    def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) >= CLIENTS_MAX:
            writer.transport.abort()
            return
        client = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._clients.add(client)
        client.add_done_callback(self._clients.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # What is written is at the client, or in the kernel, when drain() returns.
            writer.transport.set_write_buffer_limits(0)
            answer = await self._answer(reader)
            async with asyncio.timeout(ANSWER_SECONDS):
                writer.write(answer)
                await writer.drain()
                # An answer is lost on its way where a connection is closed before all was read that came.
                writer.write_eof()
                while await reader.read(REQUEST_BYTES_MAX):
                    pass
        except (OSError, TimeoutError):
            pass  # the client is gone or stuck: nobody is there to tell
        finally:
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
        except TimeoutError:
            return _answer("408 Request Timeout", f"a request has to arrive within {REQUEST_SECONDS:g} seconds\n")
        except asyncio.LimitOverrunError:
            most = f"a request has at most {REQUEST_BYTES_MAX} bytes\n"
            return _answer("431 Request Header Fields Too Large", most)
        except asyncio.IncompleteReadError:
            return _answer("400 Bad Request", "the request ended before its empty line\n")
        return self._answer_to(head)

    def _answer_to(self, head: bytes) -> bytes:
        asked = re.match(rb"([A-Z]{1,16}) ([!-~]+) HTTP/1\.[01]\r\n", head)
        if asked is None:
            return _answer("400 Bad Request", "expected a request of HTTP/1.1, as in: GET /metrics HTTP/1.1\n")
        method, path = asked[1], asked[2].partition(b"?")[0]
        if path != b"/metrics":
            return _answer("404 Not Found", "metrics are at /metrics\n")
        if method not in (b"GET", b"HEAD"):
            return _answer("405 Method Not Allowed", "metrics are read by GET\n", "Allow: GET, HEAD\r\n")
        answer = _answer("200 OK", self._render(), kind=CONTENT_TYPE)
        return answer if method == b"GET" else answer[: answer.index(b"\r\n\r\n") + 4]


def _answer(status: str, body: str, more: str = "", *, kind: str = "text/plain; charset=utf-8") -> bytes:
    data = body.encode("utf-8", "backslashreplace")
    lines = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\nConnection: close\r\n{more}\r\n"
    )
    return lines.encode() + data


def _inode(path: Path) -> int:
    return path.lstat().st_ino


def _unix_socket(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        _remove_left(path)
        listener.bind(str(path))
        path.chmod(0o660)  # nobody can connect before listen()
        listener.listen()
    except OSError as error:
        listener.close()
        raise _failure(str(path), error) from error
    return listener


def _remove_left(path: Path) -> None:
    """Remove a socket that nobody listens on any more. Anything else stays, and bind() fails."""
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        if is_socket and probe.connect_ex(str(path)) == errno.ECONNREFUSED:
            path.unlink()


def _loopback_socket(host: str, port: int) -> socket.socket:
    if not ipaddress.ip_address(host).is_loopback:
        raise MetricsError(f"metrics are for this machine alone: {host} is no loopback address, 127.0.0.1 and ::1 are")
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise _failure(f"{host} port {port}", error) from error
    return listener


def _failure(place: str, error: OSError) -> MetricsError:
    return MetricsError(
        f"metrics cannot be handed out at {place} ({error.strerror or error}): "
        "set listen in [metrics] to a socket in a folder of graftd's, or to a loopback address and a free port"
    )
