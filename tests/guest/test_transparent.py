# SPDX-License-Identifier: Apache-2.0
"""The BPF door: programs that know nothing of grafting, in namespaces whose cookie is in the map."""

import pwd
import select
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from errno import EACCES, ENOBUFS, ENOENT, ENOMEM, ENOPROTOOPT, EOPNOTSUPP, EPROTONOSUPPORT
from pathlib import Path
from socket import (
    AF_INET,
    AF_INET6,
    AF_UNIX,
    IPPROTO_TCP,
    IPPROTO_UDP,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_RAW,
    SOCK_STREAM,
)

import pytest

import child
import module
import programs
from box import Box, endpoint_of, state
from commands import has_port, run, running
from conftest import CANNOT
from expect import eventually, fails, receive
from netns import Namespace
from tables import egress, ingress
from transparent import (
    FAILED,
    FOLDER,
    KERNEL_CANNOT,
    LOADER,
    NOT_LOADED,
    WRONG_USAGE,
    Map,
    attached,
    kernel_can,
    links,
    loader,
    pin_array,
    pins,
    preempts,
    status,
)
from uapi import U
from world import HOST4, PEER4, PEER6, World

BODY = "fetched by a program that nobody prepared\n" * 100
MPTCP = 262
PORT = 8080
NOBODY = 65534
CAP_CHOWN, CAP_DAC_READ_SEARCH, CAP_PERFMON, CAP_BPF = 0, 2, 38, 39


def unloaded() -> bool:
    """Whether nothing of the door is left."""
    return not FOLDER.exists() and not links()


@pytest.fixture(scope="module")
def kernel() -> Iterator[None]:
    """A kernel that can; afterwards nothing of the door is left."""
    if not kernel_can():
        pytest.skip(f"{CANNOT}serve the BPF door")
    yield
    loader("unload")
    eventually(unloaded, "nothing of the door is left")


@pytest.fixture
def door(kernel: None) -> None:
    """The door serves."""
    if not FOLDER.exists():
        loader("load")


@pytest.fixture
def namespaces(door: None) -> Iterator[Map]:
    """The map, empty before and after."""
    made = Map()
    yield made
    for cookie in made.added:
        with suppress(FileNotFoundError):
            made.remove(cookie)
    made.close()


@pytest.fixture
def inside(box: Box, namespaces: Map) -> Box:
    """A box in the map, which serves PORT and reaches everything."""
    namespaces.add(box.ns.cookie)
    return furnished(box)


def furnished(box: Box) -> Box:
    box.endpoint("ep-in", HOST4, PORT)
    box.endpoint("ep-out", HOST4)
    box.rules(ingress("ep-in", port=PORT), egress("ep-out", "10.0.0.0/8"))
    return box


def plain(namespace: Namespace, family: int = AF_INET, kind: int = SOCK_STREAM, protocol: int = 0) -> socket.socket:
    """A socket as a program asks for it that knows nothing of grafting."""
    return namespace.open_socket(family, kind, protocol)


def graftable(namespace: Namespace, *how: int) -> bool:
    with plain(namespace, *how) as sock:
        try:
            return bool(state(sock) == U.STATE_UNDECIDED)
        except OSError as error:
            assert error.errno in {ENOPROTOOPT, EOPNOTSUPP}
            return False


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


STREAMS = [(SOCK_STREAM, protocol) for protocol in (0, IPPROTO_TCP, MPTCP)]
DATAGRAMS = [(SOCK_DGRAM, protocol) for protocol in (0, IPPROTO_UDP)]


@pytest.mark.parametrize("family", [AF_INET, AF_INET6])
@pytest.mark.parametrize("flags", [0, SOCK_CLOEXEC, SOCK_NONBLOCK | SOCK_CLOEXEC])
def test_what_is_rewritten(inside: Box, other: Box, family: int, flags: int) -> None:
    """What the preload library rewrites; the socket reads as the program expects."""
    for kind, protocol in STREAMS + DATAGRAMS:
        assert graftable(inside.ns, family, kind | flags, protocol), (kind, protocol)
        assert not graftable(other.ns, family, kind | flags, protocol), (kind, protocol)
        with plain(inside.ns, family, kind | flags, protocol) as sock:
            found = [sock.getsockopt(socket.SOL_SOCKET, option) for option in (39, 3, 38)]  # DOMAIN, TYPE, PROTOCOL
            assert found == [family, kind, IPPROTO_TCP if kind == SOCK_STREAM else IPPROTO_UDP]


def test_what_is_not_rewritten(inside: Box) -> None:
    for family, kind, protocol in (
        (AF_UNIX, SOCK_STREAM, 0),
        (AF_UNIX, SOCK_DGRAM, 0),
        (AF_INET, SOCK_RAW, 1),
        (AF_INET6, SOCK_RAW, 58),
        (AF_INET, SOCK_DGRAM, 136),  # UDP-Lite
        (socket.AF_NETLINK, SOCK_RAW, 0),
        (socket.AF_PACKET, SOCK_DGRAM, 0),
    ):
        try:
            assert not graftable(inside.ns, family, kind, protocol)
        except OSError as error:  # a kernel that lacks the protocol says so
            assert (error.errno, protocol) == (EPROTONOSUPPORT, 136)
    for kind, protocol in ((SOCK_STREAM, IPPROTO_UDP), (SOCK_DGRAM, IPPROTO_TCP)):
        with fails(EPROTONOSUPPORT):
            plain(inside.ns, AF_INET, kind, protocol)


def test_namespaces_that_are_not_in_the_map(inside: Box, other: Box, namespaces: Map) -> None:
    for namespace in (other.ns, inside.world.host, inside.world.peer):
        assert not graftable(namespace)
    assert graftable(inside.ns)
    namespaces.remove(inside.ns.cookie)
    assert not graftable(inside.ns)
    with fails(ENOENT):
        namespaces.remove(inside.ns.cookie)


def test_hints(inside: Box, other: Box, namespaces: Map) -> None:
    """Namespaces whose cookies have the same hash share one, and the map tells who is meant then."""
    ours, others = namespaces.hash(inside.ns.cookie), namespaces.hash(other.ns.cookie)
    for hint in (namespaces.SEVERAL, inside.ns.cookie, other.ns.cookie + 1):
        namespaces.hints[others] = hint
        assert not graftable(other.ns)
        assert graftable(inside.ns)
    namespaces.hints[others] = 0
    namespaces.hints[ours] = namespaces.SEVERAL
    assert graftable(inside.ns)
    namespaces.remove(inside.ns.cookie)
    namespaces.hints[ours] = namespaces.SEVERAL
    assert not graftable(inside.ns)
    namespaces.add(inside.ns.cookie)


def test_who_is_not_hinted_at_is_not_looked_up(inside: Box, namespaces: Map) -> None:
    for hint in (0, inside.ns.cookie + 1):
        namespaces.hints[namespaces.hash(inside.ns.cookie)] = hint
        assert not graftable(inside.ns)
    namespaces.hints[namespaces.hash(inside.ns.cookie)] = inside.ns.cookie
    assert graftable(inside.ns)


def test_the_hosts_own_namespace_is_never_one(namespaces: Map) -> None:
    here = Namespace.initial()
    namespaces.add(here.cookie)
    assert not graftable(here)
    here.close()


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder with a page in it."""
    with tempfile.TemporaryDirectory(prefix="public.") as folder:
        path = Path(folder)
        path.chmod(0o755)
        (path / "index.html").write_text(BODY)
        yield path


def static_musl(folder: Path) -> Path:
    """Return a program that is linked with musl, statically."""
    source = Path(__file__).with_name("preload") / "state.c"
    uapi = Path(__file__).parents[2] / "kmod/uapi"
    headers = [f"-I{uapi}", "-idirafter", "/usr/include", "-idirafter", "/usr/include/x86_64-linux-gnu"]
    subprocess.run(["musl-gcc", "-static", *headers, "-o", folder / "state", source], check=True, timeout=60)
    return folder / "state"


def test_a_static_program_of_musl(inside: Box, other: Box, public: Path) -> None:
    program = static_musl(public)
    assert run(inside.ns, program) == f"state {U.STATE_UNDECIDED}\n"
    assert run(inside.ns, program, user=NOBODY) == f"state {U.STATE_UNDECIDED}\n"
    assert run(other.ns, program) == "native\n"


def test_a_setuid_program_is_graftable_too(inside: Box, public: Path) -> None:
    """The preload library leaves it alone; here a program has no say."""
    program = static_musl(public)
    program.chmod(0o4755)
    assert run(inside.ns, program, user=NOBODY) == f"state {U.STATE_UNDECIDED}\n"


PYTHON = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=30).read().decode(), end='')"
FETCHERS = {
    "static": ("busybox", "wget", "-q", "-O", "-"),
    "curl": ("curl", "-sS"),
    "python": (sys.executable, "-c", PYTHON),
}
SERVERS = {
    "static": ("busybox", "httpd", "-f", "-p", f"0.0.0.0:{PORT}", "-h"),
    "python": (sys.executable, "-m", "http.server", "-b", "0.0.0.0", str(PORT), "-d"),
}


@pytest.mark.parametrize("fetcher", FETCHERS)
def test_fetching(inside: Box, other: Box, public: Path, fetcher: str) -> None:
    """As the host; without the door the program has nowhere to go."""
    url = f"http://{PEER4}:{PORT}/index.html"
    log = public / "log"
    with running(
        inside.world.peer, ["sh", "-c", f"exec {sys.executable} -m http.server {PORT} -d {public} 2>{log}"]
    ) as server:
        server.wait_for(lambda: has_port(inside.world.peer, PORT), "the server listens")
        assert run(inside.ns, *FETCHERS[fetcher], url) == BODY
        run(furnished(other).ns, *FETCHERS[fetcher], url, fails=True)
        eventually(lambda: "GET" in log.read_text(), "the server has told of it")
    assert {line.split()[0] for line in log.read_text().splitlines() if "GET" in line} == {HOST4}
    assert inside.stats("ep-out")["connects"] == 1
    assert other.stats("ep-out")["connects"] == 0


@pytest.mark.parametrize("server", SERVERS)
def test_serving(inside: Box, public: Path, server: str) -> None:
    with running(inside.ns, [*SERVERS[server], public]) as program:
        program.wait_for(lambda: has_port(inside.world.host, PORT), "the host has the port")
        assert not has_port(inside.ns, PORT)
        assert run(inside.world.peer, "curl", "-sS", f"http://{HOST4}:{PORT}/index.html") == BODY
        assert run(inside.ns, "curl", "-sS", f"http://localhost:{PORT}/index.html") == BODY


def test_a_destination_without_a_rule_is_native(inside: Box) -> None:
    listener = plain(inside.ns)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    with plain(inside.ns) as sock:
        sock.connect(listener.getsockname())
        with fails(ENOPROTOOPT, EOPNOTSUPP):
            endpoint_of(sock)
    listener.close()


def test_a_rule_that_denies(inside: Box) -> None:
    inside.rules(egress("deny", PEER6))
    with plain(inside.ns, AF_INET6) as sock, fails(EACCES):
        sock.connect((PEER6, PORT))


def test_dup_fork_and_epoll(inside: Box) -> None:
    """Nothing of this is looked at, so nothing is lost: not what was armed before the decision either."""
    listener = inside.listener(inside.world.peer, PEER4, PORT)
    sock = plain(inside.ns)
    watch = select.epoll()
    watch.register(sock, select.EPOLLIN | select.EPOLLET)
    watch.poll(0)
    again = sock.dup()

    def connect() -> bytes:
        again.connect((PEER4, PORT))
        again.send(b"from a child's duplicate")
        return endpoint_of(again).encode()

    assert child.run(connect) == b"ep-out"
    accepted = inside.keep(listener.accept()[0])
    assert receive(accepted) == b"from a child's duplicate"
    accepted.send(b"and back")
    assert watch.poll(10)
    assert receive(sock) == b"and back"
    for each in (watch, again, sock):
        each.close()


def test_a_socket_of_io_uring_does_not_pass(inside: Box) -> None:
    """The kernel makes it without asking for the protocol: it stays native, and so has nowhere to go."""
    status, printed = programs.run(inside.ns, "uring", "plain-socket", PEER4, PORT)
    assert (status, printed) == (0, "ENETUNREACH")


def test_a_namespace_that_ends_while_it_is_in_the_map(world: World, namespaces: Map) -> None:
    """The map holds a number, not the namespace, and no later one has the same."""
    gone = Box(world, "gone")
    cookie = gone.ns.cookie
    namespaces.add(cookie)
    assert graftable(gone.ns)
    gone.close()
    later = Box(world, "later")
    assert later.ns.cookie != cookie
    assert not graftable(later.ns)
    later.close()
    assert status()["namespaces"] == 1
    namespaces.remove(cookie)
    assert status()["namespaces"] == 0


def test_threads_that_crowd_the_processors(inside: Box) -> None:
    """A kernel that preempts itself leaves a program out while a task is preempted in it; a second is there then."""
    before = status()["missed"]
    made, native = map(int, programs.run(inside.ns, "crowd", 8, 4)[1].split())
    missed = status()["missed"] - before
    print(f"{native} of {made} sockets were native, {missed} missed")
    assert native <= missed
    assert native * 500 <= made if preempts() else not missed


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
