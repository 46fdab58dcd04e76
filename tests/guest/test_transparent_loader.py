# SPDX-License-Identifier: Apache-2.0
"""The BPF door's loader: what it says, what it replaces under traffic, and what it leaves where the module goes."""

import pwd
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EACCES, ENOBUFS, ENOMEM, EPROTONOSUPPORT
from socket import AF_INET, AF_INET6

import pytest

import child
import module
from box import Box, endpoint_of
from expect import eventually, fails, receive
from netns import Namespace
from transparent import (
    DATAGRAMS,
    FAILED,
    FOLDER,
    KERNEL_CANNOT,
    LOADER,
    NOBODY,
    NOT_LOADED,
    PORT,
    STREAMS,
    WRONG_USAGE,
    Map,
    attached,
    graftable,
    kernel_can,
    links,
    loader,
    pin_array,
    pins,
    plain,
    status,
    unloaded,
)
from world import PEER4, World

CAP_CHOWN, CAP_DAC_READ_SEARCH, CAP_PERFMON, CAP_BPF = 0, 2, 38, 39


def test_status_says_what_the_kernel_can() -> None:
    if kernel_can():
        found = status(due=NOT_LOADED)
        assert found == {
            "state": "not-loaded",
            "detail": "the program is not loaded: systemctl start graft-transparent",
            "namespaces": 0,
            "missed": 0,
        }
        return
    why = "this kernel cannot serve the BPF door: it has no update_socket_protocol, which came with Linux 6.6"
    assert loader("load", due=KERNEL_CANNOT) == f"graft-transparent: {why}\n"
    found = status(due=KERNEL_CANNOT)
    assert found == {
        "state": "kernel-cannot",
        "detail": f"{why}; the preload library serves",
        "namespaces": 0,
        "missed": 0,
    }
    printed = [found["state"], found["detail"], "namespaces: 0", "missed: at most 0"]
    assert loader("status", due=KERNEL_CANNOT).splitlines() == printed
    loader("unload")
    assert not FOLDER.exists()


def test_status_counts_the_namespaces(namespaces: Map, box: Box, other: Box) -> None:
    assert (status()["state"], status()["namespaces"]) == ("served", 0)
    namespaces.add(box.ns.cookie)
    namespaces.add(other.ns.cookie)
    assert status()["namespaces"] == 2
    namespaces.remove(box.ns.cookie)
    assert loader("status").splitlines() == [
        "served",
        "sockets of the namespaces in the map are graftable",
        "namespaces: 1",
        f"missed: at most {status()['missed']}",
    ]


def connected(box: Box, listener: socket.socket) -> tuple[socket.socket, socket.socket]:
    sock = box.keep(plain(box.ns))
    sock.connect(listener.getsockname())
    assert endpoint_of(sock) == "ep-out"
    return sock, box.keep(listener.accept()[0])


def says(sender: socket.socket, receiver: socket.socket) -> bool:
    sender.send(b"still here")
    return receive(receiver) == b"still here"


def test_sockets_outlive_the_program(inside: Box, namespaces: Map) -> None:
    listener = inside.listener(inside.world.peer, PEER4, PORT)
    before, peer = connected(inside, listener)
    undecided = inside.keep(plain(inside.ns))
    loader("unload")
    eventually(unloaded, "nothing of the door is left")
    assert says(before, peer)
    eventually(lambda: not graftable(inside.ns), "the program is at work no more")
    undecided.connect((PEER4, PORT))
    assert endpoint_of(undecided) == "ep-out"
    loader("load")
    assert not graftable(inside.ns), "the map is a new one"
    again = Map()
    again.add(inside.ns.cookie)
    assert graftable(inside.ns)
    assert says(before, peer)
    assert says(peer, before)
    again.remove(inside.ns.cookie)
    again.close()


@pytest.mark.parametrize("hints", [None, 1 << 16], ids=["none", "another-version's"])
def test_a_map_without_its_hints_is_replaced(inside: Box, namespaces: Map, hints: int | None) -> None:
    (FOLDER / "hints").unlink()
    if hints is not None:
        pin_array("hints", hints)
    loader("load")
    assert graftable(inside.ns)
    assert {path.name for path in FOLDER.iterdir()} == pins()
    assert status()["namespaces"] == 1
    eventually(lambda: links() == attached(), "the programs with the map before are gone")
    again = Map()
    assert again.hints[again.hash(inside.ns.cookie)] == inside.ns.cookie
    again.remove(inside.ns.cookie)
    # The kernel gives a link's id up before it detaches its program, and that one looks into the map before.
    eventually(lambda: not graftable(inside.ns), "the programs with the map before are detached")
    again.close()


@contextmanager
def meanwhile(act: Callable[[], None], threads: int = 2) -> Iterator[None]:
    """``act`` again and again in ``threads`` threads, until the block ends; what one raises, the block raises."""
    stop, wrong = threading.Event(), []

    def repeat() -> None:
        try:
            while not stop.is_set():
                act()
        except BaseException as error:  # noqa: BLE001 - raised below
            wrong.append(error)

    workers = [threading.Thread(target=repeat) for _ in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    if wrong:
        raise wrong[0]


def test_a_newer_program_takes_over_without_a_gap(inside: Box) -> None:
    """Loading again is how a package is upgraded: the map keeps its content, and there is always a program."""

    def check() -> None:
        assert graftable(inside.ns), "a socket came while no program was at work"

    # One thread: see what af_graft(7) says of kernels that preempt themselves.
    with meanwhile(check, threads=1):
        for _ in range(2):
            loader("load")
    assert status()["namespaces"] == 1
    assert {path.name for path in FOLDER.iterdir()} == pins()
    eventually(lambda: links() == attached(), "the earlier programs are gone")


def test_loaders_that_race(inside: Box) -> None:
    """Whatever comes last, sockets can be made all the time, and what is there is whole."""

    def check() -> None:
        plain(inside.ns).close()

    with meanwhile(check, threads=1):
        for _ in range(2):
            racers = [subprocess.Popen([LOADER, word]) for word in ("unload", "load", "unload", "load")]
            assert [racer.wait(60) for racer in racers] == [0] * 4
            left = {path.name for path in FOLDER.iterdir()} if FOLDER.exists() else set()
            assert left in (pins(), set())
    loader("load")
    eventually(lambda: links() == attached(), "one program of each is at work")


@pytest.fixture
def reopened(world: World) -> Iterator[World]:
    """The module may be unloaded; afterwards it is loaded."""
    world.writer.close()
    yield world
    if not module.is_loaded():
        assert module.load()
    world.reopen()


def test_without_the_module_sockets_are_native(reopened: World, namespaces: Map) -> None:
    """From the moment it closes its door; and graftable again from the moment it opens it."""
    with_lo = Namespace.new("without a table")
    namespaces.add(with_lo.cookie)
    kinds = [(family, *how) for family in (AF_INET, AF_INET6) for how in STREAMS[:2] + DATAGRAMS]
    for _ in range(2):
        assert all(graftable(with_lo, *kind) for kind in kinds)
        eventually(module.unload, "the module unloads")
        assert not any(graftable(with_lo, *kind) for kind in kinds)
        assert status()["detail"] == "sockets stay native until the module is loaded: modprobe graft"
        loader("load")
        assert not any(graftable(with_lo, *kind) for kind in kinds), "loaded without the module"
        assert module.load()
    assert all(graftable(with_lo, *kind) for kind in kinds)
    assert status()["detail"] == "sockets of the namespaces in the map are graftable"
    with_lo.close()


def test_the_module_comes_and_goes_under_load(reopened: World, namespaces: Map) -> None:
    """No socket() fails but one that was under way at the very moment the module went."""
    busy = Namespace.new("busy")
    namespaces.add(busy.cookie)
    made, refused = 0, 0

    def make() -> None:
        nonlocal made, refused
        try:
            plain(busy).close()
            made += 1
        except OSError as error:
            # The protocol is there no more, or is there and its module no longer lets itself be held.
            assert error.errno in {EPROTONOSUPPORT, ENOMEM, ENOBUFS}
            refused += 1

    with meanwhile(make):
        for _ in range(5):
            eventually(module.unload, "the module unloads")
            assert not graftable(busy)
            assert module.load()
            assert graftable(busy)
    assert made > 100
    assert refused < made / 100
    busy.close()


def test_only_graftd_may_write_the_map(door: None) -> None:
    found = (FOLDER / "transparent").stat()
    assert (found.st_uid, found.st_mode & 0o777) == (pwd.getpwnam("graftd").pw_uid, 0o600)
    assert FOLDER.stat().st_mode & 0o777 == 0o755

    def as_user(uid: int) -> None:
        child.become(uid, uid)
        made = Map()
        made.add(1)
        made.close()

    child.run(as_user, found.st_uid)
    with fails(EACCES):
        child.run(as_user, NOBODY)


def test_without_the_user_the_map_stays_roots(door: None) -> None:
    loader("unload")
    with tempfile.NamedTemporaryFile("w", prefix="passwd.") as users:
        users.write("root:x:0:0::/root:/bin/sh\n")
        users.flush()
        hide = ("unshare", "-m", "sh", "-c", f'mount --bind {users.name} /etc/passwd && exec "$@"', "sh")
        printed = loader("load", before=hide)
    assert printed == (
        "graft-transparent: there is no user graftd, so the maps stay root's; "
        "'graft-transparent load' gives them away once there is one\n"
    )
    maps = [FOLDER / name for name in ("transparent", "hints")]
    assert {path.stat().st_uid for path in maps} == {0}
    loader("load")
    assert 0 not in {path.stat().st_uid for path in maps}


def test_the_units_capabilities_suffice(door: None) -> None:
    """Also where the map is graftd's already."""

    def restricted() -> None:
        child.keep_capabilities({CAP_CHOWN, CAP_DAC_READ_SEARCH, CAP_PERFMON, CAP_BPF})
        for words in (["unload"], ["load"], ["load"], ["status"], ["unload"]):
            loader(*words)

    child.run(restricted)


def test_what_it_says_without_them(door: None) -> None:
    loader("unload")

    def restricted() -> str:
        child.keep_capabilities({CAP_CHOWN})
        return loader("load", due=FAILED)

    printed = child.run(restricted)
    assert "making the map of namespaces: " in printed
    assert "it takes CAP_BPF and CAP_PERFMON" in printed


@pytest.mark.parametrize("words", [[], ["start"], ["load", "now"], ["status", "--yaml"], ["status", "--json", "x"]])
def test_wrong_usage(words: list[str]) -> None:
    assert loader(*words, due=WRONG_USAGE).startswith("usage: graft-transparent load | unload | status")


def test_help() -> None:
    assert "Exit status: " in loader("--help")


def test_unload_twice() -> None:
    for _ in range(2):
        loader("unload")
