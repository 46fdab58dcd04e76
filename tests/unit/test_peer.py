# SPDX-License-Identifier: Apache-2.0
"""Who is at the other end: over real sockets, from real namespaces, with real certificates, to a real gRPC server."""

import asyncio
import contextlib
import ctypes
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from graftd.api.denials import UnauthenticatedError
from graftd.api.listen import listen
from graftd.api.peer import Peer, Peers, SocketName
from unit.connections import WAIT_SECONDS, ask, own_cookie, play, secure_listener, serving, until, who

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
NOBODY = 65534

# A call from a process of its own, in namespaces of its own.
CALLER = """
import sys, grpc
with grpc.insecure_channel("unix:" + sys.argv[1]) as channel:
    print(channel.unary_unary("/test.Peers/Who")(b"", timeout=15).decode())
"""


# Credentials


@contextlib.contextmanager
def connected_child(path: Path, prepare: Callable[[], None]) -> Iterator[None]:
    """A process that prepares itself, connects and waits."""
    end, other = socket.socketpair()
    child = os.fork()
    if child == 0:
        try:
            end.close()
            prepare()
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(path))
                other.recv(1)
        finally:
            os._exit(0)
    other.close()
    try:
        yield
    finally:
        end.close()
        os.waitpid(child, 0)


def unshare(flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags):
        raise OSError(ctypes.get_errno(), "unshare")


def map_root(outside: int) -> None:
    """In a user namespace of one's own: be root, who is `outside` to everybody else."""
    unshare(CLONE_NEWUSER)
    Path("/proc/self/uid_map").write_text(f"0 {outside} 1")
    os.setuid(0)


def peer_of(tmp_path: Path, prepare: Callable[[], None]) -> Peer:
    listener = listen(SocketName.READ_WRITE, tmp_path / "s", mode=0o666)
    tmp_path.chmod(0o711)
    for parent in list(tmp_path.parents)[:2]:
        parent.chmod(0o711)
    listener.sock.settimeout(WAIT_SECONDS)
    try:
        with connected_child(tmp_path / "s", prepare), listener.sock.accept()[0] as connection:
            return Peer.of_socket(listener.name, connection)
    finally:
        listener.close()


def test_a_peer_is_read_with_all_its_ids(tmp_path: Path) -> None:
    peer = peer_of(tmp_path, lambda: None)
    assert peer == Peer(
        socket_name=SocketName.READ_WRITE,
        pid=peer.pid,
        uid=os.geteuid(),
        gid=os.getegid(),
        groups=peer.groups,
        netns_cookie=own_cookie(),
    )
    assert peer.pid not in (None, 0, os.getpid())
    assert sorted(peer.groups) == sorted(os.getgroups())
    assert peer.subject == f"uid {os.geteuid()}"
    assert peer.caller == f"uid {os.geteuid()} netns {own_cookie()}"


def test_a_peer_in_another_network_namespace_has_that_ones_cookie(tmp_path: Path) -> None:
    peer = peer_of(tmp_path, lambda: unshare(CLONE_NEWUSER | CLONE_NEWNET))
    assert peer.netns_cookie not in (None, 0, own_cookie())
    assert peer.uid == os.geteuid()


def test_root_of_a_user_namespace_is_the_user_that_it_is_mapped_to(tmp_path: Path) -> None:
    outside = NOBODY if os.geteuid() == 0 else os.geteuid()

    def prepare() -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            # A process that changed its user may not write its own maps until it is dumpable.
            ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
        map_root(outside)
        assert os.getuid() == 0

    peer = peer_of(tmp_path, prepare)
    assert peer.uid == outside
    assert peer.netns_cookie == own_cookie()


@pytest.mark.parametrize("count", [0, 3, 256, 257, 5000])
def test_every_supplementary_group_is_read(tmp_path: Path, count: int) -> None:
    """Python's getsockopt() takes 256 of them."""
    groups = tuple(range(1000, 1000 + count))
    if os.geteuid() == 0:
        assert peer_of(tmp_path, lambda: os.setgroups(groups)).groups == groups
        return
    found = peer_of(tmp_path, lambda: None)
    assert sorted(found.groups) == sorted(os.getgroups())


# Calls


def test_each_call_is_told_whose_it_is(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as served:
            answers = await asyncio.gather(*(who(served, name) for name in served.paths for _ in range(20)))
            words = [f"{name} {os.geteuid()} {own_cookie()}" for name in served.paths for _ in range(20)]
            assert answers == words
            assert served.acceptor.counts.accepted == 60
            assert {peer.pid for peer in served.service.seen} == {os.getpid()}
            await until(lambda: served.acceptor.counts.open == 0)
            assert served.peers._peers == {}

    play(run)


def test_a_caller_inside_of_a_container_is_told_by_its_namespace(tmp_path: Path) -> None:
    """`unshare -Urn` by root is root to everybody: the namespace tells it from root outside."""

    async def run() -> None:
        async with serving(tmp_path) as served:
            command = ["unshare", "-Urn", sys.executable, "-c", CALLER, served.path()]
            process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
            output, _ = await process.communicate()
            name, uid, cookie = output.decode().split()
            assert (name, int(uid)) == ("admin", os.geteuid())
            assert int(cookie) != own_cookie()

    play(run)


@pytest.mark.parametrize("name", ["", "\0" + "0" * 32])
def test_who_did_not_come_by_the_acceptor_is_nobody(tmp_path: Path, name: str) -> None:
    async def run() -> None:
        async with serving(tmp_path) as served:
            with Relay(tmp_path / "relay", tmp_path / "private" / "grpc.sock", name) as relay:
                async with grpc.aio.insecure_channel(f"unix:{relay.path}") as channel:
                    with pytest.raises(grpc.aio.AioRpcError) as raised:
                        await ask(channel)
            assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
            sentence = raised.value.details()
            assert sentence is not None
            assert "connect" in sentence
            assert served.service.seen == []

    play(run)


class Relay:
    """Speaks to graftd's private socket from a name of its own choice, as only graftd's user can."""

    def __init__(self, path: Path, target: Path, name: str) -> None:
        self.path = path
        self._target = target
        self._name = name

    def __enter__(self) -> "Relay":
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _run(self) -> None:
        front = self._listener.accept()[0]
        back = socket.socket(socket.AF_UNIX)
        if self._name:
            back.bind(self._name)
        back.connect(str(self._target))
        for one, other in ((front, back), (back, front)):
            threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    @staticmethod
    def _pump(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)


class Fake:
    """What gRPC would tell of a call."""

    def __init__(self, peer: str, **auth: list[bytes]) -> None:
        self._peer = peer
        self._auth = auth

    def peer(self) -> str:
        return self._peer

    def auth_context(self) -> dict[str, list[bytes]]:
        return self._auth


def test_a_peer_is_forgotten_with_its_connection() -> None:
    peers = Peers()
    peer = Peer(socket_name=SocketName.ADMIN, uid=0)
    name = peers.add(peer)
    assert peers.of(Fake(f"unix-abstract:{name}")) is peer
    peers.remove(name)
    with pytest.raises(UnauthenticatedError, match="connection is closed: connect again"):
        peers.of(Fake(f"unix-abstract:{name}"))


# TLS


def openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def certificate(folder: Path, name: str, subject: str, *alternatives: str) -> None:
    """name.key and name.pem, which the one of `ca` has signed."""
    openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", "csr", "-subj", subject)
    extensions = ["-extfile", "ext"] if alternatives else []
    (folder / "ext").write_text("subjectAltName=" + ",".join(alternatives))
    sign = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"]
    openssl(folder, "x509", "-req", "-in", "csr", "-out", f"{name}.pem", *sign, *extensions)


@pytest.fixture(name="certificates", scope="module")
def _certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    authority = ["-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test"]
    openssl(folder, "req", "-x509", "-newkey", "rsa:2048", *authority)
    certificate(folder, "server", "/CN=server", "DNS:localhost")
    certificate(folder, "plain", "/CN=orchestrator")
    certificate(folder, "named", "/CN=ignored", "DNS:orchestrator.example", "URI:spiffe://example/o")
    certificate(folder, "nameless", "/O=example")
    return folder


async def tls_call(folder: Path, sockets: Path, client: str) -> str:
    read = {name: (folder / name).read_bytes() for name in ("ca.pem", "server.key", "server.pem")}
    pairs = [(read["server.key"], read["server.pem"])]
    credentials = grpc.ssl_server_credentials(pairs, read["ca.pem"], require_client_auth=True)
    listener, port = secure_listener()
    key, chain = ((folder / f"{client}.{end}").read_bytes() for end in ("key", "pem"))
    channel_credentials = grpc.ssl_channel_credentials(read["ca.pem"], key, chain)
    async with (
        serving(sockets, None, listener, credentials=credentials) as served,
        grpc.aio.secure_channel(f"localhost:{port}", channel_credentials) as channel,
    ):
        await ask(channel)
    (peer,) = served.service.seen
    assert peer.socket_name is SocketName.TLS
    assert (peer.uid, peer.pid, peer.netns_cookie) == (None, None, None)
    assert str(peer.address) == "127.0.0.1"
    assert peer.port not in (0, port)
    return peer.caller


@pytest.mark.parametrize(
    ("client", "caller"),
    [
        ("plain", "certificate orchestrator"),
        ("named", "certificate orchestrator.example, spiffe://example/o"),
    ],
)
def test_a_client_certificate_names_the_caller(certificates: Path, tmp_path: Path, client: str, caller: str) -> None:
    assert asyncio.run(tls_call(certificates, tmp_path, client)) == caller


def test_a_certificate_without_a_name_is_nobodys(certificates: Path, tmp_path: Path) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="with a client certificate that has a name"):
        asyncio.run(tls_call(certificates, tmp_path, "nameless"))


def test_a_name_without_tls_counts_for_nothing() -> None:
    peers = Peers()
    name = peers.add(Peer(socket_name=SocketName.TLS))
    for context in (
        Fake("ipv4:127.0.0.1:7", x509_common_name=[b"orchestrator"]),
        Fake(f"unix-abstract:{name}", x509_common_name=[b"orchestrator"]),
    ):
        with pytest.raises(UnauthenticatedError):
            peers.of(context)
