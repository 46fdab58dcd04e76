# SPDX-License-Identifier: Apache-2.0
"""Tried from inside the container: state prepared on a socket before it is grafted, and set on it afterwards.

The tests' root stands for the root of a container's own user namespace, who may do all of this to its own sockets.
"""

import ctypes
import os
import socket
import struct
from dataclasses import dataclass
from errno import EACCES, EINVAL, ENOPROTOOPT, EOPNOTSUPP, EPERM
from socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_IP,
    IPPROTO_IPV6,
    IPPROTO_TCP,
    IPPROTO_UDP,
    SOCK_DGRAM,
    SOCK_STREAM,
    SOL_SOCKET,
)

import pytest

import child as process
from box import Box, endpoint_of, state
from conftest import need_sol_socket
from door1 import bind_name, inet
from expect import fails
from grant import V4, V6, Family
from tables import egress, ingress
from uapi import U
from world import FORBIDDEN, HOST4, HOST6, PEER4, World, lo_up, set_sysctl

_SO_BUF_LOCK, _HUGE = 72, 1 << 30
_LOOSE_ROUTE = b"\x83\x07\x04" + socket.inet_aton("10.20.0.2") + b"\0"
# Type 4, the one that no configuration leaves out.
_ROUTING = struct.pack("=BBBBI", 0, 2, 4, 0, 0) + socket.inet_pton(AF_INET6, "fd00:20::2")
_PACKET_INFO6 = socket.inet_pton(AF_INET6, "::1") + struct.pack("=i", 1)
_GROUP4 = socket.inet_aton("239.1.2.3") + socket.inet_aton("127.0.0.1")
_GROUP6 = socket.inet_pton(AF_INET6, "ff05::77") + struct.pack("=i", 1)
# A classic BPF program that picks the first socket of a reuseport group.
_FIRST = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0))
_PROGRAM = struct.pack("=H6xQ", 1, ctypes.addressof(_FIRST))


@dataclass(frozen=True)
class State:
    """One option, and where it applies."""

    level: int
    option: int
    value: int | bytes
    kinds: tuple[int, ...] = (SOCK_STREAM, SOCK_DGRAM)
    families: tuple[Family, ...] = (V4, V6)
    before: tuple[tuple[int, int, int], ...] = ()

    def set(self, sock: socket.socket) -> None:
        for level, option, value in self.before:
            sock.setsockopt(level, option, value)
        sock.setsockopt(self.level, self.option, self.value)


STREAM, DATAGRAM = (SOCK_STREAM,), (SOCK_DGRAM,)
STATES = {
    "mark": State(SOL_SOCKET, 36, 77),
    "bound device": State(SOL_SOCKET, 25, b"lo\0"),
    "bound device by index": State(SOL_SOCKET, 62, 1),
    "priority": State(SOL_SOCKET, 12, 7),
    "repair": State(IPPROTO_TCP, 19, 1, STREAM, (V4, V6), ((SOL_SOCKET, socket.SO_REUSEADDR, 1),)),
    "transparent": State(IPPROTO_IP, 19, 1),
    "transparent, IPv6": State(IPPROTO_IPV6, 75, 1, families=(V6,)),
    "source route": State(IPPROTO_IP, 4, _LOOSE_ROUTE),
    "routing header": State(IPPROTO_IPV6, 57, _ROUTING, families=(V6,)),
    "hop-by-hop options": State(IPPROTO_IPV6, 54, b"\0\0\1\4\0\0\0\0", families=(V6,)),
    "destination options": State(IPPROTO_IPV6, 59, b"\0\0\1\4\0\0\0\0", families=(V6,)),
    "packet info": State(IPPROTO_IPV6, 50, _PACKET_INFO6, DATAGRAM, (V6,)),
    "multicast device": State(IPPROTO_IP, 32, socket.inet_aton("127.0.0.1"), DATAGRAM),
    "multicast device, IPv6": State(IPPROTO_IPV6, 17, 1, DATAGRAM, (V6,)),
    "membership": State(IPPROTO_IP, 35, _GROUP4, DATAGRAM),
    "membership, IPv6": State(IPPROTO_IPV6, 20, _GROUP6, DATAGRAM, (V6,)),
    "unicast device": State(IPPROTO_IP, 50, struct.pack("!I", 1)),
    "unicast device, IPv6": State(IPPROTO_IPV6, 76, struct.pack("!I", 1), families=(V6,)),
    "encapsulation": State(IPPROTO_UDP, 100, 2, DATAGRAM),
    "reuseport program": State(
        SOL_SOCKET, 51, _PROGRAM, (SOCK_STREAM, SOCK_DGRAM), (V4, V6), ((SOL_SOCKET, socket.SO_REUSEPORT, 1),)
    ),
}
CASES = [
    pytest.param(
        family, kind, chosen, id=f"{name}-{'tcp' if kind == SOCK_STREAM else 'udp'}-v{4 if family is V4 else 6}"
    )
    for name, chosen in STATES.items()
    for kind in chosen.kinds
    for family in chosen.families
]
EVERY = pytest.mark.parametrize(("family", "kind", "chosen"), CASES)
# A priority is checked against the host's user namespace, where the tests' root may set it; a group is its endpoint's.
LATER = [case for case in CASES if case.values[2] not in {STATES["priority"], STATES["reuseport program"]}]


@pytest.fixture
def granted(box: Box, watched: World) -> Box:
    box.endpoint("ep4", HOST4)
    box.endpoint("ep6", HOST6)
    box.rules(ingress("ep4", "0.0.0.0/0"), ingress("ep6", "::/0"), egress("ep4", "0.0.0.0/0"), egress("ep6", "::/0"))
    return box


@EVERY
def test_it_keeps_a_socket_from_being_grafted(granted: Box, family: Family, kind: int, chosen: State) -> None:
    """With EOPNOTSUPP, and the socket is none of the host's."""
    sock = granted.open_socket(family.family, kind)
    chosen.set(sock)
    with fails(EOPNOTSUPP):
        sock.connect((family.peer, FORBIDDEN))
    with fails(EOPNOTSUPP):
        sock.bind((family.any, 8080))
    if kind == SOCK_DGRAM:
        with fails(EOPNOTSUPP):
            sock.sendto(b"x", (family.peer, FORBIDDEN))
    assert state(sock) == U.STATE_UNDECIDED
    assert granted.sockets() == []
    name = "ep4" if family is V4 else "ep6"
    assert granted.stats(name)["denials"][U.REASON_STATE] >= 2


@pytest.mark.parametrize(("family", "kind", "chosen"), LATER)
def test_it_cannot_be_set_afterwards(granted: Box, family: Family, kind: int, chosen: State) -> None:
    """On a grafted socket the option is unknown, or does what no program can make use of."""
    if chosen.level == SOL_SOCKET:
        need_sol_socket(granted.writer)
    sock = granted.open_socket(family.family, kind)
    sock.bind((family.any, 8080))
    assert state(sock) == U.STATE_GRAFTED
    with fails(ENOPROTOOPT, EPERM):
        chosen.set(sock)


@EVERY
def test_door1_does_not_carry_it(granted: Box, family: Family, kind: int, chosen: State) -> None:
    """AF_GRAFT's socket is another one than the host's: what it refuses or forgets does not arrive there."""
    name = "ep4" if family is V4 else "ep6"
    clean = granted.bound(name, kind)
    sock = granted.door1(kind)
    try:
        chosen.set(sock)
        bind_name(sock, name)
    except OSError as error:
        assert error.errno in {EOPNOTSUPP, ENOPROTOOPT, EPERM, EINVAL}
        return
    grafted = granted.keep(inet(sock))
    for level, option in ((chosen.level, chosen.option), (SOL_SOCKET, 36), (SOL_SOCKET, 25)):
        assert value(grafted, level, option) == value(clean, level, option)


def value(sock: socket.socket, level: int, option: int) -> bytes | int:
    try:
        return sock.getsockopt(level, option, 64)
    except OSError as error:
        return error.errno or -1


def test_repair_leaves_no_trace(granted: Box) -> None:
    """Forced reuse is what TCP_REPAIR sets; once it is off again the socket is as any other."""
    sock = granted.tcp()
    sock.setsockopt(IPPROTO_TCP, 19, 1)
    sock.setsockopt(IPPROTO_TCP, 19, 0)
    listener = granted.listener(granted.world.peer, PEER4)
    sock.connect(listener.getsockname())
    granted.keep(listener.accept()[0])
    assert endpoint_of(sock) == "ep4"


def test_a_connection_forged_by_repair(granted: Box) -> None:
    """TCP_REPAIR connects without a packet, and bound it takes any address."""
    sock = granted.tcp()
    sock.setsockopt(IPPROTO_TCP, 19, 1)
    with fails(EOPNOTSUPP):
        sock.connect((PEER4, FORBIDDEN))
    sock.setsockopt(IPPROTO_TCP, 19, 0)
    sock.bind(("0.0.0.0", 8080))
    assert state(sock) == U.STATE_GRAFTED
    with fails(ENOPROTOOPT, EPERM):
        sock.setsockopt(IPPROTO_TCP, 19, 1)


def test_harmless_state_comes_along(granted: Box) -> None:
    """What the manual pages tell any program to set is no reason to refuse."""
    sock = granted.udp()
    for level, option, on in (
        (IPPROTO_IP, 8, 1),
        (IPPROTO_IP, socket.IP_TOS, 16),
        (IPPROTO_IP, 24, 1),
        (SOL_SOCKET, socket.SO_REUSEADDR, 1),
        (SOL_SOCKET, 12, 6),
        (IPPROTO_IP, socket.IP_MULTICAST_TTL, 3),
    ):
        sock.setsockopt(level, option, on)
    sock.bind(("0.0.0.0", 8080))
    assert endpoint_of(sock) == "ep4"


@pytest.mark.parametrize("way", ["bind", "connect"])
@pytest.mark.parametrize("by", ["default", "low-water mark"])
def test_buffers_as_large_as_the_container_says(granted: Box, by: str, way: str) -> None:
    """A size that the container's own sysctls gave, and SO_BUF_LOCK keeps, is cut to what the host gives."""
    settings = {socket.SO_SNDBUF: "ipv4/tcp_wmem", socket.SO_RCVBUF: "ipv4/tcp_rmem"}
    with granted.ns:
        for setting in settings.values():
            set_sysctl(setting, f"4096 {_HUGE if by == 'default' else 131072} {_HUGE}")
    sock = granted.tcp()
    if by == "low-water mark":
        sock.setsockopt(SOL_SOCKET, socket.SO_RCVLOWAT, _HUGE // 4)
    sock.setsockopt(SOL_SOCKET, _SO_BUF_LOCK, 3)
    assert sock.getsockopt(SOL_SOCKET, socket.SO_RCVBUF) > _HUGE // 8
    if way == "bind":
        sock.bind(("0.0.0.0", 8080))
    else:
        sock.connect(granted.listener(granted.world.peer, PEER4).getsockname())
    assert endpoint_of(sock) == "ep4"
    for option, setting in settings.items():
        with granted.world.host, open(f"/proc/sys/net/{setting}") as limits:
            most = int(limits.read().split()[2])
        assert sock.getsockopt(SOL_SOCKET, option) <= 2 * most, setting


def test_a_container_of_its_own_user_namespace(granted: Box) -> None:
    """Its root has every capability over its own namespace and prepares what it wants; the graft refuses all of it."""

    def prepare() -> dict[str, object]:
        process.unshare_user(network=True)
        lo_up()
        theirs.send(b"x")
        theirs.recv(1)
        ended: dict[str, object] = {}
        for name, chosen in STATES.items():
            kind = chosen.kinds[0]
            family = chosen.families[0]
            sock = socket.socket(family.family, kind, U.IPPROTO_GRAFT)
            try:
                chosen.set(sock)
            except OSError as error:
                ended[name] = ("not set", error.errno)
                continue
            try:
                sock.connect((family.peer, FORBIDDEN))
                ended[name] = "connected"
            except OSError as error:
                ended[name] = error.errno
            sock.close()
        with socket.socket(AF_INET, SOCK_STREAM, U.IPPROTO_GRAFT) as sock:
            sock.connect((PEER4, port))
            ended["clean"] = endpoint_of(sock)
            for level, option, wanted in ((SOL_SOCKET, 36, 77), (IPPROTO_TCP, 19, 1), (IPPROTO_IP, 19, 1)):
                try:
                    sock.setsockopt(level, option, wanted)
                    ended[f"after {option}"] = "set"
                except OSError as error:
                    ended[f"after {option}"] = error.errno
        return ended

    listener = granted.listener(granted.world.peer, PEER4)
    port = listener.getsockname()[1]
    ours, theirs = (granted.keep(one) for one in socket.socketpair())
    attacker = process.Child(prepare)
    assert ours.recv(1) == b"x"
    table = os.open(f"/proc/{attacker.pid}/ns/net", os.O_RDONLY)
    for name, family in (("ep4", V4), ("ep6", V6)):
        granted.writer.endpoint(
            table,
            name=name,
            type=U.EP_IPV4 if family is V4 else U.EP_IPV6,
            address=socket.inet_pton(family.family, family.host),
            port_lo=0,
            port_hi=0,
            target_fd=granted.world.host.fd,
        )
    granted.writer.call(U.CMD_RULES_SET, netns_fd=table, rule=[egress("ep4", "0.0.0.0/0"), egress("ep6", "::/0")])
    os.close(table)
    ours.send(b"y")
    ended = attacker.result()
    assert ended.pop("clean") == "ep4"
    for name in STATES:
        if isinstance(ended[name], tuple):
            assert ended[name] in {("not set", EPERM), ("not set", EACCES)}, name
        else:
            assert ended[name] == EOPNOTSUPP, name
    assert {ended[name] for name in ended if name.startswith("after")} <= {EPERM, ENOPROTOOPT}
