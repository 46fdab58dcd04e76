# SPDX-License-Identifier: Apache-2.0
"""What an endpoint makes of its sockets besides their address: mark, device, cgroup, owner; through both doors."""

import os
import socket
from collections.abc import Callable
from errno import EADDRNOTAVAIL, ENODEV
from socket import AF_INET, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET

import pytest

import child as process
from box import Box
from commands import run
from expect import fails, receive
from tables import egress, ingress
from world import BOX4, FAR_PEER4, HOST4, PEER4

_SO_MARK, _SO_BINDTODEVICE = 36, 25


def _through_door1(box: Box, kind: int) -> socket.socket:
    return box.bound("ep", kind)


def _through_door2(box: Box, kind: int) -> socket.socket:
    box.rules(ingress("ep", port=0), ingress("ep"), egress("ep"))
    sock = box.open_socket(AF_INET, kind)
    sock.bind((BOX4, 0))
    return sock


DOORS = pytest.mark.parametrize("graft", [_through_door1, _through_door2], ids=["door1", "door2"])
KINDS = pytest.mark.parametrize("kind", [SOCK_STREAM, SOCK_DGRAM], ids=["tcp", "udp"])
Graft = Callable[[Box, int], socket.socket]


@DOORS
@KINDS
def test_mark(box: Box, graft: Graft, kind: int) -> None:
    box.endpoint("ep", mark=0x1234)
    assert graft(box, kind).getsockopt(SOL_SOCKET, _SO_MARK) == 0x1234


@DOORS
@KINDS
def test_device(box: Box, graft: Graft, kind: int) -> None:
    box.endpoint("ep", "0.0.0.0", device="lan")
    sock = graft(box, kind)
    assert sock.getsockopt(SOL_SOCKET, _SO_BINDTODEVICE, 16).rstrip(b"\0") == b"lan"


def test_datagrams_of_another_device_do_not_arrive(box: Box) -> None:
    box.endpoint("ep", "0.0.0.0", 5300, device="lan")
    server = box.bound("ep", SOCK_DGRAM)
    box.datagram(box.world.peer, FAR_PEER4).sendto(b"far", ("10.20.0.1", 5300))
    box.datagram(box.world.peer, PEER4).sendto(b"near", (HOST4, 5300))
    assert receive(server) == b"near"


def test_a_device_that_is_not_there(box: Box) -> None:
    box.endpoint("ep", device="nowhere")
    with fails(EADDRNOTAVAIL, ENODEV):
        box.bound("ep", SOCK_STREAM)
    assert box.sockets() == []


@DOORS
@KINDS
def test_who_made_it_is_who_owns_it(box: Box, graft: Graft, kind: int) -> None:
    """The user and the cgroup are the calling program's, on the host's stack too."""
    folder = "/sys/fs/cgroup/graft-tests"
    os.mkdir(folder)
    box.endpoint("ep")
    if graft is _through_door2:
        box.rules(ingress("ep", port=0))

    def act() -> tuple[int, list[dict[str, object]]]:
        with open(f"{folder}/cgroup.procs", "w") as members:
            members.write("0")
        sock = graft(box, kind)
        shown = box.sockets()
        return os.fstat(sock.fileno()).st_ino, shown

    try:
        inode, shown = process.run(act)
        (one,) = shown
        assert one["cgroup_id"] == os.stat(folder).st_ino
        assert one["inode"] == inode
        assert one["uid"] == os.getuid()
    finally:
        os.rmdir(folder)


def test_counters_of_both_verbs(box: Box) -> None:
    box.endpoint("ep")
    box.rules(egress("ep"), ingress("ep", port=0))
    listener = box.listener(box.world.peer, PEER4)
    for _ in range(3):
        box.tcp().connect(listener.getsockname())
    box.tcp().bind((BOX4, 0))
    shown = box.stats("ep")
    assert (shown["connects"], shown["binds"], shown["accepts"], shown["active"]) == (3, 1, 0, 4)
    box.close_sockets()
    assert box.stats("ep")["active"] == 0


def test_the_dump_tells_the_remote_address(box: Box) -> None:
    box.endpoint("ep")
    box.rules(egress("ep"))
    listener = box.listener(box.world.peer, PEER4)
    sock = box.tcp()
    sock.connect(listener.getsockname())
    (shown,) = box.sockets()
    assert (shown["remote_address"], shown["remote_port"]) == (socket.inet_aton(PEER4), listener.getsockname()[1])
    assert (shown["local_address"], shown["local_port"]) == (socket.inet_aton(HOST4), sock.getsockname()[1])
    assert (shown["door"], shown["state"]) == (2, 1)


@DOORS
@KINDS
def test_the_hosts_ss_tells_the_process(box: Box, graft: Graft, kind: int) -> None:
    box.endpoint("ep")
    sock = graft(box, kind)
    server = (box.listener if kind == SOCK_STREAM else box.datagram)(box.world.peer, PEER4)
    sock.connect(server.getsockname())
    (line,) = run(
        box.world.host, "ss", "-tnpH" if kind == SOCK_STREAM else "-unpH", f"sport = {sock.getsockname()[1]}"
    ).splitlines()
    assert f"{HOST4}:{sock.getsockname()[1]}" in line
    assert f"{PEER4}:{server.getsockname()[1]}" in line
    assert f"pid={os.getpid()}," in line


@DOORS
def test_nftables_of_the_host_sees_the_cgroup(box: Box, graft: Graft) -> None:
    """socket cgroupv2 of the host's rules matches what a container of that cgroup sends."""
    folder = "/sys/fs/cgroup/graft-tests-nft"
    os.mkdir(folder)
    box.endpoint("ep")
    if graft is _through_door2:
        box.rules(ingress("ep", port=0))
    server = box.datagram(box.world.peer, PEER4)

    def act() -> None:
        with open(f"{folder}/cgroup.procs", "w") as members:
            members.write("0")
        graft(box, SOCK_DGRAM).sendto(b"x", server.getsockname())

    try:
        run(
            box.world.host,
            "nft",
            "add table ip graft; add chain ip graft out { type filter hook output priority 0; };"
            'add rule ip graft out socket cgroupv2 level 1 "graft-tests-nft" udp dport != 0 counter',
        )
        process.run(act)
        assert receive(server) == b"x"
        shown = run(box.world.host, "nft", "list", "table", "ip", "graft")
        assert "counter packets 1 " in shown
    finally:
        run(box.world.host, "nft", "delete", "table", "ip", "graft")
        os.rmdir(folder)
