# SPDX-License-Identifier: Apache-2.0
"""The ends of the paths on which instructions are counted: who runs where, through which door, at which address."""

from __future__ import annotations

from dataclasses import dataclass

from bench import plans
from driver import testbed

CROWD = "crowd"
CROWD_PORT = GRAFT_PORT = 7003
NAT_PORT = 7002
TOO_PORT = 7013
# The endpoints that a container is given, by the version of IP.
SERVERS = {4: "ep-server", 6: "ep-server-6"}
CLIENTS = {4: "ep-client", 6: "ep-client-6"}

_NO_DOOR = 0
_AF_GRAFT = 1
_IPPROTO_GRAFT = 2
_BOUND = 3
_BPF_DOOR = 4


@dataclass(frozen=True)
class End:
    """An end of a path, as opcost's option -e takes it. ``bind`` is the address that its program binds, ``reach`` the
    one at which others reach it, where that is another.
    """

    netns: str
    door: int
    bind: str
    port: int
    reach: str = ""

    def words(self, name: str) -> str:
        """Return the argument of -e."""
        version = 6 if ":" in self.bind else 4
        endpoints = (SERVERS[version], CLIENTS[version]) if self.door == _AF_GRAFT else ()
        fields = (name, self.netns, self.door, self.bind, self.reach or self.bind, self.port, *endpoints)
        return ",".join(map(str, fields))


_PEER = End(testbed.PEER, _NO_DOOR, testbed.PEER_ADDRESS, 7900)
_PEER6 = End(testbed.PEER, _NO_DOOR, testbed.PEER_ADDRESS6, 7900)
_HOST = End(testbed.HOST, _NO_DOOR, testbed.HOST_ADDRESS, 7001)
_NATIVE = End(testbed.CONTAINER_TOO, _NO_DOOR, "127.0.0.1", TOO_PORT)
_GRAFT = End(testbed.CONTAINER, _IPPROTO_GRAFT, testbed.HOST_ADDRESS, GRAFT_PORT)

# path -> the end under test, the end that it talks to
PATHS = {
    plans.HOST: (_HOST, _PEER),
    plans.HOST_BESIDE: (_HOST, _PEER),
    plans.NATIVE: (_NATIVE, _PEER),
    plans.NATIVE_BESIDE: (_NATIVE, _PEER),
    plans.HOST_BOUND: (End(testbed.HOST, _BOUND, testbed.HOST_ADDRESS, 7001), _PEER),
    plans.NAT: (End(testbed.BRIDGED, _NO_DOOR, testbed.BRIDGED_ADDRESS, NAT_PORT, testbed.HOST_ADDRESS), _PEER),
    plans.GRAFT: (_GRAFT, _PEER),
    plans.PRELOADED: (_GRAFT, _PEER),
    plans.DOOR: (End(testbed.CONTAINER, _BPF_DOOR, testbed.HOST_ADDRESS, GRAFT_PORT), _PEER),
    plans.AF_GRAFT: (End(testbed.CONTAINER, _AF_GRAFT, testbed.HOST_ADDRESS, GRAFT_PORT), _PEER),
    plans.CROWDED: (End(CROWD, _IPPROTO_GRAFT, testbed.HOST_ADDRESS, CROWD_PORT), _PEER),
    plans.AF_CROWDED: (End(CROWD, _AF_GRAFT, testbed.HOST_ADDRESS, CROWD_PORT), _PEER),
    plans.HOST6: (End(testbed.HOST, _NO_DOOR, testbed.HOST_ADDRESS6, 7001), _PEER6),
    plans.GRAFT6: (End(testbed.CONTAINER, _IPPROTO_GRAFT, testbed.HOST_ADDRESS6, GRAFT_PORT), _PEER6),
    plans.AF_GRAFT6: (End(testbed.CONTAINER, _AF_GRAFT, testbed.HOST_ADDRESS6, GRAFT_PORT), _PEER6),
    plans.LOOPBACK: (_HOST, End(testbed.HOST, _NO_DOOR, testbed.HOST_ADDRESS, 7011)),
    plans.GRAFTS: (_GRAFT, End(testbed.CONTAINER_TOO, _IPPROTO_GRAFT, testbed.HOST_ADDRESS, TOO_PORT)),
    plans.BRIDGE: (
        End(testbed.BRIDGED, _NO_DOOR, testbed.BRIDGED_ADDRESS, 7012),
        End(testbed.BRIDGED_TOO, _NO_DOOR, testbed.BRIDGED_TOO_ADDRESS, 7012),
    ),
}
