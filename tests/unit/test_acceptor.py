# SPDX-License-Identifier: Apache-2.0
"""Who is let in, what passes between a client and the server behind, and how it ends."""

import asyncio
import contextlib
import hashlib
import os
import resource
import socket
from ipaddress import ip_address
from pathlib import Path
from typing import cast

import grpc
import pytest

from graftd.api import acceptor as acceptor_module
from graftd.api import splice as splice_module
from graftd.api.acceptor import Limits
from graftd.api.listen import listen
from graftd.api.peer import Peer, Peers, SocketName
from unit.connections import (
    WAIT_SECONDS,
    accepting,
    connected,
    in_front_of,
    is_closed,
    own_cookie,
    play,
    secure_listener,
    serving,
    until,
)

MIB = 1024 * 1024


# Bounds


async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Greet, and wait for the end."""
    writer.write(b"!")
    await reader.read()
    writer.close()


async def come_in(path: str) -> socket.socket:
    """A connection that was let in."""
    sock = await connected(path)
    assert await asyncio.get_running_loop().sock_recv(sock, 1) == b"!"
    return sock


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        (Limits(connections=3, per_user=9), "as many connections are open as the configuration allows: 3"),
        (Limits(connections=9, per_user=3), "as many connections of one user are open as the configuration allows: 3"),
    ],
)
def test_who_comes_beyond_the_bound_is_closed_at_once(tmp_path: Path, limits: Limits, sentence: str) -> None:
    async def run() -> None:
        async with in_front_of(tmp_path, hold, limits) as served:
            inside = [await come_in(served.path()) for _ in range(3)]
            late = await connected(served.path())
            assert await is_closed(late)
            ((peer, told),) = served.refused
            assert peer is not None
            assert (peer.uid, told) == (os.geteuid(), sentence)
            assert (served.acceptor.counts.open, served.acceptor.counts.refused) == (3, 1)
            other = await come_in(served.path(SocketName.READ_ONLY))  # which has a bound of its own
            inside.pop().close()
            await until(lambda: served.acceptor.counts.open == 3)
            inside.append(await come_in(served.path()))
            for sock in (*inside, late, other):
                sock.close()

    play(run)


def test_one_user_leaves_room_for_others_and_containers_for_the_host(tmp_path: Path) -> None:
    peers = {
        "user": Peer(socket_name=SocketName.ADMIN, uid=1, netns_cookie=own_cookie()),
        "root": Peer(socket_name=SocketName.ADMIN, uid=0, netns_cookie=own_cookie()),
        **{f"box{n}": Peer(socket_name=SocketName.ADMIN, uid=0, netns_cookie=1000000 + n) for n in range(4)},
    }
    listener = listen(SocketName.ADMIN, tmp_path / "s", mode=0o600)
    door = acceptor_module._Door(listener, Limits(connections=6, per_user=2))
    came = []
    for name in ("user", "user", "user", "box0", "box0", "box0", "box1", "box2", "box3", "root"):
        if not door.full(peers[name]):
            door.enter(peers[name])
            came.append(name)
    assert came == ["user", "user", "box0", "box0", "box1", "root"]
    for name in came:
        door.leave(peers[name])
    assert (door._open, door._foreign, dict(door._users)) == (0, 0, {})
    listener.close()


def test_over_tls_one_address_leaves_room_for_others(tmp_path: Path) -> None:
    """An address of IPv6 stands for its whole network; none is taken for a container's."""
    listener, _ = secure_listener()
    door = acceptor_module._Door(listener, Limits(connections=6, per_user=2))
    came = []
    for address in ("192.0.2.1",) * 3 + ("2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.2", "192.0.2.3"):
        peer = Peer(socket_name=SocketName.TLS, address=ip_address(address), port=1)
        if door.full(peer):
            assert "of one address" in door.full(peer)
        else:
            door.enter(peer)
            came.append(address)
    assert came == ["192.0.2.1", "192.0.2.1", "2001:db8::1", "2001:db8::2", "192.0.2.2", "192.0.2.3"]
    listener.close()


def test_a_listener_that_comes_later(tmp_path: Path) -> None:
    """It is as the others are: bounded by what holds, also from then on, and closed with them."""

    async def run() -> None:
        backend = tmp_path / "tls.sock"
        server = await asyncio.start_unix_server(hold, backend)
        async with accepting(tmp_path, tmp_path / "none", Limits(), Peers(), tls_backend=backend) as served:
            served.acceptor.limits = Limits(per_user=1)
            listener, port = secure_listener()
            served.acceptor.add([listener])
            writers = []
            for most in (1, 2):
                served.acceptor.limits = Limits(per_user=most)
                for greeting in (b"!", b""):
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    assert await reader.read(1) == greeting
                    writers.append(writer)
            for writer in writers:
                writer.close()
            await until(lambda: served.acceptor.counts.open == 0)
        assert listener.sock.fileno() == -1
        server.close()

    play(run)


def test_connections_for_tls_are_bounded(tmp_path: Path) -> None:
    async def run() -> None:
        listener, port = secure_listener()
        backend = tmp_path / "tls.sock"
        server = await asyncio.start_unix_server(hold, backend)
        async with accepting(
            tmp_path, tmp_path / "none", Limits(per_user=3), Peers(), listener, tls_backend=backend
        ) as served:
            inside = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            for reader, _ in inside:
                assert await reader.readexactly(1) == b"!"
            reader, late = await asyncio.open_connection("127.0.0.1", port)
            assert await reader.read() == b""
            ((peer, told),) = served.refused
            assert peer is not None
            assert (str(peer.address), peer.subject) == ("127.0.0.1", "127.0.0.1")
            assert told == "as many connections of one address are open as the configuration allows: 3"
            for _, writer in (*inside, (reader, late)):
                writer.close()
            await until(lambda: served.acceptor.counts.open == 0)
        server.close()

    play(run)


def test_a_crowd_that_comes_at_once_is_bounded(tmp_path: Path) -> None:
    async def run() -> None:
        async with in_front_of(tmp_path, hold, Limits(connections=10)) as served:
            crowd = [await connected(served.path()) for _ in range(200)]
            await until(lambda: served.acceptor.counts.refused == 190)
            assert served.acceptor.counts.open == 10
            for sock in crowd:
                sock.close()
            await until(lambda: served.acceptor.counts.open == 0)

    play(run)


def test_new_bounds_hold_for_who_comes_from_then_on(tmp_path: Path) -> None:
    async def run() -> None:
        async with in_front_of(tmp_path, hold, Limits(connections=3)) as served:
            inside = [await come_in(served.path()) for _ in range(3)]
            served.acceptor.limits = Limits(connections=2)
            assert await is_closed(await connected(served.path()))
            assert served.acceptor.counts.open == 3
            served.acceptor.limits = Limits(connections=4)
            inside.append(await come_in(served.path()))
            for sock in inside:
                sock.close()

    play(run)


def test_bounds_that_let_nobody_in_are_refused() -> None:
    with pytest.raises(ValueError, match="per_user 0 lets nobody in: it has to be 1 or more"):
        Limits(per_user=0)
    with pytest.raises(ValueError, match="connections 1 is too few: it has to be 2 or more"):
        Limits(connections=1)


def test_connections_wait_while_there_are_no_descriptors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptor_module, "_EXHAUSTED_SECONDS", 0.05)

    async def run() -> None:
        async with in_front_of(tmp_path, hold) as served:
            sock = await connected(served.path())
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            with open(os.devnull, "rb") as lowest:  # noqa: ASYNC230 it is there
                free = lowest.fileno()
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
            try:
                await until(lambda: len(served.refused) > 1)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert served.refused[0] == (
                None,
                "connections wait, for graftd cannot accept them: Too many open files; raise LimitNOFILE=",
            )
            assert len(served.refused) < 100
            assert await asyncio.get_running_loop().sock_recv(sock, 1) == b"!"
            sock.close()

    play(run)


# What passes


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write(b"end")
    writer.close()


def test_everything_passes_in_order_and_an_end_is_an_end_of_one_direction(tmp_path: Path) -> None:
    sent = os.urandom(8 * MIB)

    async def run() -> None:
        async with in_front_of(tmp_path, echo) as served:
            loop = asyncio.get_running_loop()
            sock = await connected(served.path())

            async def send() -> None:
                await loop.sock_sendall(sock, sent)
                sock.shutdown(socket.SHUT_WR)

            task = asyncio.create_task(send())
            got = bytearray()
            async with asyncio.timeout(WAIT_SECONDS):
                while data := await loop.sock_recv(sock, MIB):
                    got += data
                await task
            assert hashlib.sha256(got).digest() == hashlib.sha256(sent + b"end").digest()
            sock.close()
            await until(lambda: served.acceptor.counts.open == 0)

    play(run)


def test_a_client_that_goes_is_an_end_to_the_server(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b"abc"
        ended.set()
        writer.close()

    async def run() -> None:
        async with in_front_of(tmp_path, handler) as served:
            sock = await connected(served.path())
            sock.send(b"abc")
            sock.close()
            await asyncio.wait_for(ended.wait(), WAIT_SECONDS)
            await until(lambda: served.acceptor.counts.open == 0)

    play(run)


def push(sock: socket.socket) -> int:
    """How many bytes it takes now."""
    total = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            total += sock.send(b"x" * 65536)
    return total


def capacity() -> int:
    """How many bytes wait in a socket that nobody reads."""
    one, other = socket.socketpair()
    with one, other:
        one.settimeout(0)
        return push(one)


@pytest.mark.parametrize("ends", [True, False], ids=["ends", "breaks"])
def test_a_client_does_not_stay_behind_its_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: bool) -> None:
    """It has its time to take what was sent, and is closed then whatever it does."""
    monkeypatch.setattr(splice_module, "LINGER_SECONDS", 3.0)
    size = capacity() + 32 * 1024  # some of it waits in the acceptor

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        transport = cast("asyncio.Transport", writer.transport)
        transport.pause_reading()  # what comes and is not read makes the end an error
        writer.write(b"x" * size)
        await writer.drain()
        await asyncio.sleep(0.2)
        if ends:
            transport.resume_reading()
            assert await reader.readexactly(1) == b"!"
            writer.close()
        else:
            writer.transport.abort()

    async def run() -> None:
        async with in_front_of(tmp_path, handler) as served:
            loop = asyncio.get_running_loop()
            late, silent = [await connected(served.path()) for _ in range(2)]
            for sock in (late, silent):
                await loop.sock_sendall(sock, b"?")
            await asyncio.sleep(0.1)
            for sock in (late, silent):
                await loop.sock_sendall(sock, b"!")
            await asyncio.sleep(0.3)
            got = 0
            while data := await loop.sock_recv(late, 65536):
                got += len(data)
            assert got == size
            late.close()
            await until(lambda: served.acceptor.counts.open == 0)
            silent.close()

    play(run)


async def pushed(sock: socket.socket) -> int:
    """How many it takes in all, when nobody reads at the other end."""
    total, quiet = 0, 0
    while quiet < 20 and total < 100 * MIB:
        more = push(sock)
        total += more
        quiet = 0 if more else quiet + 1
        await asyncio.sleep(0.01)
    return total


# The buffers of two sockets, some 220 KiB each, and 128 KiB of the acceptor's.
WAITING_MOST = MIB


@pytest.mark.parametrize("direction", ["to the server", "to the client"])
def test_who_does_not_read_is_not_read_for(tmp_path: Path, direction: str) -> None:
    async def run() -> None:
        backend = socket.socket(socket.AF_UNIX)
        backend.bind(str(tmp_path / "backend.sock"))
        backend.listen()
        backend.settimeout(0)
        loop = asyncio.get_running_loop()
        async with accepting(tmp_path, tmp_path / "backend.sock", Limits(), Peers()) as served:
            client = await connected(served.path())
            server = (await loop.sock_accept(backend))[0]
            writer, reader = (client, server) if direction == "to the server" else (server, client)
            total = await pushed(writer)
            assert 65536 < total < WAITING_MOST
            # The other direction goes on, and so do others.
            await loop.sock_sendall(reader, b"still")
            assert await loop.sock_recv(writer, 100) == b"still"
            other = await connected(served.path())
            third = (await loop.sock_accept(backend))[0]
            await loop.sock_sendall(other, b"hello")
            assert await loop.sock_recv(third, 100) == b"hello"
            # When it reads at last, nothing is missing.
            writer.shutdown(socket.SHUT_WR)
            got = 0
            async with asyncio.timeout(WAIT_SECONDS):
                while data := await loop.sock_recv(reader, 65536):
                    got += len(data)
            assert got == total
            for sock in (client, server, other, third, backend):
                sock.close()

    play(run)


def test_a_connection_that_cannot_be_handed_on_is_closed(tmp_path: Path) -> None:
    async def run() -> None:
        async with accepting(tmp_path, tmp_path / "nothing.sock", Limits(), Peers()) as served:
            sock = await connected(served.path())
            assert await is_closed(sock)
            await until(lambda: served.acceptor.counts.open == 0)
            ((peer, sentence),) = served.refused
            assert peer is not None
            assert sentence == "a connection cannot be handed on to gRPC: No such file or directory"
            assert served.peers._peers == {}
            sock.close()

    play(run)


def test_a_full_queue_is_waited_for(tmp_path: Path) -> None:
    async def run() -> None:
        backend = socket.socket(socket.AF_UNIX)
        backend.bind(str(tmp_path / "backend.sock"))
        backend.listen(0)
        backend.settimeout(0)
        loop = asyncio.get_running_loop()
        async with accepting(tmp_path, tmp_path / "backend.sock", Limits(), Peers()) as served:
            clients = [await connected(served.path()) for _ in range(4)]
            for number, client in enumerate(clients):
                client.send(bytes([number]))
            await asyncio.sleep(0.1)
            got = set()
            for _ in clients:
                server = (await loop.sock_accept(backend))[0]
                got |= set(await loop.sock_recv(server, 1))
                server.close()
            assert got == {0, 1, 2, 3}
            for client in clients:
                client.close()
            backend.close()
            assert served.refused == []

    play(run)


# The end


def test_a_stop_lets_nobody_in_and_those_inside_go_on(tmp_path: Path) -> None:
    async def run() -> None:
        async with in_front_of(tmp_path, echo) as served:
            loop = asyncio.get_running_loop()
            sock = await connected(served.path())
            await loop.sock_sendall(sock, b"1")
            assert await loop.sock_recv(sock, 9) == b"1"
            served.acceptor.stop()
            assert os.listdir(tmp_path) == ["backend.sock"], "files of its own are gone with their sockets"
            with pytest.raises(FileNotFoundError):
                await connected(served.path())
            await loop.sock_sendall(sock, b"2")
            assert await loop.sock_recv(sock, 9) == b"2"
            closing = asyncio.create_task(served.acceptor.close(WAIT_SECONDS))
            await asyncio.sleep(0.05)
            assert not closing.done()
            sock.close()
            await asyncio.wait_for(closing, WAIT_SECONDS / 2)
            assert served.acceptor.counts.open == 0

    play(run)


def test_who_stays_beyond_the_grace_is_closed(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as served, served.channel() as channel:
            call = channel.unary_stream("/test.Peers/Stream")(b"")
            assert len(await call.read()) == 1024
            await served.acceptor.close(0.2)
            assert await call.code() is grpc.StatusCode.UNAVAILABLE
            assert served.acceptor.counts.open == 0
            assert served.peers._peers == {}

    play(run)
