# SPDX-License-Identifier: Apache-2.0
"""Takes connections on graftd's sockets, learns who is there, and hands them on to grpcio.

grpcio tells no credentials of a unix socket's peer, takes no socket that systemd made, and bounds no connections. So it
listens on private sockets, and what comes in here is spliced to them. Everything happens in the asyncio loop.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path

from graftd.api.listen import Listener
from graftd.api.peer import SO_NETNS_COOKIE, Peer, Peers, SocketName
from graftd.api.splice import CHUNK_BYTES, FREE_BYTES, splice

_ACCEPTS_AT_ONCE = 64  # then others get their turn
_EXHAUSTED_SECONDS = 1.0
_CONNECT_PAUSE_SECONDS = 0.02
_CONNECT_SECONDS = 5.0
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_FOREIGN_SHARE = 2


@dataclass(frozen=True, slots=True)
class Limits:
    """Of open connections, on each listening socket by itself.

    connections: in all; callers in other network namespaces than graftd's have at most half of them together. per_user:
    of one uid in one network namespace; over TLS of one IPv4 address, or one IPv6 network of 64 bits. A connection
    takes three file descriptors.
    """

    connections: int = 1024
    per_user: int = 256

    def __post_init__(self) -> None:
        if self.per_user < 1:
            raise ValueError(f"per_user {self.per_user} lets nobody in: it has to be 1 or more")
        if self.connections < _FOREIGN_SHARE:
            raise ValueError(f"connections {self.connections} is too few: it has to be {_FOREIGN_SHARE} or more")


@dataclass(slots=True)
class Counts:
    """open: connections now. accepted, refused: since the start; a refused one was closed at once."""

    open: int = 0
    accepted: int = 0
    refused: int = 0


Refused = Callable[[Peer | None, str], None]


class Acceptor:
    """All methods are for the loop's thread.

    backend: where grpcio listens, which has to be before `start`; tls_backend: the same of listeners for TLS, which is
        grpcio's to speak. refused: told of each connection that is closed at
    once, with whose it was, if that is known, and a sentence. known: whether a caller may make any call; little
        is read of others, for gRPC keeps a request in memory before anybody can refuse it.
    """

    def __init__(
        self,
        listeners: Sequence[Listener],
        backend: Path,
        peers: Peers,
        *,
        tls_backend: Path | None = None,
        limits: Limits = Limits(),
        refused: Refused = lambda _peer, _sentence: None,
        known: Callable[[Peer], bool] = lambda _peer: True,
    ) -> None:
        self.counts = Counts()
        self._doors = [_Door(listener, limits) for listener in listeners]
        self._limits = limits
        self._backends = {name: os.fspath(backend) for name in SocketName}
        if tls_backend is not None:
            self._backends[SocketName.TLS] = os.fspath(tls_backend)
        self._peers = peers
        self._refused = refused
        self._known = known
        self._buffer = memoryview(bytearray(CHUNK_BYTES))
        self._tasks: set[asyncio.Task[None]] = set()
        self._pauses: dict[_Door, asyncio.TimerHandle] = {}
        self._accepting = False

    @property
    def limits(self) -> Limits:
        """Those that hold for who comes from now on; whoever is connected stays."""
        return self._limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._limits = limits
        for door in self._doors:
            door.limits = limits

    def start(self) -> None:
        self._accepting = True
        for door in self._doors:
            self._listen(door)

    def add(self, listeners: Sequence[Listener]) -> None:
        """Take connections on these as well. Between `start` and `stop`."""
        for listener in listeners:
            door = _Door(listener, self._limits)
            self._doors.append(door)
            self._listen(door)

    def stop(self) -> None:
        """Take no more connections; those that are open go on."""
        if not self._accepting:
            return
        self._accepting = False
        loop = asyncio.get_running_loop()
        for pause in self._pauses.values():
            pause.cancel()
        for door in self._doors:
            loop.remove_reader(door.sock)
            door.listener.close()

    async def close(self, grace: float) -> None:
        """Take no more, give those that are open so many seconds to end, and close the rest."""
        self.stop()
        if self._tasks and grace > 0:
            await asyncio.wait(self._tasks, timeout=grace)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _listen(self, door: _Door) -> None:
        self._pauses.pop(door, None)
        asyncio.get_running_loop().add_reader(door.sock, self._accept, door)

    def _accept(self, door: _Door) -> None:
        for _ in range(_ACCEPTS_AT_ONCE):
            try:
                connection = door.sock.accept()[0]
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause(door, error)
                return
            self._admit(door, connection)

    def _pause(self, door: _Door, error: OSError) -> None:
        """The connection stays in the queue, so the loop would be told of it again and again."""
        if error.errno not in _EXHAUSTED:
            raise error
        self._refuse(None, f"connections wait, for graftd cannot accept them: {error.strerror}; raise LimitNOFILE=")
        loop = asyncio.get_running_loop()
        loop.remove_reader(door.sock)
        self._pauses[door] = loop.call_later(_EXHAUSTED_SECONDS, self._listen, door)

    def _admit(self, door: _Door, connection: socket.socket) -> None:
        connection.settimeout(0)
        try:
            if connection.family != socket.AF_UNIX:
                _set_up(connection)
            peer = Peer.of_socket(door.listener.name, connection)
        except OSError as error:
            connection.close()
            self._refuse(None, f"the kernel does not tell whose a connection is: {error.strerror}")
            return
        full = door.full(peer)
        if full:
            connection.close()
            self._refuse(peer, full)
            return
        door.enter(peer)
        self.counts.accepted += 1
        self.counts.open += 1
        task = asyncio.get_running_loop().create_task(self._serve(door, peer, connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _refuse(self, peer: Peer | None, sentence: str) -> None:
        self.counts.refused += 1
        self._refused(peer, sentence)

    async def _serve(self, door: _Door, peer: Peer, connection: socket.socket) -> None:
        name = self._peers.add(peer)
        try:
            with connection, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as back:
                back.settimeout(0)
                back.bind("\0" + name)
                await self._connect(back, self._backends[peer.socket_name])
                await splice(connection, back, self._buffer, partial(self._may_go_on, peer))
        except OSError as error:
            self._refuse(peer, f"a connection cannot be handed on to gRPC: {error.strerror or error}")
        finally:
            self._peers.remove(name)
            door.leave(peer)
            self.counts.open -= 1

    def _may_go_on(self, peer: Peer) -> bool:
        if peer.socket_name is SocketName.TLS or self._known(peer):  # whose certificate it is only a call tells
            return True
        self._refuse(peer, f"more than {FREE_BYTES} bytes came from a caller who may make no call: give it a role")
        return False

    async def _connect(self, back: socket.socket, backend: str) -> None:
        """Raises OSError. asyncio takes the EAGAIN of a unix socket, which says that the queue is full, for a connect
        that is on its way."""
        deadline = asyncio.get_running_loop().time() + _CONNECT_SECONDS
        while True:
            try:
                back.connect(backend)
            except BlockingIOError:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(_CONNECT_PAUSE_SECONDS)
            else:
                return


class _Door:
    """A listening socket, and who came in by it."""

    def __init__(self, listener: Listener, limits: Limits) -> None:
        self.listener = listener
        self.sock = listener.sock
        self.limits = limits
        self._cookie = int.from_bytes(listener.sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), "little")
        self._users: Counter[object] = Counter()
        self._open = 0
        self._foreign = 0

    def full(self, peer: Peer) -> str:
        """Why this one cannot come in; "" if it can."""
        limits = self.limits
        if self._open >= limits.connections:
            return f"as many connections are open as the configuration allows: {limits.connections}"
        if self._users[_user(peer)] >= limits.per_user:
            who = "user" if peer.address is None else "address"
            return f"as many connections of one {who} are open as the configuration allows: {limits.per_user}"
        most = limits.connections // _FOREIGN_SHARE
        if self._is_foreign(peer) and self._foreign >= most:
            return f"as many connections from other network namespaces are open as there may be: {most}"
        return ""

    def enter(self, peer: Peer) -> None:
        self._count(peer, 1)

    def leave(self, peer: Peer) -> None:
        self._count(peer, -1)

    def _count(self, peer: Peer, by: int) -> None:
        user = _user(peer)
        self._open += by
        self._foreign += by * self._is_foreign(peer)
        self._users[user] += by
        if not self._users[user]:
            del self._users[user]

    def _is_foreign(self, peer: Peer) -> bool:
        return peer.netns_cookie not in (None, self._cookie)


def _user(peer: Peer) -> object:
    """Whose connections are counted together. Whoever has an address of IPv6 has a network of them."""
    if isinstance(peer.address, IPv6Address):
        return IPv6Network((peer.address, 64), strict=False)
    return peer.address or (peer.uid, peer.netns_cookie)


def _set_up(connection: socket.socket) -> None:
    """A client that is gone without a word is found out within two minutes. Raises OSError."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4)):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 120_000)
