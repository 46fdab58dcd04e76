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
CROWDS = (CROWDED, AF_CROWDED)
# Between two containers of one machine, and two programs of the host.
LOOPBACK = "two host programs"
BRIDGE = "two containers, bridge"
GRAFTS = "two containers, graft"

# The BPF door, and what it costs others: programs of the host, and of a container that is not transparent. What the
# last two are held against is without the program.
DOOR = "graft, BPF door"
PRELOADED = "graft, preloaded"  # GRAFT, to compare the door with in the same batches
HOST_BESIDE = "host, BPF door loaded"
NATIVE = "container's own stack"
NATIVE_BESIDE = "container's own stack, BPF door loaded"
BESIDES = (HOST_BESIDE, NATIVE_BESIDE)
LOADED = frozenset((DOOR, *BESIDES))

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
_QUICK = ("tcp-round-trip-out", "udp-round-trip-out", "tcp-send", "udp-send")
# An endpoint has an address, so a socket that sends through it is bound; so is the host's that it is held against.
_ADDRESSED = ("udp-send-to",)
_STREAMS = ("tcp-send", "tcp-serve", "udp-send", "udp-receive")
_PAIR_ROUND_TRIPS = ("tcp-round-trip-out", "udp-round-trip-out")
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
_SOCKETS = ("tcp-socket", "udp-socket")
_BINDS = ("tcp-bind", "udp-bind")
_LISTENS = ("tcp-listen", *_BINDS)
_REQUESTS = ("tcp-request-out", "tcp-request-in")
# What sets sockets up and closes them; all else is data.
SET_UP = frozenset((*_SOCKETS, *_CONNECTS, *_LISTENS, *_REQUESTS))


def described(operation: str) -> str:
    """Return what an operation is, for who reads a report."""
    protocol, _, name = operation.partition("-")
    what, _, way = name.rpartition("-") if name.endswith(("-out", "-in")) else (name, "", "")
    text = _DESCRIBED.get(what, what).format(
        data="64 KiB" if protocol == "tcp" else "32 datagrams of 1,448 bytes",
        reset="; the client's close resets the connection" if protocol == "tcp" else "",
    )
    return text + {"out": "; the path's program is the client", "in": "; the path's program serves"}.get(way, "")


_DESCRIBED = {
    "round-trip": "64 bytes there and 64 back, over one socket",
    "send": "{data} from the path's client, which connected, and one byte back",
    "send-to": "{data} from the path's client, each naming its destination, and one byte back",
    "serve": "{data} from the path's server, for each byte that asks for it",
    "receive": "{data} to the path's end, and one byte of the other direction",
    "socket": "socket and close",
    "bind": "socket, bind and close",
    "listen": "socket, bind, listen and close",
    "connect": "socket, connect and close; nobody accepts{reset}",
    "request": "socket, connect, 64 bytes there and 64 back, and close{reset}",
}


@dataclass(frozen=True)
class Comparison:
    """Operations measured on all of ``paths`` in turn; the first path is what the others are held against.

    Where ``of`` names another comparison, its batches are taken, and nothing is measured. ``tracked``: the host has
    rules of NAT for its bridge, as hosts of container engines do, and so tracks its own programs' connections, too.
    The BPF door's program is at work in the batches of paths of LOADED alone.
    """

    name: str
    operations: tuple[str, ...]
    paths: tuple[str, ...]
    rounds: int
    tracked: bool = False
    of: str = ""


def _data(rounds: int) -> tuple[Comparison, ...]:
    return (
        Comparison("data", EXCHANGES, (HOST, GRAFT, AF_GRAFT), rounds),
        Comparison("data, addressed", _ADDRESSED, (HOST_BOUND, GRAFT, AF_GRAFT, HOST), rounds),
        Comparison("data, IPv6", EXCHANGES, (HOST6, GRAFT6, AF_GRAFT6), rounds),
    )


def _containers(rounds: int) -> tuple[Comparison, ...]:
    name = "containers"
    return (
        Comparison(name, _STREAMS, (LOOPBACK, GRAFTS, BRIDGE), rounds),
        # Which ports meet makes a percent.
        Comparison(f"{name}, round trips", _PAIR_ROUND_TRIPS, (LOOPBACK, GRAFTS, BRIDGE), 3 * rounds),
        Comparison(f"{name}, bridge", _STREAMS, (BRIDGE, GRAFTS), rounds, of=name),
    )


def _set_up(connects: int, binds: int) -> tuple[Comparison, ...]:
    return (
        Comparison("request", _REQUESTS, (HOST, GRAFT, AF_GRAFT), connects),
        Comparison("connect", _CONNECTS, (HOST, GRAFT), connects),
        Comparison("connect, AF_GRAFT", _CONNECTS, (HOST_BOUND, AF_GRAFT, HOST), connects),
        Comparison("bind", _LISTENS, (HOST, GRAFT, AF_GRAFT), binds),
    )


def _door(sockets: int, connects: int, binds: int) -> tuple[Comparison, ...]:
    name = "BPF door"
    return (
        Comparison(f"{name}, host beside it", _SOCKETS, (HOST, HOST_BESIDE), sockets),
        Comparison(f"{name}, container beside it", _SOCKETS, (NATIVE, NATIVE_BESIDE), sockets),
        Comparison(f"{name}, connect", (*_CONNECTS, *_REQUESTS), (HOST, PRELOADED, DOOR), connects),
        Comparison(f"{name}, bind", _LISTENS, (HOST, PRELOADED, DOOR), binds),
    )


def _nat(data: int, requests: int) -> tuple[Comparison, ...]:
    """The host's own programs are tracked as well, so they stand here once more."""
    return (
        Comparison("host with NAT, data", EXCHANGES, (HOST, NAT, GRAFT), data, tracked=True),
        Comparison("host with NAT, request", _REQUESTS, (HOST, NAT, GRAFT), requests, tracked=True),
        Comparison("host with NAT, containers", _STREAMS, (LOOPBACK, GRAFTS, BRIDGE), data, tracked=True),
    )


PLANS = {
    "bench": (
        *_data(15),
        *_containers(15),
        *_set_up(_CONNECT_ROUNDS, _BIND_ROUNDS),
        *_door(_CONNECT_ROUNDS, _CONNECT_ROUNDS, _BIND_ROUNDS),
        *_nat(7, 15),
    ),
    # What 'make test' holds against recorded ratios.
    "gate": (
        *_data(9),
        *_containers(9),
        *_set_up(60, 90),
        *_door(8, 16, 24),
        Comparison("table", _BINDS, (GRAFT, CROWDED), 30),
        Comparison("table, AF_GRAFT", _BINDS, (AF_GRAFT, AF_CROWDED), 30),
    ),
    "quick": (
        Comparison("data", _QUICK, (HOST, GRAFT, AF_GRAFT), 3),
        Comparison("containers", ("tcp-send", "udp-send"), (LOOPBACK, GRAFTS, BRIDGE), 3),
        Comparison("request", _REQUESTS[:1], (HOST, GRAFT, AF_GRAFT), 7),
        Comparison("connect", _CONNECTS[:1], (HOST, GRAFT), 15),
        Comparison("host with NAT, data", _QUICK, (HOST, NAT), 3, tracked=True),
    ),
    "demo": (Comparison("data", _DEMO_EXCHANGES, (HOST, NAT, GRAFT), 5, tracked=True),),
}
