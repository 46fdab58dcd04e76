# SPDX-License-Identifier: Apache-2.0
"""The BPF door: programs that know nothing of grafting, in namespaces whose cookie is in the map."""

import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from errno import EACCES, ENOENT, ENOPROTOOPT, EOPNOTSUPP, EPROTONOSUPPORT
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
import programs
from box import Box, endpoint_of
from commands import has_port, run, running
from expect import eventually, fails, receive
from netns import Namespace
from tables import egress
from transparent import (
    DATAGRAMS,
    NOBODY,
    PORT,
    STREAMS,
    Map,
    furnished,
    graftable,
    plain,
    preempts,
    status,
)
from uapi import U
from world import HOST4, PEER4, PEER6, World

BODY = "fetched by a program that nobody prepared\n" * 100


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
