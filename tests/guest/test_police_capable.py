# SPDX-License-Identifier: Apache-2.0
"""Tried from inside the container: configuring the host through a grafted socket, with CAP_NET_ADMIN held or not."""

import fcntl
import os
import socket
import struct
from collections.abc import Callable
from errno import EACCES, EADDRNOTAVAIL, EINVAL, ENODEV, ENOPROTOOPT, ENOTTY, EOPNOTSUPP, EPERM
from socket import AF_INET, AF_INET6, IPPROTO_IP, IPPROTO_IPV6, SOCK_DGRAM, SOCK_STREAM

import pytest

import child as process
import rtnl
from box import Box, endpoint_of
from child import CAP_NET_ADMIN, CAP_NET_BIND_SERVICE, CAP_NET_RAW, CAP_SYS_ADMIN
from door1 import bind_name
from expect import fails, receive
from kernelcalls import CLONE_NEWPID, CLONE_NEWUSER, call
from tables import egress, ingress
from uapi import U
from world import HOST4, PEER4

LINK, ADDRESS = b"lan".ljust(16, b"\0"), struct.pack("=HH4s8x", AF_INET, 0, socket.inet_aton("10.66.0.1"))
# Requests that would change the host, or hand out its namespace.
IOCTLS: dict[str, tuple[int, bytes]] = {
    "SIOCBRADDBR": (0x89A0, b"evil".ljust(64, b"\0")),
    "SIOCBRDELBR": (0x89A1, b"evil".ljust(64, b"\0")),
    "SIOCGIFBR": (0x8940, struct.pack("=QQQQ", 0, 0, 0, 0)),
    "SIOCSIFBR": (0x8941, struct.pack("=QQQQ", 2, 0, 0, 0)),
    "SIOCSIFVLAN": (0x8983, b"\0" * 64),
    "SIOCGSKNS": (0x894C, b"\0" * 8),
    "SIOCSIFFLAGS": (0x8914, LINK + struct.pack("=H14x", 0)),
    "SIOCSIFADDR": (0x8916, LINK + ADDRESS),
    "SIOCSIFMTU": (0x8922, LINK + struct.pack("=i12x", 1000)),
    "SIOCSIFNAME": (0x8923, LINK + b"evil".ljust(16, b"\0")),
    "SIOCSIFHWADDR": (0x8924, LINK + b"\0" * 16),
    "SIOCETHTOOL": (0x8946, LINK + b"\0" * 16),
    "SIOCADDRT": (0x890B, b"\0" * 120),
    "SIOCDELRT": (0x890C, b"\0" * 120),
    "SIOCSARP": (0x8955, b"\0" * 64),
    "SIOCDARP": (0x8953, b"\0" * 64),
    "SIOCDEVPRIVATE": (0x89F0, LINK + b"\0" * 16),
    "SIOCSHWTSTAMP": (0x89B0, LINK + b"\0" * 16),
    "SIOCBONDENSLAVE": (0x8990, LINK + b"\0" * 16),
    "SIOCGETVIFCNT": (0x89E0, b"\0" * 64),
    "SIOCADDTUNNEL": (0x89F1, b"tunl0".ljust(16, b"\0") + b"\0" * 16),
}
IPTABLES = {
    "IPT_SO_SET_REPLACE": (IPPROTO_IP, 64, b"\0" * 96),
    "IPT_SO_SET_ADD_COUNTERS": (IPPROTO_IP, 65, b"\0" * 64),
    "ARPT_SO_SET_REPLACE": (IPPROTO_IP, 96, b"\0" * 96),
    "EBT_SO_SET_ENTRIES": (IPPROTO_IP, 128, b"\0" * 96),
    "IP6T_SO_SET_REPLACE": (IPPROTO_IPV6, 64, b"\0" * 96),
    "IP_VS_SO_SET": (IPPROTO_IP, 64 + 1024 + 1, b"\0" * 64),
    "MRT_INIT": (IPPROTO_IP, 200, b"\1\0\0\0"),
}
READ = {
    "IPT_SO_GET_INFO": (IPPROTO_IP, 64, 84),
    "IPT_SO_GET_ENTRIES": (IPPROTO_IP, 65, 84),
    "ARPT_SO_GET_INFO": (IPPROTO_IP, 96, 84),
    "EBT_SO_GET_INFO": (IPPROTO_IP, 128, 84),
    "IP6T_SO_GET_INFO": (IPPROTO_IPV6, 64, 84),
}


@pytest.fixture
def granted(box: Box) -> Box:
    box.endpoint("ep-dns", HOST4, 5300)
    box.endpoint("ep-out", HOST4)
    box.endpoint("ep-trusted", HOST4, privileged=True)
    box.rules(ingress("ep-dns", port=53), egress("ep-out"), ingress("ep-trusted", port=54))
    return box


def graft(port: int = 53, kind: int = SOCK_DGRAM) -> socket.socket:
    """Made, and grafted, by the task that runs this, inside the container."""
    sock = socket.socket(AF_INET, kind, U.IPPROTO_GRAFT)
    sock.bind(("0.0.0.0", port))
    return sock


def tried(box: Box, bounding: set[int], effective: set[int] | None = None, port: int = 53) -> str:
    """Graft as a task with these capabilities: the endpoint's name."""

    def act() -> str:
        process.keep_capabilities(bounding, effective)
        return endpoint_of(graft(port))

    with box.ns:
        return str(process.run(act))


def test_without_capabilities(granted: Box) -> None:
    assert tried(granted, set()) == "ep-dns"
    assert tried(granted, {CAP_NET_BIND_SERVICE}) == "ep-dns"


def test_with_net_admin_alone(granted: Box) -> None:
    with fails(EACCES):
        tried(granted, {CAP_NET_ADMIN})
    assert granted.stats("ep-dns")["denials"][U.REASON_CAPABLE] == 1


def test_with_net_admin_that_an_exec_would_bring_back(granted: Box) -> None:
    """The bounding set counts: a program with the file capability, or set-user-id root, would hold it again."""
    with fails(EACCES):
        tried(granted, {CAP_NET_ADMIN}, set())


def test_with_all_of_the_host(granted: Box) -> None:
    assert tried(granted, {CAP_NET_ADMIN, CAP_SYS_ADMIN}) == "ep-dns"


def test_a_privileged_endpoint(granted: Box) -> None:
    assert tried(granted, {CAP_NET_ADMIN}, port=54) == "ep-trusted"


@pytest.mark.parametrize("door", ["door1", "connect", "send"])
def test_with_net_admin_by_every_way(granted: Box, door: str) -> None:
    server = granted.datagram(granted.world.peer, PEER4)
    named = granted.door1(SOCK_DGRAM)
    sock = granted.udp()

    def act() -> None:
        process.keep_capabilities({CAP_NET_ADMIN})
        if door == "door1":
            bind_name(named, "ep-dns")
        elif door == "connect":
            sock.connect(server.getsockname())
        else:
            sock.sendto(b"x", server.getsockname())

    with fails(EACCES):
        process.run(act)
    assert granted.sockets() == []
    sock.sendto(b"lawful", server.getsockname())
    assert receive(server) == b"lawful"


def test_with_net_raw_where_the_kernel_shows_no_socket_options(granted: Box) -> None:
    """Where SOL_SOCKET does not pass the module, CAP_NET_RAW would set a mark or a device on the host's stack."""
    info = granted.writer.call(U.CMD_INFO_GET)[0]["info"]
    if info.get("sol_socket"):
        assert tried(granted, {CAP_NET_RAW}) == "ep-dns"
    else:
        with fails(EACCES):
            tried(granted, {CAP_NET_RAW})


def test_root_of_a_user_namespace(granted: Box) -> None:
    """unshare -Ur inside the container: every capability, over nothing of the host's."""

    def act() -> str:
        process.become(1000, 1000)
        process.unshare_user()
        return endpoint_of(graft())

    with granted.ns:
        assert process.run(act) == "ep-dns"


def test_root_of_a_user_namespace_with_its_own_network(granted: Box) -> None:
    """unshare -Urn: another namespace, whose table is empty."""

    def act() -> tuple[object, ...]:
        process.unshare_user(network=True)
        with socket.socket(AF_INET, SOCK_DGRAM, U.IPPROTO_GRAFT) as bound:
            bound.bind(("0.0.0.0", 53))
            local = bound.getsockname()
        with socket.socket(AF_INET, SOCK_STREAM, U.IPPROTO_GRAFT) as sock:
            reached = sock.connect_ex((PEER4, 80))
        named = socket.socket(U.AF_GRAFT, SOCK_DGRAM)
        try:
            bind_name(named, "ep-dns")
        except OSError as error:
            return (*local, reached, error.errno)
        return (*local, reached, 0)

    with granted.ns:
        assert process.run(act) == ("0.0.0.0", 53, 101, EADDRNOTAVAIL)


def descend(depth: int, function: Callable[[], str]) -> str:
    """Run ``function`` as the init of a pid namespace that is ``depth`` deeper."""

    def deeper() -> str:
        return descend(depth - 1, function)

    if not depth:
        return function()
    call("unshare", CLONE_NEWPID)
    return str(process.run(deeper))


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("door", ["door1", "door2"])
@pytest.mark.parametrize(
    ("kept", "answer"),
    [({CAP_NET_ADMIN}, EACCES), ({CAP_NET_ADMIN, CAP_SYS_ADMIN}, "ep-dns"), ({CAP_NET_BIND_SERVICE}, "ep-dns")],
    ids=["NET_ADMIN", "NET_ADMIN and SYS_ADMIN", "neither"],
)
def test_root_of_a_user_namespace_with_its_own_processes(
    granted: Box, kept: set[int], answer: str | int, door: str, depth: int
) -> None:
    """unshare -Upf inside the container: the inits of all the pid namespaces count, up to the container's."""

    def act() -> str:
        assert os.getpid() == 1
        if door == "door2":
            return endpoint_of(graft(kind=SOCK_STREAM))
        sock = socket.socket(U.AF_GRAFT, SOCK_STREAM)
        bind_name(sock, "ep-dns")
        return endpoint_of(sock)

    def outcome(function: Callable[[], str]) -> str | int:
        try:
            return function()
        except OSError as error:
            return error.errno or 0

    def attack() -> str:
        call("unshare", CLONE_NEWUSER)
        return descend(depth, act)

    def container() -> tuple[str | int, str | int]:
        process.keep_capabilities(kept)
        return outcome(act), outcome(lambda: str(process.run(attack)))

    def start() -> object:
        call("unshare", CLONE_NEWPID)
        return process.run(container)

    with granted.ns:
        assert process.run(start) == (answer, answer)
    denials = granted.stats("ep-dns").get("denials", {})
    assert denials == ({U.REASON_CAPABLE: 2} if answer == EACCES else {})


def assault(sock: socket.socket) -> dict[str, object]:
    """Try everything on a grafted socket; what each ended with."""
    ended: dict[str, object] = {}
    for name, (request, argument) in IOCTLS.items():
        try:
            ended[name] = ("done", fcntl.ioctl(sock, request, argument))
        except OSError as error:
            ended[name] = error.errno
    for name, (level, option, value) in IPTABLES.items():
        try:
            sock.setsockopt(level, option, value)
            ended[name] = "done"
        except OSError as error:
            ended[name] = error.errno
    for name, (level, option, length) in READ.items():
        try:
            ended[name] = ("done", sock.getsockopt(level, option, length))
        except OSError as error:
            ended[name] = error.errno
    return ended


REFUSALS = {EPERM, EACCES, ENOPROTOOPT, EOPNOTSUPP, ENOTTY, EINVAL, ENODEV}


def host_state(box: Box) -> object:
    """What an ioctl could change."""
    with box.world.host:
        routes = rtnl.Routes()
        links = set(routes.links())
        routes.close()
        with open("/proc/thread-self/net/route") as table, open("/proc/thread-self/net/arp") as neighbours:
            return links, table.read(), len(neighbours.readlines())


@pytest.mark.parametrize("who", ["nobody", "root of a user namespace"])
@pytest.mark.parametrize("kind", [SOCK_STREAM, SOCK_DGRAM], ids=["tcp", "udp"])
def test_ioctls_and_tables_of_the_host(granted: Box, who: str, kind: int) -> None:
    def act() -> dict[str, object]:
        process.become(1000, 1000)
        if who != "nobody":
            process.unshare_user()
        return assault(graft(kind=kind))

    before = host_state(granted)
    with granted.ns:
        ended = process.run(act)
    harmless = {"SIOCETHTOOL", "SIOCGIFBR", "SIOCGETVIFCNT"}
    through = {name: end for name, end in ended.items() if end not in REFUSALS and name not in harmless}
    assert not through
    assert {ended[name] for name in ("SIOCBRADDBR", "SIOCGSKNS", "SIOCSIFFLAGS", "SIOCSIFADDR", "SIOCADDRT")} <= {EPERM}
    assert host_state(granted) == before


def test_ioctls_of_the_operations_are_refused_even_to_root(granted: Box) -> None:
    """What sock_ioctl() leaves to the socket's operations passes the module's own list."""
    with granted.ns:
        sock = granted.keep(graft())
    for name in ("SIOCADDRT", "SIOCDELRT", "SIOCSARP", "SIOCDARP"):
        request, argument = IOCTLS[name]
        with fails(EPERM):
            fcntl.ioctl(sock, request, argument)
    for option_and_value in IPTABLES.values():
        with fails(ENOPROTOOPT):
            sock.setsockopt(*option_and_value)
    for level, option, length in READ.values():
        with fails(ENOPROTOOPT):
            sock.getsockopt(level, option, length)


def test_ioctls_on_an_undecided_socket_are_the_containers(granted: Box) -> None:
    """Before the graft it is a socket of the container, where its root may do as it likes."""
    with granted.ns:
        sock = granted.keep(socket.socket(AF_INET, SOCK_DGRAM, U.IPPROTO_GRAFT))
    up = fcntl.ioctl(sock, 0x8913, b"lo".ljust(40, b"\0"))
    assert struct.unpack_from("=H", up, 16)[0] & 1
    with fails(ENODEV):
        fcntl.ioctl(sock, 0x8913, b"lan".ljust(40, b"\0"))


def test_an_inherited_grafted_socket_opens_no_namespace(granted: Box) -> None:
    """SIOCGSKNS hands out a descriptor of the socket's namespace to who may configure it."""

    def act() -> int:
        process.keep_capabilities(set())
        try:
            return fcntl.ioctl(sock, IOCTLS["SIOCGSKNS"][0])
        except OSError as error:
            return -(error.errno or 0)

    with granted.ns:
        sock = granted.keep(graft())
    assert process.run(act) == -EPERM
    own = fcntl.ioctl(granted.keep(granted.udp()), IOCTLS["SIOCGSKNS"][0])
    try:
        assert os.fstat(own).st_ino == os.fstat(granted.ns.fd).st_ino
    finally:
        os.close(own)


def test_ipv6_sockets_too(granted: Box) -> None:
    granted.endpoint("ep-v6", "fd00:10::1", 5301)
    granted.rules(ingress("ep-v6", port=53))

    def act() -> set[object]:
        process.keep_capabilities(set())
        sock = socket.socket(AF_INET6, SOCK_DGRAM, U.IPPROTO_GRAFT)
        sock.bind(("::", 53))
        assert endpoint_of(sock) == "ep-v6"
        ended = assault(sock)
        return {ended["SIOCBRADDBR"], ended["SIOCGSKNS"], ended["SIOCADDRT"]}

    with granted.ns:
        assert process.run(act) == {EPERM}
