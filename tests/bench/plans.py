# SPDX-License-Identifier: Apache-2.0
"""What is counted: which operations, on which paths, and in how many rounds."""

from __future__ import annotations

from dataclasses import dataclass

HOST = "host"
HOST_BOUND = "host, bound"  # a client binds its address before it connects, as door 1 has to
NAT = "nat"
GRAFT = "graft"  # door 2, as the runner 'graft' takes it
AF_GRAFT = "af-graft"  # door 1
HOST6 = "host, IPv6"
GRAFT6 = "graft, IPv6"
AF_GRAFT6 = "af-graft, IPv6"
CROWDED = "graft, 100,000 endpoints"
AF_CROWDED = "af-graft, 100,000 endpoints"
# Between two containers of one machine, and two programs of the host.
LOOPBACK = "two host programs"
BRIDGE = "two containers, bridge"
GRAFTS = "two containers, graft"

# The bystanders in the tables that a bind is looked up in.
FEW_ENDPOINTS = 10
MANY_ENDPOINTS = 100_000

EXCHANGES = (
    "tcp-round-trip-out",
    "tcp-round-trip-in",
    "udp-round-trip-out",
    "udp-round-trip-in",
    "tcp-send",
    "tcp-serve",
    "udp-send",
)
_PAIR_EXCHANGES = ("tcp-send", "tcp-serve", "udp-send", "udp-receive", "tcp-round-trip-out", "udp-round-trip-out")
_DEMO_EXCHANGES = (
    "tcp-serve",
    "tcp-receive",
    "tcp-round-trip-in",
    "tcp-round-trip-out",
    "udp-round-trip-in",
    "udp-round-trip-out",
)
# Rounds of a bind differ by a tenth, by the pages and hash chains they meet. So many tell its median to half a percent.
_BIND_ROUNDS = 180
_CONNECT_ROUNDS = 45
_CONNECTS = ("tcp-connect", "udp-connect")
_BINDS = ("tcp-bind", "udp-bind")
_LISTENS = ("tcp-listen", *_BINDS)
_REQUESTS = ("tcp-request-out", "tcp-request-in")
# What sets sockets up and closes them; all else is data.
SET_UP = frozenset((*_CONNECTS, *_LISTENS, *_REQUESTS))


@dataclass(frozen=True)
class Comparison:
    """Operations measured on all of ``paths`` in turn; the first path is what the others are held against.

    Where ``of`` names another comparison, its batches are taken, and nothing is measured.
    """

    name: str
    operations: tuple[str, ...]
    paths: tuple[str, ...]
    rounds: int
    of: str = ""


PLANS = {
    "bench": (
        Comparison("data", EXCHANGES, (HOST, GRAFT, AF_GRAFT, NAT), 9),
        Comparison("data, IPv6", EXCHANGES, (HOST6, GRAFT6, AF_GRAFT6), 9),
        Comparison("request", _REQUESTS, (HOST, GRAFT, AF_GRAFT, NAT), _CONNECT_ROUNDS),
        Comparison("connect", _CONNECTS, (HOST, GRAFT), _CONNECT_ROUNDS),
        Comparison("connect, AF_GRAFT", _CONNECTS, (HOST_BOUND, AF_GRAFT), _CONNECT_ROUNDS),
        Comparison("bind", _LISTENS, (HOST, GRAFT, AF_GRAFT), _BIND_ROUNDS),
        Comparison("table", _BINDS, (GRAFT, CROWDED), _CONNECT_ROUNDS),
        Comparison("table, AF_GRAFT", _BINDS, (AF_GRAFT, AF_CROWDED), _CONNECT_ROUNDS),
        Comparison("containers", _PAIR_EXCHANGES, (LOOPBACK, GRAFTS, BRIDGE), 9),
        Comparison("containers, to the bridge", _PAIR_EXCHANGES, (BRIDGE, GRAFTS), 9, of="containers"),
    ),
    # What 'make test' holds against recorded ratios.
    "gate": (
        Comparison("data", EXCHANGES, (HOST, GRAFT, AF_GRAFT), 9),
        Comparison("data, IPv6", EXCHANGES, (HOST6, GRAFT6, AF_GRAFT6), 9),
        Comparison("containers", _PAIR_EXCHANGES, (LOOPBACK, GRAFTS), 9),
        Comparison("request", _REQUESTS, (HOST, GRAFT, AF_GRAFT), 30),
        Comparison("connect", _CONNECTS, (HOST, GRAFT), 30),
        Comparison("connect, AF_GRAFT", _CONNECTS, (HOST_BOUND, AF_GRAFT), 30),
        Comparison("bind", _LISTENS, (HOST, GRAFT, AF_GRAFT), 90),
        Comparison("table", _BINDS, (GRAFT, CROWDED), 30),
    ),
    "quick": (
        Comparison("data", EXCHANGES, (HOST, GRAFT, AF_GRAFT, NAT), 3),
        Comparison("containers", _PAIR_EXCHANGES, (LOOPBACK, GRAFTS, BRIDGE), 3),
        Comparison("containers, to the bridge", _PAIR_EXCHANGES, (BRIDGE, GRAFTS), 3, of="containers"),
        Comparison("request", _REQUESTS, (HOST, GRAFT, AF_GRAFT, NAT), 7),
        Comparison("connect", ("tcp-connect",), (HOST, GRAFT), 9),
        Comparison("bind", ("tcp-listen",), (HOST, GRAFT, AF_GRAFT), 45),
    ),
    "demo": (Comparison("data", _DEMO_EXCHANGES, (HOST, NAT, GRAFT), 5),),
}
