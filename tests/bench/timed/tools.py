# SPDX-License-Identifier: Apache-2.0
"""The programs that measure: their command lines, and the figures in what they print."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Where servers have their files; rootless containers see it at the same place.
FOLDER = Path("/run/graft-timed")

_IPERF3 = 5200
_SOCKPERF = 6200
_REDIS = 7000
_NGINX = 8000
PROGRAMS = (_IPERF3, _SOCKPERF, _REDIS, _NGINX)

_SECONDS = 1
_REDIS_REQUESTS = 2000
_REDIS_CLIENTS = 20
_WRK_CONNECTIONS = 10
_MESSAGE = 64  # bytes

_NGINX_CONFIGURATION = """
daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx-{port}.pid;
error_log stderr;
events {{ worker_connections 512; }}
http {{
    access_log off;
    keepalive_requests 1000000;
    client_body_temp_path {folder}/nginx-{port}-body;
    proxy_temp_path {folder}/nginx-{port}-proxy;
    fastcgi_temp_path {folder}/nginx-{port}-fastcgi;
    uwsgi_temp_path {folder}/nginx-{port}-uwsgi;
    scgi_temp_path {folder}/nginx-{port}-scgi;
    server {{
        listen {port};
        location / {{ return 200 "hello\\n"; }}
    }}
}}
"""


class NoFigureError(ValueError):
    """A program ended well and printed no figure, or one that cannot be used; the text is a sentence."""


@dataclass(frozen=True)
class Tool:
    """A program that serves and one that measures.

    ``protocol`` is the one that the server listens on, ``datagrams`` tells that UDP is what is measured. ``ports`` is
    where the ports of its servers begin. ``read`` takes what the client printed and returns its figures;
    it raises NoFigureError.
    """

    protocol: str
    ports: int
    server: Callable[[int], list[str]]
    client: Callable[[str, int], list[str]]
    read: Callable[[str], list[float]]
    datagrams: bool = False


def prepare(path: int) -> None:
    """Write what the nginx of the path of this number reads."""
    port = _NGINX + path
    _configuration(port).write_text(_NGINX_CONFIGURATION.format(folder=FOLDER, port=port), encoding="utf-8")


def tcp_throughput(*, server_sends: bool) -> Tool:
    """Mbit/s over one connection."""

    def client(address: str, port: int) -> list[str]:
        return _iperf3_client(address, port, *(["-R"] if server_sends else []))

    return Tool("tcp", _IPERF3, _iperf3_server, client, read_bits)


def udp_throughput(size: int) -> Tool:
    """Mbit/s that arrive at the server, in datagrams of ``size`` bytes."""
    return Tool("tcp", _IPERF3, _iperf3_server, _flood(size), read_bits, datagrams=True)


def udp_packets() -> Tool:
    """Datagrams per second that arrive at the server."""
    return Tool("tcp", _IPERF3, _iperf3_server, _flood(_MESSAGE), read_packets, datagrams=True)


def latency(protocol: str) -> Tool:
    """Microseconds, median and 99th percentile, half a round trip as sockperf counts."""
    options = ["--tcp"] if protocol == "tcp" else []

    def server(port: int) -> list[str]:
        return ["sockperf", "server", "-p", str(port), *options]

    def client(address: str, port: int) -> list[str]:
        words = ["sockperf", "ping-pong", "-i", address, "-p", str(port)]
        return [*words, "-m", str(_MESSAGE), "-t", str(_SECONDS), *options]

    return Tool(protocol, _SOCKPERF, server, client, read_percentiles, datagrams=protocol == "udp")


def http(*, keep_alive: bool) -> Tool:
    """Requests per second; without ``keep_alive`` each has a connection of its own."""
    options = [] if keep_alive else ["-H", "Connection: close"]

    def server(port: int) -> list[str]:
        return ["nginx", "-e", "stderr", "-c", str(_configuration(port))]

    def client(address: str, port: int) -> list[str]:
        words = ["wrk", "-t1", f"-c{_WRK_CONNECTIONS}", f"-d{_SECONDS}s", *options]
        return [*words, f"http://{address}:{port}/"]

    return Tool("tcp", _NGINX, server, client, read_requests)


def redis() -> Tool:
    """SET and GET, requests per second."""

    def server(port: int) -> list[str]:
        words = ["redis-server", "--port", str(port), "--bind", "0.0.0.0", "--protected-mode", "no"]
        return [*words, "--save", "", "--dir", str(FOLDER)]

    def client(address: str, port: int) -> list[str]:
        words = ["redis-benchmark", "-h", address, "-p", str(port), "-t", "set,get", "-q"]
        return [*words, "-n", str(_REDIS_REQUESTS), "-c", str(_REDIS_CLIENTS)]

    return Tool("tcp", _REDIS, server, client, read_redis)


def read_bits(output: str) -> list[float]:
    """Return Mbit/s that iperf3's receiving end counted."""
    return [_more_than_nothing(_iperf3_received(output)["bits_per_second"] / 1e6, output)]


def read_packets(output: str) -> list[float]:
    """Return datagrams per second that iperf3's receiving end counted."""
    received = _iperf3_received(output)
    return [_more_than_nothing((received["packets"] - received["lost_packets"]) / received["seconds"], output)]


def read_percentiles(output: str) -> list[float]:
    """Return the median and the 99th percentile of sockperf's observations."""
    return [_number(rf"percentile {percent}\.000 = +([\d.]+)", output) for percent in (50, 99)]


def read_requests(output: str) -> list[float]:
    """Return wrk's requests per second. Where some failed there is no figure."""
    failed = re.search(r"(Socket errors|Non-2xx or 3xx responses): .*", output)
    if failed:
        raise NoFigureError(f"requests failed: {failed[0]}")
    return [_number(r"Requests/sec: +([\d.]+)", output)]


def read_redis(output: str) -> list[float]:
    """Return redis-benchmark's requests per second of SET and of GET."""
    return [_number(rf"{test}: ([\d.]+) requests per second", output) for test in ("SET", "GET")]


def plain(text: str) -> str:
    """Return text without a terminal's colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def _configuration(port: int) -> Path:
    return FOLDER / f"nginx-{port}.conf"


def _iperf3_server(port: int) -> list[str]:
    return ["iperf3", "-s", "-4", "-p", str(port)]


def _iperf3_client(address: str, port: int, *options: str) -> list[str]:
    return ["iperf3", "-c", address, "-p", str(port), "-t", str(_SECONDS), "-i", "0", "-J", *options]


def _flood(size: int) -> Callable[[str, int], list[str]]:
    """As many datagrams as the sender can send."""

    def client(address: str, port: int) -> list[str]:
        return _iperf3_client(address, port, "-u", "-b", "0", "-l", str(size))

    return client


def _iperf3_received(output: str) -> dict[str, float]:
    try:
        # What the server or the loader said on standard error stands before.
        report = json.loads(output[output.index("{") :])
        received = report["end"]["sum_received"]
    except (ValueError, KeyError) as error:
        raise NoFigureError(f"iperf3 printed no report: {error!r}") from error
    if not isinstance(received, dict):
        raise NoFigureError("iperf3's report says nothing of what was received")
    return received


def _number(pattern: str, output: str) -> float:
    found = re.search(pattern, output)
    if not found:
        raise NoFigureError(f"there is no line like '{pattern}'")
    return _more_than_nothing(float(found[1]), found[0])


def _more_than_nothing(figure: float, output: str) -> float:
    if figure <= 0:
        raise NoFigureError(f"the figure is {figure}: {output}")
    return figure
