# SPDX-License-Identifier: Apache-2.0
"""Links, addresses, routes and namespace ids through rtnetlink, without a process for each. See linux/rtnetlink.h."""

import socket
import struct

from netlink import CREATE, DUMP, EXCL, Netlink, attr, attrs, nest

_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_NEWADDR, _NEWROUTE, _NEWNSID, _GETNSID = 20, 24, 88, 90
_IFNAME, _LINKINFO, _NETNSFD = 3, 18, 28
_OPERSTATE = 16
UP = 6
_NODAD = 0x02
_RTF_LOCAL = 0x80000000


def _link(index: int = 0, up: bool = False) -> bytes:
    return struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, int(up), int(up))


def _family(address: str) -> tuple[int, bytes]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.inet_pton(family, address)


def is_local(address: str) -> bool:
    """Whether the current namespace takes in what comes for an address of its own.

    Of an IPv6 address it does so from a work queue, some time after it lets programs bind to it.
    """
    if ":" not in address:
        return True
    wanted = socket.inet_pton(socket.AF_INET6, address).hex()
    with open("/proc/thread-self/net/ipv6_route") as table:
        return any(line.startswith(f"{wanted} 80") and int(line.split()[-2], 16) & _RTF_LOCAL for line in table)


class Routes(Netlink):
    """A rtnetlink socket of the current network namespace."""

    def __init__(self) -> None:
        super().__init__(0)

    def veth(self, name: str, index: int, peer: str, peer_netns: int) -> None:
        """A pair: ``name`` here, ``peer`` in the namespace of that descriptor.

        ``index`` must not be that of ``peer``: the kernel tells the two ends apart by it, and a device that seems to be
        its own end comes up a second late.
        """
        other = _link() + attr(_IFNAME, peer.encode() + b"\0") + attr(_NETNSFD, struct.pack("=I", peer_netns))
        kind = attr(1, b"veth") + nest(2, attr(1, other))
        self.ask(_NEWLINK, _link(index) + attr(_IFNAME, name.encode() + b"\0") + nest(_LINKINFO, kind), CREATE | EXCL)

    def dummy(self, name: str) -> None:
        """A device that leads nowhere."""
        self.ask(_NEWLINK, _link() + attr(_IFNAME, name.encode() + b"\0") + nest(_LINKINFO, attr(1, b"dummy")), CREATE)

    def up(self, name: str) -> None:
        self.ask(_NEWLINK, _link(socket.if_nametoindex(name), up=True))

    def delete(self, name: str) -> None:
        self.ask(_DELLINK, _link(socket.if_nametoindex(name)))

    def links(self) -> dict[str, int]:
        """The devices and their operational states; but for lo, a device drops everything until that is UP."""
        found = (dict(attrs(link[16:])) for link in self.ask(_GETLINK, _link(), DUMP))
        return {link[_IFNAME].rstrip(b"\0").decode(): link[_OPERSTATE][0] for link in found}

    def address(self, name: str, address: str, length: int) -> None:
        """An address, usable at once; IPv4 with its broadcast address."""
        family, packed = _family(address)
        body = struct.pack("=BBBBI", family, length, _NODAD, 0, socket.if_nametoindex(name))
        body += attr(2, packed) + attr(1, packed)
        if family == socket.AF_INET:
            mask = (1 << 32 - length) - 1
            body += attr(4, struct.pack("!I", struct.unpack("!I", packed)[0] | mask))
        self.ask(_NEWADDR, body, CREATE | EXCL)

    def route(self, prefix: str, length: int, gateway: str) -> None:
        family, packed = _family(prefix)
        body = struct.pack("=BBBBBBBBI", family, length, 0, 0, 254, 3, 0, 1, 0)
        self.ask(_NEWROUTE, body + attr(1, packed) + attr(5, _family(gateway)[1]), CREATE | EXCL)

    def number(self, netns: int, wanted: int) -> None:
        """Give the namespace of a descriptor an id here; the id goes when the namespace does."""
        body = struct.pack("=B3x", 0) + attr(3, struct.pack("=I", netns)) + attr(1, struct.pack("=i", wanted))
        self.ask(_NEWNSID, body)

    def numbers(self) -> set[int]:
        """The ids of all the namespaces that have one here and live."""
        found = self.ask(_GETNSID, struct.pack("=B3x", 0), DUMP)
        return {struct.unpack("=i", dict(attrs(answer[4:]))[1])[0] for answer in found}
