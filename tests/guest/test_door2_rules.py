# SPDX-License-Identifier: Apache-2.0
"""Door 2, IPPROTO_GRAFT: which rule decides."""

import socket
import struct
from errno import (
    EACCES,
    EADDRINUSE,
    EADDRNOTAVAIL,
    EAFNOSUPPORT,
    ECONNREFUSED,
    EINVAL,
    ENOPROTOOPT,
    ENOSPC,
    EOPNOTSUPP,
)
from pathlib import Path

import pytest

import child as process
from box import Box, endpoint_of, is_native, state
from door1 import bind_raw, sockaddr_in, sockaddr_in6
from expect import eventually, fails
from graftnl import Graft
from netns import Namespace
from tables import allow, egress, ingress
from uapi import U
from world import BOX4, FORBIDDEN, HOST4, HOST6, LAN4, PEER4, PEER6, World

FAMILIES = pytest.mark.parametrize(("host", "peer"), [(HOST4, PEER4), (HOST6, PEER6)], ids=["v4", "v6"])
ANY: dict[int, str] = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}


def test_the_verdict_native(box: Box) -> None:
    box.endpoint("ep")
    box.rules(ingress("ep"), ingress("native", "127.0.0.0/8"), egress("ep"), egress("native", "127.0.0.0/8"))
    server = box.tcp()
    server.bind(("127.0.0.1", 8080))
    server.listen(1)
    assert is_native(server)
    client = box.tcp()
    client.connect(("127.0.0.1", 8080))
    assert is_native(client)
    grafted = box.tcp()
    grafted.bind((BOX4, 8080))
    assert endpoint_of(grafted) == "ep"


@FAMILIES
def test_the_verdict_deny(box: Box, watched: World, host: str, peer: str) -> None:
    box.endpoint("ep", host)
    box.rules(egress("ep"), egress("deny", peer), ingress("ep"), ingress("deny", port=8080))
    sock = box.tcp(peer)
    with fails(EACCES):
        sock.connect((peer, FORBIDDEN))
    with fails(EACCES):
        sock.bind((ANY[sock.family], 8080))
    assert box.sockets() == []
    assert state(sock) == U.STATE_UNDECIDED
    sock.bind((ANY[sock.family], 8081))
    assert endpoint_of(sock) == "ep"


def test_longest_prefix_then_narrower_ports(box: Box) -> None:
    for name in ("ep-all", "ep-lan", "ep-peer", "ep-ports", "ep-port"):
        box.endpoint(name)
    box.rules(
        egress("ep-all"),
        egress("ep-lan", "10.10.0.0/24"),
        egress("ep-ports", PEER4, (5000, 6000)),
        egress("ep-peer", PEER4),
        egress("ep-port", PEER4, 5001),
    )
    due = {5000: "ep-ports", 5001: "ep-port", 4999: "ep-peer", 6000: "ep-ports", 6001: "ep-peer"}
    for port, name in due.items():
        sock = box.tcp()
        with fails(ECONNREFUSED):
            sock.connect((PEER4, port))
        assert endpoint_of(sock) == name, port
    sock = box.udp()
    sock.connect(("10.10.0.77", 5001))
    assert endpoint_of(sock) == "ep-lan"
    sock = box.udp()
    sock.connect(("10.20.0.2", 5001))
    assert endpoint_of(sock) == "ep-all"


def test_protocols_must_contain(box: Box) -> None:
    for name in ("ep-tcp", "ep-udp"):
        box.endpoint(name)
    box.rules(ingress("ep-udp", proto="udp"), ingress("ep-tcp", proto="tcp"))
    for sock, name in ((box.tcp(), "ep-tcp"), (box.udp(), "ep-udp")):
        sock.bind((BOX4, 5000))
        assert endpoint_of(sock) == name


def test_rules_decide_at_the_moment_of_the_call(box: Box) -> None:
    box.endpoint("ep")
    sock = box.tcp()
    box.rules(ingress("ep", port=8080))
    sock.bind((BOX4, 8080))
    assert endpoint_of(sock) == "ep"
    box.rules()
    other = box.tcp()
    other.bind((BOX4, 8081))
    other.listen(1)
    assert is_native(other)
    assert endpoint_of(sock) == "ep"


def test_the_rules_are_those_of_the_namespace_that_made_the_socket(box: Box, other: Box) -> None:
    box.endpoint("ep")
    box.rules(ingress("ep", port=8080))
    sock = box.tcp()
    with other.ns:
        sock.bind((BOX4, 8080))
        sock.listen(1)
    assert endpoint_of(sock) == "ep"
    foreign = other.tcp()
    with box.ns:
        foreign.bind((BOX4, 8080))
        foreign.listen(1)
    assert is_native(foreign)


def test_an_unknown_endpoint_in_a_rule(box: Box) -> None:
    box.endpoint("ep")
    box.rules(ingress("ep-missing", port=8080), egress("ep-missing"), ingress("ep", port=8081))
    sock = box.tcp()
    with fails(EADDRNOTAVAIL):
        sock.bind((BOX4, 8080))
    with fails(EADDRNOTAVAIL):
        sock.connect((PEER4, 80))
    sock.bind((BOX4, 8081))
    assert endpoint_of(sock) == "ep"


def test_port_outside_the_range(box: Box) -> None:
    box.endpoint("ep", HOST4, (7000, 7010))
    box.rules(ingress("ep"))
    sock = box.tcp()
    for port in (6999, 7011):
        with fails(EADDRNOTAVAIL):
            sock.bind((BOX4, port))
    sock.bind((BOX4, 7010))
    assert sock.getsockname() == (HOST4, 7010)


def rule(verdict: int, direction: int, endpoint: bytes = b"", ports: tuple[int, int] = (1, 65535)) -> bytes:
    """struct graft_rule for every address of both families."""
    fixed = struct.pack("=BBBBB3xHH16s", direction, 0, 0, U.PROTO_ALL, verdict, *ports, b"")
    return fixed + endpoint.ljust(U.NAME_MAX, b"\0")


def test_a_sockets_own_rules_replace_the_namespaces(box: Box) -> None:
    box.endpoint("ep-own")
    box.endpoint("ep-table")
    box.rules(ingress("ep-table"), egress("ep-table"))
    sock = box.tcp()
    sock.setsockopt(U.IPPROTO_GRAFT, U.SO_RULES, rule(U.VERDICT_ENDPOINT, U.INGRESS, b"ep-own", (8080, 8080)))
    sock.bind((BOX4, 8080))
    assert endpoint_of(sock) == "ep-own"
    for port in (8081, 8082):
        other = box.tcp()
        other.setsockopt(U.IPPROTO_GRAFT, U.SO_RULES, rule(U.VERDICT_DENY, U.INGRESS, ports=(8082, 8082)))
        if port == 8082:
            with fails(EACCES):
                other.bind((BOX4, port))
        else:
            other.bind((BOX4, port))
            other.listen(1)
            assert is_native(other)


def test_own_rules_do_not_widen_the_acl(box: Box, watched: World) -> None:
    box.endpoint("ep")
    box.acl(allow("ep", "connect", LAN4))
    sock = box.tcp()
    sock.setsockopt(U.IPPROTO_GRAFT, U.SO_RULES, rule(U.VERDICT_ENDPOINT, U.EGRESS, b"ep"))
    with fails(EACCES):
        sock.connect(("10.20.0.2", FORBIDDEN))
    listener = box.listener(box.world.peer, PEER4)
    sock.connect(listener.getsockname())
    box.keep(listener.accept()[0])


def test_a_socket_with_rules_that_is_refused_keeps_nobody(box: Box) -> None:
    """What a bind that failed in the end took of the task is given back: its user namespace, of which there are ten.

    The socket lives on, for its rules, and is tried by one task after another.
    """
    box.endpoint("ep", HOST4, 8080)
    box.listener(box.world.host, HOST4, 8080)
    sock = box.tcp()
    sock.setsockopt(U.IPPROTO_GRAFT, U.SO_RULES, rule(U.VERDICT_ENDPOINT, U.INGRESS, b"ep"))

    def tried() -> bool:
        def act() -> int:
            try:
                process.unshare_user()
            except OSError as error:
                return error.errno or 0
            with fails(EADDRINUSE):
                sock.bind((BOX4, 8080))
            return 0

        number: int = process.run(act)
        assert number in {0, ENOSPC}
        return number == 0

    limit = Path("/proc/sys/user/max_user_namespaces")
    before = limit.read_text()
    limit.write_text("10")
    try:
        for _ in range(25):
            # they go a while after the last of their tasks
            eventually(tried, "there is room for a user namespace")
    finally:
        limit.write_text(before)
    assert state(sock) == U.STATE_UNDECIDED


def test_bad_own_rules(box: Box) -> None:
    box.endpoint("ep")
    good = rule(U.VERDICT_ENDPOINT, U.INGRESS, b"ep")
    bad = [good[:-1], good + b"x", good * (U.SO_RULES_MAX + 1), b"\xff" * len(good), b"\x09" + good[1:]]
    bad += [good[:5] + b"\1" + good[6:], good[:28] + b"x" * 64, rule(9, U.INGRESS), good[:1] + b"\x02\x21" + good[3:]]
    sock = box.tcp()
    for value in bad:
        with fails(EINVAL):
            sock.setsockopt(U.IPPROTO_GRAFT, U.SO_RULES, value)
    sock.setsockopt(U.IPPROTO_GRAFT, U.SO_RULES, good * U.SO_RULES_MAX)
    sock.bind((BOX4, 8080))
    with fails(EINVAL, EOPNOTSUPP, ENOPROTOOPT):
        sock.setsockopt(U.IPPROTO_GRAFT, U.SO_RULES, good)
    assert endpoint_of(sock) == "ep"


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
def test_addresses_of_every_length_at_bind(box: Box, kind: int) -> None:
    """Too short is EINVAL; what follows the address is nobody's business."""
    box.endpoint("ep", HOST4, (7000, 7010))
    box.endpoint("ep6", HOST6, (7000, 7010))
    box.rules(ingress("ep", "0.0.0.0/0"), ingress("ep6", "::/0"))
    for family, address in (
        (socket.AF_INET, sockaddr_in("0.0.0.0", 7001)),
        (socket.AF_INET6, sockaddr_in6("::", 7001)),
    ):
        sock = box.open_socket(family, kind)
        shortest = 16 if family == socket.AF_INET else 24
        for length in (0, 1, 2, 8, shortest - 1):
            with fails(EINVAL):
                bind_raw(sock, address[:length])
        for length in (129, 4096, -1):
            with fails(EINVAL):
                bind_raw(sock, address.ljust(4096, b"\0"), length)
        assert state(sock) == U.STATE_UNDECIDED
        bind_raw(sock, address.ljust(128, b"\xff"))
        assert sock.getsockname()[1] == 7001
        assert state(sock) == U.STATE_GRAFTED


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
def test_a_bind_of_no_family(box: Box, kind: int) -> None:
    """IPv4 takes AF_UNSPEC with 0.0.0.0 for AF_INET, so the rules take it for that, too."""
    box.rules(ingress("deny"))
    sock = box.open_socket(socket.AF_INET, kind)
    with fails(EACCES, EAFNOSUPPORT):
        bind_raw(sock, sockaddr_in("0.0.0.0", 8080, socket.AF_UNSPEC))
    box.endpoint("ep", HOST4, 8080)
    box.rules(ingress("ep"))
    try:
        bind_raw(sock, sockaddr_in("0.0.0.0", 8080, socket.AF_UNSPEC))
    except OSError as error:
        assert error.errno == EAFNOSUPPORT
    else:
        assert endpoint_of(sock) == "ep"


def test_a_target_that_is_gone(box: Box) -> None:
    target = Namespace.new("target")
    with target:
        writer = Graft()
    fields = {"name": "ep", "type": U.EP_IPV4, "address": socket.inet_aton("127.0.0.1"), "port_lo": 0, "port_hi": 0}
    container = Namespace.new("container")
    writer.endpoint(container.fd, target_fd=target.fd, **fields)
    writer.call(U.CMD_RULES_SET, netns_fd=container.fd, rule=[ingress("ep"), egress("ep")])
    target.close()
    writer.close()
    initial = box.keep(Graft())

    def gone() -> bool:
        answer = initial.call(U.CMD_ENDPOINT_GET, netns_fd=container.fd, endpoint={"name": "ep"})
        return not answer[0]["endpoint"]["target_cookie"]

    eventually(gone, "the endpoint's target is shown as gone")
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        sock = box.keep(container.open_socket(socket.AF_INET, kind, U.IPPROTO_GRAFT))
        with fails(EADDRNOTAVAIL):
            sock.bind(("0.0.0.0", 8080))
        with fails(EADDRNOTAVAIL):
            sock.connect((PEER4, FORBIDDEN))
        assert state(sock) == U.STATE_UNDECIDED
    answer = initial.call(U.CMD_ENDPOINT_GET, netns_fd=container.fd, endpoint={"name": "ep"})
    assert answer[0]["endpoint"]["denials"][U.REASON_TARGET_GONE] == 4
    container.close()
