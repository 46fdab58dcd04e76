# SPDX-License-Identifier: Apache-2.0
"""What is measured, in how many rounds, and on which paths."""

from __future__ import annotations

from dataclasses import dataclass

from bench.plans import AF_GRAFT, GRAFT, HOST, NAT
from bench.timed import tools
from bench.timed.paths import BRIDGE, BYPASS4NETNS, IPVLAN, LOOPBACK, NETKIT, PASTA
from bench.timed.tools import Tool

# What fits into a packet of 1500 bytes beside TCP's, IP's and UDP's headers: iperf3's own choice over the bridge.
_DATAGRAM = 1448


@dataclass(frozen=True)
class Figure:
    """One of a program's figures, in the order in which it is read."""

    key: str
    title: str
    unit: str
    more_is_better: bool = True


@dataclass(frozen=True)
class Measure:
    """A program's run on every path.

    ``serving`` tells that the near end serves and the far end is its client. ``pair`` chooses the paths between two
    containers; ``small`` sends over the bridge in packets that fit the wire, without segmentation offload.
    ``only`` are the paths, where not all.
    """

    tool: Tool
    serving: bool
    figures: tuple[Figure, ...]
    pair: bool = False
    small: bool = False
    only: tuple[str, ...] = ()

    @property
    def base(self) -> str:
        """The path that the others are held against."""
        return BRIDGE if self.pair else HOST

    def paths(self, plan: Plan) -> tuple[str, ...]:
        """Return the names of its paths in a plan."""
        chosen = (BRIDGE, GRAFT, LOOPBACK) if self.pair else plan.paths
        return tuple(path for path in chosen if not self.only or path in self.only)


@dataclass(frozen=True)
class Plan:
    """Measures, each in so many rounds, and the paths of those that are not between two containers."""

    measures: tuple[Measure, ...]
    rounds: int
    paths: tuple[str, ...]


_SERVING = Measure(
    tools.tcp_throughput(server_sends=True),
    serving=True,
    figures=(Figure("tcp-serving", "TCP throughput, the path sends (iperf3)", "Mbit/s"),),
)
_FETCHING = Measure(
    tools.tcp_throughput(server_sends=True),
    serving=False,
    figures=(Figure("tcp-fetching", "TCP throughput, the path receives (iperf3)", "Mbit/s"),),
)


def _latency(protocol: str) -> Measure:
    """Return the measure of round trips over "tcp" or "udp"."""
    what = f"{protocol.upper()} latency, 64 bytes"
    figures = (
        Figure(f"{protocol}-latency-p50", f"{what}, median (sockperf)", "us", more_is_better=False),
        Figure(f"{protocol}-latency-p99", f"{what}, 99th percentile (sockperf)", "us", more_is_better=False),
    )
    return Measure(tools.latency(protocol), serving=True, figures=figures)


_TCP_LATENCY = _latency("tcp")
_UDP_LATENCY = _latency("udp")
_PACKETS = Measure(
    tools.udp_packets(),
    serving=True,
    figures=(Figure("udp-packets", "UDP datagrams of 64 bytes that the path receives (iperf3)", "1/s"),),
)
_CONNECTIONS = Measure(
    tools.http(keep_alive=False),
    serving=False,
    figures=(Figure("connections", "Connections with a request each, the path connects (wrk, nginx)", "1/s"),),
)
_HTTP = Measure(
    tools.http(keep_alive=True),
    serving=True,
    figures=(Figure("http", "HTTP requests, keep-alive, the path serves (wrk, nginx)", "1/s"),),
)
_REDIS = Measure(
    tools.redis(),
    serving=True,
    figures=(
        Figure("redis-set", "redis SET, the path serves (redis-benchmark)", "1/s"),
        Figure("redis-get", "redis GET, the path serves (redis-benchmark)", "1/s"),
    ),
)
_PAIR_TCP = Measure(
    tools.tcp_throughput(server_sends=False),
    serving=True,
    figures=(Figure("pair-tcp", "TCP throughput between two containers (iperf3)", "Mbit/s"),),
    pair=True,
)
_PAIR_UDP = Measure(
    tools.udp_throughput(_DATAGRAM),
    serving=True,
    figures=(Figure("pair-udp", f"UDP throughput between two containers, {_DATAGRAM} bytes (iperf3)", "Mbit/s"),),
    pair=True,
)
_PAIR_SMALL = Measure(
    tools.tcp_throughput(server_sends=False),
    serving=True,
    figures=(
        Figure(
            "pair-tcp-small",
            "TCP throughput between two containers, the bridge without tso, gso and gro: the MTU's effect (iperf3)",
            "Mbit/s",
        ),
    ),
    pair=True,
    small=True,
    only=(BRIDGE, GRAFT),
)

PLANS = {
    "full": Plan(
        (
            _SERVING,
            _FETCHING,
            _TCP_LATENCY,
            _UDP_LATENCY,
            _PACKETS,
            _CONNECTIONS,
            _HTTP,
            _REDIS,
            _PAIR_TCP,
            _PAIR_UDP,
            _PAIR_SMALL,
        ),
        rounds=5,
        paths=(HOST, NAT, GRAFT, AF_GRAFT, IPVLAN, NETKIT, PASTA, BYPASS4NETNS),
    ),
    "quick": Plan((_SERVING, _TCP_LATENCY, _HTTP), rounds=3, paths=(HOST, NAT, GRAFT)),
}
