# SPDX-License-Identifier: Apache-2.0
"""What is measured: how what an operation costs grows, and what the kernel's memory goes to."""

from __future__ import annotations

from dataclasses import dataclass

from bench.plans import AF_GRAFT, GRAFT, HOST

# What there may be many of.
ENDPOINTS = "endpoints in the table"
RULES = "egress rules of the namespace"
ACL = "ACL rules of the endpoint"
NAMESPACES = "namespaces with a table"
SOCKETS = "live grafted sockets in the table"

# Rounds of a bind differ by a tenth, by the pages and hash chains they meet; a connect is steadier.
_BINDS = 150
_CONNECTS = 45


@dataclass(frozen=True)
class Growth:
    """How what ``operation`` (in opcost's words) costs grows with ``axis``.

    ``paths`` are those that it is measured on; the host's stands beside where its cost may grow as well. ``limit`` is
    for the grafted ones: what the cost at the largest size may be at most relative to that at ``base``, the smallest
    size where that is None.
    """

    axis: str
    operation: str
    sizes: tuple[int, ...]
    paths: tuple[str, ...]
    rounds: int
    limit: float | None = None
    base: int | None = None

    @property
    def key(self) -> str:
        """A name for it, without spaces."""
        return f"{_AXES[self.axis]}-{self.operation}"

    @property
    def title(self) -> str:
        """What the operation is and what there are many of."""
        return f"{_OPERATIONS[self.operation]} against {self.axis}"


_AXES = {ENDPOINTS: "endpoints", RULES: "rules", ACL: "acl", NAMESPACES: "namespaces", SOCKETS: "sockets"}
_OPERATIONS = {
    "tcp-bind": "TCP socket + bind + close",
    "udp-bind": "UDP socket + bind + close",
    "tcp-connect": "TCP socket + connect + close",
}


@dataclass(frozen=True)
class Memory:
    """Bytes of kernel memory of one of ``count`` objects; ``key`` tells inside.py how they are made."""

    key: str
    title: str
    count: int


_FEW = (1, 10, 100, 1_000)
_SIZES = (10, 100, 1_000, 10_000, 100_000)
_LIVE = (1, 100, 1_000, 10_000, 100_000)
_FLAT = 1.05
_RULES_LIMIT = 1.10

# The sizes of these are tables of as many namespaces, which take turns.
_TABLES = (
    Growth(ENDPOINTS, "tcp-bind", _SIZES, (GRAFT, AF_GRAFT), _BINDS, _FLAT),
    Growth(ENDPOINTS, "tcp-connect", _SIZES, (GRAFT,), _CONNECTS, _FLAT),
    Growth(RULES, "tcp-connect", (1, 10, 100, 1_000, 10_000), (GRAFT,), _CONNECTS, _RULES_LIMIT, base=10),
    Growth(ACL, "tcp-bind", _FEW, (GRAFT,), _BINDS),
    Growth(ACL, "tcp-connect", _FEW, (GRAFT,), _CONNECTS),
)
# These grow in one guest from size to size.
_NAMESPACES = (Growth(NAMESPACES, "tcp-bind", _FEW, (HOST, GRAFT), _BINDS),)
_SOCKETS = (
    Growth(SOCKETS, "tcp-bind", _LIVE, (HOST, GRAFT), _BINDS),
    Growth(SOCKETS, "udp-bind", _LIVE, (HOST, GRAFT), _BINDS),
    Growth(SOCKETS, "tcp-connect", _LIVE, (HOST, GRAFT), _CONNECTS),
)
_QUICK = (
    Growth(ENDPOINTS, "tcp-bind", (10, 100_000), (GRAFT,), 30, _FLAT),
    Growth(RULES, "tcp-connect", (10, 10_000), (GRAFT,), 15, _RULES_LIMIT, base=10),
)

# A plan is what one guest measures.
GROWTHS: dict[str, tuple[Growth, ...]] = {
    "tables": _TABLES,
    "namespaces": _NAMESPACES,
    "sockets": _SOCKETS,
    "quick": _QUICK,
}
MEMORY = "memory"
MEMORY_RUNS = 3
MEMORIES = (
    Memory("endpoint", "an endpoint, of 100,000 in a table", 100_000),
    Memory("rule", "an egress rule, of 50,000 in a table", 50_000),
    Memory("acl-rule", "an ACL rule, of 50,000 in a table", 50_000),
    Memory("table", "a namespace's table, empty", 1_000),
    Memory("listener-host", "a TCP listener of the host", 20_000),
    Memory("listener-graft", "a TCP listener, grafted", 20_000),
    Memory("listener-af-graft", "a TCP listener through AF_GRAFT", 20_000),
    Memory("bound-host", "a bound UDP socket of the host", 20_000),
    Memory("bound-graft", "a bound UDP socket, grafted", 20_000),
    Memory("bound-af-graft", "a bound UDP socket through AF_GRAFT", 20_000),
    Memory("connected-host", "a connected UDP socket of the host", 20_000),
    Memory("connected-graft", "a connected UDP socket, grafted", 20_000),
)
