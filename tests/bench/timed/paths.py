# SPDX-License-Identifier: Apache-2.0
"""The paths that are measured: where the programs of each run, and how.

A path has two ends. The near end is what is measured; the far end is another machine, or another container. A container
of --network host is the path host.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bench.plans import AF_GRAFT, GRAFT, HOST, NAT
from driver import testbed

IPVLAN = "ipvlan"
NETKIT = "netkit"
PASTA = "pasta"
BYPASS4NETNS = "bypass4netns"

# Between two containers.
BRIDGE = "bridge"
LOOPBACK = "loopback"  # no containers: two programs of the host

CLIENT_ENDPOINT = "ep-out"


@dataclass(frozen=True)
class End:
    """One end of a path.

    Programs run in ``namespace``, started by ``prefix``. Their servers listen in the stack of ``stack``, where the
    other end reaches them at ``address``.
    """

    namespace: str
    stack: str
    address: str
    prefix: tuple[str, ...] = ()


@dataclass(frozen=True)
class Path:
    """A path. ``number`` tells its ports from other paths'.

    The run fails where one that is ``ours`` fails. A peer that fails is missing from the report, with the reason.
    ``no_datagrams`` says why a peer has no path for UDP.
    """

    name: str
    number: int
    near: End
    far: End
    ours: bool = True
    no_datagrams: str = ""

    def port(self, first: int) -> int:
        """Return the port of the path's server of a program whose ports begin at ``first``."""
        return first + self.number


_RUNNER = ("graft", "--")
_LIBRARY = "/usr/lib/graft/tests/door1.so"
# Ports of one program, and so numbers of paths.
PORTS = 20

OTHER_MACHINE = End(testbed.PEER, testbed.PEER, testbed.PEER_ADDRESS)
_ON_HOST = End(testbed.HOST, testbed.HOST, testbed.HOST_ADDRESS)


def _grafted(container: str) -> End:
    """Return the end of a container whose programs 'graft' starts."""
    return End(container, testbed.HOST, testbed.HOST_ADDRESS, _RUNNER)


def endpoint_of(port: int) -> str:
    """Return the name of the endpoint that stands for one port of the host's."""
    return f"ep-{port}"


def own(programs: Iterable[int]) -> list[Path]:
    """Return the paths that the testbed itself has. ``programs`` are the first ports of the programs that serve."""
    through_nat = End(testbed.BRIDGED, testbed.BRIDGED, testbed.HOST_ADDRESS)
    number = 3
    ports = [first + number for first in programs]
    servers = " ".join(f"{port}={endpoint_of(port)}" for port in ports)
    door_1 = ("env", f"LD_PRELOAD={_LIBRARY}", f"DOOR1_SERVERS={servers}", f"DOOR1_CLIENT={CLIENT_ENDPOINT}")
    return [
        Path(HOST, 0, _ON_HOST, OTHER_MACHINE),
        Path(NAT, 1, through_nat, OTHER_MACHINE),
        Path(GRAFT, 2, _grafted(testbed.CONTAINER), OTHER_MACHINE),
        Path(AF_GRAFT, number, End(testbed.CONTAINER, testbed.HOST, testbed.HOST_ADDRESS, door_1), OTHER_MACHINE),
    ]


def between_containers() -> list[Path]:
    """Return the paths between two containers of one machine, and between two of its own programs."""
    bridged = End(testbed.BRIDGED, testbed.BRIDGED, testbed.BRIDGED_ADDRESS)
    bridged_too = End(testbed.BRIDGED_TOO, testbed.BRIDGED_TOO, testbed.BRIDGED_TOO_ADDRESS)
    return [
        Path(BRIDGE, 10, bridged, bridged_too),
        Path(GRAFT, 11, _grafted(testbed.CONTAINER), _grafted(testbed.CONTAINER_TOO)),
        Path(LOOPBACK, 12, _ON_HOST, _ON_HOST),
    ]
