# SPDX-License-Identifier: Apache-2.0
"""The network that the tests run in.

    peer 10.10.0.2, fd00:10::2 <--- lan ---> 10.10.0.1, fd00:10::1 host        box: lo, 10.30.0.5, fd00:30::5
         10.20.0.2, fd00:20::2 <--- far ---> 10.20.0.1, fd00:20::1

``host`` is the target namespace and writes the tables. The second LAN is outside of what the tests grant.
"""

import socket

import rtnl
from expect import Sentinel, eventually
from graftnl import Graft
from netns import Namespace

HOST4, PEER4, LAN4 = "10.10.0.1", "10.10.0.2", "10.10.0.0/24"
HOST6, PEER6, LAN6 = "fd00:10::1", "fd00:10::2", "fd00:10::/64"
FAR_HOST4, FAR_PEER4 = "10.20.0.1", "10.20.0.2"
FAR_HOST6, FAR_PEER6 = "fd00:20::1", "fd00:20::2"
BOX4, BOX6 = "10.30.0.5", "fd00:30::5"

# Nothing ever reaches this port of any address of host and peer.
FORBIDDEN = 4000


def family_of(address: str) -> int:
    """AF_INET6 or AF_INET, by the address's look."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def lo_up() -> None:
    """Bring the current namespace's loopback up."""
    routes = rtnl.Routes()
    routes.up("lo")
    routes.close()


def set_sysctl(name: str, value: str) -> None:
    """Set a value below net of the current namespace."""
    with open(f"/proc/sys/net/{name}", "w") as file:
        file.write(value)


class World:
    """Peer and host."""

    def __init__(self) -> None:
        self.host, self.peer = Namespace.new("host"), Namespace.new("peer")
        for namespace in (self.peer, self.host):
            with namespace:
                lo_up()
                for setting in ("accept_dad", "dad_transmits", "router_solicitations"):
                    set_sysctl(f"ipv6/conf/default/{setting}", "0")
        with self.host:
            # As a host of containers is: it then owns the anycast address of each of its networks.
            set_sysctl("ipv6/conf/all/forwarding", "1")
            set_sysctl("ipv4/ip_forward", "1")
            routes = rtnl.Routes()
            routes.veth("lan", 102, "lan", self.peer.fd)
            routes.veth("far", 103, "far", self.peer.fd)
            self._configure(routes, HOST4, HOST6, FAR_HOST4, FAR_HOST6)
            routes.close()
            self.writer = Graft()
        with self.peer:
            routes = rtnl.Routes()
            self._configure(routes, PEER4, PEER6, FAR_PEER4, FAR_PEER6)
            routes.close()
        for namespace, addresses in ((self.peer, (PEER6, FAR_PEER6)), (self.host, (HOST6, FAR_HOST6))):
            with namespace:
                self._settle(addresses)

    @staticmethod
    def _configure(routes: rtnl.Routes, lan4: str, lan6: str, far4: str, far6: str) -> None:
        for name, v4, v6 in (("lan", lan4, lan6), ("far", far4, far6)):
            routes.address(name, v4, 24)
            routes.address(name, v6, 64)
            routes.up(name)

    @staticmethod
    def _settle(addresses: tuple[str, ...]) -> None:
        routes = rtnl.Routes()
        eventually(lambda: [*routes.links().values()].count(rtnl.UP) == 2, "lan and far are up")
        routes.close()
        eventually(lambda: all(map(rtnl.is_local, addresses)), f"{addresses} are the namespace's own")

    def reopen(self) -> None:
        """Open the netlink socket anew: the family has another number since the module was loaded again."""
        self.writer.close()
        with self.host:
            self.writer = Graft()

    def close(self) -> None:
        self.writer.close()
        self.host.close()
        self.peer.close()


def sentinels(world: World) -> tuple[Sentinel, Sentinel]:
    """Watches over FORBIDDEN in host and peer."""
    return Sentinel(world.host, FORBIDDEN), Sentinel(world.peer, FORBIDDEN)
