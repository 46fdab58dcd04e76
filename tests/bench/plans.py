# SPDX-License-Identifier: Apache-2.0
"""What is measured: which operations, on which paths, and in how many rounds."""

from __future__ import annotations

from dataclasses import dataclass

HOST = "host"
HOST_BOUND = "host, bound"  # a client binds its address before it connects, as door 1 has to
NAT = "nat"
GRAFT = "graft"  # door 2, as the runner 'graft' takes it
AF_GRAFT = "af-graft"  # door 1
CROWDED = "graft, 100,000 endpoints"
AF_CROWDED = "af-graft, 100,000 endpoints"

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
)
DEMO_EXCHANGES = (
    "tcp-serve",
    "tcp-receive",
    "tcp-round-trip-in",
    "tcp-round-trip-out",
    "udp-round-trip-in",
    "udp-round-trip-out",
)
# Rounds of a bind differ by a tenth, by the pages and hash chains they meet. So many tell its median to half a percent.
_BIND_ROUNDS = 180
CONNECTS = ("tcp-connect", "udp-connect")
BINDS = ("tcp-bind", "udp-bind")


@dataclass(frozen=True)
class Comparison:
    """Operations measured on all of ``paths`` in turn; the first path is what the others are held against."""

    name: str
    operations: tuple[str, ...]
    paths: tuple[str, ...]
    rounds: int


PLANS = {
    "figures": (
        Comparison("data", EXCHANGES, (HOST, GRAFT, AF_GRAFT), 9),
        Comparison("bind", BINDS, (HOST, GRAFT, AF_GRAFT), _BIND_ROUNDS),
        Comparison("connect", CONNECTS, (HOST, GRAFT), 45),
        Comparison("connect, AF_GRAFT", CONNECTS, (HOST_BOUND, AF_GRAFT), 45),
        Comparison("table", BINDS, (GRAFT, CROWDED), 45),
        Comparison("table, AF_GRAFT", BINDS, (AF_GRAFT, AF_CROWDED), 45),
    ),
    "demo": (Comparison("data", DEMO_EXCHANGES, (HOST, NAT, GRAFT), 5),),
}
