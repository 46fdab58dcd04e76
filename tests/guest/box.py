# SPDX-License-Identifier: Apache-2.0
"""The containers whose sockets are grafted."""

import socket
from errno import ENOPROTOOPT, EOPNOTSUPP
from typing import Any

import rtnl
from door1 import bind_name, inet
from expect import eventually, fails
from graftnl import Graft
from netlink import CREATE
from netns import Namespace
from tables import PROTOCOLS, ports, prefix
from uapi import U
from world import BOX4, BOX6, HOST4, World, family_of


class Box:
    """A container: a namespace with a loopback and nothing else, whose table the world's host writes."""

    def __init__(self, world: World, name: str = "box") -> None:
        self.world = world
        self.ns = Namespace.new(name)
        self._open: list[Any] = []
        with self.ns:
            routes = rtnl.Routes()
            routes.up("lo")
            routes.address("lo", BOX4, 32)
            routes.address("lo", BOX6, 128)
            routes.close()
            eventually(lambda: rtnl.is_local(BOX6), f"{BOX6} is the box's own")

    @property
    def writer(self) -> Graft:
        """The world's netlink socket."""
        return self.world.writer

    # The table.

    def endpoint(
        self,
        name: str,
        address: str = HOST4,
        port: int | tuple[int, int] = 0,
        proto: str | None = None,
        flags: int = CREATE,
        **more: Any,
    ) -> None:
        """An endpoint of type ipv4 or ipv6, as the address says; ``path=`` makes it one of type unix."""
        fields: dict[str, Any] = {"name": name, "target_fd": self.world.host.fd, "protocols": PROTOCOLS[proto]}
        if "path" in more:
            fields |= {"type": U.EP_UNIX}
        else:
            kind = U.EP_IPV6 if ":" in address else U.EP_IPV4
            fields |= {"type": kind, "address": prefix(address)["address"]} | ports(port)
        self.writer.endpoint(self.ns.fd, flags, **fields | more)

    def delete(self, name: str, abort: bool = False) -> int:
        """Delete an endpoint; return how many sockets that aborted."""
        return self._aborted(U.CMD_ENDPOINT_DEL, endpoint={"name": name}, abort=abort)

    def rules(self, *rules: dict[str, Any]) -> None:
        self.writer.call(U.CMD_RULES_SET, netns_fd=self.ns.fd, rule=rules)

    def acl(self, *rules: dict[str, Any], abort: bool = False) -> int:
        """Replace the ACL; return how many sockets that aborted."""
        return self._aborted(U.CMD_ACL_SET, acl=rules, abort=abort)

    def table(self, **limits: int) -> None:
        """Set limits, or ``frozen``."""
        self.writer.call(U.CMD_TABLE_SET, netns_fd=self.ns.fd, table=limits)

    def _aborted(self, command: int, **fields: Any) -> int:
        answers = self.writer.call(command, netns_fd=self.ns.fd, **fields)
        return sum(answer.get("aborted", 0) for answer in answers)

    def stats(self, name: str) -> dict[str, Any]:
        """An endpoint as the kernel tells it, counters and all."""
        answer = self.writer.call(U.CMD_ENDPOINT_GET, netns_fd=self.ns.fd, endpoint={"name": name})
        return dict(answer[0]["endpoint"])

    def sockets(self) -> list[dict[str, Any]]:
        """The live sockets grafted by this table."""
        return [answer["socket"] for answer in self.writer.dump(U.CMD_SOCKET_GET, netns_fd=self.ns.fd)]

    # Its programs' sockets, closed with the box.

    def keep(self, sock: Any) -> Any:
        """Close ``sock`` with the box."""
        self._open.append(sock)
        return sock

    def open_socket(self, family: int, kind: int, protocol: int = U.IPPROTO_GRAFT) -> socket.socket:
        """A socket of the container; by default one through door 2."""
        made: socket.socket = self.keep(self.ns.open_socket(family, kind, protocol))
        return made

    def tcp(self, address: str = "") -> socket.socket:
        """A TCP socket through door 2, of the family of ``address``."""
        return self.open_socket(family_of(address), socket.SOCK_STREAM)

    def udp(self, address: str = "") -> socket.socket:
        """A UDP socket through door 2, of the family of ``address``."""
        return self.open_socket(family_of(address), socket.SOCK_DGRAM)

    def door1(self, kind: int, protocol: int = 0) -> socket.socket:
        """A socket of AF_GRAFT, not yet bound."""
        return self.open_socket(U.AF_GRAFT, kind, protocol)

    def bound(self, endpoint: str, kind: int) -> socket.socket:
        """A socket of AF_GRAFT bound to an endpoint, as Python's socket of the endpoint's family."""
        sock = self.door1(kind)
        bind_name(sock, endpoint)
        again: socket.socket = self.keep(inet(sock))
        return again

    # Plain sockets of other machines, closed with the box.

    def listener(self, namespace: Namespace, address: str, port: int = 0) -> socket.socket:
        """A plain TCP listener of ``namespace``."""
        sock = namespace.open_socket(family_of(address), socket.SOCK_STREAM)
        self.keep(sock).setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(16)
        return sock

    def client(self, namespace: Namespace, address: str, port: int) -> socket.socket:
        """A plain TCP socket of ``namespace``, connected."""
        sock = namespace.open_socket(family_of(address), socket.SOCK_STREAM)
        self.keep(sock).connect((address, port))
        return sock

    def datagram(self, namespace: Namespace, address: str, port: int = 0) -> socket.socket:
        """A plain UDP socket of ``namespace``."""
        sock = namespace.open_socket(family_of(address), socket.SOCK_DGRAM)
        self.keep(sock).bind((address, port))
        return sock

    def close_sockets(self, *but: Any) -> None:
        """Close every socket made so far, but for these."""
        for sock in self._open:
            if sock not in but:
                sock.close()
        self._open = list(but)

    def close(self) -> None:
        self.close_sockets()
        self.ns.close()


def state(sock: socket.socket) -> int:
    """GRAFT_SO_STATE."""
    return sock.getsockopt(U.IPPROTO_GRAFT, U.SO_STATE)


def endpoint_of(sock: socket.socket) -> str:
    """GRAFT_SO_ENDPOINT."""
    return sock.getsockopt(U.IPPROTO_GRAFT, U.SO_ENDPOINT, U.NAME_MAX).rstrip(b"\0").decode()


def is_native(sock: socket.socket) -> bool:
    """Whether the kernel's own operations are back in place: they know nothing of IPPROTO_GRAFT."""
    with fails(ENOPROTOOPT, EOPNOTSUPP):
        endpoint_of(sock)
    return True
